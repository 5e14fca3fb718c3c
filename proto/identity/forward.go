package identity

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/metadata"
)

// Metadata of a call that one controller forwards to another.
const (
	// forwardedKey is there, with the value 1, on a call that was forwarded.
	forwardedKey = "syncline-forwarded"
	// callerKey is the URI name of who made the call; absent if nobody has shown who he is (Dev).
	callerKey = "syncline-caller"
)

// Forward makes, of the context of a call that was received, that of the same call to another
// controller, where CallerOf is who made it here. A call is forwarded once: to forward
// it again is an error, since two controllers that take each other for the leader would
// never end.
func Forward(ctx context.Context) (context.Context, error) {
	caller, err := CallerOf(ctx)
	if err != nil {
		return nil, err
	}
	if caller.Via != "" {
		return nil, fmt.Errorf("the call was forwarded here by controller %s, and is not forwarded again", caller.Via)
	}
	ctx = metadata.AppendToOutgoingContext(ctx, forwardedKey, "1")
	if !caller.Dev {
		ctx = metadata.AppendToOutgoingContext(ctx, callerKey, caller.URI())
	}
	return ctx, nil
}

// forwarded is who made a call that came by way of peer; peer himself if it came from him.
func forwarded(ctx context.Context, peer Caller) (Caller, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	flags, callers := md.Get(forwardedKey), md.Get(callerKey)
	switch {
	case len(flags) == 0 && len(callers) == 0:
		return peer, nil
	case len(flags) != 1 || flags[0] != "1" || len(callers) > 1:
		return peer, fmt.Errorf("the call says of itself that it was forwarded, and not how: %s %q, %s %q", forwardedKey, flags, callerKey, callers)
	case peer.Dev && len(callers) == 0:
		peer.Via = "of this machine"
		return peer, nil
	case peer.Dev || peer.Role != Controller:
		return peer, fmt.Errorf("the call says that it was forwarded, and comes from %v: only controllers forward calls", peer)
	case len(callers) == 0:
		return peer, errors.New("the call was forwarded without the name of who made it")
	}
	who, err := Parse(callers[0])
	if err != nil {
		return peer, fmt.Errorf("the caller of a forwarded call: %w", err)
	}
	if who.Cluster != peer.Cluster || who.Role == Controller {
		return peer, fmt.Errorf("a call of %v was forwarded by %v: only those of its own cluster's agents and people are", who, peer)
	}
	return Caller{Identity: who, Via: peer.Name, Expires: peer.Expires}, nil
}
