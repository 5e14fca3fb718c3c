package netlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
)

// setLink changes a link of a host from the inside, as an experiment may.
func setLink(t testing.TB, h *Host, name string, change func(netlink.Link) error) {
	t.Helper()
	err := h.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return change(link)
	})
	if err != nil {
		t.Fatalf("change %s of host %s: %v", name, h.Name, err)
	}
}

// TestControlNetworkOutlivesTheOther is what the second network is for: an
// experiment takes a host's link down, and the host can still be talked to.
func TestControlNetworkOutlivesTheOther(t *testing.T) {
	l := makeLab(t, Config{Hosts: []string{"A", "B"}, MTU: 1300})
	a, b := l.Host("A"), l.Host("B")
	serve(t, a)
	serve(t, b)
	setLink(t, b, hostInterface, netlink.LinkSetDown)
	for _, c := range []struct{ client, server *Host }{{a, b}, {b, a}} {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		conn, err := c.client.Dial(ctx, "tcp", netip.AddrPortFrom(c.server.Control, 7).String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		greeting, err := io.ReadAll(conn)
		if want := fmt.Sprintf("%s greets %v", c.server.Name, c.client.Control); err != nil || string(greeting) != want {
			t.Errorf("got %q (%v), want %q", greeting, err, want)
		}
	}
	// Not by a detour: what is down is unreachable, and at once.
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if c, err := b.Dial(ctx, "tcp", netip.AddrPortFrom(a.Address, 7).String()); err == nil {
		t.Error("host B reaches A's address with its link down")
		c.Close()
	}
	setLink(t, b, hostInterface, netlink.LinkSetUp)
	await(t, "the link carries again", func() bool {
		ports, err := l.fabric.ports()
		return err == nil && ports["port2"] != nil && ports["port2"].Attrs().OperState == netlink.OperUp
	})
	greet(t, a, b, b.Address)
}

func TestNetworksDoNotMeet(t *testing.T) {
	l := makeLab(t, Config{Hosts: []string{"A", "B"}, MTU: 1300})
	for i, h := range l.Hosts() {
		if want := netip.AddrFrom4([4]byte{10, 78, 0, byte(i + 1)}); h.Control != want {
			t.Errorf("host %s has control address %v, want %v", h.Name, h.Control, want)
		}
		setLink(t, h, controlInterface, func(link netlink.Link) error {
			addresses, err := netlink.AddrList(link, netlink.FAMILY_ALL)
			if err != nil {
				return err
			}
			if len(addresses) != 1 || addresses[0].IP.String() != h.Control.String() {
				return fmt.Errorf("it has addresses %v, want %v alone", addresses, h.Control)
			}
			if mtu := link.Attrs().MTU; mtu != DefaultMTU {
				return fmt.Errorf("its MTU is %d: that of experiments", mtu)
			}
			return nil
		})
	}
	masters := map[int]int{}
	ports, err := l.fabric.ports()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ports {
		masters[p.Attrs().MasterIndex]++
	}
	if len(ports) != 4 || len(masters) != 2 {
		t.Errorf("%d ports on %d bridges, want 4 on 2", len(ports), len(masters))
	}
}

// A host whose link an experiment has removed is awaited all the same.
func TestCloseWaitsForAHostWithoutItsLink(t *testing.T) {
	w := newWitness(t)
	l := makeLab(t, Config{Hosts: []string{"A", "B"}})
	w.watchAllOf(t, os.Getpid())
	setLink(t, l.Host("A"), hostInterface, netlink.LinkDel)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := w.remaining(t); n > 1 {
		t.Errorf("%d namespaces exist after Close, want the switch at most", n)
	}
	await(t, "the switch is gone", func() bool { return w.remaining(t) == 0 })
}

func TestControlIsApartFromTheSubnet(t *testing.T) {
	for _, control := range []string{"10.77.0.128/25", "10.0.0.0/8", "fd78::/64", "192.0.2.0/31"} {
		_, err := New(Config{Hosts: []string{"A", "B"}, Control: netip.MustParsePrefix(control)})
		if err == nil || errors.Is(err, ErrPrivilege) {
			t.Errorf("control network %s: %v, want an error of the configuration", control, err)
		}
	}
}
