package spool

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// act is one thing that is done to a spool of up to three streams.
type act struct {
	kind   string
	stream int
	// count are the chunks of an append, or how many are acknowledged; size is theirs.
	count, size int
}

func (a act) String() string {
	return fmt.Sprintf("%s of %d: %d × %d", a.kind, a.stream, a.count, a.size)
}

var acts = rapid.Custom(func(t *rapid.T) act {
	return act{
		// Appends are what most of it is.
		kind:   rapid.SampledFrom([]string{"append", "append", "append", "append", "acknowledge", "reclaim", "finish", "drop", "reopen"}).Draw(t, "kind"),
		stream: rapid.IntRange(0, 2).Draw(t, "stream"), count: rapid.IntRange(1, 4).Draw(t, "count"), size: rapid.IntRange(1, 1500).Draw(t, "size"),
	}
})

// told is what a spool has promised of one stream.
type told struct {
	begun, dropped, dropping bool
	// appended are all chunks that were handed over, kept those of which it said that they
	// are on the disk; size is by chunk.
	appended, kept map[uint64]int
	acknowledged   uint64
	// reclaimed is the watermark that is surely on the disk.
	reclaimed uint64
	end       *End
	// ending: an end was handed over.
	ending bool
}

// history does things to a spool and remembers what it said.
type history struct {
	fs      *faulty
	spool   *Spool
	streams [3]told
}

func powerIdentity(i int) Identity {
	return Identity{ID: ID{Run: fmt.Sprintf("r-%d", i), Incarnation: 7}, Agent: "vm1", Epoch: 1}
}

// do does one thing. It returns false once the power is gone.
func (h *history) do(t *rapid.T, a act) bool {
	w := &h.streams[a.stream]
	st := h.spool.streams[powerIdentity(a.stream).ID]
	var err error
	switch {
	case a.kind == "reopen":
		if err = h.spool.Close(); err == nil {
			h.fs.locked = false
			h.spool, err = Open(Config{FS: h.fs, SegmentBytes: minSegment})
		}
	case w.dropped || w.dropping:
	case !w.begun:
		if _, err = h.spool.Begin(powerIdentity(a.stream)); err == nil {
			*w = told{begun: true, appended: map[uint64]int{}, kept: map[uint64]int{}}
		}
	case a.kind == "append" && w.end == nil:
		var chunks []Chunk
		for range a.count {
			n := uint64(len(w.appended) + 1)
			w.appended[n] = a.size
			chunks = append(chunks, chunkOf(n, a.size))
		}
		if err = st.Append(chunks...); err == nil {
			for _, c := range chunks {
				w.kept[c.Sequence] = a.size
			}
		}
	case a.kind == "acknowledge":
		// A controller may have had a chunk before the spool.
		w.acknowledged = min(w.acknowledged+uint64(a.count), uint64(len(w.appended)))
		st.Acknowledge(w.acknowledged, w.acknowledged*10)
	case a.kind == "reclaim":
		free := st.reclaimable(w.acknowledged)
		if err = st.Reclaim(); err == nil && len(free) > 0 {
			w.reclaimed = w.acknowledged
		}
	case a.kind == "finish" && w.end == nil:
		w.ending = true
		end := End{LastChunk: uint64(len(w.appended)), LastEvent: uint64(len(w.appended)) * 10, Error: "over"}
		if err = st.Finish(end); err == nil {
			w.end = &end
		}
	case a.kind == "drop":
		w.dropping = true
		if err = st.Drop(); err == nil {
			w.dropped = true
		}
	}
	if err != nil && !errors.Is(err, errPower) {
		t.Fatalf("%v: %v", a, err)
	}
	return err == nil
}

// check compares a spool that was opened after the power came back with what was promised.
func (h *history) check(t *rapid.T, s *Spool) {
	for _, hole := range s.Holes() {
		if hole.Promised {
			t.Fatalf("a loss of power is told as damage: %v", hole)
		}
	}
	for i, w := range h.streams {
		st := s.streams[powerIdentity(i).ID]
		switch {
		case st == nil && w.begun && !w.dropping:
			t.Fatalf("stream %d is lost", i)
		case st == nil:
			continue
		case w.dropped:
			t.Fatalf("stream %d was dropped and is there", i)
		}
		if st.Identity != powerIdentity(i) {
			t.Fatalf("stream %d is %+v", i, st.Identity)
		}
		if st.Acknowledged() > w.acknowledged {
			t.Fatalf("stream %d is acknowledged to %d, and was to %d", i, st.Acknowledged(), w.acknowledged)
		}
		for _, n := range sequences(st) {
			size, appended := w.appended[n]
			c, err := st.Read(n)
			if err != nil || !appended || !sameChunk(c, chunkOf(n, size)) {
				t.Fatalf("stream %d serves chunk %d (appended: %v): %v", i, n, appended, err)
			}
		}
		kept := sequences(st)
		for n := range w.kept {
			if n > w.acknowledged && !slices.Contains(kept, n) {
				t.Fatalf("stream %d: chunk %d was on the disk and is lost; kept %v, missing %v", i, n, kept, st.Missing())
			}
		}
		for _, r := range st.Missing() {
			for n := r.First; n <= r.Last; n++ {
				if _, was := w.kept[n]; was && n > w.acknowledged || n <= w.reclaimed {
					t.Fatalf("stream %d: chunk %d is told as missing", i, n)
				}
			}
		}
		end, ok := st.End()
		if w.end != nil && (!ok || end != *w.end) || ok && !w.ending {
			t.Fatalf("stream %d ended as %+v, %v; was told %+v", i, end, ok, w.end)
		}
	}
}

