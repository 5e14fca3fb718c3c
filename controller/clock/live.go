package clock

import (
	"cmp"
	"slices"
	"sort"
)

// mostLimits is how many limits Live keeps of each side of each pair of clocks, axis and method
// before it forgets, and mostChanges how many changes of each clock.
const (
	mostLimits  = 16384
	mostChanges = 256
)

// farAway is beyond what a clock of a host reads, in nanoseconds.
const farAway = Local(Unbounded / 2)

// Live is a model that grows, for whoever watches messages come: it learns them one after
// the other, in any order and however late, and answers at any time. Its memory is bounded
// however many it learns: it forgets first what the rest implies, then all but the best of
// equal parts of the time. What it forgets makes intervals wider, never wrong. It looks for no
// liars, since it does not keep the messages: a false stamp makes it inconsistent for good.
// Who has all messages is better served by NewModel.
//
// It must not be used by several goroutines at once; the models that it gives may.
type Live struct {
	facts *facts
	// model is what Model gave last; nil if something was learned since.
	model *Model
}

// NewLive begins with no messages. cfg is as for NewModel.
func NewLive(cfg Config) *Live {
	changes := cfg.Changes
	cfg.Changes, cfg.ClockIDs = nil, slices.Clone(cfg.ClockIDs)
	l := &Live{facts: newFacts(cfg)}
	l.Change(changes...)
	return l
}

// Add learns messages. It panics if one names a host that is not there.
func (l *Live) Add(messages ...Message) {
	f := l.facts
	for _, msg := range messages {
		f.add(msg)
		n, from, to := len(f.clock), f.clock[msg.From], f.clock[msg.To]
		b := f.bin(msg.Method)
		l.forget(&b.pairs[from*n+to], from, to)
		l.forget(&b.pairs[to*n+from], to, from)
	}
	l.model = nil
}

// Change learns what a host reported of its clock. If one comes with so many that Live does
// not keep them all, the two closest to each other become one that reaches over both.
func (l *Live) Change(changes ...Change) {
	for _, c := range changes {
		of := &l.facts.changes[l.facts.clock[c.Host]]
		*of = append(*of, c)
		if len(*of) > mostChanges {
			*of = joinClosest(*of)
		}
	}
	l.model = nil
}

// joinClosest makes one of two changes.
func joinClosest(changes []Change) []Change {
	slices.SortFunc(changes, func(a, b Change) int { return cmp.Compare(a.Since, b.Since) })
	closest := 1
	apart := func(i int) int64 { return add(int64(changes[i].Since), -int64(changes[i-1].At)) }
	for i := range changes[1:] {
		if apart(i+1) < apart(closest) {
			closest = i + 1
		}
	}
	a, b := &changes[closest-1], changes[closest]
	a.At, a.Stopped = max(a.At, b.At), a.Stopped || b.Stopped
	return slices.Delete(changes, closest, closest+1)
}

// Model answers by all that was learned so far. It never changes afterwards.
func (l *Live) Model() *Model {
	if l.model == nil {
		f := l.facts.clone()
		f.thin()
		l.model = f.model()
	}
	return l.model
}

// clone copies the facts without what was concluded from them.
func (f *facts) clone() *facts {
	other := newFacts(f.cfg)
	other.lies = slices.Clone(f.lies)
	for clock, changes := range f.changes {
		other.changes[clock] = slices.Clone(changes)
	}
	for i, b := range f.bins {
		if b == nil {
			continue
		}
		c := &bin{pairs: make([]pair, len(b.pairs)), messages: slices.Clone(b.messages)}
		for k, p := range b.pairs {
			c.pairs[k] = pair{ahead: slices.Clone(p.ahead), behind: slices.Clone(p.behind)}
		}
		other.bins[i] = c
	}
	return other
}

// forget makes room in a pair that became too large: half of what it may keep.
func (l *Live) forget(p *pair, owner, far int) {
	if max(len(p.ahead), len(p.behind)) < mostLimits {
		return
	}
	f := l.facts
	sortLimits(p.ahead)
	sortLimits(p.behind)
	c := changesOf(f.changes[owner], f.changes[far], placesOf(f.changes[far], p.ahead, p.behind))
	wide := link{
		ahead:  newSide(f.steady, false, c.gaps, p.ahead),
		behind: newSide(f.steady, true, c.gaps, p.behind),
	}
	if s, ok := f.steadiness(owner, far); ok {
		if a, b, _ := wide.tighten(s, c); a != nil {
			wide.ahead, wide.behind = a, b
		}
	}
	p.ahead, p.behind = wide.thinned(mostLimits / 2)
}

// thinned are the limits of each side that a link keeps: it cuts the time into so many
// equal parts, and in each keeps the two limits that rule where the offset is known best.
func (l *link) thinned(parts int64) (ahead, behind []limit) {
	t := tightening{ahead: l.ahead, behind: l.behind}
	first, last := Local(Unbounded), Local(-Unbounded)
	t.apexes(func(at Local) {
		// The end of a gap may be unknown.
		if at > -farAway && at < farAway {
			first, last = min(first, at), max(last, at)
		}
	})
	if first >= last {
		return l.ahead.limits(), l.behind.limits()
	}
	best := make([]place, parts)
	taken := make([]bool, parts)
	t.apexes(func(at Local) {
		if at < first || at > last {
			return
		}
		part := mulDivDown(uint64(at-first), uint64(parts-1), uint64(last-first))
		if p := t.place(at); !taken[part] || p.better(best[part]) {
			best[part], taken[part] = p, true
		}
	})
	for part, p := range best {
		if taken[part] {
			ahead = append(ahead, l.ahead.ruling(p.at)...)
			behind = append(behind, l.behind.ruling(p.at)...)
		}
	}
	return ordered(ahead), ordered(behind)
}

// better reports whether the offset is better known here than there; where no side is known of
// both, whether the limit there is from is the lower one.
func (p place) better(than place) bool {
	if p.known() != than.known() {
		return p.known()
	}
	if p.known() {
		return p.width() < than.width()
	}
	return p.hi < than.hi || p.lo > than.lo
}

// ruling is the limit that decides at a time; none in a gap.
func (s *side) ruling(at Local) []limit {
	i := sort.Search(len(s.gaps), func(i int) bool { return s.gaps[i].to > at })
	if i < len(s.gaps) && at > s.gaps[i].from || len(s.envelopes[i].apexes) == 0 {
		return nil
	}
	e, c := s.envelopes[i], cursor{}
	k, here := e.after(at, &c), e.apex(limit{At: at}, &c)
	if k == len(e.apexes) || k > 0 && e.apexes[k-1].cone(&here) <= e.apexes[k].cone(&here) {
		k--
	}
	return []limit{e.apexes[k].limit}
}

// ordered sorts limits and leaves out what is there twice.
func ordered(limits []limit) []limit {
	sortLimits(limits)
	return slices.Clip(slices.Compact(limits))
}
