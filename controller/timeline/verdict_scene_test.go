package timeline

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
)

// scene is a timeline written by hand, one fact a line, times in milliseconds of the
// lab's clock:
//
//	host A 10.0.0.1                      the first host is the reference
//	host B 10.0.0.2 ±0.038               its stamps are off by at most 38 µs
//	host C 10.0.0.3 missing packets      it has no packets
//	A client connect(c, B:8080) 0..40.14 = 0 as try
//	B server accept(s) -1..60.22 = 7 makes a
//	A client connect(c, B:9) 0..1 = ECONNREFUSED fails expected ok
//	A client close(c) 9..9.1 = 0 by lab  to tidy up
//	A>B SYN 0.031..20.05                 left A at 0.031, arrived at B at 20.05
//	A>B ACK data 5 41..61                a segment with 5 bytes
//	A>B SYN 0.031..? lost                ? is a tap that did not see it
//	B>A ICMP 3/3 20..40                  what is no TCP; also "UDP data 5", "ARP request"
//	counters B 99 TcpExt.ListenOverflows=3
//	queue B 10 10.0.0.2:8080 2 of 1      a sample: 2 are in a queue with a backlog of 1
//	final A 99 10.0.0.1:40312 10.0.0.2:8080 TIME_WAIT
//	path A CLOSED SYN_SENT ESTABLISHED   the states of A's end of its connection
//	name C other.c                       the name of C's end of its connection
//	died B victim 9 50                   the process of a lane was killed by signal 9
//	loss B packets 12 10..20             between 10 ms and 20 ms
//	step A 1000 10..20                   CLOCK_REALTIME moved by 1 s
//	busy B 99                            sockets not quiet
//	unended B                            no end mark
//	warn TEXT                            a warning of the timeline
//	verdicts 7                           seven passes
//	fail TEXT: REASON                    a verdict; "untold" is the other one
//
// Sequence numbers follow from what was sent before; "again" repeats the numbers of
// the segment before with these flags, as copy 1, 2, … .
type scene struct {
	t       testing.TB
	tl      *Timeline
	unended map[int]bool
	steps   map[string]int
	next    map[string]uint32
	again   map[string]*Packet
	copies  map[string]int
	number  uint64
	last    float64
	pending []pendingSegment
	others  []pendingOther
	// paths and names of the ends, by host.
	paths map[int][]string
	names map[int]SocketName
}

// pendingOther waits as well.
type pendingOther struct {
	transmission Transmission
	left, came   *Event
}

// pendingSegment waits for the moments to be sorted.
type pendingSegment struct {
	connection int
	segment    Segment
	left, came *Event
}

var sceneOffset = []clock.Local{0, 5_000_000_000, -7_000_000_000, 4_000_000_000_000}

func parseScene(t testing.TB, text string) *Timeline {
	t.Helper()
	s := &scene{
		t: t, unended: map[int]bool{}, steps: map[string]int{}, next: map[string]uint32{},
		again: map[string]*Packet{}, copies: map[string]int{}, paths: map[int][]string{}, names: map[int]SocketName{},
		tl: &Timeline{RunID: "r-7f3c2a", Experiment: "scene", Repetition: 3, Zero: 1_000_000_000_000},
	}
	for _, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			s.line(line)
		}
	}
	return s.finish()
}

var (
	hostForm   = regexp.MustCompile(`^host (\w+) (\S+)(?: ±(\S+))?(?: missing (\S+))?$`)
	packetForm = regexp.MustCompile(`^(\w+)>(\w+) (ICMP \d+/\d+|ARP \w+|\S+)(?: data (\d+))? (\S+)\.\.(\S+)((?: \w+)*)$`)
	callForm   = regexp.MustCompile(`^(\w+) ([\w\[\]]+) (\w+)\((.*)\) (\S+)\.\.(\S+) = (\S+)(?: got "(.*)")?(?: makes (\w+))?(?: as (\w+))?( by lab)?(?: fails (.*))?$`)
	factForm   = regexp.MustCompile(`^(counters|queue|final|path|name|died) (\w+) (.*)$`)
	gapForm    = regexp.MustCompile(`^(loss|step|busy|unended|warn|verdicts|fail|untold) (\w+) ?(.*)$`)
)

func (s *scene) line(line string) {
	s.t.Helper()
	if m := hostForm.FindStringSubmatch(line); m != nil {
		s.host(m)
	} else if m := packetForm.FindStringSubmatch(line); m != nil {
		s.packet(m)
	} else if m := factForm.FindStringSubmatch(line); m != nil {
		s.fact(m[1], s.hostIndex(m[2]), strings.Fields(m[3]))
	} else if m := gapForm.FindStringSubmatch(line); m != nil {
		s.gap(m)
	} else if m := callForm.FindStringSubmatch(line); m != nil {
		s.call(m)
	} else {
		s.t.Fatalf("scene: cannot read %q", line)
	}
}

