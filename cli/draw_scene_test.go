package cli

import (
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"syncline/controller/clock"
	"syncline/controller/experiment"
	"syncline/controller/timeline"
)

// scene is a timeline written by hand, one fact a line, times in milliseconds of the
// lab's clock:
//
//	host A 10.0.0.1                      the first host is the reference
//	host B 10.0.0.2 ±0.038               its stamps are off by at most 38 µs
//	host C 10.0.0.3 missing packets      it has no packets
//	host D 10.0.0.4 ±2 kernel x          hosts of one kernel read one clock
//	A client connect(c, B:8080) 0..40.14 = 0 as try
//	B server accept(s) -1..60.22 = 7 makes a
//	A client connect(c, B:9) 0..1 = ECONNREFUSED fails expected ok
//	B server close(a) 70..70.01 = 0 by lab
//	A>B SYN 0.031..20.05                 left A at 0.031, arrived at B at 20.05
//	A>B ACK data 5 41..61                a segment with 5 bytes
//	A>B SYN 0.031..? lost                ? is a tap that did not see it
//	A>B UDP 5 41..61                     a datagram with 5 bytes; "other" packets have no connection
//	B>A ICMP 3/3 62..82                  "ICMP 3/3 about" is about the one connection
//	A>B ARP-request 1..2                 and ARP-reply
//	change B cut 30 firewall drop tcp/8080     "back" instead of "cut": taken back
//	process B victim 4711 30 born        or "ended", or "9": killed by SIGKILL
//	queue B 30 2 1 3                     two in a queue of backlog 1, three in SYN_RECV
//	loss B packets 12 10..20             between 10 ms and 20 ms
//	step A 1000 10..20                   CLOCK_REALTIME moved by 1 s
//	busy B 99                            sockets not quiet
//	unended B                            no end mark
//	state A SYN_SENT traced 0.02          the kernel traced that A came to it then
//	state B SYN_RECV packet 20.09 after 20.05 by 20.09    inferred; times are of moments, and
//	                                      - for none; "dump" and others are ways to know it
//	doubt B TEXT                          why the states of B may not be right
//	drop B 20.06 in SYN 10.0.0.1 NETFILTER_DROP nf_hook_slow of 0    B's kernel dropped it, as it
//	                                      was received ("out": sent, "noway": not told): of the
//	                                      connection's segment 0, "of -" of one that no tap saw
//	told B 20.07 reset NO_SOCKET of 1     B's kernel said why it sent segment 1
//	told A 1000 again - of 2              A's kernel said that it sent segment 2 again
//	warn TEXT                            a warning of the timeline
//	verdicts 7                           seven passes
//	fail TEXT: REASON                    a verdict; "untold" is the other one
//
// Sequence numbers follow from what was sent before; "again" repeats the numbers of
// the segment before with these flags, as copy 1, 2, … .
type scene struct {
	t       testing.TB
	tl      *timeline.Timeline
	unended map[int]bool
	steps   map[string]int
	next    map[string]uint32
	again   map[string]*timeline.Packet
	copies  map[string]int
	number  uint64
	last    float64
	pending []pendingSegment
	states  []pendingState
	traces  []pendingTrace
}

// pendingState waits for the moments to be sorted; its times are as the scene has them.
type pendingState struct {
	host          int
	name, known   string
	at, after, by string
	traced        *timeline.Event
}

// pendingTrace waits for the segment that it is of, counted in its connection; -1 if it is
// of none on record.
type pendingTrace struct {
	event   *timeline.Event
	segment int
}

// pendingSegment waits for the moments to be sorted.
type pendingSegment struct {
	connection int
	// other is set for a packet that is no TCP.
	other      *timeline.Transmission
	segment    timeline.Segment
	left, came *timeline.Event
}

// sceneOffset are the true offsets of the hosts' clocks, the first host's being the
// reference. They repeat after the last.
var sceneOffset = []clock.Local{0, 5_000_000_000, -7_000_000_000, 4_000_000_000_000}

