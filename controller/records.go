package controller

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/archive"
	"syncline/controller/export"
	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// keeper keeps runs and their events: the store of a controller, or a bundle.
type keeper interface {
	Run(id string) (store.Run, bool)
	// Runs are all, the newest first.
	Runs() []store.Run
	// Chunks yields the chunks of a run in the order of (agent, incarnation, sequence).
	Chunks(id string, yield func(store.Chunk) error) error
}

var _ keeper = (*store.Store)(nil)

// records are runs as they are looked at, wherever they are kept. Its methods are safe
// for concurrent use if those of the keeper are.
type records struct {
	keeper
	cache *timelines
	// version is that of this program, which bundles name as their writer.
	version string
}

func newRecords(k keeper, version string) *records {
	return &records{keeper: k, cache: newTimelines(k), version: version}
}

// find is a run, or the status that operators get if there is none.
func (r *records) find(id string) (store.Run, error) {
	run, ok := r.Run(id)
	if !ok {
		return store.Run{}, status.Errorf(codes.NotFound, "no run %q; `syncline get runs` lists them", id)
	}
	return run, nil
}

// readStatus is an error of reading events as gRPC names it, so that whoever asks can tell
// what is gone for good from what is away.
func readStatus(err error) error {
	switch {
	case err == nil || status.Code(err) != codes.Unknown:
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	case errors.Is(err, store.ErrRemoved):
		return status.Error(codes.FailedPrecondition, err.Error()+": its events are gone")
	case errors.Is(err, store.ErrDamaged), errors.Is(err, archive.ErrDamaged), errors.Is(err, export.ErrDamaged):
		return status.Error(codes.DataLoss, err.Error())
	case errors.Is(err, errAway):
		return status.Error(codes.Unavailable, err.Error())
	}
	return status.Error(codes.Internal, err.Error())
}

// runReader answers what operators ask of runs that exist: the part of RunService that
// needs no agents.
type runReader struct {
	synclinev1.UnimplementedRunServiceServer
	records *records
}

// timelineReader answers operators about runs as they are looked at: the part of
// TimelineService that needs no agents.
type timelineReader struct {
	synclinev1.UnimplementedTimelineServiceServer
	records *records
}
