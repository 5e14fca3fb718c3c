// Package chunk is the columnar encoding of events: the bytes inside a Chunk.
//
// A chunk stands alone: nothing outside it is needed to decode it, and Decode
// gives back exactly the events that were added, whatever their values, the
// fields of a newer schema included. The same events give the same bytes for one
// version of the format and of the compressor; nothing relies on that, since a
// chunk is encoded once and then only copied.
//
// Decode treats its input as hostile: it allocates in proportion to limits that
// are checked first, and returns an error for everything that no Builder wrote.
// DESIGN.md describes the format byte by byte.
package chunk

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	synclinev1 "syncline/proto/syncline/v1"
)

const (
	// MaxBytes is the most an encoded chunk has, in bytes.
	MaxBytes = 256 << 10
	// MaxEvents is the most events a chunk holds.
	MaxEvents = 1 << 16
	// Version is the version of the format that Encode writes. Decode reads this one
	// and those before.
	Version = 5
)

const (
	// oldest is the first version that Decode reads.
	oldest = 1

	magic      = "SLCK"
	headerSize = len(magic) + 1

	// maxBody bounds what a chunk expands to. A Builder keeps its uncompressed body
	// below MaxBytes, so that even a body that does not compress at all makes a
	// chunk within MaxBytes; maxBody leaves room for a later Builder that is bolder.
	maxBody = 1 << 20
	// slack is what the body may grow by besides what Add counts: the lengths of the
	// columns, the last run of zeros of each, the compressor's frame and blocks.
	slack = 1 << 10
	// fixedCost bounds the bytes an event adds to the columns, its strings, byte
	// strings and unknown fields not counted: every column's longest entry. Counters
	// has more of them the longer its list is, tcp_info the longer it is.
	fixedCost   = int(numColumns) * (1 + 10 + 10)
	counterCost = 3 * (1 + 10 + 10)
	// infoCost bounds what a word of tcp_info adds: how many before it were as
	// predicted, and the word.
	infoCost = 2 + 5
)

// ErrDamaged is in the chain of every error of Decode: the data are not a chunk
// that this version can read.
var ErrDamaged = errors.New("damaged chunk")

// Builder collects consecutive events until they are a chunk. The zero Builder is
// ready to use. It is not safe for concurrent use, and keeps nothing of the events
// it was given.
type Builder struct {
	c   *codec
	len int
}

// Add puts ev into the chunk. It reports false, and leaves the chunk as it is, if
// the chunk might not stay within MaxBytes or MaxEvents: Encode first, then add
// ev again. False from an empty Builder means that ev alone is larger than any
// chunk; no retry helps, and the caller must count it as lost.
//
// Invalid UTF-8, which no proto3 string may hold, is replaced by question marks.
func (b *Builder) Add(ev *synclinev1.Event) bool {
	if b.c == nil {
		b.c = newEncoder()
	}
	if b.len >= MaxEvents || b.c.size+cost(ev) > MaxBytes-slack {
		return false
	}
	b.c.event(ev)
	b.len++
	return true
}

// cost bounds the bytes by which an event makes the columns longer.
func cost(ev *synclinev1.Event) int {
	words := infoWords(len(ev.GetCall().GetTcpInfo()))
	return fixedCost + counterCost*len(ev.GetCounters().GetCounters()) + infoCost*words + proto.Size(ev)
}

// Len is the number of events added since the last Encode.
func (b *Builder) Len() int { return b.len }

// Encode returns the chunk, at most MaxBytes long, and empties the Builder. The
// bytes belong to the caller.
func (b *Builder) Encode() []byte {
	if b.c == nil {
		b.c = newEncoder()
	}
	out := seal(b.c.body(b.len))
	if len(out) > MaxBytes {
		panic(fmt.Sprintf("chunk: %d events made %d bytes, more than MaxBytes; the bound in Add is wrong", b.len, len(out)))
	}
	b.c.reset()
	b.len = 0
	return out
}

// Decode returns the events of a chunk. Byte slices of different events may share
// memory with each other, never with data: do not write to them.
func Decode(data []byte) ([]*synclinev1.Event, error) {
	body, version, err := unseal(data, nil)
	if err != nil {
		return nil, err
	}
	c, n, err := newDecoder(body, version)
	if err != nil {
		return nil, err
	}
	events := make([]*synclinev1.Event, n)
	for i := range events {
		events[i] = new(synclinev1.Event)
		c.event(events[i])
		if c.err != nil {
			return nil, fmt.Errorf("event %d of %d: %w", i+1, n, c.err)
		}
	}
	return events, c.finish()
}
