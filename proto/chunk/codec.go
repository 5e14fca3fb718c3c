package chunk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// codec walks over events in both directions: the description of an event is the
// same code whether it is written or read, so the two cannot drift apart. Every
// method takes a pointer to the field and what the field is predicted to be from
// the events before. An encoder reads the field and writes how it differs; a
// decoder reads the difference and sets the field.
type codec struct {
	decoding bool
	// version is that of the body being read; an encoder writes Version.
	version byte
	out     [numColumns]writer
	in      [numColumns]reader
	// size is the bytes in out, in an encoder.
	size int
	// err is the first error of a decoder; nothing after it means anything.
	err error

	texts dictionary
	blobs dictionary
	// scratch is of a decoder whose events nobody keeps; nil: each event has memory of its own.
	scratch *scratch
	// addresses are those that a decoder made of a host and a port last.
	addresses addressCache
	model
}

func newEncoder() *codec {
	c := &codec{version: Version}
	c.reset()
	return c
}

func newDecoder(body []byte, version byte) (*codec, int, error) {
	c := &codec{decoding: true, version: version}
	c.reset()
	n, err := split(body, version, &c.in)
	return c, n, err
}

// read begins the next body in a decoder that has read another one.
func (c *codec) read(body []byte, version byte) (int, error) {
	c.version = version
	c.in = [numColumns]reader{}
	c.reset()
	return split(body, version, &c.in)
}

// reset forgets all events, and keeps the memory.
func (c *codec) reset() {
	for i := range c.out {
		c.out[i] = writer{buf: c.out[i].buf[:0]}
	}
	c.size, c.err = 0, nil
	c.texts.reset()
	c.blobs.reset()
	c.model.reset()
}

func (c *codec) body(n int) []byte { return join(n, &c.out) }

// finish checks that nothing is left over after the last event.
func (c *codec) finish() error {
	for i := range c.in {
		if c.in[i].rest() {
			return fmt.Errorf("%w: column %v has entries after the last event", ErrDamaged, column(i))
		}
	}
	return nil
}

func (c *codec) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
	}
}

// raw carries one unsigned number.
func (c *codec) raw(col column, v uint64) uint64 {
	if !c.decoding {
		c.size += c.out[col].put(v, dense[col])
		return v
	}
	v, ok := c.in[col].get(dense[col])
	if !ok {
		c.fail("column %v ends early or holds no number", col)
		return 0
	}
	return v
}

// u64 carries an unsigned field as its signed difference from what was predicted,
// modulo 2^64.
func (c *codec) u64(col column, v *uint64, predicted uint64) {
	d := c.raw(col, zigzag(int64(*v-predicted)))
	if c.decoding {
		*v = predicted + uint64(unzigzag(d))
	}
}

// i64 is u64 for signed fields.
func (c *codec) i64(col column, v *int64, predicted int64) {
	d := c.raw(col, zigzag(*v-predicted))
	if c.decoding {
		*v = predicted + unzigzag(d)
	}
}

// u32 carries a field of 32 bits as its signed difference, modulo 2^32, so that
// sequence numbers may wrap.
func (c *codec) u32(col column, v *uint32, predicted uint32) {
	d := c.raw(col, zigzag(int64(int32(*v-predicted))))
	if c.decoding {
		*v = predicted + uint32(unzigzag(d))
	}
}

// i32 is u32 for signed fields and enums.
func i32[T ~int32](c *codec, col column, v *T, predicted T) {
	u := uint32(*v)
	c.u32(col, &u, uint32(predicted))
	if c.decoding {
		*v = T(u)
	}
}

// flag carries whether a field differs from what was predicted.
func (c *codec) flag(col column, v *bool, predicted bool) {
	var d uint64
	if *v != predicted {
		d = 1
	}
	d = c.raw(col, d)
	if c.decoding {
		*v = predicted != (d != 0)
	}
}

// text carries a string: 0 if it is the one predicted, else one more than its index
// in the dictionary. The index after the last makes a new entry, whose bytes are in
// colText.
func (c *codec) text(col column, v *string, predicted string) {
	if !c.decoding {
		c.writeText(col, *v, predicted)
		return
	}
	d := c.raw(col, 0)
	switch {
	case d == 0:
		*v = predicted
	case d-1 == uint64(len(c.texts.entries)):
		b := c.literal(colText)
		if !utf8.Valid(b) {
			c.fail("a string that is not UTF-8")
			return
		}
		*v = string(b)
		c.texts.entries = append(c.texts.entries, *v)
	default:
		*v = c.texts.at(c, d-1)
	}
}

