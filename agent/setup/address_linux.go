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

// address is an address of an interface as the kernel told it, less what is its state.
type address struct {
	key     key
	prefix  netip.Prefix
	message []byte
	// tentative: not usable yet, others are asked whether they have it (RFC 4862).
	tentative bool
}

// addresses lists those of all interfaces, in the kernel's order, which for IPv4 is
// the order in which it prefers them as source.
func addresses() ([]address, error) {
	bodies, err := dump(unix.RTM_GETADDR, make([]byte, addressHeader))
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var all []address
	for _, body := range bodies {
		if len(body) == 0 || body[0] != unix.AF_INET && body[0] != unix.AF_INET6 {
			continue
		}
		a, err := parseAddress(body)
		if err != nil {
			return nil, fmt.Errorf("read an address: %w", err)
		}
		all = append(all, a)
	}
	return all, nil
}

// stateFlags are set by the kernel as it comes to know more of an address.
const stateFlags = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_OPTIMISTIC

func parseAddress(body []byte) (address, error) {
	all, err := attributes(body, addressHeader)
	if err != nil {
		return address{}, err
	}
	header := slices.Clone(body[:addressHeader])
	flags := uint32(header[2])
	if b := attribute(all, unix.IFA_FLAGS); b != nil {
		flags = uint32Of(b)
	}
	a := address{tentative: header[0] == unix.AF_INET6 && flags&unix.IFA_F_TENTATIVE != 0}
	flags &^= stateFlags
	if header[0] == unix.AF_INET {
		// The kernel says itself which address of a network is the first.
		flags &^= unix.IFA_F_SECONDARY
	}
	own, peer := attribute(all, unix.IFA_LOCAL), attribute(all, unix.IFA_ADDRESS)
	if own == nil {
		own = peer
	}
	addr, ok := netip.AddrFromSlice(own)
	if !ok {
		return address{}, fmt.Errorf("address of %d bytes", len(own))
	}
	a.prefix = netip.PrefixFrom(addr, int(header[1]))
	a.key = key{Kind: kindAddress, Link: int(binary.NativeEndian.Uint32(header[4:])), Name: a.prefix.String()}
	if other, ok := netip.AddrFromSlice(peer); ok && other != addr {
		a.key.Name += " peer " + other.String()
	}
	header[2] = byte(flags)
	a.message, err = message(header, settable(all, flags))
	return a, err
}

// settable leaves out the times at which an address was made and changed.
func settable(all []netlink.Attribute, flags uint32) []netlink.Attribute {
	var kept []netlink.Attribute
	for _, a := range all {
		data := a.Data
		switch {
		case a.Type == unix.IFA_FLAGS:
			data = bytes32(flags)
		case a.Type == unix.IFA_CACHEINFO && len(data) >= unix.SizeofIfaCacheinfo:
			// struct ifa_cacheinfo: preferred and valid lifetime, two stamps.
			data = slices.Clone(data)
			clear(data[8:16])
		}
		kept = append(kept, netlink.Attribute{Type: a.Type, Data: data})
	}
	return kept
}

// sameAddress compares messages, less the lifetimes of those that do not last.
func sameAddress(a, b []byte) bool { return slices.Equal(withoutLifetime(a), withoutLifetime(b)) }

func withoutLifetime(m []byte) []byte {
	all, err := attributes(m, addressHeader)
	if err != nil {
		return m
	}
	for i, a := range all {
		if a.Type == unix.IFA_CACHEINFO && len(a.Data) >= 8 && uint32Of(a.Data[4:]) != ^uint32(0) {
			data := slices.Clone(a.Data)
			clear(data[:8])
			all[i].Data = data
		}
	}
	text, err := message(m[:addressHeader], all)
	if err != nil {
		return m
	}
	return text
}

func (h *Host) prepareAddress(t Target, c *synclinev1.AddressChange) (plan, error) {
	l, err := h.link(t)
	if err != nil {
		return plan{}, err
	}
	all, err := addresses()
	if err != nil {
		return plan{}, err
	}
	all = slices.DeleteFunc(all, func(a address) bool { return a.key.Link != l.index })
	if c.GetRemove() {
		return prepareRemove(t, l, all, c.GetAddress())
	}
	prefix, err := netip.ParsePrefix(c.GetAddress())
	if err != nil {
		return plan{}, fmt.Errorf("address %q: one with the length of its network is needed, such as 10.77.0.9/24: %w", c.GetAddress(), err)
	}
	prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits())
	if slices.ContainsFunc(all, func(a address) bool { return a.prefix.Addr() == prefix.Addr() }) {
		return plan{}, fmt.Errorf("interface %s has the address %v already", l.name, prefix.Addr())
	}
	m, err := addressMessage(l.index, prefix)
	if err != nil {
		return plan{}, err
	}
	kept := []saved{{key: key{Kind: kindAddress, Link: l.index, Name: prefix.String()}}}
	return plan{saved: kept, make: func() error {
		if err := command(unix.RTM_NEWADDR, netlink.Create|netlink.Excl, m); err != nil {
			return fmt.Errorf("add %v to interface %s: %w", prefix, l.name, err)
		}
		return nil
	}}, nil
}

