package netlab

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// fabric is the switch: a namespace with two bridges, and a port of each per host.
type fabric struct {
	ns    *os.File
	links *netlink.Handle
	// bridges join the hosts' links, the first ones and the second ones.
	bridges [2]netlink.Link
	// own are the ports by which the fabric is joined to itself, not to a host.
	own map[string]bool
}

var bridgeNames = [2]string{"switch", "control"}

// readyWithin bounds the wait for the links' carrier. The kernel takes well below
// a second (its link watch may hold an event back for one).
const readyWithin = 10 * time.Second

// routeHandle is a netlink socket inside a namespace. It is opened on a thread that ends
// there: netlink.NewHandleAt would borrow the caller's and move it back, which needs privileges
// over the namespace that it came from. In a user namespace the thread would stay inside.
func routeHandle(ns *os.File) (h *netlink.Handle, err error) {
	err = inNamespace(ns, func() (err error) {
		if h, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return privileged("open a netlink socket in the namespace", err)
		}
		return nil
	})
	return h, err
}

// newFabric takes the descriptor ns over, also on error.
//
// The bridges speak no spanning tree, so a port forwards from the moment it has
// carrier; and they do not snoop on multicast, so IPv6 neighbour discovery needs no
// querier. Nothing in the switch has an IPv6 address: it would talk to the hosts.
func newFabric(ns *os.File, p *plan) (_ *fabric, err error) {
	links, err := routeHandle(ns)
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	f := &fabric{ns: ns, links: links, own: make(map[string]bool)}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	for i, name := range bridgeNames {
		if f.bridges[i], err = f.addBridge(name, p.mtu(i)); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *fabric) addBridge(name string, mtu int) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, mtu
	snooping := false
	if err := f.links.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
		return nil, privileged("add bridge "+name, kernelLacks(err, "bridge"))
	}
	bridge, err := f.links.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("netlab: find bridge %s: %w", name, err)
	}
	return bridge, f.up(bridge)
}

// mtu is that of a host's i-th link.
func (p *plan) mtu(i int) int {
	if i == 0 {
		return p.MTU
	}
	return DefaultMTU
}

func (f *fabric) up(link netlink.Link) error {
	name := link.Attrs().Name
	if err := noIPv6(f.links, link); err != nil {
		return fmt.Errorf("netlab: %w", err)
	}
	if err := f.links.LinkSetUp(link); err != nil {
		return fmt.Errorf("netlab: set %s up: %w", name, err)
	}
	return nil
}

// kernelLacks adds the module to load to the error of a kernel that does not know
// the kind of link.
func kernelLacks(err error, module string) error {
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w (does the kernel have it? try modprobe %s)", err, module)
	}
	return err
}

// cable joins the i-th link of a host to a bridge by a veth pair.
func (f *fabric) cable(host *os.File, s seat, i int, bridge netlink.Link, p *plan) error {
	c := s.cables[i]
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = c.port, p.mtu(i), bridge.Attrs().Index
	pair := &netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         c.name,
		PeerNamespace:    netlink.NsFd(host.Fd()),
		PeerHardwareAddr: net.HardwareAddr(c.hardware[:]),
		PeerMTU:          uint32(p.mtu(i)),
	}
	if err := f.links.LinkAdd(pair); err != nil {
		return privileged("add the veth pair "+c.name+" of host "+s.name, kernelLacks(err, "veth"))
	}
	port, err := f.links.LinkByName(c.port)
	if err != nil {
		return fmt.Errorf("netlab: find the port of %s of host %s: %w", c.name, s.name, err)
	}
	return f.up(port)
}

// ports are the links to the hosts whose namespaces still exist: with a namespace
// its ends of veth pairs go, and with those the others.
func (f *fabric) ports() (map[string]netlink.Link, error) {
	links, err := f.links.LinkList()
	for errors.Is(err, netlink.ErrDumpInterrupted) {
		// A link came or went while the kernel listed them.
		links, err = f.links.LinkList()
	}
	if err != nil {
		return nil, fmt.Errorf("netlab: list the ports of the switch: %w", err)
	}
	ports := make(map[string]netlink.Link)
	for _, l := range links {
		if l.Attrs().MasterIndex != 0 && !f.own[l.Attrs().Name] {
			ports[l.Attrs().Name] = l
		}
	}
	return ports, nil
}

func (f *fabric) close() error {
	f.links.Close()
	return f.ns.Close()
}

