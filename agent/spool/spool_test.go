package spool

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var vm1 = Identity{ID: ID{Run: "r-1", Incarnation: 7}, Agent: "vm1", Epoch: 3}

// chunkOf is chunk n of a stream whose chunks have ten events each. Its data are text, of
// size bytes about.
func chunkOf(n uint64, size int) Chunk {
	text := fmt.Sprintf("chunk %d;", n)
	data := []byte(strings.Repeat(text, size/len(text)+1))
	return Chunk{Sequence: n, FirstEvent: (n-1)*10 + 1, Events: 10, CRC32C: uint32(n), Data: data}
}

func mustOpen(t testing.TB, cfg Config) *Spool {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustBegin(t testing.TB, s *Spool, of Identity) *Stream {
	t.Helper()
	st, err := s.Begin(of)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sequences are the numbers of the chunks that can be read.
func sequences(st *Stream) (all []uint64) {
	for _, c := range st.Contents() {
		all = append(all, c.Sequence)
	}
	return all
}

// wantChunks fails unless exactly these chunks can be read, unchanged.
func wantChunks(t testing.TB, st *Stream, size int, want ...uint64) {
	t.Helper()
	if got := sequences(st); !slices.Equal(got, want) {
		t.Fatalf("chunks %v are kept, want %v", got, want)
	}
	for _, n := range want {
		c, err := st.Read(n)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(chunkOf(n, size), c); d != "" {
			t.Fatalf("chunk %d: %s", n, d)
		}
	}
}

// What was appended is there after the process has died, on a real file system.
func TestKeptOverAStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := mustOpen(t, Config{Dir: dir, SegmentBytes: minSegment})
	st := mustBegin(t, s, vm1)
	for n := uint64(1); n <= 20; n++ {
		must(t, st.Append(chunkOf(n, 900)))
	}
	st.Acknowledge(9, 90)
	must(t, st.Reclaim())
	if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second one in the same directory: %v", err)
	}
	must(t, s.Close())
	must(t, s.Close())
	if err := st.Append(chunkOf(21, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("append to a closed spool: %v", err)
	}

	s = mustOpen(t, Config{Dir: dir, SegmentBytes: minSegment})
	if len(s.Streams()) != 1 || len(s.Holes()) != 0 {
		t.Fatalf("streams %v, holes %v", s.Streams(), s.Holes())
	}
	st = s.Streams()[0]
	if st.Identity != vm1 || !st.Recovered() || st.Acknowledged() != 9 || len(st.Missing()) > 0 {
		t.Errorf("the stream is %+v", st)
	}
	wantChunks(t, st, 900, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20)
	if chunk, event := st.Highest(); chunk != 20 || event != 200 {
		t.Errorf("it ends with chunk %d, event %d", chunk, event)
	}
	if _, ok := st.End(); ok {
		t.Error("it has an end that nobody told")
	}
	// It goes on where it was.
	must(t, st.Append(chunkOf(21, 900)))
	end := End{LastEvent: 210, LastChunk: 21, Error: "lunch", Gap: "events from 205 on"}
	must(t, st.Finish(end))
	must(t, st.Finish(End{Error: "a second end"}))
	must(t, s.Close())

	s = mustOpen(t, Config{Dir: dir})
	st = s.Streams()[0]
	if got, ok := st.End(); !ok || got != end {
		t.Errorf("it ended as %v", got)
	}
	wantChunks(t, st, 900, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21)
	st.Acknowledge(21, 210)
	must(t, st.Reclaim())
	if used, _, err := s.Used(); err != nil || used != headSize {
		t.Errorf("%d bytes are used with nothing kept but a head, %v", used, err)
	}
	must(t, st.Drop())
	if err := st.Append(chunkOf(22, 1)); !errors.Is(err, ErrDropped) {
		t.Errorf("append to a dropped stream: %v", err)
	}
	if used, _, err := s.Used(); err != nil || used != 0 || len(s.Streams()) != 0 {
		t.Errorf("%d bytes, streams %v, %v after the drop", used, s.Streams(), err)
	}
	must(t, s.Close())
}

// Appends that come while a file is being synced share the next fsync, and each has its
// chunk on the disk when it returns.
func TestGroupsShareASync(t *testing.T) {
	const appenders = 50
	fs := newFaulty()
	s := mustOpen(t, Config{FS: fs})
	st := mustBegin(t, s, vm1)
	must(t, st.Append(chunkOf(1, 100)))
	before := fs.syncs
	// The first sync is held until all the others wait behind it.
	gate, held := make(chan struct{}), make(chan struct{})
	first := true
	fs.held = func() {
		if first {
			first = false
			close(held)
			<-gate
		}
	}
	var wait sync.WaitGroup
	for n := range uint64(appenders) {
		wait.Go(func() {
			if n > 0 {
				<-held
			}
			if err := st.Append(chunkOf(n+2, 100)); err != nil {
				t.Error(err)
			}
			if c, err := st.Read(n + 2); err != nil || c.Sequence != n+2 {
				t.Errorf("chunk %d: %v", c.Sequence, err)
			}
		})
	}
	for waiting := 0; waiting < appenders-1; runtime.Gosched() {
		s.mu.Lock()
		waiting = len(s.queue)
		s.mu.Unlock()
	}
	close(gate)
	wait.Wait()
	if syncs := fs.syncs - before; syncs != 2 {
		t.Errorf("%d fsyncs for %d appends, of which all but the first came during that one's", syncs, appenders)
	}
	must(t, s.Close())
}

// A new stream is refused at 80 %, those at work are told at 95 %, and at 100 % nothing is
// taken but the end, whose place was there from the beginning.
func TestLevels(t *testing.T) {
	fs := newFaulty()
	s := mustOpen(t, Config{FS: fs, Quota: 256 << 10, SegmentBytes: minSegment})
	st := mustBegin(t, s, vm1)
	var refused, pressed, full uint64
	for n := uint64(1); full == 0; n++ {
		err := st.Append(chunkOf(n, 3000))
		var none *FullError
		if errors.As(err, &none) {
			full = n
			break
		}
		must(t, err)
		used, capacity, err := s.Used()
		must(t, err)
		if room := s.Room() != nil; room != (used >= capacity/100*refuseAt) {
			t.Fatalf("a new stream is refused: %v, at %d of %d", room, used, capacity)
		} else if room && refused == 0 {
			refused = n
		}
		if s.Pressed() != nil && pressed == 0 {
			pressed = n
		}
	}
	if refused == 0 || pressed <= refused || full <= pressed {
		t.Errorf("refused from chunk %d on, pressed from %d on, full at %d", refused, pressed, full)
	}
	if _, err := s.Begin(Identity{ID: ID{Run: "r-2"}}); err == nil || !strings.Contains(err.Error(), "is full") {
		t.Errorf("a new stream at that time: %v", err)
	}
	end := End{LastChunk: full - 1, LastEvent: (full - 1) * 10, Error: strings.Repeat("the spool is full ", 1000)}
	must(t, st.Finish(end))
	st.Acknowledge(full-1, (full-1)*10)
	must(t, st.Reclaim())
	must(t, s.Room())
	must(t, s.Close())
	st = mustOpen(t, Config{FS: fs.killed()}).Streams()[0]
	if got, ok := st.End(); !ok || got.LastChunk != end.LastChunk || !strings.HasPrefix(got.Error, "the spool is full") {
		t.Errorf("the end is %v", got)
	}
}

// A disk that is full takes no chunk, loses none that it has, takes the end, and goes on as
// soon as there is room.
func TestDiskFull(t *testing.T) {
	for _, short := range []bool{false, true} {
		fs := newFaulty()
		fs.room, fs.short = 100<<10, short
		s := mustOpen(t, Config{FS: fs, SegmentBytes: 16 << 10})
		st := mustBegin(t, s, vm1)
		n := uint64(1)
		var full *FullError
		for ; ; n++ {
			err := st.Append(chunkOf(n, 2000), chunkOf(n+1000, 2000))
			if errors.As(err, &full) {
				break
			}
			must(t, err)
		}
		if !errors.Is(full, unix.ENOSPC) || !strings.Contains(full.Error(), "make room") {
			t.Errorf("a full disk says %v", full)
		}
		var kept []uint64
		for k := uint64(1); k < n; k++ {
			kept = append(kept, k, k+1000)
		}
		slices.Sort(kept)
		wantChunks(t, st, 2000, kept...)
		fs.room += 64 << 10
		must(t, st.Append(chunkOf(n, 2000)))
		fs.room = 1
		must(t, st.Finish(End{LastChunk: n, Error: "full"}))
		must(t, s.Close())
		again := mustOpen(t, Config{FS: fs.killed()})
		if len(again.Holes()) > 0 {
			t.Errorf("short writes leave %v", again.Holes())
		}
		if got, ok := again.Streams()[0].End(); !ok || got.Error != "full" {
			t.Errorf("the end is %v", got)
		}
	}
}

// An fsync that fails is not tried again: nothing is taken any more, what was on the disk
// before can be read, and the next start has it.
func TestFailedSync(t *testing.T) {
	fs := newFaulty()
	s := mustOpen(t, Config{FS: fs})
	st := mustBegin(t, s, vm1)
	must(t, st.Append(chunkOf(1, 100), chunkOf(2, 100)))
	fs.failSync = func(string) error { return unix.EIO }
	err := st.Append(chunkOf(3, 100))
	var failed *FailedError
	if !errors.As(err, &failed) || failed.Op != "fsync" || !errors.Is(err, unix.EIO) {
		t.Errorf("append: %v", err)
	}
	fs.failSync = nil
	syncs := fs.syncs
	for _, err := range []error{st.Append(chunkOf(4, 100)), st.Finish(End{}), s.Room(), s.Pressed(), s.Err()} {
		if !errors.As(err, &failed) {
			t.Errorf("after it: %v", err)
		}
	}
	if _, err := s.Begin(Identity{ID: ID{Run: "r-2"}}); !errors.As(err, &failed) {
		t.Errorf("a new stream after it: %v", err)
	}
	wantChunks(t, st, 100, 1, 2)
	must(t, s.Close())
	if fs.syncs != syncs {
		t.Error("fsync was tried again")
	}
	again := mustOpen(t, Config{FS: fs.killed()})
	if got := sequences(again.Streams()[0]); !slices.Equal(got[:2], []uint64{1, 2}) {
		t.Errorf("the next start has %v", got)
	}
}

// An error of write(2) that is not about room is the end as well.
func TestFailedWrite(t *testing.T) {
	fs := newFaulty()
	s := mustOpen(t, Config{FS: fs})
	st := mustBegin(t, s, vm1)
	must(t, st.Append(chunkOf(1, 100)))
	fs.failWrite = func(string) error { return unix.EIO }
	var failed *FailedError
	if err := st.Append(chunkOf(2, 100)); !errors.As(err, &failed) || failed.Op != "write" {
		t.Errorf("append: %v", err)
	}
	if !errors.As(s.Err(), &failed) {
		t.Errorf("after it: %v", s.Err())
	}
	wantChunks(t, st, 100, 1)
}

// A flipped bit is never served: of whatever byte of a chunk that was on the disk it is, the
// chunk is told as missing, the others are there.
func TestFlippedBits(t *testing.T) {
	fs := newFaulty()
	s := mustOpen(t, Config{FS: fs})
	st := mustBegin(t, s, vm1)
	for n := uint64(1); n <= 4; n++ {
		must(t, st.Append(chunkOf(n, 100)))
	}
	second := st.index[2]
	must(t, s.Close())
	name := second.segment.name
	for at := second.offset; at < second.offset+second.size; at++ {
		damaged := fs.killed()
		damaged.names[name].now[at] ^= 0x10
		s := mustOpen(t, Config{FS: damaged})
		st := s.Streams()[0]
		if len(s.Holes()) == 0 && at >= second.offset+second.size-align {
			// The padding means nothing.
			wantChunks(t, st, 100, 1, 2, 3, 4)
			continue
		}
		wantChunks(t, st, 100, 1, 3, 4)
		if got := st.Missing(); !slices.Equal(got, []Range{{2, 2}}) {
			t.Fatalf("byte %d: missing %v", at, got)
		}
		h := s.Holes()
		if len(h) != 1 || !h[0].Promised || h[0].Stream != vm1.ID || h[0].File != name || h[0].Offset != second.offset {
			t.Fatalf("byte %d: holes %v", at, h)
		}
		must(t, st.Append(chunkOf(5, 100)))
		wantChunks(t, st, 100, 1, 3, 4, 5)
		must(t, s.Close())
		// The next start says the same.
		again := mustOpen(t, Config{FS: damaged.killed()})
		if d := cmp.Diff(h, again.Holes()); d != "" {
			t.Fatalf("byte %d: %s", at, d)
		}
	}
}

// A bit that is flipped while the spool is open is found by Read.
func TestDamageUnderRead(t *testing.T) {
	fs := newFaulty()
	s := mustOpen(t, Config{FS: fs})
	st := mustBegin(t, s, vm1)
	must(t, st.Append(chunkOf(1, 100), chunkOf(2, 100), chunkOf(3, 100)))
	e := st.index[2]
	fs.names[e.segment.name].now[e.offset+70] ^= 1
	if _, err := st.Read(2); !errors.Is(err, ErrDamaged) {
		t.Errorf("read: %v", err)
	}
	if _, err := st.Read(2); !errors.Is(err, ErrNotKept) {
		t.Errorf("read again: %v", err)
	}
	wantChunks(t, st, 100, 1, 3)
	if got := st.Missing(); !slices.Equal(got, []Range{{2, 2}}) {
		t.Errorf("missing %v", got)
	}
	st.Acknowledge(2, 20)
	if got := st.Missing(); len(got) > 0 {
		t.Errorf("%v is missing, and was acknowledged", got)
	}
}

// A head that is gone or unreadable is made anew from what the segments say.
func TestHeadIsMadeAnew(t *testing.T) {
	fs := newFaulty()
	s := mustOpen(t, Config{FS: fs})
	st := mustBegin(t, s, vm1)
	must(t, st.Append(chunkOf(1, 100), chunkOf(2, 100)))
	st.Acknowledge(1, 10)
	must(t, st.Append(chunkOf(3, 100)))
	must(t, s.Close())
	name := headName(st.serial)
	for what, spoil := range map[string]func(fs *faulty){
		"deleted":  func(fs *faulty) { delete(fs.names, name) },
		"empty":    func(fs *faulty) { fs.names[name].now = nil },
		"identity": func(fs *faulty) { fs.names[name].now[preambleSize+20] ^= 1 },
		"short":    func(fs *faulty) { fs.names[name].now = fs.names[name].now[:9000] },
	} {
		damaged := fs.killed()
		spoil(damaged)
		s := mustOpen(t, Config{FS: damaged})
		st := s.Streams()[0]
		if st.Identity != vm1 || st.Acknowledged() != 1 || len(st.Missing()) > 0 {
			t.Errorf("%s: the stream is %+v", what, st)
		}
		wantChunks(t, st, 100, 2, 3)
		must(t, st.Finish(End{LastChunk: 3}))
		must(t, s.Close())
		again := mustOpen(t, Config{FS: damaged.killed()})
		if _, ok := again.Streams()[0].End(); !ok || len(again.Holes()) > 0 {
			t.Errorf("%s: after another start: %v", what, again.Holes())
		}
	}
}

// Files of a newer version are not touched.
func TestNewerVersion(t *testing.T) {
	fs := newFaulty()
	s := mustOpen(t, Config{FS: fs})
	st := mustBegin(t, s, vm1)
	must(t, st.Append(chunkOf(1, 100)))
	must(t, s.Close())
	for name := range fs.names {
		newer := fs.killed()
		b := newer.names[name].now
		le.PutUint32(b[8:], version+1)
		copy(b[16:], appendSum(b[:16]))
		before := bytes.Clone(b)
		if _, err := Open(Config{FS: newer}); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(newer.names[name].now, before) {
			t.Errorf("%s was changed", name)
		}
	}
}

// A run begins once.
func TestStreamsAreNamedOnce(t *testing.T) {
	s := mustOpen(t, Config{FS: newFaulty()})
	mustBegin(t, s, vm1)
	if _, err := s.Begin(vm1); !errors.Is(err, ErrExists) {
		t.Errorf("the same stream again: %v", err)
	}
	other := vm1
	other.Incarnation++
	mustBegin(t, s, other)
	if _, err := s.Begin(Identity{}); err == nil {
		t.Error("a stream of no run")
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []Config{{Quota: 1}, {SegmentBytes: 1}, {SegmentBytes: maxSegment}} {
		cfg.FS = newFaulty()
		if _, err := Open(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

// What is acknowledged while the watermark is being written is not below it: its files stay
// until the next time.
func TestReclaimGoesByTheMarkOnDisk(t *testing.T) {
	fs := newFaulty()
	s := mustOpen(t, Config{FS: fs, SegmentBytes: minSegment})
	st := mustBegin(t, s, vm1)
	var all []uint64
	for n := uint64(1); n <= 12; n++ {
		must(t, st.Append(chunkOf(n, 1000)))
		all = append(all, n)
	}
	st.Acknowledge(5, 50)
	fs.held = func() { st.Acknowledge(12, 120) }
	must(t, st.Reclaim())
	fs.held = nil
	again := mustOpen(t, Config{FS: fs.killed()}).Streams()[0]
	wantChunks(t, again, 1000, all[5:]...)
	if len(again.Missing()) > 0 {
		t.Errorf("missing %v", again.Missing())
	}
	must(t, s.Close())
}

// A watermark that was being written when the power went leaves the one before.
func TestTornWatermark(t *testing.T) {
	fs := newFaulty()
	s := mustOpen(t, Config{FS: fs, SegmentBytes: minSegment})
	st := mustBegin(t, s, vm1)
	var all []uint64
	for n := uint64(1); n <= 15; n++ {
		must(t, st.Append(chunkOf(n, 1000)))
		all = append(all, n)
	}
	for _, n := range []uint64{5, 10} {
		st.Acknowledge(n, n*10)
		must(t, st.keepMark())
	}
	for at := markPlace(st.counter); at < markPlace(st.counter)+48; at++ {
		torn := fs.killed()
		torn.names[headName(st.serial)].now[at] ^= 4
		s := mustOpen(t, Config{FS: torn, SegmentBytes: minSegment})
		st := s.Streams()[0]
		if st.Acknowledged() != 5 || len(st.Missing()) > 0 || len(s.Holes()) != 1 {
			t.Fatalf("byte %d: the watermark is %d, missing %v, holes %v", at, st.Acknowledged(), st.Missing(), s.Holes())
		}
		wantChunks(t, st, 1000, all[5:]...)
	}
}

// togetherWith makes changes that come while another one is being synced, so that they share
// the next sync, in their order.
func (f *faulty) togetherWith(t *testing.T, s *Spool, first func() error, then ...func() error) {
	t.Helper()
	gate, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.held = func() { once.Do(func() { close(held); <-gate }) }
	var wait sync.WaitGroup
	change := func(do func() error) {
		wait.Go(func() {
			if err := do(); err != nil && !errors.Is(err, ErrDropped) {
				t.Error(err)
			}
		})
	}
	change(first)
	<-held
	for i, do := range then {
		change(do)
		for waiting := 0; waiting <= i; runtime.Gosched() {
			s.mu.Lock()
			waiting = len(s.queue)
			s.mu.Unlock()
		}
	}
	close(gate)
	wait.Wait()
	f.held = nil
}

// Two watermarks that share a sync do not take both places: one loss of power would tear both.
func TestWatermarksOfOneSync(t *testing.T) {
	fs := newFaulty()
	s := mustOpen(t, Config{FS: fs, SegmentBytes: minSegment})
	st := mustBegin(t, s, vm1)
	for n := uint64(1); n <= 15; n++ {
		must(t, st.Append(chunkOf(n, 1000)))
	}
	st.Acknowledge(5, 50)
	must(t, st.keepMark())
	counter := st.counter
	fs.togetherWith(t, s, func() error { return st.Append(chunkOf(16, 1000)) },
		func() error { st.Acknowledge(10, 100); return st.keepMark() },
		func() error { st.Acknowledge(11, 110); return st.Reclaim() })
	if st.counter != counter+1 {
		t.Errorf("%d watermarks were written for one sync", st.counter-counter)
	}
	fs.togetherWith(t, s, func() error { return st.Append(chunkOf(17, 1000)) },
		func() error { return st.Finish(End{LastChunk: 17, LastEvent: 170, Error: "the first"}) },
		func() error { return st.Finish(End{Error: "the second"}) })
	again := mustOpen(t, Config{FS: fs.killed()}).Streams()[0]
	if end, _ := again.End(); end.Error != "the first" || len(again.Missing()) > 0 {
		t.Errorf("after a start it ended as %v, missing %v", end, again.Missing())
	}
	must(t, s.Close())
}

// What shares a sync with a drop does not bring the stream back, and who reads meanwhile
// reads nothing, which is no damage.
func TestNothingComesAfterADrop(t *testing.T) {
	fs := newFaulty()
	s := mustOpen(t, Config{FS: fs, SegmentBytes: minSegment})
	st := mustBegin(t, s, vm1)
	for n := uint64(1); n <= 5; n++ {
		must(t, st.Append(chunkOf(n, 1000)))
	}
	fs.togetherWith(t, s, func() error { return st.Append(chunkOf(6, 1000)) },
		st.Drop,
		func() error { st.Acknowledge(2, 20); return st.keepMark() },
		func() error { return st.Append(chunkOf(7, 1000)) })
	if _, err := st.Read(6); !errors.Is(err, ErrNotKept) {
		t.Errorf("a chunk of a dropped stream is read: %v", err)
	}
	if len(st.Missing()) > 0 {
		t.Errorf("of a dropped stream is missing %v", st.Missing())
	}
	if names, err := fs.List(); err != nil || len(names) > 0 {
		t.Errorf("the files %v are left, %v", names, err)
	}
	must(t, s.Close())
}

// A page that the disk does not give is no tear: its chunks are missing, and nothing is cut
// off or removed, since the next start may read them.
func TestUnreadablePages(t *testing.T) {
	const size = 3000
	fs := newFaulty()
	s := mustOpen(t, Config{FS: fs, SegmentBytes: 16 << 10})
	st := mustBegin(t, s, vm1)
	for n := uint64(1); n <= 4; n++ {
		must(t, st.Append(chunkOf(n, size)))
	}
	must(t, st.Finish(End{LastChunk: 4, LastEvent: 40}))
	name, last := st.segments[0].name, st.index[4].offset
	must(t, s.Close())
	for what, from := range map[string]int64{"its last chunk": last, "all": 0} {
		bad := fs.killed()
		bad.failRead = func(file string, at int64) error {
			if file == name && at >= from {
				return unix.EIO
			}
			return nil
		}
		before := bad.size()
		s := mustOpen(t, Config{FS: bad, SegmentBytes: 16 << 10})
		st := s.Streams()[0]
		if holes := s.Holes(); len(holes) == 0 || !holes[len(holes)-1].Promised {
			t.Errorf("%s: the holes are %v", what, holes)
		}
		if missing := st.Missing(); len(missing) != 1 || missing[0].Last != 4 {
			t.Errorf("%s: missing is %v", what, missing)
		}
		must(t, st.Reclaim())
		must(t, s.Close())
		if bad.size() != before {
			t.Errorf("%s: %d bytes are left of %d", what, bad.size(), before)
		}
		bad.failRead = nil
		s = mustOpen(t, Config{FS: bad, SegmentBytes: 16 << 10})
		wantChunks(t, s.Streams()[0], size, 1, 2, 3, 4)
		must(t, s.Streams()[0].Drop())
		must(t, s.Close())
		if bad.size() != 0 {
			t.Errorf("%s: %d bytes are left of what was dropped", what, bad.size())
		}
	}
}
