package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"

	synclinev1 "syncline/proto/syncline/v1"
)

// StaleKey is there, with the value 1, in the metadata of a call that is to be answered from
// what this node knows, however old that is. BehindKey says in the answer's header how long
// ago this node heard of its leader; what was acknowledged since then may be missing.
const (
	StaleKey  = "syncline-stale"
	BehindKey = "syncline-behind"
)

// answering is who answers a method, and from what.
type answering int

const (
	// here: this node, from what needs no log, or in a way of its own.
	here answering = iota + 1
	// fresh: this node, from a state in which there is all that any node had acknowledged
	// before the call (store.ReadIndex).
	fresh
	// byLeader: the leader, to whom other nodes forward the call.
	byLeader
)

// answeredBy says of every method who answers it. A controller that serves another one does not
// start.
var answeredBy = map[string]answering{
	// Agents find the leader themselves, and stay with it.
	synclinev1.LinkService_Control_FullMethodName: here,
	synclinev1.LinkService_Upload_FullMethodName:  here,

	synclinev1.RunService_ValidateExperiment_FullMethodName: here,
	synclinev1.RunService_GetRun_FullMethodName:             fresh,
	synclinev1.RunService_ListRuns_FullMethodName:           fresh,
	synclinev1.RunService_WatchRun_FullMethodName:           fresh,
	synclinev1.RunService_ListEvents_FullMethodName:         fresh,
	synclinev1.RunService_ExportRun_FullMethodName:          fresh,
	synclinev1.RunService_PlanExperiment_FullMethodName:     byLeader,
	synclinev1.RunService_CreateRun_FullMethodName:          byLeader,
	synclinev1.RunService_CancelRun_FullMethodName:          byLeader,
	synclinev1.RunService_ArchiveRun_FullMethodName:         byLeader,
	synclinev1.RunService_DeleteRun_FullMethodName:          byLeader,

	// Who is connected the leader alone knows.
	synclinev1.AgentService_ListAgents_FullMethodName:  byLeader,
	synclinev1.AgentService_WatchAgents_FullMethodName: byLeader,

	synclinev1.TimelineService_GetTimeline_FullMethodName:   fresh,
	synclinev1.TimelineService_ListVerdicts_FullMethodName:  fresh,
	synclinev1.TimelineService_ListSummaries_FullMethodName: fresh,
	synclinev1.TimelineService_GetClock_FullMethodName:      fresh,
	synclinev1.TimelineService_ProbeClocks_FullMethodName:   byLeader,

	synclinev1.ClusterService_RemoveNode_FullMethodName:         byLeader,
	synclinev1.ClusterService_TransferLeadership_FullMethodName: byLeader,

	// What is not whole here is got from the others.
	synclinev1.ClusterService_SnapshotCluster_FullMethodName: fresh,

	// Each node speaks for itself.
	synclinev1.ClusterService_GetCluster_FullMethodName:    here,
	synclinev1.PeerService_Report_FullMethodName:           here,
	synclinev1.PeerService_ReadIndex_FullMethodName:        here,
	synclinev1.PeerService_Join_FullMethodName:             here,
	synclinev1.PeerFilesService_FetchChunks_FullMethodName: here,

	healthv1.Health_Check_FullMethodName: here,
	healthv1.Health_List_FullMethodName:  here,
	healthv1.Health_Watch_FullMethodName: here,

	reflectionv1.ServerReflection_ServerReflectionInfo_FullMethodName:      here,
	reflectionv1alpha.ServerReflection_ServerReflectionInfo_FullMethodName: here,
}

// checkAnswers holds the table against what a server serves.
func checkAnswers(served map[string]grpc.ServiceInfo) error {
	var errs []error
	for service, info := range served {
		for _, m := range info.Methods {
			if method := "/" + service + "/" + m.Name; answeredBy[method] == 0 {
				errs = append(errs, fmt.Errorf("nothing says who answers %s, which is served", method))
			}
		}
	}
	return errors.Join(errs...)
}

// answerPatience is how long a call waits for there to be a leader: an election takes less, if
// there is a majority.
const answerPatience = 6 * time.Second

// stale reports whether a caller takes what this node knows.
func stale(ctx context.Context) bool {
	md, _ := metadata.FromIncomingContext(ctx)
	v := md.Get(StaleKey)
	return len(v) == 1 && v[0] == "1"
}

// freshen makes what the caller reads next as new as it wants it. what is the header of an
// answer from an old state; nil if it is new.
func (c *Controller) freshen(ctx context.Context) (header metadata.MD, err error) {
	if stale(ctx) {
		behind := "unknown"
		if s := c.store.Staleness(); s.Contact >= 0 {
			behind = s.Contact.Round(time.Millisecond).String()
		}
		return metadata.Pairs(BehindKey, behind), nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	for {
		err := c.readIndex(ctx)
		if err == nil {
			return nil, nil
		}
		if c.store.Err() != nil {
			return nil, c.stopped()
		}
		// Between two leaders, as a rule.
		pause(ctx, 50*time.Millisecond)
		if ctx.Err() != nil {
			return nil, c.unread(err)
		}
	}
}

// readIndexLimit is how long one leader may take to answer. It may have been stopped, and there
// be another one by now.
const readIndexLimit = 1500 * time.Millisecond

func (c *Controller) readIndex(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readIndexLimit)
	defer cancel()
	_, err := c.store.ReadIndex(ctx)
	return err
}

// unread says why a read was not answered, and how it can be.
func (c *Controller) unread(err error) error {
	return c.notLeader(fmt.Errorf("controller %s cannot tell whether what it knows is up to date: %w; to see it all the same: --stale", c.store.ID(), err))
}

func (c *Controller) answerUnary(ctx context.Context, request any, call *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	switch answeredBy[call.FullMethod] {
	case byLeader:
		if stale(ctx) && call.FullMethod == synclinev1.AgentService_ListAgents_FullMethodName {
			break
		}
		return c.byLeader(ctx, request, call.FullMethod, next)
	case here:
		return next(ctx, request)
	}
	header, err := c.freshen(ctx)
	if err != nil {
		return nil, err
	}
	if header != nil {
		if err := grpc.SetHeader(ctx, header); err != nil {
			return nil, err
		}
	}
	return next(ctx, request)
}

func (c *Controller) answerStream(server any, stream grpc.ServerStream, call *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	switch answeredBy[call.FullMethod] {
	case byLeader:
		return c.streamByLeader(server, stream, call.FullMethod, next)
	case here:
		return next(server, stream)
	}
	header, err := c.freshen(stream.Context())
	if err != nil {
		return err
	}
	if header != nil {
		if err := stream.SetHeader(header); err != nil {
			return err
		}
	}
	return next(server, stream)
}
