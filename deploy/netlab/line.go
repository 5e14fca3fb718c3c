package netlab

import (
	"math/rand/v2"
	"time"
)

// line decides what becomes of the frames of one direction of a wire. It knows no
// clock: times are those since some start, and must not go back. Each frame takes three random
// numbers, whatever becomes of it, so that the fate of the n-th frame does not
// depend on that of the ones before.
type line struct {
	Direction
	random *rand.Rand
	// free is when the line has sent all that it was given.
	free time.Duration
	// waiting are the frames that the line has not sent yet, the oldest first.
	waiting      fifo
	waitingBytes int
	// last is the latest arrival of a frame that keeps its order.
	last time.Duration

	// counts but for InFlight, which follows from the others.
	counts Counts
	// inFlight is the memory of the frames under way, in bytes.
	inFlight int
}

// waiter is a frame that waits for the line or is being sent.
type waiter struct {
	// sent is when its last byte leaves.
	sent time.Duration
	size int
}

const (
	// smallFrame and largeFrame are the capacities of frames that are kept for the next
	// ones to come. Most are acknowledgements, or as long as Ethernet's MTU lets them be.
	smallFrame = 256
	largeFrame = 2048
	// overhead is what a frame under way takes besides its bytes: its flight in a heap that
	// grew by doubling, its place in a queue, and its header.
	overhead = 256
)

// room is the capacity of the buffer of a frame.
func room(size int) int {
	switch {
	case size <= smallFrame:
		return smallFrame
	case size <= largeFrame:
		return largeFrame
	}
	return size
}

// footprint is the memory that a frame takes while it is under way.
func footprint(size int) int { return room(size) + overhead }

// newLine makes a line whose choices follow from the seed and from which line it is.
func newLine(d Direction, seed, which uint64) *line {
	return &line{Direction: d, random: rand.New(rand.NewPCG(seed, which))}
}

// take gives the line a frame that came at now. It answers when the frame will arrive; ok is
// false if it never will.
func (l *line) take(now time.Duration, size int) (arrives time.Duration, ok bool) {
	l.counts.Taken++
	lose, stray, overtake := l.random.Float64(), l.random.Float64(), l.random.Float64()
	if l.full(now, size) || l.inFlight+footprint(size) > MaxBytesInFlight {
		l.counts.Overflowed++
		return 0, false
	}
	sent := l.send(now, size)
	if lose < l.Loss {
		l.counts.Lost++
		return 0, false
	}
	l.inFlight += footprint(size)
	if overtake < l.Reorder {
		return sent, true
	}
	arrives = sent + l.Delay + time.Duration((2*stray-1)*float64(l.Jitter))
	l.last = max(l.last, arrives)
	return l.last, true
}

// full reports whether a frame finds no room in the queue.
func (l *line) full(now time.Duration, size int) bool {
	if l.Rate == 0 {
		return false
	}
	for !l.waiting.empty() && l.waiting.first().sent <= now {
		l.waitingBytes -= l.waiting.pop().size
	}
	limit := l.Limit
	if limit == 0 && l.LimitBytes == 0 {
		limit = DefaultLimit
	}
	return limit > 0 && l.waiting.len() >= limit ||
		l.LimitBytes > 0 && l.waitingBytes+size > l.LimitBytes
}

// send answers when the last byte of a frame has left.
func (l *line) send(now time.Duration, size int) time.Duration {
	if l.Rate == 0 {
		return now
	}
	// A frame has at most 2^19 bits, so this does not overflow. A part of a
	// nanosecond is rounded up, so that no line is faster than it says.
	bits := uint64(size) * 8
	l.free = max(l.free, now) + time.Duration((bits*uint64(time.Second)+l.Rate-1)/l.Rate)
	l.waiting.push(waiter{l.free, size})
	l.waitingBytes += size
	return l.free
}

// arrived says that a frame of the line came to its end, and whether it was accepted there.
func (l *line) arrived(size int, accepted bool) {
	l.inFlight -= footprint(size)
	if accepted {
		l.counts.Delivered++
	} else {
		l.counts.Refused++
	}
}

// snapshot is what the line has counted, whole.
func (l *line) snapshot() Counts {
	c := l.counts
	c.InFlight = c.Taken - c.Delivered - c.Lost - c.Overflowed - c.Refused
	return c
}

// fifo is a queue in a ring that grows by doubling and never shrinks.
type fifo struct {
	ring        []waiter
	head, count int
}

func (q *fifo) empty() bool   { return q.count == 0 }
func (q *fifo) len() int      { return q.count }
func (q *fifo) first() waiter { return q.ring[q.head] }

func (q *fifo) pop() waiter {
	w := q.ring[q.head]
	q.head = (q.head + 1) % len(q.ring)
	q.count--
	return w
}

func (q *fifo) push(w waiter) {
	if q.count == len(q.ring) {
		grown := make([]waiter, max(16, 2*len(q.ring)))
		n := copy(grown, q.ring[q.head:])
		copy(grown[n:], q.ring[:q.head])
		q.ring, q.head = grown, 0
	}
	q.ring[(q.head+q.count)%len(q.ring)] = w
	q.count++
}
