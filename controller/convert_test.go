package controller

import (
	"math"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"syncline/controller/clock"
	"syncline/controller/store"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// An event that went through the domain type and back says the same.
func TestEventsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		native := drawEvent(t, 1)
		got, err := eventFromProto(eventToProto(native))
		if err != nil {
			t.Fatal(err)
		}
		got.Host, got.Incarnation = native.Host, native.Incarnation
		if d := cmp.Diff(native, got, addresses, cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
	})
}

// A timeline that crossed the network is the one that was computed, and its bytes
// are read without touching anything outside it.
func TestTimelinesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		native, run := drawTimeline(t)
		raw, err := proto.Marshal(timelineToProto(native, run))
		if err != nil {
			t.Fatal(err)
		}
		var m synclinev1.Timeline
		if err := proto.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		got, err := TimelineFromProto(&m)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(native, got, addresses, cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(timeline.Timeline{})); d != "" {
			t.Fatal(d)
		}
	})
}

var addresses = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})

func drawEvent(t *rapid.T, hosts int) *timeline.Event {
	e := &timeline.Event{
		Host:   rapid.IntRange(0, hosts-1).Draw(t, "host"),
		Number: rapid.Uint64().Draw(t, "number"), Incarnation: rapid.Uint64().Draw(t, "incarnation"),
		Repetition: rapid.IntRange(0, math.MaxUint32).Draw(t, "repetition"),
		At:         clock.Local(rapid.Int64().Draw(t, "at")),
	}
	text := rapid.String()
	switch rapid.IntRange(0, 12).Draw(t, "fact") {
	case 0:
		e.Call = &timeline.Call{
			Lane: text.Draw(t, "lane"), Step: rapid.IntRange(0, math.MaxUint32).Draw(t, "step"), Name: text.Draw(t, "name"),
			Socket: text.Draw(t, "socket"), Makes: text.Draw(t, "makes"), Label: text.Draw(t, "label"),
			Arguments: text.Draw(t, "arguments"), Thread: rapid.IntRange(0, math.MaxUint32).Draw(t, "thread"),
			FD: int(rapid.Int32().Draw(t, "fd")), Return: clock.Local(rapid.Int64().Draw(t, "return")),
			Result: rapid.Int64().Draw(t, "result"), Errno: rapid.Uint32().Draw(t, "errno"),
			EndedBy: timeline.EndedBy(rapid.IntRange(1, 4).Draw(t, "ended")),
			Data:    rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(t, "data"), Shown: text.Draw(t, "shown"), Process: rapid.IntRange(0, 1<<22).Draw(t, "process"),
			Local: drawAddrPort(t), Peer: drawAddrPort(t),
			ByLab: rapid.Bool().Draw(t, "bylab"), Failure: text.Draw(t, "failure"),
		}
	case 1:
		e.Packet = drawPacket(t)
	case 2:
		e.Signal = &timeline.Signal{Lane: text.Draw(t, "lane"), Name: text.Draw(t, "name"), Sent: rapid.Bool().Draw(t, "sent")}
	case 3:
		e.Mark = &timeline.Mark{Kind: timeline.MarkKind(rapid.IntRange(1, 7).Draw(t, "kind")), Detail: text.Draw(t, "detail"), Frames: rapid.Uint64().Draw(t, "frames")}
	case 4:
		e.Loss = &timeline.Loss{
			Source: rapid.SampledFrom([]timeline.Source{timeline.Syscalls, timeline.Packets, timeline.Drops, timeline.Tracepoints}).Draw(t, "source"),
			Count:  rapid.Uint64().Draw(t, "count"), Since: clock.Local(rapid.Int64().Draw(t, "since")), Where: text.Draw(t, "where"),
		}
	case 5:
		e.Step = &timeline.ClockStep{
			Change: timeline.ClockChange(rapid.IntRange(0, 4).Draw(t, "change")),
			Step:   rapid.Int64().Draw(t, "by"), Since: clock.Local(rapid.Int64().Draw(t, "since")),
			Rate: rapid.Int64().Draw(t, "rate"), RateBefore: rapid.Int64().Draw(t, "before"),
		}
	case 6:
		e.Counters = &timeline.Counters{
			Since: clock.Local(rapid.Int64().Draw(t, "since")), Deltas: rapid.MapOf(text, rapid.Int64()).Draw(t, "deltas"),
		}
	case 7:
		count := rapid.IntRange(0, 1<<20)
		e.Queue = &timeline.Queue{Address: drawAddrPort(t), Length: count.Draw(t, "length"), Limit: count.Draw(t, "limit"), Requests: count.Draw(t, "requests")}
	case 8:
		e.Socket = &timeline.SocketState{Local: drawAddrPort(t), Peer: drawAddrPort(t), State: rapid.IntRange(1, 12).Draw(t, "state"), Final: rapid.Bool().Draw(t, "final")}
	case 9:
		e.Change = &timeline.Change{Text: text.Draw(t, "text"), Name: text.Draw(t, "name"), Undone: rapid.Bool().Draw(t, "undone")}
	case 10:
		e.Process = &timeline.Process{
			Lane: text.Draw(t, "lane"), PID: rapid.IntRange(0, 1<<22).Draw(t, "pid"), Gone: rapid.Bool().Draw(t, "gone"), Signal: rapid.IntRange(0, 64).Draw(t, "signal"),
		}
	case 11:
		e.Trace = drawTrace(t)
	case 12:
		e.Probe = &timeline.Probe{
			Peer: text.Draw(t, "peer"), Direction: timeline.Direction(rapid.IntRange(1, 2).Draw(t, "direction")),
			Exchange: rapid.Uint64().Draw(t, "exchange"), Reply: rapid.Bool().Draw(t, "reply"),
			Path: timeline.ProbePath(rapid.IntRange(1, 2).Draw(t, "path")), Origin: timeline.StampOrigin(rapid.IntRange(1, 3).Draw(t, "origin")),
			Realtime: rapid.Int64().Draw(t, "realtime"), Err: rapid.Int64Min(0).Draw(t, "error"),
		}
	}
	return e
}

