package store

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"google.golang.org/protobuf/proto"

	logv1 "syncline/proto/syncline/log/v1"
)

// A snapshot is the magic "SLSN", a version u32, then records: a length u32 and a
// SnapshotRecord; the last is its SnapshotEnd, and after it comes the CRC-32C of all
// before, u32. Numbers are little-endian. Chunks are not in it: it says which files
// hold them, and where.
const (
	snapshotMagic   = "SLSN"
	snapshotVersion = 1
	// maxRecord bounds one record: the index of a stream of a million chunks.
	maxRecord = 128 << 20
)

// snapshot is the state as it was at one entry. Values are never changed in place,
// so that copying the maps' entries is enough.
type snapshot struct {
	machine *machine
	time    int64
	agents  []Agent
	nodes   []Node
	runs    []runRecord
	answers []answer
	cluster string
	applied uint64
	hash    stateHash
	// unsynced are the files with chunks that the disk may not have, and how much of
	// each the snapshot refers to.
	unsynced map[*stream]int64
	// covers is how many chunks of each stream are in it.
	covers map[*stream]int
}

// Snapshot captures the state; raft calls it between two batches.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if err := m.fault.Err(); err != nil {
		return nil, fmt.Errorf("no snapshot of a node that has stopped: %w", err)
	}
	m.mu.RLock()
	err := m.stillLogged()
	m.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	m.unsnapped = 0
	return m.capture(), nil
}

// capture copies what the state refers to. The hash of the state is brought up to date on
// the way.
func (m *machine) capture() *snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &snapshot{
		machine: m, time: m.time, agents: m.sortedAgents(), nodes: m.sortedNodes(), answers: m.answers.all(),
		cluster: m.cluster, applied: m.applied, hash: m.hash(), unsynced: m.unsynced(), covers: map[*stream]int{},
	}
	m.snapped = m.applied
	for _, id := range m.order {
		r := m.runs[id]
		streams := make(map[streamKey]*stream, len(r.streams))
		for key, st := range r.streams {
			// The chunks are only ever appended to, so the slice as it is now stays as
			// it is.
			streams[key] = &stream{key: key, run: id, chunks: st.chunks[:len(st.chunks):len(st.chunks)]}
			s.covers[st] = len(st.chunks)
		}
		s.runs = append(s.runs, runRecord{Run: r.Run, streams: streams, left: r.left})
	}
	return s
}

// stillLogged refuses a snapshot that would let raft drop the entry of a chunk whose
// bytes are damaged here: the entry may be the last good copy. Whoever fetches takes it
// from there. Chunks that never came through this node's log do not count: a snapshot
// brought them, after others had them on their disks. The caller holds mu.
func (m *machine) stillLogged() error {
	for st := range m.incomplete {
		if i := st.lacking.next(st.logged); i >= 0 {
			m.wakeFiller()
			return fmt.Errorf("no snapshot yet: chunk %d of %s in run %s is damaged, and the log has it still: %w",
				st.chunks[i].sequence, st.key.agent, st.run, ErrDamaged)
		}
	}
	return nil
}

// Persist fsyncs the chunk files and writes down what of them is here, then writes the
// snapshot: raft drops the entries that hold the chunks as soon as it returns.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.machine.syncFiles(s.unsynced); err != nil {
		s.machine.fault.fail(err)
		return err
	}
	if err := s.machine.saveStock(); err != nil {
		return err
	}
	if own, ok := sink.(*snapshotSink); ok {
		own.whole = s.covered
	}
	return s.write(sink)
}

// covered notes that the snapshot is on the disk as a whole.
func (s *snapshot) covered() {
	s.machine.mu.Lock()
	defer s.machine.mu.Unlock()
	for st, n := range s.covers {
		st.logged = max(st.logged, n)
	}
}

// Release has nothing to free.
func (s *snapshot) Release() {}

