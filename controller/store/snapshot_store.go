package store

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc64"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// snapshotStore keeps snapshots as raft.FileSnapshotStore does, in the same files: a
// directory TERM-INDEX-TIME each, with meta.json, which has the CRC-64 (ECMA) of the
// rest, and state.bin. It differs in what it does about damage. That one passes over a
// snapshot that it cannot read; the next older one is then the state of a node that
// has acknowledged more. Here the newest is read or the reason is an error.
type snapshotStore struct {
	disk disk
	dir  string
	log  *slog.Logger
	// broken is told of each snapshot that could not be opened.
	broken func(error)
	// fatal is told of an fsync that failed where nothing can be written anew.
	fatal func(error)
}

const (
	snapshotsDir  = "snapshots"
	snapshotTmp   = ".tmp"
	snapshotMeta  = "meta.json"
	snapshotState = "state.bin"
	maxMeta       = 1 << 20
)

var crc64Table = crc64.MakeTable(crc64.ECMA)

// storedMeta is meta.json. Sum is the CRC-32C of the same text with Sum empty, since the
// members of the cluster stand in it; snapshots that raft.FileSnapshotStore wrote have
// none.
type storedMeta struct {
	raft.SnapshotMeta
	CRC []byte
	Sum string `json:",omitempty"`
}

// format is meta.json, its checksum made anew.
func (m storedMeta) format() ([]byte, error) {
	m.Sum = ""
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	m.Sum = fmt.Sprintf("%08x", Checksum(b))
	if b, err = json.Marshal(m); err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// parseMeta reads meta.json. It takes exactly what format writes, and what was written
// before there was a checksum.
func parseMeta(b []byte) (*storedMeta, error) {
	meta := new(storedMeta)
	from := json.NewDecoder(bytes.NewReader(b))
	from.DisallowUnknownFields()
	if err := from.Decode(meta); err != nil {
		return nil, err
	}
	if meta.Sum == "" {
		return meta, nil
	}
	again, err := meta.format()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b) {
		return nil, errors.New("it does not match its CRC-32C")
	}
	return meta, nil
}

