package lane

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// startsAtOnce bounds the processes that are being started at the same time.
const startsAtOnce = 4

// Run runs the lanes and returns when all have ended, every process is gone and
// everything that it started has stopped.
//
// Processes are started before any lane begins, those of forked lanes too, which then
// wait for their fork: while a process starts it holds every descriptor of this one for
// a moment, and would keep a connection open that a lane closes. Start delays count from
// the moment when all are there. When ctx is done the calls under way end; a process
// that has not ended two seconds later, or was stopped, is killed.
func (g *Group) Run(ctx context.Context) {
	c := &cast{group: g, processes: make(map[string]*process)}
	refused := c.enlist()
	c.start(ctx, refused)
	begin := nanotime()
	for _, p := range c.processes {
		p.startedAt = begin
	}
	var here sync.WaitGroup
	for _, l := range g.Lanes {
		m := &member{cfg: &g.Config, name: l.GetName(), cast: c}
		p := c.processes[m.name]
		switch {
		case refused[m.name] != nil:
			m.over(refused[m.name].Error())
			c.ended(m.name, refused[m.name])
		case p != nil:
			here.Go(func() { c.ended(m.name, p.run(ctx)) })
		default:
			here.Go(func() { c.ended(m.name, runHere(ctx, m, l, begin)) })
		}
	}
	here.Wait()
}

// cast is the lanes of a group that runs.
type cast struct {
	group *Group
	// processes by the name of their lane.
	processes map[string]*process
}

// enlist makes the processes, without starting them, and finds the lanes that cannot be
// run, with the reason.
func (c *cast) enlist() map[string]error {
	refused := make(map[string]error)
	lanes := make(map[string]*synclinev1.Lane)
	for _, l := range c.group.Lanes {
		name := l.GetName()
		switch {
		case lanes[name] != nil:
			refused[name] = fmt.Errorf("lane %s is there twice", name)
		case l.GetOwnProcess() || l.GetForkedBy() != "":
			c.processes[name] = newProcess(&member{cfg: &c.group.Config, name: name, cast: c}, l)
		case len(l.GetLimits()) > 0:
			refused[name] = fmt.Errorf("lane %s has limits, and no process of its own that they could be set for", name)
		}
		lanes[name] = l
	}
	for _, l := range c.group.Lanes {
		if by := l.GetForkedBy(); by != "" && (lanes[by] == nil || by == l.GetName()) {
			refused[l.GetName()] = fmt.Errorf("lane %s is forked by lane %s, which does not run on this host", l.GetName(), by)
		}
	}
	return refused
}

// start starts the processes, a few at a time, and adds the lanes whose process does not
// come to those that are refused.
func (c *cast) start(ctx context.Context, refused map[string]error) {
	var starting errgroup.Group
	starting.SetLimit(startsAtOnce)
	var mu sync.Mutex
	for name, p := range c.processes {
		if refused[name] != nil {
			continue
		}
		starting.Go(func() error {
			if err := p.start(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				refused[name] = fmt.Errorf("start the process of lane %s: %w", name, err)
			}
			return nil
		})
	}
	// The error of each is in refused.
	_ = starting.Wait()
	for name := range refused {
		delete(c.processes, name)
	}
}

// ended is called once for each lane, when nothing of it is left. Lanes that it has not
// forked will not be any more.
func (c *cast) ended(name string, err error) {
	for _, p := range c.processes {
		if p.lane.GetForkedBy() == name {
			p.neverFork(fmt.Errorf("lane %s ended before it forked lane %s", name, p.m.name))
		}
	}
	if c.group.Ended != nil {
		c.group.Ended(name, err)
	}
}

// fork starts the lane of a process that waits for it.
func (c *cast) fork(ctx context.Context, from, target string, limit time.Duration, inherited []descriptor, arrived func() error) answer {
	p := c.processes[target]
	switch {
	case p == nil || p.lane.GetForkedBy() != from:
		return failed(fmt.Errorf("there is no process of a lane %s, forked by lane %s, on this host", target, from))
	case len(inherited) > MaxInherited:
		return failed(tooMany(len(inherited)))
	}
	return p.fork(ctx, limit, inherited, arrived)
}

// kill is kill(2). It returns when the process is gone, if the signal ends processes,
// and when it has stopped, if the signal is SIGSTOP.
func (c *cast) kill(ctx context.Context, call *synclinev1.KillCall, limit time.Duration) answer {
	p := c.processes[call.GetLane()]
	if p == nil {
		return failed(fmt.Errorf("lane %s has no process of its own on this host that could be killed", call.GetLane()))
	}
	if !p.hasBegun() {
		return failed(fmt.Errorf("lane %s has not been forked yet", call.GetLane()))
	}
	signal := unix.Signal(call.GetSignal())
	if err := p.signal(signal); err != nil {
		var errno unix.Errno
		if errors.As(err, &errno) {
			return errnoAnswer(errno)
		}
		return failed(err)
	}
	switch {
	case signal == unix.SIGSTOP:
		return p.waitStopped(ctx)
	case ends(signal):
		return endedBy(until(ctx, p.gone, limit))
	}
	return succeeded(0)
}

// ends reports whether a signal's default action ends a process, signal(7).
func ends(s unix.Signal) bool {
	switch s {
	case 0, unix.SIGCHLD, unix.SIGCONT, unix.SIGURG, unix.SIGWINCH,
		unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
		return false
	}
	return true
}
