package agent

import (
	"context"
	"fmt"
	"time"

	"syncline/agent/kernel"
	synclinev1 "syncline/proto/syncline/v1"
)

// leaseTick is how often leases are looked at. A timer of the Go runtime does not count
// while the host is suspended, and goes off within a tick after that.
const leaseTick = 250 * time.Millisecond

// lease is how long a run goes on without word of its controller, by CLOCK_BOOTTIME. The
// zero lease is that of a controller that gives none.
type lease struct {
	duration, until int64
	// out: it has run out, and is not renewed any more.
	out bool
}

// What a lease that is looked at says.
type leaseState int

const (
	// leaseHolds: the run goes on.
	leaseHolds leaseState = iota
	// leaseEnds: it has just run out. It is said once.
	leaseEnds
	// leaseEnded: it has run out before, and not for long.
	leaseEnded
	// leaseOver: that was as long ago as it lasted.
	leaseOver
)

// renew makes the lease last for a time from now on, if it has not run out.
func (l *lease) renew(now, duration int64) {
	if l.out || l.until != 0 && now >= l.until {
		return
	}
	l.duration, l.until = duration, now+duration
}

// look says what the lease is worth now.
func (l *lease) look(now int64) leaseState {
	switch {
	case l.until == 0 || now < l.until && !l.out:
		return leaseHolds
	case !l.out:
		l.out = true
		return leaseEnds
	case now < l.until+l.duration:
		return leaseEnded
	}
	return leaseOver
}

// keepLeases ends what has no lease any more, until ctx is done.
func (rs *runs) keepLeases(ctx context.Context) {
	tick := time.NewTicker(leaseTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			rs.checkLeases()
		}
	}
}

// checkLeases looks at the leases of all runs.
func (rs *runs) checkLeases() {
	rs.mu.Lock()
	all := rs.list()
	rs.mu.Unlock()
	now := rs.boot()
	for _, r := range all {
		r.checkLease(now)
	}
}

// checkLease ends the lanes of a run as its lease runs out, and the whole run once that is as
// long ago again.
func (r *run) checkLease(now int64) {
	r.mu.Lock()
	if r.finished != nil {
		r.mu.Unlock()
		return
	}
	state := r.lease.look(now)
	cause := r.leaseCause()
	rep := r.repetition
	r.mu.Unlock()
	switch state {
	case leaseEnds:
		r.log.Warn("the lanes are ended", "cause", cause)
		if rep != nil {
			rep.cancel()
		}
	case leaseOver:
		r.finish(cause)
	}
}

// leaseCause says why lanes were ended. The caller holds mu.
func (r *run) leaseCause() string {
	return fmt.Sprintf("agent %s had no word from its controller for %v: its lease of the run ran out", r.runs.cfg.Name, time.Duration(r.lease.duration))
}

// renew takes a lease of the controller.
func (r *run) renew(m *synclinev1.Lease) {
	now := r.runs.boot()
	// It may have run out since it was looked at last.
	r.checkLease(now)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lease.renew(now, m.DurationNs)
}

// leased reports whether the lanes of the run may go on, or begin; if not, what the
// controller asks for comes too late, and the run is ended with the cause.
func (r *run) leased() bool {
	r.checkLease(r.runs.boot())
	r.mu.Lock()
	out, cause := r.lease.out, r.leaseCause()
	r.mu.Unlock()
	if out {
		r.finish(cause)
	}
	return !out
}

// endOrphans ends what is left of the run's connections though their lanes have closed them:
// a host whose controller is away is to send nothing more for it. It returns what the
// cause of the run's end says of that, empty if there was nothing.
func (r *run) endOrphans() string {
	ended, err := kernel.EndOrphans(r.flows)
	text := ""
	if len(ended) > 0 {
		text = fmt.Sprintf("; sockets that no lane held any more still waited for their peers and were reset: %d, the first %v %v in %v", len(ended), ended[0].Local, ended[0].Remote, ended[0].State)
	}
	if err != nil {
		text += fmt.Sprintf("; some sockets that no lane holds any more may go on by themselves: %v", err)
	}
	if text != "" {
		r.log.Warn("orphans of the run", "ended", len(ended), "error", err)
	}
	return text
}
