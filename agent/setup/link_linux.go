package setup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// carrierTimeout bounds the wait for an interface that was up to be so again; a real
// one negotiates its speed for some seconds. carrierPoll is how often it is asked.
const (
	carrierTimeout = 10 * time.Second
	carrierPoll    = 2 * time.Millisecond
)

// IF_OPER_UP of linux/if.h: RFC 2863's ifOperStatus as the kernel numbers it.
const operUp = 6

// link is an interface as it is now.
type link struct {
	index int
	name  string
	mtu   int
	up    bool
	oper  int
	// hardware is the length of its link address; without one it has no neighbours.
	hardware int
	loopback bool
}

// link finds the interface of the run: the one that has, or had, the host's address.
func (h *Host) link(t Target) (link, error) {
	if !t.Own.IsValid() {
		return link{}, errors.New("this host has no address in the run, so that its interface is not known")
	}
	index, err := linkOf(t.Own)
	if err != nil {
		return link{}, err
	}
	if index != 0 {
		h.links[t.Own] = index
	}
	if index = h.links[t.Own]; index == 0 {
		return link{}, fmt.Errorf("no interface of this host has its address in the run, %v: look at `ip address` and at the agent's --address", t.Own)
	}
	return linkByIndex(index)
}

// linkOf is the index of the interface that has an address, or 0. All of 127.0.0.0/8
// is on the loopback.
func linkOf(a netip.Addr) (int, error) {
	a = a.Unmap().WithZone("")
	all, err := net.Interfaces()
	if err != nil {
		return 0, fmt.Errorf("list interfaces: %w", err)
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil {
			return 0, fmt.Errorf("list the addresses of %s: %w", i.Name, err)
		}
		for _, addr := range addrs {
			prefix, err := netip.ParsePrefix(addr.String())
			if err != nil {
				continue
			}
			if prefix.Addr().Unmap() == a || a.IsLoopback() && i.Flags&net.FlagLoopback != 0 && prefix.Contains(a) {
				return i.Index, nil
			}
		}
	}
	return 0, nil
}

func linkByIndex(index int) (link, error) {
	bodies, err := ask(unix.RTM_GETLINK, 0, infoHeader(index, 0, 0))
	if err != nil {
		return link{}, fmt.Errorf("look up the interface with index %d: %w", index, err)
	}
	if len(bodies) != 1 {
		return link{}, fmt.Errorf("look up the interface with index %d: %d answers", index, len(bodies))
	}
	all, err := attributes(bodies[0], linkHeader)
	if err != nil {
		return link{}, err
	}
	flags := binary.NativeEndian.Uint32(bodies[0][8:])
	l := link{
		index: index, name: unix.ByteSliceToString(attribute(all, unix.IFLA_IFNAME)),
		mtu: int(uint32Of(attribute(all, unix.IFLA_MTU))), up: flags&unix.IFF_UP != 0,
		loopback: flags&unix.IFF_LOOPBACK != 0,
	}
	if oper := attribute(all, unix.IFLA_OPERSTATE); len(oper) == 1 {
		l.oper = int(oper[0])
	}
	if flags&(unix.IFF_NOARP|unix.IFF_LOOPBACK) == 0 {
		l.hardware = len(attribute(all, unix.IFLA_ADDRESS))
	}
	return l, nil
}

// infoHeader is struct ifinfomsg.
func infoHeader(index int, flags, change uint32) []byte {
	b := make([]byte, linkHeader)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], change)
	return b
}

func setUp(index int, up bool) error {
	flags := uint32(0)
	if up {
		flags = unix.IFF_UP
	}
	return command(unix.RTM_NEWLINK, 0, infoHeader(index, flags, unix.IFF_UP))
}

func setMTU(index, mtu int) error {
	m, err := message(infoHeader(index, 0, 0), []netlink.Attribute{{Type: unix.IFLA_MTU, Data: bytes32(uint32(mtu))}})
	if err != nil {
		return err
	}
	return command(unix.RTM_NEWLINK, 0, m)
}