func (s *scene) host(m []string) {
	h := Host{Name: m[1], Agent: "vm" + strconv.Itoa(len(s.tl.Hosts)+1), Address: netip.MustParseAddr(m[2]), Missing: map[Source]string{}}
	if m[4] != "" {
		h.Missing[Source(m[4])] = "needs CAP_NET_RAW"
	}
	var c HostClock
	c.Method = "segments"
	if len(s.tl.Hosts) == 0 {
		c.Method = "reference"
	}
	offset := int64(sceneOffset[len(s.tl.Hosts)])
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
	s.tl.Hosts = append(s.tl.Hosts, h)
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
	i := slices.IndexFunc(s.tl.Hosts, func(h Host) bool { return h.Name == name })
	if i < 0 {
		s.t.Fatalf("scene: no host %q", name)
	}
	return i
}

// at is the local time of a host for a time of the scene.
func (s *scene) at(host int, ms string) clock.Local {
	return clock.Local(int64(s.tl.Zero)+s.ns(ms)) + sceneOffset[host]
}

// add places an event at one moment.
func (s *scene) add(e *Event, edge Edge, at clock.Local) {
	if e.Number == 0 {
		s.number++
		e.Number, e.Incarnation, e.Repetition = s.number, 1, 3
	}
	c := s.tl.Clocks[e.Host]
	m := Moment{Event: e, Edge: edge, Local: at, Connection: -1, Segment: -1}
	m.Stamp = clock.Stamp{At: clock.Lab(at - sceneOffset[e.Host]), Err: clock.Unbounded}
	if c.Bound.Known() {
		m.Stamp.Err = c.Bound.Err()
	}
	s.tl.Moments = append(s.tl.Moments, m)
}

func (s *scene) call(m []string) {
	host := s.hostIndex(m[1])
	c := &Call{Lane: m[2], Step: s.steps[m[2]], Name: m[3], Makes: m[9], Label: m[10], ByLab: m[11] != "", Failure: m[12], EndedBy: EndedByKernel}
	if m[8] != "" {
		c.Data = []byte(m[8])
	}
	if !c.ByLab {
		s.steps[m[2]]++
	}
	socket, args, both := strings.Cut(m[4], ", ")
	switch {
	case both:
		c.Socket, c.Arguments = socket, args
	case c.Name == "sleep" || c.Name == "wait" || c.Name == "signal":
		c.Arguments = socket
	default:
		c.Socket = socket
	}
	for i, h := range s.tl.Hosts {
		c.Arguments = strings.ReplaceAll(c.Arguments, h.Name+":", s.tl.Hosts[i].Address.String()+":")
	}
	s.result(c, m[7])
	c.Return = s.at(host, m[6])
	e := &Event{Host: host, At: s.at(host, m[5]), Call: c}
	s.add(e, Enter, e.At)
	s.add(e, Return, c.Return)
}

func (s *scene) result(c *Call, text string) {
	s.t.Helper()
	switch text {
	case "timeout":
		c.EndedBy, c.Result = EndedByTimeout, -1
		return
	case "cancel":
		c.EndedBy, c.Result = EndedByCancel, -1
		return
	case "death":
		c.EndedBy, c.Result = EndedByDeath, -1
		return
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		for number := uint32(1); number < 134; number++ {
			if experiment.ErrnoName(number) == text {
				c.Errno, c.Result = number, -1
				return
			}
		}
		s.t.Fatalf("scene: %q is no result", text)
	}
	c.Result = n
	if c.Makes != "" {
		c.FD = int(n)
	}
}

var sceneFlags = map[string]Flags{"SYN": SYN, "ACK": ACK, "FIN": FIN, "RST": RST, "PSH": PSH}

// synOptions are MSS 1460, SACK permitted, timestamps, window scale 7.
var synOptions = []byte{2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7}

func (s *scene) packet(m []string) {
	s.t.Helper()
	from, to := s.hostIndex(m[1]), s.hostIndex(m[2])
	if kind, ok := otherKind(m[3]); ok {
		s.other(kind, from, to, m)
		return
	}
	index := s.connection(from, to)
	c := &s.tl.Connections[index]
	seg := Segment{FromClient: c.Client.Host == from, Departure: -1, Arrival: -1, OneWayErr: clock.Unbounded}
	length := 0
	if m[4] != "" {
		length, _ = strconv.Atoi(m[4])
	}
	var flags Flags
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
		connection: index, segment: seg, left: s.seen(from, Out, p, m[5]), came: s.seen(to, In, p, m[6]),
	})
}

