package timeline

import (
	"flag"
	"fmt"
	"math"
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

var rewrite = flag.Bool("rewrite-build", false, "rewrite testdata/build from what Build does now")

// A file of testdata/build opens with one sentence. Then come the hosts, the events
// as their own clocks stamped them (microseconds), and the timeline of repetition 1.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/build/*.txtar")
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
			tl, err := Build(parseRun(t, archive), 1)
			if err != nil {
				t.Fatal(err)
			}
			checkInvariants(t, tl)
			got := timelineText(tl)
			if *rewrite {
				archive.Files = append(archive.Files[:2:2], txtar.File{Name: "timeline", Data: []byte(got)})
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(section(archive, "timeline"), got); d != "" {
				t.Error(d)
			}
		})
	}
}

func section(a *txtar.Archive, name string) string {
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func parseRun(t *testing.T, archive *txtar.Archive) *Run {
	t.Helper()
	run := &Run{ID: "r-1"}
	index := make(map[string]int)
	for line := range strings.Lines(section(archive, "hosts")) {
		fields := strings.SplitN(strings.TrimSpace(line), " ", 3)
		h := Host{Name: fields[0], Address: netip.MustParseAddr(fields[1])}
		if len(fields) > 2 {
			what, why, _ := strings.Cut(fields[2], " missing: ")
			if id, ok := strings.CutPrefix(what, "clock="); ok {
				h.ClockID = id
			} else {
				h.Missing = map[Source]string{Source(what): why}
			}
		}
		index[h.Name] = len(run.Hosts)
		run.Hosts = append(run.Hosts, h)
	}
	for line := range strings.Lines(section(archive, "events")) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		e := parseEventLine(t, fields)
		e.Host, e.Number, e.Incarnation, e.Repetition = index[fields[0]], uint64(len(run.Events)+1), 1, 1
		run.Events = append(run.Events, e)
	}
	run.Events = append(run.Events, watched(len(run.Hosts))...)
	return run
}

func parseEventLine(t *testing.T, fields []string) Event {
	t.Helper()
	enter, leave, isCall := strings.Cut(fields[1], "..")
	e := Event{At: micros(t, enter)}
	rest := fields[3:]
	switch verb := fields[2]; {
	case isCall:
		e.Call = parseLaneCall(t, verb, rest)
		e.Call.Return = micros(t, leave)
	case verb == "out" || verb == "in":
		e.Packet = parseSegment(t, verb, rest)
	case verb == "begin":
		e.Mark = &Mark{Kind: MarkBegin}
	case verb == "end":
		e.Mark = &Mark{Kind: MarkEnd}
	case verb == "busy":
		e.Mark = &Mark{Kind: MarkNotQuiet, Detail: strings.Join(rest, " ")}
	case verb == "signal":
		lane, name, _ := strings.Cut(rest[0], ".")
		e.Signal = &Signal{Lane: lane, Name: name, Sent: rest[1] == "sent"}
	case verb == "loss":
		e.Loss = &Loss{Source: Source(rest[1]), Count: number[uint64](t, rest[0]), Since: micros(t, rest[3]), Where: strings.Join(rest[4:], " ")}
	case verb == "step":
		e.Step = &ClockStep{Step: int64(micros(t, rest[0])), Since: micros(t, rest[2])}
		if len(rest) > 3 {
			e.Step.Change = map[string]ClockChange{"step": ClockStepped, "leap": ClockLeap, "suspend": ClockSuspend, "slew": ClockSlew}[rest[3]]
		}
		if len(rest) > 4 {
			e.Step.Rate = number[int64](t, rest[4])
		}
	default:
		t.Fatalf("unknown event %q", fields)
	}
	return e
}

