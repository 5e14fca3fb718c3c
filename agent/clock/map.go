package clock

import (
	"math"
	"sort"
)

// MaxSamples is how many samples a Map remembers. Stamps older than the oldest are
// not mapped any more; with a sample every 20 ms that is after 80 seconds.
const MaxSamples = 4096

// maxSlew is the fastest that CLOCK_MONOTONIC is steered against the hardware's clock, as a
// divisor of time: 500 ppm, the limit of adjtimex(2) on frequency.
const maxSlew = 2000

// Step says that CLOCK_REALTIME moved against CLOCK_MONOTONIC by By nanoseconds,
// more than slewing and the errors of the samples explain, at some moment between
// Since and At (nanoseconds of CLOCK_MONOTONIC).
type Step struct {
	By, Since, At int64
}

// Map moves stamps of CLOCK_REALTIME onto CLOCK_MONOTONIC. It is fed with samples in
// the order they were taken. The zero value is ready; it is not safe for concurrent use.
//
// A stamp is mapped from the two samples around it. Its bound holds the truth as long
// as the difference of the clocks, between two samples without a step, stays within
// what the two samples say: on Linux it does, since there both clocks run at one rate. A step
// too small to be found, less than 1 µs and 50 ppm of the time between the samples, is in the bound.
type Map struct {
	samples []Sample
	// starts are indices into samples, ascending: each is the first sample after a
	// step. Between two of them Realtime grows strictly.
	starts []int
	// fell is the most that the difference of the clocks may have fallen between two samples
	// without a step.
	fell int64
}

// Add takes the next sample. It returns the step that lies between it and the sample
// before, nil if there is none. A sample that is not later than the last one says
// nothing new and is dropped.
func (m *Map) Add(s Sample) *Step {
	if len(m.samples) == 0 {
		m.samples = append(m.samples, s)
		return nil
	}
	last := m.samples[len(m.samples)-1]
	if s.Monotonic <= last.Monotonic {
		return nil
	}
	step := between(last, s)
	if step == nil && s.Realtime <= last.Realtime {
		return nil
	}
	m.forget()
	if step != nil {
		m.starts = append(m.starts, len(m.samples))
	} else {
		m.fell = max(m.fell, fall(m.samples[len(m.samples)-1], s))
	}
	m.samples = append(m.samples, s)
	return step
}

// forget makes room for one sample, half the history at a time so that the copying
// costs a constant per sample.
func (m *Map) forget() {
	if len(m.samples) < MaxSamples {
		return
	}
	cut := MaxSamples / 2
	m.samples = append(m.samples[:0], m.samples[cut:]...)
	kept := m.starts[:0]
	for _, start := range m.starts {
		if start > cut {
			kept = append(kept, start-cut)
		}
	}
	m.starts = kept
}

// fall is by how much the difference of the clocks may have fallen from a to b.
func fall(a, b Sample) int64 { return a.offset() + a.Err - b.offset() + b.Err }

// between compares two samples, a before b. What is no step to a Watcher is none here.
func between(a, b Sample) *Step {
	by := b.offset() - a.offset()
	slack := a.Err + b.Err
	slack += (b.Monotonic-a.Monotonic+slack)/steady + smallestStep
	if -slack <= by && by <= slack {
		return nil
	}
	return &Step{By: by, Since: a.Monotonic - a.Err, At: b.Monotonic + b.Err}
}

// offset is CLOCK_REALTIME minus CLOCK_MONOTONIC, surely within Err.
func (s Sample) offset() int64 { return s.Realtime - s.Monotonic }

// Monotonic moves a stamp of CLOCK_REALTIME onto CLOCK_MONOTONIC: the truth is within
// err nanoseconds of t. It is not ok before a sample after the stamp was added, and for a
// stamp older than all samples. Where a step leaves more than one answer, err reaches to all
// of them. Otherwise, within one stretch between two steps, later stamps never get an
// earlier t.
//
// A stamp above that of the newest sample is taken for one from before a step back, if there
// was one that allows it: a sample is to be added before the stamps that were taken by then are moved.
func (m *Map) Monotonic(realtime int64) (t, err int64, ok bool) {
	return m.MonotonicSince(realtime, math.MinInt64)
}

