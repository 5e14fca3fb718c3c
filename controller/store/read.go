package store

import (
	"cmp"
	"fmt"
	"slices"
)

// Agents returns all agents by name.
func (s *Store) Agents() []Agent {
	s.fsm.mu.RLock()
	defer s.fsm.mu.RUnlock()
	return s.fsm.sortedAgents()
}

func (s *state) sortedAgents() []Agent {
	out := make([]Agent, 0, len(s.agents))
	for _, a := range s.agents {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b Agent) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Agent returns one agent.
func (s *Store) Agent(name string) (Agent, bool) {
	s.fsm.mu.RLock()
	defer s.fsm.mu.RUnlock()
	a, ok := s.fsm.agents[name]
	return a, ok
}

// Runs returns all runs, the newest first.
func (s *Store) Runs() []Run {
	s.fsm.mu.RLock()
	defer s.fsm.mu.RUnlock()
	out := make([]Run, 0, len(s.fsm.order))
	for _, id := range slices.Backward(s.fsm.order) {
		out = append(out, s.fsm.runs[id].Run)
	}
	return out
}

// Run returns one run.
func (s *Store) Run(id string) (Run, bool) {
	s.fsm.mu.RLock()
	defer s.fsm.mu.RUnlock()
	r := s.fsm.runs[id]
	if r == nil {
		return Run{}, false
	}
	return r.Run, true
}

// RunOf returns the run that a request made.
func (s *Store) RunOf(requestID string) (Run, bool) {
	s.fsm.mu.RLock()
	defer s.fsm.mu.RUnlock()
	r := s.fsm.runs[s.fsm.requests[requestID]]
	if r == nil {
		return Run{}, false
	}
	return r.Run, true
}

// Source is the experiment file of a run, nil if there is no such run. Do not write
// to it.
func (s *Store) Source(runID string) []byte {
	run, _ := s.Run(runID)
	return run.Source
}

// Streams describes what is stored of a run, in the order of (agent, incarnation).
func (s *Store) Streams(runID string) []Stream {
	s.fsm.mu.RLock()
	defer s.fsm.mu.RUnlock()
	r := s.fsm.runs[runID]
	if r == nil {
		return nil
	}
	return convertAll(r.keys(), func(key streamKey) Stream { return r.streams[key].describe() })
}

// Changed is closed when an agent, a run or a stream changes after the call. To
// miss nothing, take the channel first, then read, then wait. Chunks change runs
// too, so a reader that shows them had better look a few times a second at most.
func (s *Store) Changed() <-chan struct{} {
	s.fsm.mu.RLock()
	defer s.fsm.mu.RUnlock()
	return s.fsm.changed
}

// Chunks gives yield every chunk of a run in the order of (agent, incarnation,
// sequence), as of the moment of the call, until it returns an error. Data belongs
// to yield. A chunk whose bytes are not the committed ones is never given: it is got
// from another node, or else the error has ErrDamaged in its chain, or ErrAbsent if it
// was not fetched yet, names file and offset, and says what the other nodes answered.
//
// Of a run that has left there are none on any node; the error has ErrArchived or
// ErrRemoved in its chain.
func (s *Store) Chunks(runID string, yield func(Chunk) error) error {
	defer s.readers.enter(runID)()
	streams, err := s.fsm.chunksOf(runID)
	if err != nil {
		return err
	}
	for _, st := range streams {
		if err := s.readStream(st, yield); err != nil {
			return fmt.Errorf("read chunks of run %s: %w", runID, err)
		}
	}
	return nil
}

// chunksOf returns copies of the streams of a run, their chunks by sequence.
func (m *machine) chunksOf(runID string) ([]*stream, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	r := m.runs[runID]
	if r == nil {
		return nil, fmt.Errorf("read chunks: %w: %s", ErrUnknownRun, runID)
	}
	if err := r.gone(); err != nil {
		return nil, fmt.Errorf("read chunks of run %s: %w", runID, err)
	}
	return convertAll(r.keys(), func(key streamKey) *stream {
		st := r.streams[key]
		return &stream{key: key, run: st.run, name: st.name, chunks: st.sorted()}
	}), nil
}

func (s *Store) readStream(st *stream, yield func(Chunk) error) error {
	r, err := s.openStream(st)
	if err != nil {
		return err
	}
	defer r.close()
	for i := range st.chunks {
		c, err := r.read(i)
		if err != nil {
			return err
		}
		if err := yield(c); err != nil {
			return err
		}
	}
	return nil
}
