package cli

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	synclinev1 "syncline/proto/syncline/v1"
)

// TestEventsTable prints one event of each kind, as a person reads them.
func TestEventsTable(t *testing.T) {
	var out bytes.Buffer
	w := newEventWriter(&out, "table")
	events := describable()
	for i, e := range events {
		e.Number, e.Repetition, e.TimeNs = uint64(i)+1, 1, int64(i+1)*1_000
	}
	if err := w.write(&synclinev1.ListEventsResponse{Agent: "vm1", Incarnation: 1, Events: events}); err != nil {
		t.Fatal(err)
	}
	if err := w.flush(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join("testdata", "events.txt")
	if *update {
		if err := os.WriteFile(name, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != string(want) {
		t.Errorf("the table is\n%s\nwant\n%s\nRun with -update if it should be so.", got, want)
	}
}

// TestEveryKindHasWords goes over the contract, so that a kind that is added there and
// forgotten here fails.
func TestEveryKindHasWords(t *testing.T) {
	oneof := new(synclinev1.Event).ProtoReflect().Descriptor().Oneofs().ByName("fact").Fields()
	for i := range oneof.Len() {
		e := new(synclinev1.Event)
		e.ProtoReflect().Set(oneof.Get(i), e.ProtoReflect().NewField(oneof.Get(i)))
		if kind, what := describeEvent(e); kind == "unknown" {
			t.Errorf("%s is %s: %s", oneof.Get(i).Name(), kind, what)
		}
	}
	for n := range synclinev1.TraceKind_name {
		if kind := synclinev1.TraceKind(n); n != 0 && strings.Contains(traceWords(&synclinev1.Trace{Kind: kind}), "does not know") {
			t.Errorf("%v has no words", kind)
		}
	}
	for n := range synclinev1.MarkKind_name {
		if kind := synclinev1.MarkKind(n); n != 0 && strings.Contains(describeMark(&synclinev1.Mark{Kind: kind}), "does not know") {
			t.Errorf("%v has no words", kind)
		}
	}
	for n := range synclinev1.ClockChange_name {
		if _, what := describeClockChange(&synclinev1.ClockStep{Change: synclinev1.ClockChange(n)}); strings.Contains(what, "does not know") {
			t.Errorf("%v has no words", synclinev1.ClockChange(n))
		}
	}
	for n := range synclinev1.ProbePath_name {
		if what := probePathWords(synclinev1.ProbePath(n)); strings.Contains(what, "does not know") {
			t.Errorf("%v has no words", synclinev1.ProbePath(n))
		}
	}
	for n := range synclinev1.StampOrigin_name {
		if what := stampWords(synclinev1.StampOrigin(n)); strings.Contains(what, "does not know") {
			t.Errorf("%v has no words", synclinev1.StampOrigin(n))
		}
	}
}

// describable has every kind of event, and every kind of trace and of mark.
func describable() []*synclinev1.Event {
	var all []*synclinev1.Event
	add := func(fact func(e *synclinev1.Event)) {
		e := new(synclinev1.Event)
		fact(e)
		all = append(all, e)
	}
	for _, m := range []*synclinev1.Mark{
		{Kind: synclinev1.MarkKind_MARK_KIND_ARMED, Detail: "eth0, lo"},
		{Kind: synclinev1.MarkKind_MARK_KIND_SOURCE_MISSING, Detail: "drops"},
		{Kind: synclinev1.MarkKind_MARK_KIND_SOURCE_REDUCED, Detail: "tcp-states: no tracepoints"},
		{Kind: synclinev1.MarkKind_MARK_KIND_REPETITION_BEGIN},
		{Kind: synclinev1.MarkKind_MARK_KIND_NOT_QUIET, Detail: "10.0.0.1:40000 > 10.0.0.2:8080 in FIN_WAIT2"},
		{Kind: synclinev1.MarkKind_MARK_KIND_REPETITION_END},
		{Kind: synclinev1.MarkKind_MARK_KIND_CLOSED, Frames: 120},
		{Kind: 4711},
	} {
		add(func(e *synclinev1.Event) { e.Fact = &synclinev1.Event_Mark{Mark: m} })
	}
	for _, c := range describableCalls() {
		add(func(e *synclinev1.Event) { e.Fact = &synclinev1.Event_Call{Call: c} })
	}
	for _, p := range describablePackets() {
		add(func(e *synclinev1.Event) { e.Fact = &synclinev1.Event_Packet{Packet: p} })
	}
	for _, trace := range describableTraces() {
		add(func(e *synclinev1.Event) { e.Fact = &synclinev1.Event_Trace{Trace: trace} })
	}
	for _, p := range []*synclinev1.Probe{
		{Peer: "B", Direction: synclinev1.Direction_DIRECTION_OUT, Exchange: 7, Path: synclinev1.ProbePath_PROBE_PATH_EXPERIMENT, Origin: synclinev1.StampOrigin_STAMP_ORIGIN_KERNEL, ErrorNs: 37},
		{Peer: "B", Direction: synclinev1.Direction_DIRECTION_IN, Exchange: 7, Reply: true, Path: synclinev1.ProbePath_PROBE_PATH_CONTROL, Origin: synclinev1.StampOrigin_STAMP_ORIGIN_HARDWARE, ErrorNs: 250},
		{Peer: "C", Direction: synclinev1.Direction_DIRECTION_IN, Exchange: 12, Origin: synclinev1.StampOrigin_STAMP_ORIGIN_AGENT, ErrorNs: 81_000},
		{Peer: "C", Direction: synclinev1.Direction_DIRECTION_OUT, Exchange: 12, Reply: true, Path: 9, Origin: 9, ErrorNs: 37},
	} {
		add(func(e *synclinev1.Event) { e.Fact = &synclinev1.Event_Probe{Probe: p} })
	}
	for _, s := range []*synclinev1.ClockStep{
		{Change: synclinev1.ClockChange_CLOCK_CHANGE_STEP, StepNs: 3_600_000_000_000, SinceNs: 500},
		{Change: synclinev1.ClockChange_CLOCK_CHANGE_LEAP, StepNs: -1_000_000_000, SinceNs: 500},
		{Change: synclinev1.ClockChange_CLOCK_CHANGE_SUSPEND, StepNs: 72_000_000_000, SinceNs: 500},
		{Change: synclinev1.ClockChange_CLOCK_CHANGE_SLEW, RatePpb: -12_345, RateBeforePpb: 500_000, SinceNs: 500},
		{Change: 9, SinceNs: 500},
	} {
		add(func(e *synclinev1.Event) { e.Fact = &synclinev1.Event_ClockStep{ClockStep: s} })
	}
	add(func(e *synclinev1.Event) {
		e.Fact = &synclinev1.Event_ClockSample{ClockSample: &synclinev1.ClockSample{RealtimeNs: 1_760_000_000_000_000_000, ErrorNs: 37, RawNs: 999_000, RawErrorNs: 41}}
	})
	return append(all,
		&synclinev1.Event{Fact: &synclinev1.Event_Signal{Signal: &synclinev1.Signal{Lane: "server", Name: "ready", Sent: true}}},
		&synclinev1.Event{Fact: &synclinev1.Event_Loss{Loss: &synclinev1.Loss{Source: synclinev1.Source_SOURCE_TRACEPOINTS, Count: 3, SinceNs: 500, Where: "ring of the tracepoints"}}},
		&synclinev1.Event{Fact: &synclinev1.Event_ClockSample{ClockSample: &synclinev1.ClockSample{RealtimeNs: 1_760_000_000_000_000_000, ErrorNs: 37}}},
		&synclinev1.Event{Fact: &synclinev1.Event_ClockStep{ClockStep: &synclinev1.ClockStep{StepNs: -1_000_000_000, SinceNs: 500}}},
		&synclinev1.Event{Fact: &synclinev1.Event_Counters{Counters: &synclinev1.Counters{SinceNs: 500, Counters: []*synclinev1.Counter{{Name: "Tcp.ActiveOpens", Delta: 1}, {Name: "TcpExt.TW", Delta: -1}}}}},
		&synclinev1.Event{Fact: &synclinev1.Event_Queue{Queue: &synclinev1.Queue{Address: "10.0.0.2:8080", Length: 2, Limit: 1, Requests: 3}}},
		&synclinev1.Event{Fact: &synclinev1.Event_SocketState{SocketState: &synclinev1.SocketState{LocalAddress: "10.0.0.1:40000", PeerAddress: "10.0.0.2:8080", State: 6}}},
		&synclinev1.Event{Fact: &synclinev1.Event_Change{Change: &synclinev1.ChangeMade{Text: "firewall drop tcp/8080", Name: "cut"}}},
		&synclinev1.Event{Fact: &synclinev1.Event_LaneProcess{LaneProcess: &synclinev1.LaneProcess{Lane: "victim", Process: 4711, Gone: true, Signal: 9}}},
		&synclinev1.Event{})
}

func describableCalls() []*synclinev1.Call {
	kernel := synclinev1.EndedBy_ENDED_BY_KERNEL
	return []*synclinev1.Call{
		{Lane: "server", Name: "listen", Socket: "s", Arguments: "1", ReturnNs: 20_000, EndedBy: kernel, TcpInfo: tcpInfo(10, map[int]uint32{infoUnacked: 2, infoSacked: 1})},
		{Lane: "client", Name: "socket", Arguments: "AF_INET, SOCK_STREAM", Fd: 3, Result: 3, ReturnNs: 20_000, EndedBy: kernel, TcpInfo: tcpInfo(7, nil)},
		{Lane: "client", Name: "connect", Socket: "c", Arguments: "10.0.0.2:8080", ReturnNs: 90_000, EndedBy: kernel,
			TcpInfo: tcpInfo(1, map[int]uint32{infoRTT: 85, infoRTTVar: 42, infoCwnd: 10})},
		{Lane: "client", Name: "send", Socket: "c", Arguments: "5 bytes", Result: 5, ReturnNs: 90_000, EndedBy: kernel,
			TcpInfo: tcpInfo(1, map[int]uint32{0: 1 | 2<<16, infoRTT: 200_085, infoRTTVar: 42_000, infoCwnd: 1, infoTotal: 3})},
		{Lane: "client", Name: "recv", Socket: "c", Result: -1, Errno: 104, ReturnNs: 90_000, EndedBy: kernel, Failure: "expected 5, got ECONNRESET"},
		{Lane: "client", Name: "recv", Socket: "c", Result: -1, ReturnNs: 90_000, EndedBy: synclinev1.EndedBy_ENDED_BY_TIMEOUT},
		{Lane: "client", Name: "recv", Socket: "c", Result: -1, ReturnNs: 90_000, EndedBy: synclinev1.EndedBy_ENDED_BY_CANCEL},
		{Lane: "victim", Name: "recv", Socket: "c", Result: -1, ReturnNs: 90_000, EndedBy: synclinev1.EndedBy_ENDED_BY_DEATH},
		{Lane: "client", Name: "close", Socket: "c", ReturnNs: 90_000, EndedBy: kernel, ByLab: true},
	}
}

// tcpInfo is a struct tcp_info of 104 bytes, as Linux 2.6 had it, with these words.
func tcpInfo(state byte, words map[int]uint32) []byte {
	b := make([]byte, 104)
	for at, w := range words {
		binary.LittleEndian.PutUint32(b[at:], w)
	}
	b[infoState] = state
	return b
}

func describablePackets() []*synclinev1.Packet {
	client, server := []byte{10, 0, 0, 1}, []byte{10, 0, 0, 2}
	in, out := synclinev1.Direction_DIRECTION_IN, synclinev1.Direction_DIRECTION_OUT
	return []*synclinev1.Packet{
		{Interface: "eth0", Direction: out, Source: client, Destination: server, SourcePort: 40000, DestinationPort: 8080, Flags: 2, Sequence: 1000, Window: 64240},
		{Interface: "eth0", Direction: out, Source: client, Destination: server, SourcePort: 40000, DestinationPort: 9000, Protocol: 17, PayloadLength: 5},
		{Interface: "eth0", Direction: in, Source: server, Destination: client, Protocol: 1, IcmpType: 3, IcmpCode: 3, PayloadLength: 28},
		{Interface: "eth0", Direction: in, Source: server, Destination: client, ArpOperation: 2},
	}
}

func describableTraces() []*synclinev1.Trace {
	const client, server, any = "10.0.0.1:40000", "10.0.0.2:8080", "0.0.0.0:0"
	return []*synclinev1.Trace{
		{Kind: synclinev1.TraceKind_TRACE_KIND_STATE, Cookie: 17, LocalAddress: "10.0.0.1:0", PeerAddress: server, OldState: 7, State: 2},
		{Kind: synclinev1.TraceKind_TRACE_KIND_RETRANSMIT, Cookie: 17, LocalAddress: client, PeerAddress: server, State: 2, Sequence: 1000, Flags: 2},
		{Kind: synclinev1.TraceKind_TRACE_KIND_RETRANSMIT_SYNACK, Cookie: 18, LocalAddress: server, PeerAddress: client, State: 12},
		{Kind: synclinev1.TraceKind_TRACE_KIND_READY, Cookie: 4, LocalAddress: "0.0.0.0:8080", PeerAddress: any, State: 10},
		{Kind: synclinev1.TraceKind_TRACE_KIND_RESET_SENT, LocalAddress: "10.0.0.2:9", PeerAddress: client, Reason: "NO_SOCKET", Sequence: 1000, Flags: 2},
		{Kind: synclinev1.TraceKind_TRACE_KIND_RESET_RECEIVED, Cookie: 17, LocalAddress: client, PeerAddress: server, State: 1},
		{Kind: synclinev1.TraceKind_TRACE_KIND_ERROR, Cookie: 17, LocalAddress: client, PeerAddress: server, State: 7, Errno: 104},
		{Kind: synclinev1.TraceKind_TRACE_KIND_DESTROYED, Cookie: 17, LocalAddress: client, PeerAddress: server, State: 7},
		{Kind: synclinev1.TraceKind_TRACE_KIND_DROP, LocalAddress: "10.0.0.2:9000", PeerAddress: client, Reason: "NO_SOCKET", Protocol: 17, PayloadLength: 5, Place: "udp_unicast_rcv_skb"},
		{Kind: synclinev1.TraceKind_TRACE_KIND_DROP, Cookie: 18, LocalAddress: server, PeerAddress: client, State: 1, Reason: "TCP_OLD_DATA", Direction: synclinev1.Direction_DIRECTION_IN, Sequence: 1001, Acknowledgment: 7, Flags: 24, PayloadLength: 5},
		{Kind: synclinev1.TraceKind_TRACE_KIND_DROP, LocalAddress: client, PeerAddress: server, Reason: "NETFILTER_DROP", Direction: synclinev1.Direction_DIRECTION_OUT, Sequence: 1000, Flags: 2, Place: "nf_hook_slow"},
		{Kind: 4711},
	}
}

// FuzzDescribeTCPInfo: the bytes come from another machine's kernel.
func FuzzDescribeTCPInfo(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1})
	f.Add([]byte{200, 0, 1})
	f.Add(tcpInfo(10, nil))
	f.Add(tcpInfo(1, map[int]uint32{infoRTT: ^uint32(0), infoTotal: ^uint32(0)})[:infoRTT+3])
	f.Fuzz(func(t *testing.T, b []byte) {
		text := describeTCPInfo(b)
		if (text == "") != (len(b) == 0) || len(text) > 120 || !utf8.ValidString(text) || strings.ContainsAny(text, "\t\n") {
			t.Errorf("% x is %q", b, text)
		}
	})
}