func drawTrace(t *rapid.T) *timeline.Trace {
	state := rapid.IntRange(0, 255)
	return &timeline.Trace{
		Kind: timeline.TraceKind(rapid.IntRange(1, 12).Draw(t, "kind")), Cookie: rapid.Uint64().Draw(t, "cookie"),
		Local: drawAddrPort(t), Peer: drawAddrPort(t), OldState: state.Draw(t, "old"), State: state.Draw(t, "state"),
		Errno: rapid.Uint32().Draw(t, "errno"), Reason: rapid.String().Draw(t, "reason"), Place: rapid.String().Draw(t, "place"),
		Seq: rapid.Uint32().Draw(t, "seq"), Ack: rapid.Uint32().Draw(t, "ack"), Flags: timeline.Flags(rapid.IntRange(0, 511).Draw(t, "flags")),
		PayloadLength: rapid.IntRange(0, 65535).Draw(t, "length"), Protocol: rapid.SampledFrom([]int{0, 1, 6, 17, 58}).Draw(t, "protocol"),
		Direction: timeline.Direction(rapid.IntRange(0, 2).Draw(t, "direction")),
	}
}

func drawPacket(t *rapid.T) *timeline.Packet {
	return &timeline.Packet{
		Interface: rapid.String().Draw(t, "interface"), Direction: timeline.Direction(rapid.IntRange(1, 2).Draw(t, "direction")),
		Realtime: rapid.Int64().Draw(t, "realtime"), Err: rapid.Int64Min(0).Draw(t, "err"),
		WireLength: rapid.IntRange(0, 1<<17).Draw(t, "wire"), Segments: rapid.IntRange(1, 64).Draw(t, "segments"),
		Source: drawAddrPort(t), Destination: drawAddrPort(t),
		TTL: rapid.IntRange(0, 255).Draw(t, "ttl"), IPID: rapid.Uint32().Draw(t, "ipid"),
		TrafficClass: rapid.Byte().Draw(t, "class"), DontFragment: rapid.Bool().Draw(t, "df"),
		Seq: rapid.Uint32().Draw(t, "seq"), Ack: rapid.Uint32().Draw(t, "ack"), Flags: timeline.Flags(rapid.IntRange(0, 511).Draw(t, "flags")),
		Window: rapid.IntRange(0, 65535).Draw(t, "window"), Urgent: rapid.IntRange(0, 65535).Draw(t, "urgent"),
		Options:       rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "options"),
		PayloadLength: rapid.IntRange(0, 65535).Draw(t, "length"), Payload: rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(t, "payload"),
		Protocol: rapid.SampledFrom([]int{0, 1, 6, 17, 58}).Draw(t, "protocol"),
		ICMPType: rapid.IntRange(0, 255).Draw(t, "type"), ICMPCode: rapid.IntRange(0, 255).Draw(t, "code"), ICMPRest: rapid.Uint32().Draw(t, "rest"),
		ARP: rapid.IntRange(0, 2).Draw(t, "arp"),
	}
}

