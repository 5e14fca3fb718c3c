package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
)

// RestoreData is Restore from the data directory of a node whose cluster is lost: a majority of
// its nodes is gone for ever. No controller may be at work in the directory. It is not written to
// but for its lock; one of before there were clusters is first brought up to date, as at any start.
//
// The new cluster has what that node has. What the others had acknowledged without it is lost;
// and it may have entries at the end of its log that never were committed, which are taken for
// committed now, since it cannot tell. Of the nodes that are left, take the one with the last
// entry of the highest term.
func RestoreData(ctx context.Context, dir string, c RestoreConfig) (Restored, error) {
	return restore(ctx, c, func(r *rebuilding) error {
		from, err := openData(dir, r)
		if err != nil {
			return fmt.Errorf("open %s: %w", dir, err)
		}
		err = from.copyTo(ctx, r)
		if err = errors.Join(err, from.close()); err != nil {
			return fmt.Errorf("read %s: %w", dir, err)
		}
		return nil
	})
}

// oldData is the directory of a node, to be read.
type oldData struct {
	lock      *os.File
	identity  Identity
	logs      *checkedLog
	snapshots *snapshotStore
	machine   *machine
}

func openData(dir string, r *rebuilding) (*oldData, error) {
	if err := isWhole(dir); err != nil {
		return nil, err
	}
	// Both would be made if they were not there.
	for _, name := range []string{logName, nodeFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return nil, fmt.Errorf("it is no data directory of a controller: %w", err)
		}
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	fault := r.machine.fault
	o := &oldData{
		lock: lock, machine: newMachineOn(r.cfg.files, filepath.Join(dir, runsDir), fault),
		snapshots: &snapshotStore{disk: r.cfg.files, dir: filepath.Join(dir, snapshotsDir), log: r.cfg.Log, broken: func(error) {}, fatal: fault.fail},
	}
	if o.identity, err = identify(dir, ""); err == nil {
		o.logs, err = openLog(dir, fault)
	}
	if err == nil {
		err = o.check()
	}
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

// check refuses a directory that has lost a part of itself.
func (o *oldData) check() error {
	if err := o.logs.isOf(o.identity); err != nil {
		return err
	}
	if err := o.machine.startable(o.logs, o.snapshots); err != nil {
		return err
	}
	term, err := o.logs.GetUint64([]byte("CurrentTerm"))
	if err == nil && term == 0 {
		err = errors.New("it was never in a term")
	}
	if err != nil {
		return fmt.Errorf("the node has applied nothing: %w", err)
	}
	return nil
}

func (o *oldData) close() error {
	var errs []error
	if o.logs != nil {
		errs = append(errs, o.logs.Close())
	}
	return errors.Join(append(errs, o.lock.Close())...)
}

// copyTo makes the state anew: that of the snapshot, with the chunks it refers to, and then the
// entries of the log behind it.
func (o *oldData) copyTo(ctx context.Context, r *rebuilding) error {
	s, err := o.state()
	if err != nil {
		return err
	}
	if r.term, err = o.logs.GetUint64([]byte("CurrentTerm")); err != nil {
		return err
	}
	if err := r.install(s); err != nil {
		return err
	}
	r.count.all = s.summary().Bytes
	for _, st := range r.machine.streams() {
		if err := o.copyStream(ctx, r, st); err != nil {
			return err
		}
	}
	if err := r.flush(); err != nil {
		return err
	}
	if err := o.replay(ctx, r); err != nil {
		return err
	}
	missing := r.machine.inventory().LackingChunks
	r.out.From = r.machine.summary()
	r.out.From.Cluster, r.out.From.Node, r.out.From.Term, r.out.From.Missing = o.identity.Cluster, o.identity.Node, r.term, missing
	return nil
}

// state is that of the newest snapshot, or the empty one.
func (o *oldData) state() (state, error) {
	meta, from, err := o.snapshots.newest()
	if errors.Is(err, errNoSnapshot) {
		return newState(), nil
	}
	if err != nil {
		return state{}, err
	}
	s, err := readSnapshot(io.NewSectionReader(from, 0, meta.Size))
	if err = errors.Join(err, from.Close()); err != nil {
		return state{}, fmt.Errorf("snapshot %s: %w", meta.ID, err)
	}
	// Snapshots of before the field existed do not say it.
	s.applied = max(s.applied, meta.Index)
	return s, nil
}

// copyStream copies the chunks of a stream that are whole in its file or in the log. The others
// stay lacking.
func (o *oldData) copyStream(ctx context.Context, r *rebuilding, st *stream) (err error) {
	var missing []chunkRef
	from, err := readChunkFile(r.cfg.files, o.machine.path(st))
	if errors.Is(err, fs.ErrNotExist) {
		missing = st.chunks
	} else if err != nil {
		return err
	} else {
		defer func() { err = errors.Join(err, from.Close()) }()
		for i, ref := range st.chunks {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			c, err := readChunk(from, st, ref)
			if err != nil {
				r.cfg.Log.Warn("a chunk is not whole in its file", "run", st.run, "agent", st.key.agent, "chunk", ref.sequence, "reason", err)
				missing = append(missing, ref)
				continue
			}
			if err := r.put(st, i, c); err != nil {
				return err
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = chunksInLog(ctx, o.logs, st, missing, func(ref chunkRef, c Chunk) error {
		place, ok := st.place(ref.sequence)
		if !ok {
			return fmt.Errorf("chunk %d of %s is not in the index; this is a bug of the store", ref.sequence, st.key.agent)
		}
		return r.put(st, place, c)
	})
	return err
}

// replayed is how many entries are applied at once.
const replayed = 64

// replay applies the entries behind the snapshot.
func (o *oldData) replay(ctx context.Context, r *rebuilding) error {
	first, err := o.logs.FirstIndex()
	if err != nil {
		return err
	}
	last, err := o.logs.LastIndex()
	if err != nil {
		return err
	}
	next := r.machine.applied + 1
	if last >= next && first > next {
		return fmt.Errorf("%w: the snapshot has all up to entry %d, and the log begins at %d", ErrDamaged, next-1, first)
	}
	var batch []*raft.Log
	for ; next <= last; next++ {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		entry := new(raft.Log)
		if err := o.logs.GetLog(next, entry); err != nil {
			return fmt.Errorf("entry %d: %w", next, err)
		}
		if batch = append(batch, entry); len(batch) < replayed && next < last {
			continue
		}
		r.machine.ApplyBatch(batch)
		if err := r.machine.fault.Err(); err != nil {
			return err
		}
		batch = batch[:0]
	}
	return nil
}