// syncFiles makes streams durable as far as it is told, and the names of their files. An
// fsync that fails is not tried again: the kernel may have dropped the pages and would
// then report success.
func (m *machine) syncFiles(unsynced map[*stream]int64) error {
	dirs := map[string]bool{}
	for st := range unsynced {
		if err := syncPath(m.files.disk, m.path(st)); errors.Is(err, fs.ErrNotExist) && !m.keeps(st) {
			// The run has left since, and the log says so.
			continue
		} else if err != nil {
			return fmt.Errorf("fsync chunks before the log may drop them: %w", err)
		}
		dirs[filepath.Dir(m.path(st))] = true
	}
	if len(dirs) > 0 {
		dirs[m.files.dir] = true
	}
	for dir := range dirs {
		if err := syncPath(m.files.disk, dir); err != nil {
			return fmt.Errorf("fsync chunks before the log may drop them: %w", err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for st, size := range unsynced {
		st.synced = max(st.synced, size)
	}
	return nil
}

// keeps reports whether a stream is still part of the state.
func (m *machine) keeps(st *stream) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.streamOf(st.run, st.key) != nil
}

// unsynced are the streams with chunks that the disk may not have. The caller holds mu.
func (m *machine) unsynced() map[*stream]int64 {
	out := map[*stream]int64{}
	for _, r := range m.runs {
		for _, st := range r.streams {
			if st.synced < st.size {
				out[st] = st.size
			}
		}
	}
	return out
}

func (s *snapshot) write(to io.Writer) error {
	w := newRecordWriter(to)
	for _, a := range s.agents {
		w.record(&logv1.SnapshotRecord{Record: &logv1.SnapshotRecord_Agent{Agent: agentToLog(a)}})
	}
	for _, n := range s.nodes {
		w.record(&logv1.SnapshotRecord{Record: &logv1.SnapshotRecord_Node{Node: nodeToLog(n)}})
	}
	for i := range s.runs {
		r := &s.runs[i]
		w.record(&logv1.SnapshotRecord{Record: &logv1.SnapshotRecord_Run{Run: runToLog(r.Run)}})
		for _, key := range r.keys() {
			w.record(&logv1.SnapshotRecord{Record: &logv1.SnapshotRecord_Stream{Stream: r.streams[key].toLog()}})
		}
		if d := r.departureToLog(); d != nil {
			w.record(&logv1.SnapshotRecord{Record: &logv1.SnapshotRecord_Departure{Departure: d}})
		}
	}
	for _, a := range s.answers {
		w.record(&logv1.SnapshotRecord{Record: &logv1.SnapshotRecord_Request{Request: answerToLog(a)}})
	}
	return w.end(&logv1.SnapshotEnd{
		TimeNs: s.time, ClusterId: s.cluster, AppliedIndex: s.applied, StateHash: s.hash[:], HashFormat: hashFormat,
	})
}

func (s *stream) toLog() *logv1.Stream {
	out := &logv1.Stream{RunId: s.run, Agent: s.key.agent, Incarnation: s.key.incarnation}
	for i := range s.chunks {
		c := &s.chunks[i]
		out.Sequences = append(out.Sequences, c.sequence)
		out.FirstEvents = append(out.FirstEvents, c.firstEvent)
		out.Events = append(out.Events, c.events)
		out.Lengths = append(out.Lengths, c.length)
		out.Crc32Cs = append(out.Crc32Cs, c.crc)
		out.Digests = append(out.Digests, c.digest[:]...)
	}
	return out
}

// recordWriter writes a snapshot. After an error it writes nothing more, and end
// returns the error.
type recordWriter struct {
	to    *bufio.Writer
	crc   hash.Hash32
	count uint64
	err   error
}

func newRecordWriter(to io.Writer) *recordWriter {
	w := &recordWriter{to: bufio.NewWriter(to), crc: crc32.New(castagnoli)}
	w.bytes(binary.LittleEndian.AppendUint32([]byte(snapshotMagic), snapshotVersion))
	return w
}

func (w *recordWriter) bytes(b []byte) {
	if w.err == nil {
		_, w.err = w.to.Write(b)
		w.crc.Write(b)
	}
}

func (w *recordWriter) record(r *logv1.SnapshotRecord) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err == nil && len(b) > maxRecord {
		err = fmt.Errorf("a record of %d bytes, at most %d are allowed", len(b), maxRecord)
	}
	if w.err == nil {
		w.err = err
	}
	w.bytes(binary.LittleEndian.AppendUint32(nil, uint32(len(b))))
	w.bytes(b)
	w.count++
}

func (w *recordWriter) end(end *logv1.SnapshotEnd) error {
	end.Records = w.count
	w.record(&logv1.SnapshotRecord{Record: &logv1.SnapshotRecord_End{End: end}})
	w.bytes(binary.LittleEndian.AppendUint32(nil, w.crc.Sum32()))
	if w.err == nil {
		w.err = w.to.Flush()
	}
	if w.err != nil {
		return fmt.Errorf("write snapshot: %w", w.err)
	}
	return nil
}

// Restore replaces the state by that of a snapshot, or leaves it as it is: an error
// while the node runs means that it cannot follow, one at its start that it must
// not start. Chunks that the snapshot refers to need not be here: they are lacking then,
// until they are fetched.
func (m *machine) Restore(from io.ReadCloser) error {
	var incomplete map[*stream]struct{}
	state, err := readSnapshot(from)
	if err == nil {
		// Raft drops the entries that this node has. What it acknowledged with them has
		// to be in the files as surely as it was in the log.
		m.mu.RLock()
		unsynced := m.unsynced()
		m.mu.RUnlock()
		if err := m.syncFiles(unsynced); err != nil {
			m.fault.fail(err)
			return errors.Join(err, from.Close())
		}
		incomplete, err = m.takeStock(&state)
	}
	err = errors.Join(err, from.Close())
	if err != nil {
		err = fmt.Errorf("restore the snapshot: %w", err)
		m.notRestored(err)
		return err
	}
	// The files being written belong to the old state.
	if err := m.files.closeAll(); err != nil {
		m.fault.fail(err)
		return err
	}
	m.install(state, incomplete)
	return nil
}

// install puts a state in the place of the one there is.
func (m *machine) install(state state, incomplete map[*stream]struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state, m.incomplete, m.snapped = state, incomplete, state.applied
	if len(incomplete) > 0 {
		m.wakeFiller()
	}
	// What came of entries that this state already has is compared with nothing any more.
	m.checked, m.checkpoints = state.applied/m.every*m.every, nil
	close(m.changed)
	m.changed = make(chan struct{})
}

// startable refuses a directory that has lost its log or its snapshots: one with a
// snapshot and a log in which no vote was ever cast, or with an inventory, which is
// written before a snapshot, and neither a snapshot nor the log from its first entry on.
// Raft would go on, and have forgotten what it acknowledged and for whom it voted.
func (m *machine) startable(logs *checkedLog, snapshots *snapshotStore) error {
	const remedy = "remove this node from the cluster and join again with an empty directory, or restore a backup"
	names, err := snapshots.names()
	if err != nil {
		return err
	}
	if len(names) > 0 {
		_, err := logs.GetUint64([]byte("CurrentTerm"))
		if errors.Is(err, raftboltdb.ErrKeyNotFound) {
			return fmt.Errorf("%w: %s has a snapshot, and the log beside it is new: it was lost, with entries and votes; %s", ErrDamaged, filepath.Join(snapshots.dir, names[0].name), remedy)
		}
		return err
	}
	have, err := m.loadStock()
	if err != nil || len(have) == 0 {
		return err
	}
	first, err := logs.FirstIndex()
	if err != nil || first == 1 {
		return err
	}
	return fmt.Errorf("%s: %w: there is no snapshot, the log begins at entry %d, and %s lists %d chunk files; %s",
		snapshots.dir, ErrDamaged, first, filepath.Join(m.files.dir, inventoryName), len(have), remedy)
}

// notRestored keeps a reason why a snapshot could not be restored.
func (m *machine) notRestored(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.restoreErr = errors.Join(m.restoreErr, err)
}

// readSnapshot parses a snapshot, whoever wrote it.
func readSnapshot(from io.Reader) (state, error) {
	r := &recordReader{from: bufio.NewReader(from), crc: crc32.New(castagnoli)}
	if err := r.header(); err != nil {
		return state{}, err
	}
	s := newState()
	for n := uint64(0); ; n++ {
		record, err := r.record()
		if err != nil {
			return state{}, err
		}
		if end := record.GetEnd(); end != nil {
			if end.Records != n {
				return state{}, fmt.Errorf("%w: %d records, it claims %d", ErrDamaged, n, end.Records)
			}
			if err := s.loadEnd(end); err != nil {
				return state{}, err
			}
			return s, r.finish()
		}
		if err := s.load(record); err != nil {
			return state{}, fmt.Errorf("record %d: %w", n, err)
		}
	}
}

// loadEnd takes what the end of a snapshot says, and checks that the state has become the one
// that was written.
func (s *state) loadEnd(end *logv1.SnapshotEnd) error {
	s.time, s.cluster, s.applied = end.TimeNs, end.ClusterId, end.AppliedIndex
	s.touchAll()
	if len(end.StateHash) == 0 || end.HashFormat != hashFormat {
		return nil
	}
	if got := s.hash(); string(got[:]) != string(end.StateHash) {
		return fmt.Errorf("%w: the state has hash %x, it says %x", ErrDamaged, got[:8], end.StateHash)
	}
	return nil
}

func (s *state) load(record *logv1.SnapshotRecord) error {
	switch r := record.Record.(type) {
	case *logv1.SnapshotRecord_Node:
		return s.putNode(nodeFromLog(r.Node))
	case *logv1.SnapshotRecord_Request:
		a := answerFromLog(r.Request)
		if _, twice := s.answers.by[a.Request]; twice || len(s.answers.queue) >= maxRequests {
			return fmt.Errorf("%w: request %q of %q, after %d others", ErrDamaged, a.ID, a.Client, len(s.answers.queue))
		}
		s.answers.add(a)
		return nil
	case *logv1.SnapshotRecord_Agent:
		return s.putAgent(agentFromLog(r.Agent))
	case *logv1.SnapshotRecord_Run:
		run := runFromLog(r.Run)
		if err := run.check(); err != nil {
			return err
		}
		if s.runs[run.ID] != nil || len(s.runs) >= MaxRuns || run.State < Planned || run.State > Cancelled {
			return fmt.Errorf("%w: run %s, %s, after %d others", ErrDamaged, run.ID, run.State, len(s.runs))
		}
		s.putRun(&runRecord{Run: run, streams: map[streamKey]*stream{}})
		return nil
	case *logv1.SnapshotRecord_Stream:
		return s.loadStream(r.Stream)
	case *logv1.SnapshotRecord_Departure:
		return s.loadDeparture(r.Departure)
	}
	return fmt.Errorf("%w: a record that this program does not know; start the version of the program that wrote it, or a newer one", ErrDamaged)
}

func (s *state) loadStream(in *logv1.Stream) error {
	r := s.runs[in.RunId]
	key := streamKey{in.Agent, in.Incarnation}
	if r == nil || !validName(in.Agent) || r.streams[key] != nil || len(r.streams) >= MaxStreams {
		return fmt.Errorf("%w: a stream of %q in run %q", ErrDamaged, in.Agent, in.RunId)
	}
	n := len(in.Sequences)
	lists := []int{len(in.FirstEvents), len(in.Events), len(in.Lengths), len(in.Crc32Cs), len(in.Digests) / 32}
	if len(in.Digests)%32 != 0 || slices.ContainsFunc(lists, func(m int) bool { return m != n }) {
		return fmt.Errorf("%w: the index of %s in run %s has lists of different lengths", ErrDamaged, in.Agent, in.RunId)
	}
	st := newStream(in.RunId, key)
	for i := range n {
		ref := chunkRef{
			sequence: in.Sequences[i], firstEvent: in.FirstEvents[i], events: in.Events[i], length: in.Lengths[i],
			crc: in.Crc32Cs[i], offset: st.size, digest: [32]byte(in.Digests[32*i:]),
		}
		if _, twice := st.find(ref.sequence); twice || ref.length > MaxChunkBytes {
			return fmt.Errorf("%w: chunk %d of %s in run %s", ErrDamaged, ref.sequence, in.Agent, in.RunId)
		}
		st.add(ref)
	}
	r.streams[key] = st
	r.Chunks += uint64(n)
	r.Events += st.events
	r.Bytes += st.bytes
	return nil
}

// recordReader reads a snapshot.
type recordReader struct {
	from *bufio.Reader
	crc  hash.Hash32
}

// bytes reads n bytes. Memory grows with what is there, not with what is claimed.
func (r *recordReader) bytes(n int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r.from, n))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) < n {
		return nil, fmt.Errorf("%w: it ends early", ErrDamaged)
	}
	r.crc.Write(b)
	return b, nil
}