func drawAddrPort(t *rapid.T) netip.AddrPort {
	var a netip.Addr
	if rapid.Bool().Draw(t, "v6") {
		a = netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address")))
	} else {
		a = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address")))
	}
	return netip.AddrPortFrom(a, rapid.Uint16().Draw(t, "port"))
}

// drawTimeline makes a timeline whose indices hang together, and the run it is of.
func drawTimeline(t *rapid.T) (*timeline.Timeline, store.Run) {
	const hosts = 2
	tl := &timeline.Timeline{
		RunID: "r-1", Experiment: rapid.String().Draw(t, "experiment"), Repetition: rapid.IntRange(1, 1000).Draw(t, "repetition"),
		Reference: rapid.IntRange(0, hosts-1).Draw(t, "reference"), Zero: clock.Lab(rapid.Int64().Draw(t, "zero")),
		Incomplete: rapid.SliceOf(rapid.String()).Draw(t, "incomplete"),
		Warnings:   rapid.SliceOf(rapid.String()).Draw(t, "warnings"),
		Variant:    rapid.String().Draw(t, "variant"),
	}
	run := store.Run{ID: "r-1"}
	for i := range hosts {
		address := netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})
		host := timeline.Host{Name: string(rune('A' + i)), Agent: "vm", Address: address, Kernel: "6.1", ClockID: "boot", Missing: map[timeline.Source]string{}}
		stored := store.RunHost{Name: host.Name, Agent: host.Agent, Address: address.String(), Kernel: host.Kernel, ClockID: host.ClockID}
		if rapid.Bool().Draw(t, "test clock") {
			host.TestClock, stored.TestClock = "offset=1s", "offset=1s"
		}
		if rapid.Bool().Draw(t, "both families") {
			stored.Address6 = "fd77::1"
			host.Address6 = netip.MustParseAddr(stored.Address6)
		}
		if rapid.Bool().Draw(t, "missing") {
			host.Missing[timeline.Packets] = "no CAP_NET_RAW"
			stored.Capabilities = []store.Capability{{Source: "packets", Reason: "no CAP_NET_RAW"}}
		}
		tl.Hosts, run.Hosts = append(tl.Hosts, host), append(run.Hosts, stored)
		tl.Clocks = append(tl.Clocks, timeline.HostClock{
			Bound:  clock.Bound{Lo: drawBounded(t, -clock.Unbounded), Hi: drawBounded(t, clock.Unbounded)},
			Method: rapid.SampledFrom([]string{"reference", "probes and segments", "unknown"}).Draw(t, "method"), Messages: rapid.IntRange(0, 100).Draw(t, "messages"),
		})
	}
	moments := rapid.IntRange(0, 8).Draw(t, "moments")
	for range moments {
		tl.Moments = append(tl.Moments, timeline.Moment{
			Event: drawEvent(t, hosts), Edge: timeline.Edge(rapid.IntRange(1, 3).Draw(t, "edge")),
			Local:      clock.Local(rapid.Int64().Draw(t, "local")),
			Stamp:      clock.Stamp{At: clock.Lab(rapid.Int64().Draw(t, "lab")), Err: max(0, drawBounded(t, clock.Unbounded))},
			Connection: -1, Segment: -1,
		})
	}
	for i := range tl.Moments {
		if tl.Moments[i].Event.Packet != nil {
			tl.Others = append(tl.Others, timeline.Transmission{
				Segment: timeline.Segment{Departure: i, Arrival: -1, OneWayErr: clock.Unbounded, Lost: true}, Connection: -1, Number: -1,
				From: rapid.IntRange(-1, hosts-1).Draw(t, "sender"), To: rapid.IntRange(-1, hosts-1).Draw(t, "receiver"),
			})
		}
	}
	if moments > 0 {
		tl.Connections = append(tl.Connections, drawConnection(t, moments, hosts))
		tl.Moments[0].Connection, tl.Moments[0].Segment = 0, 0
		tl.Verdicts = append(tl.Verdicts, timeline.Verdict{
			Expectation: rapid.String().Draw(t, "expectation"), Ruling: timeline.Ruling(rapid.IntRange(1, 4).Draw(t, "ruling")),
			Reason: rapid.String().Draw(t, "reason"), Moments: []int{moments - 1},
		})
	}
	return tl, run
}