// MonotonicSince is Monotonic for a stamp that was surely not taken before a moment of
// CLOCK_MONOTONIC, which may leave fewer answers. After the clock was set back by an hour,
// stamps look for that long as if they could be from before.
func (m *Map) MonotonicSince(realtime, since int64) (t, err int64, ok bool) {
	var found answers
	first := 0
	for i := 0; i <= len(m.starts); i++ {
		end := len(m.samples)
		if i < len(m.starts) {
			end = m.starts[i]
			a, b := m.samples[end-1], m.samples[end]
			if nearStep(a, b, realtime) {
				low, high := a.Monotonic-a.Err, b.Monotonic+b.Err
				found.add(low+(high-low)/2, (high-low+1)/2, since)
			}
		}
		if t, err, in := m.within(m.samples[first:end], realtime); in {
			found.add(t, err, since)
		}
		first = end
	}
	return found.all()
}

// answers are the moments at which a stamp may have been taken.
type answers struct {
	n         int
	t, err    int64
	low, high int64
}

// add takes one answer, unless all of it is before since.
func (f *answers) add(t, err, since int64) {
	if t+err < since {
		return
	}
	if f.n == 0 {
		f.t, f.err, f.low, f.high = t, err, t-err, t+err
	}
	f.n++
	f.low, f.high = min(f.low, t-err), max(f.high, t+err)
}

// all is the one answer, or what reaches to all there are.
func (f *answers) all() (t, err int64, ok bool) {
	if f.n <= 1 {
		return f.t, f.err, f.n == 1
	}
	t = f.low + (f.high-f.low)/2
	return t, f.high - t, true
}

// within moves a stamp by the samples of one stretch. If the difference of the clocks fell
// between two samples, a stamp right above the second may be from before it, and one right below the
// first from after it: the bound reaches there too.
func (m *Map) within(samples []Sample, realtime int64) (t, err int64, ok bool) {
	i := sort.Search(len(samples), func(i int) bool { return samples[i].Realtime >= realtime })
	switch {
	case i == len(samples):
		return 0, 0, false
	case i > 0:
		t, err = interpolate(samples[i-1], samples[i], realtime)
	case samples[0].Realtime == realtime || len(samples) > 1 && realtime >= samples[0].Realtime-fall(samples[0], samples[1]):
		t, err = realtime-samples[0].offset(), samples[0].Err
	default:
		return 0, 0, false
	}
	for j := i - 1; j > 0 && realtime <= samples[j].Realtime+m.fell; j-- {
		a, b := samples[j-1], samples[j]
		if realtime <= b.Realtime+fall(a, b) {
			err = max(err, t-(realtime-a.offset()-a.Err))
		}
	}
	for j := i; j+1 < len(samples) && realtime >= samples[j].Realtime-m.fell; j++ {
		a, b := samples[j], samples[j+1]
		if realtime >= a.Realtime-fall(a, b) {
			err = max(err, realtime-b.offset()+b.Err-t)
		}
	}
	return t, err, true
}

// nearStep reports whether the stamp may have been taken between a and b, between
// which the clock was stepped at an unknown moment. Before the step the clock ran on
// from a, after it the clock ran up to b. (A clock that was stepped twice between two
// samples may have been anywhere; nothing here can show that.)
func nearStep(a, b Sample, realtime int64) bool {
	elapsed := b.Monotonic - a.Monotonic + a.Err + b.Err
	elapsed += elapsed/steady + smallestStep
	before := a.Realtime <= realtime && realtime <= a.Realtime+elapsed
	after := b.Realtime-elapsed <= realtime && realtime <= b.Realtime
	return before || after
}

// interpolate takes the offset at the stamp from the line through both samples, which
// keeps the order of stamps, and an error that reaches to both ends of all that the
// two samples allow.
func interpolate(a, b Sample, realtime int64) (t, err int64) {
	offset := a.offset()
	if span := b.Realtime - a.Realtime; span > 0 {
		part := float64(realtime-a.Realtime) / float64(span)
		offset += int64(part * float64(b.offset()-a.offset()))
	}
	low := min(a.offset()-a.Err, b.offset()-b.Err)
	high := max(a.offset()+a.Err, b.offset()+b.Err)
	return realtime - offset, max(offset-low, high-offset)
}
