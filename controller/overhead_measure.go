package controller

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"

	"syncline/controller/experiment"
	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// measurement is the part of a run that measures what watching it costs. It belongs to
// the goroutine of the run.
//
// It is a part of the run, and not runs of its own, so that the same agents with the
// same captures, stream and log do the same work as in the repetitions before; what they
// recorded is under the same seal, and whoever doubts a figure can look at its events.
type measurement struct {
	// overhead is as the log will hear of it next.
	overhead *synclinev1.Overhead
	settings []*synclinev1.OverheadSetting
	// passes are in the order of their repetitions, from overhead.First.
	passes []*pass
}

// measure runs the lanes again, in rounds: every setting has its turn in each, in an
// order that is drawn for every second round and turned round for the one after it.
// Whatever else changes on the hosts meanwhile (heat, neighbours, ports in TIME_WAIT)
// falls on all settings alike. The first round only warms up.
func (r *runner) measure(ctx context.Context) error {
	m := r.measurement
	if m == nil {
		return nil
	}
	exp, err := r.experiment.At(0, r.done+1)
	if err != nil {
		return err
	}
	if err := r.configure(ctx, exp); err != nil {
		return err
	}
	m.settings = overheadSettings(exp.Observe)
	var turns []int
	for i, s := range m.settings {
		s.Unwatched = unwatchedBy(s, r.run.Hosts)
		if nowhereOn(s, r.run.Hosts) == "" {
			turns = append(turns, i)
		}
	}
	if len(turns) < 2 {
		m.overhead.Failure = "no host gives any of the sources that the experiment observes: " + nowhereOn(m.settings[1], r.run.Hosts)
		return r.change(ctx, store.RunChange{Overhead: overheadToStore(m.overhead)})
	}
	// What the taps of the run itself hear after its last repetition has the number after
	// that, until they are closed.
	m.overhead.First = uint32(r.done + 2)
	if err := r.change(ctx, store.RunChange{Overhead: overheadToStore(m.overhead)}); err != nil {
		return err
	}
	draw := r.draw()
	for round := range int(m.overhead.Rounds) + 1 {
		if round%2 == 0 {
			draw.Shuffle(len(turns), func(i, j int) { turns[i], turns[j] = turns[j], turns[i] })
		} else {
			slices.Reverse(turns)
		}
		for _, s := range turns {
			if err := r.measureOnce(ctx, exp, s, round); err != nil {
				return fmt.Errorf("measure what watching costs, round %d of %d: %w", round, m.overhead.Rounds, err)
			}
		}
		m.overhead.RoundsDone = uint32(round)
		if time.Since(r.committed) >= progressEvery {
			r.committed = time.Now()
			if err := r.change(ctx, store.RunChange{Overhead: overheadToStore(m.overhead)}); err != nil {
				return err
			}
		}
	}
	// What the last one used shows when the next is armed.
	if err := r.rearm(ctx, m.settings[0].Sources, m.overhead.Last+1, nil); err != nil {
		return err
	}
	if err := r.readPasses(); err != nil {
		return err
	}
	figures(m.settings, m.passes, r.run.Hosts)
	m.overhead.Settings = m.settings
	fitLog(m.overhead)
	return r.change(ctx, store.RunChange{Overhead: overheadToStore(m.overhead)})
}

// measuring reports whether the repetitions of the run are through, and its measurement
// is not.
func (r *runner) measuring() bool { return r.measurement != nil && r.measurement.overhead.First > 0 }

// draw is the run's own order of turns: the same run always has the same one.
func (r *runner) draw() *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(r.run.ID))
	return rand.New(rand.NewPCG(h.Sum64(), 0))
}

// measureOnce runs the lanes once with the sources of a setting. What they left behind is
// stored before it returns, so that it is no load on the next.
func (r *runner) measureOnce(ctx context.Context, exp *experiment.Experiment, setting, round int) error {
	m := r.measurement
	n := int(m.overhead.First) + len(m.passes)
	if err := r.pause(ctx, exp.Repeat.Gap); err != nil {
		return err
	}
	exp, err := r.experiment.At(0, n)
	if err != nil {
		return err
	}
	p := &pass{setting: setting, round: round}
	if err := r.rearm(ctx, m.settings[setting].Sources, uint32(n), p); err != nil {
		return err
	}
	m.passes = append(m.passes, p)
	m.overhead.Last = uint32(n)
	if err := r.repeat(ctx, exp, n); err != nil {
		return err
	}
	p.failure = r.failure
	return r.awaitRecorded(ctx)
}

// rearm has every agent watch with these sources from now on, repetition n next. It ends
// the pass before, and begins next, nil after the last.
func (r *runner) rearm(ctx context.Context, sources []synclinev1.Source, n uint32, next *pass) error {
	before, after := map[string]*synclinev1.Usage{}, map[string]*synclinev1.Usage{}
	r.sendAll(&synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Arm{Arm: &synclinev1.Arm{
		RunId: r.run.ID, Epoch: r.run.Epoch, Sources: sources, Repetition: n,
	}}})
	err := r.gather(ctx, "arm", drainAnswerLimit, func(n news) (bool, error) {
		a := n.message.GetArmed()
		if a.GetRunId() != r.run.ID {
			return false, nil
		}
		if a.Error != "" {
			return false, fmt.Errorf("agent %s: %s", n.agent, a.Error)
		}
		if a.Before != nil && a.After != nil {
			before[n.agent], after[n.agent] = a.Before, a.After
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	if passes := r.measurement.passes; len(passes) > 0 {
		passes[len(passes)-1].after = before
	}
	if next != nil {
		next.before = after
	}
	return nil
}

// readPasses reads what the log has of the repetitions that measured.
func (r *runner) readPasses() error {
	m := r.measurement
	return decodeChunks(r.controller.store, r.run.ID, func(c store.Chunk, events []*synclinev1.Event) error {
		for _, e := range events {
			i := int64(e.Repetition) - int64(m.overhead.First)
			if i >= 0 && i < int64(len(m.passes)) {
				m.passes[i].add(c.Agent, e)
			}
		}
		return nil
	})
}

// unmeasured notes why a run has no figures that was to have them.
func (r *runner) unmeasured(cause error) {
	m := r.measurement
	if m == nil || cause == nil || len(m.overhead.Settings) > 0 {
		return
	}
	var cancelled *cancelledError
	if errors.As(cause, &cancelled) {
		cause = fmt.Errorf("the run was cancelled: %w", cause)
	}
	m.overhead.Failure = clip(cause.Error())
}