// addressMessage asks for an address that is usable at once.
func addressMessage(index int, prefix netip.Prefix) ([]byte, error) {
	header := make([]byte, addressHeader)
	header[0], header[1] = familyOf(prefix.Addr()), byte(prefix.Bits())
	binary.NativeEndian.PutUint32(header[4:], uint32(index))
	raw := prefix.Addr().AsSlice()
	attrs := []netlink.Attribute{{Type: unix.IFA_LOCAL, Data: raw}, {Type: unix.IFA_ADDRESS, Data: raw}}
	if prefix.Addr().Is6() {
		attrs = append(attrs, netlink.Attribute{Type: unix.IFA_FLAGS, Data: bytes32(unix.IFA_F_NODAD)})
	}
	return message(header, attrs)
}

// prepareRemove finds the address, whose network's length need not be given. With it
// the kernel drops routes, and for IPv4 perhaps the other addresses of its network.
func prepareRemove(t Target, l link, all []address, text string) (plan, error) {
	name, _, _ := strings.Cut(text, "/")
	wanted, err := netip.ParseAddr(name)
	if err != nil {
		return plan{}, fmt.Errorf("address %q: %w", text, err)
	}
	i := slices.IndexFunc(all, func(a address) bool { return a.prefix.Addr() == wanted.Unmap() })
	if i < 0 {
		return plan{}, fmt.Errorf("interface %s has no address %v", l.name, wanted)
	}
	if t.Control.IsValid() && t.Control.Addr().Unmap() == wanted.Unmap() {
		return plan{}, fmt.Errorf("%v is the address of the agent's own connection to its controller, which would be cut: give the agent a second address for it", wanted)
	}
	kept, err := watchLinks(l.index)
	if err != nil {
		return plan{}, err
	}
	for j := range kept {
		if kept[j].key == all[i].key {
			kept[j].Watched = false
		}
	}
	return plan{saved: kept, make: func() error { return deleteAddress(all[i].message) }}, nil
}

func deleteAddress(m []byte) error {
	err := command(unix.RTM_DELADDR, 0, m)
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove an address: %w", err)
	}
	return nil
}

// restoreAddresses makes the addresses of each key what they were, for IPv4 in their
// order.
func (h *Host) restoreAddresses(back []putBack) error {
	if len(back) == 0 {
		return nil
	}
	now, err := addresses()
	if err != nil {
		return err
	}
	groups := map[[2]int][]putBack{}
	for _, b := range back {
		family := unix.AF_INET6
		if !strings.Contains(b.Name, ":") {
			family = unix.AF_INET
		}
		at := [2]int{b.Link, family}
		groups[at] = append(groups[at], b)
	}
	var errs []error
	for at, group := range groups {
		current := slices.DeleteFunc(slices.Clone(now), func(a address) bool {
			return a.key.Link != at[0] || !slices.ContainsFunc(group, func(b putBack) bool { return b.key == a.key })
		})
		if at[1] == unix.AF_INET {
			errs = append(errs, restoreOrdered(current, group))
		} else {
			errs = append(errs, h.restoreIPv6(current, group))
		}
	}
	return errors.Join(errs...)
}

// restoreOrdered takes off what is there from the first address on that is not as it
// was, and adds what was. Removing a first address may remove others with it.
func restoreOrdered(current []address, group []putBack) error {
	wanted, err := messages(group)
	if err != nil {
		return err
	}
	same := 0
	for same < len(current) && same < len(wanted) && sameAddress(current[same].message, wanted[same]) {
		same++
	}
	for _, a := range slices.Backward(current[same:]) {
		if err := deleteAddress(a.message); err != nil {
			return err
		}
	}
	for _, m := range wanted[same:] {
		if err := addAddress(m); err != nil {
			return err
		}
	}
	return nil
}

// restoreIPv6 adds the last first: the kernel puts a new address before the others. One
// that is there and tentative, the kernel's own link-local one after the interface came
// up, is made anew, so that it need not be waited for.
func (h *Host) restoreIPv6(current []address, group []putBack) error {
	for _, b := range slices.Backward(group) {
		wanted, err := messages([]putBack{b})
		if err != nil {
			return err
		}
		i := slices.IndexFunc(current, func(a address) bool { return a.key == b.key })
		if i >= 0 {
			if len(wanted) == 1 && !current[i].tentative && sameAddress(current[i].message, wanted[0]) {
				continue
			}
			if err := deleteAddress(current[i].message); err != nil {
				return err
			}
		}
		for _, m := range wanted {
			if err := h.unlessCovered(b, addIPv6(m)); err != nil {
				return err
			}
		}
	}
	return nil
}

func messages(group []putBack) ([][]byte, error) {
	var all [][]byte
	for _, b := range group {
		for _, text := range b.Old {
			m, err := decode(text, addressHeader)
			if err != nil {
				return nil, err
			}
			all = append(all, m)
		}
	}
	return all, nil
}

func addAddress(m []byte) error {
	err := command(unix.RTM_NEWADDR, netlink.Create|netlink.Replace, m)
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("put back an address: %w", err)
	}
	return nil
}

// addIPv6 adds an address without asking others whether they have it, which it was
// found out before, and then gives it its own flags.
func addIPv6(m []byte) error {
	all, err := attributes(m, addressHeader)
	if err != nil {
		return err
	}
	flags := uint32(m[2])
	if f := attribute(all, unix.IFA_FLAGS); f != nil {
		flags = uint32Of(f)
	}
	sure, err := message(m[:addressHeader], settable(all, flags|unix.IFA_F_NODAD))
	if err != nil {
		return err
	}
	err = addAddress(sure)
	if err == nil && flags&unix.IFA_F_NODAD == 0 {
		err = addAddress(m)
	}
	return err
}
