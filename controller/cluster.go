package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// clusterService answers operators about the controllers.
type clusterService struct {
	synclinev1.UnimplementedClusterServiceServer
	controller *Controller
}

// GetCluster asks every node about itself.
func (s *clusterService) GetCluster(ctx context.Context, _ *synclinev1.GetClusterRequest) (*synclinev1.GetClusterResponse, error) {
	cluster := s.controller.store.Cluster(ctx)
	out := &synclinev1.GetClusterResponse{
		ClusterId: cluster.ID, Asked: s.controller.store.ID(), Leader: cluster.Leader.ID, Term: cluster.Term, Warnings: cluster.Warnings,
	}
	for _, m := range cluster.Members {
		p := &synclinev1.ClusterMember{Id: m.ID, Address: m.Address, Voter: m.Voter, Leader: m.Leader, ContactNs: int64(m.Contact)}
		if m.Err != nil {
			p.Error = m.Err.Error()
		} else {
			p.State, p.Version, p.CommitIndex, p.AppliedIndex = m.Report.State, m.Report.Version, m.Report.Commit, m.Report.Applied
			p.Complete, p.Failure = m.Report.Complete, m.Report.Failure
		}
		out.Members = append(out.Members, p)
	}
	return out, nil
}

// RemoveNode takes a node out of the cluster.
func (s *clusterService) RemoveNode(ctx context.Context, q *synclinev1.RemoveNodeRequest) (*synclinev1.RemoveNodeResponse, error) {
	st := s.controller.store
	if q.Id == "" {
		return nil, status.Error(codes.InvalidArgument, "name the node to remove")
	}
	if err := s.controller.leads(); err != nil {
		return nil, err
	}
	known := slices.ContainsFunc(st.Nodes(), func(n store.Node) bool { return n.ID == q.Id })
	if !st.Member(q.Id) && known {
		return &synclinev1.RemoveNodeResponse{}, nil
	}
	if err := st.Remove(ctx, q.Id, q.Force); err != nil {
		return nil, s.status(err)
	}
	return &synclinev1.RemoveNodeResponse{}, nil
}

// TransferLeadership hands the leadership to another node. Runs that are at work fail with it,
// so it asks first.
func (s *clusterService) TransferLeadership(ctx context.Context, q *synclinev1.TransferLeadershipRequest) (*synclinev1.TransferLeadershipResponse, error) {
	c := s.controller
	if err := c.leads(); err != nil {
		return nil, err
	}
	if q.To == c.store.ID() {
		return &synclinev1.TransferLeadershipResponse{}, nil
	}
	if at := c.atWork(); len(at) > 0 && !q.Force {
		return nil, status.Errorf(codes.FailedPrecondition, "runs are at work and would fail: %s; wait until they are over, or --force", strings.Join(at, ", "))
	}
	if err := c.store.Transfer(ctx, q.To); err != nil {
		return nil, s.status(err)
	}
	return &synclinev1.TransferLeadershipResponse{From: c.store.ID()}, nil
}

// atWork are the runs that somebody works on here, by id.
func (c *Controller) atWork() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []string
	for id := range c.runners {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (s *clusterService) status(err error) error {
	if errors.Is(err, store.ErrRefused) {
		return status.Error(codes.FailedPrecondition, fmt.Sprintf("%v", err))
	}
	return s.controller.storeStatus(err)
}
