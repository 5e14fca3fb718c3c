package experiment

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
)

// bounds reads equals, at_least and at_most, each where it is there.
func (p *reading) bounds(values map[string]*node) Bounds {
	var out Bounds
	before := len(p.faults)
	for _, b := range []struct {
		key string
		to  **int64
	}{{"equals", &out.Equals}, {"at_least", &out.AtLeast}, {"at_most", &out.AtMost}} {
		v := values[b.key]
		if v == nil {
			continue
		}
		if t, ok := p.scalar(v, b.key); ok {
			n := int64(p.number(t, b.key, 0, math.MaxInt32))
			*b.to = &n
		}
	}
	if len(p.faults) > before {
		return out
	}
	switch {
	case out.Equals != nil && (out.AtLeast != nil || out.AtMost != nil):
		p.fault(values["equals"].place, "leave one of them away", "equals says at_least and at_most already")
	case out.AtLeast != nil && out.AtMost != nil && *out.AtLeast > *out.AtMost:
		p.fault(values["at_least"].place, "", "no number is at least %d and at most %d", *out.AtLeast, *out.AtMost)
	}
	return out
}

const boundsHint = "write `equals: 1`, `at_least: 1` or `at_most: 5`"

func (p *reading) countNoun(n *node) {
	values, ok := p.fields(n, "count", []string{"of"}, "before", "after", "equals", "at_least", "at_most")
	if !ok {
		return
	}
	before := len(p.faults)
	out := &CountExpectation{}
	if t, ok := p.scalar(values["of"], "of"); ok {
		p.counted(t, out)
	}
	p.between(values, &out.After, &out.Before)
	out.Bounds = p.bounds(values)
	if len(p.faults) == before && out.Bounds == (Bounds{}) {
		p.fault(n.place, boundsHint, "the count has no bound")
	}
	if len(p.faults) == before {
		p.add("count", n, Expectation{Count: out})
	}
}

// counted reads what is counted: a packet, or the entries or returns of a call.
func (p *reading) counted(t phrase, out *CountExpectation) {
	form, _, found := t.cut("(")
	if !found {
		if s, ok := p.selector(t); ok {
			out.Packet = &s
		}
		return
	}
	if name := form.trim().text; name == "sent" || name == "received" {
		p.fault(t.pos(), "write `of: A>B SYN`", "a packet is counted once, wherever it was seen")
		return
	}
	if m, ok := p.moment(t); ok {
		m.Step = p.anyRound(m)
		out.Moment = &m
	}
}

// counterGroups are those of /proc/net/snmp, netstat, snmp6 and mptcp.
var counterGroups = []string{"Ip", "Icmp", "IcmpMsg", "Tcp", "Udp", "UdpLite", "TcpExt", "IpExt", "MPTcpExt", "Ip6", "Icmp6", "Udp6"}

var counterName = regexp.MustCompile(`^[A-Za-z0-9]+\.[A-Za-z][A-Za-z0-9]{0,63}$`)

