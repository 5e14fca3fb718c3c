package chunk

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"

	synclinev1 "syncline/proto/syncline/v1"
)

// worst returns an event that neither predicts nor compresses: every field of a
// packet or a call is new and long.
func worst(r *rand.Rand, payload int) *synclinev1.Event {
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	u, i := r.Uint32, func() int64 { return int64(r.Uint64()) }
	ev := &synclinev1.Event{Number: r.Uint64(), TimeNs: i(), Repetition: u()}
	if r.IntN(2) == 0 {
		ev.Fact = &synclinev1.Event_Packet{Packet: &synclinev1.Packet{
			Interface: string(rune(u() % 0xd000)), Direction: synclinev1.Direction(u()), RealtimeNs: i(), ErrorNs: i(), WireLength: u(),
			Segments: u(), Source: noise(16), Destination: noise(16), Ttl: u(), IpId: u(), TrafficClass: u(), DontFragment: u()%2 == 0,
			SourcePort: u(), DestinationPort: u(), Sequence: u(), Acknowledgment: u(), Flags: u(), Window: u(), Urgent: u(),
			Options: noise(40), PayloadLength: u(), Payload: noise(payload),
			Protocol: u(), IcmpType: u(), IcmpCode: u(), IcmpRest: u(), ArpOperation: u(),
		}}
		return ev
	}
	if r.IntN(4) == 0 {
		// An empty counter costs two bytes of protobuf and, if every one of them is
		// predicted wrongly, ten times that here.
		list := make([]*synclinev1.Counter, r.IntN(300))
		for n := range list {
			list[n] = new(synclinev1.Counter)
			if r.IntN(2) == 0 {
				list[n] = &synclinev1.Counter{Name: string(rune(u() % 0xd000)), Delta: i()}
			}
		}
		ev.Fact = &synclinev1.Event_Counters{Counters: &synclinev1.Counters{SinceNs: i(), Counters: list}}
		return ev
	}
	text := func() string { return strings.Repeat(string(rune(u()%0xd000)), 1+r.IntN(5)) }
	if r.IntN(3) == 0 {
		worstOfClocks(ev, r)
		return ev
	}
	if r.IntN(3) == 0 {
		ev.Fact = &synclinev1.Event_Trace{Trace: &synclinev1.Trace{
			Kind: synclinev1.TraceKind(u()), Cookie: r.Uint64(), LocalAddress: text(), PeerAddress: text(), OldState: u(), State: u(), Errno: u(),
			Reason: text(), Sequence: u(), Acknowledgment: u(), Flags: u(), PayloadLength: u(), Protocol: u(), Place: text(), Direction: synclinev1.Direction(u()),
		}}
		return ev
	}
	ev.Fact = &synclinev1.Event_Call{Call: &synclinev1.Call{
		Lane: text(), Step: u(), Name: text(), Socket: text(), Makes: text(), Label: text(), Arguments: text(), Thread: u(), Fd: int32(u()),
		ReturnNs: i(), Result: i(), Errno: u(), EndedBy: synclinev1.EndedBy(u()), LocalAddress: text(), PeerAddress: text(), ByLab: true, Failure: text(),
		Data: noise(64), Shown: text(), Process: u(), TcpInfo: noise(r.IntN(2 * maxInfo)),
	}}
	return ev
}

func TestChunksStayWithinMaxBytes(t *testing.T) {
	for _, payload := range []int{0, 10, 1500, 65_535} {
		r := rand.New(rand.NewPCG(uint64(payload), 1))
		var b Builder
		var want []*synclinev1.Event
		for {
			ev := worst(r, payload)
			if !b.Add(ev) {
				break
			}
			want = append(want, ev)
		}
		data := b.Encode()
		if len(data) > MaxBytes || len(data) < MaxBytes/2 {
			t.Errorf("payloads of %d: a full chunk has %d bytes", payload, len(data))
		}
		got, err := Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		same(t, want, got)
	}
}

