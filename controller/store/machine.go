package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	logv1 "syncline/proto/syncline/log/v1"
)

// machine is the state machine behind the log. What an entry does depends on the
// entries before it alone: there is no clock (time comes with the entries), no
// randomness and no order of a map in it, and no answer that depends on a file.
//
// raft calls ApplyBatch, Snapshot and Restore from one goroutine; mu is for the
// readers. Files are written outside mu, since only that goroutine writes them.
type machine struct {
	files *chunkFiles
	fault *fault
	// stall is how long a write to a chunk file may take.
	stall time.Duration
	// every is how many entries lie between two checkpoints, on all nodes alike.
	every uint64

	mu sync.RWMutex
	state
	// snapped is what the newest snapshot had applied.
	snapped uint64
	// incomplete are the streams that lack chunks on this node. Nothing that an entry
	// does depends on it.
	incomplete map[*stream]struct{}
	// checked is the last entry after which a checkpoint was due, checkpoints are the
	// newest of them.
	checked     uint64
	checkpoints []StateHash
	// restoreErr has the errors of Restore, and those of reading a snapshot for it.
	restoreErr error
	// changed is closed, and replaced, whenever something was applied.
	changed chan struct{}

	// lack is sent to when there is something to fetch, due when there is enough for a
	// snapshot; both hold one.
	lack, due chan struct{}
	// unsnapped is how many bytes of chunks were applied since the last snapshot began.
	// Only the goroutine of the state machine uses it.
	unsnapped int64
	counts    counts
	// stockMu is held while the inventory is written.
	stockMu sync.Mutex
}

// state is what entries change.
type state struct {
	// time is the latest issued_at_ns of all entries: time that never runs back.
	time   int64
	agents map[string]Agent
	runs   map[string]*runRecord
	// order has the ids of runs in the order of their creation.
	order []string
	// requests finds the run that a request made, for as long as there is the run.
	requests map[string]string
	// answers are those of requests of the last hours.
	answers answers
	// cluster is the cluster's id, nodes are its members past and present.
	cluster string
	nodes   map[string]Node
	// applied is the last entry that raft gave to the state machine.
	applied uint64
	sums    sums
}

// runRecord is a run and the index of its chunks.
type runRecord struct {
	Run
	streams map[streamKey]*stream
	// left is the index of the entry by which the chunks went, 0 as long as they are here.
	left uint64
	// chunkSum is of the chunks of all streams.
	chunkSum setSum
}

// result is what the state machine answers to the proposer.
type result struct {
	run       Run
	duplicate bool
	err       error
}

func newState() state {
	return state{
		agents: map[string]Agent{}, runs: map[string]*runRecord{}, requests: map[string]string{},
		answers: newAnswers(), nodes: map[string]Node{}, sums: newSums(),
	}
}

func newMachine(dir string, fault *fault) *machine { return newMachineOn(systemDisk{}, dir, fault) }

func newMachineOn(d disk, dir string, fault *fault) *machine {
	return &machine{
		files:      newChunkFiles(d, dir),
		fault:      fault,
		stall:      defaultStall,
		every:      checkpointEvery,
		state:      newState(),
		incomplete: map[*stream]struct{}{},
		changed:    make(chan struct{}),
		lack:       make(chan struct{}, 1),
		due:        make(chan struct{}, 1),
	}
}

// restored returns the errors of Restore so far.
func (m *machine) restored() error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.restoreErr
}

// errHalted answers what comes after a fault: the log has it, and the next start
// will apply it.
var errHalted = errors.New("the node has stopped")

// Apply is ApplyBatch of one.
func (m *machine) Apply(log *raft.Log) any { return m.ApplyBatch([]*raft.Log{log})[0] }

// ApplyBatch applies committed entries, in order. An entry that cannot be applied
// exactly as every other node applies it stops this node: going on would make it
// differ from the others for ever.
func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	for i, log := range logs {
		if log.Type == raft.LogCommand {
			out[i] = m.applyEntry(log)
		}
	}
	m.mu.Lock()
	if n := len(logs); n > 0 && m.fault.Err() == nil {
		m.applied = max(m.applied, logs[n-1].Index)
	}
	close(m.changed)
	m.changed = make(chan struct{})
	m.mu.Unlock()
	return out
}

