package timeline

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"syncline/controller/clock"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var rewriteStates = flag.Bool("rewrite-states", false, "rewrite testdata/states from what Build does now")

// A file of testdata/states says in its first lines what happens. Then come the events,
// one a line, times in microseconds, and what Build makes of them: the states of both
// ends with the moment that brought each about, and the phases.
//
//	A>B SYN 5..25            left A at 5, came to B at 25; - is a tap that did not see it
//	A>B ACK 5..25 data 7     with seven bytes
//	B>A RST 5..25 seq 9      numbers are those that follow, unless they are given
//	B>A RST+ACK 5..25 zero   the sequence number is 0
//	A>B SYN 905..925 again   the numbers of the last segment with these flags
//	A client connect c 0..60 = 0
//	B server accept s->a 0..80 = 8
//	A client recv c 0..80 = -1 errno 104
//	A icmp 3/3 50 about A>B SYN     arrives at A and quotes that segment
//	B dump TIME_WAIT 900     sock_diag(7) at the end; "glance" is one before the end
//	B loss 3 10..20          the tap lost three packets; "loss 3 10..20 tracepoints" traces
//	A missing packets        the host has no such source
//	A trace 1 4 CLOSED>SYN_SENT   the kernel traced the socket with cookie 1: "noport" before
//	                         it has one, "nopeer" before its peer is known
//	A trace 1 40 reset-received    "in FIN_WAIT2" is the state that it happened in
//	B trace - 30 drop A>B SYN NETFILTER_DROP nf_hook_slow   "noway" does not tell that B
//	                         had received it
//	A option c IPPROTO_TCP, TCP_DEFER_ACCEPT, 5
func TestStates(t *testing.T) {
	files, err := filepath.Glob("testdata/states/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if len(strings.TrimSpace(string(archive.Comment))) == 0 {
				t.Error("the file does not say what it shows")
			}
			tl, err := Build(newScript(t, section(archive, "events")).run, 1)
			if err != nil {
				t.Fatal(err)
			}
			checkInvariants(t, tl)
			got := statesText(tl)
			if *rewriteStates {
				archive.Files = append(archive.Files[:1:1], txtar.File{Name: "states", Data: []byte(got)})
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(section(archive, "states"), got); d != "" {
				t.Error(d)
			}
		})
	}
}

// statesText is what the golden files show of a timeline.
func statesText(tl *Timeline) string {
	var b strings.Builder
	for i := range tl.Connections {
		c := &tl.Connections[i]
		if i > 0 {
			b.WriteString("\n")
		}
		for end := range 2 {
			own := c.End(end)
			fmt.Fprintf(&b, "%s\n", endText(tl, *own))
			for _, s := range own.States {
				fmt.Fprintf(&b, "  %-12s %-7s %s%s\n", s.Name, s.Known, placeText(tl, s.Moment), boundsText(tl, s))
			}
			if doubt := tl.StateDoubt(i, end); doubt != "" {
				fmt.Fprintf(&b, "  in doubt: %s\n", doubt)
			}
		}
		for j := range c.Segments {
			for _, at := range c.Segments[j].Traces {
				fmt.Fprintf(&b, "%s: %s\n", segmentText(tl, c.Segments[j]), placeText(tl, at))
			}
		}
		for _, p := range tl.Phases(i) {
			fmt.Fprintf(&b, "%-22s %s%s\n", p.Name, thousandths(p.Nanoseconds), errText(p.Err))
		}
		if ns, err, ok := tl.RTT(i); ok {
			fmt.Fprintf(&b, "rtt %s%s\n", thousandths(ns), errText(err))
		}
	}
	for _, w := range tl.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	return b.String()
}

func placeText(tl *Timeline, moment int) string {
	if moment < 0 {
		return "-"
	}
	m := &tl.Moments[moment]
	return fmt.Sprintf("%s %s", thousandths(int64(m.Stamp.At-tl.Zero)), momentText(m))
}

// boundsText is how far a state's beginning is known, where its moment does not say:
// "later" is after that moment.
func boundsText(tl *Timeline, s State) string {
	var parts []string
	switch {
	case s.After < 0:
	case s.After == s.Moment:
		parts = append(parts, "later")
	default:
		parts = append(parts, "after "+placeText(tl, s.After))
	}
	if s.By >= 0 && s.By != s.Moment {
		parts = append(parts, "by "+placeText(tl, s.By))
	}
	if len(parts) == 0 {
		return ""
	}
	return "  (" + strings.Join(parts, ", ") + ")"
}

