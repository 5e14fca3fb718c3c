package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/raft"
)

// RestoreConfig says what a restored cluster is called and where its first node lies.
type RestoreConfig struct {
	// Dir becomes the directory of the first node. It must be empty, or not there.
	Dir string
	// Node is the node's id; empty: one is made up. A name that the cluster knows already stays
	// with the disk that it had.
	Node string
	// Cluster is the id of the cluster; empty: the one that it had. Under another id no
	// certificate of before is valid, and no node of before is known.
	Cluster string
	// Incomplete removes runs of which there are not all chunks, instead of giving up. They
	// stay in the list, with the reason.
	Incomplete bool
	// Progress, if it is set, is told how many of all bytes of chunks are in place.
	Progress func(done, all uint64)
	// Log takes messages about what is damaged. Nil: none.
	Log *slog.Logger

	// files is where the files are, but for the log and the identity. Nil: the file system.
	files disk
}

// Restored says what came of it.
type Restored struct {
	Identity
	// From is what the state was made of; of a data directory it has no time of writing.
	From Backup
	// Unfinished are the runs that nobody had ended; the first leader ends them. Lost are those
	// that were removed since chunks of them are missing.
	Unfinished []string
	Lost       []Lost
}

// Lost is a run of which Missing of its Chunks were nowhere.
type Lost struct {
	RunID           string
	Missing, Chunks uint64
}

// ErrNotEmpty: a directory that is to become a node's has something in it.
var ErrNotEmpty = errors.New("the directory is not empty")

// ErrMissing: not all chunks are there. The message says how many, of how many runs.
var ErrMissing = errors.New("chunks are missing")

const (
	// restoringFile is in a directory for as long as it is being restored. Nobody begins with
	// such a directory.
	restoringFile  = "restoring"
	restoringMagic = "syncline restore 1"
	// restoredEpochs is how much the epochs of unfinished runs are raised by: more often than
	// that no leader of before can have taken one over since the backup, and so nothing that
	// such a leader says of a run is heard any more.
	restoredEpochs = 1_000_000
)

// Restore makes of a backup the directory of a new cluster of one node, which others may join
// with empty directories. It is not to be open meanwhile, and cannot be: until all is in place, a
// mark in the directory keeps everybody from beginning with it, also after a crash. After an
// error it is empty again.
//
// The new cluster has all that the backup has, and nothing that was acknowledged after it. Its
// node has a disk id and a membership of its own, so that nodes of before have no part in it.
func Restore(ctx context.Context, from io.Reader, c RestoreConfig) (Restored, error) {
	return restore(ctx, c, func(r *rebuilding) error {
		parts, b, err := openBackup(from)
		if err != nil {
			return fmt.Errorf("read the backup: %w", err)
		}
		s, err := parts.state(b)
		if err != nil {
			return fmt.Errorf("read the backup: %w", err)
		}
		r.out.From, r.term, r.count.all = b, b.Term, b.Bytes
		if err := r.mayBe(&s); err != nil {
			return err
		}
		if err := r.install(s); err != nil {
			return err
		}
		err = parts.chunks(r.machine.streams(), func(st *stream, place int, c Chunk) error {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			return r.put(st, place, c)
		}, func(*stream, int, string) error { r.out.From.Missing++; return nil })
		if err != nil {
			return fmt.Errorf("read the backup: %w", err)
		}
		return nil
	})
}

// restore makes a directory a node's, with what fill puts into it.
func restore(ctx context.Context, c RestoreConfig, fill func(*rebuilding) error) (Restored, error) {
	r, err := rebuild(c)
	if err == nil {
		err = fill(r)
		err = errors.Join(err, r.flush())
		if err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			err = r.finish()
		}
		err = errors.Join(err, r.end(err == nil))
	}
	if err != nil {
		return Restored{}, fmt.Errorf("restore a cluster in %s: %w", c.Dir, err)
	}
	return r.out, nil
}

// rebuilding is a directory that is being restored. The state machine is that of no raft node:
// what it has becomes the snapshot that the node begins with.
type rebuilding struct {
	cfg     RestoreConfig
	out     Restored
	lock    *os.File
	machine *machine
	// term is not before that of any entry that the state may have.
	term  uint64
	count counter
	// into is the file of the stream of, which got the chunks at the places in got.
	into file
	of   *stream
	got  []int
	// dirs are the directories with new names in them.
	dirs map[string]bool
}

