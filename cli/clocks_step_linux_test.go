package cli

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	synclinev1 "syncline/proto/syncline/v1"
)

// clockSteps are those of a test clock, each so long after its agent's start.
var clockSteps = []struct{ by, after time.Duration }{
	{time.Millisecond, 7 * time.Second},
	{-time.Second, 7500 * time.Millisecond},
	{time.Hour, 8 * time.Second},
}

// stepsBehind is how many of the steps must have been for CLOCK_REALTIME to be so far from
// where it was.
func stepsBehind(moved int64) (best int) {
	at := make([]int64, len(clockSteps)+1)
	for i, s := range clockSteps {
		at[i+1] = at[i] + int64(s.by)
	}
	for i, a := range at {
		if max(moved-a, a-moved) < max(moved-at[best], at[best]-moved) {
			best = i
		}
	}
	return best
}

// stalls measures how long this machine keeps someone waiting who wants little, until what it
// returns is called, which tells the longest.
func stalls(t *testing.T) func() time.Duration {
	end, told := make(chan struct{}), make(chan time.Duration)
	go func() {
		const beat = 10 * time.Millisecond
		tick := time.NewTicker(beat)
		defer tick.Stop()
		var longest time.Duration
		for last := time.Now(); ; {
			select {
			case <-end:
				told <- longest
				return
			case <-tick.C:
				longest = max(longest, time.Since(last)-beat)
				last = time.Now()
			}
		}
	}()
	stop := sync.OnceValue(func() time.Duration {
		close(end)
		return <-told
	})
	t.Cleanup(func() { stop() })
	return stop
}

// TestClockStepsAreToldAndSurvived: CLOCK_REALTIME of a host goes forth by a
// millisecond, back by a second and forth by an hour while a run is on. The run's record
// tells each, once, within 200 ms of its moment, and every interval before, around and
// after holds the truth.
func TestClockStepsAreToldAndSurvived(t *testing.T) {
	t.Parallel()
	lie := "B:offset=-3s,ppm=50"
	for _, s := range clockSteps {
		lie += fmt.Sprintf(",step=%v@%v", s.by, s.after)
	}
	ts := truthsOf(t, lie)
	source := steadyExperiment()
	began := time.Now()
	l := newLyingLab(t, mustParse(t, source), lie)
	up := time.Now()
	if up.Sub(began) > clockSteps[0].after-time.Second {
		t.Fatalf("the lab took %v to come up, too long for a first step %v after its start", up.Sub(began), clockSteps[0].after)
	}
	stalled := stalls(t)
	// Until two seconds after the last step, in repetitions of a second and a little.
	run := l.run(source, int((clockSteps[len(clockSteps)-1].after+2*time.Second-up.Sub(began))/time.Second)+1)
	if run.State != synclinev1.RunState_RUN_STATE_SEALED {
		t.Fatalf("run is %v: %s", run.State, run.Reason)
	}
	stall := stalled()

	var told []*synclinev1.Event
	// seen are stamps of CLOCK_REALTIME beside the times that they were moved to.
	// Near a step there are some that may be of either side of it; those say nothing here.
	type stamp struct{ at, ahead, err int64 }
	const exact = int64(100 * time.Microsecond)
	var seen []stamp
	l.eachEvent(run.Id, func(agent string, e *synclinev1.Event) {
		switch p, q := e.GetPacket(), e.GetProbe(); {
		case agent != l.bindings["B"]:
			if e.GetClockStep() != nil {
				t.Errorf("A tells of %v", e)
			}
		case e.GetClockStep() != nil:
			told = append(told, e)
		case p != nil && p.ErrorNs < exact:
			seen = append(seen, stamp{e.TimeNs, p.RealtimeNs - e.TimeNs, p.ErrorNs})
		case q.GetRealtimeNs() != 0 && q.ErrorNs < exact:
			seen = append(seen, stamp{e.TimeNs, q.RealtimeNs - e.TimeNs, q.ErrorNs})
		}
	})
	if len(told) != len(clockSteps) {
		t.Fatalf("%d changes are told, want %d: %v", len(told), len(clockSteps), told)
	}
	slices.SortFunc(seen, func(a, b stamp) int { return cmp.Compare(a.at, b.at) })
	for i, e := range told {
		s, want := e.GetClockStep(), clockSteps[i]
		if off := time.Duration(s.StepNs) - want.by; s.Change != synclinev1.ClockChange_CLOCK_CHANGE_STEP || off.Abs() > 100*time.Microsecond {
			t.Errorf("told is %v, want a step of %v", s, want.by)
		}
		// The kernel's own stamps show between which two of them it was.
		after := slices.IndexFunc(seen, func(p stamp) bool { return stepsBehind(p.ahead-seen[0].ahead) > i })
		if after < 1 {
			t.Errorf("no stamps before and after the step of %v", want.by)
			continue
		}
		earliest, latest := seen[after-1].at-seen[after-1].err, seen[after].at+seen[after].err
		if s.SinceNs > latest || e.TimeNs < earliest {
			t.Errorf("the step of %v is said to be between %d and %d; it was between %d and %d", want.by, s.SinceNs, e.TimeNs, earliest, latest)
		}
		if late := time.Duration(e.TimeNs - max(earliest, s.SinceNs)); late > 200*time.Millisecond+stall {
			t.Errorf("the step of %v was noticed up to %v late, on a machine that kept others waiting for %v", want.by, late, stall)
		}
	}

	for _, reference := range []string{"A", "B"} {
		r := l.clockReport(run.Id, reference, 3000)
		q := ts.compare(r)
		q.wantTrue(t, &q.both, &q.probes, &q.segments)
		if n := len(r.Hosts[1].Changes); n != len(clockSteps) {
			t.Errorf("the report has %d changes of B's clock, want %d", n, len(clockSteps))
		}
	}
	l.arrived(ts, run).wantTrue(t)
}