func TestChunkHoldsAtMostMaxEvents(t *testing.T) {
	var b Builder
	n := 0
	for ev := (&synclinev1.Event{}); b.Add(ev); n++ {
		ev.Number++
	}
	if n != MaxEvents || b.Len() != n {
		t.Fatalf("%d events, want %d", n, MaxEvents)
	}
	if got, err := Decode(b.Encode()); err != nil || len(got) != n {
		t.Errorf("%d events, %v", len(got), err)
	}
}

func TestEventLargerThanAnyChunk(t *testing.T) {
	var b Builder
	small := &synclinev1.Event{Number: 1}
	large := &synclinev1.Event{Number: 2, Fact: &synclinev1.Event_Packet{Packet: &synclinev1.Packet{Payload: make([]byte, MaxBytes)}}}
	if b.Add(large) || b.Len() != 0 {
		t.Fatal("an event of 256 KiB was taken")
	}
	if !b.Add(small) || b.Add(large) || b.Len() != 1 {
		t.Fatal("the refusal changed the builder")
	}
	if got, err := Decode(b.Encode()); err != nil || len(got) != 1 {
		t.Errorf("%d events, %v", len(got), err)
	}
}

func TestInvalidTextIsReplaced(t *testing.T) {
	var b Builder
	for _, lane := range []string{"a\xff", "a\xfe", "a?"} {
		b.Add(&synclinev1.Event{Fact: &synclinev1.Event_Call{Call: &synclinev1.Call{Lane: lane, Step: 1, LocalAddress: "[fe80::1%\xff]:1"}}})
	}
	got, err := Decode(b.Encode())
	if err != nil {
		t.Fatal(err)
	}
	for i, ev := range got {
		if c := ev.GetCall(); c.Lane != "a?" || c.Step != 1 || c.LocalAddress != "[fe80::1%?]:1" {
			t.Errorf("event %d: %v", i, c)
		}
	}
}

func TestExtremeTimes(t *testing.T) {
	var b Builder
	times := []int64{math.MinInt64, math.MaxInt64, 0, -1, math.MaxInt64, math.MinInt64}
	for _, at := range times {
		b.Add(&synclinev1.Event{TimeNs: at, Fact: &synclinev1.Event_Packet{Packet: &synclinev1.Packet{RealtimeNs: -at}}})
	}
	got, err := Decode(b.Encode())
	if err != nil {
		t.Fatal(err)
	}
	for i, ev := range got {
		if ev.TimeNs != times[i] || ev.GetPacket().RealtimeNs != -times[i] {
			t.Errorf("event %d at %d, realtime %d", i, ev.TimeNs, ev.GetPacket().RealtimeNs)
		}
	}
}

var update = flag.Bool("update", false, "rewrite the files in testdata")

// TestGolden reads a chunk as each version wrote it. A change that breaks it needs a
// new version: chunks lie in spools and stores for years.
func TestGolden(t *testing.T) {
	for version := oldest; version <= Version; version++ {
		name := fmt.Sprintf("version%d", version)
		t.Run(name, func(t *testing.T) { checkGolden(t, version, filepath.Join("testdata", name)) })
	}
}

func checkGolden(t *testing.T, version int, name string) {
	chunkName, eventsName := name+".chunk", name+".txtpb"
	if *update && version == Version {
		writeGolden(t, chunkName, eventsName)
	}
	text, err := os.ReadFile(eventsName)
	if err != nil {
		t.Fatal(err)
	}
	want := new(synclinev1.ListEventsResponse)
	if err := prototext.Unmarshal(text, want); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(chunkName)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if data[len(magic)] != byte(version) {
		t.Errorf("the chunk is of version %d, want %d", data[len(magic)], version)
	}
	same(t, want.Events, got)
}

