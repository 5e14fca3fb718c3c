package agent

import (
	"cmp"
	"context"
	"hash/crc32"
	"maps"
	"slices"
	"sync"
	"time"

	"syncline/agent/clock"
	"syncline/agent/spool"
	"syncline/proto/chunk"
	synclinev1 "syncline/proto/syncline/v1"
)

// How events become chunks.
const (
	// cutEvery is how often the stream looks whether waiting events should be numbered and
	// encoded, away from the threads that made them. That takes the processor from those
	// who are watched, so it is put off until chunkAge, or until cutAt events wait.
	cutEvery = 50 * time.Millisecond
	cutAt    = 1 << 17
	// chunkAge is how long an event waits for others to share a chunk with. A chunk
	// of few events costs more bytes an event, one that waits is lost with the agent.
	chunkAge = time.Second
	// openLimit bounds the events that wait to be numbered.
	openLimit = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stream is the one numbered stream of events of a run: all of the host's sources
// joined. add may be called from any goroutine and only appends to a slice, so
// that a lane's thread is held up by nothing but a short lock.
type stream struct {
	run, agent  string
	incarnation uint64
	limit       int
	// clock is the test clock that the times of all events are moved to; nil: none.
	clock *clock.Test
	// wake tells those who send and spool that there is a new chunk.
	wake func()
	// spool keeps chunks that wait; nil: memory alone does. It is fixed.
	spool *spool.Stream

	mu   sync.Mutex
	open []*synclinev1.Event
	// waiting is since when the first of open waits; urgent is set if one of them is not to.
	waiting time.Time
	urgent  bool
	lost    map[losing]*lostEvents
	parcels parcels

	// Owned by whoever holds cutting.
	cutting sync.Mutex
	builder chunk.Builder
	first   uint64
	oldest  time.Time
	events  uint64
	chunks  uint64
}

// losing is what losses are counted by until there is room to say so: each repetition
// has its own, so that one does not cast doubt on the others.
type losing struct {
	repetition uint32
	source     synclinev1.Source
}

// lostEvents are what was lost of one source in one repetition: how many, and when the
// first of them began and the last was over.
type lostEvents struct {
	count        uint64
	since, until int64
}

// add takes events that belong to one repetition. What does not fit is counted,
// and the count becomes an event as soon as there is room.
func (s *stream) add(repetition uint32, events ...*synclinev1.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		e.Repetition = repetition
		if (len(s.open) >= openLimit || s.parcels.bytes >= s.limit) && !rare(e) {
			s.lose(e)
			continue
		}
		if len(s.open) == 0 {
			s.waiting = time.Now()
		}
		s.open = append(s.open, e)
		s.urgent = s.urgent || e.GetClockStep() != nil
	}
}

// rare reports whether an event is one of the few that say how much the others are
// worth. There is always room for those.
func rare(e *synclinev1.Event) bool {
	return e.GetMark() != nil || e.GetClockStep() != nil || e.GetClockSample() != nil || e.GetChange() != nil || e.GetLaneProcess() != nil
}

func (s *stream) lose(e *synclinev1.Event) {
	source, count, since := sourceOf(e), uint64(1), e.TimeNs
	if l := e.GetLoss(); l != nil {
		source, count, since = l.Source, l.Count, l.SinceNs
	}
	if s.lost == nil {
		s.lost = map[losing]*lostEvents{}
	}
	key := losing{e.Repetition, source}
	l := s.lost[key]
	if l == nil {
		l = &lostEvents{}
		s.lost[key] = l
	}
	l.add(count, since, max(e.TimeNs, e.GetCall().GetReturnNs()))
}

// add counts events of an interval.
func (l *lostEvents) add(count uint64, since, until int64) {
	if l.count == 0 {
		l.since = since
	}
	l.count += count
	l.since, l.until = min(l.since, since), max(l.until, until)
}

// event is the loss, placed between the first and the last of what was lost: there is
// nothing to doubt before and after.
func (l *lostEvents) event(key losing, where string) *synclinev1.Event {
	return &synclinev1.Event{TimeNs: l.until, Repetition: key.repetition, Fact: &synclinev1.Event_Loss{Loss: &synclinev1.Loss{
		Source: key.source, Count: l.count, SinceNs: l.since, Where: where,
	}}}
}

func (l losing) compare(m losing) int {
	return cmp.Or(cmp.Compare(l.repetition, m.repetition), cmp.Compare(l.source, m.source))
}

