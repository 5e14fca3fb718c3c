package clock

// Moment is a time of one host's clock.
type Moment struct {
	Host int
	At   Local
}

// Reference is the host whose clock is the lab's.
func (m *Model) Reference() int { return m.reference }

// WithReference is the same model with another host's clock as the lab's. Both share
// all that they know.
func (m *Model) WithReference(host int) *Model {
	other := *m
	other.reference = host
	return &other
}

// BestReference is the host whose clock, as the lab's, makes the largest error over the
// moments the least: of hosts that leave equally few moments with no error at all, the one
// with the least largest error, then the first. Moments are best spread evenly over the run,
// for each host.
func (m *Model) BestReference(moments []Moment) int {
	best, least, unknown := 0, Unbounded, len(m.facts.clock)*len(moments)+1
	for host := range m.facts.clock {
		worst, strangers := int64(0), 0
		other := m.WithReference(host)
		for _, at := range moments {
			if b := other.Bound(at.Host, at.At); b.Known() {
				worst = max(worst, b.Err())
			} else {
				strangers++
			}
		}
		if strangers < unknown || strangers == unknown && worst < least {
			best, least, unknown = host, worst, strangers
		}
	}
	return best
}
