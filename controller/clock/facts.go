package clock

import (
	"slices"
	"sync"
)

// facts are what the messages say, by method, before anything is concluded: limits on
// offsets, of which those are left out that others imply by the bound on the drift.
type facts struct {
	cfg    Config
	drift  drift
	steady *growth
	// clock maps a host to its clock: the lowest host that reads it.
	clock   []int
	changes [][]Change
	// untold is, by clock, the change of its rate at once that may stay untold, in parts per
	// billion; 0 where nobody watched.
	untold []uint64
	// bins by method, as Message.Method says it.
	bins [8]*bin
	// lies are messages between two hosts that read one clock which arrived before they
	// left; their A and B are hosts.
	lies []lie

	mu sync.Mutex
	// views by the set of bins that they were made of, bit 1<<i for bin i.
	views map[uint8]*view
}

type lie struct {
	Contradiction
	method Methods
}

// bin is what the messages of one method say.
type bin struct {
	// pairs by the first clock, then by the second.
	pairs []pair
	// messages by clock.
	messages []int
}

// pair are the limits of one ordered pair of clocks, both on the axis of the first.
type pair struct {
	// ahead limits (second − first), behind (first − second).
	ahead, behind []limit
	// far are the places on that axis of the second's changes. They are found before limits
	// are left out: those that imply the others must not come to stand in a gap.
	far []span
}

func newFacts(cfg Config) *facts {
	f := &facts{cfg: cfg, drift: cfg.drift(), clock: cfg.clocks(), views: make(map[uint8]*view)}
	f.steady = steady(rateOf(uint64(f.drift)))
	f.changes, f.untold = cfg.changes(f.clock), cfg.untold(f.clock)
	return f
}

// steadiness is what is assumed of the rates of two clocks against each other; false if
// that is no more than the bound on the drift.
func (f *facts) steadiness(a, b int) (steadiness, bool) {
	wander := f.cfg.wander()
	if wander == 0 || f.untold[a] == 0 || f.untold[b] == 0 {
		return steadiness{}, false
	}
	return steadiness{
		drift:  rateOf(uint64(f.drift)),
		wander: rateOf(wander),
		step:   rateOf(f.untold[a] + f.untold[b]),
	}, true
}

func (f *facts) bin(methods Methods) *bin {
	at := &f.bins[methods&(Probes|Segments|Signals)]
	if *at == nil {
		n := len(f.clock)
		*at = &bin{pairs: make([]pair, n*n), messages: make([]int, n)}
	}
	return *at
}

// learn turns messages into limits; thin has to follow.
func (f *facts) learn(messages []Message) {
	n := len(f.clock)
	var sizes [8][]int
	for _, msg := range messages {
		size := &sizes[msg.Method&(Probes|Segments|Signals)]
		if *size == nil {
			*size = make([]int, n*n)
		}
		(*size)[f.clock[msg.From]*n+f.clock[msg.To]]++
	}
	for method, size := range sizes {
		if size == nil {
			continue
		}
		b := f.bin(Methods(method))
		for i := range n {
			for j := range n {
				if i != j {
					b.pairs[i*n+j].ahead = make([]limit, 0, size[i*n+j])
					b.pairs[i*n+j].behind = make([]limit, 0, size[j*n+i])
				}
			}
		}
	}
	for _, msg := range messages {
		f.add(msg)
	}
}

// add turns a message into two limits: one on the axis of its sender's clock, where that
// surely had not sent it yet, and one on that of its receiver's, where that surely had it.
// Both are exact, since clocks do not run backwards; see DESIGN.md.
func (f *facts) add(msg Message) {
	from, to := f.clock[msg.From], f.clock[msg.To]
	most := add(add(int64(msg.Received), -int64(msg.Sent)), add(msg.SentErr, msg.ReceivedErr))
	if from == to {
		// All that it can tell is that a stamp lies.
		if most < 0 {
			f.lie(lie{Contradiction{A: msg.From, B: msg.To, At: msg.Sent, Lo: 0, Hi: most}, msg.Method})
		}
		return
	}
	n, b := len(f.clock), f.bin(msg.Method)
	b.messages[from]++
	b.messages[to]++
	there, back := &b.pairs[from*n+to], &b.pairs[to*n+from]
	there.ahead = append(there.ahead, limit{At: Local(add(int64(msg.Sent), -msg.SentErr)), Most: most})
	back.behind = append(back.behind, limit{At: Local(add(int64(msg.Received), msg.ReceivedErr)), Most: most})
}

// lie keeps the worst of each pair of hosts and method.
func (f *facts) lie(l lie) {
	for i, known := range f.lies {
		if known.A == l.A && known.B == l.B && known.method == l.method {
			if l.Hi < known.Hi {
				f.lies[i] = l
			}
			return
		}
	}
	f.lies = append(f.lies, l)
}

// thin forgets the limits that others imply.
func (f *facts) thin() {
	n := len(f.clock)
	for _, b := range f.bins {
		if b == nil {
			continue
		}
		for i := range b.pairs {
			p := &b.pairs[i]
			sortLimits(p.ahead)
			sortLimits(p.behind)
			own, far := f.changes[i/n], f.changes[i%n]
			p.far = placesOf(far, p.ahead, p.behind)
			gaps := changesOf(own, far, p.far).gaps
			p.ahead = newSide(f.steady, false, gaps, p.ahead).limits()
			p.behind = newSide(f.steady, true, gaps, p.behind).limits()
		}
	}
}

// stopped reports whether a host's clock ever stood still.
func (f *facts) stopped(host int) bool {
	return slices.ContainsFunc(f.changes[f.clock[host]], func(c Change) bool { return c.Stopped })
}

// all is the set of bins that there are.
func (f *facts) all() uint8 {
	var set uint8
	for i, b := range f.bins {
		if b != nil {
			set |= 1 << i
		}
	}
	return set
}

// of is the set of bins that some methods have a part in.
func (f *facts) of(methods Methods) uint8 {
	var set uint8
	for i := range f.bins {
		if f.bins[i] != nil && Methods(i)&methods != 0 {
			set |= 1 << i
		}
	}
	return set
}

// view is what the bins of a set conclude.
func (f *facts) view(set uint8) *view {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := f.views[set]
	if v == nil {
		v = newView(f, set)
		f.views[set] = v
	}
	return v
}
