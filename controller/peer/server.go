package peer

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// Server answers other controllers from a store.
type Server struct {
	Store *store.Store
	// Caller says by its certificate which node calls. Nil: nodes are believed.
	Caller func(context.Context) (string, error)
}

// Register makes a gRPC server answer other controllers.
func (s Server) Register(to grpc.ServiceRegistrar) {
	synclinev1.RegisterPeerServiceServer(to, service{Server: s})
	synclinev1.RegisterPeerFilesServiceServer(to, files{Server: s})
}

type service struct {
	synclinev1.UnimplementedPeerServiceServer
	Server
}

func (s service) Report(context.Context, *synclinev1.ReportRequest) (*synclinev1.ReportResponse, error) {
	r := s.Store.Report()
	out := &synclinev1.ReportResponse{
		NodeId: r.Node, Disk: r.Disk, ClusterId: r.Cluster, Version: r.Version, EntryVersion: r.EntryVersion, Term: r.Term,
		CommitIndex: r.Commit, AppliedIndex: r.Applied, State: r.State, Complete: r.Complete, Failure: r.Failure,
	}
	for _, c := range r.Checkpoints {
		out.Checkpoints = append(out.Checkpoints, &synclinev1.StateCheckpoint{Index: c.Index, Hash: c.Hash[:]})
	}
	return out, nil
}

func (s service) ReadIndex(ctx context.Context, _ *synclinev1.ReadIndexRequest) (*synclinev1.ReadIndexResponse, error) {
	index, err := s.Store.LeaderReadIndex(ctx)
	if err != nil {
		return nil, s.status(err)
	}
	return &synclinev1.ReadIndexResponse{Index: index}, nil
}

func (s service) Join(ctx context.Context, r *synclinev1.JoinRequest) (*synclinev1.JoinResponse, error) {
	if r.NodeId == "" {
		return nil, status.Error(codes.InvalidArgument, "the request to join names no node")
	}
	if s.Caller != nil {
		name, err := s.Caller(ctx)
		if err != nil {
			return nil, status.Error(codes.Unauthenticated, err.Error())
		}
		if name != r.NodeId {
			return nil, status.Errorf(codes.PermissionDenied, "the certificate is of node %s, and it asks to join as %s; issue a certificate for that name", name, r.NodeId)
		}
	}
	cluster, err := s.Store.Join(ctx, store.Node{ID: r.NodeId, Disk: r.Disk, Address: r.Address, EntryVersion: r.EntryVersion, Version: r.Version})
	if err != nil {
		return nil, s.status(err)
	}
	return &synclinev1.JoinResponse{ClusterId: cluster}, nil
}

// status gives an error of the store the code by which a caller decides what to do.
func (s service) status(err error) error {
	switch {
	case errors.Is(err, store.ErrNotLeader):
		return NotLeader(s.Store.LeaderPeer(), err)
	case errors.Is(err, store.ErrBusy), errors.Is(err, store.ErrUnknownOutcome):
		return status.Error(codes.Unavailable, err.Error())
	case errors.Is(err, store.ErrOtherDisk), errors.Is(err, store.ErrRefused):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.Is(err, store.ErrTooMany):
		return status.Error(codes.ResourceExhausted, err.Error())
	case errors.Is(err, store.ErrInvalid):
		return status.Error(codes.InvalidArgument, err.Error())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return status.FromContextError(err).Err()
	}
	return status.Error(codes.Internal, err.Error())
}