// otherKind reads "UDP", "ICMP 3/3" and "ARP request".
func otherKind(text string) (Packet, bool) {
	var p Packet
	switch {
	case text == "UDP":
		p.Protocol = ProtocolUDP
	case text == "ARP request":
		p.ARP = 1
	case text == "ARP reply":
		p.ARP = 2
	default:
		if n, err := fmt.Sscanf(text, "ICMP %d/%d", &p.ICMPType, &p.ICMPCode); n != 2 || err != nil {
			return p, false
		}
		p.Protocol = ProtocolICMP
	}
	return p, true
}

// other adds a packet that is no TCP. An ICMP error is of the connection of its hosts.
func (s *scene) other(p Packet, from, to int, m []string) {
	p.Source, p.Destination = netip.AddrPortFrom(s.tl.Hosts[from].Address, 0), netip.AddrPortFrom(s.tl.Hosts[to].Address, 0)
	p.PayloadLength, _ = strconv.Atoi(m[4])
	index := -1
	if p.Protocol == ProtocolICMP {
		index = slices.IndexFunc(s.tl.Connections, func(c Connection) bool {
			return c.Client.Host == from && c.Server.Host == to || c.Client.Host == to && c.Server.Host == from
		})
	}
	s.others = append(s.others, pendingOther{
		Transmission{Segment: Segment{Departure: -1, Arrival: -1, OneWayErr: clock.Unbounded}, Connection: index, Number: -1, From: from, To: to},
		s.seen(from, Out, &p, m[5]), s.seen(to, In, &p, m[6]),
	})
}

// fact adds what is neither packet nor call.
func (s *scene) fact(kind string, host int, words []string) {
	s.t.Helper()
	e := &Event{Host: host}
	switch kind {
	case "path":
		s.paths[host] = words
		return
	case "name":
		lane, socket, _ := strings.Cut(words[0], ".")
		s.names[host] = SocketName{lane, socket}
		return
	case "died":
		signal, _ := strconv.Atoi(words[1])
		e.At, e.Process = s.at(host, words[2]), &Process{Lane: words[0], PID: 77, Gone: true, Signal: signal}
	case "counters":
		e.At, e.Counters = s.at(host, words[0]), &Counters{Deltas: map[string]int64{}}
		for _, word := range words[1:] {
			name, n, _ := strings.Cut(word, "=")
			e.Counters.Deltas[name], _ = strconv.ParseInt(n, 10, 64)
		}
	case "queue":
		e.At, e.Queue = s.at(host, words[0]), &Queue{Address: netip.MustParseAddrPort(words[1])}
		e.Queue.Length, _ = strconv.Atoi(words[2])
		e.Queue.Limit, _ = strconv.Atoi(words[4])
	case "final":
		e.At = s.at(host, words[0])
		e.Socket = &SocketState{Local: netip.MustParseAddrPort(words[1]), Peer: netip.MustParseAddrPort(words[2]), Final: true}
		for n := range len(stateNames) {
			if StateName(n) == words[3] {
				e.Socket.State = n
				break
			}
		}
	}
	s.add(e, At, e.At)
}

// seen adds the moment at which a tap saw a packet, nil if it did not.
func (s *scene) seen(host int, d Direction, p *Packet, ms string) *Event {
	if ms == "?" {
		return nil
	}
	own := *p
	own.Direction = d
	e := &Event{Host: host, At: s.at(host, ms), Packet: &own}
	s.add(e, At, e.At)
	return e
}

