package export

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A stream's part holds its chunks by sequence, one after the other, each in a frame.
// Numbers are little-endian:
//
//	length of the data u32, events u32, sequence u64, first event u64, data
const frameHeader = 24

// appendFrame appends the header of a chunk's frame.
func appendFrame(b []byte, c *Chunk) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(c.Data)))
	b = binary.LittleEndian.AppendUint32(b, c.Events)
	b = binary.LittleEndian.AppendUint64(b, c.Sequence)
	return binary.LittleEndian.AppendUint64(b, c.FirstEvent)
}

// readFrame reads the next chunk of a stream. It returns io.EOF between two frames only.
func readFrame(r io.Reader) (Chunk, error) {
	var h [frameHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return Chunk{}, fmt.Errorf("%w: it ends within the header of a chunk", ErrDamaged)
		}
		return Chunk{}, err
	}
	c := Chunk{
		Events:     binary.LittleEndian.Uint32(h[4:]),
		Sequence:   binary.LittleEndian.Uint64(h[8:]),
		FirstEvent: binary.LittleEndian.Uint64(h[16:]),
	}
	n := binary.LittleEndian.Uint32(h[:])
	if n == 0 || n > MaxChunkBytes {
		return Chunk{}, fmt.Errorf("%w: chunk %d claims %d bytes, 1 to %d are allowed", ErrDamaged, c.Sequence, n, MaxChunkBytes)
	}
	c.Data = make([]byte, n)
	if got, err := io.ReadFull(r, c.Data); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return Chunk{}, fmt.Errorf("%w: it ends within chunk %d, after %d of %d bytes", ErrDamaged, c.Sequence, got, n)
	} else if err != nil {
		return Chunk{}, err
	}
	return c, nil
}

// check refuses a chunk that no store would have kept.
func (c *Chunk) check() error {
	switch {
	case len(c.Agent) == 0 || len(c.Agent) > MaxNameBytes:
		return fmt.Errorf("%w: the name of agent %.80q has %d bytes, 1 to %d are allowed", ErrLimit, c.Agent, len(c.Agent), MaxNameBytes)
	case len(c.Data) == 0 || len(c.Data) > MaxChunkBytes:
		return fmt.Errorf("%w: chunk %d of agent %s has %d bytes, 1 to %d are allowed", ErrLimit, c.Sequence, c.Agent, len(c.Data), MaxChunkBytes)
	case c.Sequence == 0 || c.FirstEvent == 0 || c.Events == 0:
		return fmt.Errorf("%w: chunk %d of agent %s with %d events from %d: all count from 1", ErrDamaged, c.Sequence, c.Agent, c.Events, c.FirstEvent)
	}
	return nil
}
