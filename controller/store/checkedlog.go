package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// checkedLog is the log with a checksum for every entry, and for what raft keeps beside
// it: its term and its vote. Bolt has checksums for its two meta pages only, and msgpack
// none; a flipped bit would be applied on this node and on no other.
//
// An entry on the disk has eight bytes behind its Extensions: the magic "SLE1" and the
// CRC-32C of index, term, type, data and extensions. They are added when it is written
// and taken away when it is read, and never leave the node. Entries before the one
// in keyCheckedFrom are older than the checksum and have none. A value of raft's own
// has the magic and a CRC-32C behind it in the same way.
type checkedLog struct {
	*raftboltdb.BoltStore
	fault *fault
	// from is the first entry that has a checksum.
	from uint64
}

const (
	checkMagic = "SLE1"
	checkBytes = len(checkMagic) + crc32.Size
	logName    = "log.db"
)

// Keys beside those of raft.
var (
	keyCheckedFrom = []byte("syncline checked from")
	keyIdentity    = []byte("syncline identity")
)

// openLog opens the log in a directory, or makes it. The structure of bolt's pages is
// checked first: bolt itself panics at what is wrong with them, when it comes to it.
func openLog(dir string, fault *fault) (*checkedLog, error) {
	name := filepath.Join(dir, logName)
	err := checkBolt(name)
	if cannot := (*fs.PathError)(nil); errors.As(err, &cannot) || errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open the log: %s: %w", name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the log: %s: %w: %w; remove this node from the cluster and join again with an empty directory, or restore a backup", name, ErrDamaged, err)
	}
	bolt, err := raftboltdb.New(raftboltdb.Options{
		Path:        name,
		BoltOptions: &bbolt.Options{Timeout: openTimeout, FreelistType: bbolt.FreelistMapType},
	})
	if err != nil {
		return nil, fmt.Errorf("open the log: %s: %w", name, err)
	}
	l := &checkedLog{BoltStore: bolt, fault: fault}
	if err := l.begin(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the log: %s: %w", name, err), bolt.Close())
	}
	return l, nil
}

// checkBolt looks through a database that is there.
func checkBolt(name string) (err error) {
	info, err := os.Stat(name)
	if errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	// Bolt maps the file: a page behind its end is SIGBUS.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("its pages cannot be read: %v", r)
		}
	}()
	db, err := bbolt.Open(name, 0o600, &bbolt.Options{Timeout: openTimeout, ReadOnly: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	err = db.View(func(tx *bbolt.Tx) error {
		if tx.Size() > info.Size() {
			return fmt.Errorf("it has %d bytes and needs %d", info.Size(), tx.Size())
		}
		var first error
		for bad := range tx.Check() {
			if first == nil {
				first = bad
			}
		}
		return first
	})
	return errors.Join(err, db.Close())
}

// begin finds where checksums begin, or has them begin behind what is there.
func (l *checkedLog) begin() error {
	b, err := l.Get(keyCheckedFrom)
	switch {
	case err == nil && len(b) == 8:
		l.from = binary.BigEndian.Uint64(b)
		return nil
	case err == nil:
		return fmt.Errorf("%w: %q has %d bytes", ErrDamaged, keyCheckedFrom, len(b))
	case !errors.Is(err, raftboltdb.ErrKeyNotFound):
		return err
	}
	last, err := l.LastIndex()
	if err != nil {
		return err
	}
	l.from = last + 1
	return l.Set(keyCheckedFrom, binary.BigEndian.AppendUint64(nil, l.from))
}

// isOf refuses a log that is marked as another node's, or of another disk or cluster
// than the files beside it say: one of them is damaged or from elsewhere. What neither
// knows yet is not compared.
func (l *checkedLog) isOf(id Identity) error {
	b, err := l.Get(keyIdentity)
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("whose log this is: %w", err)
	}
	if id.Cluster == "" {
		return fmt.Errorf("%w: the log is marked %q, and the directory has no file %q; write it there again as on the other nodes, with the id in the mark", ErrDamaged, b, clusterFile)
	}
	if mark := markOf(id); mark != string(b) {
		return fmt.Errorf("%w: the log is marked %q, and the files id, %s and %s say %q; one of them is damaged or belongs to another node: correct the file",
			ErrDamaged, b, diskFile, clusterFile, mark)
	}
	return nil
}

