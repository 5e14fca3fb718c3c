package setup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// Lengths of the fixed headers of rtnetlink(7).
const (
	routeHeader     = unix.SizeofRtMsg
	addressHeader   = unix.SizeofIfAddrmsg
	neighbourHeader = unix.SizeofNdMsg
	linkHeader      = unix.SizeofIfInfomsg
)

// protocolLab marks the lab's own routes (rtm_protocol): RTPROT_STATIC, as a person's.
const protocolLab = unix.RTPROT_STATIC

// route is a route as the kernel told it, less what only the kernel may say.
type route struct {
	key key
	// links are the interfaces that it leaves by; none: packets are refused.
	links   []int
	message []byte
}

// routes lists the routes that somebody may have added, of both families and all
// tables but the kernel's own table of local addresses.
func routes() ([]route, error) {
	var all []route
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		header := make([]byte, routeHeader)
		header[0] = family
		bodies, err := dump(unix.RTM_GETROUTE, header)
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, body := range bodies {
			// A kernel without IPv6 answers with what it has.
			if len(body) == 0 || body[0] != family {
				continue
			}
			r, ok, err := parseRoute(body)
			if err != nil {
				return nil, fmt.Errorf("read a route: %w", err)
			}
			if ok {
				all = append(all, r)
			}
		}
	}
	return all, nil
}

var routeTypes = []byte{unix.RTN_UNICAST, unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT, unix.RTN_THROW}

func parseRoute(body []byte) (route, bool, error) {
	all, err := attributes(body, routeHeader)
	if err != nil {
		return route{}, false, err
	}
	header := slices.Clone(body[:routeHeader])
	flags := binary.NativeEndian.Uint32(header[8:])
	table := uint32(header[4])
	if b := attribute(all, unix.RTA_TABLE); b != nil {
		table = uint32Of(b)
	}
	if table == unix.RT_TABLE_LOCAL || !slices.Contains(routeTypes, header[7]) || flags&unix.RTM_F_CLONED != 0 {
		return route{}, false, nil
	}
	// What the state of the interface makes of it is not part of the route.
	binary.NativeEndian.PutUint32(header[8:], flags&(unix.RTNH_F_ONLINK|unix.RTNH_F_PERVASIVE))
	r := route{links: routeLinks(all)}
	r.key = key{Kind: kindRoute, Name: routeName(header, all, table)}
	r.message, err = message(header, replayable(header[0], all))
	return r, err == nil, err
}

// routeName is what makes a route one of its own: two routes with one name are hops of
// one destination, or replace each other.
func routeName(header []byte, all []netlink.Attribute, table uint32) string {
	name := fmt.Sprintf("%s table %d", prefixText(header[0], attribute(all, unix.RTA_DST), header[1]), table)
	if header[2] != 0 {
		name += " from " + prefixText(header[0], attribute(all, unix.RTA_SRC), header[2])
	}
	if header[3] != 0 {
		name += fmt.Sprintf(" tos %d", header[3])
	}
	return name + fmt.Sprintf(" priority %d", uint32Of(attribute(all, unix.RTA_PRIORITY)))
}

func prefixText(family byte, address []byte, bits byte) string {
	a, ok := netip.AddrFromSlice(address)
	if !ok {
		a = netip.IPv4Unspecified()
		if family == unix.AF_INET6 {
			a = netip.IPv6Unspecified()
		}
	}
	return netip.PrefixFrom(a, int(bits)).String()
}

func routeLinks(all []netlink.Attribute) []int {
	var links []int
	if oif := attribute(all, unix.RTA_OIF); oif != nil {
		links = append(links, int(uint32Of(oif)))
	}
	// struct rtnexthop: length, flags, hops, interface, attributes.
	for hops := attribute(all, unix.RTA_MULTIPATH); len(hops) >= unix.SizeofRtNexthop; {
		links = append(links, int(uint32Of(hops[4:])))
		length := (int(binary.NativeEndian.Uint16(hops)) + 3) &^ 3
		if length < unix.SizeofRtNexthop || length > len(hops) {
			break
		}
		hops = hops[length:]
	}
	return links
}

// Attributes of a route's message that x/sys/unix does not name.
const (
	rtaCacheInfo = 12
	rtaNextHop   = 30
)