// drawBounded is any number of nanoseconds that can be meant, or the one that says
// that nothing is known.
func drawBounded(t *rapid.T, unbounded int64) int64 {
	if rapid.Bool().Draw(t, "unbounded") {
		return unbounded
	}
	return rapid.Int64Range(-1e18, 1e18).Draw(t, "bounded")
}

func drawConnection(t *rapid.T, moments, hosts int) timeline.Connection {
	end := func() timeline.End {
		e := timeline.End{
			Host: rapid.IntRange(-1, hosts-1).Draw(t, "host"), Address: drawAddrPort(t),
			Lane: rapid.String().Draw(t, "lane"), Socket: rapid.String().Draw(t, "socket"), StatesDoubt: rapid.String().Draw(t, "doubt"),
		}
		if rapid.Bool().Draw(t, "isn") {
			e.ISN, e.HasISN = rapid.Uint32().Draw(t, "number"), true
		}
		if rapid.Bool().Draw(t, "translated") {
			e.Bound = drawAddrPort(t)
		}
		for range rapid.IntRange(0, 2).Draw(t, "names") {
			e.Names = append(e.Names, timeline.SocketName{Lane: rapid.String().Draw(t, "its lane"), Socket: rapid.String().Draw(t, "its name")})
		}
		for range rapid.IntRange(0, 3).Draw(t, "states") {
			e.States = append(e.States, timeline.State{
				Name: rapid.SampledFrom([]string{"SYN_SENT", "CLOSED"}).Draw(t, "state"), Moment: rapid.IntRange(-1, moments-1).Draw(t, "by"),
				Known: rapid.SampledFrom([]string{timeline.KnownTraced, timeline.KnownPacket, timeline.KnownDump}).Draw(t, "known"),
				After: rapid.IntRange(-1, moments-1).Draw(t, "after"), By: rapid.IntRange(-1, moments-1).Draw(t, "until"),
			})
		}
		return e
	}
	c := timeline.Connection{Client: end(), Server: end()}
	for range rapid.IntRange(1, 4).Draw(t, "segments") {
		s := timeline.Segment{
			FromClient: rapid.Bool().Draw(t, "from"),
			Departure:  rapid.IntRange(-1, moments-1).Draw(t, "departure"), Arrival: rapid.IntRange(-1, moments-1).Draw(t, "arrival"),
			OneWayErr: drawBounded(t, clock.Unbounded), Copy: rapid.IntRange(0, 9).Draw(t, "copy"),
			Duplicate: rapid.Bool().Draw(t, "duplicate"), Lost: rapid.Bool().Draw(t, "lost"), Impossible: rapid.Bool().Draw(t, "impossible"), Ambiguous: rapid.Bool().Draw(t, "ambiguous"),
		}
		if s.OneWayErr < clock.Unbounded {
			s.OneWay = rapid.Int64().Draw(t, "oneway")
		}
		if n := rapid.IntRange(0, 3).Draw(t, "traces"); n > 0 {
			s.Traces = rapid.SliceOfN(rapid.IntRange(0, moments-1), n, n).Draw(t, "trace")
		}
		c.Segments = append(c.Segments, s)
	}
	return c
}

// FuzzTimelineFromProto: what a controller sends is read without a panic, and what
// is accepted hangs together.
func FuzzTimelineFromProto(f *testing.F) {
	f.Add([]byte{})
	host := &synclinev1.TimelineHost{Host: &synclinev1.RunHost{Name: "A", Address: "10.0.0.1"}}
	seed, err := proto.Marshal(&synclinev1.Timeline{Schema: TimelineSchema, Hosts: []*synclinev1.TimelineHost{host}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m synclinev1.Timeline
		if proto.Unmarshal(raw, &m) != nil {
			return
		}
		tl, err := TimelineFromProto(&m)
		if err != nil {
			return
		}
		tl.Ladder(timeline.LadderOptions{})
	})
}
