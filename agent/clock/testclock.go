package clock

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of a test clock.
const (
	// MaxTestOffset is how far a test clock may be from the host's.
	MaxTestOffset = 100_000 * time.Hour
	// MaxTestRate bounds how much faster or slower a test clock goes than the host's, in
	// parts per million, MaxTestRates that with its wander, and MaxTestSlope how fast its rate changes, in
	// parts per million a second: bounds on clocks hold for those that are no worse.
	MaxTestRate  = 100
	MaxTestRates = 105
	MaxTestSlope = 1
	// MinTestPeriod and MaxTestPeriod bound the period of its wander.
	MinTestPeriod = 10 * time.Millisecond
	MaxTestPeriod = 24 * time.Hour
	// MaxTestSteps bounds the steps of its CLOCK_REALTIME, MaxTestStepAfter when they are.
	MaxTestSteps     = 16
	MaxTestStepAfter = 30 * 24 * time.Hour
	// MaxTestText is how long the text of a test clock is at most, in bytes: a controller
	// takes no more.
	MaxTestText = 512
)

// Test is a clock that does not exist, made from the host's own for tests: its truth is
// known exactly. A nil *Test is the host's own clock, in all methods.
//
// It has two halves. Monotonic is a function of the host's CLOCK_MONOTONIC and of nothing
// else, applied where events leave the agent; CLOCK_REALTIME goes with it there. Realtime
// has the steps, applied where stamps of CLOCK_REALTIME are read, so that they are
// found, or not, by what finds real ones.
//
// A Test does not change once it is made; any goroutine may use it.
type Test struct {
	offset int64
	// rate and wander are in parts per million million: the clock goes faster by
	// rate + wander·sin(2πt/period).
	rate, wander int64
	period       int64
	steps        []testStep
	// started is when the agent started, by CLOCK_REALTIME; 0: it did not, and there are
	// no steps.
	started int64
}

// testStep moves CLOCK_REALTIME by by nanoseconds, after nanoseconds after the start.
type testStep struct{ by, after int64 }

// ParseTest reads a test clock: parts as in "offset=1s,ppm=100,wander=1ppm/20s,step=1ms@10s",
// each optional, of which step may come more than once.
//
//	offset  how far it is ahead
//	ppm     how much faster it goes, parts per million
//	wander  amplitude and period of a rate that changes as a sine does
//	step    CLOCK_REALTIME moves by so much, so long after the agent's start
func ParseTest(text string) (*Test, error) {
	t, seen := &Test{}, map[string]bool{}
	for part := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			return nil, fmt.Errorf("test clock %q: %q is not KEY=VALUE; write it as in offset=1s,ppm=100,wander=1ppm/20s,step=1ms@10s", text, part)
		}
		if seen[key] && key != "step" {
			return nil, fmt.Errorf("test clock %q: %s is there twice", text, key)
		}
		seen[key] = true
		if err := t.set(key, value); err != nil {
			return nil, fmt.Errorf("test clock %q: %w", text, err)
		}
	}
	if fastest := abs(t.rate) + abs(t.wander); fastest > MaxTestRates*perPPM {
		return nil, fmt.Errorf("test clock %q: its rate is up to %s ppm off; at most %d, as no bound on clocks would hold", text, ppmText(fastest), MaxTestRates)
	}
	if t.period > 0 {
		if slope := 2 * math.Pi * float64(abs(t.wander)) / perPPM / (float64(t.period) / 1e9); slope > MaxTestSlope {
			return nil, fmt.Errorf("test clock %q: its rate changes by up to %.3g ppm a second; at most %d, as no bound on clocks would hold: take a longer period or a smaller amplitude", text, slope, MaxTestSlope)
		}
	}
	slices.SortStableFunc(t.steps, func(a, b testStep) int { return cmp.Compare(a.after, b.after) })
	if n := len(t.String()); n > MaxTestText {
		return nil, fmt.Errorf("test clock: written out it has %d bytes; at most %d", n, MaxTestText)
	}
	return t, nil
}

func (t *Test) set(key, value string) (err error) {
	switch key {
	case "offset":
		t.offset, err = parseNanos(key, value, MaxTestOffset)
	case "ppm":
		t.rate, err = parsePPM(key, value)
	case "wander":
		t.wander, t.period, err = parseWander(value)
	case "step":
		err = t.addStep(value)
	default:
		err = fmt.Errorf("no part is called %q; there are offset, ppm, wander and step", key)
	}
	return err
}

// perPPM is one part per million, in parts per million million.
const perPPM = 1_000_000

func parsePPM(key, value string) (int64, error) {
	ppm, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return 0, fmt.Errorf("%s=%s: %q is no number", key, value, value)
	}
	// Written so that NaN is refused too.
	if !(math.Abs(ppm) <= MaxTestRate) {
		return 0, fmt.Errorf("%s=%s: at most %d ppm either way", key, value, MaxTestRate)
	}
	return int64(math.Round(ppm * perPPM)), nil
}

func parseNanos(key, value string, most time.Duration) (int64, error) {
	d, err := time.ParseDuration(value)
	if err != nil {
		return 0, fmt.Errorf("%s=%s: %q is no duration; write it as in 1s, -20ms, 1h", key, value, value)
	}
	if d < -most || most < d {
		return 0, fmt.Errorf("%s=%s: at most %s either way", key, value, durationText(int64(most)))
	}
	return int64(d), nil
}

