package controller

import (
	"errors"
	"fmt"
	"sync"
	"time"

	synclinev1 "syncline/proto/syncline/v1"
)

// errNotServed: agents are not served here, or not any more.
var errNotServed = errors.New("this controller does not serve agents now")

// session is one agent's open control stream.
type session struct {
	name   string
	remote string
	hello  *synclinev1.Hello
	// out is written through send and read by the stream's writer alone. Never
	// closed; gone is, when the stream has ended.
	out  chan *synclinev1.ControlResponse
	gone chan struct{}
	once sync.Once
	// line is nil for an agent of an older version. The agent has its messages up to sent,
	// which belongs to the stream's writer.
	line *controlLine
	sent uint64
	// patience is how long a send may wait for room in out.
	patience time.Duration
}

// send hands a message to the agent. It blocks while the agent is slow to read; one
// that reads nothing for too long is cut off. The message is dropped if the stream
// has ended: the run hears of that anyway.
func (s *session) send(m *synclinev1.ControlResponse) {
	timer := time.NewTimer(s.patience)
	defer timer.Stop()
	select {
	case s.out <- m:
	case <-s.gone:
	case <-timer.C:
		s.end()
	}
}

// end makes the stream's handler return.
func (s *session) end() { s.once.Do(func() { close(s.gone) }) }

// sessions are the agents that are connected. Safe for concurrent use.
type sessions struct {
	mu     sync.Mutex
	byName map[string]*session
	// lines are those that go on, or wait for their agent, by its name.
	lines   map[string]*controlLine
	seen    map[string]time.Time
	changed chan struct{}
	ended   bool
}

func newSessions() *sessions {
	return &sessions{ended: true, byName: map[string]*session{}, lines: map[string]*controlLine{}, seen: map[string]time.Time{}, changed: make(chan struct{})}
}

// add makes s the session of its agent. The same start of an agent that comes
// again replaces its old stream; another one of the same name is refused, since
// nobody could tell the two apart. resumed and replaced are as in join.
func (ss *sessions) add(s *session) (resumed bool, replaced *controlLine, err error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if err := ss.refuse(s); err != nil {
		return false, nil, err
	}
	if old := ss.byName[s.name]; old != nil {
		old.end()
	}
	ss.byName[s.name] = s
	resumed, replaced = ss.join(s)
	ss.notify()
	return resumed, replaced, nil
}

// mayAdd says what add would, so that nothing of an agent that is to be refused is
// written down.
func (ss *sessions) mayAdd(s *session) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.refuse(s)
}

// refuse is why s cannot be its agent's session. The caller holds mu.
func (ss *sessions) refuse(s *session) error {
	old := ss.byName[s.name]
	switch {
	case ss.ended:
		return errNotServed
	case old != nil && old.hello.Incarnation != s.hello.Incarnation:
		return fmt.Errorf("an agent named %s is connected already, from %s; stop that one, or choose another --name", s.name, old.remote)
	}
	return nil
}

// remove takes s out, unless a newer session has its place.
func (ss *sessions) remove(s *session) (removed bool) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s.end()
	if ss.byName[s.name] != s {
		return false
	}
	delete(ss.byName, s.name)
	ss.notify()
	return true
}

func (ss *sessions) get(name string) *session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.byName[name]
}

// send hands a message to an agent, if it is connected, or away for less than a lease.
func (ss *sessions) send(agent string, m *synclinev1.ControlResponse) bool {
	if said, ok := ss.say(agent, m); ok {
		return said
	}
	s := ss.get(agent)
	if s == nil {
		return false
	}
	s.send(m)
	return true
}

// saw notes that an agent was heard of.
func (ss *sessions) saw(agent string, at time.Time) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.seen[agent] = at
}

// lastSeen is when an agent was last heard of by this start of the controller; the
// zero Time if it was not.
func (ss *sessions) lastSeen(agent string) time.Time {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.seen[agent]
}

// watch returns a channel that is closed at the next coming or going.
func (ss *sessions) watch() <-chan struct{} {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.changed
}

// begin lets sessions begin.
func (ss *sessions) begin() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.ended = false
}

// end ends every session, gives up all lines, and lets no other begin. What agents and this
// controller had to say to each other is of no use to the next leader, which hears of all
// that counts by the log.
func (ss *sessions) end() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.ended = true
	for _, s := range ss.byName {
		s.end()
	}
	for _, l := range ss.lines {
		l.back()
		l.lost = true
	}
	clear(ss.byName)
	clear(ss.lines)
	ss.notify()
}

// notify wakes watchers. The caller holds mu.
func (ss *sessions) notify() {
	close(ss.changed)
	ss.changed = make(chan struct{})
}