// watchLinks saves what hangs on an interface, or on all (0): its addresses, the routes
// that somebody added and that leave by it or by none, the neighbours that somebody has
// fixed. The kernel's own routes come with their addresses.
func watchLinks(index int) ([]saved, error) {
	var kept []saved
	addresses, err := addresses()
	if err != nil {
		return nil, err
	}
	for _, a := range addresses {
		if index == 0 || a.key.Link == index {
			kept = append(kept, saved{key: a.key, Old: []string{encode(a.message)}, Watched: true})
		}
	}
	all, err := routes()
	if err != nil {
		return nil, err
	}
	var leaving []route
	for _, r := range all {
		if !r.kernel() && (index == 0 || r.leavesBy(index)) {
			leaving = append(leaving, r)
		}
	}
	kept = append(kept, saveRoutes(leaving, true)...)
	neighbours, err := neighbours()
	if err != nil {
		return nil, err
	}
	for _, n := range neighbours {
		if n.state&unix.NUD_PERMANENT != 0 && (index == 0 || n.key.Link == index) {
			kept = append(kept, saved{key: n.key, Old: []string{encode(n.message)}, Watched: true})
		}
	}
	return kept, nil
}

// kernel reports whether the kernel made the route with an address.
func (r route) kernel() bool { return r.message[5] == unix.RTPROT_KERNEL }

func (r route) leavesBy(index int) bool {
	for _, l := range r.links {
		if l == index {
			return true
		}
	}
	return len(r.links) == 0
}

// prepareLink looks into a change of the interface of the run. All parts of it are one
// entry of the journal.
func (h *Host) prepareLink(t Target, c *synclinev1.LinkChange) (plan, error) {
	l, err := h.link(t)
	if err != nil {
		return plan{}, err
	}
	if c.GetDown() {
		if err := notControl(t, l, "taking it down"); err != nil {
			return plan{}, err
		}
	}
	var p plan
	var makes []func() error
	for _, part := range []func(link, *synclinev1.LinkChange) (plan, error){prepareMTU, prepareOffload, prepareRate, prepareDown} {
		q, err := part(l, c)
		if err != nil {
			return plan{}, err
		}
		if q.make != nil {
			p.saved, makes = append(p.saved, q.saved...), append(makes, q.make)
		}
	}
	if len(makes) == 0 {
		return plan{}, errors.New("a change of the link that says none of down, mtu, rate, no offload")
	}
	p.saved = distinct(p.saved)
	p.holds = c.GetDown() || c.GetMtu() != 0 && c.GetMtu() < minIPv6MTU
	p.make = func() error {
		for _, m := range makes {
			if err := m(); err != nil {
				return err
			}
		}
		return nil
	}
	return p, nil
}

// distinct keeps one of what several parts have saved, rather as changed than as
// watched.
func distinct(all []saved) []saved {
	at := map[key]int{}
	var kept []saved
	for _, s := range all {
		i, ok := at[s.key]
		if !ok {
			at[s.key] = len(kept)
			kept = append(kept, s)
			continue
		}
		kept[i].Watched = kept[i].Watched && s.Watched
	}
	return kept
}

// notControl refuses what would cut the agent off from its controller.
func notControl(t Target, l link, what string) error {
	if !t.Control.IsValid() {
		return nil
	}
	index, err := linkOf(t.Control.Addr())
	if err != nil {
		return err
	}
	if index == l.index {
		return fmt.Errorf("interface %s carries the agent's own connection to its controller (%v), which %s would cut: give the agent a second interface for it", l.name, t.Control, what)
	}
	return nil
}

func prepareDown(l link, c *synclinev1.LinkChange) (plan, error) {
	if !c.GetDown() {
		return plan{}, nil
	}
	kept, err := watchLinks(l.index)
	if err != nil {
		return plan{}, err
	}
	old := saved{key: key{Kind: kindLink, Link: l.index, Name: l.name}, Old: []string{"down", strconv.Itoa(l.oper)}}
	if l.up {
		old.Old[0] = "up"
	}
	return plan{saved: append([]saved{old}, kept...), make: func() error {
		if err := setUp(l.index, false); err != nil {
			return fmt.Errorf("take interface %s down: %w", l.name, err)
		}
		return nil
	}}, nil
}

// minIPv6MTU is IPV6_MIN_MTU: below it the kernel takes IPv6 off an interface, with its
// addresses, routes and settings.
const minIPv6MTU = 1280

