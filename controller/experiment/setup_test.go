package experiment

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// oneLane completes a file that is about its setup.
const oneLane = "lanes: { l: { host: B, do: [s = socket(tcp), bind(s, 0.0.0.0:80)] } }\n"

// change parses a setup of host B that makes one change.
func change(t *testing.T, key, value string) Change {
	t.Helper()
	exp := parseParts(t, "vars: { port: 80 }\nsetup: { B: { "+key+": '"+value+"', sysctl: { net.core.rmem_max: $port } } }\n"+oneLane)
	if len(exp.Setups) != 1 || len(exp.Setups[0].Changes) != 2 {
		t.Fatalf("setups %+v", exp.Setups)
	}
	return exp.Setups[0].Changes[0]
}

func TestFirewall(t *testing.T) {
	const segment = fin | syn | rst | ack
	role := func(name string) Address { return Address{Role: name, NoPort: true} }
	for rule, want := range map[string]FirewallRule{
		"drop tcp/$port":               {Action: FirewallDrop, Protocol: 6, Port: 80},
		"drop":                         {Action: FirewallDrop},
		"drop any from A":              {Action: FirewallDrop, From: role("A")},
		"drop out udp/53 to 10.0.0.1":  {Action: FirewallDrop, Out: true, Protocol: 17, Port: 53, To: Address{IP: netip.MustParseAddr("10.0.0.1"), NoPort: true}},
		"drop tcp sport 80+1":          {Action: FirewallDrop, Protocol: 6, SourcePort: 81},
		"reject tcp/80":                {Action: FirewallReject, Protocol: 6, Port: 80, RejectWith: "icmp-port-unreachable"},
		"reject tcp/80 with tcp-reset": {Action: FirewallReject, Protocol: 6, Port: 80, RejectWith: "tcp-reset"},
		"reject in from A with icmp-net-unreachable": {Action: FirewallReject, From: role("A"), RejectWith: "icmp-net-unreachable"},
		"drop tcp/80 flags SYN":                      {Action: FirewallDrop, Protocol: 6, Port: 80, Flags: syn, Mask: segment},
		"drop flags SYN+ACK":                         {Action: FirewallDrop, Protocol: 6, Flags: syn | ack, Mask: segment},
		"drop tcp flags SYN without ACK":             {Action: FirewallDrop, Protocol: 6, Flags: syn, Mask: segment},
		"drop tcp flags FIN":                         {Action: FirewallDrop, Protocol: 6, Flags: fin, Mask: fin | syn | rst},
		"drop tcp flags any RST":                     {Action: FirewallDrop, Protocol: 6, Flags: rst, Mask: rst},
		"drop tcp flags any SYN without ECE+CWR":     {Action: FirewallDrop, Protocol: 6, Flags: syn, Mask: syn | ece | cwr},
		"drop icmp type 3":                           {Action: FirewallDrop, Protocol: 1, ICMPType: 3},
		"drop icmp type echo-reply":                  {Action: FirewallDrop, Protocol: 1, ICMPType: 0},
		"drop icmp6 type packet-too-big from A":      {Action: FirewallDrop, Protocol: 58, ICMPType: 2, From: Address{Role: "A", NoPort: true, Six: true}},
		"drop tcp longer than 1000":                  {Action: FirewallDrop, Protocol: 6, LongerThan: 1000},
		"accept tcp/80 state new or established":     {Action: FirewallAccept, Protocol: 6, Port: 80, States: []string{"new", "established"}},
		"redirect to 8081 tcp/80":                    {Action: FirewallAccept, Protocol: 6, Port: 80, RedirectPort: 8081},
		"redirect tcp/80 from A to 8081":             {Action: FirewallAccept, Protocol: 6, Port: 80, From: role("A"), RedirectPort: 8081},
		"masquerade to 4000 udp/53":                  {Action: FirewallAccept, Out: true, Protocol: 17, Port: 53, MasqueradePort: 4000},
		"masquerade in to 4000 udp/53":               {Action: FirewallAccept, Protocol: 17, Port: 53, MasqueradePort: 4000},
		"track tcp/80 idle 2s":                       {Action: FirewallAccept, Protocol: 6, Port: 80, IdleTimeout: 2 * time.Second},
	} {
		t.Run(rule, func(t *testing.T) {
			if want.Protocol != 1 && want.Protocol != 58 {
				want.ICMPType = -1
			}
			got := change(t, "firewall", rule)
			if diff := cmp.Diff(&want, got.Firewall, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("rule (-want +got):\n%s", diff)
			}
		})
	}
}

