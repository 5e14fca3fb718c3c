package agent

import (
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"syncline/proto/line"
	synclinev1 "syncline/proto/syncline/v1"
)

// receiptEvery is after how many messages of the controller it is told that they were acted
// on, if no heartbeat does before.
const receiptEvery = 64

// controlLine is what this agent and one controller say to each other, over as many streams
// as it takes. It is safe for concurrent use, but for what is said of in.
type controlLine struct {
	// id is the controller's name for it; it is fixed.
	id  string
	out line.Outbox[*synclinev1.ControlRequest]

	mu sync.Mutex
	// in is changed by the one goroutine that receives.
	in line.Inbox
	// broken is closed when something that was to be said is lost: the line cannot go on.
	broken chan struct{}
	over   bool
}

func newControlLine(id string) *controlLine { return &controlLine{id: id, broken: make(chan struct{})} }

// say gives a message its number and keeps it until the controller has it.
func (l *controlLine) say(m *synclinev1.ControlRequest) {
	err := l.out.Push(proto.Size(m), func(number uint64) *synclinev1.ControlRequest {
		// The message may be said again, with another number.
		return &synclinev1.ControlRequest{Message: m.Message, Number: number}
	})
	if err != nil {
		l.giveUp()
	}
}

// giveUp says that the line cannot go on.
func (l *controlLine) giveUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.over = true
		close(l.broken)
	}
}

// whole reports whether the line can go on.
func (l *controlLine) whole() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.over
}

// received is the number of the last message that was acted on.
func (l *controlLine) received() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.in.Received()
}

// take says whether a message is to be acted on, and whether it is time for a receipt.
func (l *controlLine) take(number uint64) (fresh, receipt bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fresh, err = l.in.Take(number)
	return fresh, fresh && number%receiptEvery == 0, err
}

// offer adds to a hello the line that the agent would go on with.
func (rs *runs) offer(hello *synclinev1.Hello) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	hello.Line, hello.Received = "", 0
	if rs.line != nil && rs.line.whole() {
		hello.Line, hello.Received = rs.line.id, rs.line.received()
	}
}

// currentLine is nil if the controller keeps none.
func (rs *runs) currentLine() *controlLine {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.line
}

// welcomed goes on with the line that a controller names. If that is another one than
// before, or none, what was under way may be lost, and the runs at work are ended.
func (rs *runs) welcomed(w *synclinev1.Welcome) error {
	rs.mu.Lock()
	old := rs.line
	resumed := w.Resumed && old != nil && old.id == w.Line && old.whole()
	if w.Resumed && !resumed {
		rs.mu.Unlock()
		return status.Errorf(codes.Internal, "the controller goes on with the line %q, which this agent does not have", w.Line)
	}
	if !resumed {
		rs.line = nil
		if w.Line != "" {
			rs.line = newControlLine(w.Line)
		}
	}
	rs.mu.Unlock()
	if resumed {
		if err := old.out.Received(w.Received); err != nil {
			// The next hello offers nothing.
			old.giveUp()
			return status.Errorf(codes.Internal, "line %s: %v", w.Line, err)
		}
		return nil
	}
	rs.abandon("the controller did not go on where the connection was lost: it was restarted, or gave this agent up, or another one leads now")
	return nil
}