func prepareMTU(l link, c *synclinev1.LinkChange) (plan, error) {
	if c.GetMtu() == 0 {
		return plan{}, nil
	}
	old := saved{key: key{Kind: kindMTU, Link: l.index, Name: l.name}, Old: []string{strconv.Itoa(l.mtu)}}
	if six, err := readSysctl(mtuOfIPv6(l)); err == nil {
		old.Old = append(old.Old, six)
	}
	watched, err := watchLinks(l.index)
	if err != nil {
		return plan{}, err
	}
	kept := append([]saved{old}, watched...)
	if c.GetMtu() < minIPv6MTU {
		for _, tree := range []string{"net/ipv6/conf/", "net/ipv6/neigh/"} {
			kept = append(kept, watchSysctls(procSys+tree+l.name)...)
		}
	}
	return plan{saved: kept, make: func() error {
		if err := setMTU(l.index, int(c.GetMtu())); err != nil {
			return fmt.Errorf("set the MTU of interface %s to %d: %w", l.name, c.GetMtu(), err)
		}
		return nil
	}}, nil
}

// mtuOfIPv6 is the sysctl of the MTU that IPv6 has on an interface. It follows the
// interface's own whenever that changes, and may then be set lower.
func mtuOfIPv6(l link) string {
	return "net.ipv6.conf." + strings.ReplaceAll(l.name, ".", "/") + ".mtu"
}

// restoreMTU sets the MTU back, and IPv6's if it had one.
func (h *Host) restoreMTU(b putBack) error {
	var numbers []int
	for _, text := range b.Old {
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("the MTU of %s: %w: %w", b.Name, errDamaged, err)
		}
		numbers = append(numbers, n)
	}
	if len(numbers) != 1 && len(numbers) != 2 {
		return fmt.Errorf("the MTU of %s: %d values: %w", b.Name, len(numbers), errDamaged)
	}
	l, err := h.surviving(b.key)
	if err != nil || l.index == 0 {
		return err
	}
	if l.mtu != numbers[0] {
		if err := setMTU(l.index, numbers[0]); err != nil {
			return fmt.Errorf("set the MTU of interface %s back to %d: %w", l.name, numbers[0], err)
		}
	}
	if len(numbers) == 1 {
		return nil
	}
	return h.restoreSysctl(putBack{saved: saved{key: key{Kind: kindSysctl, Name: mtuOfIPv6(l)}, Old: b.Old[1:]}})
}

// surviving looks up the interface of a key; index 0: it is gone, and what it had went
// with it.
func (h *Host) surviving(k key) (link, error) {
	l, err := linkByIndex(k.Link)
	if errors.Is(err, unix.ENODEV) {
		h.log.Info("an interface that was changed is gone, nothing is to be put back", "interface", k.Name, "index", k.Link, "kind", string(k.Kind))
		return link{}, nil
	}
	return l, err
}

func (h *Host) restoreLink(ctx context.Context, b putBack) error {
	if len(b.Old) != 2 {
		return fmt.Errorf("the state of %s: %w", b.Name, errDamaged)
	}
	l, err := h.surviving(b.key)
	if err != nil || l.index == 0 {
		return err
	}
	up := b.Old[0] == "up"
	if l.up != up {
		if err := setUp(l.index, up); err != nil {
			return fmt.Errorf("set interface %s %s: %w", l.name, b.Old[0], err)
		}
	}
	if up && b.Old[1] == strconv.Itoa(operUp) {
		return h.awaitCarrier(ctx, l)
	}
	return nil
}

// awaitCarrier waits until the interface carries packets again. The kernel makes its
// link-local address then, and takes no notice of others that are added before. A
// cable that was pulled meanwhile is no error.
func (h *Host) awaitCarrier(ctx context.Context, l link) error {
	deadline := time.NewTimer(carrierTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(carrierPoll)
	defer tick.Stop()
	for {
		now, err := linkByIndex(l.index)
		if err != nil {
			return err
		}
		if now.oper == operUp {
			return nil
		}
		select {
		case <-tick.C:
			continue
		case <-deadline.C:
		case <-ctx.Done():
		}
		h.log.Warn("an interface was set up again and has no carrier yet", "interface", l.name, "waited", carrierTimeout)
		return nil
	}
}