func TestChanges(t *testing.T) {
	a := Address{Role: "A", NoPort: true}
	for _, test := range []struct {
		key, value string
		want       Change
	}{
		{"route", "unreachable A", Change{Route: &RouteChange{To: a, Kind: "unreachable"}}},
		{"route", "A advmss 500 rto_min 50ms initcwnd 2 mtu 1000", Change{Route: &RouteChange{To: a, Kind: "unicast", AdvMSS: 500, RTOMin: 50 * time.Millisecond, InitCwnd: 2, MTU: 1000}}},
		{"route", "10.9.0.7/24 via A", Change{Route: &RouteChange{Prefix: netip.MustParsePrefix("10.9.0.0/24"), Kind: "unicast", Gateway: a}}},
		{"route", "fd00::/64 via A", Change{Route: &RouteChange{Prefix: netip.MustParsePrefix("fd00::/64"), Kind: "unicast", Gateway: Address{Role: "A", NoPort: true, Six: true}}}},
		{"route", "blackhole 10.9.9.9", Change{Route: &RouteChange{Prefix: netip.MustParsePrefix("10.9.9.9/32"), Kind: "blackhole"}}},
		{"neighbour", "flush", Change{Neighbour: &NeighbourChange{}}},
		{"neighbour", "flush A", Change{Neighbour: &NeighbourChange{Of: a}}},
		{"neighbour", "nowhere 10.0.0.9", Change{Neighbour: &NeighbourChange{Of: Address{IP: netip.MustParseAddr("10.0.0.9"), NoPort: true}, Nowhere: true}}},
		{"link", "down", Change{Link: &LinkChange{Down: true}}},
		{"address", "add 10.9.9.9/24", Change{Address: &AddressChange{Prefix: netip.MustParsePrefix("10.9.9.9/24")}}},
		{"address", "remove 10.9.9.9", Change{Address: &AddressChange{Prefix: netip.MustParsePrefix("10.9.9.9/32"), Remove: true}}},
		{"address", "remove B", Change{Address: &AddressChange{Of: Address{Role: "B", NoPort: true}, Remove: true}}},
	} {
		t.Run(test.key+" "+test.value, func(t *testing.T) {
			got := change(t, test.key, test.value)
			test.want.Text, test.want.Pos = test.key+": "+test.value, got.Pos
			if diff := cmp.Diff(test.want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
				t.Errorf("change (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSetup looks at the parts of a file together: what belongs to which host, in the
// order of the file.
func TestSetup(t *testing.T) {
	exp := parseParts(t, `
vars: { port: 80, mss: 500 }
setup:
  B:
    link: { mtu: 1000, rate: 1mbit, offload: off, state: down }
    require:
      - nothing listens on tcp/$port
      - nothing listens on udp/53
      - kernel >= 6.1
      - sysctl net.ipv4.tcp_fastopen
      - sysctl net.ipv4.tcp_rmem = 4096 131072  6291456
      - socket mptcp
    sysctl_if_present: { net.ipv4.tcp_syn_linear_timeouts: 0 }
    firewall: [accept tcp/$port, drop tcp]
  A: { require: socket raw icmp }
changes:
  cut: { host: A, firewall: drop  tcp/$port, route: A advmss $mss }
lanes:
  server: { host: B, do: [s = socket(tcp), bind(s, 0.0.0.0:$port)] }
  cutter: { host: A, do: [{ repeat: 2, do: [apply(cut), undo(cut)] }, apply(cut)] }
`)
	var texts []string
	for _, s := range append(exp.Setups, exp.Changes...) {
		for _, c := range s.Changes {
			texts = append(texts, s.Name+"@"+s.Host+" "+c.Text)
		}
	}
	want := []string{
		"@B link: mtu 1000, rate 1mbit, offload off, state down", "@B sysctl_if_present: net.ipv4.tcp_syn_linear_timeouts = 0",
		"@B firewall: accept tcp/80", "@B firewall: drop tcp",
		"cut@A firewall: drop tcp/80", "cut@A route: A advmss 500",
	}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&LinkChange{Down: true, MTU: 1000, Rate: 1e6, NoOffload: true}, exp.Setups[0].Changes[0].Link); diff != "" {
		t.Errorf("link (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&SysctlChange{Name: "net.ipv4.tcp_syn_linear_timeouts", Value: "0", IfPresent: true}, exp.Setups[0].Changes[1].Sysctl); diff != "" {
		t.Errorf("sysctl (-want +got):\n%s", diff)
	}
	required := []Requirement{
		{Host: "B", Text: "nothing listens on tcp/80", PortFree: &PortFree{6, 80}},
		{Host: "B", Text: "nothing listens on udp/53", PortFree: &PortFree{17, 53}},
		{Host: "B", Text: "kernel >= 6.1", Kernel: &KernelRange{">=", "6.1"}},
		{Host: "B", Text: "sysctl net.ipv4.tcp_fastopen", Sysctl: &SysctlIs{"net.ipv4.tcp_fastopen", ""}},
		{Host: "B", Text: "sysctl net.ipv4.tcp_rmem = 4096 131072 6291456", Sysctl: &SysctlIs{"net.ipv4.tcp_rmem", "4096 131072  6291456"}},
		{Host: "B", Text: "socket mptcp", Socket: &SocketArgs{2, 1, 262}},
		{Host: "A", Text: "socket raw icmp", Socket: &SocketArgs{2, 3, 1}},
	}
	if diff := cmp.Diff(required, exp.Require, cmpopts.IgnoreFields(Requirement{}, "Pos")); diff != "" {
		t.Errorf("requirements (-want +got):\n%s", diff)
	}
}