// parseLaneCall reads "client connect c 10.0.0.1:40312>10.0.0.2:8080 = 0 errno 111".
func parseLaneCall(t testing.TB, lane string, rest []string) *Call {
	t.Helper()
	c := &Call{Lane: lane, Name: rest[0]}
	c.Socket, c.Makes, _ = strings.Cut(rest[1], "->")
	for i := 2; i < len(rest); i++ {
		switch {
		case rest[i] == "=":
			c.Result = number[int64](t, rest[i+1])
		case rest[i] == "errno":
			c.Errno = number[uint32](t, rest[i+1])
		case rest[i] == "to":
			c.Arguments = rest[i+1]
		case strings.Contains(rest[i], ">"):
			from, to, _ := strings.Cut(rest[i], ">")
			c.Local, c.Peer = netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
		}
	}
	return c
}

// parseSegment reads "10.0.0.1:40312>10.0.0.2:8080 PA 1001 ack 7001 len 100 id 5".
func parseSegment(t *testing.T, direction string, rest []string) *Packet {
	t.Helper()
	from, to, _ := strings.Cut(rest[0], ">")
	p := &Packet{
		Interface: "eth0", Direction: In, Segments: 1, DontFragment: true,
		Source: netip.MustParseAddrPort(from), Destination: netip.MustParseAddrPort(to),
		Seq: number[uint32](t, rest[2]),
	}
	if direction == "out" {
		p.Direction = Out
	}
	for _, letter := range rest[1] {
		p.Flags |= map[rune]Flags{'F': FIN, 'S': SYN, 'R': RST, 'P': PSH, 'A': ACK}[letter]
	}
	for i := 3; i+1 < len(rest); i += 2 {
		switch rest[i] {
		case "ack":
			p.Ack = number[uint32](t, rest[i+1])
		case "len":
			p.PayloadLength = number[int](t, rest[i+1])
		case "id":
			p.IPID = number[uint32](t, rest[i+1])
		case "err":
			p.Err = int64(micros(t, rest[i+1]))
		case "opt":
			p.Options = []byte(rest[i+1])
		}
	}
	return p
}

func number[N int | int64 | uint32 | uint64](t testing.TB, text string) N {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return N(n)
}

func micros(t *testing.T, text string) clock.Local {
	t.Helper()
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return clock.Local(math.Round(f * 1000))
}

// timelineText is a timeline as the golden files show it: microseconds since zero.
func timelineText(tl *Timeline) string {
	var b strings.Builder
	for i := range tl.Moments {
		m := &tl.Moments[i]
		place := ""
		if m.Connection >= 0 {
			place = fmt.Sprintf("  #%d", m.Connection)
		}
		if m.Segment >= 0 {
			place += fmt.Sprintf(".%d", m.Segment)
		}
		fmt.Fprintf(&b, "%2d %12s %-12s %s %s%s\n", i, thousandths(int64(m.Stamp.At-tl.Zero)), errText(m.Stamp.Err),
			tl.Hosts[m.Event.Host].Name, momentText(m), place)
	}
	for i, c := range tl.Connections {
		fmt.Fprintf(&b, "\n#%d %s -> %s\n", i, endText(tl, c.Client), endText(tl, c.Server))
		for j, s := range c.Segments {
			fmt.Fprintf(&b, "   .%d %s\n", j, segmentText(tl, s))
		}
	}
	b.WriteString("\n")
	for h, c := range tl.Clocks {
		bound := "unbounded"
		if c.Bound.Known() {
			bound = fmt.Sprintf("%s to %s", thousandths(c.Bound.Lo), thousandths(c.Bound.Hi))
		}
		fmt.Fprintf(&b, "clock of %s: %s, %s, %d messages\n", tl.Hosts[h].Name, c.Method, bound, c.Messages)
	}
	for _, w := range tl.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	return b.String()
}

func thousandths(n int64) string { return strconv.FormatFloat(float64(n)/1000, 'f', 3, 64) }

func errText(err int64) string {
	if err >= clock.Unbounded {
		return "±?"
	}
	return "±" + thousandths(err)
}