// openSnapshots makes the directory and removes what a crash left half written.
func openSnapshots(d disk, dir string, log *slog.Logger) (*snapshotStore, error) {
	s := &snapshotStore{disk: d, dir: filepath.Join(dir, snapshotsDir), log: log, broken: func(error) {}, fatal: func(error) {}}
	if err := d.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), snapshotTmp) {
			if err := d.RemoveAll(filepath.Join(s.dir, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// snapshotName is the name of a snapshot's directory, taken apart.
type snapshotName struct {
	name              string
	term, index, time uint64
}

func parseSnapshotName(name string) (snapshotName, bool) {
	n := snapshotName{name: name}
	_, err := fmt.Sscanf(name, "%d-%d-%d", &n.term, &n.index, &n.time)
	return n, err == nil && fmt.Sprintf("%d-%d-%d", n.term, n.index, n.time) == name
}

// names returns the snapshots, the newest first.
func (s *snapshotStore) names() ([]snapshotName, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var out []snapshotName
	for _, e := range entries {
		if n, ok := parseSnapshotName(e.Name()); ok && e.IsDir() {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b snapshotName) int {
		return -cmp.Or(cmp.Compare(a.term, b.term), cmp.Compare(a.index, b.index), cmp.Compare(a.time, b.time))
	})
	return out, nil
}

// List returns the snapshots, the newest first. That the newest cannot be read is an
// error; an older one that cannot is left out.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	var out []*raft.SnapshotMeta
	for i, n := range names[:min(len(names), snapshotsKept)] {
		meta, err := s.meta(n.name)
		if err == nil {
			out = append(out, &meta.SnapshotMeta)
			continue
		}
		if i == 0 {
			s.broken(err)
			return nil, err
		}
		s.log.Warn("an older snapshot cannot be read", "reason", err)
	}
	return out, nil
}

func (s *snapshotStore) meta(id string) (*storedMeta, error) {
	name := filepath.Join(s.dir, id, snapshotMeta)
	b, err := readFile(s.disk, name, maxMeta)
	if err != nil {
		return nil, s.damaged(id, err)
	}
	meta, err := parseMeta(b)
	if err != nil {
		return nil, s.damaged(id, fmt.Errorf("%s: %w", name, err))
	}
	if meta.Version < raft.SnapshotVersionMin || meta.Version > raft.SnapshotVersionMax {
		return nil, fmt.Errorf("%s: its version is %d, and this program reads %d to %d; start the version of the program that wrote it, or a newer one",
			name, meta.Version, raft.SnapshotVersionMin, raft.SnapshotVersionMax)
	}
	if named := fmt.Sprintf("%d-%d-", meta.Term, meta.Index); meta.ID != id || !strings.HasPrefix(id, named) {
		return nil, s.damaged(id, fmt.Errorf("%s: it says that it is snapshot %q of entry %d, term %d", name, meta.ID, meta.Index, meta.Term))
	}
	return meta, nil
}

func (s *snapshotStore) damaged(id string, err error) error {
	return fmt.Errorf("snapshot %s: %w: %w; entries before it are in no log any more: remove this node from the cluster and join again with an empty directory, or restore a backup",
		filepath.Join(s.dir, id), ErrDamaged, err)
}

// Open returns the bytes of a snapshot, after all of them were compared with their
// checksum.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, from, err := s.open(id)
	if err != nil {
		s.broken(err)
		return nil, nil, err
	}
	return meta, from, nil
}

func (s *snapshotStore) open(id string) (*raft.SnapshotMeta, file, error) {
	meta, err := s.meta(id)
	if err != nil {
		return nil, nil, err
	}
	name := filepath.Join(s.dir, id, snapshotState)
	f, err := s.disk.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, nil, s.damaged(id, err)
	}
	sum := crc64.New(crc64Table)
	n, err := io.Copy(sum, io.NewSectionReader(f, 0, 1<<62))
	switch got := sum.Sum(nil); {
	case err != nil:
		err = s.damaged(id, err)
	case n != meta.Size:
		err = s.damaged(id, fmt.Errorf("%s has %d bytes, %s says %d", name, n, snapshotMeta, meta.Size))
	case !bytes.Equal(got, meta.CRC):
		err = s.damaged(id, fmt.Errorf("CRC-64 of %s is %x, %s says %x", name, got, snapshotMeta, meta.CRC))
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return &meta.SnapshotMeta, f, nil
}

// newest opens the newest snapshot, checked as Open does. The state is in the first Size bytes of
// the file.
func (s *snapshotStore) newest() (*raft.SnapshotMeta, file, error) {
	names, err := s.names()
	if err != nil {
		return nil, nil, err
	}
	if len(names) == 0 {
		return nil, nil, fmt.Errorf("%s: %w", s.dir, errNoSnapshot)
	}
	return s.open(names[0].name)
}

var errNoSnapshot = errors.New("there is no snapshot")

// Create begins a snapshot, raft's own or one that the leader sends.
func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, members raft.Configuration, membersIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	if version != 1 {
		return nil, fmt.Errorf("snapshot of version %d: this program writes version 1", version)
	}
	id, err := s.newID(term, index)
	if err != nil {
		return nil, err
	}
	k := &snapshotSink{store: s, dir: filepath.Join(s.dir, id+snapshotTmp), sum: crc64.New(crc64Table), whole: func() {}}
	k.meta.SnapshotMeta = raft.SnapshotMeta{Version: version, ID: id, Index: index, Term: term, Configuration: members, ConfigurationIndex: membersIndex}
	if err := s.disk.MkdirAll(k.dir, 0o700); err != nil {
		return nil, err
	}
	f, err := s.disk.OpenFile(filepath.Join(k.dir, snapshotState), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, errors.Join(err, s.disk.RemoveAll(k.dir))
	}
	k.file, k.to = f, bufio.NewWriterSize(f, 64<<10)
	return k, nil
}

