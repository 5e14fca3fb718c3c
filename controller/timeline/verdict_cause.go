package timeline

import (
	"slices"

	"syncline/controller/clock"
)

// causes answers which of two moments was first, for many questions about one
// timeline. It belongs to one goroutine.
type causes struct {
	t *Timeline
	// disputed are sentences on what kept the clocks from answering the questions since it
	// was last emptied: probes and segments that exclude each other, messages that contradict
	// each other, a host's suspend.
	disputed []string
}

// newCauses works out once what a timeline that was put together by hand, or that
// came over the network, has to be asked again and again.
func newCauses(t *Timeline) *causes {
	own := *t
	own.certain = t.certainty()
	return &causes{t: &own}
}

// order tells if moment a is surely not after b, or surely after it; neither if
// nothing decides.
func (c *causes) order(a, b int) (notAfter, after bool) {
	before, known := c.t.Certain(a, b)
	if !known {
		c.dispute(a, b)
	}
	return known && before, known && !before
}

// apart bounds the time from moment a to moment b by the clocks, in nanoseconds.
func (c *causes) apart(a, b int) (lo, hi int64) {
	c.dispute(a, b)
	return c.t.Apart(a, b)
}

// dispute notes what keeps the time between two moments from being known better.
func (c *causes) dispute(a, b int) {
	text := c.t.certain.dispute(&c.t.Moments[a], &c.t.Moments[b])
	if text != "" && !slices.Contains(c.disputed, text) {
		c.disputed = append(c.disputed, text)
	}
}

// dispute is a sentence on what makes the time between two moments less sure than messages
// would have it: a suspend between two moments of one host, messages that contradict each
// other about one of two clocks, or probes and segments that exclude each other.
func (c *certainty) dispute(a, b *Moment) string {
	x, y := a.Event.Host, b.Event.Host
	switch {
	case x == y && c.suspended(x, a.Local, b.Local):
		return "the host was suspended in between, and for how long is not known well"
	case x == y, c.clocks == nil, c.clocks.Same(x, y):
		return ""
	case c.contradicted[x] != "":
		return c.contradicted[x]
	case c.contradicted[y] != "":
		return c.contradicted[y]
	case c.disputes == nil:
		return ""
	}
	both := clock.Bound{Lo: -clock.Unbounded, Hi: clock.Unbounded}
	for _, method := range methods {
		lo, hi := -clock.Unbounded, clock.Unbounded
		if m := c.alone[method]; m != nil {
			lo, hi = m.Between(x, a.Local, y, b.Local)
		}
		if lo <= -clock.Unbounded || hi >= clock.Unbounded {
			// One method alone does not compare them: what counts is who is doubted.
			return c.disputeOf(x, y)
		}
		both.Lo, both.Hi = max(both.Lo, lo), min(both.Hi, hi)
	}
	if both.Lo <= both.Hi {
		return ""
	}
	if text := c.disputes[pairOf(x, y)]; text != "" {
		return text
	}
	// The two exclude each other somewhere on the way between these hosts.
	return c.disputes[c.anyDispute]
}

// disputeOf is how the methods exclude each other over one of two hosts.
func (c *certainty) disputeOf(x, y int) string {
	for other := range len(c.evidence.hosts) {
		for _, host := range []int{x, y} {
			if text := c.disputes[pairOf(host, other)]; text != "" {
				return text
			}
		}
	}
	return ""
}

// because adds the disputes to the reason of a verdict that could not be told.
func (c *causes) because(v Verdict) Verdict {
	if v.Ruling == CannotTell {
		for _, text := range c.disputed {
			v.Reason += "; " + text
		}
	}
	return v
}