// replayable leaves out what may be read and not written, as `ip route restore` does.
// A route that expires (from a router advertisement) keeps the time it has left.
func replayable(family byte, all []netlink.Attribute) []netlink.Attribute {
	byObject := attribute(all, rtaNextHop) != nil
	var kept []netlink.Attribute
	for _, a := range all {
		switch kind := a.Type & attributeType; {
		case kind == rtaCacheInfo:
			// struct rta_cacheinfo: clntref, lastuse, expires in ticks of 10 ms.
			if family == unix.AF_INET6 && len(a.Data) >= 12 {
				if ticks := int32(uint32Of(a.Data[8:])); ticks > 0 {
					kept = append(kept, netlink.Attribute{Type: unix.RTA_EXPIRES, Data: bytes32(uint32(ticks/100 + 1))})
				}
			}
		case byObject && slices.Contains([]uint16{unix.RTA_OIF, unix.RTA_GATEWAY, unix.RTA_MULTIPATH, unix.RTA_VIA}, kind):
		default:
			kept = append(kept, netlink.Attribute{Type: a.Type, Data: a.Data})
		}
	}
	return kept
}

// sameRoute compares messages, less the time that is left.
func sameRoute(a, b []byte) bool {
	return slices.Equal(lasting(a), lasting(b))
}

func lasting(m []byte) []byte {
	all, err := attributes(m, routeHeader)
	if err != nil {
		return m
	}
	all = slices.DeleteFunc(all, func(a netlink.Attribute) bool { return a.Type == unix.RTA_EXPIRES })
	text, err := message(m[:routeHeader], all)
	if err != nil {
		return m
	}
	return text
}

// saveRoutes groups routes by their keys.
func saveRoutes(all []route, watched bool) []saved {
	var kept []saved
	at := map[key]int{}
	for _, r := range all {
		i, ok := at[r.key]
		if !ok {
			i = len(kept)
			at[r.key] = i
			kept = append(kept, saved{key: r.key, Watched: watched})
		}
		kept[i].Old = append(kept[i].Old, encode(r.message))
	}
	return kept
}

func (h *Host) prepareRoute(t Target, c *synclinev1.RouteChange) (plan, error) {
	to, err := netip.ParsePrefix(c.GetDestination())
	if err != nil {
		return plan{}, fmt.Errorf("route to %q: a prefix such as 10.77.0.2/32 is needed: %w", c.GetDestination(), err)
	}
	to = netip.PrefixFrom(to.Addr().Unmap(), to.Bits()).Masked()
	if t.Controller.IsValid() && to.Contains(t.Controller.Addr().Unmap()) {
		return plan{}, fmt.Errorf("route to %v: it is the way to the controller at %v, which would be lost", to, t.Controller.Addr())
	}
	all, err := routes()
	if err != nil {
		return plan{}, err
	}
	priority := bestPriority(all, to)
	m, err := h.routeMessage(t, c, to, priority)
	if err != nil {
		return plan{}, err
	}
	r, _, err := parseRoute(m)
	if err != nil {
		return plan{}, err
	}
	old := saved{key: r.key}
	for _, other := range all {
		if other.key == r.key {
			old.Old = append(old.Old, encode(other.message))
		}
	}
	return plan{saved: []saved{old}, make: func() error { return replaceRoute(m, old.Old) }}, nil
}

// bestPriority is that of the route which the kernel prefers to this destination now,
// so that the lab's replaces it; 0 (for IPv6 what the kernel takes) if there is none.
func bestPriority(all []route, to netip.Prefix) uint32 {
	best, found := uint32(0), false
	for _, r := range all {
		attrs, err := attributes(r.message, routeHeader)
		if err != nil || !strings.HasPrefix(r.key.Name, to.String()+" table 254 ") {
			continue
		}
		if p := uint32Of(attribute(attrs, unix.RTA_PRIORITY)); !found || p < best {
			best, found = p, true
		}
	}
	if !found && to.Addr().Is6() {
		return 1024 // IP6_RT_PRIO_USER
	}
	return best
}

// replaceRoute puts one route in the place of all with its key.
func replaceRoute(m []byte, old []string) error {
	if len(old) > 1 {
		// The kernel would replace one hop of several.
		for _, text := range old {
			if err := deleteRoute(text); err != nil {
				return err
			}
		}
	}
	if err := command(unix.RTM_NEWROUTE, netlink.Create|netlink.Replace, m); err != nil {
		return fmt.Errorf("add the route: %w", err)
	}
	return nil
}

func deleteRoute(text string) error {
	m, err := decode(text, routeHeader)
	if err != nil {
		return err
	}
	err = command(unix.RTM_DELROUTE, 0, m)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("delete a route: %w", err)
	}
	return nil
}

