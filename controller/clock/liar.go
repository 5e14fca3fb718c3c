package clock

import (
	"cmp"
	"slices"
	"sort"
)

// Liars returns the indices of messages that cannot be believed: each contradicts
// more than half of the messages the other way between the same two clocks, or more than half of
// the 64 about its own time, as a message with a false stamp does and an honest one does
// not. (In a long run what a clock may drift hides a lie from most of the run.) They are found one by
// one, the one that contradicts most first; of two that only contradict each other
// nobody can tell, so both go. What a clock that drifts beyond the bound does to its
// messages is not a lie of a few: what stays may still be inconsistent. Over a suspend that
// was reported messages do not contradict each other.
//
// Only pairs of clocks whose own messages contradict each other are looked at, and of those
// every message, in O(n log n) for a few lies. If there are very many, those of one direction
// that contradict more than half go at once.
func Liars(cfg Config, messages []Message) []int {
	cfg.WanderPPM = -1
	f := newFacts(cfg)
	f.learn(messages)
	f.thin()
	var liars []int
	for _, broken := range f.view(f.all()).own {
		c := court{rate: rateOf(uint64(f.drift)), near: stops(f.changes[broken.A]), far: stops(f.changes[broken.B])}
		for i, m := range messages {
			switch [2]int{f.clock[m.From], f.clock[m.To]} {
			case [2]int{broken.A, broken.B}:
				c.hear(0, i, m)
			case [2]int{broken.B, broken.A}:
				c.hear(1, i, m)
			}
		}
		liars = append(liars, c.liars()...)
	}
	return liars
}

// court hears the messages between two clocks, there and back.
type court struct {
	rate rate
	// near and far are when the clocks stood still: of the one that messages there leave, and
	// of the other.
	near, far []span
	sides     [2][]witness
	// parts are the witnesses by part, way and time on the near clock.
	parts map[[2]int][2][]*witness
}

// witness is a message. It contradicts one of the other way, of the same part of the run, if
// their rising sum and their falling sum are both negative: if most of both and what
// the clocks can have parted by in between are less than nothing, whichever was first.
type witness struct {
	index int
	near  Local
	// most and the time on the near clock, times the rate: added and taken away. The signs of
	// the two ways differ.
	rising, falling fine
	// part of the run that no stop of a clock parts, by both clocks.
	part [2]int
	// against is how many it contradicts; out: it goes.
	against int
	// about: it may contradict most of those about its time. out: it goes.
	about, out bool
}

// hear takes a message; one that left or arrived when a clock may have stood still says nothing.
func (c *court) hear(way, index int, m Message) {
	near, nearErr, far, farErr := m.Sent, m.SentErr, m.Received, m.ReceivedErr
	sign := int64(-1)
	if way == 1 {
		near, nearErr, far, farErr, sign = far, farErr, near, nearErr, 1
	}
	n, ok1 := partOf(c.near, near, nearErr)
	f, ok2 := partOf(c.far, far, farErr)
	w := witness{index: index, near: near, part: [2]int{n, f}}
	if !ok1 || !ok2 {
		w.part = [2]int{-1, -1 - way}
	}
	most := nanoseconds(add(add(int64(m.Received), -int64(m.Sent)), add(m.SentErr, m.ReceivedErr)))
	parted := c.rate.over(int64(near))
	w.rising, w.falling = most.plus(parted), most.minus(parted)
	if sign < 0 {
		w.rising, w.falling = w.falling, w.rising
	}
	c.sides[way] = append(c.sides[way], w)
}

// mostWork is how many pairs of messages are compared to take one liar after the other. It
// bounds the work on a pair of clocks to some tenths of a second.
const mostWork = 20_000_000

// mostRecounts is how often the rest is judged anew after that; what then stays stays.
const mostRecounts = 8

func (c *court) liars() []int {
	left := [2]int{len(c.sides[0]), len(c.sides[1])}
	work, recounts := 0, 0
	c.count()
	var liars []int
	for {
		most, of := 0, 0
		for side := range c.sides {
			for i := range c.sides[side] {
				w := &c.sides[side][i]
				if w.against > most && c.guilty(w, side, left) {
					most, of = w.against, side
				}
			}
		}
		if most == 0 || recounts == mostRecounts {
			return liars
		}
		var found [2][]*witness
		many := work > mostWork
		for side := range c.sides {
			for i := range c.sides[side] {
				w := &c.sides[side][i]
				if (w.against == most || many && side == of) && c.guilty(w, side, left) {
					found[side] = append(found[side], w)
				}
			}
		}
		for side := range found {
			for _, w := range found[side] {
				w.out = true
				liars = append(liars, w.index)
				left[side]--
			}
		}
		for side := range found {
			work += len(found[side])*len(c.sides[1-side]) + len(c.sides[side])
		}
		if work > mostWork {
			recounts++
			c.count()
			continue
		}
		for side := range found {
			for _, w := range found[side] {
				c.forget(w, 1-side)
			}
		}
	}
}

