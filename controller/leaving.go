package controller

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/archive"
	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// ArchiveRun puts a run into the archive.
func (s *runService) ArchiveRun(ctx context.Context, q *synclinev1.ArchiveRunRequest) (*synclinev1.ArchiveRunResponse, error) {
	run, err := s.mayLeave(q.Id)
	if err != nil {
		return nil, err
	}
	if run.Removed.AtNs != 0 {
		return nil, s.controller.leaveStatus(fmt.Errorf("archive run %s: %w: %s", run.ID, store.ErrRemoved, run.Removed.Reason))
	}
	if run.Here() {
		if run, err = s.controller.archiveRun(ctx, q.Id); err != nil {
			return nil, s.controller.leaveStatus(err)
		}
		s.controller.cfg.Log.Info("run archived", "run", run.ID, "archive", run.Archive.URL, "bytes", run.Bytes)
	}
	return &synclinev1.ArchiveRunResponse{Run: runToProto(run)}, nil
}

// DeleteRun removes the events of a run.
func (s *runService) DeleteRun(ctx context.Context, q *synclinev1.DeleteRunRequest) (*synclinev1.DeleteRunResponse, error) {
	was, err := s.mayLeave(q.Id)
	if err != nil {
		return nil, err
	}
	reason := q.Reason
	if reason == "" {
		reason = "deleted by an operator"
	}
	run, err := s.controller.store.RemoveRun(ctx, q.Id, clip(reason))
	if err != nil {
		return nil, s.controller.leaveStatus(err)
	}
	if was.Removed.AtNs == 0 {
		s.controller.metrics.removed.Inc()
		s.controller.cfg.Log.Info("run removed", "run", run.ID, "reason", run.Removed.Reason, "bytes", run.Bytes)
	}
	return &synclinev1.DeleteRunResponse{Run: runToProto(run)}, nil
}

// mayLeave finds a run that is sealed.
func (s *runService) mayLeave(id string) (store.Run, error) {
	run, err := s.records.find(id)
	switch {
	case err != nil:
		return run, err
	case run.Seal == nil:
		return run, status.Errorf(codes.FailedPrecondition, "run %s is %s and not sealed: only a run that never changes again may leave; it is sealed when it is over, or after: syncline cancel %[1]s", run.ID, run.State)
	}
	return run, nil
}

// leaveStatus is an error of a run's leaving as gRPC names it.
func (c *Controller) leaveStatus(err error) error {
	switch {
	case errors.Is(err, errNoArchive):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.Is(err, store.ErrUnknownRun):
		return status.Error(codes.NotFound, err.Error())
	case errors.Is(err, store.ErrTransition), errors.Is(err, store.ErrRemoved):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.Is(err, archive.ErrDamaged), errors.Is(err, store.ErrDamaged):
		return status.Error(codes.DataLoss, err.Error())
	}
	return c.storeStatus(err)
}
