package controller

import (
	"context"
	"fmt"
	"slices"
	"time"

	synclinev1 "syncline/proto/syncline/v1"
)

// maxProbings bounds the sessions of clock probes without a run that go on at once.
const maxProbings = 8

// errManyProbings says that there are as many sessions as there may be.
var errManyProbings = fmt.Errorf("%d measurements of clocks go on already, which is the most; try again in a moment", maxProbings)

// probeListener hears what the agents of one session without a run say about it.
type probeListener struct {
	session string
	agents  []string
	inbox   chan news
	// over is closed when nobody empties inbox any more.
	over chan struct{}
	// quiet is set if the session probes at its beginning and its end only, or is to end.
	// The controller's mu guards it.
	quiet bool
	// silenced holds the run for which a session ends before its time, once there is one.
	silenced chan string
}

// concerns reports whether news are of the session.
func (l *probeListener) concerns(n news) bool {
	return slices.Contains(l.agents, n.agent) && (n.gone || sessionNamed(n.message) == l.session)
}

// sessionNamed is the session of clock probes that a message is about, "" if it is of
// something else.
func sessionNamed(m *synclinev1.ControlRequest) string {
	switch m := m.GetMessage().(type) {
	case *synclinev1.ControlRequest_ProbesOpened:
		return m.ProbesOpened.GetSession()
	case *synclinev1.ControlRequest_ProbesMet:
		return m.ProbesMet.GetSession()
	case *synclinev1.ControlRequest_ProbesStopped:
		return m.ProbesStopped.GetSession()
	}
	return ""
}

// listen lets a session hear of its agents until the listener is over. The session keeps
// quiet from its beginning if a run would see it; one that begins later ends it.
func (c *Controller) listen(p *probing) (*probeListener, error) {
	l := &probeListener{session: p.session, inbox: make(chan news, 64), over: make(chan struct{}), silenced: make(chan string, 1)}
	for _, h := range p.hosts {
		l.agents = append(l.agents, h.agent)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.listeners) >= maxProbings {
		return nil, errManyProbings
	}
	p.quiet = c.quietFor(l.agents)
	l.quiet = p.quiet
	c.listeners = append(c.listeners, l)
	return l, nil
}

func (c *Controller) unlisten(l *probeListener) {
	c.mu.Lock()
	c.listeners = slices.DeleteFunc(c.listeners, func(other *probeListener) bool { return other == l })
	c.mu.Unlock()
	close(l.over)
}

// probeNow runs a session without a run for so long: its sights are in its hosts when it
// returns. What went wrong with single hosts is among its warnings. The error is ctx's, that
// of a controller that ends, or errManyProbings; the agents have been told to stop then, too.
func (c *Controller) probeNow(ctx context.Context, p *probing, duration time.Duration) error {
	l, err := c.listen(p)
	if err != nil {
		return err
	}
	defer c.unlisten(l)
	n := &probeTalk{controller: c, listener: l, probing: p}
	n.tell(p.open())
	err = n.await(ctx, "OpenProbes", probesOpenLimit, p.opening)
	if err == nil && !n.silenced() {
		n.tell(p.start())
		err = n.pause(ctx, duration)
	}
	n.tell(p.stop())
	if err != nil {
		return err
	}
	return n.await(ctx, "StopProbes", probesStopLimit, p.stopping)
}

// probeTalk carries the messages of one session.
type probeTalk struct {
	controller *Controller
	listener   *probeListener
	probing    *probing
}

func (n *probeTalk) tell(all []toAgent) {
	for _, m := range all {
		if n.controller.sessions.get(m.agent) == nil || !n.controller.sessions.send(m.agent, m.message) {
			n.probing.hear(news{agent: m.agent, gone: true})
		}
	}
}

// await waits for the answers of agents, and goes on without those that do not come.
func (n *probeTalk) await(ctx context.Context, step string, limit time.Duration, left func() []string) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for len(left()) > 0 {
		late, err := n.hear(ctx, timer.C, nil)
		if err != nil {
			return err
		}
		if late {
			n.probing.late(step, limit, left())
		}
	}
	return nil
}

// silenced reports whether the session is to end before its time.
func (n *probeTalk) silenced() bool {
	select {
	case run := <-n.listener.silenced:
		n.silence(run)
		return true
	default:
		return false
	}
}

func (n *probeTalk) silence(run string) {
	n.probing.note("the measurement ended before its time: run %s began on some of its hosts, and would see the probes", run)
}

// pause lets the agents probe each other for so long, until none is left that could, or
// until a run begins that would see it.
func (n *probeTalk) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for len(n.probing.pairs) > 0 && len(n.probing.stopping()) > 1 {
		if late, err := n.hear(ctx, timer.C, n.listener.silenced); late || err != nil {
			return err
		}
	}
	return nil
}

// hear takes one message, or says that the time is up: by timeout, or for the run that
// silenced tells.
func (n *probeTalk) hear(ctx context.Context, timeout <-chan time.Time, silenced <-chan string) (late bool, err error) {
	select {
	case run := <-silenced:
		n.silence(run)
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	case <-n.controller.life.Done():
		return false, n.controller.stopped()
	case <-timeout:
		return true, nil
	case m := <-n.listener.inbox:
		n.probing.hear(m)
		return false, nil
	}
}
