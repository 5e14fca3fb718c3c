package agent

import (
	"testing"

	"pgregory.net/rapid"

	synclinev1 "syncline/proto/syncline/v1"
)

// What is counted is what waits, whatever is acknowledged while it is being written: bytes
// that were taken off twice would hide from the disk as many that came later.
func TestParcelsCountWhatWaits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ps parcels
		var writing []*parcel
		next := uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				next++
				ps.add(&synclinev1.Chunk{Sequence: next, FirstEvent: next, Events: 1, Data: make([]byte, rapid.IntRange(1, 3).Draw(t, "bytes"))})
			},
			"write": func(t *rapid.T) {
				if writing == nil {
					writing = ps.unspool()
				}
			},
			"written": func(t *rapid.T) {
				ps.onDisk(writing, rapid.IntRange(0, 20).Draw(t, "limit"))
				writing = nil
			},
			"acknowledge": func(t *rapid.T) {
				ps.drop(rapid.Uint64Range(1, next+1).Draw(t, "chunk"))
			},
			"send": func(t *rapid.T) {
				if p := ps.next(1); p != nil && p.chunk == nil && !p.spooled {
					t.Fatalf("chunk %d is neither in memory nor on the disk", p.sequence)
				}
			},
			"": func(t *rapid.T) {
				bytes, unspooled := 0, 0
				for i, p := range ps.waiting {
					if p.chunk != nil {
						bytes += p.size
					}
					if !p.spooled {
						unspooled += p.size
					}
					if i > 0 && p.sequence <= ps.waiting[i-1].sequence {
						t.Fatalf("chunk %d comes after %d", p.sequence, ps.waiting[i-1].sequence)
					}
				}
				if bytes != ps.bytes || unspooled != ps.unspooled || ps.sent > len(ps.waiting) {
					t.Fatalf("%d bytes in memory and %d not on the disk, counted as %d and %d; %d of %d sent", bytes, unspooled, ps.bytes, ps.unspooled, ps.sent, len(ps.waiting))
				}
			},
		})
	})
}
