package agent

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"syncline/proto/chunk"
	synclinev1 "syncline/proto/syncline/v1"
)

func newTestStream(limit int) *stream {
	return &stream{run: "r-1", agent: "vm1", incarnation: 7, limit: limit, wake: func() {}}
}

func signalEvent(n int) *synclinev1.Event {
	return &synclinev1.Event{TimeNs: int64(n), Fact: &synclinev1.Event_Signal{Signal: &synclinev1.Signal{Lane: "server", Name: fmt.Sprint(n)}}}
}

// unsentOf are all chunks that were not sent on a connection yet.
func unsentOf(s *stream, connection uint64) (all []*synclinev1.Chunk) {
	for {
		c, err := s.unsent(connection)
		if err != nil {
			panic(err)
		}
		if c == nil {
			return all
		}
		all = append(all, c)
	}
}

// chunksOf takes all chunks of a stream as an uploader would.
func chunksOf(s *stream, connection uint64) (chunks []*synclinev1.Chunk, events []*synclinev1.Event, err error) {
	for _, c := range unsentOf(s, connection) {
		decoded, err := chunk.Decode(c.Data)
		if err != nil {
			return nil, nil, err
		}
		if len(decoded) != int(c.Events) || decoded[0].Number != c.FirstEvent {
			return nil, nil, fmt.Errorf("chunk %d says %d events from %d and holds %d from %d", c.Sequence, c.Events, c.FirstEvent, len(decoded), decoded[0].Number)
		}
		chunks, events = append(chunks, c), append(events, decoded...)
	}
	return chunks, events, nil
}

// Events of many goroutines come out numbered without a hole, each once, in chunks
// that are numbered without a hole.
func TestStreamNumbersEverything(t *testing.T) {
	const sources, each = 8, 5000
	s := newTestStream(64 << 20)
	var wait sync.WaitGroup
	for source := range sources {
		wait.Go(func() {
			for i := range each {
				s.add(3, signalEvent(source*each+i))
			}
		})
	}
	cutting := make(chan struct{})
	go func() {
		defer close(cutting)
		for range 50 {
			s.cut(false)
		}
	}()
	wait.Wait()
	<-cutting
	lastEvent, lastChunk := s.finish()

	chunks, events, err := chunksOf(s, 1)
	if err != nil {
		t.Fatal(err)
	}
	if lastEvent != sources*each || len(events) != sources*each || lastChunk != uint64(len(chunks)) {
		t.Fatalf("finish says %d events in %d chunks; %d events in %d chunks came", lastEvent, lastChunk, len(events), len(chunks))
	}
	seen := map[int64]bool{}
	for i, e := range events {
		if e.Number != uint64(i+1) || e.Repetition != 3 || seen[e.TimeNs] {
			t.Fatalf("event %d is %v", i, e)
		}
		seen[e.TimeNs] = true
	}
	for i, c := range chunks {
		if c.Sequence != uint64(i+1) {
			t.Fatalf("chunk %d has number %d", i, c.Sequence)
		}
	}
}

// A chunk is sent once a connection until it is acknowledged.
func TestStreamSendsAgainUntilAcknowledged(t *testing.T) {
	s := newTestStream(64 << 20)
	s.add(1, signalEvent(1))
	s.finish()
	first := unsentOf(s, 1)
	if len(first) != 1 || len(unsentOf(s, 1)) > 0 {
		t.Fatal("want the chunk once on the first connection")
	}
	if d := cmp.Diff(first, unsentOf(s, 2), protocmp.Transform()); d != "" {
		t.Fatal(d)
	}
	s.drop(first[0].Sequence)
	if len(unsentOf(s, 3)) > 0 || !s.empty() {
		t.Fatal("an acknowledged chunk is still there")
	}
}