// offset is that of a host's clock; one that shares a kernel with the first has none.
func (s *scene) offset(host int) clock.Local {
	if h := s.tl.Hosts; h[host].ClockID != "" && h[host].ClockID == h[0].ClockID {
		return 0
	}
	return sceneOffset[host%len(sceneOffset)]
}

func parseScene(t testing.TB, text string) *timeline.Timeline {
	t.Helper()
	s := &scene{
		t: t, unended: map[int]bool{}, steps: map[string]int{}, next: map[string]uint32{},
		again: map[string]*timeline.Packet{}, copies: map[string]int{},
		tl: &timeline.Timeline{RunID: "r-7f3c2a", Experiment: "scene", Repetition: 3, Zero: 1_000_000_000_000},
	}
	for _, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			s.line(line)
		}
	}
	return s.finish()
}

var (
	hostForm   = regexp.MustCompile(`^host (\w+) (\S+)(?: ±(\S+))?(?: missing (\w+))?(?: kernel (\w+))?$`)
	packetForm = regexp.MustCompile(`^(\w+)>(\w+) (\S+)(?: data (\d+))? (\S+)\.\.(\S+)((?: \w+)*)$`)
	otherForm  = regexp.MustCompile(`^(\w+)>(\w+) (UDP|ICMP|ARP-\w+)(?: (\S+))?( about)? (\S+)\.\.(\S+)((?: \w+)*)$`)
	deedForm   = regexp.MustCompile(`^(change|process|queue) (\w+) (.*)$`)
	callForm   = regexp.MustCompile(`^(\w+) ([\w\[\]]+) (\w+)\((.*)\) (\S+)\.\.(\S+) = (\S+)(?: makes (\w+))?(?: as (\w+))?( by lab)?(?: fails (.*))?$`)
	stateForm  = regexp.MustCompile(`^state (\w+) (\w+) (\w+) (\S+)(?: after (\S+))?(?: by (\S+))?$`)
	dropForm   = regexp.MustCompile(`^drop (\w+) (\S+) (in|out|noway) (\S+) (\S+) (\w+) (\S+) of (\S+)$`)
	toldForm   = regexp.MustCompile(`^told (\w+) (\S+) (reset|again) (\S+) of (\S+)$`)
	gapForm    = regexp.MustCompile(`^(loss|step|busy|unended|warn|verdicts|fail|untold|doubt) (\w+) ?(.*)$`)
)

func (s *scene) line(line string) {
	s.t.Helper()
	if m := hostForm.FindStringSubmatch(line); m != nil {
		s.host(m)
	} else if m := otherForm.FindStringSubmatch(line); m != nil {
		s.other(m)
	} else if m := deedForm.FindStringSubmatch(line); m != nil {
		s.deed(s.hostIndex(m[2]), m[1], strings.Fields(m[3]))
	} else if m := stateForm.FindStringSubmatch(line); m != nil {
		s.state(m)
	} else if m := dropForm.FindStringSubmatch(line); m != nil {
		s.drop(m)
	} else if m := toldForm.FindStringSubmatch(line); m != nil {
		s.told(m)
	} else if m := packetForm.FindStringSubmatch(line); m != nil {
		s.packet(m)
	} else if m := gapForm.FindStringSubmatch(line); m != nil {
		s.gap(m)
	} else if m := callForm.FindStringSubmatch(line); m != nil {
		s.call(m)
	} else {
		s.t.Fatalf("scene: cannot read %q", line)
	}
}

