package spool

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// version is raised when an older program could misread a file.
const version = 1

const (
	preambleSize = 24
	headerSize   = 16
	align        = 8
	minSegment   = 4 << 10
	// maxBody bounds the body of a frame.
	maxBody = MaxChunk + chunkFixed
	// chunkFixed is what a chunk's body has before its data, chunkOverhead what it takes
	// on the disk besides its data at most.
	chunkFixed    = 56
	chunkOverhead = headerSize + chunkFixed + align
)

// Kinds of files.
const (
	segmentFile = 1
	headFile    = 2
)

// Kinds of frames: the first byte of the body.
const (
	identityFrame = 1
	chunkFrame    = 2
	markFrame     = 3
	endFrame      = 4
)

var (
	magic      = [8]byte{'S', 'Y', 'N', 'S', 'P', 'O', 'O', 'L'}
	frameMark  = uint32(0x4d465053) // "SPFM"
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	le         = binary.LittleEndian
)

// appendPreamble begins a file.
func appendPreamble(b []byte, kind uint32) []byte {
	at := len(b)
	b = append(b, magic[:]...)
	b = le.AppendUint32(b, version)
	b = le.AppendUint32(b, kind)
	b = le.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
	return le.AppendUint32(b, 0)
}

// checkPreamble says whether a file begins as one of ours. A whole preamble of another
// version is ErrNewer.
func checkPreamble(b []byte, kind uint32) error {
	if len(b) < preambleSize {
		return fmt.Errorf("%w: %d bytes, shorter than a preamble", ErrDamaged, len(b))
	}
	if [8]byte(b[:8]) != magic || crc32.Checksum(b[:16], castagnoli) != le.Uint32(b[16:]) {
		return fmt.Errorf("%w: the preamble is not that of a spool's file", ErrDamaged)
	}
	if v := le.Uint32(b[8:]); v != version {
		return fmt.Errorf("version %d, this program reads %d: %w: start that version again, or move the spool away (its events are then not sent)", v, version, ErrNewer)
	}
	if k := le.Uint32(b[12:]); k != kind {
		return fmt.Errorf("%w: a file of kind %d under the name of kind %d", ErrDamaged, k, kind)
	}
	return nil
}

// appendFrame adds a frame that stands at offset of the file with a serial number. The
// header's checksum covers both, so that a frame in another place is none.
func appendFrame(b, body []byte, serial uint64, offset int64) []byte {
	at := len(b)
	b = le.AppendUint32(b, frameMark)
	b = le.AppendUint32(b, uint32(len(body)))
	b = le.AppendUint32(b, crc32.Checksum(body, castagnoli))
	b = le.AppendUint32(b, headerSum(b[at:], serial, offset))
	b = append(b, body...)
	for len(b[at:])%align != 0 {
		b = append(b, 0)
	}
	return b
}

// frameSize is what a frame takes on the disk.
func frameSize(body int) int64 { return int64(headerSize+body+align-1) / align * align }

func headerSum(header []byte, serial uint64, offset int64) uint32 {
	var place [16]byte
	le.PutUint64(place[:], serial)
	le.PutUint64(place[8:], uint64(offset))
	return crc32.Update(crc32.Checksum(place[:], castagnoli), castagnoli, header[:12])
}

// parseFrame reads the frame that stands at the beginning of b, which is at offset of the
// file, and returns its body and its size on the disk. The body is of b. With an error, size
// is that of the frame if its header is whole, and 0 if there is none.
func parseFrame(b []byte, serial uint64, offset int64) (body []byte, size int64, err error) {
	if len(b) < headerSize {
		return nil, 0, fmt.Errorf("%w: %d bytes, shorter than a header", ErrDamaged, len(b))
	}
	if le.Uint32(b) != frameMark || le.Uint32(b[12:]) != headerSum(b, serial, offset) {
		return nil, 0, fmt.Errorf("%w: no header", ErrDamaged)
	}
	length := le.Uint32(b[4:])
	if length == 0 || length > maxBody {
		return nil, 0, fmt.Errorf("%w: a record of %d bytes; at most %d", ErrDamaged, length, maxBody)
	}
	size = frameSize(int(length))
	if int64(len(b)) < size {
		return nil, 0, fmt.Errorf("%w: a record of %d bytes, of which %d are there", ErrDamaged, size, len(b))
	}
	body = b[headerSize : headerSize+length]
	if crc32.Checksum(body, castagnoli) != le.Uint32(b[8:]) {
		return nil, size, fmt.Errorf("%w: the checksum of a record of %d bytes", ErrDamaged, size)
	}
	return body, size, nil
}

// body is that of a file's first frame.
func (i Identity) body() []byte {
	b := append(make([]byte, 0, 64), identityFrame, 0, 0, 0, 0, 0, 0, 0)
	b = le.AppendUint64(b, i.Incarnation)
	b = le.AppendUint64(b, i.Epoch)
	b = appendText(b, i.Run)
	return appendText(b, i.Agent)
}

func parseIdentity(body []byte) (i Identity, err error) {
	if len(body) < 24 || body[0] != identityFrame {
		return i, fmt.Errorf("%w: no identity", ErrDamaged)
	}
	i.Incarnation, i.Epoch = le.Uint64(body[8:]), le.Uint64(body[16:])
	rest := body[24:]
	if i.Run, rest, err = cutText(rest, MaxName); err != nil {
		return i, err
	}
	if i.Agent, rest, err = cutText(rest, MaxName); err != nil {
		return i, err
	}
	if len(rest) > 0 || i.Run == "" {
		return i, fmt.Errorf("%w: an identity of run %q with %d bytes behind it", ErrDamaged, i.Run, len(rest))
	}
	return i, nil
}