// script turns lines into the events of two hosts that read one clock but for an
// offset.
type script struct {
	t    testing.TB
	run  *Run
	last int64
	// segments so far, by the letter of the sender.
	segments map[string][]scriptSegment
	isn      map[string]uint32
	offset   []clock.Local
}

type scriptSegment struct {
	flags       string
	first, next uint32
	left, came  int64
	packet      Packet
}

func newScript(t testing.TB, text string) *script {
	t.Helper()
	s := &script{
		t: t, run: &Run{ID: "r-1", Hosts: []Host{
			{Name: "A", Address: netip.MustParseAddr("10.0.0.1")}, {Name: "B", Address: netip.MustParseAddr("10.0.0.2")},
		}},
		segments: make(map[string][]scriptSegment), isn: map[string]uint32{"A": 1000, "B": 70000},
		offset: []clock.Local{0, 900_000_000},
	}
	s.event(0, -1_000_000, Event{Mark: &Mark{Kind: MarkBegin}})
	s.event(1, -1_000_000, Event{Mark: &Mark{Kind: MarkBegin}})
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 0 && !strings.HasPrefix(fields[0], "#") {
			s.line(fields)
		}
	}
	s.event(0, s.last+1_000_000, Event{Mark: &Mark{Kind: MarkEnd}})
	s.event(1, s.last+1_000_000, Event{Mark: &Mark{Kind: MarkEnd}})
	s.run.Events = append(s.run.Events, watched(2)...)
	return s
}

func (s *script) event(host int, at int64, e Event) {
	e.Host, e.Number, e.Incarnation, e.Repetition = host, uint64(len(s.run.Events)+1), 1, 1
	e.At = clock.Local(at) + s.offset[host] + 1_000_000_000
	s.run.Events = append(s.run.Events, e)
}

// ns reads microseconds; "-" is no time.
func (s *script) ns(text string) (int64, bool) {
	s.t.Helper()
	if text == "-" {
		return 0, false
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	at := int64(n * 1000)
	s.last = max(s.last, at)
	return at, true
}

func hostOfLetter(letter string) int { return int(letter[0] - 'A') }

func (s *script) line(fields []string) {
	s.t.Helper()
	from, to, isPacket := strings.Cut(fields[0], ">")
	if isPacket {
		s.packet(from, to, fields[1:])
		return
	}
	host := hostOfLetter(fields[0])
	switch fields[1] {
	case "icmp":
		s.icmp(host, fields[2:])
	case "dump", "glance":
		at, _ := s.ns(fields[3])
		state := stateNumber(fields[2])
		dumped := &SocketState{Local: s.address(host), Peer: s.address(1 - host), State: state, Final: fields[1] == "dump"}
		if fields[2] == stateListen {
			dumped.Peer = netip.AddrPort{}
		}
		s.event(host, at, Event{Socket: dumped})
	case "loss":
		from, to, _ := strings.Cut(fields[3], "..")
		since, _ := s.ns(from)
		at, _ := s.ns(to)
		source := Packets
		if len(fields) > 4 {
			source = Source(fields[4])
		}
		s.event(host, at, Event{Loss: &Loss{
			Source: source, Count: number[uint64](s.t, fields[2]), Since: clock.Local(since) + s.offset[host] + 1_000_000_000,
		}})
	case "missing":
		s.run.Hosts[host].Missing = map[Source]string{Source(fields[2]): "no CAP_NET_RAW"}
	case "trace":
		s.trace(host, fields[2:])
	case "option":
		s.event(host, 0, Event{Call: &Call{
			Lane: "server", Name: "setsockopt", Socket: fields[2], Arguments: strings.Join(fields[3:], " "),
			Return: 1_000_000_000 + s.offset[host],
		}})
	case "bind":
		s.event(host, -1000, Event{Call: &Call{
			Lane: "server", Name: "bind", Socket: fields[2], Local: s.address(host), Return: 1_000_000_000 + s.offset[host] - 500,
		}})
	default:
		s.call(host, fields[1:])
	}
}

// trace reads "1 4 CLOSED>SYN_SENT noport" and "- 30 drop A>B SYN NETFILTER_DROP nf_hook_slow".
func (s *script) trace(host int, fields []string) {
	s.t.Helper()
	tr := &Trace{Local: s.address(host), Peer: s.address(1 - host)}
	if fields[0] != "-" {
		tr.Cookie = number[uint64](s.t, fields[0])
	}
	at, _ := s.ns(fields[1])
	from, to, isState := strings.Cut(fields[2], ">")
	rest := fields[3:]
	kind := map[string]TraceKind{
		"retransmit": TraceRetransmit, "retransmit-synack": TraceRetransmitSYNACK, "reset-sent": TraceResetSent,
		"reset-received": TraceResetReceived, "destroyed": TraceDestroyed, "error": TraceError, "drop": TraceDrop, "ready": TraceReady,
	}[fields[2]]
	switch {
	case isState:
		tr.Kind, tr.OldState, tr.State = TraceState, stateNumber(from), stateNumber(to)
	case kind == TraceDrop, kind == TraceRetransmit:
		tr.Kind = kind
		sender, _, _ := strings.Cut(rest[0], ">")
		about := s.again(sender, rest[1], Packet{})
		tr.Seq, tr.Ack, tr.Flags, tr.PayloadLength, rest = about.Seq, about.Ack, about.Flags, about.PayloadLength, rest[2:]
		if kind == TraceDrop {
			tr.Reason, tr.Place, rest = rest[0], rest[1], rest[2:]
			tr.Direction = In
			if hostOfLetter(sender) == host {
				tr.Direction = Out
			}
		}
	case kind == TraceResetSent:
		tr.Kind, tr.Reason, rest = kind, rest[0], rest[1:]
	case kind != 0:
		tr.Kind = kind
	default:
		s.t.Fatalf("unknown trace %q", fields)
	}
	for i, f := range rest {
		switch f {
		case "noport":
			tr.Local = netip.AddrPortFrom(tr.Local.Addr(), 0)
		case "noway":
			tr.Direction = 0
		case "nopeer":
			tr.Peer = netip.AddrPort{}
		case "errno":
			tr.Errno = number[uint32](s.t, rest[i+1])
		case "in":
			tr.State = stateNumber(rest[i+1])
		}
	}
	s.event(host, at, Event{Trace: tr})
}

func stateNumber(name string) int {
	for n := range stateNames {
		if stateNames[n] == name && n > 0 {
			return n
		}
	}
	n, _ := strconv.Atoi(name)
	return n
}

func (s *script) address(host int) netip.AddrPort {
	return netip.AddrPortFrom(s.run.Hosts[host].Address, []uint16{40312, 8080}[host])
}

// call reads "client recv c 0..80 = -1 errno 104".
func (s *script) call(host int, fields []string) {
	s.t.Helper()
	from, to, _ := strings.Cut(fields[3], "..")
	enter, _ := s.ns(from)
	leave, _ := s.ns(to)
	c := parseLaneCall(s.t, fields[0], append([]string{fields[1], fields[2]}, fields[4:]...))
	c.Return = clock.Local(leave) + s.offset[host] + 1_000_000_000
	switch {
	case c.Name == "connect":
		c.Local, c.Peer = s.address(host), s.address(1-host)
	case c.Name == "accept" && c.Result >= 0:
		c.Local, c.Peer = s.address(host), s.address(1-host)
	}
	for i, f := range fields {
		switch {
		case f == "by" && fields[i+1] == "lab":
			c.EndedBy = EndedByTimeout
		case strings.HasPrefix(f, "SHUT_"):
			c.Arguments = f
		case f == "so_error":
			c.Arguments, c.Data = "SOL_SOCKET, SO_ERROR", []byte{byte(number[int64](s.t, fields[i+1])), 0, 0, 0}
		}
	}
	s.event(host, enter, Event{Call: c})
}

// packet reads "SYN+ACK 5..25 data 7 seq 9 ack 3 again".
func (s *script) packet(from, to string, fields []string) {
	s.t.Helper()
	left, came, _ := strings.Cut(fields[1], "..")
	p := Packet{
		Interface: "eth0", Segments: 1, IPID: uint32(len(s.run.Events) + 1),
		Source: s.address(hostOfLetter(from)), Destination: s.address(hostOfLetter(to)),
	}
	for name := range strings.SplitSeq(fields[0], "+") {
		p.Flags |= map[string]Flags{"SYN": SYN, "ACK": ACK, "FIN": FIN, "RST": RST, "PSH": PSH}[name]
	}
	out, isSent := s.ns(left)
	in, arrives := s.ns(came)
	at := out
	if !isSent {
		at = in
	}
	p.Seq, p.Ack = s.numbers(from, to, at)
	for i := 2; i < len(fields); i++ {
		switch fields[i] {
		case "data":
			p.PayloadLength = number[int](s.t, fields[i+1])
		case "seq":
			p.Seq = s.isn[from] + number[uint32](s.t, fields[i+1])
		case "zero":
			p.Seq = 0
		case "ack":
			p.Ack = s.isn[to] + number[uint32](s.t, fields[i+1])
		case "again":
			p = s.again(from, fields[0], p)
		}
	}
	if p.Flags&ACK == 0 {
		p.Ack = 0
	}
	segment := scriptSegment{flags: fields[0], first: p.Seq, next: p.Seq + sequenceLength(&p), left: at, came: in, packet: p}
	if !arrives {
		segment.came = -1
	}
	s.segments[from] = append(s.segments[from], segment)
	if isSent {
		p := p
		p.Direction = Out
		s.event(hostOfLetter(from), out, Event{Packet: &p})
	}
	if arrives {
		p := p
		p.Direction = In
		s.event(hostOfLetter(to), in, Event{Packet: &p})
	}
}

// numbers are the next number of a sender, and what it has had of the other by then.
func (s *script) numbers(from, to string, at int64) (seq, ack uint32) {
	seq, ack = s.isn[from], s.isn[to]
	for _, g := range s.segments[from] {
		if g.left <= at && g.packet.Flags&RST == 0 && int32(g.next-seq) > 0 {
			seq = g.next
		}
	}
	for again := true; again; {
		again = false
		for _, g := range s.segments[to] {
			if g.came >= 0 && g.came <= at && int32(ack-g.first) >= 0 && int32(g.next-ack) > 0 {
				ack, again = g.next, true
			}
		}
	}
	return seq, ack
}

// again is the last segment with the same flags, with an identification of its own.
func (s *script) again(from, flags string, p Packet) Packet {
	s.t.Helper()
	for i := len(s.segments[from]) - 1; i >= 0; i-- {
		if g := s.segments[from][i]; g.flags == flags {
			again := g.packet
			if again.IPID = p.IPID; again.Flags&SYN == 0 {
				again.Ack = p.Ack
			}
			return again
		}
	}
	s.t.Fatalf("%s sent no %s before", from, flags)
	return p
}

// icmp reads "3/3 50 about A>B SYN".
func (s *script) icmp(host int, fields []string) {
	s.t.Helper()
	typ, code, _ := strings.Cut(fields[0], "/")
	at, _ := s.ns(fields[1])
	from, _, _ := strings.Cut(fields[3], ">")
	about := s.again(from, fields[4], Packet{})
	s.event(host, at, Event{Packet: &Packet{
		Interface: "eth0", Direction: In, Protocol: ProtocolICMP, ICMPType: number[int](s.t, typ), ICMPCode: number[int](s.t, code),
		Source: netip.AddrPortFrom(s.run.Hosts[1-host].Address, 0), Destination: netip.AddrPortFrom(s.run.Hosts[host].Address, 0),
		Payload: quoteOf(&about), PayloadLength: 28,
	}})
}

// quoteOf is an IPv4 header with eight bytes of TCP, as an ICMP error has it.
func quoteOf(p *Packet) []byte {
	b := make([]byte, 28)
	b[0], b[9] = 0x45, ProtocolTCP
	source, destination := p.Source.Addr().As4(), p.Destination.Addr().As4()
	copy(b[12:], source[:])
	copy(b[16:], destination[:])
	b[20], b[21] = byte(p.Source.Port()>>8), byte(p.Source.Port())
	b[22], b[23] = byte(p.Destination.Port()>>8), byte(p.Destination.Port())
	b[24], b[25], b[26], b[27] = byte(p.Seq>>24), byte(p.Seq>>16), byte(p.Seq>>8), byte(p.Seq)
	return b
}
