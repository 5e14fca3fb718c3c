package spool

import (
	"hash/crc32"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func appendSum(b []byte) []byte { return le.AppendUint32(nil, crc32.Checksum(b, castagnoli)) }

// Everything that is written can be read back, at its own place and at no other.
func TestRecordsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		serial, offset := rapid.Uint64().Draw(t, "serial"), rapid.Int64Range(0, math.MaxInt32).Draw(t, "offset")
		through := func(body []byte) []byte {
			framed := appendFrame(nil, body, serial, offset)
			if int64(len(framed)) != frameSize(len(body)) {
				t.Fatalf("a frame of %d bytes, said to be %d", len(framed), frameSize(len(body)))
			}
			got, size, err := parseFrame(framed, serial, offset)
			if err != nil || size != int64(len(framed)) {
				t.Fatalf("%v, %d of %d bytes", err, size, len(framed))
			}
			if _, _, err := parseFrame(framed, serial, offset+align); err == nil {
				t.Fatal("a frame was taken at another offset")
			}
			if _, _, err := parseFrame(framed, serial+1, offset); err == nil {
				t.Fatal("a frame was taken in another file")
			}
			return got
		}
		name := rapid.StringN(1, 40, MaxName)
		number := rapid.Uint64Range(1, maxNumber)
		of := Identity{ID: ID{name.Draw(t, "run"), rapid.Uint64().Draw(t, "incarnation")}, Agent: name.Draw(t, "agent"), Epoch: rapid.Uint64().Draw(t, "epoch")}
		if got, err := parseIdentity(through(of.body())); err != nil || got != of {
			t.Fatalf("%v, %+v", err, got)
		}
		c := chunkRecord{
			Chunk: Chunk{
				Sequence: number.Draw(t, "sequence"), FirstEvent: number.Draw(t, "first"), Events: rapid.Uint32Range(1, math.MaxUint32).Draw(t, "events"),
				CRC32C: rapid.Uint32().Draw(t, "crc"), Data: rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "data"),
			},
			acknowledged: mark{number.Draw(t, "acknowledged"), number.Draw(t, "event")}, durable: offset,
		}
		got, err := parseChunk(through(c.appendBody(nil)))
		if d := cmp.Diff(c, got, cmp.AllowUnexported(chunkRecord{}, mark{})); err != nil || d != "" {
			t.Fatalf("%v %s", err, d)
		}
		counter, m, dropped, err := parseMark(through(markBody(c.Sequence, c.acknowledged, c.Events%2 == 0)))
		if err != nil || counter != c.Sequence || m != c.acknowledged || dropped != (c.Events%2 == 0) {
			t.Fatalf("%v %v %v %v", err, counter, m, dropped)
		}
		end := End{LastEvent: c.FirstEvent, LastChunk: c.Sequence, Error: rapid.StringN(0, 100, maxText).Draw(t, "error"), Gap: rapid.StringN(0, 100, maxText).Draw(t, "gap")}
		if got, err := parseEnd(through(end.body())); err != nil || got != end {
			t.Fatalf("%v %+v", err, got)
		}
	})
}

// Whatever is in a file, reading it ends, and what it gives keeps to the rules.
func FuzzScan(f *testing.F) {
	of := Identity{ID: ID{"r-1", 7}, Agent: "vm1", Epoch: 3}
	b := newSegment(of, 5)
	for n := uint64(1); n <= 3; n++ {
		c := chunkRecord{Chunk: chunkOf(n, 20), durable: int64(len(b))}
		b = appendFrame(b, c.appendBody(nil), 5, int64(len(b)))
	}
	f.Add(b)
	f.Add(b[:len(b)-3])
	f.Add(newSegment(of, 5))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := scan(b, 5)
		if err != nil {
			return
		}
		covered := int64(0)
		for _, h := range s.holes {
			if h.Bytes <= 0 || h.Offset < covered || h.Offset+h.Bytes > int64(len(b)) {
				t.Fatalf("hole %+v of %d bytes, after %d", h, len(b), covered)
			}
			covered = h.Offset + h.Bytes
		}
		for _, c := range s.chunks {
			body, size, err := parseFrame(b[c.offset:], 5, c.offset)
			if err != nil || size != c.size || c.offset+c.size > s.end {
				t.Fatalf("chunk at %d: %v, %d bytes", c.offset, err, size)
			}
			if again, err := parseChunk(body); err != nil || again.Sequence != c.Sequence || again.check() != nil {
				t.Fatalf("chunk at %d: %v", c.offset, err)
			}
		}
	})
}

// FuzzHead: what a head says is said of itself by the file.
func FuzzHead(f *testing.F) {
	b := newHead(Identity{ID: ID{"r-1", 7}, Agent: "vm1", Epoch: 3}, 5)
	f.Add(b)
	copy(b[markPlace(1):], appendFrame(nil, markBody(1, mark{3, 30}, true), 5, markPlace(1)))
	copy(b[endAtOff:], appendFrame(nil, End{LastEvent: 40, LastChunk: 4, Error: "e", Gap: "g"}.body(), 5, endAtOff))
	f.Add(b)
	f.Add(b[:5000])
	f.Fuzz(func(t *testing.T, b []byte) {
		h, damaged := parseHead(b, 5)
		switch {
		case h == nil && len(damaged) == 0:
			t.Fatal("no head, and no error")
		case h == nil:
			return
		case h.identity.Run == "" || h.mark.chunk > maxNumber || len(h.identity.Run) > MaxName:
			t.Fatalf("head %+v", h)
		}
	})
}
