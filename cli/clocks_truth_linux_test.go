package cli

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"syncline/agent/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

// truths are the clocks of a lab's hosts as they really are, by the names of the
// experiment. All hosts of a lab read one CLOCK_MONOTONIC, and a test clock is a function
// of it, so what is true of any two of them is known to the nanosecond.
type truths map[string]*clock.Test

// rounding is how far a truth may be off: two test clocks show whole nanoseconds of a
// third one.
const rounding = 2

// truthsOf are those of a lab that was made with the same clocks, HOST:CLOCK.
func truthsOf(t testing.TB, clocks ...string) truths {
	t.Helper()
	ts := truths{}
	for _, text := range clocks {
		host, spec, _ := strings.Cut(text, ":")
		c, err := clock.ParseTest(spec)
		if err != nil {
			t.Fatal(err)
		}
		ts[host] = c
	}
	return ts
}

// on is what the clock of one host showed when that of another read local.
func (ts truths) on(host, other string, local int64) int64 {
	return ts[host].Monotonic(ts[other].HostMonotonic(local))
}

// quality is how well clocks were known, at many moments.
type quality struct {
	// halves are half-widths of intervals, wrongs distances of estimates from the truth, in
	// nanoseconds.
	halves, wrongs []int64
	// unknown counts moments at which a side was not bounded.
	unknown int
	// outside are intervals without the truth, and estimates without their interval.
	outside []string
}

// add takes an interval, and the truth, in which the offset is in both.
func (q *quality) add(where string, b *synclinev1.ClockBound, truth int64) {
	if !bounded(b) {
		q.unknown++
		return
	}
	mid, half := middleOf(b)
	q.halves = append(q.halves, halfWidth(b))
	q.wrongs = append(q.wrongs, max(mid-truth, truth-mid))
	if truth < *b.LowNs-rounding || truth > *b.HighNs+rounding || mid < *b.LowNs || mid > *b.HighNs {
		q.outside = append(q.outside, fmt.Sprintf("%s: from %d to %d, at best %d ±%d; the truth is %d", where, *b.LowNs, *b.HighNs, mid, half, truth))
	}
}

func (q *quality) known() int { return len(q.halves) }

// inside is the share of the known moments at which the truth was in the interval.
func (q *quality) inside() float64 {
	if q.known() == 0 {
		return 0
	}
	return 1 - float64(len(q.outside))/float64(q.known())
}

// quantile is the value that a share of all does not exceed.
func quantile(values []int64, share float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return time.Duration(sorted[min(int(share*float64(len(sorted))), len(sorted)-1)])
}

// byMethod are the qualities of a report by both methods and by each alone.
type byMethod struct{ both, probes, segments quality }

// compare holds every interval of a report against the truth.
func (ts truths) compare(r *synclinev1.ClockReport) *byMethod {
	reference := r.Hosts[r.Reference].Host
	q := new(byMethod)
	for i, h := range r.Hosts {
		if uint32(i) == r.Reference {
			continue
		}
		for _, p := range h.Points {
			truth := p.LocalNs - ts.on(reference, h.Host, p.LocalNs)
			where := func(method string) string { return fmt.Sprintf("%s at %d by %s", h.Host, p.LocalNs, method) }
			q.both.add(where("both"), p.All, truth)
			q.probes.add(where("probes"), p.Probes, truth)
			q.segments.add(where("segments"), p.Segments, truth)
		}
	}
	return q
}

// wantTrue fails for every interval that does not hold the truth, and if nothing was known at
// all by one of the methods that are asked for.
func (q *byMethod) wantTrue(t testing.TB, methods ...*quality) {
	t.Helper()
	for _, m := range []*quality{&q.both, &q.probes, &q.segments} {
		for i, text := range m.outside {
			if i == 5 {
				t.Errorf("and %d more", len(m.outside)-i)
				break
			}
			t.Error(text)
		}
	}
	for _, m := range methods {
		if m.known() == 0 || m.unknown > 0 {
			t.Errorf("known at %d moments, unknown at %d", m.known(), m.unknown)
		}
	}
}

