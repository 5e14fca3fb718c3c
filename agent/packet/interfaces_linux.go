package packet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Interfaces finds the interfaces of the run's path, in the network namespace of the
// calling thread: those that hold the host's own address, and for each peer the one
// that the kernel's route to it takes from there. The kernel sends to any address of
// the host itself, own included, over lo. The names are in order of interface index,
// each once. Packets that come back by another way than they went are not seen; name
// that interface in the Config too.
func Interfaces(own netip.Addr, peers []netip.Addr) ([]string, error) {
	indices, err := holders(own)
	if err != nil {
		return nil, err
	}
	for _, peer := range peers {
		index, err := routeTo(own, peer)
		if err != nil {
			return nil, err
		}
		indices = append(indices, index)
	}
	slices.Sort(indices)
	var names []string
	for _, index := range slices.Compact(indices) {
		link, err := net.InterfaceByIndex(index)
		if err != nil {
			return nil, fmt.Errorf("packet: look up interface %d: %w", index, err)
		}
		names = append(names, link.Name)
	}
	return names, nil
}

// holders are the interfaces that an address is configured on. An address of the host
// that none has by name, such as 127.0.0.2, is where its route says.
func holders(own netip.Addr) ([]int, error) {
	family := netlink.FAMILY_V6
	if own.Unmap().Is4() {
		family = netlink.FAMILY_V4
	}
	addresses, err := listAddresses(family)
	if err != nil {
		return nil, fmt.Errorf("packet: list the addresses of this host: %w", err)
	}
	var indices []int
	for _, a := range addresses {
		if held, ok := netip.AddrFromSlice(a.IP); ok && held.Unmap() == own.Unmap().WithZone("") {
			indices = append(indices, a.LinkIndex)
		}
	}
	if len(indices) > 0 {
		return indices, nil
	}
	routes, err := netlink.RouteGet(own.AsSlice())
	if err != nil {
		return nil, fmt.Errorf("packet: find the route to own address %v: %w", own, err)
	}
	for _, r := range routes {
		if r.Type != unix.RTN_LOCAL {
			return nil, fmt.Errorf("packet: %v is no address of this host", own)
		}
		indices = append(indices, r.LinkIndex)
	}
	return indices, nil
}

// listAddresses reads all addresses, again if they changed while the kernel listed
// them (NLM_F_DUMP_INTR).
func listAddresses(family int) ([]netlink.Addr, error) {
	for try := 1; ; try++ {
		addresses, err := netlink.AddrList(nil, family)
		if err == nil || try == 10 || !errors.Is(err, netlink.ErrDumpInterrupted) {
			return addresses, err
		}
	}
}

// routeTo is the interface by which packets from own to a peer leave.
func routeTo(own, peer netip.Addr) (int, error) {
	options := &netlink.RouteGetOptions{}
	if own.Unmap().Is4() == peer.Unmap().Is4() {
		options.SrcAddr = own.Unmap().AsSlice()
	}
	routes, err := netlink.RouteGetWithOptions(peer.Unmap().AsSlice(), options)
	if err != nil {
		return 0, fmt.Errorf("packet: find the route from %v to %v (is there one? ip route get %v): %w", own, peer, peer, err)
	}
	if len(routes) == 0 {
		return 0, fmt.Errorf("packet: no route from %v to %v", own, peer)
	}
	return routes[0].LinkIndex, nil
}