func (h *Host) routeMessage(t Target, c *synclinev1.RouteChange, to netip.Prefix, priority uint32) ([]byte, error) {
	header := make([]byte, routeHeader)
	header[0], header[1] = familyOf(to.Addr()), byte(to.Bits())
	header[4], header[5] = unix.RT_TABLE_MAIN, protocolLab
	attrs := []netlink.Attribute{{Type: unix.RTA_DST, Data: to.Addr().AsSlice()}}
	if priority != 0 {
		attrs = append(attrs, netlink.Attribute{Type: unix.RTA_PRIORITY, Data: bytes32(priority)})
	}
	kinds := map[string]byte{
		"unicast": unix.RTN_UNICAST, "blackhole": unix.RTN_BLACKHOLE, "unreachable": unix.RTN_UNREACHABLE, "prohibit": unix.RTN_PROHIBIT,
	}
	kind, ok := kinds[c.GetKind()]
	if !ok {
		return nil, fmt.Errorf("kind of route %q: one of unicast, blackhole, unreachable, prohibit is needed", c.GetKind())
	}
	header[7] = kind
	metrics, err := routeMetrics(c)
	if err != nil {
		return nil, err
	}
	if metrics != nil {
		attrs = append(attrs, netlink.Attribute{Type: unix.RTA_METRICS | unix.NLA_F_NESTED, Data: metrics})
	}
	if kind == unix.RTN_UNICAST {
		way, err := h.way(t, c, to)
		if err != nil {
			return nil, err
		}
		attrs = append(attrs, way.attributes()...)
		if !way.gateway.IsValid() && to.Addr().Is4() {
			header[6] = unix.RT_SCOPE_LINK
		}
	}
	if err := notOwn(t, to); err != nil {
		return nil, err
	}
	return message(header, attrs)
}

// notOwn refuses a route to this host's own address: the table of local addresses is
// asked first, so that it would do nothing.
func notOwn(t Target, to netip.Prefix) error {
	if to.IsSingleIP() && (to.Addr() == t.Own.Unmap() || to.Addr().IsLoopback()) {
		return fmt.Errorf("%v is an address of this host itself, to which no route leads", to.Addr())
	}
	return nil
}

// routeMetrics is RTA_METRICS, or nil without any.
func routeMetrics(c *synclinev1.RouteChange) ([]byte, error) {
	var metrics []netlink.Attribute
	lock := uint32(0)
	for _, m := range []struct {
		kind  uint16
		value uint32
	}{
		{unix.RTAX_MTU, c.GetMtu()}, {unix.RTAX_ADVMSS, c.GetAdvmss()}, {unix.RTAX_INITCWND, c.GetInitcwnd()},
		{unix.RTAX_RTO_MIN, c.GetRtoMinMs()},
	} {
		if m.value == 0 {
			continue
		}
		metrics = append(metrics, netlink.Attribute{Type: m.kind, Data: bytes32(m.value)})
		if m.kind == unix.RTAX_RTO_MIN {
			// tcp_rto_min heeds only a locked one.
			lock |= 1 << unix.RTAX_RTO_MIN
		}
	}
	if metrics == nil {
		return nil, nil
	}
	if lock != 0 {
		metrics = append(metrics, netlink.Attribute{Type: unix.RTAX_LOCK, Data: bytes32(lock)})
	}
	text, err := netlink.MarshalAttributes(metrics)
	if err != nil {
		return nil, fmt.Errorf("encode the metrics of a route: %w", err)
	}
	return text, nil
}

// way is how packets leave for a destination.
type way struct {
	link    int
	gateway netip.Addr
}

func (w way) attributes() []netlink.Attribute {
	attrs := []netlink.Attribute{{Type: unix.RTA_OIF, Data: bytes32(uint32(w.link))}}
	if w.gateway.IsValid() {
		attrs = append(attrs, netlink.Attribute{Type: unix.RTA_GATEWAY, Data: w.gateway.AsSlice()})
	}
	return attrs
}

// way is the gateway that the author names or, without one, as the kernel sends to the
// destination now, so that a route with metrics alone keeps its way. A destination that
// it cannot reach now is looked for on the link of the run.
func (h *Host) way(t Target, c *synclinev1.RouteChange, to netip.Prefix) (way, error) {
	own, err := h.link(t)
	if err != nil {
		return way{}, err
	}
	if c.GetGateway() == "" {
		if w, err := wayTo(to.Addr()); err == nil {
			return w, nil
		}
		return way{link: own.index}, nil
	}
	gateway, err := netip.ParseAddr(c.GetGateway())
	if err != nil {
		return way{}, fmt.Errorf("gateway %q is no address: %w", c.GetGateway(), err)
	}
	gateway = gateway.Unmap()
	if gateway.Is4() != to.Addr().Is4() {
		return way{}, fmt.Errorf("gateway %v is of another family than %v", gateway, to)
	}
	if w, err := wayTo(gateway); err == nil {
		return way{link: w.link, gateway: gateway}, nil
	}
	return way{link: own.index, gateway: gateway}, nil
}

