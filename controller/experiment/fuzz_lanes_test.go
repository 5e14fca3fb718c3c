package experiment

import (
	"strings"
	"testing"
)

// quote writes a text as a YAML scalar in single quotes.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// FuzzStep holds the reading of one step to its promises, with sockets of every kind,
// copies and processes around it.
func FuzzStep(f *testing.F) {
	for _, c := range calls {
		f.Add(c.example)
	}
	for _, w := range waitForms {
		f.Add(w.example)
	}
	for _, o := range options {
		f.Add("setsockopt(c, " + o.name + ", " + o.example + ")")
	}
	for _, text := range []string{
		"poll(c, IN|OUT, 1s) -> IN|HUP or 0 or EINTR as polled", `recv(c, 10, MSG_PEEK) -> "a or b" or hex(00) or any`,
		"getsockopt(c, TCP_KEEPIDLE) -> 2m or -1", "connect(c, [fd00::1]:80 + 1) -> EAFNOSUPPORT", "bind(x, unix:door)", "sendto(r, B, bytes(8))",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, step string) {
		source := withHead(`changes: { cut: { host: A, link: down } }
lanes:
  l:
    host: A
    do: [c = socket(tcp), x = socket(unix), r = socket(raw icmp), u = socket(udp6), meet(go), apply(cut), ` + quote(step) + `, undo(cut)]
  worker: { forked_by: l, do: [sleep(1ms)] }
  victim: { host: A, process: own, do: [sleep(1ms)] }
  server: { host: B, do: [signal(listening), meet(go)] }
  client: { host: B, copies: 2, do: [c = socket(tcp), connect(c, A:80), signal(settled)] }
`)
		exp, err := Parse([]byte(source), Options{})
		if err == nil {
			checkSound(t, exp)
		}
	})
}

// FuzzSetup holds the reading of rules, routes and the like to what the agent is
// promised of them.
func FuzzSetup(f *testing.F) {
	for _, seed := range [][2]string{
		{"firewall", "reject out tcp/80 from A to 10.0.0.1 flags any SYN+ACK without RST longer than 100 with tcp-reset"},
		{"firewall", "drop icmp6 type packet-too-big state new or invalid"}, {"firewall", "redirect to 8081 tcp/80 sport 5"},
		{"firewall", "masquerade to 4000 udp/53"}, {"firewall", "track tcp/80 idle 2s"},
		{"route", "10.9.0.0/24 via A mtu 1000 advmss 500 rto_min 50ms initcwnd 2"}, {"route", "blackhole A"},
		{"neighbour", "nowhere A"}, {"address", "remove B"}, {"link", "down"},
		{"require", "nothing listens on udp/53"}, {"require", "kernel >= 6.1"}, {"require", "sysctl net.ipv4.ip_forward = 1"}, {"require", "socket raw icmp6"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		exp, err := Parse([]byte(withHead("setup: { B: { "+quote(key)+": "+quote(value)+" } }\n"+oneLane)), Options{})
		if err != nil {
			return
		}
		for _, s := range exp.Setups {
			for _, c := range s.Changes {
				if c.Text == "" || c.Pos == (Pos{}) {
					t.Errorf("change %+v has no text or place", c)
				}
				if r := c.Firewall; r != nil {
					checkRule(t, r)
				}
				if r := c.Route; r != nil && r.To.Role == "" && !r.Prefix.IsValid() {
					t.Errorf("route %+v leads nowhere", r)
				}
			}
		}
	})
}

// checkRule fails for a rule that no agent would take.
func checkRule(t *testing.T, r *FirewallRule) {
	t.Helper()
	ports := r.Protocol == ipprotoTCP || r.Protocol == ipprotoUDP
	icmp := r.Protocol == ipprotoICMP || r.Protocol == ipprotoICMPv6
	switch {
	case r.Action < FirewallDrop || r.Action > FirewallAccept:
	case (r.Port != 0 || r.SourcePort != 0 || r.RedirectPort != 0 || r.MasqueradePort != 0 || r.IdleTimeout != 0) && !ports:
	case r.Mask != 0 && r.Protocol != ipprotoTCP, r.Flags&^r.Mask != 0:
	case (r.RejectWith != "") != (r.Action == FirewallReject), r.RejectWith == "tcp-reset" && r.Protocol != ipprotoTCP:
	case r.ICMPType != -1 && !icmp, r.ICMPType < -1, r.ICMPType > 255:
	default:
		return
	}
	t.Errorf("rule %+v is none", r)
}
