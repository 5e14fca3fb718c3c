// Package netlab makes the hosts of a lab on one Linux machine: each host is a
// network namespace with addresses of its own, and all hosts meet on one bridge. A
// second bridge joins them to each other for the lab's own talk, so that an experiment
// may cut the first one.
//
// Everything that New makes is anonymous. The namespaces have no name under
// /run/netns and no bind mount; only descriptors of the maker and the processes
// inside hold them. The bridges live in a namespace of their own, the switch, so
// nothing appears in the maker's namespace. A host is gone as soon as nobody holds
// it, hence a maker that ends in whatever way, kill -9 included, leaves nothing:
// the kernel ends its processes (PR_SET_PDEATHSIG), closes its descriptors and
// removes namespaces, links, routes and firewall rules. The one thing a crash can
// leave is the temporary directory of Dir, which the next lab removes; see Sweep.
//
// Between a host and the switch there may be a Wire: delay, jitter, loss, reordering, a
// rate, each way its own. Config.Wires has them, Lab.Wires tells what they did.
//
// NewLoopback gives the same Lab to a user without privileges: hosts are addresses
// 127.0.0.2, 127.0.0.3, … of the machine itself, and Missing says what that lacks.
//
// DESIGN.md has the reasons.
package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// ErrPrivilege is in the chain of New's error when the caller may not make network
// namespaces. NewLoopback needs no privilege.
var ErrPrivilege = errors.New("network namespaces need CAP_SYS_ADMIN and CAP_NET_ADMIN")

// ErrClosed is in the chain of every error of a use after Close.
var ErrClosed = errors.New("the lab is closed")

// Remedy says how to get what ErrPrivilege lacks.
const Remedy = "run as root, or, where the kernel lets users make user namespaces, under `unshare --map-root-user`"

// Defaults of a Config.
const (
	DefaultMTU   = 1500
	DefaultGrace = 5 * time.Second
)

// Default subnets of a lab. The IPv6 one is of the unique local addresses; the 40
// random bits that RFC 4193 asks for would tell it from others, which it never meets.
var (
	DefaultSubnet  = netip.MustParsePrefix("10.77.0.0/24")
	DefaultSubnet6 = netip.MustParsePrefix("fd77::/64")
	DefaultControl = netip.MustParsePrefix("10.78.0.0/24")
)

// Config is what a lab is made from. Only Hosts is needed.
type Config struct {
	// Hosts are the names of the hosts. The first gets the first address of each
	// subnet, the second the next, and so on.
	Hosts []string
	// Subnet and Subnet6 hold the hosts' addresses; zero means DefaultSubnet and
	// DefaultSubnet6. They are invisible outside the lab and may overlap with
	// networks of the machine. NewLoopback does not look at them.
	Subnet, Subnet6 netip.Prefix
	// Control holds the hosts' addresses on the control network, in the same order;
	// zero means DefaultControl. It must not overlap with Subnet.
	Control netip.Prefix
	// MTU of every link that carries experiments, in bytes; zero means DefaultMTU.
	MTU int
	// NoOffloads makes every packet at a tap one packet of the wire with its checksum
	// filled in. The zero value keeps what Linux does on a veth and on most network
	// cards: the sender segments late (TSO), so one captured record may stand for
	// several segments of up to 64 KiB in all. Handshakes and teardowns are not
	// affected; bulk data is, and costs more CPU without offloads. A host with a Wire
	// never has them, so that what is lost or waits is a packet.
	NoOffloads bool
	// Wires are what lies between the named hosts and the switch: delay, loss, a rate.
	// A host that is not named is plugged in directly. NewLoopback refuses them.
	Wires map[string]Wire
	// Mechanism is what moves the frames of Wires; zero leaves it to the lab.
	Mechanism Mechanism
	// Keep lets processes outlive the maker and Close: they get no parent-death
	// signal, and each inherits one descriptor that holds the switch and one that holds
	// the lab's directory, so the lab lasts exactly as long as the last of them. Their
	// output must not be a pipe to the maker.
	Keep bool
	// Grace is how long Close waits after SIGTERM before SIGKILL, and after that for
	// the namespaces to go; zero means DefaultGrace.
	Grace time.Duration
}

// Missing is something that a lab cannot give, for a person to read.
type Missing struct {
	// What is missing, Why, and what to do to get it.
	What, Why, Remedy string
}

// String is the whole as one sentence.
func (m Missing) String() string {
	return fmt.Sprintf("%s: %s; %s", m.What, m.Why, m.Remedy)
}

// Holder is a process that keeps a namespace of a lab alive.
type Holder struct {
	PID     int
	Command string
	// Descriptor is the open descriptor that holds it, -1 if the process itself
	// is inside.
	Descriptor int
}

func (h Holder) String() string {
	if h.Descriptor >= 0 {
		return fmt.Sprintf("descriptor %d of process %d (%s)", h.Descriptor, h.PID, h.Command)
	}
	return fmt.Sprintf("process %d (%s)", h.PID, h.Command)
}

// HeldError is Close's error when a host's namespace did not go in time.
type HeldError struct {
	Host string
	// By is empty if no process that the maker may look at holds it.
	By []Holder
}

