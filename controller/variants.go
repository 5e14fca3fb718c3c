package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"syncline/controller/experiment"
	"syncline/controller/store"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// configureLimit bounds an agent's changes of its host: taking an interface down and
// up again is the slowest.
const configureLimit = 30 * time.Second

// plannedRepetitions is how many repetitions a run has at most, and the variants that
// they are of.
func plannedRepetitions(exp *experiment.Experiment) (all int, variants []store.RunVariant, err error) {
	for v := range exp.Variants {
		e, err := exp.At(v, 1)
		if err != nil {
			return 0, nil, err
		}
		all += repetitionsOf(e)
		variants = append(variants, store.RunVariant{Name: exp.Variants[v].Name})
	}
	return all, variants, nil
}

// repetitionsOf is how many repetitions of a variant are made at most.
func repetitionsOf(exp *experiment.Experiment) int {
	if exp.Repeat.UntilReproduced > 0 {
		return exp.Repeat.Warmup + exp.Repeat.AtMost
	}
	return exp.Repeat.Warmup + exp.Repeat.Runs
}

// playVariant changes the hosts as a variant asks for and runs its repetitions: as
// many as the file says, or until it was reproduced often enough.
func (r *runner) playVariant(ctx context.Context, v int) error {
	exp, err := r.experiment.At(v, r.done+1)
	if err != nil {
		return err
	}
	if err := r.configure(ctx, exp); err != nil {
		return err
	}
	r.variants[v].First = r.done + 1
	if len(r.variants) > 1 {
		// Whoever judges what a restart has left must know which variant it was of.
		if err := r.change(ctx, store.RunChange{Variants: slices.Clone(r.variants)}); err != nil {
			return err
		}
	}
	most, reproduced := repetitionsOf(exp), 0
	for made := 1; made <= most; made++ {
		n := r.done + 1
		if made > 1 {
			if err := r.pause(ctx, exp.Repeat.Gap); err != nil {
				return err
			}
		}
		if exp, err = r.experiment.At(v, n); err != nil {
			return err
		}
		r.variants[v].Last = n
		if err := r.repeat(ctx, exp, n); err != nil {
			return fmt.Errorf("repetition %d of %d: %w", n, r.run.Repetitions, err)
		}
		if made > exp.Repeat.Warmup && exp.Repeat.UntilReproduced > 0 {
			was, err := r.reproduced(ctx, n)
			if err != nil {
				return fmt.Errorf("judge repetition %d: %w", n, err)
			}
			if was {
				reproduced++
			}
		}
		if err := r.progress(ctx, n); err != nil {
			return err
		}
		if u := exp.Repeat.UntilReproduced; u > 0 && reproduced >= u {
			return r.shorten(ctx, most-made)
		}
	}
	return nil
}

// shorten takes repetitions off the plan that are not needed any more.
func (r *runner) shorten(ctx context.Context, spared int) error {
	if spared == 0 {
		return nil
	}
	return r.change(ctx, store.RunChange{Repetitions: r.run.Repetitions - spared, RepetitionsDone: r.done, Variants: slices.Clone(r.variants)})
}

// configure changes the hosts for a variant, and takes back what the variant before
// it changed. A file that changes nothing costs nothing.
func (r *runner) configure(ctx context.Context, exp *experiment.Experiment) error {
	if len(exp.Setups) == 0 && len(exp.Changes) == 0 && !r.configured {
		return nil
	}
	r.configured = true
	for _, h := range r.run.Hosts {
		p := part{exp, h.Name, r.run.Hosts}
		setups, err := p.setups(exp.Setups)
		if err != nil {
			return err
		}
		changes, err := p.setups(exp.Changes)
		if err != nil {
			return err
		}
		r.send(h.Agent, &synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Configure{Configure: &synclinev1.Configure{
			RunId: r.run.ID, Epoch: r.run.Epoch, Setups: setups, Changes: changes,
		}}})
	}
	return r.gather(ctx, "configure", configureLimit, func(n news) (bool, error) {
		c := n.message.GetConfigured()
		if c.GetRunId() != r.run.ID {
			return false, nil
		}
		if c.Error != "" {
			return false, fmt.Errorf("agent %s: %s", n.agent, c.Error)
		}
		return true, nil
	})
}

