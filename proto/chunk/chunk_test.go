package chunk

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	synclinev1 "syncline/proto/syncline/v1"
)

// failer is what rapid's T and testing's have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// same fails unless the events are equal. protocmp is slow, so that it only shows
// what proto.Equal has found.
func same(t failer, want, got []*synclinev1.Event) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range want {
		if !proto.Equal(want[i], got[i]) {
			t.Fatalf("event %d of %d (-want +got):\n%s", i, len(want), cmp.Diff(want[i], got[i], protocmp.Transform()))
		}
	}
}

// encode puts all events into as few chunks as they need.
func encode(t testing.TB, b *Builder, events []*synclinev1.Event) [][]byte {
	t.Helper()
	var chunks [][]byte
	for _, ev := range events {
		if b.Add(ev) {
			continue
		}
		chunks = append(chunks, b.Encode())
		if !b.Add(ev) {
			t.Fatalf("an empty builder refused event %d", ev.Number)
		}
	}
	return append(chunks, b.Encode())
}

func decode(t testing.TB, chunks [][]byte) []*synclinev1.Event {
	t.Helper()
	var events []*synclinev1.Event
	for i, data := range chunks {
		if len(data) > MaxBytes {
			t.Fatalf("chunk %d has %d bytes, more than MaxBytes", i, len(data))
		}
		got, err := Decode(data)
		if err != nil {
			t.Fatalf("chunk %d: %v", i, err)
		}
		events = append(events, got...)
	}
	return events
}

func TestRealisticRun(t *testing.T) {
	var bytes, events int
	for _, client := range []bool{true, false} {
		want := newLab(1, client).run(200)
		chunks := encode(t, new(Builder), want)
		same(t, want, decode(t, chunks))
		for _, data := range chunks {
			bytes += len(data)
		}
		events += len(want)
	}
	if got := float64(bytes) / float64(events); got > 16 {
		t.Errorf("%.2f bytes an event, the goal is 16", got)
	} else {
		t.Logf("%d events, %.2f bytes each", events, got)
	}
}

// BenchmarkColumns reports what each column costs, for DESIGN.md: bytes an event,
// each column compressed by itself.
func BenchmarkColumns(b *testing.B) {
	events := newLab(1, true).run(200)
	var sizes [numColumns]int
	for b.Loop() {
		c := newEncoder()
		for _, ev := range events {
			c.event(ev)
		}
		for i := range c.out {
			sizes[i] = len(encoder().EncodeAll(c.out[i].close(), nil))
		}
	}
	for i, size := range sizes {
		if each := float64(size) / float64(len(events)); each >= 0.02 {
			b.ReportMetric(each, column(i).String()+"-B/event")
		}
	}
}

func BenchmarkEncode(b *testing.B) { benchmarkEncode(b, newLab(1, true).run(200)) }

// BenchmarkEncodeEveryKind is the same with UDP, ICMP, ARP, counters, queues, sockets
// and changes in each repetition.
func BenchmarkEncodeEveryKind(b *testing.B) { benchmarkEncode(b, everyKind(200)) }

func benchmarkEncode(b *testing.B, events []*synclinev1.Event) {
	var builder Builder
	var size int
	for b.Loop() {
		size = 0
		for _, data := range encode(b, &builder, events) {
			size += len(data)
		}
	}
	b.ReportMetric(float64(size)/float64(len(events)), "B/event")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(events)), "ns/event")
}

// BenchmarkEach is BenchmarkDecode for those who keep no event.
func BenchmarkEach(b *testing.B) {
	events := insideRun(1, true, 200)
	chunks := encode(b, new(Builder), events)
	for b.Loop() {
		for _, data := range chunks {
			if _, err := Each(data, func(*synclinev1.Event) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(events)), "ns/event")
}

func BenchmarkDecode(b *testing.B) {
	events := newLab(1, true).run(200)
	chunks := encode(b, new(Builder), events)
	for b.Loop() {
		decode(b, chunks)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(events)), "ns/event")
}