func sourceOf(e *synclinev1.Event) synclinev1.Source {
	switch {
	case e.GetPacket() != nil:
		return synclinev1.Source_SOURCE_PACKETS
	case e.GetCounters() != nil:
		return synclinev1.Source_SOURCE_COUNTERS
	case e.GetQueue() != nil:
		return synclinev1.Source_SOURCE_ACCEPT_QUEUE
	case e.GetSocketState() != nil:
		return synclinev1.Source_SOURCE_TCP_STATES
	case e.GetTrace() != nil:
		return synclinev1.Source_SOURCE_TRACEPOINTS
	case e.GetProbe() != nil:
		return synclinev1.Source_SOURCE_PROBES
	}
	return synclinev1.Source_SOURCE_SYSCALLS
}

// due reports whether the events that wait have waited long enough, or are many. What
// happened to a clock does not wait: who watches the run relies on it until then.
func (s *stream) due() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.open) == 0:
		return len(s.lost) > 0
	case len(s.open) >= cutAt, s.urgent:
		return true
	}
	return time.Since(s.waiting) >= chunkAge
}

// take empties the queue; losses come last. It says since when the
// first event has waited: for ever, if one of them is urgent.
func (s *stream) take(final bool) (events []*synclinev1.Event, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	events, since = s.open, s.waiting
	if len(events) == 0 {
		since = time.Now()
	}
	if s.urgent {
		since = time.Time{}
	}
	s.open, s.urgent = nil, false
	if s.parcels.bytes >= s.limit && !final {
		return events, since
	}
	for _, key := range slices.SortedFunc(maps.Keys(s.lost), losing.compare) {
		events = append(events, s.lost[key].event(key, "queue of agent "+s.agent))
	}
	s.lost = nil
	return events, since
}

// keepCutting cuts chunks until ctx is done. The last, short chunk is left to finish.
func (s *stream) keepCutting(ctx context.Context) {
	tick := time.NewTicker(cutEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.cut(false)
		}
	}
}

// finish cuts off what there is and says how much the stream holds. At the end of the
// run nothing is added after it.
func (s *stream) finish() (lastEvent, lastChunk uint64) {
	s.cut(true)
	s.cutting.Lock()
	defer s.cutting.Unlock()
	return s.events, s.chunks
}

// flush sends off what there is, and says how many events that makes.
func (s *stream) flush() (lastEvent uint64) {
	lastEvent, _ = s.finish()
	return lastEvent
}

// cut numbers what waits, once that is due, and encodes it. A chunk leaves when it is
// full, when its oldest event has waited long enough, or when the stream ends.
func (s *stream) cut(final bool) {
	s.cutting.Lock()
	defer s.cutting.Unlock()
	if final || s.due() {
		s.number(s.take(final))
	}
	if s.builder.Len() > 0 && (final || time.Since(s.oldest) >= chunkAge) {
		s.ship()
	}
}

// number gives events their numbers and puts them into chunks. The first has waited since
// then. From here on their times are those of the test clock, if there is one.
func (s *stream) number(events []*synclinev1.Event, since time.Time) {
	if s.builder.Len() > 0 && since.Before(s.oldest) {
		s.oldest = since
	}
	for _, e := range events {
		s.events++
		e.Number = s.events
		if s.clock != nil {
			onTestClock(s.clock, e)
		}
		if s.builder.Len() > 0 && !s.builder.Add(e) {
			s.ship()
		}
		if s.builder.Len() == 0 {
			s.begin(e, since)
		}
	}
}

// begin adds the first event of a chunk, which has waited since then. One that would not
// fit an empty chunk cannot be kept; its loss can.
func (s *stream) begin(e *synclinev1.Event, since time.Time) {
	s.first, s.oldest = e.Number, since
	if s.builder.Add(e) {
		return
	}
	e.Fact = &synclinev1.Event_Loss{Loss: &synclinev1.Loss{Source: sourceOf(e), Count: 1, SinceNs: e.TimeNs, Where: "an event larger than a chunk"}}
	s.builder.Add(e)
}

// ship encodes the events of the builder and queues the chunk.
func (s *stream) ship() {
	n := s.builder.Len()
	data := s.builder.Encode()
	s.chunks++
	c := &synclinev1.Chunk{
		RunId: s.run, Agent: s.agent, Incarnation: s.incarnation,
		Sequence: s.chunks, FirstEvent: s.first, Events: uint32(n),
		Data: data, Crc32C: crc32.Checksum(data, castagnoli),
	}
	s.mu.Lock()
	s.parcels.add(c)
	s.mu.Unlock()
	s.wake()
}