func sameChunk(a, b Chunk) bool {
	return a.Sequence == b.Sequence && a.FirstEvent == b.FirstEvent && a.Events == b.Events && a.CRC32C == b.CRC32C && string(a.Data) == string(b.Data)
}

// run does all that a plan says until the power goes.
func play(t *rapid.T, plan []act, powerAt int) *history {
	h := &history{fs: newFaulty()}
	h.fs.powerAt = powerAt
	var err error
	if h.spool, err = Open(Config{FS: h.fs, SegmentBytes: minSegment}); err != nil {
		t.Fatal(err)
	}
	for _, a := range plan {
		if !h.do(t, a) {
			return h
		}
	}
	return h
}

// Whenever the power goes, in whatever call, and whatever of the unsynced data reaches the
// disk: what was promised is there afterwards, nothing else is served, nothing is told as
// damaged, and it can go on. The power goes a second time while the spool is
// opened after the first.
func TestPowerLossAtEveryPoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plan := rapid.SliceOfN(acts, 1, 10).Draw(t, "plan")
		seed := rapid.Uint64().Draw(t, "seed")
		calls := play(t, plan, 0).fs.calls
		for at := 1; at <= calls+1; at++ {
			h := play(t, plan, at)
			r := rand.New(rand.NewPCG(seed, uint64(at)))
			disk := h.fs.restart(r)
			h.fs.closed(t, h.spool)
			if r.IntN(2) == 0 {
				// The second loss, in what Open does.
				disk.powerAt = 1 + r.IntN(4)
				if s, err := Open(Config{FS: disk, SegmentBytes: minSegment}); err == nil {
					h.check(t, s)
					disk.closed(t, s)
				} else if !errors.Is(err, errPower) || errors.Is(err, errOpen) || errors.Is(err, os.ErrClosed) {
					t.Fatalf("power lost at call %d: %v", at, err)
				}
				disk = disk.restart(r)
			}
			s, err := Open(Config{FS: disk, SegmentBytes: minSegment})
			if err != nil {
				t.Fatalf("power lost at call %d: %v", at, err)
			}
			h.check(t, s)
			h.goOn(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			again, err := Open(Config{FS: disk.killed(), SegmentBytes: minSegment})
			if err != nil {
				t.Fatal(err)
			}
			h.check(t, again)
			disk.sameSize(t, s)
		}
	})
}

// closed fails if a spool leaves descriptors open, or closes one twice, whatever it says of the
// disk else.
func (f *faulty) closed(t *rapid.T, s *Spool) {
	if s == nil {
		return
	}
	if err := s.Close(); errors.Is(err, errOpen) || errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
}

// goOn appends one more chunk to every stream that has not ended.
func (h *history) goOn(t *rapid.T, s *Spool) {
	for i := range h.streams {
		w, st := &h.streams[i], s.streams[powerIdentity(i).ID]
		if st == nil {
			continue
		}
		if w.appended == nil {
			*w = told{begun: true, appended: map[uint64]int{}, kept: map[uint64]int{}}
		}
		n := uint64(len(w.appended) + 1)
		w.appended[n] = 5
		if err := st.Append(chunkOf(n, 5)); err != nil {
			t.Fatal(err)
		}
		w.kept[n] = 5
	}
}

// sameSize fails unless the spool knows the size of its files.
func (f *faulty) sameSize(t *rapid.T, s *Spool) {
	if s.used != f.size() {
		t.Fatalf("%d bytes are used, the spool says %d: %v", f.size(), s.used, slices.Sorted(maps.Keys(f.names)))
	}
}

// A file system with every fault, one after the other: what was promised is kept.
func TestFaultsLoseNothingPromised(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plan := rapid.SliceOfN(acts, 1, 20).Draw(t, "plan")
		h := &history{fs: newFaulty()}
		var err error
		if h.spool, err = Open(Config{FS: h.fs, SegmentBytes: minSegment}); err != nil {
			t.Fatal(err)
		}
		h.fs.short = rapid.Bool().Draw(t, "short")
		for _, a := range plan {
			h.fs.room = 0
			if rapid.Bool().Draw(t, "full") {
				h.fs.room = h.fs.size() + rapid.Int64Range(1, 3000).Draw(t, "room")
			}
			h.doOrFull(t, a)
		}
		h.fs.room = 0
		if err := h.spool.Close(); err != nil {
			t.Fatal(err)
		}
		disk := h.fs.restart(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)))
		s, err := Open(Config{FS: disk, SegmentBytes: minSegment})
		if err != nil {
			t.Fatal(err)
		}
		h.check(t, s)
	})
}

// doOrFull is do on a disk that may be full.
func (h *history) doOrFull(t *rapid.T, a act) {
	w := &h.streams[a.stream]
	st := h.spool.streams[powerIdentity(a.stream).ID]
	if a.kind != "append" || !w.begun || w.dropped || w.end != nil {
		if w.begun {
			h.do(t, a)
			return
		}
		var full *FullError
		if _, err := h.spool.Begin(powerIdentity(a.stream)); err == nil {
			*w = told{begun: true, appended: map[uint64]int{}, kept: map[uint64]int{}}
		} else if !errors.As(err, &full) {
			t.Fatal(err)
		}
		return
	}
	n := uint64(len(w.appended) + 1)
	w.appended[n] = a.size
	var full *FullError
	switch err := st.Append(chunkOf(n, a.size)); {
	case err == nil:
		w.kept[n] = a.size
	case !errors.As(err, &full):
		t.Fatal(err)
	}
}