// commonCounters are those that tell of the life of a socket, with what they count
// (include/net/snmp.h and include/uapi/linux/snmp.h of Linux). Others are taken as they
// are: kernels differ in which they have.
var commonCounters = []struct{ name, doc string }{
	{"Tcp.ActiveOpens", "connect(2) that sent a SYN"},
	{"Tcp.PassiveOpens", "connections that came to be from a listening socket"},
	{"Tcp.AttemptFails", "connections that failed in SYN_SENT or SYN_RECV"},
	{"Tcp.EstabResets", "connections reset in ESTABLISHED or CLOSE_WAIT"},
	{"Tcp.InSegs", "segments received"},
	{"Tcp.OutSegs", "segments sent, without retransmissions"},
	{"Tcp.RetransSegs", "segments retransmitted"},
	{"Tcp.InErrs", "segments received with an error"},
	{"Tcp.InCsumErrors", "segments received with a wrong checksum"},
	{"Tcp.OutRsts", "RST sent"},
	{"TcpExt.ListenOverflows", "a full accept queue met a SYN or a third ACK"},
	{"TcpExt.ListenDrops", "a listening socket dropped a SYN or a third ACK, for whatever reason"},
	{"TcpExt.SyncookiesSent", "SYN+ACK with a cookie sent"},
	{"TcpExt.SyncookiesRecv", "cookies that came back right"},
	{"TcpExt.SyncookiesFailed", "cookies that came back wrong"},
	{"TcpExt.TCPReqQFullDoCookies", "the queue of requests was full, cookies were sent"},
	{"TcpExt.TCPReqQFullDrop", "the queue of requests was full, the SYN was dropped"},
	{"TcpExt.EmbryonicRsts", "RST received in SYN_RECV"},
	{"TcpExt.TW", "sockets that left TIME_WAIT by its timer"},
	{"TcpExt.TWRecycled", "sockets in TIME_WAIT reused by connect(2)"},
	{"TcpExt.TWKilled", "sockets in TIME_WAIT ended early"},
	{"TcpExt.DelayedACKs", "ACK sent by the delay's timer"},
	{"TcpExt.DelayedACKLost", "a segment came again although it was acknowledged"},
	{"TcpExt.TCPTimeouts", "retransmission timers that ran out"},
	{"TcpExt.TCPLossProbes", "tail loss probes sent"},
	{"TcpExt.TCPLostRetransmit", "retransmissions that were lost too"},
	{"TcpExt.TCPFastRetrans", "fast retransmissions"},
	{"TcpExt.TCPSynRetrans", "SYN and SYN+ACK retransmitted"},
	{"TcpExt.TCPRetransFail", "retransmissions that could not be sent"},
	{"TcpExt.TCPSpuriousRtxHostQueues", "retransmissions of what had not left the host"},
	{"TcpExt.TCPAbortOnData", "closed with data unread or coming later: RST"},
	{"TcpExt.TCPAbortOnClose", "closed with data unread: RST"},
	{"TcpExt.TCPAbortOnMemory", "too many orphans or too little memory: RST"},
	{"TcpExt.TCPAbortOnTimeout", "given up after too many retransmissions, probes or keepalives"},
	{"TcpExt.TCPAbortOnLinger", "an orphan in FIN_WAIT2 ended without waiting"},
	{"TcpExt.TCPAbortFailed", "a RST could not be sent"},
	{"TcpExt.TCPKeepAlive", "keepalive probes sent"},
	{"TcpExt.TCPDeferAcceptDrop", "third ACK without data dropped for TCP_DEFER_ACCEPT"},
	{"TcpExt.TCPBacklogDrop", "segments dropped because the socket's backlog was full"},
	{"TcpExt.TCPRcvQDrop", "segments dropped because the receive buffer was full"},
	{"TcpExt.TCPChallengeACK", "challenge ACKs sent, RFC 5961"},
	{"TcpExt.TCPSYNChallenge", "challenge ACKs sent for a SYN, RFC 5961"},
	{"TcpExt.TCPACKSkippedSynRecv", "ACKs not sent in SYN_RECV to keep to the rate"},
	{"TcpExt.TCPACKSkippedTimeWait", "ACKs not sent in TIME_WAIT to keep to the rate"},
	{"TcpExt.TCPACKSkippedFinWait2", "ACKs not sent in FIN_WAIT2 to keep to the rate"},
	{"TcpExt.TCPACKSkippedChallenge", "challenge ACKs not sent to keep to the rate"},
	{"TcpExt.PAWSActive", "segments dropped by PAWS in SYN_SENT, RFC 7323"},
	{"TcpExt.PAWSEstab", "segments dropped by PAWS, RFC 7323"},
	{"TcpExt.PAWSTimewait", "segments dropped by PAWS in TIME_WAIT, RFC 7323"},
	{"TcpExt.TCPFastOpenActive", "fast open: data in a SYN sent and acknowledged"},
	{"TcpExt.TCPFastOpenActiveFail", "fast open: data in a SYN sent and not acknowledged"},
	{"TcpExt.TCPFastOpenPassive", "fast open: data in a SYN received and taken"},
	{"TcpExt.TCPFastOpenPassiveFail", "fast open: a SYN with a wrong cookie received"},
	{"TcpExt.TCPFastOpenCookieReqd", "fast open: a SYN that asks for a cookie received"},
	{"TcpExt.TCPFastOpenListenOverflow", "fast open: the listening socket had too many of them"},
	{"TcpExt.TCPFastOpenBlackhole", "fast open: switched off for a black hole"},
	{"TcpExt.TCPMD5NotFound", "a segment without the MD5 signature that was wanted"},
	{"TcpExt.TCPMD5Unexpected", "a segment with an MD5 signature that nobody wanted"},
	{"TcpExt.TCPMD5Failure", "a segment with a wrong MD5 signature"},
	{"TcpExt.TCPFromZeroWindowAdv", "the window opened from zero"},
	{"TcpExt.TCPToZeroWindowAdv", "the window closed to zero"},
	{"TcpExt.TCPWantZeroWindowAdv", "the window would have closed to zero, and may not shrink"},
	{"TcpExt.TCPWinProbe", "probes of a zero window sent"},
	{"TcpExt.TCPOFOQueue", "segments received out of order and kept"},
	{"TcpExt.TCPDSACKOldSent", "D-SACK sent for what was received before"},
	{"TcpExt.TCPDSACKOfoSent", "D-SACK sent for what was received out of order before"},
	{"TcpExt.OutOfWindowIcmps", "ICMP errors about no segment in the window"},
	{"TcpExt.LockDroppedIcmps", "ICMP errors for a socket that was busy"},
	{"TcpExt.PFMemallocDrop", "segments dropped for want of memory"},
	{"IpExt.InNoECTPkts", "packets received without ECN"},
	{"IpExt.InECT0Pkts", "packets received with ECT(0)"},
	{"IpExt.InECT1Pkts", "packets received with ECT(1)"},
	{"IpExt.InCEPkts", "packets received with congestion experienced"},
	{"Ip.OutNoRoutes", "packets without a route"},
	{"Ip.FragCreates", "fragments made"},
	{"Ip.FragFails", "packets that had to be fragmented and might not"},
	{"Icmp.InDestUnreachs", "destination unreachable received"},
	{"Icmp.OutDestUnreachs", "destination unreachable sent"},
	{"Icmp.InCsumErrors", "ICMP messages received with a wrong checksum"},
	{"Udp.InCsumErrors", "datagrams received with a wrong checksum"},
	{"Udp.NoPorts", "datagrams for a port where nobody listens"},
	{"Udp.InDatagrams", "datagrams delivered"},
	{"Udp.OutDatagrams", "datagrams sent"},
	{"Udp.RcvbufErrors", "datagrams dropped because the receive buffer was full"},
	{"MPTcpExt.MPCapableSYNTX", "SYN with MP_CAPABLE sent"},
	{"MPTcpExt.MPCapableSYNRX", "SYN with MP_CAPABLE received"},
	{"MPTcpExt.MPCapableFallbackACK", "fell back to TCP at the third ACK"},
	{"MPTcpExt.MPCapableFallbackSYNACK", "fell back to TCP at the SYN+ACK"},
	{"MPTcpExt.MPFallbackTokenInit", "fell back to TCP for want of a token"},
}