// reproduced judges a repetition while the run goes on: every event that the agents
// had recorded when they were drained must be stored first.
func (r *runner) reproduced(ctx context.Context, n int) (bool, error) {
	if err := r.awaitRecorded(ctx); err != nil {
		return false, err
	}
	run := r.run
	run.Variants = r.variants
	input, _, err := loadRun(ctx, r.controller.store, run)
	if err != nil {
		return false, err
	}
	// The run is not over, which is no fault of this repetition.
	input.Incomplete = nil
	t, err := timeline.Build(input, n)
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(t.Verdicts, func(v timeline.Verdict) bool { return v.Ruling == timeline.NotReproduced }), nil
}

// awaitRecorded waits until every event is stored that the agents had recorded when they
// were drained.
func (r *runner) awaitRecorded(ctx context.Context) error {
	timer := time.NewTimer(answerLimit)
	defer timer.Stop()
	for !r.hasRecorded() {
		if r.absent != "" {
			return &lostError{r.absent}
		}
		select {
		case <-ctx.Done():
			return errors.New("the controller was shut down")
		case reason := <-r.cancels:
			return &cancelledError{reason}
		case <-timer.C:
			return fmt.Errorf("the events of the repetition did not arrive within %v", answerLimit)
		case <-r.chunks:
		case m := <-r.inbox:
			r.hearProbes(m)
			if err := r.fatal(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// hasRecorded reports whether all that was recorded of the last repetition is stored.
func (r *runner) hasRecorded() bool {
	last := map[string]uint64{}
	for _, s := range r.controller.store.Streams(r.run.ID) {
		last[s.Agent] = max(last[s.Agent], s.LastEvent)
	}
	for agent, n := range r.recorded {
		if last[agent] < n {
			return false
		}
	}
	return true
}

// progress commits how far the run is, not too often: a restart then knows where
// it was, and a watcher sees it move.
func (r *runner) progress(ctx context.Context, n int) error {
	r.done = n
	if n < r.run.Repetitions && time.Since(r.committed) < progressEvery {
		return nil
	}
	r.committed = time.Now()
	return r.change(ctx, store.RunChange{RepetitionsDone: n, Variants: slices.Clone(r.variants)})
}

// pause waits out the gap between two repetitions, hearing news.
func (r *runner) pause(ctx context.Context, gap time.Duration) error {
	if gap <= 0 {
		return nil
	}
	timer := time.NewTimer(gap)
	defer timer.Stop()
	for {
		if _, err := r.next(ctx, timer.C); errors.Is(err, errTimeout) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// plans gives what was executed in each repetition of a run.
type plans struct {
	first    *experiment.Experiment
	variants []store.RunVariant
}

// newPlans reads the file of a run as it was planned.
func newPlans(run store.Run, source []byte) (*plans, error) {
	exp, err := experiment.Parse(source, experiment.Options{FileName: run.FileName, Runs: run.Runs, Set: run.Set, Cases: run.Cases})
	if err != nil {
		return nil, fmt.Errorf("read the experiment of run %s: %w", run.ID, err)
	}
	return &plans{first: exp, variants: run.Variants}, nil
}

// at is the experiment of one repetition.
func (p *plans) at(repetition int) (*experiment.Experiment, error) {
	return p.first.At(p.variant(repetition), repetition)
}

// variant is the index of the variant that a repetition is of.
func (p *plans) variant(repetition int) int {
	v := 0
	for i, rv := range p.variants {
		if rv.First > 0 && repetition >= rv.First {
			v = i
		}
	}
	return v
}

// warmup reports whether a repetition is one that is not judged.
func (p *plans) warmup(repetition int) bool {
	exp, err := p.at(repetition)
	if err != nil || exp.Repeat.Warmup == 0 {
		return false
	}
	first := 1
	if v := p.variant(repetition); v < len(p.variants) && p.variants[v].First > 0 {
		first = p.variants[v].First
	}
	return repetition < first+exp.Repeat.Warmup
}
