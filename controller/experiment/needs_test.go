package experiment

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a file does on a host it needs there, in whatever variant, and says so or not; what
// it says and does nowhere it needs of all hosts; what is for people nobody is asked for.
func TestHostNeeds(t *testing.T) {
	const lanes = `
observe: [syscalls]
lanes:
  a: { host: A, do: [c = socket(tcp), close(c)] }
`
	for name, test := range map[string]struct{ text, want string }{
		"nothing":      {"", ""},
		"said":         {"needs: [Root, a minute, mptcp]", "A root; A mptcp; B root; B mptcp"},
		"done":         {"setup: { B: { firewall: drop tcp/80 } }", "B root (firewall: drop tcp/80); B nftables (firewall: drop tcp/80)"},
		"said, done":   {"needs: [root, nftables]\nsetup: { B: { sysctl: { net.ipv4.tcp_sack: 0 } } }", "A nftables; B root (sysctl: net.ipv4.tcp_sack = 0); B nftables"},
		"in one case":  {"cases: { x: {}, y: { setup: { A: { firewall: track tcp/80 idle 2s } } } }", "A root (firewall: track tcp/80 idle 2s); A nftables (firewall: track tcp/80 idle 2s); A conntrack (firewall: track tcp/80 idle 2s)"},
		"rewrites":     {"setup: { A: { firewall: redirect tcp/80 to 81 } }", "A root (firewall: redirect tcp/80 to 81); A nftables (firewall: redirect tcp/80 to 81); A conntrack (firewall: redirect tcp/80 to 81)"},
		"only require": {"setup: { A: { require: kernel >= 5 } }", ""},
	} {
		exp := mustParse(t, "experiment: needy\nhosts: { A: {}, B: {} }\n"+test.text+lanes)
		needs, err := exp.HostNeeds()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range exp.Hosts {
			for _, n := range needs[h.Name] {
				text := h.Name + " " + n.Name
				if n.For != "" {
					text += fmt.Sprintf(" (%s)", n.For)
				}
				got = append(got, text)
			}
		}
		if diff := cmp.Diff(test.want, strings.Join(got, "; ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	applied := mustParse(t, `experiment: needy
hosts: { A: {}, B: {} }
observe: [syscalls]
changes: { cut: { host: B, firewall: drop tcp/80 } }
lanes:
  b: { host: B, do: [apply(cut), undo(cut)] }
  r: { host: A, do: [r = socket(raw icmp), close(r)] }
`)
	needs, err := applied.HostNeeds()
	want := map[string][]HostNeed{
		"A": {{NeedRaw, "r = socket(raw icmp)"}},
		"B": {{NeedRoot, "firewall: drop tcp/80"}, {NeedNftables, "firewall: drop tcp/80"}},
	}
	if diff := cmp.Diff(want, needs); diff != "" || err != nil {
		t.Errorf("what a lane applies and opens (-want +got):\n%s%v", diff, err)
	}
	called := mustParse(t, `experiment: needy
hosts: { A: {}, B: {} }
observe: [syscalls]
lanes:
  m: { host: A, do: [m = socket(mptcp6), close(m)] }
  s: { host: B, do: [s = socket(tcp), 'setsockopt(s, TCP_MD5SIG, {A, "secret"})', close(s)] }
`)
	needs, err = called.HostNeeds()
	want = map[string][]HostNeed{"A": {{NeedMPTCP, "m = socket(mptcp6)"}}, "B": {{NeedTCPMD5, `setsockopt(s, TCP_MD5SIG, {A, "secret"})`}}}
	if diff := cmp.Diff(want, needs); diff != "" || err != nil {
		t.Errorf("what a lane calls (-want +got):\n%s%v", diff, err)
	}
	refused := mustParse(t, `experiment: needy
hosts: { A: {}, B: {} }
observe: [syscalls]
lanes:
  m: { host: A, do: [socket(mptcp) -> EPROTONOSUPPORT] }
  r: { host: A, do: [socket(raw icmp) -> EPERM] }
  s: { host: B, do: [s = socket(tcp), 'setsockopt(s, TCP_MD5SIG, {A, "secret"}) -> ENOPROTOOPT', close(s)] }
`)
	if needs, err = refused.HostNeeds(); len(needs) != 0 || err != nil {
		t.Errorf("calls that are to fail need %v: %v", needs, err)
	}
}

// A need that is nearly one that agents know was meant to be it. Words for people are not,
// near as they may be: with another number, or with another first letter.
func TestNearNeed(t *testing.T) {
	const text = "experiment: x\nneeds: [NEED, a minute]\nhosts: { A: {} }\nobserve: [syscalls]\nlanes: { a: { host: A, do: [sleep(1ms)] } }\n"
	for need, meant := range map[string]string{
		"nftable": "nftables", "rooot": "root", "raw socket": "raw sockets", "Contrack": "conntrack", "mtcp": "mptcp", "ip6": "ipv6", "tcp_md5": "tcp-md5",
		"ipv4": "", "IPv4": "", "ipv": "", "tcp-md4": "", "boot": "", "Root": "", "router": "", "same link": "", "foot": "",
	} {
		_, err := Parse([]byte(strings.Replace(text, "NEED", need, 1)), Options{})
		switch {
		case meant == "" && err != nil:
			t.Errorf("needs: [%s]: %v", need, err)
		case meant != "" && (err == nil || !strings.Contains(err.Error(), fmt.Sprintf("did you mean %q?", meant)) || strings.Contains(err.Error(), "minute")):
			t.Errorf("needs: [%s]: %v, want a hint at %q", need, err, meant)
		}
	}
}

// The library needs of its hosts what it says, and says what it needs.
func TestLibraryNeeds(t *testing.T) {
	for _, s := range Library() {
		source, _ := Open(s.Name)
		exp := mustParse(t, string(source))
		said := map[string]bool{}
		for _, text := range exp.Needs {
			said[KnownNeed(text)] = true
		}
		needs, err := exp.HostNeeds()
		if err != nil {
			t.Fatal(err)
		}
		for role, all := range needs {
			for _, n := range all {
				if !said[n.Name] {
					t.Errorf("%s: %s needs %s for %s, and the file does not say so", s.Name, role, n.Name, n.For)
				}
			}
		}
	}
}
