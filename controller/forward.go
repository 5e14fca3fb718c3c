package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"syncline/controller/store"
	"syncline/proto/identity"
)

// byLeader has the leader answer a call: here, if this node leads, or by forwarding it. It
// follows the leadership, and gives up after answerPatience. If an answer was lost on its
// way the call is made again, so every method that is forwarded can be repeated without harm:
// what makes something has a request id.
func (c *Controller) byLeader(ctx context.Context, request any, method string, next grpc.UnaryHandler) (any, error) {
	patience, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	for {
		answer, err := c.tryLeader(ctx, request, method, next)
		if status.Code(err) != codes.Unavailable || isForwarded(ctx) || c.life.Err() != nil {
			return answer, err
		}
		pause(patience, 50*time.Millisecond)
		if patience.Err() != nil {
			return nil, err
		}
	}
}

// tryLeader asks whom this node takes for the leader, once.
func (c *Controller) tryLeader(ctx context.Context, request any, method string, next grpc.UnaryHandler) (any, error) {
	if c.reigning() != nil {
		return next(ctx, request)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	leader, out, conn, err := c.toLeader(ctx)
	if err != nil {
		return nil, err
	}
	_, answer, err := messagesOf(method)
	if err != nil {
		return nil, err
	}
	go c.watchLeader(ctx, leader, cancel)
	if err := conn.Invoke(out, method, request, answer); err != nil {
		return nil, c.passedOn(ctx, err)
	}
	return answer, nil
}

// errOtherLeader: the node that a call was forwarded to leads no more. It may have been stopped,
// and would then keep whoever waits for it.
var errOtherLeader = errors.New("the leadership has changed")

// watchLeader cancels what waits for a leader when another node leads, until ctx is done. The second
// look in a row decides: the answer of a leader that has just handed over, because it was asked
// to, is on its way at the first, and the call would be made again for nothing.
func (c *Controller) watchLeader(ctx context.Context, leader store.Peer, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for other := 0; other < 2; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if now := c.store.LeaderPeer(); now.ID != "" && now != leader {
				other++
			} else {
				other = 0
			}
		}
	}
	cancel(errOtherLeader)
}

// toLeader is the leader and a connection to it, and the context of a call that is forwarded there.
func (c *Controller) toLeader(ctx context.Context) (store.Peer, context.Context, *grpc.ClientConn, error) {
	leader := c.store.LeaderPeer()
	if isForwarded(ctx) || leader.ID == "" || leader.ID == c.store.ID() || c.peers == nil {
		return leader, nil, nil, c.notLeader(fmt.Errorf("controller %s does not lead the cluster, and cannot ask who does", c.store.ID()))
	}
	out, err := identity.Forward(ctx)
	if err != nil {
		return leader, nil, nil, status.Error(codes.Internal, err.Error())
	}
	conn, err := c.peers.Conn(leader.Address)
	if err != nil {
		return leader, nil, nil, status.Error(codes.Unavailable, err.Error())
	}
	return leader, out, conn, nil
}

// isForwarded reports whether another controller has forwarded the call here.
func isForwarded(ctx context.Context) bool {
	caller, err := identity.CallerOf(ctx)
	return err == nil && caller.Via != ""
}

// passedOn is an error of the leader as it is given to the caller, with its details. ctx is
// that of watchLeader.
func (c *Controller) passedOn(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errOtherLeader) {
		return c.notLeader(fmt.Errorf("%w, and the answer of the last leader is not known", errOtherLeader))
	}
	return status.Convert(err).Err()
}

// messagesOf makes an empty request and an empty answer of a method.
func messagesOf(method string) (request, answer proto.Message, err error) {
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", "."))
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return nil, nil, fmt.Errorf("forward %s: %w", method, err)
	}
	m, ok := d.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, nil, fmt.Errorf("forward %s: it is no method", method)
	}
	var out [2]proto.Message
	for i, of := range []protoreflect.MessageDescriptor{m.Input(), m.Output()} {
		t, err := protoregistry.GlobalTypes.FindMessageByName(of.FullName())
		if err != nil {
			return nil, nil, fmt.Errorf("forward %s: %w", method, err)
		}
		out[i] = t.New().Interface()
	}
	return out[0], out[1], nil
}

// streamByLeader has the leader answer a call with a stream of answers. When the leadership
// changes it is opened again with the next leader, so it is only for streams whose every
// beginning says all.
func (c *Controller) streamByLeader(server any, stream grpc.ServerStream, method string, next grpc.StreamHandler) error {
	request, _, err := messagesOf(method)
	if err != nil {
		return err
	}
	if err := stream.RecvMsg(request); err != nil {
		return err
	}
	ctx := stream.Context()
	alone := time.Now()
	for {
		began := time.Now()
		if c.reigning() != nil {
			err = next(server, &askedStream{ServerStream: stream, request: request})
		} else {
			err = c.relay(stream, method, request)
		}
		if time.Since(began) > answerPatience {
			alone = time.Now()
		}
		switch {
		case ctx.Err() != nil:
			return status.FromContextError(ctx.Err()).Err()
		case c.life.Err() != nil:
			return c.stopped()
		case status.Code(err) != codes.Unavailable, isForwarded(ctx), time.Since(alone) > answerPatience:
			return err
		}
		pause(ctx, 50*time.Millisecond)
	}
}

// relay copies the leader's stream of answers.
func (c *Controller) relay(stream grpc.ServerStream, method string, request proto.Message) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	leader, out, conn, err := c.toLeader(ctx)
	if err != nil {
		return err
	}
	go c.watchLeader(ctx, leader, cancel)
	from, err := conn.NewStream(out, &grpc.StreamDesc{ServerStreams: true}, method)
	if err != nil {
		return c.passedOn(ctx, err)
	}
	if err := errors.Join(from.SendMsg(request), from.CloseSend()); err != nil && !errors.Is(err, io.EOF) {
		return c.passedOn(ctx, err)
	}
	for {
		_, answer, err := messagesOf(method)
		if err != nil {
			return err
		}
		if err := from.RecvMsg(answer); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return c.passedOn(ctx, err)
		}
		if err := stream.SendMsg(answer); err != nil {
			return err
		}
	}
}

// askedStream is one whose only request was taken from it already.
type askedStream struct {
	grpc.ServerStream
	request proto.Message
}

// RecvMsg gives the request.
func (a *askedStream) RecvMsg(m any) error {
	if a.request == nil {
		return io.EOF
	}
	proto.Merge(m.(proto.Message), a.request)
	a.request = nil
	return nil
}