func (p *reading) counter(n *node) {
	values, ok := p.fields(n, "counter", []string{"host", "name"}, "increases", "equals", "at_least", "at_most")
	if !ok {
		return
	}
	before := len(p.faults)
	out := &CounterExpectation{}
	if t, ok := p.scalar(values["host"], "host"); ok && p.isRole(t) {
		out.Host = t.text
	}
	if t, ok := p.scalar(values["name"], "name"); ok {
		out.Name = t.text
		p.isCounter(t)
	}
	if v := values["increases"]; v != nil {
		if t, ok := p.scalar(v, "increases"); ok && t.text != "true" {
			p.fault(t.pos(), "write `equals: 0` for a counter that stays", "increases is true, found %q", shorten(t.text))
		}
		out.Increases = true
	}
	out.Bounds = p.bounds(values)
	switch {
	case len(p.faults) > before:
	case out.Increases && out.Bounds != (Bounds{}):
		p.fault(values["increases"].place, "leave one of them away", "increases says at_least: 1 already")
	case !out.Increases && out.Bounds == (Bounds{}):
		p.fault(n.place, "write `increases: true`, or "+strings.TrimPrefix(boundsHint, "write "), "nothing is said of the counter")
	}
	if len(p.faults) == before {
		p.needs("counters", n.place)
		p.add("counter", n, Expectation{Counter: out})
	}
}

// isCounter faults what cannot be the name of a counter, and what is nearly that of a
// common one. Any other name is left to the kernel.
func (p *reading) isCounter(t phrase) {
	known := make([]string, len(commonCounters))
	for i, c := range commonCounters {
		known[i] = c.name
	}
	if slices.Contains(known, t.text) {
		return
	}
	group, name, _ := t.cut(".")
	c := Closest(t.text, known)
	switch {
	case !counterName.MatchString(t.text):
		hint := "write Group.Name, as in TcpExt.ListenOverflows"
		if bare := Closest("TcpExt."+t.text, known); bare != "" {
			hint = fmt.Sprintf("did you mean %q?", bare)
		}
		p.fault(t.pos(), hint, "%q is no counter", shorten(t.text))
	case !slices.Contains(counterGroups, group.text):
		p.fault(group.pos(), suggest(group.text, "groups", counterGroups), "unknown group of counters %q", shorten(group.text))
	case c != "" && (strings.EqualFold(c, t.text) || distance(c, t.text, 3) < 3):
		p.fault(name.pos(), fmt.Sprintf("did you mean %q?", c), "unknown counter %q", shorten(t.text))
	}
}