func momentText(m *Moment) string {
	e := m.Event
	switch {
	case e.Call != nil && m.Edge == Enter:
		return fmt.Sprintf("%s %s enters", e.Call.Lane, e.Call.Name)
	case e.Call != nil:
		return fmt.Sprintf("%s %s returns %d", e.Call.Lane, e.Call.Name, e.Call.Result)
	case e.Packet != nil && e.Packet.Direction == Out:
		return "sends " + packetKind(e.Packet)
	case e.Packet != nil:
		return "gets " + packetKind(e.Packet)
	case e.Queue != nil:
		return fmt.Sprintf("has %d in the queue of %s", e.Queue.Length, e.Queue.Address)
	case e.Socket != nil:
		return "shows a socket in " + StateName(e.Socket.State)
	case e.Counters != nil:
		return "counts"
	case e.Change != nil:
		return "is changed: " + e.Change.Text
	case e.Process != nil:
		return fmt.Sprintf("process %d of %s, gone %v", e.Process.PID, e.Process.Lane, e.Process.Gone)
	case e.Signal != nil && e.Signal.Sent:
		return "signals " + e.Signal.Lane + "." + e.Signal.Name
	case e.Signal != nil:
		return "knows of " + e.Signal.Lane + "." + e.Signal.Name
	case e.Trace != nil:
		return "traces " + traceText(e.Trace)
	case e.Loss != nil:
		return "lost events"
	case e.Step != nil:
		return "had its clock stepped"
	}
	return map[MarkKind]string{MarkBegin: "begins", MarkEnd: "ends", MarkNotQuiet: "is not quiet"}[e.Mark.Kind]
}

func traceText(tr *Trace) string {
	switch {
	case tr.Kind == TraceState:
		return fmt.Sprintf("%d %s>%s", tr.Cookie, stateText(tr.OldState), stateText(tr.State))
	case tr.Kind == TraceDrop:
		return tr.DropText()
	}
	text := tr.Kind.String()
	if tr.Reason != "" {
		text += " " + tr.Reason
	}
	return text
}

// packetKind is the flags of a segment, or the protocol of what is none.
func packetKind(p *Packet) string {
	switch {
	case p.TCP():
		return flagText(p)
	case p.ARP == 1:
		return "ARP request"
	case p.ARP != 0:
		return "ARP reply"
	case p.Protocol == ProtocolUDP:
		return fmt.Sprintf("UDP %d", p.PayloadLength)
	}
	return fmt.Sprintf("ICMP %d/%d", p.ICMPType, p.ICMPCode)
}

func flagText(p *Packet) string {
	var names []string
	for _, f := range []struct {
		flag Flags
		name string
	}{{SYN, "SYN"}, {FIN, "FIN"}, {RST, "RST"}, {PSH, "PSH"}, {ACK, "ACK"}} {
		if p.Flags&f.flag != 0 {
			names = append(names, f.name)
		}
	}
	return strings.Join(names, "+")
}

func endText(tl *Timeline, e End) string {
	name := "stranger"
	if e.Host >= 0 {
		name = tl.Hosts[e.Host].Name
	}
	text := fmt.Sprintf("%s %s", name, e.Address)
	if e.HasISN {
		text += fmt.Sprintf(" isn %d", e.ISN)
	}
	if e.Lane != "" {
		text += fmt.Sprintf(" (%s.%s)", e.Lane, e.Socket)
	}
	return text
}

func segmentText(tl *Timeline, s Segment) string {
	way := "<"
	if s.FromClient {
		way = ">"
	}
	p := tl.Moments[max(s.Departure, s.Arrival)].Event.Packet
	text := fmt.Sprintf("%s %s %d..%d", way, flagText(p), s.Departure, s.Arrival)
	if s.OneWayErr < clock.Unbounded {
		text += fmt.Sprintf(" %s%s", thousandths(s.OneWay), errText(s.OneWayErr))
	}
	if s.Copy > 0 {
		text += fmt.Sprintf(" copy %d", s.Copy)
	}
	for _, f := range []struct {
		set  bool
		name string
	}{{s.Ambiguous, "ambiguous"}, {s.Duplicate, "duplicate"}, {s.Lost, "lost"}, {s.Impossible, "impossible"}} {
		if f.set {
			text += " " + f.name
		}
	}
	return text
}
