package experiment

import (
	"net/netip"
	"time"
)

// Setup is what the lab changes on one host, together and in order.
type Setup struct {
	// Name is what lanes apply it by; empty for what holds for the whole variant.
	Name    string
	Host    string
	Changes []Change
	Pos     Pos
}

// Change is one thing that is changed. Exactly one of the pointers is set.
type Change struct {
	// Text is what the author wrote, on one line, variables replaced.
	Text string
	Pos  Pos

	Sysctl    *SysctlChange
	Firewall  *FirewallRule
	Route     *RouteChange
	Neighbour *NeighbourChange
	Link      *LinkChange
	Address   *AddressChange
}

// SysctlChange writes one value below /proc/sys; Name has dots.
type SysctlChange struct {
	Name, Value string
	// IfPresent leaves a kernel without it as it is.
	IfPresent bool
}

// FirewallAction is what a rule does with a packet.
type FirewallAction int

// Actions of a rule.
const (
	FirewallDrop FirewallAction = iota + 1
	FirewallReject
	FirewallAccept
)

// FirewallRule is one rule of nftables(8). The fields of FirewallChange in the
// contract say what each means.
type FirewallRule struct {
	Action FirewallAction
	// Out is hook output, else hook input.
	Out bool
	// Protocol is that of IP: 6, 17, 1, 58; 0 any.
	Protocol         int
	Port, SourcePort uint16
	// From and To are roles or addresses; zero: any.
	From, To Address
	// Flags as in package timeline; those of Mask must be as in Flags.
	Flags, Mask uint16
	RejectWith  string
	// ICMPType is -1 for any.
	ICMPType int
	// States of connection tracking: "new", "established", "invalid".
	States []string
	// RedirectPort rewrites the destination port, MasqueradePort the source port.
	RedirectPort, MasqueradePort uint16
	IdleTimeout                  time.Duration
	LongerThan                   int
}

// RouteChange adds or replaces a route.
type RouteChange struct {
	// To is a role (its address alone) or a prefix, written out.
	To     Address
	Prefix netip.Prefix
	// Kind is "unicast", "blackhole", "unreachable" or "prohibit".
	Kind    string
	Gateway Address
	// Metrics; 0: not set.
	MTU, AdvMSS, InitCwnd int
	RTOMin                time.Duration
}

// NeighbourChange forgets the link address of a neighbour, of all hosts of the run if
// none is named, or fixes it to one that nobody has.
type NeighbourChange struct {
	Of      Address
	Nowhere bool
}

// LinkChange changes the interface of the run's traffic.
type LinkChange struct {
	Down bool
	// MTU 0 and Rate 0 (bits a second) leave them.
	MTU  int
	Rate int64
	// NoOffload turns TSO, GSO and GRO off.
	NoOffload bool
}

// AddressChange adds an address to the interface of the run, or removes one.
type AddressChange struct {
	// Prefix is what the author wrote; Of the role whose address is meant instead.
	Prefix netip.Prefix
	Of     Address
	Remove bool
}

// Requirement must hold on a host before the run may start. Exactly one of the
// pointers is set.
type Requirement struct {
	Text string
	Host string
	Pos  Pos

	PortFree *PortFree
	Kernel   *KernelRange
	Sysctl   *SysctlIs
	Socket   *SocketArgs
}

// PortFree asks that nothing listens on a port; Protocol is 6 or 17.
type PortFree struct {
	Protocol int
	Port     uint16
}

// KernelRange compares the numbers of a kernel's release.
type KernelRange struct {
	// Comparison is "<", "<=", "=", ">=" or ">".
	Comparison, Release string
}

// SysctlIs asks that a sysctl exists and, unless Value is empty, has that value.
type SysctlIs struct {
	Name, Value string
}
