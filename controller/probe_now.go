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

// listen lets a session hear of its agents until the listener is over.
func (c *Controller) listen(p *probing) (*probeListener, error) {
	l := &probeListener{session: p.session, inbox: make(chan news, 64), over: make(chan struct{})}
	for _, h := range p.hosts {
		l.agents = append(l.agents, h.agent)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.listeners) >= maxProbings {
		return nil, errManyProbings
	}
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
	p.quiet = c.quietFor(p)
	n := &probeTalk{controller: c, listener: l, probing: p}
	n.tell(p.open())
	err = n.await(ctx, "OpenProbes", probesOpenLimit, p.opening)
	if err == nil {
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
		if !n.controller.sessions.send(m.agent, m.message) {
			n.probing.hear(news{agent: m.agent, gone: true})
		}
	}
}

// await waits for the answers of agents, and goes on without those that do not come.
func (n *probeTalk) await(ctx context.Context, step string, limit time.Duration, left func() []string) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for len(left()) > 0 {
		late, err := n.hear(ctx, timer.C)
		if err != nil {
			return err
		}
		if late {
			n.probing.late(step, limit, left())
		}
	}
	return nil
}

// pause lets the agents probe each other for so long, or until none is left that could.
func (n *probeTalk) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for len(n.probing.pairs) > 0 && len(n.probing.stopping()) > 1 {
		if late, err := n.hear(ctx, timer.C); late || err != nil {
			return err
		}
	}
	return nil
}

func (n *probeTalk) hear(ctx context.Context, timeout <-chan time.Time) (late bool, err error) {
	select {
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