// writeGolden writes what only the newest version can.
func writeGolden(t *testing.T, chunkName, eventsName string) {
	events := everyKind(2)
	var b Builder
	for _, ev := range events {
		b.Add(ev)
	}
	text, err := prototext.MarshalOptions{Multiline: true}.Marshal(&synclinev1.ListEventsResponse{Agent: "vm1", Incarnation: 1, Events: events})
	if err != nil {
		t.Fatal(err)
	}
	comment := "# What " + filepath.Base(chunkName) + " holds: two repetitions at a host that is refused a datagram, with every kind of fact.\n"
	for name, b := range map[string][]byte{chunkName: b.Encode(), eventsName: append([]byte(comment), text...)} {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	var b Builder
	for _, ev := range newLab(1, true).run(2) {
		b.Add(ev)
	}
	data := b.Encode()
	withByte := func(at int, v byte) []byte {
		out := append([]byte(nil), data...)
		out[at] = v
		return out
	}
	for name, in := range map[string][]byte{
		"empty":            {},
		"other magic":      withByte(0, 'X'),
		"newer version":    withByte(4, Version+1),
		"version 0":        withByte(4, 0),
		"older version":    withByte(4, 2),
		"oldest version":   withByte(4, 1),
		"flipped bit":      withByte(len(data)/2, data[len(data)/2]^4),
		"cut short":        data[:len(data)-1],
		"too long":         make([]byte, MaxBytes+1),
		"only a header":    data[:headerSize],
		"empty body":       seal(nil),
		"too many events":  seal([]byte{0xff, 0xff, 0xff, 0x7f}),
		"endless counters": seal(endlessCounters()),
		"counters, old":    old(t, countersBody(), 1),
		"trace, old":       old(t, traceBody(), 2),
		"probe, old":       old(t, probeBody(), 4),
		"endless tcp_info": seal(endlessInfo()),
		"words beyond":     seal(wordsBeyond()),
		"socket beyond":    seal(socketBeyond()),
		"no columns":       seal([]byte{1}),
		"expands too much": seal(make([]byte, maxBody+1)),
		"two frames":       append(append([]byte(nil), data...), data[headerSize:]...),
	} {
		if got, err := Decode(in); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %d events, error %v, want ErrDamaged", name, len(got), err)
		}
	}
}

// countersBody is a body with one event, of two counters.
func countersBody() []byte {
	c := newEncoder()
	c.event(&synclinev1.Event{Fact: &synclinev1.Event_Counters{Counters: &synclinev1.Counters{
		Counters: []*synclinev1.Counter{{Name: "Ip.InReceives", Delta: 1}, {Name: "Ip.OutRequests", Delta: 2}},
	}}})
	return c.body(1)
}

// endlessCounters is the same with a list that claims to be as long as can be.
func endlessCounters() []byte {
	c := newEncoder()
	c.event(&synclinev1.Event{Fact: &synclinev1.Event_Counters{Counters: &synclinev1.Counters{}}})
	values := c.out[colFactValue].buf
	c.out[colFactValue].buf = binary.AppendUvarint(values[:len(values)-1], math.MaxUint64)
	return c.body(1)
}

// traceBody is a body with one trace.
func traceBody() []byte {
	c := newEncoder()
	c.event(&synclinev1.Event{Fact: &synclinev1.Event_Trace{Trace: &synclinev1.Trace{
		Kind: synclinev1.TraceKind_TRACE_KIND_STATE, Cookie: 4711, LocalAddress: "10.0.0.1:0", PeerAddress: "10.0.0.2:8080", OldState: 7, State: 2,
	}}})
	return c.body(1)
}

// socketBeyond is the same with a socket that was never told of.
func socketBeyond() []byte {
	return with(traceBody(), colTraceSocket, 1)
}

// probeBody is a body with one probe.
func probeBody() []byte {
	c := newEncoder()
	c.event(&synclinev1.Event{Fact: &synclinev1.Event_Probe{Probe: &synclinev1.Probe{Peer: "B", Exchange: 1}}})
	return c.body(1)
}

// infoBody is a body with one call that has a tcp_info.
func infoBody() []byte {
	c := newEncoder()
	c.event(&synclinev1.Event{Fact: &synclinev1.Event_Call{Call: &synclinev1.Call{Lane: "client", TcpInfo: make([]byte, 200)}}})
	return c.body(1)
}