func (e *HeldError) Error() string {
	if len(e.By) == 0 {
		return fmt.Sprintf("netlab: the namespace of host %s is still there, and no visible process holds it", e.Host)
	}
	by := make([]string, len(e.By))
	for i, h := range e.By {
		by[i] = h.String()
	}
	return fmt.Sprintf("netlab: the namespace of host %s is still held by %s; end or close what holds it",
		e.Host, strings.Join(by, ", "))
}

// plan is a Config with every default filled in and every address handed out.
type plan struct {
	Config
	hosts []seat
}

// seat is one host's place on the bridge.
type seat struct {
	name               string
	address4, address6 netip.Addr
	control            netip.Addr
	// cables are the host's links: hostInterface, then controlInterface.
	cables [2]cable
}

// cable is one link of a host.
type cable struct {
	// name at the host, and port at the switch.
	name, port string
	hardware   [6]byte
}

func (s seat) hasPort(name string) bool { return s.cables[0].port == name || s.cables[1].port == name }

// loopbackSubnet holds the addresses of every loopback lab.
var loopbackSubnet = netip.MustParsePrefix("127.0.0.0/8")

// maxHosts is bounded by the last byte of a host's hardware address.
const maxHosts = 254

func (c Config) plan() (*plan, error) {
	p := &plan{Config: c}
	p.setDefaults()
	if err := p.check(); err != nil {
		return nil, err
	}
	a4, a6, control := p.Subnet.Masked().Addr(), p.Subnet6.Masked().Addr(), p.Control.Masked().Addr()
	for i, name := range p.Hosts {
		a4, a6, control = a4.Next(), a6.Next(), control.Next()
		if !holds(p.Subnet, a4) || !p.Subnet6.Contains(a6) || !holds(p.Control, control) {
			return nil, fmt.Errorf("netlab: %d hosts do not fit into %v, %v and %v", len(p.Hosts), p.Subnet, p.Subnet6, p.Control)
		}
		p.hosts = append(p.hosts, seat{
			name: name, address4: a4, address6: a6, control: control,
			// Locally administered unicast addresses, the same in every lab, so that
			// two captures of one experiment differ in nothing but time.
			cables: [2]cable{
				{name: hostInterface, port: fmt.Sprintf("port%d", i+1), hardware: [6]byte{0x02, 's', 'y', 'n', 'c', byte(i + 1)}},
				{name: controlInterface, port: fmt.Sprintf("control%d", i+1), hardware: [6]byte{0x06, 's', 'y', 'n', 'c', byte(i + 1)}},
			},
		})
	}
	return p, nil
}

// wired reports whether a wire lies between the host and the switch.
func (p *plan) wired(s seat) bool {
	_, wired := p.Wires[s.name]
	return wired
}

// The names of every host's links in its own namespace: the one that experiments are
// about, and the one by which the lab's own processes talk.
const (
	hostInterface    = "eth0"
	controlInterface = "ctl0"
)

func (p *plan) setDefaults() {
	if !p.Subnet.IsValid() {
		p.Subnet = DefaultSubnet
	}
	if !p.Subnet6.IsValid() {
		p.Subnet6 = DefaultSubnet6
	}
	if !p.Control.IsValid() {
		p.Control = DefaultControl
	}
	if p.MTU == 0 {
		p.MTU = DefaultMTU
	}
	if p.Grace == 0 {
		p.Grace = DefaultGrace
	}
}

func (p *plan) check() error {
	if len(p.Hosts) == 0 || len(p.Hosts) > maxHosts {
		return fmt.Errorf("netlab: a lab has 1 to %d hosts, not %d", maxHosts, len(p.Hosts))
	}
	if !p.Subnet.Addr().Is4() || !p.Subnet6.Addr().Is6() || p.Subnet6.Addr().Is4In6() {
		return fmt.Errorf("netlab: Subnet must be IPv4 and Subnet6 IPv6, not %v and %v", p.Subnet, p.Subnet6)
	}
	if !p.Control.Addr().Is4() || p.Control.Overlaps(p.Subnet) && p.Subnet != loopbackSubnet {
		return fmt.Errorf("netlab: Control must be IPv4 and apart from Subnet, not %v beside %v", p.Control, p.Subnet)
	}
	// RFC 8200, section 5: IPv6 needs links of at least 1280 bytes.
	if p.MTU < 1280 || p.MTU > 65535 {
		return fmt.Errorf("netlab: the MTU must be 1280 to 65535, not %d", p.MTU)
	}
	if p.Grace < 0 {
		return fmt.Errorf("netlab: the grace must not be negative, not %v", p.Grace)
	}
	seen := make(map[string]bool)
	for _, name := range p.Hosts {
		if name == "" || seen[name] {
			return fmt.Errorf("netlab: every host needs a name of its own, %q is empty or used twice", name)
		}
		seen[name] = true
	}
	return p.checkWires()
}

// holds reports whether a host may have the address: it is in the subnet and is not
// its broadcast address, which Linux takes to be the last one of a subnet of more
// than two addresses.
func holds(subnet netip.Prefix, a netip.Addr) bool {
	return subnet.Contains(a) && (subnet.Bits() >= 31 || subnet.Contains(a.Next()))
}