// clockReport is what is known of a run's clocks at so many moments, on the clock of
// reference.
func (l *testLab) clockReport(id, reference string, points int) *synclinev1.ClockReport {
	l.t.Helper()
	answer, err := l.client.timelines.GetClock(l.t.Context(), &synclinev1.GetClockRequest{RunId: id, Reference: reference, Points: uint32(points)})
	if err != nil {
		l.t.Fatal(err)
	}
	return answer.Report
}

// sealed fails the test unless the run came to its end with nothing missing.
func (l *testLab) sealed(run *synclinev1.Run) {
	l.t.Helper()
	if run.State != synclinev1.RunState_RUN_STATE_SEALED || len(run.Incomplete) > 0 {
		l.t.Fatalf("run is %v: %s; %q", run.State, run.Reason, run.Incomplete)
	}
}

// arrivals is what became of the packets and moments of a run's timelines.
type arrivals struct {
	timelines, moments, matched int
	// early arrived before they left by lab time, impossible ones whatever the clocks are
	// within their bounds.
	early, impossible int
	// outside are times whose ± did not hold the truth.
	outside []string
}

// arrive adds up what a timeline shows, and holds every time of it against the truth.
func (ts truths) arrive(a *arrivals, tl *synclinev1.Timeline) {
	a.timelines++
	reference := tl.Hosts[tl.Reference].Host.Name
	truth := func(m *synclinev1.Moment) int64 {
		return ts.on(reference, tl.Hosts[tl.Events[m.Event].Host].Host.Name, m.LocalNs)
	}
	for i, m := range tl.Moments {
		a.moments++
		if off := m.LabNs - truth(m); m.ErrorNs != nil && max(off, -off) > *m.ErrorNs+rounding {
			a.outside = append(a.outside, fmt.Sprintf("repetition %d, moment %d: %d ±%d, the truth is %d", tl.Repetition, i, m.LabNs, *m.ErrorNs, truth(m)))
		}
	}
	count := func(departure, arrival *uint32, impossible bool, oneWay, oneWayErr *int64) {
		if departure == nil || arrival == nil {
			return
		}
		a.matched++
		from, to := tl.Moments[*departure], tl.Moments[*arrival]
		if impossible {
			a.impossible++
		}
		took, loose := truth(to)-truth(from), stampError(tl, from)+stampError(tl, to)
		if from.LabNs > to.LabNs {
			a.early++
		}
		if oneWay == nil {
			return
		}
		// A nanosecond of lab time is one of the reference's clock; what is between two moments may
		// be told in that of another.
		if off := *oneWay - took; max(off, -off) > *oneWayErr+loose+2*rounding+max(took, -took)/1000 {
			a.outside = append(a.outside, fmt.Sprintf("repetition %d: a packet took %d ±%d, the truth is %d ±%d", tl.Repetition, *oneWay, *oneWayErr, took, loose))
		}
	}
	for _, c := range tl.Connections {
		for _, s := range c.Segments {
			count(s.Departure, s.Arrival, s.Impossible, s.OneWayNs, s.OneWayErrorNs)
		}
	}
	for _, o := range tl.Others {
		s := o.Segment
		count(s.Departure, s.Arrival, s.Impossible, s.OneWayNs, s.OneWayErrorNs)
	}
}

// stampError is how far from the truth a packet's own stamp may be.
func stampError(tl *synclinev1.Timeline, m *synclinev1.Moment) int64 {
	return tl.Events[m.Event].Event.GetPacket().GetErrorNs()
}

// arrived looks at every timeline of a run.
func (l *testLab) arrived(ts truths, run *synclinev1.Run) *arrivals {
	l.t.Helper()
	a := new(arrivals)
	for n := range run.RepetitionsDone {
		ts.arrive(a, l.timeline(run, int(n)+1))
	}
	return a
}

// wantTrue fails for everything that arrived before it left, and for every time whose ± did
// not hold the truth.
func (a *arrivals) wantTrue(t testing.TB) {
	t.Helper()
	if a.early > 0 || a.impossible > 0 || len(a.outside) > 0 {
		t.Errorf("of %d packets %d arrived before they left, %d of them whatever the clocks are; of %d moments %d are outside of their ±: %q",
			a.matched, a.early, a.impossible, a.moments, len(a.outside), a.outside[:min(5, len(a.outside))])
	}
}
