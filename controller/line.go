package controller

import (
	"crypto/rand"
	"encoding/hex"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"syncline/proto/line"
	synclinev1 "syncline/proto/syncline/v1"
)

// lineProtocol is the first version of the agents' protocol with lines and leases.
const lineProtocol = 4

// receiptEvery is after how many messages of an agent it is told that they were acted on.
const receiptEvery = 64

// controlLine is what one start of an agent and this controller say to each other, over as
// many streams as it takes. While the agent is away for less than a lease, what it is to be
// told waits here.
type controlLine struct {
	// id and incarnation are fixed.
	id          string
	incarnation uint64
	out         line.Outbox[*synclinev1.ControlResponse]

	// receiving is held from the look at a message's number until those concerned have it,
	// so that a stream that ends late does not mix with the next one.
	receiving sync.Mutex
	in        line.Inbox

	// lost: it does not go on any more. away runs while there is no stream. Both are guarded
	// by sessions.mu.
	lost bool
	away *time.Timer
}

func newControlLine(incarnation uint64) *controlLine {
	var b [8]byte
	rand.Read(b[:])
	return &controlLine{id: hex.EncodeToString(b[:]), incarnation: incarnation}
}

// say gives a message its number and keeps it until the agent has it.
func (l *controlLine) say(m *synclinev1.ControlResponse) error {
	return l.out.Push(proto.Size(m), func(number uint64) *synclinev1.ControlResponse {
		// The same message goes to several agents.
		return &synclinev1.ControlResponse{Message: m.Message, Number: number}
	})
}

// take has act act on a message of the agent, once. It says which receipt is due, 0 if
// none is.
func (l *controlLine) take(number uint64, act func()) (receipt uint64, err error) {
	l.receiving.Lock()
	defer l.receiving.Unlock()
	if number > 0 {
		fresh, err := l.in.Take(number)
		if err != nil || !fresh {
			return 0, err
		}
	}
	act()
	if number > 0 && number%receiptEvery == 0 {
		return number, nil
	}
	return 0, nil
}

// received is the number of the last message that was acted on.
func (l *controlLine) received() uint64 {
	l.receiving.Lock()
	defer l.receiving.Unlock()
	return l.in.Received()
}

// join gives a session the line that it is to carry: the one that the agent would go on with,
// or a new one; none if the agent is too old. replaced is one that does not go on: whoever
// waits for that agent waits in vain. The caller holds mu.
func (ss *sessions) join(s *session) (resumed bool, replaced *controlLine) {
	old := ss.lines[s.name]
	if old != nil {
		old.back()
		if old.goesOn(s.hello) {
			s.line, s.sent = old, s.hello.Received
			return true, nil
		}
		old.lost = true
		delete(ss.lines, s.name)
	}
	if min(Protocol, s.hello.ProtocolMax) >= lineProtocol {
		s.line = newControlLine(s.hello.Incarnation)
		ss.lines[s.name] = s.line
	}
	return false, old
}

// goesOn reports whether an agent can go on with the line, and forgets what it has of it.
// The caller holds sessions.mu.
func (l *controlLine) goesOn(hello *synclinev1.Hello) bool {
	return !l.lost && l.id == hello.Line && l.incarnation == hello.Incarnation && l.out.Holds(hello.Received) && l.out.Received(hello.Received) == nil
}

// back stops the time that an agent is away. The caller holds sessions.mu.
func (l *controlLine) back() {
	if l.away != nil {
		l.away.Stop()
		l.away = nil
	}
}

// leave begins the time that an agent may be away; over is called if it passes. lost is true
// if the line cannot go on anyway.
func (ss *sessions) leave(l *controlLine, agent string, grace time.Duration, over func()) (lost bool) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.ended || ss.lines[agent] != l || ss.byName[agent] != nil {
		return false
	}
	if l.lost {
		delete(ss.lines, agent)
		return true
	}
	l.back()
	l.away = time.AfterFunc(grace, func() {
		if ss.giveUp(l, agent) {
			over()
		}
	})
	return false
}

// giveUp ends a line whose agent was away for too long. It reports whether it was still to be
// ended.
func (ss *sessions) giveUp(l *controlLine, agent string) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.ended || ss.lines[agent] != l || ss.byName[agent] != nil {
		return false
	}
	l.lost = true
	delete(ss.lines, agent)
	return true
}

// say hands a message to an agent on its line; ok is false if it has none.
func (ss *sessions) say(agent string, m *synclinev1.ControlResponse) (said, ok bool) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	l := ss.lines[agent]
	if l == nil {
		return false, false
	}
	if l.lost {
		return false, true
	}
	if err := l.say(m); err != nil {
		// It has not read for so long that it cannot be told in order any more.
		l.lost = true
		if s := ss.byName[agent]; s != nil {
			s.end()
		}
		return false, true
	}
	return true, true
}

// hasLine reports whether an agent that is connected keeps a line, and leases.
func (ss *sessions) hasLine(agent string) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.lines[agent] != nil
}

// hint hands a message that may be lost to an agent, if it is connected and reads.
func (ss *sessions) hint(agent string, m *synclinev1.ControlResponse) {
	ss.mu.Lock()
	s := ss.byName[agent]
	ss.mu.Unlock()
	if s == nil || s.line == nil {
		return
	}
	select {
	case s.out <- m:
	default:
	}
}
