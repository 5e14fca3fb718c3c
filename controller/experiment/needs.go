package experiment

import (
	"slices"
	"strings"
)

// What a host can be asked for by name, before anything is changed on it. An agent says
// which of these its host has, in the same words.
const (
	// NeedRoot: the agent may change its host, which takes CAP_NET_ADMIN.
	NeedRoot = "root"
	// NeedRaw: the agent may open raw sockets, which takes CAP_NET_RAW.
	NeedRaw       = "raw sockets"
	NeedNftables  = "nftables"
	NeedConntrack = "conntrack"
	NeedIPv6      = "ipv6"
	NeedMPTCP     = "mptcp"
	NeedTCPMD5    = "tcp-md5"
)

// needRow is one row of the table of what agents are asked for.
type needRow struct{ name, doc string }

// needs are all of them.
var needs = []needRow{
	{NeedRoot, "The agent may change the host: CAP_NET_ADMIN. Asked of the hosts that the file changes, or of all."},
	{NeedRaw, "The agent may open raw sockets: CAP_NET_RAW. Asked of the hosts that open one, or of all."},
	{NeedNftables, "The kernel has the firewall nftables(8). Asked of the hosts that have rules, or of all."},
	{NeedConntrack, "The kernel can track connections. Asked of the hosts with rules that take it, or of all. No agent knows that it cannot: the kernel may load it with the first such rule."},
	{NeedIPv6, "The agent has an IPv6 address. Asked only if the file names it, of all hosts."},
	{NeedMPTCP, "The kernel has Multipath TCP. Asked of the hosts that open a socket of it, or of all."},
	{NeedTCPMD5, "The kernel has TCP_MD5SIG, tcp(7). Asked of the hosts that set it, or of all."},
}

// Needs are the names of what agents can be asked for.
func Needs() []string {
	names := make([]string, len(needs))
	for i, n := range needs {
		names[i] = n.name
	}
	return names
}

// KnownNeed is the name of a need as agents know it, whatever its case; "" if it is in
// words for people, of which agents know nothing.
func KnownNeed(text string) string {
	for _, n := range needs {
		if strings.EqualFold(n.name, text) {
			return n.name
		}
	}
	return ""
}

// nearNeed is the need that a text was most likely meant to be and is not; "" if it is one,
// or in words for people. Those are no slip of the finger if they begin with another letter
// ("boot"), or with the same word have another number ("ipv4").
func nearNeed(text string) string {
	if KnownNeed(text) != "" {
		return ""
	}
	near, low := Closest(text, Needs()), strings.ToLower(text)
	if near == "" || near[0] != low[0] || withoutDigits(near) == withoutDigits(low) {
		return ""
	}
	return near
}

func withoutDigits(text string) string {
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, text)
}

// HostNeed is what one host must have.
type HostNeed struct {
	// Name is one of Needs.
	Name string
	// For is what the experiment does with it ("firewall drop tcp/80"); empty if the file
	// only says that it needs it.
	For string
}

// HostNeeds is what the host of each role must have, in any of the variants: what the file
// does there, whether it says under `needs` that it needs that or not, and what it says
// that it needs and does nowhere.
func (e *Experiment) HostNeeds() (map[string][]HostNeed, error) {
	uses, err := e.uses()
	if err != nil {
		return nil, err
	}
	all := map[string][]HostNeed{}
	for _, h := range e.Hosts {
		for _, name := range Needs() {
			if text, ok := uses[name][h.Name]; ok {
				all[h.Name] = append(all[h.Name], HostNeed{Name: name, For: text})
				continue
			}
			says := func(text string) bool { return KnownNeed(text) == name }
			if len(uses[name]) == 0 && slices.ContainsFunc(e.Needs, says) {
				all[h.Name] = append(all[h.Name], HostNeed{Name: name})
			}
		}
	}
	return all, nil
}

// uses are the needs that go with what the variants do: by name and role, the first thing
// that has the need.
func (e *Experiment) uses() (map[string]map[string]string, error) {
	uses := map[string]map[string]string{}
	for v := range e.Variants {
		variant, err := e.At(v, 1)
		if err != nil {
			return nil, err
		}
		for _, s := range slices.Concat(variant.Setups, variant.Changes) {
			for i := range s.Changes {
				s.Changes[i].use(uses, s.Host)
			}
		}
		for i := range variant.Lanes {
			l := &variant.Lanes[i]
			for _, step := range l.Steps {
				if need := step.need(); need != "" {
					use(uses, need, l.Host, step.Text)
				}
			}
		}
	}
	return uses, nil
}

// need is what the call takes of its host; "" if nothing is to be asked for, or if the
// author takes it well that the host refuses the call.
func (s *Step) need() string {
	if s.Outcome != nil && len(s.Outcome.Errnos) > 0 {
		return ""
	}
	switch args := s.Args.(type) {
	case SocketArgs:
		switch {
		case args.Type == sockRaw:
			return NeedRaw
		case args.Protocol == ipprotoMPTCP:
			return NeedMPTCP
		}
	case SetSockOptArgs:
		if args.Level == solTCP && (args.Name == tcpMD5Sig || args.Name == tcpMD5SigExt) {
			return NeedTCPMD5
		}
	}
	return ""
}

func (c *Change) use(uses map[string]map[string]string, role string) {
	use(uses, NeedRoot, role, c.Text)
	if c.Firewall == nil {
		return
	}
	use(uses, NeedNftables, role, c.Text)
	if c.Firewall.tracks() {
		use(uses, NeedConntrack, role, c.Text)
	}
}

// tracks reports whether the kernel must track connections for a rule: for a state, for an
// idle time, and to rewrite ports.
func (r *FirewallRule) tracks() bool {
	return len(r.States) > 0 || r.IdleTimeout != 0 || r.RedirectPort != 0 || r.MasqueradePort != 0
}

func use(uses map[string]map[string]string, need, role, text string) {
	if uses[need] == nil {
		uses[need] = map[string]string{}
	}
	if _, ok := uses[need][role]; !ok {
		uses[need][role] = text
	}
}