// furnish gives a host its addresses and sets its links up.
func furnish(host *os.File, s seat, p *plan) error {
	links, err := routeHandle(host)
	if err != nil {
		return err
	}
	defer links.Close()
	if err := setUp(links, "lo"); err != nil {
		return fmt.Errorf("netlab: host %s: %w", s.name, err)
	}
	if p.NoOffloads || p.wired(s) {
		if err := inNamespace(host, func() error { return switchOffloadsOff(hostInterface) }); err != nil {
			return fmt.Errorf("netlab: host %s: %w", s.name, err)
		}
	}
	if err := setUp(links, hostInterface, s.prefixes(p)...); err != nil {
		return fmt.Errorf("netlab: host %s: %w", s.name, err)
	}
	// IPv4 alone, so that nothing but the lab's processes talks there.
	control, err := links.LinkByName(controlInterface)
	if err != nil {
		return fmt.Errorf("netlab: host %s: find %s: %w", s.name, controlInterface, err)
	}
	if err := noIPv6(links, control); err != nil {
		return fmt.Errorf("netlab: host %s: %w", s.name, err)
	}
	if err := setUp(links, controlInterface, netip.PrefixFrom(s.control, p.Control.Bits())); err != nil {
		return fmt.Errorf("netlab: host %s: %w", s.name, err)
	}
	return nil
}

// noIPv6 keeps a link from giving itself an address when it is set up.
func noIPv6(links *netlink.Handle, link netlink.Link) error {
	if !hasIPv6() {
		return nil
	}
	if err := links.LinkSetIP6AddrGenMode(link, nl.IN6_ADDR_GEN_MODE_NONE); err != nil {
		return fmt.Errorf("keep IPv6 addresses off %s: %w", link.Attrs().Name, err)
	}
	return nil
}

func (s seat) prefixes(p *plan) []netip.Prefix {
	all := []netip.Prefix{netip.PrefixFrom(s.address4, p.Subnet.Bits())}
	if hasIPv6() {
		all = append(all, netip.PrefixFrom(s.address6, p.Subnet6.Bits()))
	}
	return all
}

// setUp addresses a link and sets it up. IFA_F_NODAD leaves out duplicate address
// detection (RFC 4862, section 5.4), which would keep the address unusable for a second.
func setUp(links *netlink.Handle, name string, addresses ...netip.Prefix) error {
	link, err := links.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	for _, a := range addresses {
		ip := &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}
		address := &netlink.Addr{IPNet: ip}
		if a.Addr().Is6() {
			address.Flags = unix.IFA_F_NODAD
		}
		if err := links.AddrAdd(link, address); err != nil {
			return fmt.Errorf("add %v to %s: %w", a, name, err)
		}
	}
	if err := links.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

// awaitCarrier returns when every port of the switch forwards. The kernel tells a
// link's carrier to the bridge from a work queue, some time after the link was set
// up, and drops frames until then.
func (f *fabric) awaitCarrier() error {
	for deadline := time.Now().Add(readyWithin); ; time.Sleep(time.Millisecond) {
		ports, err := f.ports()
		if err != nil {
			return err
		}
		waiting := ""
		for name, port := range ports {
			if port.Attrs().OperState != netlink.OperUp {
				waiting = name
			}
		}
		if waiting == "" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("netlab: %s of the switch has no carrier after %v", waiting, readyWithin)
		}
	}
}

// hasIPv6 reports whether the kernel speaks IPv6 at all (ipv6.disable=1 removes it).
func hasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

// switchOffloadsOff makes the kernel segment and checksum before the tap: TSO and
// GSO off, transmit checksums in software. The thread must be in the link's namespace.
// See linux/ethtool.h and netdev-features.rst.
func switchOffloadsOff(link string) error {
	for _, feature := range []uint32{unix.ETHTOOL_STSO, unix.ETHTOOL_SGSO, unix.ETHTOOL_SGRO, unix.ETHTOOL_STXCSUM} {
		if _, err := ethtool(link, feature, 0); err != nil {
			return fmt.Errorf("switch offloads of %s off (ethtool command %#x): %w", link, feature, err)
		}
	}
	return nil
}

// ethtool makes one SIOCETHTOOL request on a link of the thread's namespace with a
// struct ethtool_value, and returns the value as the kernel left it.
func ethtool(link string, command, value uint32) (uint32, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	argument := struct{ command, value uint32 }{command, value}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // struct ifreq is larger than its pointer member
	}{data: unsafe.Pointer(&argument)}
	copy(request.name[:], bytes.TrimRight([]byte(link), "\x00"))
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return 0, errno
	}
	return argument.value, nil
}
