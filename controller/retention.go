package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"syncline/controller/store"
)

// Times of the retention.
const (
	// retentionRest is how long it does nothing after a look, however much changes.
	retentionRest = time.Second
	// retentionRetry is how long it waits after a failure, at first and at most.
	retentionRetry    = 5 * time.Second
	retentionRetryMax = 5 * time.Minute
	// Freeing a disk may need a snapshot, whose size is that of the state, however little is freed. So
	// after each time it rests for sweepShare times as long as that took, sweepRest at most.
	sweepShare = 50
	sweepRest  = time.Minute
)

// quotaReason is what is said of a run that was removed to keep to the quota.
const quotaReason = "quota"

// retention keeps the runs of the cluster below a quota. The leader decides: it takes the
// run that ended first and is sealed into the archive, or removes it where there is none,
// until the rest fits, each by an entry of the log. Every node frees its own disk of runs
// that have left. A run that is not sealed never leaves.
type retention struct {
	controller *Controller
	// quota is for the chunks of all runs together, in bytes; 0: there is none.
	quota uint64
	log   *slog.Logger

	mu sync.Mutex
	// sweepAt is when the disk is freed again, at the earliest.
	sweepAt time.Time
	// stuck is why the quota cannot be kept, nil if it is.
	stuck error
}

// run looks whenever something has changed, until ctx is done.
func (r *retention) run(ctx context.Context) {
	st := r.controller.store
	retry := retentionRetry
	for {
		changed := st.Changed()
		later, err := r.look(ctx)
		if ctx.Err() != nil {
			return
		}
		wait := retentionRest
		if err != nil {
			r.log.Error("the retention of runs failed", "cause", err, "again in", retry)
			wait, changed = retry, nil
			retry = min(2*retry, retentionRetryMax)
		} else {
			retry = retentionRetry
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if changed == nil || later {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// look brings the runs below the quota, if this node leads, and frees what has left, or says that it
// does so later.
func (r *retention) look(ctx context.Context) (later bool, err error) {
	if r.controller.store.Leading() {
		err = r.keep(ctx)
	}
	began := time.Now()
	r.mu.Lock()
	later = began.Before(r.sweepAt)
	r.mu.Unlock()
	if later {
		return true, err
	}
	freed, sweepErr := r.controller.store.Sweep()
	if freed > 0 {
		r.log.Info("files of runs that left are removed", "bytes", freed)
	}
	r.mu.Lock()
	r.sweepAt = time.Now().Add(min(sweepShare*time.Since(began), sweepRest))
	r.mu.Unlock()
	return false, errors.Join(err, sweepErr)
}

// keep makes runs leave, the one that ended first before others, until the rest fits.
func (r *retention) keep(ctx context.Context) error {
	if r.quota == 0 {
		return nil
	}
	used, oldest := weigh(r.controller.store.Runs())
	var err error
	for used > r.quota && len(oldest) > 0 && err == nil && ctx.Err() == nil {
		if err = r.leave(ctx, oldest[0]); err == nil {
			used -= min(used, oldest[0].Bytes)
			oldest = oldest[1:]
		}
	}
	r.settle(used, err)
	return err
}

// weigh counts the bytes that are kept, and lists what may leave, what ended first first.
func weigh(runs []store.Run) (used uint64, oldest []store.Run) {
	for _, run := range runs {
		if !run.Here() {
			continue
		}
		used += run.Bytes
		if run.Seal != nil {
			oldest = append(oldest, run)
		}
	}
	slices.SortStableFunc(oldest, func(a, b store.Run) int {
		return cmp.Or(cmp.Compare(a.EndedNs, b.EndedNs), cmp.Compare(a.CreatedNs, b.CreatedNs), cmp.Compare(a.ID, b.ID))
	})
	return used, oldest
}

// leave makes one run leave.
func (r *retention) leave(ctx context.Context, run store.Run) error {
	log := r.log.With("run", run.ID, "bytes", run.Bytes)
	if r.controller.cfg.Archive == "" {
		if _, err := r.controller.store.RemoveRun(ctx, run.ID, quotaReason); err != nil {
			return err
		}
		r.controller.metrics.removed.Inc()
		log.Warn("run removed to keep to the quota")
		return nil
	}
	left, err := r.controller.archiveRun(ctx, run.ID)
	if err != nil {
		return err
	}
	log.Info("run archived to keep to the quota", "archive", left.Archive.URL)
	return nil
}

// settle remembers if the quota is kept.
func (r *retention) settle(used uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.stuck
	switch {
	case used <= r.quota:
		r.stuck = nil
	case err != nil:
		r.stuck = fmt.Errorf("%d bytes of runs are stored, the quota is %d, and no run can leave: %w", used, r.quota, err)
	default:
		r.stuck = fmt.Errorf("%d bytes of runs are stored, the quota is %d, and none of them is sealed, so none can leave", used, r.quota)
	}
	if r.stuck != nil && was == nil {
		r.log.Warn("above the quota: no new run is taken", "cause", r.stuck)
	}
}

// admit reports why no new run is taken: nil if there is room, or will be.
func (r *retention) admit() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stuck
}
