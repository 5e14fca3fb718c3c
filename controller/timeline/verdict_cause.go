package timeline

// causes answers which of two moments was first, for many questions about one
// timeline.
type causes struct{ t *Timeline }

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
	return known && before, known && !before
}

// apart bounds the time from moment a to moment b by the clocks, in nanoseconds.
func (c *causes) apart(a, b int) (lo, hi int64) { return c.t.Apart(a, b) }
