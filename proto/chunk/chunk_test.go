package chunk

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	synclinev1 "syncline/proto/syncline/v1"
)

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
		if diff := cmp.Diff(want, decode(t, chunks), protocmp.Transform()); diff != "" {
			t.Fatalf("client %v (-want +got):\n%s", client, diff)
		}
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

// TestColumns prints what each column costs, for DESIGN.md.
func TestColumns(t *testing.T) {
	if !testing.Verbose() {
		t.Skip("prints a table; run with -v")
	}
	c := newEncoder()
	events := newLab(1, true).run(200)
	for _, ev := range events {
		c.event(ev)
	}
	var raw, packed int
	for i := range c.out {
		col := c.out[i].close()
		z := len(encoder().EncodeAll(col, nil))
		raw, packed = raw+len(col), packed+z
		if len(col) > 30 {
			fmt.Printf("column %2d: %6.2f bytes an event, %6.2f compressed\n", i, float64(len(col))/float64(len(events)), float64(z)/float64(len(events)))
		}
	}
	fmt.Printf("%d events, raw %d, each column apart %d, together %d\n", len(events), raw, packed, len(seal(join(len(events), &c.out))))
}

func BenchmarkEncode(b *testing.B) {
	events := newLab(1, true).run(200)
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

func BenchmarkDecode(b *testing.B) {
	events := newLab(1, true).run(200)
	chunks := encode(b, new(Builder), events)
	for b.Loop() {
		decode(b, chunks)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(events)), "ns/event")
}
