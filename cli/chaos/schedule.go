package chaos

import (
	"errors"
	"fmt"
	"time"
)

// Fault is one fault of a schedule.
type Fault struct {
	// Number counts from 1.
	Number int
	Kind   Kind
	// Start is when it begins, since the beginning of the schedule, and For how long it lasts
	// until it is healed.
	Start, For time.Duration
	// Pick chooses among those that it can happen to, and places in files.
	Pick uint64
}

// End is when it is healed, since the beginning of the schedule.
func (f Fault) End() time.Duration { return f.Start + f.For }

// Plan is what a schedule is made from.
type Plan struct {
	Seed  uint64
	Kinds []Kind
	// Length is when the last fault has been healed, at the latest.
	Length time.Duration
	// Overlap is how many faults there are at a time, at most: 1 to 3.
	Overlap int
	// Rest is how long the cluster is left alone after a group of faults that overlap; 0: 3 s.
	Rest time.Duration
}

const defaultRest = 3 * time.Second

// Schedule makes groups of faults that overlap, one group after another. It uses each kind
// once before it uses any a second time. The same Plan makes the same schedule.
func Schedule(p Plan) ([]Fault, error) {
	if p.Overlap < 1 || p.Overlap > 3 {
		return nil, fmt.Errorf("%d faults at a time: 1 to 3, please", p.Overlap)
	}
	if len(p.Kinds) == 0 {
		return nil, errors.New("a schedule needs kinds of faults")
	}
	if p.Rest == 0 {
		p.Rest = defaultRest
	}
	s := &scheduler{plan: p, dice: dice{p.Seed}}
	var all []Fault
	for at := p.Rest; ; at += p.Rest {
		group, err := s.group(at, p.Length)
		if err != nil {
			return nil, err
		}
		if len(group) == 0 {
			return all, nil
		}
		for _, f := range group {
			f.Number = len(all) + 1
			all = append(all, f)
			at = max(at, f.End())
		}
	}
}

type scheduler struct {
	plan Plan
	dice dice
	// deck are the kinds to be used before it is shuffled again.
	deck []Kind
}

// group draws the next faults that overlap, none of which ends after limit.
func (s *scheduler) group(at, limit time.Duration) ([]Fault, error) {
	var group []Fault
	var traits []Trait
	size := 1 + int(s.dice.below(uint64(s.plan.Overlap)))
	for len(group) < size {
		t, ok, err := s.draw(traits)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		f := Fault{Kind: t.Kind, Start: at, For: s.dice.between(t.Min, t.Max), Pick: s.dice.next()}
		if len(group) > 0 {
			// While the first is there.
			f.Start += s.dice.between(0, group[0].For)
		}
		if f.End() > limit {
			break
		}
		group, traits = append(group, f), append(traits, t)
	}
	return group, nil
}

// draw takes the first kind of the deck that may overlap with others; false if there is none.
func (s *scheduler) draw(others []Trait) (Trait, bool, error) {
	if len(s.deck) == 0 {
		s.deck = append(s.deck, s.plan.Kinds...)
		for i := len(s.deck) - 1; i > 0; i-- {
			j := s.dice.below(uint64(i + 1))
			s.deck[i], s.deck[j] = s.deck[j], s.deck[i]
		}
	}
	for i, k := range s.deck {
		t, ok := TraitOf(k)
		if !ok {
			return t, false, fmt.Errorf("no fault is called %q", k)
		}
		if compatible(others, t) {
			s.deck = append(s.deck[:i:i], s.deck[i+1:]...)
			return t, true, nil
		}
	}
	return Trait{}, false, nil
}

// compatible reports whether a fault may overlap with others. What damages a disk, or takes
// nodes out of the cluster, needs the other two nodes, with their disks; two faults of the
// same kind, or of whole disks, would heal each other.
func compatible(others []Trait, t Trait) bool {
	for _, o := range others {
		nodes := o.Reach == OneNode || o.Reach == Quorum
		switch {
		case o.Kind == t.Kind, o.Kind.OfDisk() && t.Kind.OfDisk():
			return false
		case o.Storage && (t.Reach == OneNode || t.Reach == Quorum), t.Storage && nodes:
			return false
		case o.Reach == OneAgent && t.Reach == OneAgent:
			return false
		}
	}
	return true
}

// dice are SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): the same on every machine and with every
// release of Go.
type dice struct{ state uint64 }

func (d *dice) next() uint64 {
	d.state += 0x9e3779b97f4a7c15
	return mix(d.state)
}

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below is a number from 0 to n-1. For the small n here the lack of evenness is of no account.
func (d *dice) below(n uint64) uint64 { return d.next() % n }

func (d *dice) between(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return low + time.Duration(d.below(uint64(high-low)/1e6+1))*time.Millisecond
}
