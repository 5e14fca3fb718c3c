package timeline

// Causality tells who caused what in one repetition: what made each packet leave, what
// brought each end to its states, and what let each call return that had to wait.
//
// Nothing is named as a cause that surely came after what it is said to have caused, and
// the causes of all moments form no circle.
type Causality struct {
	t *Timeline
	// Packets has the cause of each transmission, in the order of Timeline.Transmissions.
	Packets []PacketCause
	// States has the cause of each state of each end, by connection, end and order.
	States []StateCause
	// Blocked has the calls that had to wait, in order of their entries.
	Blocked []BlockedCall
	// of has, by moment, what brought it about.
	of map[int]Cause

	ends  [][2]*endView
	hosts []hostView
	pairs map[pairAt][]*endView
	// traced is true if the run has tracepoints of TCP watched.
	traced bool
	// others has the causes of packets that are no TCP, by the moment at which they were first seen.
	others map[int]Cause
}

// CauseKnown says how a cause is known.
type CauseKnown int

// How a cause is known.
const (
	// NoneKnown: nothing on record explains it. Cause.Why says what is missing, if that is
	// known.
	NoneKnown CauseKnown = iota
	// Inferred: a rule of TCP or of the kernel says that such a thing is done then, and
	// nothing on record speaks against it.
	Inferred
	// Observed: the record itself ties the two. A kernel said so at a tracepoint, the
	// numbers of one packet name the other, both taps saw the very packet; and the order
	// of the two is certain.
	Observed
)

// String is how a cause is known, in words: "observed".
func (k CauseKnown) String() string {
	switch k {
	case Inferred:
		return "inferred"
	case Observed:
		return "observed"
	}
	return "none known"
}

// Cause is why something happened.
type Cause struct {
	// Effect is the moment that is explained, an index into Timeline.Moments.
	Effect int
	// By is the moment that brought it about: the entry of a call, the arrival of a packet,
	// or, of a timer, the moment that it ran from. -1 if none on record did.
	By int
	// Rule is why the one leads to the other; nil where none is known.
	Rule  *Rule
	Known CauseKnown
	// Ordered is true if By surely was not after Effect. Otherwise their order is not known:
	// the errors of their stamps overlap, and no message orders them.
	Ordered bool
	// Why says more: the kernel's own word for why it did it, or what kept a cause from
	// being known. It may be empty.
	Why string
}

// Rule is why one thing leads to another.
type Rule struct {
	// Name is stable: "connect-syn".
	Name string
	// Text says it in the present tense, without a full stop: "connect() sends a SYN".
	Text string
	// Sources say where it is written: "RFC 9293 3.5", "connect(2)".
	Sources []string
	// Timer is true if it is the passing of time that leads from the one to the other.
	Timer bool
}

// PacketCause is what made one packet leave.
type PacketCause struct {
	Transmission
	Cause
}

// StateCause is what brought one end to one of its states.
type StateCause struct {
	EndRef
	// Index is that of the state in End.States.
	Index int
	Cause
}

// BlockedCall is a call that had to wait: its result was not to be had when it was
// entered. Effect is its return.
type BlockedCall struct {
	// Enter is the moment of its entry, -1 if that is not on record.
	Enter int
	// Nanoseconds from entry to return, by the host's own clock.
	Nanoseconds int64
	// Lab is true for the lab's own steps, wait and meet.
	Lab bool
	Cause
}

// Of is what brought a moment about; ok is false if nobody looked for a cause: a call is
// entered because the experiment says so.
func (c *Causality) Of(moment int) (cause Cause, ok bool) {
	cause, ok = c.of[moment]
	return cause, ok
}

// Timeline is the timeline that the causes are of. What it has to work out to answer Certain is
// worked out once, for as many questions as there are.
func (c *Causality) Timeline() *Timeline { return c.t }

// Causes works out who caused what, of a timeline that is settled once. It only reads the
// timeline, and nobody may write to what it returns.
func (t *Timeline) Causes() *Causality {
	if t.isSettled() {
		return t.settled.causality()
	}
	return newCausality(t)
}

func newCausality(t *Timeline) *Causality {
	own := *t
	known := *t.certainty()
	if known.evidence == nil {
		known.evidence = evidenceOf(t)
	}
	own.certain = &known
	c := &Causality{t: &own, of: make(map[int]Cause)}
	c.build()
	c.findPackets()
	c.findStates()
	c.findSignals()
	c.findBlocked()
	return c
}

// none is a moment of which no cause is known.
func none(effect int, why string) Cause { return Cause{Effect: effect, By: -1, Why: why} }

// by is the cause of a moment by a rule; by may be -1. What surely came later is no cause.
func (c *Causality) by(rule *Rule, by, effect int) Cause {
	if by < 0 {
		return Cause{Effect: effect, By: -1, Rule: rule, Known: Inferred}
	}
	may, surely := c.mayCause(by, effect)
	if !may {
		return none(effect, "what would explain it came after it, as far as the clocks tell: "+rule.Text)
	}
	return Cause{Effect: effect, By: by, Rule: rule, Known: Inferred, Ordered: surely}
}

// observed marks a cause that the record itself ties to its effect. What has no certain
// order is inferred.
func (k Cause) observed() Cause {
	if k.Known == Inferred && k.Ordered {
		k.Known = Observed
	}
	return k
}

// because adds why.
func (k Cause) because(why string) Cause {
	if why != "" {
		k.Why = why
	}
	return k
}

// note keeps the cause of a moment.
func (c *Causality) note(k Cause) Cause {
	if _, known := c.of[k.Effect]; !known {
		c.of[k.Effect] = k
	}
	return k
}
