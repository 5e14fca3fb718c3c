package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"

	"syncline/proto/identity"
	synclinev1 "syncline/proto/syncline/v1"
)

var (
	forAgents    = []identity.Role{identity.Agent}
	forOperators = []identity.Role{identity.Operator}
	// Controllers ask each other in their own names; what they forward has the caller's.
	forControllers = []identity.Role{identity.Controller}
	// People look; what has an effect on a host or on what is kept is for operators.
	forPeople = []identity.Role{identity.Operator, identity.Viewer}
)

// access is who may call what, and the whole of it: a method that is not here nobody may
// call, and a controller that serves such a method does not start.
var access = map[string][]identity.Role{
	// An agent's certificate says its name; linkService holds what it claims against that.
	synclinev1.LinkService_Control_FullMethodName: forAgents,
	synclinev1.LinkService_Upload_FullMethodName:  forAgents,

	synclinev1.RunService_ValidateExperiment_FullMethodName: forPeople,
	synclinev1.RunService_GetRun_FullMethodName:             forPeople,
	synclinev1.RunService_ListRuns_FullMethodName:           forPeople,
	synclinev1.RunService_WatchRun_FullMethodName:           forPeople,
	synclinev1.RunService_ListEvents_FullMethodName:         forPeople,
	synclinev1.RunService_ExportRun_FullMethodName:          forPeople,
	// A plan lets agents probe each other.
	synclinev1.RunService_PlanExperiment_FullMethodName: forOperators,
	synclinev1.RunService_CreateRun_FullMethodName:      forOperators,
	synclinev1.RunService_CancelRun_FullMethodName:      forOperators,
	synclinev1.RunService_ArchiveRun_FullMethodName:     forOperators,
	synclinev1.RunService_DeleteRun_FullMethodName:      forOperators,

	synclinev1.AgentService_ListAgents_FullMethodName:  forPeople,
	synclinev1.AgentService_WatchAgents_FullMethodName: forPeople,

	synclinev1.TimelineService_GetTimeline_FullMethodName:   forPeople,
	synclinev1.TimelineService_ListVerdicts_FullMethodName:  forPeople,
	synclinev1.TimelineService_ListSummaries_FullMethodName: forPeople,
	synclinev1.TimelineService_GetClock_FullMethodName:      forPeople,
	synclinev1.TimelineService_ProbeClocks_FullMethodName:   forOperators,

	synclinev1.ClusterService_GetCluster_FullMethodName:         forPeople,
	synclinev1.ClusterService_RemoveNode_FullMethodName:         forOperators,
	synclinev1.ClusterService_TransferLeadership_FullMethodName: forOperators,
	synclinev1.ClusterService_SnapshotCluster_FullMethodName:    forOperators,

	synclinev1.PeerService_Report_FullMethodName:           forControllers,
	synclinev1.PeerService_ReadIndex_FullMethodName:        forControllers,
	synclinev1.PeerService_Join_FullMethodName:             forControllers,
	synclinev1.PeerFilesService_FetchChunks_FullMethodName: forControllers,

	healthv1.Health_Check_FullMethodName: identity.Roles,
	healthv1.Health_List_FullMethodName:  identity.Roles,
	healthv1.Health_Watch_FullMethodName: identity.Roles,

	reflectionv1.ServerReflection_ServerReflectionInfo_FullMethodName:      forPeople,
	reflectionv1alpha.ServerReflection_ServerReflectionInfo_FullMethodName: forPeople,
}

// checkAccess holds the table against what a server serves.
func checkAccess(served map[string]grpc.ServiceInfo) error {
	var errs []error
	known := map[string]bool{}
	for service, info := range served {
		for _, m := range info.Methods {
			method := "/" + service + "/" + m.Name
			known[method] = true
			if len(access[method]) == 0 {
				errs = append(errs, fmt.Errorf("nobody may call %s, which is served: it has no place in the table of access", method))
			}
		}
	}
	for method := range access {
		if !known[method] {
			errs = append(errs, fmt.Errorf("the table of access has %s, which is not served", method))
		}
	}
	return errors.Join(errs...)
}

// guard lets callers through to the methods they may call.
type guard struct {
	log *slog.Logger
}

// admit is why a caller may not call a method; nil if he may.
func (g guard) admit(ctx context.Context, method string) (identity.Caller, error) {
	caller, err := identity.CallerOf(ctx)
	if err != nil {
		return caller, status.Error(codes.Unauthenticated, err.Error())
	}
	roles, ok := access[method]
	switch {
	case !ok:
		return caller, status.Errorf(codes.PermissionDenied, "%s: nobody may call it", method)
	case caller.Dev || slices.Contains(roles, caller.Role):
		return caller, nil
	}
	g.log.Warn("a call was refused", "caller", caller.String(), "method", method)
	return caller, status.Errorf(codes.PermissionDenied, "%v may not call %s, which is for the role %s; use the certificate of one (syncline pki issue)",
		caller, strings.TrimPrefix(method, "/"), roleWords(roles))
}

func roleWords(roles []identity.Role) string {
	words := make([]string, len(roles))
	for i, r := range roles {
		words[i] = r.String()
	}
	return strings.Join(words, " or ")
}

func (g guard) unary(ctx context.Context, request any, call *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if _, err := g.admit(ctx, call.FullMethod); err != nil {
		return nil, err
	}
	return next(ctx, request)
}

// stream admits a stream, and ends it when the certificate expires that it was opened with:
// a connection knows nothing of what its ends are renewed with later.
func (g guard) stream(server any, stream grpc.ServerStream, call *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	caller, err := g.admit(stream.Context(), call.FullMethod)
	if err != nil {
		return err
	}
	if caller.Expires.IsZero() {
		return next(server, stream)
	}
	// Certificates go by the wall clock, which may be set in the meantime; to the next look
	// at it there is never more than a minute.
	wake := time.NewTimer(0)
	defer wake.Stop()
	ended := make(chan error, 1)
	// When this returns, gRPC ends the stream's context, and with it what the handler does.
	go func() { ended <- next(server, stream) }()
	for {
		select {
		case err := <-ended:
			return err
		case <-wake.C:
			left := time.Until(caller.Expires)
			if left <= 0 {
				g.log.Warn("a stream was ended, because the certificate that it was opened with has expired", "caller", caller.String(), "method", call.FullMethod)
				return status.Errorf(codes.Unauthenticated, "the certificate of %v has expired at %s, and with it this stream: issue a new one (syncline pki issue %v %s --renew) and connect again",
					caller, caller.Expires.UTC().Format(time.RFC3339), caller.Role, caller.Name)
			}
			wake.Reset(min(left, time.Minute))
		}
	}
}