// endlessInfo is the same with a tcp_info that claims to be as long as can be.
func endlessInfo() []byte { return with(infoBody(), colInfoLength, math.MaxUint64) }

// wordsBeyond is the same with more words as predicted than there are.
func wordsBeyond() []byte { return with(infoBody(), colInfoSame, 51) }

// with is a body in which a column has one entry, of a value.
func with(body []byte, col column, v uint64) []byte {
	var in [numColumns]reader
	n, err := split(body, Version, &in)
	if err != nil {
		panic(err)
	}
	var out [numColumns]writer
	for i := range in {
		out[i].buf = in[i].buf
	}
	out[col] = writer{}
	out[col].put(v, dense[col])
	return join(n, &out)
}

// old is a body as a chunk of an older version: without the columns that came later.
func old(t testing.TB, body []byte, version byte) []byte {
	t.Helper()
	var in [numColumns]reader
	n, err := split(body, Version, &in)
	if err != nil {
		t.Fatal(err)
	}
	out := binary.AppendUvarint(nil, uint64(n))
	for i := range columnsOf(version) {
		out = binary.AppendUvarint(out, uint64(len(in[i].buf)))
		out = append(out, in[i].buf...)
	}
	return sealed(out, version)
}

// sealed is seal for any version.
func sealed(body []byte, version byte) []byte {
	data := seal(body)
	data[len(magic)] = version
	return data
}

// TestOlderVersionsAreReadAsTheyWere: a body without the newer columns gives the same
// events as one in which they hold nothing but what is predicted.
func TestOlderVersionsAreReadAsTheyWere(t *testing.T) {
	for version := byte(oldest); version < Version; version++ {
		c := newEncoder()
		want := newLab(5, false).run(3)
		for _, ev := range want {
			c.event(ev)
		}
		got, err := Decode(old(t, c.body(len(want)), version))
		if err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		same(t, want, got)
	}
}

// FuzzDecode feeds bodies, so that the fuzzer need not learn zstd. What decodes must
// encode and decode to the same events.
func FuzzDecode(f *testing.F) {
	c := newEncoder()
	all := everyKind(2)
	for _, ev := range all {
		c.event(ev)
	}
	f.Add(c.body(len(all)), byte(Version))
	for _, body := range [][]byte{countersBody(), endlessCounters(), traceBody(), socketBeyond(), infoBody(), endlessInfo(), wordsBeyond(), probeBody()} {
		f.Add(body, byte(Version))
	}
	c.reset()
	for seed := range uint64(4) {
		evs := newLab(seed, seed%2 == 0).run(2)
		for _, ev := range evs {
			c.event(ev)
		}
		body := c.body(len(evs))
		for version := byte(oldest); version < Version; version++ {
			f.Add(mustUnseal(f, old(f, body, version)), version)
		}
		f.Add(body, byte(Version))
		c.reset()
	}
	f.Add(join(0, &[numColumns]writer{}), byte(Version))
	f.Fuzz(func(t *testing.T, body []byte, version byte) {
		if len(body) > maxBody {
			return
		}
		checkDecode(t, sealed(body, oldest+(version-oldest)%Version))
	})
}

func mustUnseal(t testing.TB, data []byte) []byte {
	t.Helper()
	body, _, err := unseal(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// FuzzDecodeFrame feeds whole chunks.
func FuzzDecodeFrame(f *testing.F) {
	var b Builder
	for _, ev := range newLab(3, true).run(2) {
		b.Add(ev)
	}
	f.Add(b.Encode())
	f.Add([]byte("SLCK\x01"))
	f.Add([]byte("SLCK\x02"))
	f.Add([]byte("SLCK\x03"))
	f.Add([]byte("SLCK\x05"))
	f.Fuzz(checkDecode)
}

func checkDecode(t *testing.T, data []byte) {
	sameEach(t, data)
	got, err := Decode(data)
	if err != nil {
		if !errors.Is(err, ErrDamaged) {
			t.Fatalf("an error without ErrDamaged: %v", err)
		}
		return
	}
	same(t, got, decode(t, encode(t, new(Builder), got)))
}
