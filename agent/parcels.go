package agent

import (
	"errors"
	"slices"

	"syncline/agent/spool"
	synclinev1 "syncline/proto/syncline/v1"
)

// parcel is a chunk that is not acknowledged.
type parcel struct {
	sequence, first uint64
	events          uint32
	// chunk is nil if it is in the spool alone; size is that of its data.
	chunk *synclinev1.Chunk
	size  int
	// spooled: it is on the disk.
	spooled bool
}

// parcels are the chunks of a stream that wait to be acknowledged, in order. Whoever uses
// them holds stream.mu.
type parcels struct {
	waiting []*parcel
	// bytes are of the data in memory, unspooled of those that are not on the disk.
	bytes, unspooled int
	// chunk and event are the last that was ever added.
	chunk, event uint64
	// connection is the one that chunks were last sent on, sent how many of those that
	// wait were.
	connection uint64
	sent       int
}

// add takes a chunk that was just made.
func (ps *parcels) add(c *synclinev1.Chunk) {
	ps.waiting = append(ps.waiting, &parcel{sequence: c.Sequence, first: c.FirstEvent, events: c.Events, chunk: c, size: len(c.Data)})
	ps.bytes += len(c.Data)
	ps.unspooled += len(c.Data)
	ps.chunk, ps.event = c.Sequence, c.FirstEvent+uint64(c.Events)-1
}

// next is the oldest that was not sent on a connection yet, and marks it as sent; nil if
// there is none. A connection is newer than those before it.
func (ps *parcels) next(connection uint64) *parcel {
	if ps.connection != connection {
		ps.connection, ps.sent = connection, 0
	}
	if ps.sent == len(ps.waiting) {
		return nil
	}
	ps.sent++
	return ps.waiting[ps.sent-1]
}

// drop forgets a chunk.
func (ps *parcels) drop(sequence uint64) {
	i := slices.IndexFunc(ps.waiting, func(p *parcel) bool { return p.sequence == sequence })
	if i < 0 {
		return
	}
	p := ps.waiting[i]
	ps.forget(p)
	if !p.spooled {
		ps.unspooled -= p.size
	}
	if i < ps.sent {
		ps.sent--
	}
	if i == 0 {
		// Nearly always, of many thousands when a controller is back: nothing is moved.
		ps.waiting[0] = nil
		ps.waiting = ps.waiting[1:]
		return
	}
	ps.waiting = slices.Delete(ps.waiting, i, i+1)
}

// forget takes a chunk out of memory.
func (ps *parcels) forget(p *parcel) {
	if p.chunk != nil {
		ps.bytes -= p.size
		p.chunk = nil
	}
}

// watermark is the last chunk that is acknowledged with all before it, and its last event.
func (ps *parcels) watermark() (chunk, event uint64) {
	if len(ps.waiting) == 0 {
		return ps.chunk, ps.event
	}
	return ps.waiting[0].sequence - 1, ps.waiting[0].first - 1
}

// unspool is what is not on the disk yet, in order.
func (ps *parcels) unspool() (all []*parcel) {
	if ps.unspooled == 0 {
		return nil
	}
	for _, p := range ps.waiting {
		if !p.spooled {
			all = append(all, p)
		}
	}
	return all
}

// onDisk notes that chunks of unspool are on the disk now, and keeps memory below half of a limit: those
// that are to be sent last go first.
func (ps *parcels) onDisk(all []*parcel, limit int) {
	for _, p := range all {
		if p.chunk == nil {
			// It was acknowledged while it was written, and is counted no more.
			continue
		}
		p.spooled = true
		ps.unspooled -= p.size
	}
	for _, p := range slices.Backward(ps.waiting) {
		if ps.bytes <= limit/2 {
			return
		}
		if p.spooled {
			ps.forget(p)
		}
	}
}

// unsent returns the oldest chunk that was not sent on a connection yet, and marks it as
// sent on it; nil if there is none. One that is in the spool alone is read from there; damaged
// is why some could not be, which are given up.
func (s *stream) unsent(connection uint64) (next *synclinev1.Chunk, damaged error) {
	for {
		s.mu.Lock()
		p := s.parcels.next(connection)
		if p == nil || p.chunk != nil {
			defer s.mu.Unlock()
			if p == nil {
				return nil, damaged
			}
			return p.chunk, damaged
		}
		s.mu.Unlock()
		c, err := s.spool.Read(p.sequence)
		if err == nil {
			return s.fromSpool(c), damaged
		}
		s.mu.Lock()
		s.parcels.drop(p.sequence)
		s.mu.Unlock()
		if !errors.Is(err, spool.ErrNotKept) {
			damaged = errors.Join(damaged, err)
		}
	}
}

// drop forgets an acknowledged chunk.
func (s *stream) drop(sequence uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parcels.drop(sequence)
	if s.spool != nil {
		s.spool.Acknowledge(s.parcels.watermark())
	}
}

func (s *stream) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.parcels.waiting) == 0
}

// urgentToSpool reports whether so much waits in memory alone that it should not wait any
// longer.
func (s *stream) urgentToSpool() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parcels.unspooled > s.limit/4
}

// toSpool puts on the disk what waits in memory alone, and frees what is acknowledged
// there.
func (s *stream) toSpool() error {
	s.mu.Lock()
	all := s.parcels.unspool()
	chunks := make([]spool.Chunk, 0, len(all))
	for _, p := range all {
		chunks = append(chunks, spool.Chunk{Sequence: p.sequence, FirstEvent: p.first, Events: p.events, CRC32C: p.chunk.Crc32C, Data: p.chunk.Data})
	}
	s.mu.Unlock()
	if err := s.spool.Append(chunks...); err != nil {
		return err
	}
	s.mu.Lock()
	s.parcels.onDisk(all, s.limit)
	s.mu.Unlock()
	return s.spool.Reclaim()
}

// fromSpool is a chunk as it is sent.
func (s *stream) fromSpool(c spool.Chunk) *synclinev1.Chunk {
	return &synclinev1.Chunk{
		RunId: s.run, Agent: s.agent, Incarnation: s.incarnation,
		Sequence: c.Sequence, FirstEvent: c.FirstEvent, Events: c.Events, Data: c.Data, Crc32C: c.CRC32C,
	}
}

// pastStream is the stream of an earlier start of the agent, as its spool has it.
func pastStream(kept *spool.Stream) *stream {
	s := &stream{run: kept.Run, agent: kept.Agent, incarnation: kept.Incarnation, spool: kept}
	for _, c := range kept.Contents() {
		s.parcels.waiting = append(s.parcels.waiting, &parcel{sequence: c.Sequence, first: c.FirstEvent, events: c.Events, size: c.Bytes, spooled: true})
	}
	s.parcels.chunk, s.parcels.event = kept.Highest()
	return s
}
