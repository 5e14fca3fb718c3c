package chaos

import (
	"bytes"
	"fmt"
	"slices"
)

// Range is of event numbers, both ends included.
type Range struct{ First, Last uint64 }

// Content is what a node has of a generator's stream, event by event in the order in which the
// node gives them. Make it with NewContent.
type Content struct {
	Stream StreamID
	Events uint64
	// Repeated counts events whose number came before, Altered those whose payload is not that
	// of their stream and number.
	Repeated, Altered uint64
	// examples are of the first things that are wrong.
	examples []string
	key      StreamKey
	ranges   []Range
}

// NewContent is empty.
func NewContent(s StreamID) *Content { return &Content{Stream: s, key: s.Key()} }

// maxExamples bounds how many wrong events are told one by one.
const maxExamples = 5

// Take takes the next event.
func (c *Content) Take(number uint64, payload []byte) {
	c.Events++
	var want [PayloadBytes]byte
	Payload(c.key, number, &want)
	if !bytes.Equal(payload, want[:]) {
		c.Altered++
		c.example("event %d carries %x, want %x", number, payload, want)
	}
	last := len(c.ranges) - 1
	switch {
	case last >= 0 && number == c.ranges[last].Last+1:
		c.ranges[last].Last = number
	case c.has(number):
		c.Repeated++
		c.example("event %d is there again", number)
	default:
		c.insert(Range{number, number})
	}
}

func (c *Content) example(format string, args ...any) {
	if len(c.examples) < maxExamples {
		c.examples = append(c.examples, fmt.Sprintf(format, args...))
	}
}

func (c *Content) at(number uint64) (int, bool) {
	return slices.BinarySearchFunc(c.ranges, number, func(r Range, n uint64) int {
		switch {
		case r.Last < n:
			return -1
		case r.First > n:
			return 1
		}
		return 0
	})
}

func (c *Content) has(number uint64) bool {
	_, ok := c.at(number)
	return ok
}

// insert adds a range that overlaps with none, and joins those that it touches.
func (c *Content) insert(r Range) {
	i, _ := c.at(r.First)
	c.ranges = slices.Insert(c.ranges, i, r)
	if i+1 < len(c.ranges) && c.ranges[i+1].First == r.Last+1 {
		c.ranges[i].Last = c.ranges[i+1].Last
		c.ranges = slices.Delete(c.ranges, i+1, i+2)
	}
	if i > 0 && c.ranges[i-1].Last+1 == r.First {
		c.ranges[i-1].Last = c.ranges[i].Last
		c.ranges = slices.Delete(c.ranges, i, i+1)
	}
}

// Covers reports whether all events of a range are there.
func (c *Content) Covers(r Range) bool {
	i, ok := c.at(r.First)
	return ok && c.ranges[i].Last >= r.Last
}

// Ranges are those that are there, in order, with holes between them. They belong to c.
func (c *Content) Ranges() []Range { return c.ranges }

// Dense reports whether the events 1 to last are there, and no other.
func (c *Content) Dense(last uint64) bool {
	if last == 0 {
		return len(c.ranges) == 0
	}
	return len(c.ranges) == 1 && c.ranges[0] == Range{1, last}
}