func (r *recordReader) header() error {
	b, err := r.bytes(8)
	if err != nil {
		return err
	}
	if string(b[:4]) != snapshotMagic {
		return fmt.Errorf("%w: it does not begin with %q", ErrDamaged, snapshotMagic)
	}
	if v := binary.LittleEndian.Uint32(b[4:]); v != snapshotVersion {
		return fmt.Errorf("its version is %d, and this program reads %d; start the version of the program that wrote it, or a newer one", v, snapshotVersion)
	}
	return nil
}

func (r *recordReader) record() (*logv1.SnapshotRecord, error) {
	b, err := r.bytes(4)
	if err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(b)
	if n > maxRecord {
		return nil, fmt.Errorf("%w: a record of %d bytes", ErrDamaged, n)
	}
	if b, err = r.bytes(int64(n)); err != nil {
		return nil, err
	}
	record := new(logv1.SnapshotRecord)
	if err := proto.Unmarshal(b, record); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return record, nil
}

func (r *recordReader) finish() error {
	want := r.crc.Sum32()
	b, err := r.bytes(4)
	if err != nil {
		return err
	}
	if got := binary.LittleEndian.Uint32(b); got != want {
		return fmt.Errorf("%w: CRC-32C is %08x, it says %08x", ErrDamaged, want, got)
	}
	if _, err := r.from.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: bytes after its end", ErrDamaged)
	}
	return nil
}