func parseWander(value string) (amplitude, period int64, err error) {
	text, over, ok := strings.Cut(value, "/")
	ppm, unit := strings.CutSuffix(text, "ppm")
	if !ok || !unit {
		return 0, 0, fmt.Errorf("wander=%s: write the amplitude and the period, as in 1ppm/20s", value)
	}
	if amplitude, err = parsePPM("wander", ppm); err != nil {
		return 0, 0, err
	}
	if period, err = parseNanos("wander", over, MaxTestPeriod); err != nil {
		return 0, 0, err
	}
	if period < int64(MinTestPeriod) {
		return 0, 0, fmt.Errorf("wander=%s: the period is at least %v", value, MinTestPeriod)
	}
	return amplitude, period, nil
}

func (t *Test) addStep(value string) error {
	far, at, ok := strings.Cut(value, "@")
	if !ok {
		return fmt.Errorf("step=%s: write how far and when, as in 1ms@10s", value)
	}
	by, err := parseNanos("step", far, MaxTestOffset)
	if err != nil {
		return err
	}
	after, err := parseNanos("step", at, MaxTestStepAfter)
	switch {
	case err != nil:
		return err
	case by == 0:
		return fmt.Errorf("step=%s: a step of nothing", value)
	case after < 0:
		return fmt.Errorf("step=%s: a step comes after the agent's start", value)
	case len(t.steps) == MaxTestSteps:
		return fmt.Errorf("more than %d steps", MaxTestSteps)
	}
	t.steps = append(t.steps, testStep{by, after})
	return nil
}

// String is the clock as ParseTest reads it, the same for the same clock; "" of the
// host's own.
func (t *Test) String() string {
	if t == nil {
		return ""
	}
	var parts []string
	if t.offset != 0 {
		parts = append(parts, "offset="+durationText(t.offset))
	}
	if t.rate != 0 {
		parts = append(parts, "ppm="+ppmText(t.rate))
	}
	if t.wander != 0 {
		parts = append(parts, "wander="+ppmText(t.wander)+"ppm/"+durationText(t.period))
	}
	for _, s := range t.steps {
		parts = append(parts, "step="+durationText(s.by)+"@"+durationText(s.after))
	}
	if len(parts) == 0 {
		return "offset=0s"
	}
	return strings.Join(parts, ",")
}

func ppmText(rate int64) string {
	return strconv.FormatFloat(float64(rate)/perPPM, 'f', -1, 64)
}

// durationText is a duration without the zeros that time.Duration ends with: "1h".
func durationText(ns int64) string {
	text := time.Duration(ns).String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}

// Started is the clock of an agent that started at a moment of CLOCK_REALTIME, in
// nanoseconds since 1970. Only such a clock has steps.
func (t *Test) Started(realtime int64) *Test {
	if t == nil {
		return nil
	}
	started := *t
	started.started = realtime
	return &started
}

// farthest bounds the moments that a test clock shifts by its rate, far beyond any
// CLOCK_MONOTONIC: sums stay within an int64.
const farthest = 1 << 60

// Monotonic is what this clock shows when CLOCK_MONOTONIC of the host is host, both in
// nanoseconds. It never goes backwards. Where this clock is slower than the host's, two
// moments of one nanosecond's distance may get the same answer.
func (t *Test) Monotonic(host int64) int64 {
	if t == nil {
		return host
	}
	at := min(max(host, -farthest), farthest)
	return at + t.offset + t.gained(at)
}

// HostMonotonic is the inverse of Monotonic: the first moment of the host's
// CLOCK_MONOTONIC at which this clock shows test or more.
func (t *Test) HostMonotonic(test int64) int64 {
	if t == nil {
		return test
	}
	at := min(max(test, -farthest), farthest) - t.offset
	aim := at + t.offset
	// Each turn leaves at most a hundredth of what was wrong, and a nanosecond.
	for range 12 {
		at -= at + t.offset + t.gained(at) - aim
	}
	for at+t.offset+t.gained(at) < aim {
		at++
	}
	for at-1+t.offset+t.gained(at-1) >= aim {
		at--
	}
	return at
}

// fine is the resolution in which rate and wander are added, parts of a nanosecond:
// rounded once, their sum cannot make time go backwards.
const fine = 1 << 20

// gained is how much the rate and its wander have brought by a moment, rounded down.
func (t *Test) gained(at int64) int64 {
	whole, part := t.straight(at)
	return whole + (part+t.wandered(at))>>20
}

// straight is rate·at: nanoseconds, and parts of one.
func (t *Test) straight(at int64) (whole, part int64) {
	hi, lo := bits.Mul64(uint64(abs(t.rate)), uint64(abs(at)))
	q, rest := bits.Div64(hi, lo, 1e12)
	// rest < 1e12 < 2^40, so the product fits.
	whole, part = int64(q), int64(rest*fine/1e12)
	if (t.rate < 0) != (at < 0) {
		return -whole, -part
	}
	return whole, part
}

// wandered is the integral of wander·sin(2πt/period) from 0 to a moment, in parts of a
// nanosecond.
func (t *Test) wandered(at int64) int64 {
	if t.wander == 0 {
		return 0
	}
	phase := at % t.period
	turn := 2 * math.Pi * float64(phase) / float64(t.period)
	swing := float64(t.wander) / 1e12 * float64(t.period) / (2 * math.Pi)
	return int64(math.Round(swing * (1 - math.Cos(turn)) * fine))
}

// Realtime is what a stamp of the host's CLOCK_REALTIME would be if this clock's steps had
// happened: nanoseconds since 1970. Offset and rate are not in it.
func (t *Test) Realtime(stamp int64) int64 {
	if t == nil || t.started == 0 {
		return stamp
	}
	moved := stamp
	for _, s := range t.steps {
		if stamp >= t.started+s.after {
			moved += s.by
		}
	}
	return moved
}

// Read samples the clocks, as the function of that name does, with the steps of this one.
func (t *Test) Read() Sample {
	s := Read()
	s.Realtime = t.Realtime(s.Realtime)
	return s
}

func abs(n int64) int64 { return max(n, -n) }
