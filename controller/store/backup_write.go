package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	logv1 "syncline/proto/syncline/log/v1"
)

// BackupConfig says how a backup is written.
type BackupConfig struct {
	// Incomplete leaves out chunks that no node has, instead of giving up.
	Incomplete bool
	// Progress, if it is set, is told how many of all bytes of chunks were written.
	Progress func(done, all uint64)
}

// Backup writes all that this node has applied, as of one entry of the log, with the chunks;
// what of those is not whole here is got from the other nodes. To have all that any node has
// acknowledged, call ReadIndex first. It takes a snapshot of the state for it, as raft does now
// and then, and holds nobody up; files of runs that leave meanwhile stay until it returns.
//
// A chunk that no node has is an error that names it, unless c says to leave such out.
func (s *Store) Backup(ctx context.Context, to io.Writer, c BackupConfig) (Backup, error) {
	b, err := s.backup(ctx, to, c)
	if err != nil {
		return b, fmt.Errorf("write a backup of the cluster: %w", err)
	}
	return b, nil
}

func (s *Store) backup(ctx context.Context, to io.Writer, c BackupConfig) (Backup, error) {
	// The files of these runs stay, whatever is removed while they are read.
	for _, run := range s.Runs() {
		defer s.readers.enter(run.ID)()
	}
	if err := s.Snapshot(); err != nil {
		return Backup{}, err
	}
	meta, from, err := s.snapshots.newest()
	if err != nil {
		return Backup{}, err
	}
	defer from.Close()
	st, err := readSnapshot(io.NewSectionReader(from, 0, meta.Size))
	if err != nil {
		return Backup{}, err
	}
	b := st.summary()
	b.Cluster, b.Node, b.Version, b.Written, b.Term = s.identity.Cluster, s.id, s.cfg.Version, s.now(), meta.Term
	w := newPartWriter(to)
	if err := w.message(partHead, b.toLog()); err != nil {
		return b, err
	}
	if _, err := io.Copy(w, io.NewSectionReader(from, 0, meta.Size)); err != nil {
		return b, err
	}
	copied := &backupCopy{store: s, to: w, incomplete: c.Incomplete, count: counter{all: b.Bytes, tell: c.Progress}}
	for i, stream := range st.streams() {
		if err := copied.stream(ctx, uint32(i), stream); err != nil {
			return b, err
		}
	}
	b.Missing = copied.missing
	return b, w.end(b.Chunks-b.Missing, b.Missing)
}

// summary counts what a state refers to.
func (s *state) summary() Backup {
	b := Backup{AppliedIndex: s.applied, Runs: uint64(len(s.runs))}
	for _, st := range s.streams() {
		b.Chunks += uint64(len(st.chunks))
		b.Bytes += st.bytes
	}
	return b
}

// backupCopy copies chunks into a backup.
type backupCopy struct {
	store      *Store
	to         *partWriter
	incomplete bool
	missing    uint64
	count      counter
}

func (b *backupCopy) stream(ctx context.Context, number uint32, st *stream) (err error) {
	r, err := b.store.openStream(st)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	for i, ref := range st.chunks {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		c, err := r.read(i)
		if gone := b.store.life.Err(); err != nil && gone != nil {
			// It was not looked for elsewhere, so nobody can say that it is missing.
			return fmt.Errorf("run %s: the store closes: %w", st.run, err)
		}
		switch {
		case err == nil:
			at := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, number), uint32(i))
			err = b.to.part(partChunk, at, frame(&c))
		case b.incomplete:
			b.missing++
			err = b.to.message(partMissing, &logv1.BackupMissing{Stream: number, Place: uint32(i), Reason: cut(err.Error())})
		default:
			err = fmt.Errorf("run %s: %w", st.run, err)
		}
		if err != nil {
			return err
		}
		b.count.add(ref)
	}
	return nil
}