// rebuild takes an empty directory.
func rebuild(c RestoreConfig) (*rebuilding, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.files == nil {
		c.files = systemDisk{}
	}
	if c.Node != "" && !ValidNodeID(c.Node) {
		return nil, fmt.Errorf("node id %q: 1 to %d lower-case letters, digits, '-' and '.', please", c.Node, MaxNameBytes)
	}
	if err := makeDir(c.Dir); err != nil {
		return nil, err
	}
	// A directory that is not this one's is left as it is, without a lock in it.
	if err := isEmpty(c.Dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(c.Dir)
	if err != nil {
		return nil, err
	}
	r := &rebuilding{cfg: c, lock: lock, count: counter{tell: c.Progress}, dirs: map[string]bool{}}
	if err := isEmpty(c.Dir); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if err := writeFile(c.Dir, restoringFile, []byte(restoringMagic+"\n")); err != nil {
		return nil, errors.Join(fmt.Errorf("mark the directory: %w", err), r.end(false))
	}
	dir := filepath.Join(c.Dir, runsDir)
	if err := c.files.MkdirAll(dir, 0o700); err != nil {
		return nil, errors.Join(err, r.end(false))
	}
	r.machine = newMachineOn(c.files, dir, newFault(c.Log))
	return r, nil
}

// kept reports whether a name may be in an empty directory: the lock, in which there is
// nothing, and what a file system has in its root.
func kept(name string) bool { return name == lockFile || name == "lost+found" }

func isEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == restoringFile {
			return isWhole(dir)
		}
		if !kept(e.Name()) {
			return fmt.Errorf("%w: it has %q; take an empty directory", ErrNotEmpty, e.Name())
		}
	}
	return nil
}

// isWhole refuses a directory that was being restored when whoever did so was killed.
func isWhole(dir string) error {
	name := filepath.Join(dir, restoringFile)
	_, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("see if the directory is whole: %w", err)
	}
	return fmt.Errorf("%w: %s says that it is being restored, or that the command which did so was killed; remove everything in %s and restore again", ErrNotEmpty, name, dir)
}

// end unlocks the directory, and empties it unless what was done was done.
func (r *rebuilding) end(done bool) error {
	var errs []error
	if r.into != nil {
		errs = append(errs, r.into.Close())
		r.into = nil
	}
	if r.machine != nil {
		errs = append(errs, r.machine.files.closeAll())
	}
	if !done {
		errs = append(errs, r.empty())
	}
	return errors.Join(append(errs, r.lock.Close())...)
}

// empty removes what was made, the mark last.
func (r *rebuilding) empty() error {
	entries, err := os.ReadDir(r.cfg.Dir)
	errs := []error{err}
	for _, e := range entries {
		if !kept(e.Name()) && e.Name() != restoringFile {
			errs = append(errs, os.RemoveAll(filepath.Join(r.cfg.Dir, e.Name())))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("empty the directory again: %w", err)
	}
	return os.RemoveAll(filepath.Join(r.cfg.Dir, restoringFile))
}

// mayBe refuses a name that the cluster has given away.
func (r *rebuilding) mayBe(s *state) error {
	if n, is := s.nodes[r.cfg.Node]; is && (r.cfg.Cluster == "" || r.cfg.Cluster == s.cluster) {
		return fmt.Errorf("%w: %s is the name of a node of cluster %s, with disk %s, and stays with that disk; restore under a name that none of its nodes had: %s",
			ErrInvalid, n.ID, s.cluster, n.Disk, strings.Join(s.nodeIDs(), ", "))
	}
	return nil
}

func (s *state) nodeIDs() []string {
	return convertAll(s.sortedNodes(), func(n Node) string { return n.ID })
}

// install takes on a state, of which no chunk is here yet.
func (r *rebuilding) install(s state) error {
	incomplete, err := r.machine.takeStock(&s)
	if err != nil {
		return err
	}
	r.machine.install(s, incomplete)
	return nil
}

// put writes a chunk to its place.
func (r *rebuilding) put(st *stream, place int, c Chunk) error {
	if r.of != st {
		if err := r.flush(); err != nil {
			return err
		}
		into, err := openChunkFile(r.machine.files.disk, r.machine.files.dir, st)
		if err != nil {
			return err
		}
		r.into, r.of = into, st
		if _, err := into.WriteAt(st.header(), 0); err != nil {
			return fmt.Errorf("write the header of a chunk file: %w", err)
		}
	}
	ref := st.chunks[place]
	if _, err := r.into.WriteAt(frame(&c), ref.offset); err != nil {
		return fmt.Errorf("write a chunk: %w", err)
	}
	r.got = append(r.got, place)
	r.count.add(ref)
	return nil
}

// flush makes the chunks of the last stream durable. The names of the files are made so in the
// end: until then the mark says that they are not to be relied on.
func (r *rebuilding) flush() error {
	if r.into == nil {
		return nil
	}
	into, st, got := r.into, r.of, r.got
	r.into, r.of, r.got = nil, nil, nil
	if err := errors.Join(into.Sync(), into.Close()); err != nil {
		return fmt.Errorf("fsync the chunks: %w", err)
	}
	r.dirs[filepath.Dir(r.machine.path(st))] = true
	r.machine.filled(st, got)
	return nil
}

// finish makes of the state what the node begins with, and takes the mark away.
func (r *rebuilding) finish() error {
	if err := errors.Join(r.machine.fault.Err(), r.machine.files.closeAll()); err != nil {
		return err
	}
	if err := r.removeLost(); err != nil {
		return err
	}
	if err := r.syncNames(); err != nil {
		return err
	}
	if err := r.mayBe(&r.machine.state); err != nil {
		return err
	}
	if err := r.name(); err != nil {
		return err
	}
	r.begin()
	if err := r.snapshot(); err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	if err := r.log(); err != nil {
		return err
	}
	if err := syncPath(systemDisk{}, r.cfg.Dir); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(r.cfg.Dir, restoringFile)); err != nil {
		return err
	}
	return syncPath(systemDisk{}, r.cfg.Dir)
}