func (m *machine) applyEntry(log *raft.Log) result {
	if err := m.fault.Err(); err != nil {
		return result{err: fmt.Errorf("%w: %w: %w", ErrUnknownOutcome, errHalted, err)}
	}
	entry := new(logv1.Entry)
	if err := proto.Unmarshal(log.Data, entry); err != nil {
		return m.halt(log, fmt.Errorf("it is no entry of this log: %w; the log is damaged, restore this node from another", err))
	}
	if entry.Ignorable && (entry.Command == nil || entry.Version > entryVersion) {
		m.skip(entry, log.Index)
		return result{}
	}
	if entry.Version == 0 || entry.Version > entryVersion {
		return m.halt(log, fmt.Errorf("its version is %d, and this program applies up to %d; start the version of the program that wrote it, or a newer one", entry.Version, entryVersion))
	}
	if entry.Command == nil {
		return m.halt(log, errors.New("this program does not know its command; start the version of the program that wrote it, or a newer one"))
	}
	m.mu.Lock()
	m.checkpoint(log.Index)
	m.time = max(m.time, entry.IssuedAtNs)
	m.answers.forget(m.time)
	res, again := m.answered(entry)
	m.mu.Unlock()
	if again {
		m.advance(log.Index)
		return res
	}
	res, err := m.apply(log.Index, entry)
	if err != nil {
		return m.halt(log, err)
	}
	m.mu.Lock()
	m.touch(entry)
	m.remember(entry, res)
	m.applied = max(m.applied, log.Index)
	m.mu.Unlock()
	return res
}

// skip takes the time of an entry that is too new for this program, and may be left out.
func (m *machine) skip(entry *logv1.Entry, index uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checkpoint(index)
	m.time = max(m.time, entry.IssuedAtNs)
	m.answers.forget(m.time)
	m.applied = max(m.applied, index)
}

func (m *machine) advance(index uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applied = max(m.applied, index)
}

// touch says what an entry may have changed, so that the hash of the state is made anew of
// that alone.
func (s *state) touch(entry *logv1.Entry) {
	switch c := entry.Command.(type) {
	case *logv1.Entry_PutAgent:
		s.sums.touch('a', c.PutAgent.GetAgent().GetName())
	case *logv1.Entry_CreateRun:
		s.sums.touch('r', c.CreateRun.GetRun().GetId())
	case *logv1.Entry_ChangeRun:
		s.sums.touch('r', c.ChangeRun.GetRunId())
	case *logv1.Entry_AppendChunk:
		s.sums.touch('r', c.AppendChunk.GetRunId())
	case *logv1.Entry_SealRun:
		s.sums.touch('r', c.SealRun.GetRunId())
	case *logv1.Entry_PutEnvironment:
		s.sums.touch('r', c.PutEnvironment.GetRunId())
	case *logv1.Entry_TakeRun:
		s.sums.touch('r', c.TakeRun.GetRunId())
	case *logv1.Entry_ArchiveRun:
		s.sums.touch('r', c.ArchiveRun.GetRunId())
	case *logv1.Entry_RemoveRun:
		s.sums.touch('r', c.RemoveRun.GetRunId())
	case *logv1.Entry_PutNode:
		s.sums.touch('n', c.PutNode.GetNode().GetId())
	case *logv1.Entry_FoundCluster, *logv1.Entry_Checkpoint:
	default:
		s.touchAll()
	}
}

func (m *machine) halt(log *raft.Log, err error) result {
	err = fmt.Errorf("apply log entry %d of term %d: %w", log.Index, log.Term, err)
	m.fault.fail(err)
	return result{err: fmt.Errorf("%w: %w: %w", ErrUnknownOutcome, errHalted, err)}
}

