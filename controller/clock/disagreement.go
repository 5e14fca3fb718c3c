package clock

// Disagreement is a place where two methods leave no offset that both allow: a path
// is not what it seems (a box with a clock of its own on the way), or a stamp lies. It is
// no sign of an asymmetric path: that shifts the middle, not the limits.
type Disagreement struct {
	// A and B are hosts; the offset is B's clock minus A's when A's read At.
	A, B int
	At   Local
	// The intervals of the offset by each method alone. They have nothing in common.
	Probes, Segments Bound
}

// Disagreements lists where probes alone and segments alone exclude each other, the
// worst place of each pair of hosts.
//
// One of the methods is then wrong, somewhere, and the model cannot know which. So
// from then on every answer covers the answers of each method alone that knows one:
// it holds the truth if one of the two methods is right. By the same token it may be
// as wide as both together, and the order of a departure and its arrival is no longer
// sure.
func (m *Model) Disagreements() []Disagreement { return m.disagreements }