// syncNames makes the names of chunk files durable.
func (r *rebuilding) syncNames() error {
	d := r.machine.files
	r.dirs[d.dir] = true
	for dir := range r.dirs {
		err := syncPath(d.disk, dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // That of a run that is lost is gone.
			return fmt.Errorf("fsync the chunks: %w", err)
		}
	}
	return nil
}

// name gives the directory its identity.
func (r *rebuilding) name() error {
	id, err := identify(r.cfg.Dir, r.cfg.Node)
	if err != nil {
		return err
	}
	cluster := r.cfg.Cluster
	if cluster == "" {
		cluster = r.machine.cluster
	}
	if err := id.begin(r.cfg.Dir, cluster); err != nil {
		return err
	}
	r.out.Identity = id
	return nil
}

// removeLost removes the runs of which chunks are missing, or refuses to go on. A node that lacks
// what nobody has would never have a vote, and a run without some of its events is none.
func (r *rebuilding) removeLost() error {
	m := r.machine
	missing := map[string]uint64{}
	all := uint64(0)
	for _, st := range m.lackingStreams() {
		n := uint64(st.lacking.count())
		missing[st.run] += n
		all += n
	}
	if all == 0 {
		return nil
	}
	if !r.cfg.Incomplete {
		return fmt.Errorf("%w: %d of them, of %d runs", ErrMissing, all, len(missing))
	}
	for _, id := range slices.Clone(m.order) {
		if missing[id] == 0 {
			continue
		}
		lost := Lost{RunID: id, Missing: missing[id], Chunks: m.runs[id].Chunks}
		r.out.Lost = append(r.out.Lost, lost)
		if err := m.giveUp(id, fmt.Sprintf("%d of its %d chunks were nowhere when the cluster was restored", lost.Missing, lost.Chunks)); err != nil {
			return err
		}
	}
	return nil
}

// giveUp removes a run, which it ends first if nobody has.
func (m *machine) giveUp(id, reason string) error {
	r := m.runs[id]
	if r.Seal == nil {
		run := r.Run
		if !run.State.Final() {
			run.State, run.Reason, run.EndedNs = Failed, reason, m.moment()
		}
		run.Incomplete = addMissing(run.Incomplete, []string{reason})
		run.Seal = r.digest()
		r.Run = run
	}
	if _, err := m.removeRun(id, reason, max(m.applied, 1)); err != nil {
		return err
	}
	m.letGo(id)
	return m.files.disk.RemoveAll(filepath.Join(m.files.dir, id))
}

// begin makes the state that of the new cluster.
func (r *rebuilding) begin() {
	m := r.machine
	if m.cluster != r.out.Cluster {
		m.cluster, m.nodes = r.out.Cluster, map[string]Node{}
	}
	for _, id := range m.order {
		if run := m.runs[id]; run.Seal == nil {
			run.Epoch += restoredEpochs
			r.out.Unfinished = append(r.out.Unfinished, id)
		}
	}
	m.applied = max(m.applied, 1)
	m.touchAll()
}

// snapshot writes the state as that of a cluster of this one node. Its address is the node's id,
// which nobody dials: a node that is given a network puts its address there itself.
func (r *rebuilding) snapshot() error {
	to, err := openSnapshots(r.cfg.files, r.cfg.Dir, r.cfg.Log)
	if err != nil {
		return err
	}
	m := r.machine
	to.fatal = m.fault.fail
	node := raft.Server{ID: raft.ServerID(r.out.Node), Address: raft.ServerAddress(r.out.Node)}
	r.term++
	sink, err := to.Create(1, m.applied, r.term, raft.Configuration{Servers: []raft.Server{node}}, m.applied, nil)
	if err != nil {
		return err
	}
	if err := m.capture().Persist(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return err
	}
	return m.fault.Err()
}

// log makes the log, which has no entry yet.
func (r *rebuilding) log() error {
	logs, err := openLog(r.cfg.Dir, r.machine.fault)
	if err != nil {
		return err
	}
	err = logs.SetUint64([]byte("CurrentTerm"), r.term)
	if err == nil {
		err = logs.belongsTo(r.out.Identity)
	}
	if err = errors.Join(err, logs.Close()); err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	return nil
}
