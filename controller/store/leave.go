package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	logv1 "syncline/proto/syncline/log/v1"
)

// How the chunks of a run leave the nodes: into an archive, or for good. Both are entries
// of the log; what is on a disk goes later, see sweep.go. Only a sealed run may leave: what
// is still written would come after it.

// maxURLBytes bounds the URL of an archive, and the name of a manifest.
const maxURLBytes = 2 << 10

// ArchiveRun says that the chunks of a sealed run are in an archive, and that whoever calls
// it has read them back from there. The nodes keep them no more. A run that is archived
// already is returned as it is. AtNs of a is not looked at.
func (s *Store) ArchiveRun(ctx context.Context, id string, seal []byte, a Archive) (Run, error) {
	entry := &logv1.Entry{Command: &logv1.Entry_ArchiveRun{ArchiveRun: &logv1.ArchiveRun{RunId: id, Seal: seal, Archive: archiveToLog(a)}}}
	res, err := s.propose(ctx, "mark run "+id+" as archived", entry)
	return res.run, err
}

// RemoveRun forgets the chunks of a sealed run; that they are in an archive, too. The run
// itself is kept as one that was removed, until there is a need for its place: the oldest
// of those goes when a run is made and MaxRuns are there. A run that was removed already is
// returned as it is.
func (s *Store) RemoveRun(ctx context.Context, id, reason string) (Run, error) {
	entry := &logv1.Entry{Command: &logv1.Entry_RemoveRun{RemoveRun: &logv1.RemoveRun{RunId: id, Reason: reason}}}
	res, err := s.propose(ctx, "remove run "+id, entry)
	return res.run, err
}

// archiveRun applies ArchiveRun.
func (s *state) archiveRun(id string, seal []byte, a Archive, index uint64) (Run, error) {
	r, err := s.sealed(id)
	switch {
	case err != nil:
		return Run{}, err
	case r.Removed.AtNs != 0:
		return r.Run, fmt.Errorf("%w: %s: there is nothing left to archive", ErrRemoved, id)
	case r.Archive.URL != "":
		return r.Run, nil
	case !bytes.Equal(r.Seal, seal):
		return r.Run, fmt.Errorf("%w: run %s has the seal %x, and what was archived has %x", ErrInvalid, id, r.Seal, seal)
	case a.URL == "" || a.Manifest == "" || len(a.URL) > maxURLBytes || len(a.Manifest) > maxURLBytes || len(a.SHA256) != sha256.Size:
		return r.Run, fmt.Errorf("%w: run %s is said to be in %.80q, its manifest in %.80q with a SHA-256 of %d bytes", ErrInvalid, id, a.URL, a.Manifest, len(a.SHA256))
	}
	run := r.Run
	a.AtNs = s.moment()
	run.Archive = a
	r.leave(run, index)
	return run, nil
}

// removeRun applies RemoveRun.
func (s *state) removeRun(id, reason string, index uint64) (Run, error) {
	r, err := s.sealed(id)
	if err != nil {
		return Run{}, err
	}
	if r.Removed.AtNs != 0 {
		return r.Run, nil
	}
	run := r.Run
	run.Removed = Removal{AtNs: s.moment(), Reason: cut(reason)}
	if r.left != 0 {
		// It was archived, and its files went then.
		index = r.left
	}
	r.leave(run, index)
	return run, nil
}

// moment is the time of the state machine, and never 0, which would say that nothing was.
func (s *state) moment() int64 { return max(s.time, 1) }

// sealed finds a run that never changes again.
func (s *state) sealed(id string) (*runRecord, error) {
	r := s.runs[id]
	if r == nil {
		return nil, fmt.Errorf("%w: %s", ErrUnknownRun, id)
	}
	if r.Seal == nil {
		return nil, fmt.Errorf("%w: run %s is %s and not sealed, and only a sealed run may leave", ErrTransition, id, r.State)
	}
	return r, nil
}

// letGo closes the files of a run if it has left, and asks nobody for its chunks any more.
func (m *machine) letGo(id string) {
	if r := m.runs[id]; r == nil || r.Here() {
		return
	}
	m.files.forget(id)
	maps.DeleteFunc(m.incomplete, func(st *stream, _ struct{}) bool { return st.run == id })
}

// leave makes a run one without chunks. Its counts stay.
func (r *runRecord) leave(run Run, index uint64) {
	r.Run, r.left = run, index
	r.streams, r.chunkSum = map[streamKey]*stream{}, setSum{}
}

// forget drops the oldest of the runs that were removed, to make place for a new one.
func (s *state) forget() {
	for i, id := range s.order {
		r := s.runs[id]
		if r.Removed.AtNs == 0 {
			continue
		}
		delete(s.runs, id)
		s.sums.touch('r', id)
		if s.requests[r.requestID] == id {
			delete(s.requests, r.requestID)
		}
		s.order = slices.Delete(slices.Clone(s.order), i, i+1)
		return
	}
}

// gone says why there are no chunks of a run here; nil if there are.
func (r *runRecord) gone() error {
	switch {
	case r.Removed.AtNs != 0:
		return fmt.Errorf("%w: %s", ErrRemoved, r.Removed.Reason)
	case r.Archive.URL != "":
		return fmt.Errorf("%w: it is in %s", ErrArchived, r.Archive.URL)
	}
	return nil
}

// departureToLog is the record of a run that has left; nil for one that has not.
func (r *runRecord) departureToLog() *logv1.Departure {
	if r.Here() {
		return nil
	}
	d := &logv1.Departure{RunId: r.ID, Index: r.left, Chunks: r.Chunks, Events: r.Events, Bytes: r.Bytes}
	if r.Archive.URL != "" {
		d.Archive = archiveToLog(r.Archive)
	}
	if r.Removed.AtNs != 0 {
		d.Removal = &logv1.Removal{RemovedNs: r.Removed.AtNs, Reason: r.Removed.Reason}
	}
	return d
}

// loadDeparture takes such a record from a snapshot.
func (s *state) loadDeparture(d *logv1.Departure) error {
	r := s.runs[d.RunId]
	if r == nil || r.Seal == nil || len(r.streams) > 0 || !r.Here() {
		return fmt.Errorf("%w: the departure of run %q", ErrDamaged, d.RunId)
	}
	r.Archive = archiveFromLog(d.Archive)
	r.Removed = Removal{AtNs: d.Removal.GetRemovedNs(), Reason: d.Removal.GetReason()}
	r.left, r.Chunks, r.Events, r.Bytes = d.Index, d.Chunks, d.Events, d.Bytes
	if r.Here() || d.Index == 0 {
		return fmt.Errorf("%w: run %q left for nowhere, by entry %d", ErrDamaged, d.RunId, d.Index)
	}
	return nil
}

func archiveToLog(a Archive) *logv1.Archive {
	return &logv1.Archive{Url: a.URL, Manifest: a.Manifest, Sha256: a.SHA256, ArchivedNs: a.AtNs}
}

func archiveFromLog(a *logv1.Archive) Archive {
	return Archive{URL: a.GetUrl(), Manifest: a.GetManifest(), SHA256: a.GetSha256(), AtNs: a.GetArchivedNs()}
}