func appendText(b []byte, s string) []byte {
	return append(le.AppendUint16(b, uint16(len(s))), s...)
}

func cutText(b []byte, limit int) (text string, rest []byte, err error) {
	if len(b) < 2 {
		return "", nil, fmt.Errorf("%w: a text without its length", ErrDamaged)
	}
	n := int(le.Uint16(b))
	if n > limit || n > len(b)-2 {
		return "", nil, fmt.Errorf("%w: a text of %d bytes, of which %d are there; at most %d", ErrDamaged, n, len(b)-2, limit)
	}
	return string(b[2 : 2+n]), b[2+n:], nil
}

// mark is how far a stream is acknowledged.
type mark struct {
	// chunk is the watermark: it and all before it are committed. event is the last event
	// of it.
	chunk, event uint64
}

// chunkRecord is the body of a chunk's frame.
type chunkRecord struct {
	Chunk
	// acknowledged is how far the stream was when it was written: what is before it is not
	// missing.
	acknowledged mark
	// durable is the offset of the file up to which it was on the disk by then.
	durable int64
}

func (c chunkRecord) appendBody(b []byte) []byte {
	b = append(b, chunkFrame, 0, 0, 0)
	b = le.AppendUint32(b, c.Events)
	b = le.AppendUint64(b, c.Sequence)
	b = le.AppendUint64(b, c.FirstEvent)
	b = le.AppendUint64(b, c.acknowledged.chunk)
	b = le.AppendUint64(b, c.acknowledged.event)
	b = le.AppendUint64(b, uint64(c.durable))
	b = le.AppendUint32(b, c.CRC32C)
	b = le.AppendUint32(b, 0)
	return append(b, c.Data...)
}

// parseChunk reads a chunk. Its Data are of body.
func parseChunk(body []byte) (c chunkRecord, err error) {
	if len(body) < chunkFixed || body[0] != chunkFrame {
		return c, fmt.Errorf("%w: no chunk", ErrDamaged)
	}
	c.Events, c.Sequence, c.FirstEvent = le.Uint32(body[4:]), le.Uint64(body[8:]), le.Uint64(body[16:])
	c.acknowledged = mark{le.Uint64(body[24:]), le.Uint64(body[32:])}
	c.durable, c.CRC32C, c.Data = int64(le.Uint64(body[40:])), le.Uint32(body[48:]), body[chunkFixed:]
	return c, c.check()
}

// check is what every chunk must keep to.
func (c Chunk) check() error {
	switch {
	case c.Sequence == 0 || c.Sequence > maxNumber || c.FirstEvent == 0 || c.FirstEvent > maxNumber || c.Events == 0:
		return fmt.Errorf("%w: chunk %d of %d events from %d", ErrDamaged, c.Sequence, c.Events, c.FirstEvent)
	case len(c.Data) > MaxChunk:
		return fmt.Errorf("a chunk of %d bytes; at most %d", len(c.Data), MaxChunk)
	}
	return nil
}

// maxNumber bounds what is counted from 1, so that sums of it do not overflow.
const maxNumber = 1 << 62

func markBody(counter uint64, m mark, dropped bool) []byte {
	b := append(make([]byte, 0, 32), markFrame, 0, 0, 0, 0, 0, 0, 0)
	if dropped {
		b[1] = 1
	}
	b = le.AppendUint64(b, counter)
	b = le.AppendUint64(b, m.chunk)
	return le.AppendUint64(b, m.event)
}

func parseMark(body []byte) (counter uint64, m mark, dropped bool, err error) {
	if len(body) != 32 || body[0] != markFrame || body[1] > 1 {
		return 0, m, false, fmt.Errorf("%w: no watermark", ErrDamaged)
	}
	counter, m = le.Uint64(body[8:]), mark{le.Uint64(body[16:]), le.Uint64(body[24:])}
	if m.chunk > maxNumber || m.event > maxNumber {
		return 0, m, false, fmt.Errorf("%w: a watermark of %d", ErrDamaged, m.chunk)
	}
	return counter, m, body[1] == 1, nil
}

// maxText bounds each text of an end; what is longer is cut.
const maxText = 1900

func (e End) body() []byte {
	b := append(make([]byte, 0, 64), endFrame, 0, 0, 0, 0, 0, 0, 0)
	b = le.AppendUint64(b, e.LastEvent)
	b = le.AppendUint64(b, e.LastChunk)
	b = appendText(b, clip(e.Error))
	return appendText(b, clip(e.Gap))
}

func parseEnd(body []byte) (e End, err error) {
	if len(body) < 24 || body[0] != endFrame {
		return e, fmt.Errorf("%w: no end", ErrDamaged)
	}
	e.LastEvent, e.LastChunk = le.Uint64(body[8:]), le.Uint64(body[16:])
	if e.LastEvent > maxNumber || e.LastChunk > maxNumber {
		return e, fmt.Errorf("%w: an end at chunk %d", ErrDamaged, e.LastChunk)
	}
	rest := body[24:]
	if e.Error, rest, err = cutText(rest, maxText+len("…")); err != nil {
		return e, err
	}
	if e.Gap, rest, err = cutText(rest, maxText+len("…")); err != nil {
		return e, err
	}
	if len(rest) > 0 {
		return e, fmt.Errorf("%w: an end with %d bytes behind it", ErrDamaged, len(rest))
	}
	return e, nil
}
