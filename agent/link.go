package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	synclinev1 "syncline/proto/syncline/v1"
)

// link is one open control stream.
type link struct {
	stream    grpc.BidiStreamingClient[synclinev1.ControlRequest, synclinev1.ControlResponse]
	heartbeat time.Duration
	// outdated says, at every heartbeat, if the connection is to be made anew.
	outdated func() bool
	// out is written by anyone through send and read by transmit alone. It is never
	// closed; gone is, by transmit, when nothing reads out any more. What is on the line
	// does not go through it.
	out  chan *synclinev1.ControlRequest
	gone chan struct{}
	// line is nil if the controller keeps none. The controller has its messages up to sent.
	line *controlLine
	sent uint64
	// patience is how many heartbeats in a row may be without an answer; 0: all of them.
	patience int64
	// unanswered counts the heartbeats since the controller said something.
	unanswered atomic.Int64
}

// open says hello and waits for the welcome.
func (a *Agent) open(ctx context.Context, controller string, client synclinev1.LinkServiceClient) (*link, error) {
	stream, err := client.Control(ctx)
	if err != nil {
		return nil, err
	}
	hello := a.hello
	hello.RunIds = a.runs.ids()
	a.runs.offer(hello)
	if err := stream.Send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Hello{Hello: hello}}); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	welcome := first.GetWelcome()
	if welcome == nil {
		return nil, status.Errorf(codes.Internal, "controller %s did not answer hello with a welcome", controller)
	}
	if err := a.runs.welcomed(welcome); err != nil {
		return nil, err
	}
	for _, id := range welcome.ForgetRunIds {
		a.runs.forget(id)
	}
	beat := time.Duration(welcome.HeartbeatNs)
	if beat <= 0 {
		return nil, status.Errorf(codes.Internal, "controller %s named no heartbeat", controller)
	}
	return &link{
		stream:    stream,
		heartbeat: beat,
		outdated:  a.outdated(),
		out:       make(chan *synclinev1.ControlRequest, 4096),
		gone:      make(chan struct{}),
		line:      a.runs.currentLine(),
		sent:      welcome.Received,
		patience:  int64(welcome.UnansweredLimit),
	}, nil
}

// errSilent ends a connection to a controller that stands still, or that no packet reaches.
var errSilent = errors.New("the controller is silent")

// watch returns errSilent when the controller has said nothing for too long: it was stopped, or
// cut off, and no packet may ever say so. Until ctx is done it returns nothing else. It counts
// heartbeats and not time, so that an agent that was stopped itself does not take that for
// the controller's silence.
func (l *link) watch(ctx context.Context) error {
	tick := time.NewTicker(l.heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if n := l.unanswered.Add(1); l.patience > 0 && n > l.patience {
			return fmt.Errorf("%w: none of the last %d heartbeats was answered, one each %v", errSilent, n-1, l.heartbeat)
		}
	}
}

// errOutdated ends a connection that was made with a certificate which has been renewed since.
var errOutdated = errors.New("the certificate was renewed")

// outdated tells of a connection that is made now when its certificate has been renewed: the
// controller would end it when the old one expires, whatever goes on then. While there
// are runs it stays.
func (a *Agent) outdated() func() bool {
	if a.cfg.Dev {
		return func() bool { return false }
	}
	made := a.cfg.Identity.Expires()
	return func() bool { return !a.cfg.Identity.Expires().Equal(made) && len(a.runs.ids()) == 0 }
}

// send hands one message to the stream. It blocks while the controller is slow,
// and drops the message if the stream has ended: whoever comes next is told anew.
func (l *link) send(m *synclinev1.ControlRequest) {
	select {
	case l.out <- m:
	case <-l.gone:
	}
}

// transmit is the only writer of the stream.
func (l *link) transmit(ctx context.Context) error {
	defer close(l.gone)
	tick := time.NewTicker(l.heartbeat)
	defer tick.Stop()
	for {
		m, more := l.next()
		if m == nil {
			select {
			case <-ctx.Done():
				return errors.Join(ctx.Err(), l.stream.CloseSend())
			case <-l.broken():
				return status.Error(codes.ResourceExhausted, "the controller does not take what this agent says; the runs at work are ended")
			case <-tick.C:
				if l.outdated() {
					return errors.Join(errOutdated, l.stream.CloseSend())
				}
				m = &synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Heartbeat{Heartbeat: &synclinev1.Heartbeat{Received: l.received()}}}
			case m = <-l.out:
			case <-more:
				continue
			}
		}
		if err := l.stream.Send(m); err != nil {
			return err
		}
	}
}

// next is the next message of the line; nil if there is none yet, and then more is closed
// when there is.
func (l *link) next() (m *synclinev1.ControlRequest, more <-chan struct{}) {
	if l.line == nil {
		return nil, nil
	}
	m, ok, more := l.line.out.After(l.sent)
	if !ok {
		return nil, more
	}
	l.sent = m.Number
	return m, nil
}

func (l *link) broken() <-chan struct{} {
	if l.line == nil {
		return nil
	}
	return l.line.broken
}

func (l *link) received() uint64 {
	if l.line == nil {
		return 0
	}
	return l.line.received()
}

// receive acts on what the controller says, in its order. It never blocks on a
// run's work: whatever may take time runs in a goroutine of the run.
func (l *link) receive(runs *runs) error {
	for {
		m, err := l.stream.Recv()
		if err == nil {
			l.unanswered.Store(0)
			err = l.take(m, runs)
		}
		if err != nil {
			return err
		}
	}
}

// take acts on one message, once.
func (l *link) take(m *synclinev1.ControlResponse, runs *runs) error {
	if r := m.GetReceipt(); r != nil && l.line != nil {
		if err := l.line.out.Received(r.Received); err != nil {
			return status.Error(codes.Internal, err.Error())
		}
		return nil
	}
	if m.Number > 0 && l.line != nil {
		fresh, receipt, err := l.line.take(m.Number)
		if err != nil {
			return status.Error(codes.Internal, err.Error())
		}
		if !fresh {
			return nil
		}
		if receipt {
			defer l.send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Receipt{Receipt: &synclinev1.Receipt{Received: m.Number}}})
		}
	}
	if err := runs.handle(m); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

// upload sends the chunks of all runs and takes acknowledgements. A new stream
// begins with everything that is not acknowledged yet; the controller knows what
// it has already.
func (rs *runs) upload(ctx context.Context, client synclinev1.LinkServiceClient) error {
	stream, err := client.Upload(ctx)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- rs.acknowledge(stream) }()
	connection := rs.newConnection()
	for {
		changed := rs.changed()
		for c := rs.unsent(connection); c != nil; c = rs.unsent(connection) {
			if err := stream.Send(&synclinev1.UploadRequest{Chunk: c}); err != nil {
				// The reason stands at the receiving side.
				return <-ended
			}
		}
		select {
		case err := <-ended:
			return err
		case <-changed:
		}
	}
}

// acknowledge takes acknowledgements until the stream ends.
func (rs *runs) acknowledge(stream grpc.BidiStreamingClient[synclinev1.UploadRequest, synclinev1.UploadResponse]) error {
	for {
		ack, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("upload ended: %w", err)
		}
		rs.acknowledged(ack)
	}
}