// apply carries out one command. err is a fault of this node; what the command may
// not do is in the result.
func (m *machine) apply(index uint64, entry *logv1.Entry) (res result, err error) {
	if c, ok := entry.Command.(*logv1.Entry_AppendChunk); ok {
		return m.appendChunk(chunkFromLog(c.AppendChunk))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch c := entry.Command.(type) {
	case *logv1.Entry_PutAgent:
		res.err = m.putAgent(agentFromLog(c.PutAgent.GetAgent()))
	case *logv1.Entry_CreateRun:
		res.run, res.err = m.createRun(entry.RequestId, runFromLog(c.CreateRun.GetRun()))
	case *logv1.Entry_ChangeRun:
		res.run, res.err = m.changeRun(c.ChangeRun.GetRunId(), changeFromLog(c.ChangeRun))
	case *logv1.Entry_PutEnvironment:
		p := c.PutEnvironment
		res.err = m.putEnvironment(p.GetRunId(), p.GetEpoch(), environmentFromLog(p.GetEnvironment()))
	case *logv1.Entry_SealRun:
		res.run, res.err = m.sealRun(c.SealRun.GetRunId(), sealingFromLog(c.SealRun))
	case *logv1.Entry_ArchiveRun:
		a := c.ArchiveRun
		res.run, res.err = m.archiveRun(a.GetRunId(), a.GetSeal(), archiveFromLog(a.GetArchive()), index)
		m.letGo(a.GetRunId())
	case *logv1.Entry_RemoveRun:
		res.run, res.err = m.removeRun(c.RemoveRun.GetRunId(), c.RemoveRun.GetReason(), index)
		m.letGo(c.RemoveRun.GetRunId())
	case *logv1.Entry_TakeRun:
		res.run, res.err = m.takeRun(c.TakeRun.GetRunId())
	case *logv1.Entry_FoundCluster:
		res.err = m.foundCluster(c.FoundCluster.GetClusterId())
	case *logv1.Entry_PutNode:
		res.err = m.putNode(nodeFromLog(c.PutNode.GetNode()))
	case *logv1.Entry_Checkpoint:
		return result{}, m.compare(c.Checkpoint)
	default:
		return result{}, fmt.Errorf("command %T has no code; this is a bug of the store", c)
	}
	return res, nil
}

func (s *state) putAgent(a Agent) error {
	if !validName(a.Name) {
		return fmt.Errorf("%w: agent name %q: 1 to %d bytes, please", ErrInvalid, a.Name, MaxNameBytes)
	}
	if _, ok := s.agents[a.Name]; !ok && len(s.agents) >= MaxAgents {
		return fmt.Errorf("%w: %d agents are remembered, which is the most", ErrTooMany, MaxAgents)
	}
	s.agents[a.Name] = a
	return nil
}

func (s *state) createRun(requestID string, run Run) (Run, error) {
	if id, ok := s.requests[requestID]; ok && requestID != "" {
		return s.runs[id].Run, nil
	}
	if err := run.check(); err != nil {
		return Run{}, err
	}
	if _, ok := s.runs[run.ID]; ok {
		return Run{}, fmt.Errorf("%w: %s", ErrExists, run.ID)
	}
	if len(s.runs) >= MaxRuns {
		s.forget()
	}
	if len(s.runs) >= MaxRuns {
		return Run{}, fmt.Errorf("%w: %d runs are stored, which is the most; make place: syncline delete run RUN", ErrTooMany, MaxRuns)
	}
	run.State, run.Seal, run.Reason = Planned, nil, ""
	run.Archive, run.Removed = Archive{}, Removal{}
	run.Environments = nil
	run.CreatedNs, run.EndedNs = s.time, 0
	run.Epoch = max(run.Epoch, 1)
	run.RepetitionsDone = 0
	run.requestID = requestID
	s.putRun(&runRecord{Run: run, streams: map[streamKey]*stream{}})
	return run, nil
}

// putRun makes a run the newest.
func (s *state) putRun(r *runRecord) {
	s.runs[r.ID] = r
	s.order = append(s.order, r.ID)
	if r.requestID != "" {
		s.requests[r.requestID] = r.ID
	}
}

// find returns a run that a change of this epoch may touch.
func (s *state) find(id string, epoch uint64) (*runRecord, error) {
	r := s.runs[id]
	if r == nil {
		return nil, fmt.Errorf("%w: %s", ErrUnknownRun, id)
	}
	if r.Epoch != epoch {
		return nil, fmt.Errorf("%w: it is in epoch %d, the request is of epoch %d", ErrEpoch, r.Epoch, epoch)
	}
	return r, nil
}

func (s *state) changeRun(id string, c RunChange) (Run, error) {
	r, err := s.find(id, c.Epoch)
	if err != nil {
		return Run{}, err
	}
	run := r.Run
	if run.State.Final() {
		if c.State == run.State {
			return run, nil
		}
		return run, fmt.Errorf("%w: it is %s, which is final", ErrTransition, run.State)
	}
	if c.State != 0 && c.State != run.State {
		if !run.State.leadsTo(c.State) {
			return run, fmt.Errorf("%w: from %s to %s", ErrTransition, run.State, c.State)
		}
		run.State = c.State
		if c.State.Final() {
			run.EndedNs = s.time
		}
	}
	if len(c.Hosts) > MaxHosts {
		return r.Run, fmt.Errorf("%w: %d hosts, at most %d are allowed", ErrTooMany, len(c.Hosts), MaxHosts)
	}
	if len(c.Variants) > MaxVariants {
		return r.Run, fmt.Errorf("%w: %d variants, at most %d are allowed", ErrTooMany, len(c.Variants), MaxVariants)
	}
	if len(c.Overhead) > MaxOverhead {
		return r.Run, fmt.Errorf("%w: %d bytes on what watching costs, at most %d are allowed", ErrTooMany, len(c.Overhead), MaxOverhead)
	}
	if len(c.Overhead) > 0 {
		run.Overhead = c.Overhead
	}
	if len(c.Hosts) > 0 {
		run.Hosts = c.Hosts
	}
	if c.Repetitions != 0 {
		run.Repetitions = c.Repetitions
	}
	if len(c.Variants) > 0 {
		run.Variants = c.Variants
	}
	if c.Reason != "" {
		run.Reason = cut(c.Reason)
	}
	run.RepetitionsDone = max(run.RepetitionsDone, c.RepetitionsDone)
	run.Incomplete = addMissing(run.Incomplete, c.Incomplete)
	run.Warnings = addMissing(run.Warnings, c.Warnings)
	if c.NextEpoch {
		run.Epoch++
	}
	r.Run = run
	return run, nil
}

// putEnvironment keeps what a host of a run was like, in place of what was kept of it.
func (s *state) putEnvironment(id string, epoch uint64, e Environment) error {
	r, err := s.find(id, epoch)
	if err != nil {
		return err
	}
	if r.Seal != nil || r.State.Final() {
		return fmt.Errorf("%w: it is %s, which is final", ErrTransition, r.State)
	}
	if err := e.check(); err != nil {
		return err
	}
	if !slices.ContainsFunc(r.Hosts, func(h RunHost) bool { return h.Name == e.Host }) {
		return fmt.Errorf("%w: run %s has no host %q to keep the environment of", ErrInvalid, id, e.Host)
	}
	// Readers share the old slice.
	all := slices.Clone(r.Environments)
	i, there := slices.BinarySearchFunc(all, e.Host, func(of Environment, host string) int { return strings.Compare(of.Host, host) })
	if there {
		all[i] = e
	} else {
		all = slices.Insert(all, i, e)
	}
	r.Environments = all
	return nil
}

// leadsTo reports whether ChangeRun may take a run from s to next.
func (s RunState) leadsTo(next RunState) bool {
	switch next {
	case Prepared, Running, Collecting:
		return next == s+1
	case Failed, Cancelled:
		return s >= Planned && s <= Collecting
	}
	return false
}

// addMissing adds what is new, once, and copies before it writes: readers share the
// old slice.
func addMissing(have, more []string) []string {
	for _, what := range more {
		what = cut(what)
		if slices.Contains(have, what) || len(have) > MaxIncomplete {
			continue
		}
		if len(have) == MaxIncomplete {
			what = "more than can be listed"
		}
		have = append(have[:len(have):len(have)], what)
	}
	return have
}

// cut shortens a text that people read to what the state machine keeps.
func cut(s string) string {
	if len(s) <= maxReasonBytes {
		return s
	}
	return strings.ToValidUTF8(s[:maxReasonBytes], "") + "…"
}

func (s *state) sealRun(id string, c Sealing) (Run, error) {
	r := s.runs[id]
	if r == nil {
		return Run{}, fmt.Errorf("%w: %s", ErrUnknownRun, id)
	}
	if r.Seal != nil {
		return r.Run, nil
	}
	if _, err := s.find(id, c.Epoch); err != nil {
		return r.Run, err
	}
	run := r.Run
	if !run.State.Final() {
		if err := r.mayEnd(c.State); err != nil {
			return run, err
		}
		run.State, run.Reason, run.EndedNs = c.State, cut(c.Reason), s.time
	}
	run.Incomplete = addMissing(run.Incomplete, c.Incomplete)
	run.Seal = r.digest()
	r.Run = run
	return run, nil
}

// mayEnd reports why a run cannot be sealed in a state.
func (r *runRecord) mayEnd(state RunState) error {
	if !state.Final() || state > Cancelled {
		return fmt.Errorf("%w: a run cannot be sealed as %s", ErrInvalid, state)
	}
	if state != Sealed {
		return nil
	}
	if r.State != Collecting {
		return fmt.Errorf("%w: from %s to sealed", ErrTransition, r.State)
	}
	for _, key := range r.keys() {
		if st := r.streams[key]; st.contiguous != uint64(len(st.chunks)) {
			return fmt.Errorf("%w: the stream of %s, incarnation %d, has a gap after chunk %d", ErrTransition, key.agent, key.incarnation, st.contiguous)
		}
	}
	return nil
}

// appendChunk writes the chunk to its file, then makes it known.
func (m *machine) appendChunk(c Chunk) (result, error) {
	st, known, err := m.admit(c)
	if err != nil || known {
		return result{duplicate: known, err: err}, nil
	}
	stalled := m.fault.expect(fmt.Sprintf("write a chunk to %s", m.path(st)), m.stall)
	whole, err := m.files.append(st, &c)
	stalled.meet()
	if err != nil {
		return result{}, fmt.Errorf("write chunk %d of %s: %w", c.Sequence, c.Agent, err)
	}
	m.wantSnapshot(len(c.Data))
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.runs[c.RunID]
	r.streams[st.key] = st
	if whole < st.size {
		m.shrunk(st, whole)
	}
	st.add(refOf(&c, st.size))
	r.Chunks++
	r.Events += uint64(c.Events)
	r.Bytes += uint64(len(c.Data))
	return result{}, nil
}

// wantSnapshot asks for a snapshot after snapshotBytes of chunks: what a restart reads
// again is bounded by bytes then, and not by time or number of entries.
func (m *machine) wantSnapshot(n int) {
	if m.unsnapped += int64(n); m.unsnapped < snapshotBytes {
		return
	}
	select {
	case m.due <- struct{}{}:
	default:
	}
}

// admit finds the stream that a chunk goes to, or that holds it already. The stream
// of a first chunk is not in the run yet.
func (m *machine) admit(c Chunk) (st *stream, known bool, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := c.check(); err != nil {
		return nil, false, err
	}
	r := m.runs[c.RunID]
	if r == nil {
		return nil, false, fmt.Errorf("%w: %s", ErrUnknownRun, c.RunID)
	}
	key := streamKey{c.Agent, c.Incarnation}
	st = r.streams[key]
	if st != nil {
		if ref, ok := st.find(c.Sequence); ok {
			return st, ref.same(&c), conflict(ref, &c)
		}
	}
	switch {
	case r.Seal != nil:
		return nil, false, fmt.Errorf("%w: %s", ErrSealed, c.RunID)
	case st == nil && len(r.streams) >= MaxStreams:
		return nil, false, fmt.Errorf("%w: run %s has %d streams, which is the most", ErrTooMany, c.RunID, MaxStreams)
	case st == nil:
		st = newStream(c.RunID, key)
	}
	return st, false, nil
}

func conflict(ref chunkRef, c *Chunk) error {
	if ref.same(c) {
		return nil
	}
	return fmt.Errorf("%w: chunk %d of %s, incarnation %d, was stored with %d events from %d; two agents may use the same name",
		ErrConflict, c.Sequence, c.Agent, c.Incarnation, ref.events, ref.firstEvent)
}
