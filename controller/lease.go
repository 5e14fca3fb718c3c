package controller

import (
	"context"
	"time"

	synclinev1 "syncline/proto/syncline/v1"
)

// defaultLease is how long agents go on with a run without word of their controller: it is
// renewed three times in that.
const defaultLease = 15 * time.Second

// keepLeases renews the leases of all runs until ctx is done.
func (c *Controller) keepLeases(ctx context.Context) {
	tick := time.NewTicker(c.cfg.Lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.renew("")
		}
	}
}

// renew renews the leases of the runs that somebody works on, of one agent or, "", of all.
func (c *Controller) renew(agent string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, r := range c.runners {
		for _, a := range r.agents {
			if agent == "" || a == agent {
				c.sessions.hint(a, &synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Lease{Lease: &synclinev1.Lease{
					RunId: id, Epoch: r.epoch, DurationNs: int64(c.cfg.Lease),
				}}})
			}
		}
	}
}
