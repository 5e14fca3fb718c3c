package chaos

import "fmt"

// LaneStart names the start of a lane, which there is at most one of.
type LaneStart struct {
	Run, Agent string
	Repetition uint32
	Lane       string
}

// End is how much a generator told the controller that it had recorded.
type End struct{ LastEvent, LastChunk uint64 }

// History is what the generators wrote into their journals. Make it with NewHistory.
type History struct {
	Wrote    map[ChunkID]Chunk
	Acked    map[ChunkID]bool
	Rejected map[ChunkID]string
	// Started counts, Finished has the last word.
	Started  map[LaneStart]int
	Finished map[StreamID]End
	// Events that were written, and acknowledged.
	WroteEvents, AckedEvents uint64
}

// NewHistory is a history of nothing.
func NewHistory() *History {
	return &History{
		Wrote: map[ChunkID]Chunk{}, Acked: map[ChunkID]bool{}, Rejected: map[ChunkID]string{},
		Started: map[LaneStart]int{}, Finished: map[StreamID]End{},
	}
}

// Take takes the next record of a journal. It fails if the journal contradicts itself, which
// says nothing of the cluster: the test is broken.
func (h *History) Take(r Record) error {
	id := ChunkID{r.Stream(), r.Sequence}
	switch r.Verb {
	case Wrote:
		c, err := r.chunk()
		if err != nil {
			return err
		}
		if _, again := h.Wrote[id]; again {
			return fmt.Errorf("chunk %d of %v was written twice", r.Sequence, id.StreamID)
		}
		h.Wrote[id] = c
		h.WroteEvents += uint64(c.Events)
	case Acked:
		c, ok := h.Wrote[id]
		if !ok {
			return fmt.Errorf("chunk %d of %v was acknowledged, and never written", r.Sequence, id.StreamID)
		}
		if !h.Acked[id] {
			h.Acked[id] = true
			h.AckedEvents += uint64(c.Events)
		}
	case Rejected:
		h.Rejected[id] = r.Reason
	case Started:
		h.Started[LaneStart{r.Run, r.Agent, r.Repetition, r.Lane}]++
	case Finished:
		h.Finished[r.Stream()] = End{r.LastEvent, r.Sequence}
	default:
		return fmt.Errorf("verb %q is unknown", r.Verb)
	}
	return nil
}

// Forget drops what a history has of a run that was checked and is gone.
func (h *History) Forget(run string) {
	for id := range h.Wrote {
		if id.Run == run {
			delete(h.Wrote, id)
			delete(h.Acked, id)
			delete(h.Rejected, id)
		}
	}
	for s := range h.Started {
		if s.Run == run {
			delete(h.Started, s)
		}
	}
	for s := range h.Finished {
		if s.Run == run {
			delete(h.Finished, s)
		}
	}
}
