package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"syncline/controller/peer"
	"syncline/controller/store"
)

// reign is a time in which this node leads the cluster: agents are connected to it, and
// it runs the runs. Nothing of it is left for the next one, here or elsewhere, but what is in
// the log.
type reign struct {
	// ctx is done when this node does not lead any more, or ends. It is fixed.
	ctx context.Context
	// working are the goroutines of runs, and of requests that outlive their callers.
	working sync.WaitGroup
}

// lead serves agents and works on runs while this node leads; ctx is that of store.Lead.
//
// In the beginning, in order: every run that nobody has ended is taken over, so that whatever
// an earlier leader still says of it is refused, by the log and by the agents; then agents
// may come, and find somebody who waits for them. In the end: no run begins any more; those at
// work stop, and stay unfinished in the log for the next leader; then the agents' streams
// end, with its address if it is known.
func (c *Controller) lead(ctx context.Context) {
	r := &reign{ctx: ctx}
	c.cfg.Log.Info("this node leads")
	taken := c.takeOver(ctx)
	c.mu.Lock()
	if ctx.Err() != nil || c.closing {
		c.mu.Unlock()
		return
	}
	c.reign = r
	for _, run := range taken {
		c.launchLocked(r, newRunner(c, run, nil), (*runner).bury)
	}
	c.mu.Unlock()
	c.sessions.begin()
	c.served.Do(func() { close(c.serving) })
	<-ctx.Done()
	c.cfg.Log.Info("this node does not lead any more", "cause", context.Cause(ctx), "leader", c.store.Leader())
	c.mu.Lock()
	c.reign = nil
	c.mu.Unlock()
	r.working.Wait()
	c.sessions.end()
}

// takeOver raises the epoch of every run that is not over, and returns them as they are then.
// What cannot be committed now is tried until it can, or somebody else leads.
func (c *Controller) takeOver(ctx context.Context) []store.Run {
	var taken []store.Run
	for _, run := range c.store.Runs() {
		for !run.State.Final() && ctx.Err() == nil {
			now, err := c.store.TakeRun(ctx, run.ID)
			if err == nil {
				taken = append(taken, now)
				break
			}
			if errors.Is(err, store.ErrSealed) || errors.Is(err, store.ErrUnknownRun) {
				c.cfg.Log.Error("a run is not taken over", "run", run.ID, "cause", err)
				break
			}
			c.cfg.Log.Warn("a run is not taken over yet", "run", run.ID, "cause", err)
			pause(ctx, 100*time.Millisecond)
		}
	}
	return taken
}

// pause returns after d, or when ctx is done.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// reigning is the present reign; nil if this node does not lead, or not yet.
func (c *Controller) reigning() *reign {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reign
}

// leads is why this node cannot do what only the leader does; nil if it is the leader.
func (c *Controller) leads() error {
	if c.reigning() != nil {
		return nil
	}
	return c.notLeader(fmt.Errorf("this controller, %s, does not lead the cluster", c.store.ID()))
}

// notLeader tells a caller who leads instead, as far as this node knows.
func (c *Controller) notLeader(err error) error {
	leader := c.store.LeaderPeer()
	if leader.ID == c.store.ID() {
		// It has not begun yet, or is about to end.
		leader = store.Peer{}
	}
	return peer.NotLeader(leader, err)
}

// launch gives a run its goroutine in a reign. It fails if the reign is over.
func (c *Controller) launch(in *reign, r *runner, life func(*runner, context.Context)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing || c.reign != in {
		return false
	}
	c.launchLocked(in, r, life)
	return true
}

// launchLocked is launch for a caller that holds mu.
func (c *Controller) launchLocked(in *reign, r *runner, life func(*runner, context.Context)) {
	c.runners[r.run.ID] = r
	c.hush(r)
	in.working.Go(func() {
		defer close(r.over)
		life(r, in.ctx)
		c.mu.Lock()
		if c.runners[r.run.ID] == r {
			delete(c.runners, r.run.ID)
		}
		c.mu.Unlock()
	})
}
