package clock

import "math"

// steadiness keeps account of how small a change of rate would have been found, at any
// moment of a watch. A change can be missed only if no comparison was of readings all before
// it on the one hand and all after it on the other, or if it was less than the two rates of each
// such comparison leave open.
//
// Moments less than a second away from the beginning or the end of a watch, from a suspend or
// from a change that is told, do not count: a line through so few readings says little. Of a
// watch that is shorter than two seconds its middle counts.
type steadiness struct {
	// gaps are the times between two readings that may be compared still, and passed those
	// that are through and were not asked for.
	gaps, passed []gap
	// through is up to when all have passed, and broken when the watch began or was
	// interrupted last.
	through, broken int64
	// counted is set once some gap has counted, and answer is the last answer given. ended is set at the end.
	counted, ended bool
	answer         int64
}

// gap is the time between two readings, and the least change in it, in ppb, that some
// comparison would surely have shown.
type gap struct {
	from, to int64
	least    float64
}

// settled is after how long no comparison is more exact about a gap.
const settled = 4 * window

// maxPassed bounds what is kept for whoever asks: of a minute or so.
const maxPassed = 1024

func (s *steadiness) begin(at int64) { *s = steadiness{broken: at, through: at} }

// resume takes over what was found before an interruption and not asked for yet.
func (s *steadiness) resume(before *steadiness) {
	s.passed, s.counted, s.answer = before.passed, before.counted, before.answer
}

// add takes in the time up to a reading.
func (s *steadiness) add(from, to int64) {
	s.gaps = append(s.gaps, gap{from, to, math.Inf(1)})
	for len(s.gaps) > 0 && s.gaps[0].to < to-settled {
		s.pass()
	}
}

// compared notes that two rates were compared, of readings up to before and from after on,
// and had something in common.
func (s *steadiness) compared(before, after int64, least float64) {
	for i := len(s.gaps) - 1; i >= 0 && s.gaps[i].from >= before; i-- {
		if g := &s.gaps[i]; g.to <= after {
			g.least = min(g.least, least)
		}
	}
}

// pass is through with the first gap.
func (s *steadiness) pass() {
	g := s.gaps[0]
	s.gaps, s.through = s.gaps[1:], g.to
	if g.from >= s.broken+window {
		s.keep(g)
	}
}

// keep keeps a gap until it is asked for. If nobody asks, the oldest become one.
func (s *steadiness) keep(g gap) {
	s.counted = true
	if n := len(s.passed); n > maxPassed {
		s.passed[1].from, s.passed[1].least = s.passed[0].from, max(s.passed[0].least, s.passed[1].least)
		s.passed = s.passed[1:]
	}
	s.passed = append(s.passed, g)
}

// interrupt says that the watch was interrupted between two moments, by what is told or by
// its end. Of what was before, all that is at least a second before it counts.
func (s *steadiness) interrupt(since, at int64) {
	for len(s.gaps) > 0 && s.gaps[0].from < at {
		if s.gaps[0].to <= since-window {
			s.pass()
			continue
		}
		s.through, s.gaps = s.gaps[0].to, s.gaps[1:]
	}
	s.broken = max(s.broken, at)
}

// end says that nothing comes any more.
func (s *steadiness) end() { s.ended, s.through = true, math.MaxInt64 }

// upTo answers with the least change that would surely have been found since the last
// time, if that is known up to a moment already. If no moment in between counts, it is what
// it was before; 0: nothing could ever be compared.
func (s *steadiness) upTo(at int64) (ppb int64, ok bool) {
	if s.through < at {
		return 0, false
	}
	worst := 0.0
	for len(s.passed) > 0 && s.passed[0].from < at {
		worst = max(worst, s.passed[0].least)
		if s.passed[0].to > at {
			break
		}
		s.passed = s.passed[1:]
	}
	switch {
	case worst > 0:
		s.answer = ppbUp(worst)
	case s.ended && !s.counted:
		s.answer = 0
	case s.answer == 0:
		// Before the first reading nothing was to be seen.
		s.answer = 1
	}
	return s.answer, true
}

// ppbUp is a bound in whole ppb, never 0, which would be none.
func ppbUp(least float64) int64 {
	return max(int64(math.Ceil(min(least, 1e9))), 1)
}
