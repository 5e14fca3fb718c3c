package identity

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Caller is who is at the other end of a gRPC call.
type Caller struct {
	// Identity is the zero one if Dev is true.
	Identity
	// Dev is true for plain text: nobody has shown who he is.
	Dev bool
	// Via is the controller that forwarded the call; "" if it came from the caller himself.
	Via string
	// Expires is until when the certificate is valid, by the wall clock; zero for those
	// without one (Dev, and operators on the Unix socket). Of a forwarded call it is the
	// forwarding controller's.
	Expires time.Time
}

// Caller says who he is, for gRPC.
type authInfo struct {
	credentials.CommonAuthInfo
	caller Caller
}

// AuthType is the name of this way of knowing each other.
func (authInfo) AuthType() string { return "syncline" }

// CallerOf is who makes the call that ctx is of, also if a controller has forwarded it. It fails for connections that were not
// made with the credentials of this package.
func CallerOf(ctx context.Context) (Caller, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Caller{}, errors.New("this is no call of gRPC")
	}
	info, ok := p.AuthInfo.(authInfo)
	if !ok {
		return Caller{}, errors.New("the connection says nothing about who is at its other end")
	}
	return forwarded(ctx, info.caller)
}

// String is the caller as a log names him.
func (c Caller) String() string {
	who := c.Identity.String()
	if c.Dev {
		who = "somebody on this machine (--dev)"
	}
	if c.Via != "" {
		who += " by way of controller " + c.Via
	}
	return who
}