// What does not fit is counted, and the count is an event as soon as there is room:
// kept plus lost is what was added.
func TestStreamCountsWhatItLoses(t *testing.T) {
	const added = 3000
	s := newTestStream(1)
	s.add(1, signalEvent(0))
	s.cut(true)
	for i := 1; i < added; i++ {
		s.add(1, signalEvent(i))
		if i%100 == 0 {
			s.cut(false)
		}
	}
	_, _ = s.finish()
	_, events, err := chunksOf(s, 1)
	if err != nil {
		t.Fatal(err)
	}
	kept, lost := 0, uint64(0)
	for _, e := range events {
		if l := e.GetLoss(); l != nil {
			lost += l.Count
			if l.SinceNs != 1 || l.Source != synclinev1.Source_SOURCE_SYSCALLS || l.Where == "" {
				t.Errorf("loss is %v", l)
			}
			continue
		}
		kept++
	}
	if lost == 0 || uint64(kept)+lost != added {
		t.Fatalf("%d kept and %d lost of %d", kept, lost, added)
	}
}

// An event that no chunk can hold becomes a loss of one.
func TestStreamOfAHugeEvent(t *testing.T) {
	s := newTestStream(64 << 20)
	noise := make([]byte, chunk.MaxBytes+1)
	for i, x := 0, uint32(1); i < len(noise); i++ {
		x = x*1664525 + 1013904223
		noise[i] = byte(x >> 24)
	}
	huge := &synclinev1.Event{TimeNs: 5, Fact: &synclinev1.Event_Packet{Packet: &synclinev1.Packet{Payload: noise}}}
	s.add(1, signalEvent(1), proto.CloneOf(huge), signalEvent(2))
	if last, _ := s.finish(); last != 3 {
		t.Fatalf("%d events, want 3", last)
	}
	_, events, err := chunksOf(s, 1)
	if err != nil {
		t.Fatal(err)
	}
	if l := events[1].GetLoss(); l == nil || l.Count != 1 || l.Source != synclinev1.Source_SOURCE_PACKETS {
		t.Fatalf("the second event is %v, want a loss", events[1])
	}
}

// A loss that finds no room adds what it counts, from its own beginning; a mark
// always finds room, since it says how much the other events are worth.
func TestStreamLosesNoLoss(t *testing.T) {
	s := newTestStream(1)
	s.add(1, signalEvent(100))
	s.cut(true)
	s.add(1, signalEvent(200),
		&synclinev1.Event{TimeNs: 300, Fact: &synclinev1.Event_Loss{Loss: &synclinev1.Loss{Source: synclinev1.Source_SOURCE_PACKETS, Count: 500, SinceNs: 50}}},
		&synclinev1.Event{TimeNs: 400, Fact: &synclinev1.Event_Mark{Mark: &synclinev1.Mark{Kind: synclinev1.MarkKind_MARK_KIND_NOT_QUIET}}})
	s.finish()
	_, events, err := chunksOf(s, 1)
	if err != nil {
		t.Fatal(err)
	}
	var lost []string
	marks := 0
	for _, e := range events {
		if l := e.GetLoss(); l != nil {
			lost = append(lost, fmt.Sprintf("%d %v since %d", l.Count, l.Source, l.SinceNs))
		}
		if e.GetMark() != nil {
			marks++
		}
	}
	if d := cmp.Diff([]string{"1 SOURCE_SYSCALLS since 200", "500 SOURCE_PACKETS since 50"}, lost); d != "" || marks != 1 {
		t.Errorf("%d marks; losses: %s", marks, d)
	}
}

// A loss is of one repetition, so that it casts no doubt on those before and after it.
func TestStreamLosesByRepetition(t *testing.T) {
	s := newTestStream(1)
	s.add(1, signalEvent(1))
	s.cut(true)
	s.add(1, signalEvent(2))
	s.add(2, signalEvent(3), &synclinev1.Event{TimeNs: 4, Fact: &synclinev1.Event_Call{Call: &synclinev1.Call{ReturnNs: 9}}})
	s.finish()
	_, events, err := chunksOf(s, 1)
	if err != nil {
		t.Fatal(err)
	}
	var lost []string
	for _, e := range events {
		if l := e.GetLoss(); l != nil {
			lost = append(lost, fmt.Sprintf("%d of repetition %d from %d to %d", l.Count, e.Repetition, l.SinceNs, e.TimeNs))
		}
	}
	if d := cmp.Diff([]string{"1 of repetition 1 from 2 to 2", "2 of repetition 2 from 3 to 9"}, lost); d != "" {
		t.Error(d)
	}
}
