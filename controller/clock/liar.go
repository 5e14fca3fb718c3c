package clock

import "slices"

// Liars returns the indices of messages that cannot be believed: each contradicts
// more than half of the messages the other way between the same two clocks, as a
// message with a false stamp does and an honest one does not. They are found one by
// one, the one that contradicts most first; of two that only contradict each other
// nobody can tell, so both go. What a clock that drifts beyond the bound does to its
// messages is not a lie of a few: what stays may still be inconsistent. Over a suspend that
// was reported messages do not contradict each other, so a false stamp in the shorter part of
// such a run contradicts too few: it stays, and makes the model inconsistent.
//
// With more than a few thousand messages each way between two clocks only the first
// and the last of them are compared with the rest, so that the work stays bounded.
func Liars(cfg Config, messages []Message) []int {
	clock, d := cfg.clocks(), cfg.drift()
	changes := cfg.changes(clock)
	ways := make(map[[2]int][]int)
	var order [][2]int
	for i, m := range messages {
		way := [2]int{clock[m.From], clock[m.To]}
		if way[0] == way[1] {
			continue
		}
		if ways[way] == nil {
			order = append(order, way)
		}
		ways[way] = append(ways[way], i)
	}
	var liars []int
	for _, way := range order {
		if back := [2]int{way[1], way[0]}; way[0] < way[1] && ways[back] != nil {
			c := court{d, messages, stops(changes[way[0]]), stops(changes[way[1]])}
			liars = append(liars, c.liars(sample(ways[way]), sample(ways[back]))...)
		}
	}
	return liars
}

// sampled is how many messages of one way are compared with those of the other.
const sampled = 4096

func sample(way []int) []int {
	if len(way) <= sampled {
		return way
	}
	return append(way[:sampled/2:sampled/2], way[len(way)-sampled/2:]...)
}

// court hears the messages between two clocks.
type court struct {
	drift    drift
	messages []Message
	// near and far are when the clocks stood still: of the one that messages there leave, and
	// of the other.
	near, far []Change
}

// liars looks at all messages between two clocks, there and back.
func (c court) liars(there, back []int) []int {
	against := [2][]int{make([]int, len(there)), make([]int, len(back))}
	for i, x := range there {
		for j, y := range back {
			if c.contradict(c.messages[x], c.messages[y]) {
				against[0][i]++
				against[1][j]++
			}
		}
	}
	var liars []int
	sides := [2][]int{there, back}
	left := [2]int{len(there), len(back)}
	for {
		most := max(greatest(against[0]), greatest(against[1]))
		var found [2][]int
		for side := range sides {
			for i, n := range against[side] {
				if n == most && n > 0 && 2*n > left[1-side] {
					found[side] = append(found[side], i)
				}
			}
		}
		if len(found[0])+len(found[1]) == 0 {
			return liars
		}
		for side := range sides {
			for _, i := range found[side] {
				liars = append(liars, sides[side][i])
				c.forget(sides[side][i], sides[1-side], side == 0, against[1-side])
				against[side][i] = 0
				left[side]--
			}
		}
	}
}

// forget takes a message out of the counts of the other side.
func (c court) forget(liar int, others []int, there bool, against []int) {
	for j, y := range others {
		x := liar
		if !there {
			x, y = y, x
		}
		if against[j] > 0 && c.contradict(c.messages[x], c.messages[y]) {
			against[j]--
		}
	}
}

// contradict reports whether a message and one the other way leave no offset
// possible: together they give less time to both than clocks can have parted by.
func (c court) contradict(there, back Message) bool {
	both := add(add(int64(there.Received), -int64(there.Sent)), add(int64(back.Received), -int64(back.Sent)))
	both = add(both, add(add(there.SentErr, there.ReceivedErr), add(back.SentErr, back.ReceivedErr)))
	apart := add(int64(back.Received), -int64(there.Sent))
	if add(both, c.drift.over(apart)) >= 0 {
		return false
	}
	return !between(c.near, there.Sent, there.SentErr, back.Received, back.ReceivedErr) &&
		!between(c.far, there.Received, there.ReceivedErr, back.Sent, back.SentErr)
}

// between reports whether a clock may have stood still between two of its times.
func between(stops []Change, a Local, aErr int64, b Local, bErr int64) bool {
	from := min(add(int64(a), -aErr), add(int64(b), -bErr))
	to := max(add(int64(a), aErr), add(int64(b), bErr))
	return slices.ContainsFunc(stops, func(s Change) bool { return int64(s.Since) <= to && int64(s.At) >= from })
}

// stops are those changes of a clock over which it stood still.
func stops(changes []Change) []Change {
	return slices.DeleteFunc(slices.Clone(changes), func(c Change) bool { return !c.Stopped })
}

func greatest(counts []int) int {
	most := 0
	for _, n := range counts {
		most = max(most, n)
	}
	return most
}