// wayTo asks the kernel how it sends to an address.
func wayTo(a netip.Addr) (way, error) {
	header := make([]byte, routeHeader)
	header[0], header[1] = familyOf(a), byte(a.BitLen())
	body, err := message(header, []netlink.Attribute{{Type: unix.RTA_DST, Data: a.AsSlice()}})
	if err != nil {
		return way{}, err
	}
	bodies, err := ask(unix.RTM_GETROUTE, 0, body)
	if err != nil {
		return way{}, fmt.Errorf("look up the route to %v: %w", a, err)
	}
	if len(bodies) != 1 {
		return way{}, fmt.Errorf("look up the route to %v: %d answers", a, len(bodies))
	}
	attrs, err := attributes(bodies[0], routeHeader)
	if err != nil {
		return way{}, err
	}
	w := way{link: int(uint32Of(attribute(attrs, unix.RTA_OIF)))}
	w.gateway, _ = netip.AddrFromSlice(attribute(attrs, unix.RTA_GATEWAY))
	if w.link == 0 {
		return way{}, fmt.Errorf("the route to %v leaves by no interface", a)
	}
	return w, nil
}

func familyOf(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// restoreRoutes makes the routes of each key what they were, but for those that the
// kernel has made since with an address. Routes on the link come before those by a
// gateway on it.
func (h *Host) restoreRoutes(back []putBack) error {
	if len(back) == 0 {
		return nil
	}
	now, err := routes()
	if err != nil {
		return err
	}
	own, err := addresses()
	if err != nil {
		return err
	}
	var missing []putBack
	for _, b := range back {
		current := slices.DeleteFunc(slices.Clone(now), func(r route) bool { return r.key != b.key })
		added, err := h.replaceOthers(b, current, own)
		if err != nil {
			return err
		}
		missing = append(missing, added...)
	}
	for _, gateways := range []bool{false, true} {
		for _, b := range missing {
			if err := h.unlessCovered(b, addRoute(b, gateways)); err != nil {
				return err
			}
		}
	}
	return nil
}

// replaceOthers deletes the routes of b's key if they are not those that were saved,
// and returns, one by one, those to be added.
func (h *Host) replaceOthers(b putBack, current []route, own []address) ([]putBack, error) {
	var wanted []putBack
	for _, old := range b.Old {
		lost, err := sourceLost(old, own)
		if err != nil {
			return nil, err
		}
		if lost {
			h.log.Info("a route that was changed had an address as its source that is gone, nothing is to be put back", "route", b.Name)
			continue
		}
		one := b
		one.Old = []string{old}
		wanted = append(wanted, one)
	}
	same, err := sameRoutes(current, wanted)
	if same || err != nil {
		return nil, err
	}
	for _, r := range current {
		if r.kernel() {
			continue
		}
		if err := deleteRoute(encode(r.message)); err != nil {
			return nil, err
		}
	}
	return wanted, nil
}

// sourceLost reports whether a route prefers an address as its source that the host has
// no more: the kernel drops such a route with the address.
func sourceLost(text string, own []address) (bool, error) {
	m, err := decode(text, routeHeader)
	if err != nil {
		return false, err
	}
	all, err := attributes(m, routeHeader)
	if err != nil {
		return false, err
	}
	source, ok := netip.AddrFromSlice(attribute(all, unix.RTA_PREFSRC))
	return ok && !slices.ContainsFunc(own, func(a address) bool { return a.prefix.Addr() == source }), nil
}

func sameRoutes(current []route, wanted []putBack) (bool, error) {
	if len(current) != len(wanted) {
		return false, nil
	}
	for i, b := range wanted {
		m, err := decode(b.Old[0], routeHeader)
		if err != nil {
			return false, err
		}
		if !sameRoute(current[i].message, m) {
			return false, nil
		}
	}
	return true, nil
}

// addRoute adds one that was saved, if it goes by a gateway or not as asked.
func addRoute(b putBack, gateways bool) error {
	m, err := decode(b.Old[0], routeHeader)
	if err != nil {
		return err
	}
	attrs, err := attributes(m, routeHeader)
	if err != nil {
		return err
	}
	direct := attribute(attrs, unix.RTA_GATEWAY) == nil && attribute(attrs, unix.RTA_MULTIPATH) == nil && attribute(attrs, unix.RTA_VIA) == nil
	if direct == gateways {
		return nil
	}
	err = command(unix.RTM_NEWROUTE, netlink.Create|netlink.Append, m)
	switch {
	case err == nil, errors.Is(err, unix.EEXIST):
		return nil
	case errors.Is(err, unix.ENODEV):
		// Its interface is gone, and the route with it.
		return nil
	}
	return fmt.Errorf("put back the route %s: %w", b.Name, err)
}
