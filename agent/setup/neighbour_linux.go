package setup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// nobody is a locally administered link address that no interface of the lab has.
var nobody = []byte{0x02, 0x00, 0x00, 0x00, 0x00, 0x01}

// neighbour is an entry of the ARP table or of IPv6's neighbour cache.
type neighbour struct {
	key     key
	address netip.Addr
	state   uint16
	message []byte
}

func neighbours() ([]neighbour, error) {
	bodies, err := dump(unix.RTM_GETNEIGH, make([]byte, neighbourHeader))
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	var all []neighbour
	for _, body := range bodies {
		if len(body) < neighbourHeader || body[0] != unix.AF_INET && body[0] != unix.AF_INET6 {
			continue
		}
		n, err := parseNeighbour(body)
		if err != nil {
			return nil, fmt.Errorf("read a neighbour: %w", err)
		}
		all = append(all, n)
	}
	return all, nil
}

func parseNeighbour(body []byte) (neighbour, error) {
	all, err := attributes(body, neighbourHeader)
	if err != nil {
		return neighbour{}, err
	}
	addr, ok := netip.AddrFromSlice(attribute(all, unix.NDA_DST))
	if !ok {
		return neighbour{}, errors.New("a neighbour without an address")
	}
	n := neighbour{address: addr, state: binary.NativeEndian.Uint16(body[8:])}
	n.key = neighbourKey(int(binary.NativeEndian.Uint32(body[4:])), addr)
	kept := slices.DeleteFunc(all, func(a netlink.Attribute) bool {
		return a.Type == unix.NDA_CACHEINFO || a.Type == unix.NDA_PROBES
	})
	n.message, err = message(slices.Clone(body[:neighbourHeader]), kept)
	return n, err
}

func neighbourKey(index int, a netip.Addr) key {
	return key{Kind: kindNeighbour, Link: index, Name: a.String()}
}

// neighbourHeaderOf is struct ndmsg.
func neighbourHeaderOf(index int, a netip.Addr, state uint16) []byte {
	b := make([]byte, neighbourHeader)
	b[0] = familyOf(a)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint16(b[8:], state)
	return b
}

// prepareNeighbour is about the neighbours by which the named address is reached: the
// address itself on the link, else its gateway.
func (h *Host) prepareNeighbour(t Target, c *synclinev1.NeighbourChange) (plan, error) {
	l, err := h.link(t)
	if err != nil {
		return plan{}, err
	}
	if l.hardware == 0 {
		return plan{}, fmt.Errorf("interface %s has no link addresses, so that it has no neighbours either", l.name)
	}
	of := t.Peers
	if c.GetAddress() != "" {
		a, err := netip.ParseAddr(c.GetAddress())
		if err != nil {
			return plan{}, fmt.Errorf("address %q: %w", c.GetAddress(), err)
		}
		of = []netip.Addr{a}
	}
	hops := nextHops(of)
	all, err := neighbours()
	if err != nil {
		return plan{}, err
	}
	all = slices.DeleteFunc(all, func(n neighbour) bool { return n.key.Link != l.index || !slices.Contains(hops, n.address) })
	if !c.GetNowhere() {
		return plan{make: func() error { return forget(all) }}, nil
	}
	if l.hardware != len(nobody) {
		return plan{}, fmt.Errorf("interface %s has link addresses of %d bytes, and only Ethernet's 6 are known here: %w", l.name, l.hardware, ErrUnsupported)
	}
	if len(hops) == 0 {
		return plan{}, errors.New("the run has no other address that could be sent nowhere")
	}
	if t.Controller.IsValid() && slices.Contains(hops, nextHop(t.Controller.Addr())) {
		return plan{}, fmt.Errorf("the controller at %v is reached by the same neighbour and would be lost", t.Controller.Addr())
	}
	return fix(l, hops, all), nil
}

func nextHops(of []netip.Addr) []netip.Addr {
	var hops []netip.Addr
	for _, a := range of {
		if hop := nextHop(a); !slices.Contains(hops, hop) {
			hops = append(hops, hop)
		}
	}
	return hops
}

func nextHop(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if w, err := wayTo(a); err == nil && w.gateway.IsValid() {
		return w.gateway
	}
	return a
}

// forget deletes what was learnt. What somebody has fixed stays.
func forget(all []neighbour) error {
	for _, n := range all {
		if n.state&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0 {
			continue
		}
		if err := deleteNeighbour(n.key.Link, n.address); err != nil {
			return err
		}
	}
	return nil
}

// fix gives all hops the link address of nobody.
func fix(l link, hops []netip.Addr, all []neighbour) plan {
	var p plan
	for _, hop := range hops {
		s := saved{key: neighbourKey(l.index, hop)}
		for _, n := range all {
			if n.address == hop && n.state&unix.NUD_PERMANENT != 0 {
				s.Old = []string{encode(n.message)}
			}
		}
		p.saved = append(p.saved, s)
	}
	p.make = func() error {
		for _, hop := range hops {
			m, err := message(neighbourHeaderOf(l.index, hop, unix.NUD_PERMANENT), []netlink.Attribute{
				{Type: unix.NDA_DST, Data: hop.AsSlice()}, {Type: unix.NDA_LLADDR, Data: nobody},
			})
			if err == nil {
				err = command(unix.RTM_NEWNEIGH, netlink.Create|netlink.Replace, m)
			}
			if err != nil {
				return fmt.Errorf("fix the link address of %v on %s: %w", hop, l.name, err)
			}
		}
		return nil
	}
	return p
}

func deleteNeighbour(index int, a netip.Addr) error {
	m, err := message(neighbourHeaderOf(index, a, 0), []netlink.Attribute{{Type: unix.NDA_DST, Data: a.AsSlice()}})
	if err != nil {
		return err
	}
	err = command(unix.RTM_DELNEIGH, 0, m)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("forget neighbour %v: %w", a, err)
	}
	return nil
}

// restoreNeighbour puts back an entry that somebody had fixed, or forgets the lab's.
// What had been learnt is learnt again.
func (h *Host) restoreNeighbour(b putBack) error {
	a, err := netip.ParseAddr(b.Name)
	if err != nil {
		return fmt.Errorf("neighbour %q: %w: %w", b.Name, errDamaged, err)
	}
	all, err := neighbours()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(n neighbour) bool { return n.key == b.key && n.state&unix.NUD_PERMANENT != 0 })
	if len(b.Old) == 0 {
		if i < 0 {
			return nil
		}
		return deleteNeighbour(b.Link, a)
	}
	m, err := decode(b.Old[0], neighbourHeader)
	if err != nil || i >= 0 && slices.Equal(all[i].message, m) {
		return err
	}
	err = command(unix.RTM_NEWNEIGH, netlink.Create|netlink.Replace, m)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("put back neighbour %v: %w", a, err)
	}
	return nil
}