// belongsTo marks the log, once.
func (l *checkedLog) belongsTo(id Identity) error {
	if _, err := l.Get(keyIdentity); !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return err
	}
	return l.Set(keyIdentity, []byte(markOf(id)))
}

func markOf(id Identity) string {
	return fmt.Sprintf("node %s disk %s cluster %s", id.Node, id.Disk, id.Cluster)
}

// sumOf is the checksum of an entry.
func sumOf(log *raft.Log, extensions []byte) uint32 {
	head := make([]byte, 0, 25)
	head = binary.BigEndian.AppendUint64(head, log.Index)
	head = binary.BigEndian.AppendUint64(head, log.Term)
	head = binary.BigEndian.AppendUint64(head, uint64(len(log.Data)))
	head = append(head, byte(log.Type))
	sum := crc32.Update(0, castagnoli, head)
	sum = crc32.Update(sum, castagnoli, log.Data)
	return crc32.Update(sum, castagnoli, extensions)
}

// seal puts a checksum behind b, which is left as it is.
func seal(b []byte, sum uint32) []byte {
	out := make([]byte, 0, len(b)+checkBytes)
	out = append(append(out, b...), checkMagic...)
	return binary.BigEndian.AppendUint32(out, sum)
}

// unseal takes the checksum away, if there is one.
func unseal(b []byte) (body []byte, sum uint32, ok bool) {
	n := len(b) - checkBytes
	if n < 0 || !bytes.Equal(b[n:n+len(checkMagic)], []byte(checkMagic)) {
		return b, 0, false
	}
	return b[:n:n], binary.BigEndian.Uint32(b[n+len(checkMagic):]), true
}

// StoreLog is StoreLogs of one.
func (l *checkedLog) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

// StoreLogs writes entries, each with its checksum.
func (l *checkedLog) StoreLogs(logs []*raft.Log) error {
	sealed := make([]raft.Log, len(logs))
	out := make([]*raft.Log, len(logs))
	for i, log := range logs {
		sealed[i] = *log
		sealed[i].Extensions = seal(log.Extensions, sumOf(log, log.Extensions))
		out[i] = &sealed[i]
	}
	return l.BoltStore.StoreLogs(out)
}

// GetLog reads an entry. One that is damaged is an error and stops the node: nobody can
// say what it was. The caller of raft's that applies entries panics with that error.
func (l *checkedLog) GetLog(index uint64, log *raft.Log) error {
	if err := l.BoltStore.GetLog(index, log); err != nil {
		if errors.Is(err, raft.ErrLogNotFound) {
			return err
		}
		return l.damaged(index, err)
	}
	extensions, sum, ok := unseal(log.Extensions)
	if !ok && index < l.from {
		return nil
	}
	if got := sumOf(log, extensions); !ok || got != sum || log.Index != index {
		return l.damaged(index, fmt.Errorf("its CRC-32C is %08x, it says %08x", got, sum))
	}
	if log.Extensions = extensions; len(extensions) == 0 {
		log.Extensions = nil
	}
	return nil
}

func (l *checkedLog) damaged(index uint64, err error) error {
	err = fmt.Errorf("log entry %d: %w: %w; remove this node from the cluster and join again with an empty directory, or restore a backup", index, ErrDamaged, err)
	l.fault.fail(err)
	return err
}

// Set writes a value of raft's own, with its checksum.
func (l *checkedLog) Set(key, val []byte) error {
	return l.BoltStore.Set(key, seal(val, keySum(key, val)))
}

// Get reads a value of raft's own. One from before there were checksums is as it is.
func (l *checkedLog) Get(key []byte) ([]byte, error) {
	b, err := l.BoltStore.Get(key)
	if err != nil {
		return nil, err
	}
	val, sum, ok := unseal(b)
	if got := keySum(key, val); ok && got != sum {
		return nil, fmt.Errorf("raft's %q: %w: its CRC-32C is %08x, it says %08x", key, ErrDamaged, got, sum)
	}
	return val, nil
}

func keySum(key, val []byte) uint32 {
	return crc32.Update(Checksum(key), castagnoli, val)
}

// SetUint64 is Set of a number.
func (l *checkedLog) SetUint64(key []byte, val uint64) error {
	return l.Set(key, binary.BigEndian.AppendUint64(nil, val))
}

// GetUint64 is Get of a number.
func (l *checkedLog) GetUint64(key []byte) (uint64, error) {
	b, err := l.Get(key)
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("raft's %q: %w: it has %d bytes, a number has 8", key, ErrDamaged, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}