func (s *scene) host(m []string) {
	h := timeline.Host{Name: m[1], Agent: "vm" + strconv.Itoa(len(s.tl.Hosts)+1), Address: netip.MustParseAddr(m[2]), Missing: map[timeline.Source]string{}}
	if m[4] != "" {
		h.Missing[timeline.Source(m[4])] = "needs CAP_NET_RAW"
	}
	h.ClockID = m[5]
	s.tl.Hosts = append(s.tl.Hosts, h)
	var c timeline.HostClock
	c.Method = "segments"
	if len(s.tl.Hosts) == 1 {
		c.Method = "reference"
	}
	offset := int64(s.offset(len(s.tl.Hosts) - 1))
	err := int64(0)
	switch m[3] {
	case "":
	case "?":
		err, c.Method = clock.Unbounded, "unknown"
		c.Bound = clock.Bound{Lo: -clock.Unbounded, Hi: clock.Unbounded}
	default:
		err = s.ns(m[3])
	}
	if c.Method != "unknown" {
		c.Bound = clock.Bound{Lo: offset - err, Hi: offset + err}
		c.Messages = 12
	}
	s.tl.Clocks = append(s.tl.Clocks, c)
}

func (s *scene) ns(ms string) int64 {
	s.t.Helper()
	x, err := strconv.ParseFloat(ms, 64)
	if err != nil {
		s.t.Fatalf("scene: %q is no time", ms)
	}
	s.last = max(s.last, x)
	return int64(math.Round(x * 1e6))
}

func (s *scene) hostIndex(name string) int {
	s.t.Helper()
	i := slices.IndexFunc(s.tl.Hosts, func(h timeline.Host) bool { return h.Name == name })
	if i < 0 {
		s.t.Fatalf("scene: no host %q", name)
	}
	return i
}

// at is the local time of a host for a time of the scene.
func (s *scene) at(host int, ms string) clock.Local {
	return clock.Local(int64(s.tl.Zero)+s.ns(ms)) + s.offset(host)
}

// add places an event at one moment.
func (s *scene) add(e *timeline.Event, edge timeline.Edge, at clock.Local) {
	if e.Number == 0 {
		s.number++
		e.Number, e.Incarnation, e.Repetition = s.number, 1, 3
	}
	c := s.tl.Clocks[e.Host]
	m := timeline.Moment{Event: e, Edge: edge, Local: at, Connection: -1, Segment: -1}
	m.Stamp = clock.Stamp{At: clock.Lab(at - s.offset(e.Host)), Err: clock.Unbounded}
	if c.Bound.Known() {
		m.Stamp.Err = c.Bound.Err()
	}
	s.tl.Moments = append(s.tl.Moments, m)
}

func (s *scene) call(m []string) {
	host := s.hostIndex(m[1])
	c := &timeline.Call{Lane: m[2], Step: s.steps[m[2]], Name: m[3], Makes: m[8], Label: m[9], ByLab: m[10] != "", Failure: m[11], EndedBy: timeline.EndedByKernel}
	s.steps[m[2]]++
	socket, args, both := strings.Cut(m[4], ", ")
	switch {
	case both:
		c.Socket, c.Arguments = socket, args
	case slices.Contains([]string{"sleep", "wait", "signal", "meet", "apply", "undo", "fork", "kill"}, c.Name):
		c.Arguments = socket
	default:
		c.Socket = socket
	}
	for i, h := range s.tl.Hosts {
		c.Arguments = strings.ReplaceAll(c.Arguments, h.Name+":", s.tl.Hosts[i].Address.String()+":")
	}
	s.result(c, m[7])
	c.Return = s.at(host, m[6])
	e := &timeline.Event{Host: host, At: s.at(host, m[5]), Call: c}
	s.add(e, timeline.Enter, e.At)
	s.add(e, timeline.Return, c.Return)
}

