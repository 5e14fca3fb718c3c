package controller

import (
	"fmt"
	"sync"

	synclinev1 "syncline/proto/syncline/v1"
)

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
}

// send hands a message to the agent. It blocks while the agent is slow to read,
// and drops the message if the stream has ended: the run hears of that anyway.
func (s *session) send(m *synclinev1.ControlResponse) {
	select {
	case s.out <- m:
	case <-s.gone:
	}
}

// end makes the stream's handler return.
func (s *session) end() { s.once.Do(func() { close(s.gone) }) }

// sessions are the agents that are connected. Safe for concurrent use.
type sessions struct {
	mu      sync.Mutex
	byName  map[string]*session
	changed chan struct{}
	ended   bool
}

func newSessions() *sessions {
	return &sessions{byName: map[string]*session{}, changed: make(chan struct{})}
}

// add makes s the session of its agent. The same start of an agent that comes
// again replaces its old stream; another one of the same name is refused, since
// nobody could tell the two apart.
func (ss *sessions) add(s *session) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	old := ss.byName[s.name]
	switch {
	case ss.ended:
		return fmt.Errorf("the controller is shutting down")
	case old != nil && old.hello.Incarnation != s.hello.Incarnation:
		return fmt.Errorf("an agent named %s is connected already, from %s; stop that one, or choose another --name", s.name, old.remote)
	case old != nil:
		old.end()
	}
	ss.byName[s.name] = s
	ss.notify()
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

// send hands a message to an agent, if it is connected.
func (ss *sessions) send(agent string, m *synclinev1.ControlResponse) bool {
	s := ss.get(agent)
	if s == nil {
		return false
	}
	s.send(m)
	return true
}

// watch returns a channel that is closed at the next coming or going.
func (ss *sessions) watch() <-chan struct{} {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.changed
}

// end ends every session and lets no other begin.
func (ss *sessions) end() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.ended = true
	for _, s := range ss.byName {
		s.end()
	}
}

// notify wakes watchers. The caller holds mu.
func (ss *sessions) notify() {
	close(ss.changed)
	ss.changed = make(chan struct{})
}