// guilty reports whether a message of a side contradicts more than half of those that are left
// of the other, or of those about it.
func (c *court) guilty(w *witness, side int, left [2]int) bool {
	if w.out || w.against == 0 {
		return false
	}
	if 2*w.against > left[1-side] {
		return true
	}
	w.about = w.about && c.mostAbout(w, 1-side)
	return w.about
}

// reach is how many messages before and after its own time a message is compared with, and
// leastAbout how many there have to be.
const (
	reach      = 32
	leastAbout = 3
)

// mostAbout reports whether a message contradicts more than half of those of the other side
// that are closest before and after it.
func (c *court) mostAbout(w *witness, side int) bool {
	others := c.parts[w.part][side]
	middle := sort.Search(len(others), func(i int) bool { return others[i].near >= w.near })
	asked, against := 0, 0
	look := func(from, step int) {
		for i, n := from, 0; i >= 0 && i < len(others) && n < reach; i += step {
			if !others[i].out {
				n++
				asked++
				if w.contradicts(others[i]) {
					against++
				}
			}
		}
	}
	look(middle-1, -1)
	look(middle, 1)
	return asked >= leastAbout && 2*against > asked
}

// forget takes a message out of the counts of the other side.
func (c *court) forget(liar *witness, side int) {
	for i := range c.sides[side] {
		if w := &c.sides[side][i]; w.against > 0 && liar.contradicts(w) {
			w.against--
		}
	}
}

// contradicts reports whether a message and one the other way leave no offset possible.
func (w *witness) contradicts(other *witness) bool {
	return w.part == other.part && w.rising.plus(other.rising).ceil() < 0 && w.falling.plus(other.falling).ceil() < 0
}

// count counts what each message contradicts of those that are left.
func (c *court) count() {
	c.parts = make(map[[2]int][2][]*witness)
	for side := range c.sides {
		for i := range c.sides[side] {
			w := &c.sides[side][i]
			w.against, w.about = 0, true
			if !w.out {
				of := c.parts[w.part]
				of[side] = append(of[side], w)
				c.parts[w.part] = of
			}
		}
	}
	for _, of := range c.parts {
		for _, way := range of {
			slices.SortFunc(way, func(a, b *witness) int { return cmp.Compare(a.near, b.near) })
		}
		countAgainst(of[0], of[1])
		countAgainst(of[1], of[0])
	}
}

// countAgainst counts, for each of those asked, how many of the others it contradicts: both
// are put in order by the rising sums, and a tree of counts has the falling sums of those
// others that come into question.
func countAgainst(asked, others []*witness) {
	if len(asked) == 0 || len(others) == 0 {
		return
	}
	asked, others = slices.Clone(asked), slices.Clone(others)
	falling := make([]fine, len(others))
	for i, w := range others {
		falling[i] = w.falling
	}
	slices.SortFunc(falling, fine.compare)
	slices.SortFunc(others, func(a, b *witness) int { return a.rising.compare(b.rising) })
	slices.SortFunc(asked, func(a, b *witness) int { return b.rising.compare(a.rising) })
	tree, next := make([]int32, len(others)+1), 0
	for _, w := range asked {
		for ; next < len(others) && w.rising.plus(others[next].rising).ceil() < 0; next++ {
			at, _ := slices.BinarySearchFunc(falling, others[next].falling, fine.compare)
			for i := at + 1; i < len(tree); i += i & -i {
				tree[i]++
			}
		}
		end := sort.Search(len(falling), func(i int) bool { return w.falling.plus(falling[i]).ceil() >= 0 })
		for i := end; i > 0; i -= i & -i {
			w.against += int(tree[i])
		}
	}
}

// nanoseconds is a whole number of them.
func nanoseconds(n int64) fine { return fine{n >> 32, uint64(n) << 32} }

func (a fine) compare(b fine) int { return cmp.Or(cmp.Compare(a.hi, b.hi), cmp.Compare(a.lo, b.lo)) }

// partOf is how many stops of a clock were over at a time of it; false if it may have
// stood still just then.
func partOf(stops []span, at Local, err int64) (int, bool) {
	from, to := Local(add(int64(at), -err)), Local(add(int64(at), err))
	i := sort.Search(len(stops), func(i int) bool { return stops[i].to >= from })
	return i, i == len(stops) || stops[i].from > to
}

// stops are those changes of a clock over which it stood still, both ends in them, sorted.
func stops(changes []Change) []span {
	var stops []span
	for _, c := range changes {
		if c.Stopped {
			stops = append(stops, span{min(c.Since, c.At), max(c.Since, c.At)})
		}
	}
	return merge(stops)
}