func (c *codec) writeText(col column, s, predicted string) {
	s = utf8Text(s)
	if s == predicted {
		c.raw(col, 0)
		return
	}
	i, ok := c.texts.index[s]
	if !ok {
		i = uint64(len(c.texts.entries))
		c.texts.add(s)
		c.putLiteral(colText, s)
	}
	c.raw(col, i+1)
}

// blob is text for byte strings.
func (c *codec) blob(col column, v *[]byte, predicted []byte) {
	if !c.decoding {
		c.writeBlob(col, *v, predicted)
		return
	}
	d := c.raw(col, 0)
	switch {
	case d == 0:
		*v = predicted
	case d-1 == uint64(len(c.blobs.shared)):
		*v = c.own(c.literal(colBlobs))
		c.blobs.shared = append(c.blobs.shared, *v)
	case d-1 < uint64(len(c.blobs.shared)):
		*v = c.blobs.shared[d-1]
	default:
		c.fail("entry %d of a dictionary of %d", d-1, len(c.blobs.shared))
	}
}

func (c *codec) writeBlob(col column, b, predicted []byte) {
	if bytes.Equal(b, predicted) {
		c.raw(col, 0)
		return
	}
	i, ok := c.blobs.index[string(b)]
	if !ok {
		i = uint64(len(c.blobs.entries))
		c.blobs.add(string(b))
		c.putLiteral(colBlobs, string(b))
	}
	c.raw(col, i+1)
}

// tail carries n bytes that nothing predicts.
func (c *codec) tail(col column, v *[]byte, n uint64) {
	if !c.decoding {
		c.out[col].buf = append(c.out[col].buf, *v...)
		c.size += len(*v)
		return
	}
	b, ok := c.in[col].bytes(n)
	if !ok {
		c.fail("column %v lacks %d bytes", col, n)
		return
	}
	if n > 0 {
		*v = c.own(b)
	}
}

// own is a copy of bytes of the body, unless nobody keeps them.
func (c *codec) own(b []byte) []byte {
	if c.scratch != nil {
		return b
	}
	return bytes.Clone(b)
}

func (c *codec) putLiteral(col column, s string) {
	before := len(c.out[col].buf)
	buf := binary.AppendUvarint(c.out[col].buf, uint64(len(s)))
	c.out[col].buf = append(buf, s...)
	c.size += len(c.out[col].buf) - before
}

func (c *codec) literal(col column) []byte {
	n := c.raw(col, 0)
	b, ok := c.in[col].bytes(n)
	if !ok {
		c.fail("a dictionary entry of %d bytes, and fewer are left", n)
	}
	return b
}

// unknown carries the fields of m that this schema does not know, as they stood on
// the wire.
func (c *codec) unknown(m proto.Message) {
	if !c.decoding {
		b := m.ProtoReflect().GetUnknown()
		c.raw(colUnknown, uint64(len(b)))
		c.out[colBlobs].buf = append(c.out[colBlobs].buf, b...)
		c.size += len(b)
		return
	}
	n := c.raw(colUnknown, 0)
	if n == 0 {
		return
	}
	b, ok := c.in[colBlobs].bytes(n)
	if !ok || !wellFormed(b) {
		c.fail("%d bytes of unknown fields that are none", n)
		return
	}
	m.ProtoReflect().SetUnknown(bytes.Clone(b))
}

// wellFormed reports if b is a sequence of protobuf fields, so that an event that
// carries them can be marshalled and read again.
func wellFormed(b []byte) bool {
	for len(b) > 0 {
		_, _, n := protowire.ConsumeField(b)
		if n < 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

// dictionary numbers strings in the order in which they first appear.
type dictionary struct {
	entries []string
	index   map[string]uint64
	// shared holds, in a decoder, one slice an entry for all events that have it.
	shared [][]byte
}

func (d *dictionary) reset() {
	d.entries, d.shared = d.entries[:0], d.shared[:0]
	if d.index == nil {
		d.index = make(map[string]uint64)
	}
	clear(d.index)
}

// add is for an encoder, which looks for strings. A decoder has no use for the index.
func (d *dictionary) add(s string) {
	d.index[s] = uint64(len(d.entries))
	d.entries = append(d.entries, s)
}

func (d *dictionary) at(c *codec, i uint64) string {
	if i >= uint64(len(d.entries)) {
		c.fail("entry %d of a dictionary of %d", i, len(d.entries))
		return ""
	}
	return d.entries[i]
}

func zigzag(v int64) uint64   { return uint64(v<<1) ^ uint64(v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }
