package chunk

import (
	"encoding/binary"
	"fmt"
	"testing"

	synclinev1 "syncline/proto/syncline/v1"
)

// insideRun is newLab(...).run with what the kernel says besides: a trace for whatever
// happens to a socket, and tcp_info at each call on one.
func insideRun(seed uint64, client bool, n int) []*synclinev1.Event {
	l := newLab(seed, client)
	l.inside = true
	return l.run(n)
}

// traces are what tracepoints tell of one connection of a repetition, read from their
// ring at its end.
func (l *lab) traces(rep uint32, begin int64, port uint32) {
	at, end := begin, l.now
	client, server := fmt.Sprintf("10.0.0.1:%d", port), "10.0.0.2:8080"
	add := func(t *synclinev1.Trace) {
		at += l.after(3_000, (end-begin)/12)
		l.add(&synclinev1.Event{TimeNs: at, Repetition: rep, Fact: &synclinev1.Event_Trace{Trace: t}})
	}
	state := func(cookie uint64, local, peer string, from, to uint32) {
		add(&synclinev1.Trace{Kind: synclinev1.TraceKind_TRACE_KIND_STATE, Cookie: cookie, LocalAddress: local, PeerAddress: peer, OldState: from, State: to})
	}
	told := func(kind synclinev1.TraceKind, cookie uint64, local, peer string, in uint32) {
		add(&synclinev1.Trace{Kind: kind, Cookie: cookie, LocalAddress: local, PeerAddress: peer, State: in})
	}
	l.cookie += uint64(1 + l.r.IntN(3))
	c := l.cookie
	if l.client {
		state(c, "10.0.0.1:0", server, 7, 2)
		state(c, client, server, 2, 1)
		state(c, client, server, 1, 4)
		state(c, client, server, 4, 5)
		told(synclinev1.TraceKind_TRACE_KIND_READY, c, client, server, 5)
		state(c, client, server, 5, 7)
		told(synclinev1.TraceKind_TRACE_KIND_DESTROYED, c, client, server, 7)
		return
	}
	listener := "0.0.0.0:8080"
	l.cookie++
	a := l.cookie
	state(c, listener, "0.0.0.0:0", 7, 10)
	state(a, server, "0.0.0.0:0", 10, 3)
	state(a, server, client, 3, 1)
	told(synclinev1.TraceKind_TRACE_KIND_READY, c, listener, "0.0.0.0:0", 10)
	told(synclinev1.TraceKind_TRACE_KIND_READY, a, server, client, 1)
	state(a, server, client, 1, 8)
	told(synclinev1.TraceKind_TRACE_KIND_READY, a, server, client, 8)
	state(a, server, client, 8, 9)
	state(a, server, client, 9, 7)
	told(synclinev1.TraceKind_TRACE_KIND_DESTROYED, a, server, client, 7)
	state(c, listener, "0.0.0.0:0", 10, 7)
}

// tcpInfo is struct tcp_info as Linux 6.18 gives it of a socket, after a call of the
// step. What is not set here is 0 there.
func (l *lab) tcpInfo(name string, step uint32) []byte {
	b := make([]byte, 280)
	u32 := func(at int, v uint32) { binary.LittleEndian.PutUint32(b[at:], v) }
	u64 := func(at int, v uint64) { binary.LittleEndian.PutUint64(b[at:], v) }
	up := uint32(l.now / 1_000_000)
	u32(44, up) // last_data_sent, of a socket that never did
	u32(52, up)
	u32(56, up)
	u32(80, 10) // snd_cwnd
	u64(104, ^uint64(0))
	u64(112, ^uint64(0))
	b[0] = 7
	switch name {
	case "listen":
		b[0] = 10
		return b
	case "socket", "bind", "setsockopt":
		u32(8, 1_000_000)
		return b
	}
	rtt := uint32(l.after(40, 90))
	b[0], b[5], b[6] = 1, 7, 0x77
	u32(8, 201_000)
	u32(12, 40_000)
	u32(16, 1448)
	u32(20, 536+uint32(step)*100)
	if step > 2 {
		u32(44, 0)
	}
	u32(56, 0)
	u32(60, 1500)
	u32(64, 65_483)
	u32(68, rtt)
	u32(72, rtt/2)
	u32(76, 0x7fffffff)
	u32(84, 1460)
	u32(88, 3)
	u32(96, 14_480)
	u64(104, 2*10*1448*1_000_000/uint64(rtt))
	u64(120, uint64(step))
	u32(136, 2+step)
	u32(140, 1+step)
	u32(148, rtt-uint32(l.r.IntN(9)))
	u64(160, 1448*1_000_000/uint64(rtt))
	u64(168, uint64(rtt)*uint64(step))
	u32(192, step)
	u64(200, uint64(step))
	u32(228, 64_256)
	u32(232, 65_483)
	return b
}

// BenchmarkEncodeInside is BenchmarkEncode with traces and tcp_info besides.
func BenchmarkEncodeInside(b *testing.B) { benchmarkEncode(b, insideRun(1, true, 200)) }

// BenchmarkInside reports what a trace, and a tcp_info, costs: the difference to the
// same run without it, in bytes of the chunk.
func BenchmarkInside(b *testing.B) {
	for _, client := range []bool{true, false} {
		name := "server"
		if client {
			name = "client"
		}
		b.Run(name, func(b *testing.B) {
			var traces, infos, all, without, untraced int
			for b.Loop() {
				traces, infos = 0, 0
				events := insideRun(1, client, 200)
				all = encoded(b, events)
				var rest []*synclinev1.Event
				for _, ev := range events {
					if ev.GetTrace() != nil {
						traces++
						continue
					}
					rest = append(rest, ev)
				}
				untraced = encoded(b, rest)
				for _, ev := range rest {
					if call := ev.GetCall(); len(call.GetTcpInfo()) > 0 {
						infos++
						call.TcpInfo = nil
					}
				}
				without = encoded(b, rest)
			}
			b.ReportMetric(float64(all-untraced)/float64(traces), "B/trace")
			b.ReportMetric(float64(untraced-without)/float64(infos), "B/tcp_info")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// encoded is how many bytes the chunks of events have.
func encoded(t testing.TB, events []*synclinev1.Event) int {
	size := 0
	for _, data := range encode(t, new(Builder), events) {
		size += len(data)
	}
	return size
}

// TestInsideRun holds what the kernel's own view may cost: traces are as many as packets.
func TestInsideRun(t *testing.T) {
	for _, client := range []bool{true, false} {
		want := insideRun(1, client, 200)
		same(t, want, decode(t, encode(t, new(Builder), want)))
		if got := float64(encoded(t, want)) / float64(len(want)); got > 8 {
			t.Errorf("%.2f bytes an event with traces and tcp_info, the goal is 8", got)
		}
	}
}

// TestInfoOfAnyLength: kernels differ in how much they know, and none in this.
func TestInfoOfAnyLength(t *testing.T) {
	var want []*synclinev1.Event
	for n := range 2 * maxInfo {
		info := make([]byte, n)
		for i := range info {
			info[i] = byte(n * (i + 3))
		}
		want = append(want, &synclinev1.Event{Number: uint64(n), Fact: &synclinev1.Event_Call{Call: &synclinev1.Call{
			Lane: "client", Step: uint32(n % 3), ReturnNs: int64(n) * 7_000_000, TcpInfo: info}}})
	}
	got := decode(t, encode(t, new(Builder), want))
	for i := range got {
		if len(got[i].GetCall().TcpInfo) == 0 {
			got[i].GetCall().TcpInfo = []byte{}
		}
	}
	same(t, want, got)
}
