package cli

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"syncline/controller"
	"syncline/controller/peer"
)

// redial is how often controllers are dialled that do not answer.
var redial = backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}

const (
	// againLimit is how long a command goes on to ask when no controller can answer: an
	// election takes some seconds.
	againLimit = 30 * time.Second
	// againSilence is how long it does so without a word.
	againSilence = 3 * time.Second
)

// again repeats what controllers could not answer: their leader was lost, or the controller
// that was asked. Whatever a command asks for may be asked for twice: what makes something has
// a request id. With one controller, which does not say that others lead, there is nobody to
// ask, and nothing is repeated.
type again struct {
	several bool
	// say is told when it takes long.
	say io.Writer
}

// worth reports whether an error may be gone in a moment, or elsewhere.
func (a *again) worth(err error) bool {
	if a == nil || status.Code(err) != codes.Unavailable {
		return false
	}
	_, elsewhere := peer.Leader(err)
	return a.several || elsewhere
}

// do calls try until there is an answer that it is not worth to ask again for, or none for
// againLimit. heard: there was an answer first.
func (a *again) do(ctx context.Context, try func() (heard bool, err error)) error {
	began, told := time.Now(), false
	wait := 50 * time.Millisecond
	for {
		heard, err := try()
		if heard {
			began, told, wait = time.Now(), false, 50*time.Millisecond
		}
		if !a.worth(err) || ctx.Err() != nil || time.Since(began) > againLimit {
			return err
		}
		if !told && time.Since(began) > againSilence {
			told = true
			fmt.Fprintf(a.say, "syncline: no controller answers yet (%s); asking for %v\n", onTerminal(unwrapped(status.Convert(err).Message())), againLimit)
		}
		timer := time.NewTimer(time.Duration(float64(wait) * (0.75 + 0.5*rand.Float64())))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
		wait = min(2*wait, time.Second)
	}
}

func (a *again) unary(ctx context.Context, method string, request, answer any, conn *grpc.ClientConn, call grpc.UnaryInvoker, options ...grpc.CallOption) error {
	return a.do(ctx, func() (bool, error) { return false, call(ctx, method, request, answer, conn, options...) })
}

// asStale asks for what a controller knows, if that was wanted, and says how old it may be.
func (a *app) asStale(ctx context.Context, method string, request, answer any, conn *grpc.ClientConn, call grpc.UnaryInvoker, options ...grpc.CallOption) error {
	if !a.stale {
		return call(ctx, method, request, answer, conn, options...)
	}
	var header metadata.MD
	ctx = metadata.AppendToOutgoingContext(ctx, controller.StaleKey, "1")
	err := call(ctx, method, request, answer, conn, append(options, grpc.Header(&header))...)
	a.sayBehind(header)
	return err
}

func (a *app) asStaleStream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	if a.stale {
		ctx = metadata.AppendToOutgoingContext(ctx, controller.StaleKey, "1")
	}
	return open(ctx, desc, conn, method, options...)
}

// sayBehind says how old an answer may be.
func (a *app) sayBehind(header metadata.MD) {
	if v := header.Get(controller.BehindKey); len(v) == 1 && v[0] != "0s" {
		fmt.Fprintf(a.Err, "syncline: as this controller knew it %s ago, when it last heard of the leader\n", onTerminal(v[0]))
	}
}