// newID is a name that sorts behind all others of that entry.
func (s *snapshotStore) newID(term, index uint64) (string, error) {
	names, err := s.names()
	if err != nil {
		return "", err
	}
	at := uint64(time.Now().UnixMilli())
	for _, n := range names {
		if n.term == term && n.index == index {
			at = max(at, n.time+1)
		}
	}
	return fmt.Sprintf("%d-%d-%d", term, index, at), nil
}

// reap removes all snapshots but the newest.
func (s *snapshotStore) reap() error {
	names, err := s.names()
	if err != nil {
		return err
	}
	for _, n := range names[min(len(names), snapshotsKept):] {
		if err := s.disk.RemoveAll(filepath.Join(s.dir, n.name)); err != nil {
			return fmt.Errorf("remove an old snapshot: %w", err)
		}
	}
	return nil
}

// verify reads every snapshot again, and returns those that are damaged.
func (s *snapshotStore) verify() (bad []string, errs error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		_, f, err := s.open(n.name)
		if errors.Is(err, fs.ErrNotExist) && !s.there(n.name) {
			continue // Replaced by a newer one meanwhile.
		}
		if err != nil {
			bad = append(bad, n.name)
			errs = errors.Join(errs, err)
			continue
		}
		errs = errors.Join(errs, f.Close())
	}
	return bad, errs
}

// remove removes a snapshot.
func (s *snapshotStore) remove(id string) error { return s.disk.RemoveAll(filepath.Join(s.dir, id)) }

func (s *snapshotStore) there(id string) bool {
	_, err := s.disk.Stat(filepath.Join(s.dir, id))
	return err == nil
}

// snapshotSink is a snapshot being written. It has its name only when it is whole.
type snapshotSink struct {
	store *snapshotStore
	dir   string
	meta  storedMeta
	file  file
	to    *bufio.Writer
	sum   hash.Hash64
	ended bool
	// whole is called when the snapshot is on the disk under its name.
	whole func()
}

// ID is the name that it will have.
func (k *snapshotSink) ID() string { return k.meta.ID }

func (k *snapshotSink) Write(b []byte) (int, error) {
	n, err := k.to.Write(b)
	k.sum.Write(b[:n])
	k.meta.Size += int64(n)
	return n, err
}

// Close makes the snapshot durable, then known by its name. An error leaves the older
// ones as they are, and the log with all entries since.
func (k *snapshotSink) Close() error {
	if k.ended {
		return nil
	}
	k.ended = true
	err := k.to.Flush()
	if err == nil {
		err = k.file.Sync()
	}
	if err = errors.Join(err, k.file.Close()); err == nil {
		err = k.name()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write snapshot %s: %w", k.meta.ID, err), k.store.disk.RemoveAll(k.dir))
	}
	k.whole()
	if err := k.store.reap(); err != nil {
		// It is written; that old ones take room is no reason to call it a failure.
		k.store.log.Warn("an old snapshot stays", "reason", err)
	}
	return nil
}

func (k *snapshotSink) name() error {
	d := k.store.disk
	k.meta.CRC = k.sum.Sum(nil)
	b, err := k.meta.format()
	if err != nil {
		return err
	}
	if err := putFile(d, k.dir, snapshotMeta, b); err != nil {
		return err
	}
	if err := d.Rename(k.dir, filepath.Join(k.store.dir, k.meta.ID)); err != nil {
		return err
	}
	if err := syncPath(d, k.store.dir); err != nil {
		// The name may be there after a crash or not, and the next fsync would not say.
		k.store.fatal(fmt.Errorf("fsync the directory of snapshots: %w", err))
		return err
	}
	return nil
}

// Cancel removes what was written.
func (k *snapshotSink) Cancel() error {
	if k.ended {
		return nil
	}
	k.ended = true
	return errors.Join(k.file.Close(), k.store.disk.RemoveAll(k.dir))
}
