package cli

import (
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"

	"syncline/deploy/netlab"
)

// cable joins two hosts directly. What they send to each other's first address goes over it
// from then on and over no switch: a way as short as this machine has one.
func (l *testLab) cable(a, b *netlab.Host) {
	l.t.Helper()
	const name = "cable0"
	var far *os.File
	err := b.Do(func() (err error) {
		far, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	defer far.Close()
	plug := func(from, to *netlab.Host) error {
		return from.Do(func() error {
			link, err := netlink.LinkByName(name)
			if err != nil {
				return fmt.Errorf("%s of %s: %w", name, from.Name, err)
			}
			if err := netlink.LinkSetUp(link); err != nil {
				return fmt.Errorf("set %s of %s up: %w", name, from.Name, err)
			}
			bits := to.Address.BitLen()
			return netlink.RouteAdd(&netlink.Route{
				LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK, Src: from.Address.AsSlice(),
				Dst: &net.IPNet{IP: to.Address.AsSlice(), Mask: net.CIDRMask(bits, bits)},
			})
		})
	}
	err = a.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name, PeerNamespace: netlink.NsFd(int(far.Fd()))})
	})
	if err != nil {
		l.t.Fatalf("join %s and %s: %v", a.Name, b.Name, err)
	}
	// A link is up when both ends are.
	for _, end := range [][2]*netlab.Host{{a, b}, {b, a}} {
		if err := plug(end[0], end[1]); err != nil {
			l.t.Fatal(err)
		}
	}
}
