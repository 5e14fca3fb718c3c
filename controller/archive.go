package controller

import (
	"bytes"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"

	"syncline/controller/export"
	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// Archive answers operators about the one run of a bundle, as the controller would that
// wrote it: the same services, by the same code. What takes a controller or agents it
// refuses (codes.Unimplemented). It is safe for concurrent use.
type Archive struct {
	bundle  *export.Bundle
	run     store.Run
	records *records
}

// OpenArchive reads a bundle of size bytes, and holds the events against the seal of the
// run. version is that of this program. r must stay as it is, and readable, for as long as
// the archive is used. The error has one of package export's in its chain if it is for want
// of a bundle, and is otherwise one of r.
func OpenArchive(r io.ReaderAt, size int64, version string) (*Archive, error) {
	b, err := export.OpenBundle(r, size)
	if err != nil {
		return nil, err
	}
	a := &Archive{bundle: b}
	if a.run, err = recordOf(b); err != nil {
		return nil, fmt.Errorf("%w: the run's record: %w", export.ErrDamaged, err)
	}
	if err := a.checkSeal(); err != nil {
		return nil, err
	}
	a.records = newRecords(a, version)
	return a, nil
}

func recordOf(b *export.Bundle) (store.Run, error) {
	var m synclinev1.RunRecord
	// What a newer version of the same form says besides is nothing that an older reader
	// would misread.
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b.Record, &m); err != nil {
		return store.Run{}, err
	}
	run, err := recordFromProto(&m, b.Source)
	if err == nil && run.ID != b.Manifest.Run {
		err = fmt.Errorf("it is of run %s, and the manifest says %q", run.ID, b.Manifest.Run)
	}
	return run, err
}

// checkSeal finds out if the chunks are those that the controller sealed.
func (a *Archive) checkSeal() error {
	digest := store.NewDigest()
	var chunks, events, size uint64
	err := a.Chunks(a.run.ID, func(c store.Chunk) error {
		digest.Add(&c)
		chunks++
		events += uint64(c.Events)
		size += uint64(len(c.Data))
		return nil
	})
	switch {
	case err != nil:
		return err
	case !bytes.Equal(digest.Sum(), a.run.Seal):
		return fmt.Errorf("%w: the events are not those that were sealed: their SHA-256 is %x, and that of run %s was %x", export.ErrDamaged, digest.Sum(), a.run.ID, a.run.Seal)
	case chunks != a.run.Chunks || events != a.run.Events || size != a.run.Bytes:
		return fmt.Errorf("%w: it holds %d events in %d chunks of %d bytes, and run %s had %d in %d of %d",
			export.ErrDamaged, events, chunks, size, a.run.ID, a.run.Events, a.run.Chunks, a.run.Bytes)
	}
	return nil
}

// RunID is the run that the archive has.
func (a *Archive) RunID() string { return a.run.ID }

// Manifest says what the bundle holds. Do not write to it.
func (a *Archive) Manifest() *export.Manifest { return &a.bundle.Manifest }

// Register makes a server answer about the archive's run.
func (a *Archive) Register(s grpc.ServiceRegistrar) {
	synclinev1.RegisterRunServiceServer(s, &archivedRuns{runReader{records: a.records}})
	synclinev1.RegisterTimelineServiceServer(s, &timelineReader{records: a.records})
	synclinev1.RegisterAgentServiceServer(s, synclinev1.UnimplementedAgentServiceServer{})
}

// Run implements keeper.
func (a *Archive) Run(id string) (store.Run, bool) {
	if id != a.run.ID {
		return store.Run{}, false
	}
	return a.run, true
}

// Runs implements keeper.
func (a *Archive) Runs() []store.Run { return []store.Run{a.run} }

// Chunks implements keeper.
func (a *Archive) Chunks(id string, yield func(store.Chunk) error) error {
	if id != a.run.ID {
		return fmt.Errorf("read chunks: %w: %s", store.ErrUnknownRun, id)
	}
	return a.bundle.Chunks(func(c export.Chunk) error {
		return yield(store.Chunk{
			RunID: a.run.ID, Agent: c.Agent, Incarnation: c.Incarnation, Sequence: c.Sequence,
			FirstEvent: c.FirstEvent, Events: c.Events, Data: c.Data, CRC32C: store.Checksum(c.Data),
		})
	})
}

var _ keeper = (*Archive)(nil)

// archivedRuns is RunService over an archive.
type archivedRuns struct{ runReader }

// WatchRun sends the run once: it is over.
func (s *archivedRuns) WatchRun(q *synclinev1.WatchRunRequest, stream grpc.ServerStreamingServer[synclinev1.WatchRunResponse]) error {
	run, err := s.records.find(q.Id)
	if err != nil {
		return err
	}
	return stream.Send(&synclinev1.WatchRunResponse{Run: runToProto(run)})
}