func (s *scene) result(c *timeline.Call, text string) {
	s.t.Helper()
	switch text {
	case "timeout":
		c.EndedBy, c.Result = timeline.EndedByTimeout, -1
		return
	case "death":
		c.EndedBy, c.Result = timeline.EndedByDeath, -1
		return
	case "cancel":
		c.EndedBy, c.Result = timeline.EndedByCancel, -1
		return
	}
	for number := uint32(1); number < 134; number++ {
		if experiment.ErrnoName(number) == text {
			c.Errno, c.Result = number, -1
			return
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		s.t.Fatalf("scene: %q is no result", text)
	}
	c.Result = n
	if c.Makes != "" {
		c.FD = int(n)
	}
}

var sceneFlags = map[string]timeline.Flags{"SYN": timeline.SYN, "ACK": timeline.ACK, "FIN": timeline.FIN, "RST": timeline.RST, "PSH": timeline.PSH}

// synOptions are MSS 1460, SACK permitted, timestamps, window scale 7.
var synOptions = []byte{2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7}

func (s *scene) packet(m []string) {
	s.t.Helper()
	from, to := s.hostIndex(m[1]), s.hostIndex(m[2])
	index := s.connection(from, to)
	c := &s.tl.Connections[index]
	seg := timeline.Segment{FromClient: c.Client.Host == from, Departure: -1, Arrival: -1, OneWayErr: clock.Unbounded}
	length := 0
	if m[4] != "" {
		length, _ = strconv.Atoi(m[4])
	}
	var flags timeline.Flags
	for _, name := range strings.Split(m[3], "+") {
		flags |= sceneFlags[name]
	}
	key := fmt.Sprint(index, m[1], m[2], flags, length)
	words := strings.Fields(m[7])
	p := s.again[key]
	if slices.Contains(words, "again") && p != nil {
		s.copies[key]++
		seg.Copy = s.copies[key]
	} else if p == nil || !slices.Contains(words, "dup") {
		p = s.newPacket(c, seg.FromClient, flags, length)
		s.again[key] = p
	}
	seg.Lost = slices.Contains(words, "lost")
	seg.Duplicate = slices.Contains(words, "dup")
	seg.Impossible = slices.Contains(words, "impossible")
	s.pending = append(s.pending, pendingSegment{
		connection: index, segment: seg, left: s.seen(from, timeline.Out, p, m[5]), came: s.seen(to, timeline.In, p, m[6]),
	})
}

// seen adds the moment at which a tap saw a packet, nil if it did not.
func (s *scene) seen(host int, d timeline.Direction, p *timeline.Packet, ms string) *timeline.Event {
	if ms == "?" {
		return nil
	}
	own := *p
	own.Direction = d
	e := &timeline.Event{Host: host, At: s.at(host, ms), Packet: &own}
	s.add(e, timeline.At, e.At)
	return e
}

// newPacket continues the sequence numbers of its direction.
func (s *scene) newPacket(c *timeline.Connection, fromClient bool, flags timeline.Flags, length int) *timeline.Packet {
	own, other := &c.Client, &c.Server
	if !fromClient {
		own, other = other, own
	}
	if flags&timeline.SYN != 0 {
		own.HasISN, own.ISN = true, uint32(0xfffffff0)+uint32(own.Host)
		s.next[own.Address.String()] = own.ISN
	}
	p := &timeline.Packet{
		Source: own.Address, Destination: other.Address, Flags: flags, PayloadLength: length, Segments: 1, Window: 502,
		Seq: s.next[own.Address.String()],
	}
	if flags&timeline.ACK != 0 {
		p.Ack = s.next[other.Address.String()]
	}
	if flags&timeline.SYN != 0 {
		p.Options = synOptions
	}
	s.next[own.Address.String()] += uint32(length)
	if flags&(timeline.SYN|timeline.FIN) != 0 {
		s.next[own.Address.String()]++
	}
	return p
}

// connection finds the one connection of two hosts, or opens it from the first.
func (s *scene) connection(from, to int) int {
	for i := range s.tl.Connections {
		c := &s.tl.Connections[i]
		if (c.Client.Host == from && c.Server.Host == to) || (c.Client.Host == to && c.Server.Host == from) {
			return i
		}
	}
	s.tl.Connections = append(s.tl.Connections, timeline.Connection{
		Client: timeline.End{Host: from, Address: netip.AddrPortFrom(s.tl.Hosts[from].Address, 40312), Lane: "client", Socket: "c"},
		Server: timeline.End{Host: to, Address: netip.AddrPortFrom(s.tl.Hosts[to].Address, 8080), Lane: "server", Socket: "a"},
	})
	return len(s.tl.Connections) - 1
}

func (s *scene) gap(m []string) {
	if m[1] == "warn" {
		s.tl.Warnings = append(s.tl.Warnings, m[2]+" "+m[3])
		return
	}
	if m[1] == "verdicts" {
		n, _ := strconv.Atoi(m[2])
		for range n {
			s.tl.Verdicts = append(s.tl.Verdicts, timeline.Verdict{Ruling: timeline.Pass})
		}
		return
	}
	if m[1] == "fail" || m[1] == "untold" {
		text, reason, _ := strings.Cut(m[2]+" "+m[3], ": ")
		ruling := map[string]timeline.Ruling{"fail": timeline.Fail, "untold": timeline.CannotTell}[m[1]]
		s.tl.Verdicts = append(s.tl.Verdicts, timeline.Verdict{Expectation: text, Ruling: ruling, Reason: reason})
		return
	}
	host, words := s.hostIndex(m[2]), strings.Fields(m[3])
	e := &timeline.Event{Host: host}
	switch m[1] {
	case "unended":
		s.unended[host] = true
		return
	case "doubt":
		s.endOf(host).StatesDoubt = m[3]
		return
	case "busy":
		e.At, e.Mark = s.at(host, words[0]), &timeline.Mark{Kind: timeline.MarkNotQuiet, Detail: "FIN_WAIT2 10.0.0.2:8080"}
	case "loss":
		since, until, _ := strings.Cut(words[2], "..")
		count, _ := strconv.Atoi(words[1])
		e.At, e.Loss = s.at(host, until), &timeline.Loss{Source: timeline.Source(words[0]), Count: uint64(count), Since: s.at(host, since), Where: "capture ring of eth0"}
	case "step":
		since, until, _ := strings.Cut(words[1], "..")
		e.At, e.Step = s.at(host, until), &timeline.ClockStep{Step: s.ns(words[0]), Since: s.at(host, since)}
	}
	s.add(e, timeline.At, e.At)
}

// finish sorts the moments, joins the segments to them and ends the repetition.
func (s *scene) finish() *timeline.Timeline {
	for h := range s.tl.Hosts {
		if !s.unended[h] {
			e := &timeline.Event{Host: h, At: s.at(h, fmt.Sprint(s.last+1)), Mark: &timeline.Mark{Kind: timeline.MarkEnd}}
			s.add(e, timeline.At, e.At)
		}
	}
	slices.SortStableFunc(s.tl.Moments, func(a, b timeline.Moment) int { return int(a.Stamp.At - b.Stamp.At) })
	where := make(map[*timeline.Event]int)
	for i := range s.tl.Moments {
		where[s.tl.Moments[i].Event] = i
	}
	for _, p := range s.pending {
		s.join(p, where)
	}
	for _, p := range s.states {
		s.joinState(p, where)
	}
	for _, p := range s.traces {
		s.joinTrace(p, where)
	}
	return s.tl
}

// other adds a packet that is no TCP.
func (s *scene) other(m []string) {
	s.t.Helper()
	from, to := s.hostIndex(m[1]), s.hostIndex(m[2])
	p := &timeline.Packet{
		Source: netip.AddrPortFrom(s.tl.Hosts[from].Address, 0), Destination: netip.AddrPortFrom(s.tl.Hosts[to].Address, 0), Segments: 1,
	}
	switch m[3] {
	case "UDP":
		p.Protocol = timeline.ProtocolUDP
		p.PayloadLength, _ = strconv.Atoi(m[4])
		p.Source, p.Destination = netip.AddrPortFrom(p.Source.Addr(), 40312), netip.AddrPortFrom(p.Destination.Addr(), 8080)
	case "ICMP":
		p.Protocol = timeline.ProtocolICMP
		if _, err := fmt.Sscanf(m[4], "%d/%d", &p.ICMPType, &p.ICMPCode); err != nil {
			s.t.Fatalf("scene: %q is no type and code", m[4])
		}
	case "ARP-request":
		p.ARP = 1
	default:
		p.ARP = 2
	}
	tr := &timeline.Transmission{
		Segment:    timeline.Segment{Departure: -1, Arrival: -1, OneWayErr: clock.Unbounded, Lost: strings.Contains(m[8], "lost")},
		Connection: -1, Number: -1, From: from, To: to,
	}
	if m[5] != "" {
		tr.Connection = 0
	}
	s.pending = append(s.pending, pendingSegment{other: tr, left: s.seen(from, timeline.Out, p, m[6]), came: s.seen(to, timeline.In, p, m[7])})
}

// deed adds what was done to a host, or by its kernel.
func (s *scene) deed(host int, what string, words []string) {
	s.t.Helper()
	e := &timeline.Event{Host: host}
	n := func(i int) int {
		number, err := strconv.Atoi(words[i])
		if err != nil {
			s.t.Fatalf("scene: %q is no number", words[i])
		}
		return number
	}
	switch what {
	case "change":
		e.At, e.Change = s.at(host, words[1]), &timeline.Change{Text: strings.Join(words[2:], " "), Name: "cut", Undone: words[0] == "back"}
	case "process":
		p := &timeline.Process{Lane: words[0], PID: n(1), Gone: words[3] != "born"}
		if words[3] != "born" && words[3] != "ended" {
			p.Signal = n(3)
		}
		e.At, e.Process = s.at(host, words[2]), p
	case "queue":
		address := netip.AddrPortFrom(s.tl.Hosts[host].Address, 8080)
		e.At, e.Queue = s.at(host, words[0]), &timeline.Queue{Address: address, Length: n(1), Limit: n(2), Requests: n(3)}
	}
	s.add(e, timeline.At, e.At)
}

// joinOther places a packet that is no TCP.
func (s *scene) joinOther(p pendingSegment, where map[*timeline.Event]int) {
	if p.left != nil {
		p.other.Departure = where[p.left]
		s.tl.Moments[where[p.left]].Connection = p.other.Connection
	}
	if p.came != nil {
		p.other.Arrival = where[p.came]
		s.tl.Moments[where[p.came]].Connection = p.other.Connection
	}
	if p.left != nil && p.came != nil {
		s.timeOneWay(&p.other.Segment)
	}
	s.tl.Others = append(s.tl.Others, *p.other)
}

// timeOneWay fills in how long a packet was on its way.
func (s *scene) timeOneWay(segment *timeline.Segment) {
	from, to := &s.tl.Moments[segment.Departure], &s.tl.Moments[segment.Arrival]
	segment.OneWay = int64(to.Stamp.At - from.Stamp.At)
	if from.Stamp.Err < clock.Unbounded && to.Stamp.Err < clock.Unbounded {
		segment.OneWayErr = from.Stamp.Err + to.Stamp.Err
	}
}

func (s *scene) join(p pendingSegment, where map[*timeline.Event]int) {
	if p.other != nil {
		s.joinOther(p, where)
		return
	}
	c := &s.tl.Connections[p.connection]
	place := func(e *timeline.Event) int {
		if e == nil {
			return -1
		}
		m := &s.tl.Moments[where[e]]
		m.Connection, m.Segment = p.connection, len(c.Segments)
		return where[e]
	}
	p.segment.Departure, p.segment.Arrival = place(p.left), place(p.came)
	if p.left != nil && p.came != nil {
		s.timeOneWay(&p.segment)
	}
	c.Segments = append(c.Segments, p.segment)
}
