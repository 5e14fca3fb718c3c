package spool

import (
	"errors"
	"fmt"
)

// segment is one file of chunks of a stream.
type segment struct {
	name   string
	serial uint64
	file   File
	// size is where the next frame goes; durable is up to where all is on the disk. Both
	// belong to whoever writes.
	size, durable int64
	// full: nothing is written to it any more.
	full bool
	// highest is the largest sequence number in it. It is guarded by Spool.mu.
	highest uint64
}

// entry is where a chunk is.
type entry struct {
	segment *segment
	offset  int64
	size    int64
	first   uint64
	events  uint32
	// bytes is the size of its data.
	bytes int
}

// newSegment is the beginning of the file.
func newSegment(of Identity, serial uint64) []byte {
	b := appendPreamble(make([]byte, 0, 512), segmentFile)
	return appendFrame(b, of.body(), serial, preambleSize)
}

// found is a chunk that a scan has found.
type found struct {
	chunkRecord
	offset, size int64
	// bytes is the size of its data.
	bytes int
}

// scanned is what a segment holds.
type scanned struct {
	// identity is nil if it cannot be read.
	identity *Identity
	// chunks are in the order of the file; their Data are nil.
	chunks []found
	// end is behind the last record that is whole. holes are what is not: one that reaches
	// the end of the file is from end on.
	end   int64
	holes []Hole
}

// scan reads a segment from its bytes. It never fails but for a newer version: what is no
// record is a hole, and it goes on behind it, since every frame is at a multiple of 8 and knows
// its place.
func scan(b []byte, serial uint64) (*scanned, error) {
	s := &scanned{}
	if err := checkPreamble(b, segmentFile); err != nil {
		if errors.Is(err, ErrNewer) {
			return nil, err
		}
		// Frames carry checksums of their own; there is no need to believe the preamble.
		if len(b) > 0 {
			s.holes = append(s.holes, Hole{Offset: 0, Bytes: int64(min(len(b), preambleSize))})
		}
	}
	at, durable := int64(preambleSize), int64(0)
	lost := func(to int64) {
		if to <= at {
			return
		}
		if n := len(s.holes); n > 0 && s.holes[n-1].Offset+s.holes[n-1].Bytes == at {
			s.holes[n-1].Bytes += to - at
		} else {
			s.holes = append(s.holes, Hole{Offset: at, Bytes: to - at})
		}
		at = to
	}
	for at < int64(len(b)) {
		body, size, err := parseFrame(b[at:], serial, at)
		if err == nil {
			err = s.take(body, at, size)
		}
		switch {
		case err == nil:
			at += size
			s.end = at
		case size > 0:
			lost(at + size)
		default:
			lost(nextFrame(b, serial, at+align))
		}
	}
	for _, c := range s.chunks {
		durable = max(durable, c.durable)
	}
	for i := range s.holes {
		s.holes[i].Promised = s.holes[i].Offset < durable
	}
	return s, nil
}

// take takes the body of a frame.
func (s *scanned) take(body []byte, at, size int64) error {
	switch body[0] {
	case identityFrame:
		i, err := parseIdentity(body)
		if err != nil {
			return err
		}
		s.identity = &i
	case chunkFrame:
		c, err := parseChunk(body)
		if err != nil {
			return err
		}
		bytes := len(c.Data)
		c.Data = nil
		s.chunks = append(s.chunks, found{c, at, size, bytes})
	default:
		return fmt.Errorf("%w: a record of kind %d", ErrDamaged, body[0])
	}
	return nil
}

// nextFrame is where the next header is, or the end.
func nextFrame(b []byte, serial uint64, at int64) int64 {
	for ; at+headerSize <= int64(len(b)); at += align {
		if le.Uint32(b[at:]) != frameMark {
			continue
		}
		if _, size, err := parseFrame(b[at:], serial, at); err == nil || size > 0 {
			return at
		}
	}
	return int64(len(b))
}