// newPacket continues the sequence numbers of its direction.
func (s *scene) newPacket(c *Connection, fromClient bool, flags Flags, length int) *Packet {
	own, other := &c.Client, &c.Server
	if !fromClient {
		own, other = other, own
	}
	if flags&SYN != 0 {
		own.HasISN, own.ISN = true, uint32(0xfffffff0)+uint32(own.Host)
		s.next[own.Address.String()] = own.ISN
	}
	p := &Packet{
		Source: own.Address, Destination: other.Address, Flags: flags, PayloadLength: length, Segments: 1,
		Seq: s.next[own.Address.String()],
	}
	if flags&ACK != 0 {
		p.Ack = s.next[other.Address.String()]
	}
	if flags&SYN != 0 {
		p.Options = synOptions
	}
	s.next[own.Address.String()] += uint32(length)
	if flags&(SYN|FIN) != 0 {
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
	s.tl.Connections = append(s.tl.Connections, Connection{
		Client: End{Host: from, Address: netip.AddrPortFrom(s.tl.Hosts[from].Address, 40312), Lane: "client", Socket: "c"},
		Server: End{Host: to, Address: netip.AddrPortFrom(s.tl.Hosts[to].Address, 8080), Lane: "server", Socket: "a"},
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
			s.tl.Verdicts = append(s.tl.Verdicts, Verdict{Ruling: Pass})
		}
		return
	}
	if m[1] == "fail" || m[1] == "untold" {
		text, reason, _ := strings.Cut(m[2]+" "+m[3], ": ")
		ruling := map[string]Ruling{"fail": Fail, "untold": CannotTell}[m[1]]
		s.tl.Verdicts = append(s.tl.Verdicts, Verdict{Expectation: text, Ruling: ruling, Reason: reason})
		return
	}
	host, words := s.hostIndex(m[2]), strings.Fields(m[3])
	e := &Event{Host: host}
	switch m[1] {
	case "unended":
		s.unended[host] = true
		return
	case "busy":
		e.At, e.Mark = s.at(host, words[0]), &Mark{Kind: MarkNotQuiet, Detail: "FIN_WAIT2 10.0.0.2:8080"}
	case "loss":
		since, until, _ := strings.Cut(words[2], "..")
		count, _ := strconv.Atoi(words[1])
		e.At, e.Loss = s.at(host, until), &Loss{Source: Source(words[0]), Count: uint64(count), Since: s.at(host, since), Where: "capture ring of eth0"}
	case "step":
		since, until, _ := strings.Cut(words[1], "..")
		e.At, e.Step = s.at(host, until), &ClockStep{Step: s.ns(words[0]), Since: s.at(host, since)}
	}
	s.add(e, At, e.At)
}

// finish sorts the moments, joins the segments to them and ends the repetition.
func (s *scene) finish() *Timeline {
	for h := range s.tl.Hosts {
		if !s.unended[h] {
			e := &Event{Host: h, At: s.at(h, fmt.Sprint(s.last+1)), Mark: &Mark{Kind: MarkEnd}}
			s.add(e, At, e.At)
		}
	}
	slices.SortStableFunc(s.tl.Moments, func(a, b Moment) int { return int(a.Stamp.At - b.Stamp.At) })
	where := make(map[*Event]int)
	for i := range s.tl.Moments {
		where[s.tl.Moments[i].Event] = i
	}
	for _, p := range s.pending {
		s.join(p, where)
	}
	for _, o := range s.others {
		s.joinOther(o, where)
	}
	for i := range s.tl.Connections {
		for end := range 2 {
			s.tell(s.tl.Connections[i].End(end))
		}
	}
	for i := range s.tl.Moments {
		if m := &s.tl.Moments[i]; m.Event.Call != nil {
			m.Connection = s.connectionOf(m.Event)
		}
	}
	return s.tl
}

// connectionOf is the only connection of a call's host, -1 for calls that have none:
// the lab's own and those of the listening socket s. In a scene without packets, no
// call has one.
func (s *scene) connectionOf(e *Event) int {
	if ofLab(e.Call) || e.Call.Socket == "s" && !isAccept(e.Call) {
		return -1
	}
	return slices.IndexFunc(s.tl.Connections, func(c Connection) bool { return c.Client.Host == e.Host || c.Server.Host == e.Host })
}

// tell gives an end the states and the name that the scene says.
func (s *scene) tell(end *End) {
	for _, name := range s.paths[end.Host] {
		end.States = append(end.States, State{Name: name, Moment: -1, Known: KnownPacket})
	}
	if name, ok := s.names[end.Host]; ok {
		end.Lane, end.Socket = name.Lane, name.Socket
	}
}

func (s *scene) joinOther(o pendingOther, where map[*Event]int) {
	place := func(e *Event) int {
		if e == nil {
			return -1
		}
		s.tl.Moments[where[e]].Connection = o.transmission.Connection
		return where[e]
	}
	o.transmission.Departure, o.transmission.Arrival = place(o.left), place(o.came)
	s.tl.Others = append(s.tl.Others, o.transmission)
}

func (s *scene) join(p pendingSegment, where map[*Event]int) {
	c := &s.tl.Connections[p.connection]
	place := func(e *Event) int {
		if e == nil {
			return -1
		}
		m := &s.tl.Moments[where[e]]
		m.Connection, m.Segment = p.connection, len(c.Segments)
		return where[e]
	}
	p.segment.Departure, p.segment.Arrival = place(p.left), place(p.came)
	if p.left != nil && p.came != nil {
		from, to := &s.tl.Moments[p.segment.Departure], &s.tl.Moments[p.segment.Arrival]
		p.segment.OneWay = int64(to.Stamp.At - from.Stamp.At)
		if from.Stamp.Err < clock.Unbounded && to.Stamp.Err < clock.Unbounded {
			p.segment.OneWayErr = from.Stamp.Err + to.Stamp.Err
		}
	}
	c.Segments = append(c.Segments, p.segment)
}
