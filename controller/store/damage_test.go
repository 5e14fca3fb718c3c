package store

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var flips = flag.Int("store.flips", 3, "how many bits are flipped, one at a time, in each file of a node's directory")

// What becomes of a node after damage.
const (
	same     = "starts, nothing is missing"
	refused  = "does not start, and names the file"
	reported = "starts, never gives the damaged chunk, and lists it"
)

// damages is what happens to each kind of file of a node that is alone: of a chunk that a
// snapshot covers there is no other copy then.
var damages = []struct {
	file, damage string
	do           func(t testing.TB, name string)
	want         string
	// says is in the error, or in the reason why a chunk is lacking.
	says string
}{
	{"lock", "deleted", remove, same, ""},

	{"id", "deleted", remove, refused, "it is gone"},
	{"id", "empty", truncate(0), refused, "no id of a node"},
	{"id", "bit flipped", flip(0), refused, "one of them is damaged"},
	{"disk.uuid", "bit flipped", flip(3), refused, ""},
	{"disk.uuid", "deleted", remove, refused, "one of them is damaged"},
	{"cluster", "bit flipped", flip(25), refused, ""},
	{"cluster", "cut", truncate(30), refused, "lines"},
	{"cluster", "deleted", remove, refused, clusterFile},

	{"log.db", "deleted", remove, refused, "snapshot"},
	{"log.db", "empty", truncate(0), refused, "snapshot"},
	{"log.db", "cut in half", truncate(-2), refused, "log.db"},
	{"log.db", "both meta pages damaged", flipAll(20, 4096+20), refused, "log.db"},
	{"log.db", "data of an entry behind the snapshot", flipIn("damage here"), refused, "log entry"},

	{"snapshots/*/state.bin", "bit flipped", flip(40), refused, "CRC-64"},
	{"snapshots/*/state.bin", "cut", truncate(100), refused, "100 bytes"},
	{"snapshots/*/state.bin", "deleted", remove, refused, "state.bin"},
	{"snapshots/*/meta.json", "bit flipped", flip(1), refused, "meta.json"},
	{"snapshots/*/meta.json", "deleted", remove, refused, "meta.json"},
	{"snapshots/*", "deleted", remove, refused, "there is no snapshot"},

	{"runs/inventory.txt", "deleted", remove, same, ""},
	{"runs/inventory.txt", "bit flipped", flip(30), same, ""},
	{"runs/inventory.txt", "empty", truncate(0), same, ""},

	{"runs/*/vm1-1.chunks", "bit of a frame's header flipped", flip(70), reported, "CRC-32C of the frame's header"},
	{"runs/*/vm1-1.chunks", "bit of the data flipped", flip(200), reported, "CRC-32C of the data"},
	{"runs/*/vm1-1.chunks", "bit of the file's header flipped", flip(20), same, ""},
	{"runs/*/vm1-1.chunks", "cut", truncate(100), reported, "CRC-32C"},
	{"runs/*/vm1-1.chunks", "empty", truncate(0), reported, "CRC-32C"},
	{"runs/*/vm1-1.chunks", "deleted", remove, reported, "CRC-32C"},
	{"runs/*", "deleted", remove, reported, "CRC-32C"},
	// What the log still has is written again.
	{"runs/*/vm1-1.chunks", "last bit flipped", flip(-1), same, ""},
	{"runs/*/vm1-1.chunks", "cut in what the log has", truncateBy(20), same, ""},
	{"runs/*/vm1-1.chunks", "bytes added", grow, same, ""},
}

func remove(t testing.TB, name string) {
	if err := os.RemoveAll(name); err != nil {
		t.Fatal(err)
	}
}

// truncate cuts a file to n bytes, or to its half, third and so on if n is negative.
func truncate(n int) func(testing.TB, string) {
	return func(t testing.TB, name string) {
		size := int64(n)
		if n < 0 {
			size = must[fs.FileInfo](t)(os.Stat(name)).Size() / int64(-n)
		}
		if err := os.Truncate(name, size); err != nil {
			t.Fatal(err)
		}
	}
}

func truncateBy(n int64) func(testing.TB, string) {
	return func(t testing.TB, name string) {
		if err := os.Truncate(name, must[fs.FileInfo](t)(os.Stat(name)).Size()-n); err != nil {
			t.Fatal(err)
		}
	}
}

func change(t testing.TB, name string, how func([]byte) []byte) {
	if err := os.WriteFile(name, how(must[[]byte](t)(os.ReadFile(name))), 0o600); err != nil {
		t.Fatal(err)
	}
}

// flip flips a bit of a byte, counted from the end if at is negative.
func flip(at int) func(testing.TB, string) {
	return func(t testing.TB, name string) {
		change(t, name, func(b []byte) []byte { b[(at+len(b))%len(b)] ^= 4; return b })
	}
}

func flipAll(all ...int) func(testing.TB, string) {
	return func(t testing.TB, name string) {
		for _, at := range all {
			flip(at)(t, name)
		}
	}
}

// flipIn flips a bit wherever a text is.
func flipIn(text string) func(testing.TB, string) {
	return func(t testing.TB, name string) {
		change(t, name, func(b []byte) []byte {
			if !bytes.Contains(b, []byte(text)) {
				t.Fatalf("%s does not have %q", name, text)
			}
			return bytes.ReplaceAll(b, []byte(text), []byte(text[:len(text)-1]+"a"))
		})
	}
}

func grow(t testing.TB, name string) {
	change(t, name, func(b []byte) []byte { return append(b, "bytes after the last frame"...) })
}

// damageable is the directory of a closed node with two runs, each with a stream of which
// the first chunks are in the snapshot alone and the last in the log.
func damageable(t testing.TB) (dir string, want content) {
	t.Helper()
	dir = t.TempDir()
	s := must[*Store](t)(Open(Config{Dir: dir, ID: "node-1", SnapshotEvery: 1, ScrubRate: -1}))
	wait(t, s)
	for _, id := range []string{"r-1", "r-2"} {
		must[Run](t)(s.CreateRun(t.Context(), "request "+id, Run{ID: id, Experiment: "handshake"}))
	}
	for seq := uint64(1); seq <= 4; seq++ {
		for _, c := range []Chunk{chunk("r-1", "vm1", seq), chunk("r-2", "vm2", seq)} {
			if seq == 4 {
				copy(c.Data, "damage here")
				c.CRC32C = Checksum(c.Data)
			}
			appendChunk(t, s, c)
		}
		if seq == 3 {
			if err := s.Snapshot(); err != nil {
				t.Fatal(err)
			}
		}
	}
	want = contentOf(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if first := must[uint64](t)(firstEntry(t, dir), nil); first == 1 {
		t.Fatal("the log has everything still")
	}
	return dir, want
}

func firstEntry(t testing.TB, dir string) uint64 {
	l := must[*checkedLog](t)(openLog(dir, newFault(testLog(t))))
	defer l.Close()
	return must[uint64](t)(l.FirstIndex())
}

// copyOf is a copy of a directory.
func copyOf(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// damagedFile finds the one file of a pattern in a directory; the first run's of several.
func damagedFile(t testing.TB, dir, pattern string) string {
	t.Helper()
	names := must[[]string](t)(filepath.Glob(filepath.Join(dir, pattern)))
	names = slices.DeleteFunc(names, func(n string) bool {
		return strings.HasSuffix(n, "r-2") || strings.HasSuffix(n, inventoryName) && pattern == "runs/*"
	})
	if len(names) == 0 {
		t.Fatalf("no file %s", pattern)
	}
	return names[0]
}

// TestDamage damages each kind of file in each way, and says what happens.
func TestDamage(t *testing.T) {
	sound, want := damageable(t)
	for _, d := range damages {
		t.Run(d.file+" "+d.damage, func(t *testing.T) {
			dir := copyOf(t, sound)
			d.do(t, damagedFile(t, dir, d.file))
			s, err := Open(Config{Dir: dir, SnapshotEvery: 1, ScrubRate: -1})
			if (err != nil) != (d.want == refused) {
				if err == nil {
					s.Close()
				}
				t.Fatalf("it starts with %v; it should be: %s", err, d.want)
			}
			if d.want == refused {
				if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), d.says) || !strings.Contains(err.Error(), dir) {
					t.Errorf("%v, want ErrDamaged, the directory, and %q", err, d.says)
				}
				return
			}
			t.Cleanup(func() { s.Close() })
			wait(t, s)
			if d.want == same {
				if diff := cmp.Diff(want, contentOf(t, s), compareContent); diff != "" {
					t.Errorf("what is there changed:\n%s", diff)
				}
				return
			}
			checkReported(t, s, want, d.says)
		})
	}
}

// checkReported looks at a node that has lost chunks of r-1.
func checkReported(t testing.TB, s *Store, want content, says string) {
	t.Helper()
	err := s.Chunks("r-1", func(Chunk) error { return nil })
	if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), "vm1-1.chunks") {
		t.Errorf("reading r-1: %v, want ErrDamaged or ErrAbsent, and the file", err)
	}
	if errors.Is(err, ErrDamaged) && !strings.Contains(err.Error(), says) {
		t.Errorf("reading r-1: %v, want %q", err, says)
	}
	if diff := cmp.Diff(want.Chunks["r-2"], chunksOf(t, s, "r-2"), compareContent); diff != "" {
		t.Errorf("the run beside it changed:\n%s", diff)
	}
	if diff := cmp.Diff(want.Runs, s.Runs(), compareContent); diff != "" {
		t.Errorf("runs changed:\n%s", diff)
	}
	lacking := s.Lacking(100)
	i := s.Inventory()
	if len(lacking) == 0 || lacking[0].RunID != "r-1" || i.LackingChunks != uint64(len(lacking)) || i.Damaged == 0 {
		t.Errorf("%+v; lacking: %+v; want chunks of r-1, counted as damaged", i, lacking)
	}
}

// TestFlippedBits flips bits anywhere in the directory of a node: it starts with all that
// was there, or without chunks that it then says are missing, or not at all.
func TestFlippedBits(t *testing.T) {
	sound, want := damageable(t)
	r := rand.New(rand.NewPCG(1, uint64(*flips)))
	for name, data := range filesIn(t, sound) {
		if name == "/lock" {
			continue
		}
		seen := map[string]int{}
		for range *flips {
			// Most of a small log is pages that are not in use.
			at, bit := r.IntN(len(data)), r.IntN(8)
			for data[at] == 0 {
				at = r.IntN(len(data))
			}
			dir := copyOf(t, sound)
			change(t, filepath.Join(dir, name), func(b []byte) []byte { b[at] ^= 1 << bit; return b })
			seen[becomes(t, dir, want, fmt.Sprintf("%s, byte %d, bit %d", name, at, bit))]++
		}
		t.Logf("%s: %v", name, seen)
	}
}

// becomes is what becomes of a damaged directory.
func becomes(t testing.TB, dir string, want content, what string) string {
	t.Helper()
	s, err := Open(Config{Dir: dir, SnapshotEvery: 1, ScrubRate: -1})
	if err != nil {
		return refused
	}
	defer s.Close()
	wait(t, s)
	got := content{Agents: s.Agents(), Runs: s.Runs(), Streams: map[string][]Stream{}, Chunks: map[string][]Chunk{}}
	out := same
	for _, run := range got.Runs {
		got.Streams[run.ID] = s.Streams(run.ID)
		err := s.Chunks(run.ID, func(c Chunk) error { got.Chunks[run.ID] = append(got.Chunks[run.ID], c); return nil })
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrAbsent) || s.Inventory().Complete() {
				t.Errorf("%s: %v; %+v", what, err, s.Inventory())
			}
			out = reported
			got.Chunks[run.ID] = want.Chunks[run.ID]
		}
	}
	if diff := cmp.Diff(want, got, compareContent); diff != "" {
		t.Errorf("%s: wrong data:\n%s", what, diff)
	}
	return out
}

// TestDamageIsRepaired damages chunk files of a node that is one of three, whose log does
// not have them: they are whole again without anybody's help, whether a reader or the
// scrubber comes first.
func TestDamageIsRepaired(t *testing.T) {
	c, run := withRun(t, 1, 10)
	whole := must[[]byte](t)(os.ReadFile(filepath.Join(c.dirs[1], runsDir, run.ID, "vm1-1.chunks")))
	for _, d := range []struct {
		damage string
		do     func(testing.TB, string)
	}{
		{"data", flip(200)}, {"frame", flip(70)}, {"header", flip(9)}, {"cut", truncate(-2)}, {"empty", truncate(0)}, {"deleted", remove},
	} {
		for _, who := range []string{"read", "scrub"} {
			name := filepath.Join(c.dirs[1], runsDir, run.ID, "vm1-1.chunks")
			d.do(t, name)
			if who == "scrub" {
				if err := (&scrubber{store: c.nodes[1], rate: 1 << 40}).pass(t.Context()); err != nil {
					t.Errorf("%s: %v", d.damage, err)
				}
			} else if got := len(chunksOf(t, c.nodes[1], run.ID)); got != 10 {
				t.Errorf("%s: a reader is given %d chunks of 10", d.damage, got)
			}
			if d.damage == "header" && who == "read" {
				continue // Nothing is read by it.
			}
			c.until(fmt.Sprintf("the file is whole again (%s, %s)", d.damage, who), func() bool {
				b, err := os.ReadFile(name)
				return err == nil && bytes.Equal(b, whole) && c.nodes[1].Inventory().Complete()
			})
		}
	}
	if i := c.nodes[1].Inventory(); i.Damaged == 0 || i.Repaired != i.Damaged {
		t.Errorf("%+v: want as many repaired as damaged", i)
	}
}

// TestDamageInWhatTheLogHas: a node that is alone repairs a chunk from its log, and takes
// no snapshot, which would drop it there, before.
func TestDamageInWhatTheLogHas(t *testing.T) {
	dir, d := t.TempDir(), &badDisk{}
	s := openOn(t, dir, d)
	run := createRun(t, s)
	for seq := uint64(1); seq <= 3; seq++ {
		appendChunk(t, s, chunk(run.ID, "vm1", seq))
	}
	name := chunkFileIn(t, dir)
	whole := must[[]byte](t)(os.ReadFile(name))
	d.on("write", ".chunks", errors.New("the disk takes nothing"))
	flip(len(whole)/2)(t, name)
	if got := chunksOf(t, s, run.ID); len(got) != 3 {
		t.Errorf("%d chunks of 3, with one damaged that is in the log", len(got))
	}
	if err := s.Snapshot(); err == nil || !strings.Contains(err.Error(), "the log has it still") {
		t.Errorf("a snapshot that drops the last copy: %v", err)
	}
	d.set(nil)
	s.fsm.wakeFiller()
	if err := s.WaitComplete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := must[[]byte](t)(os.ReadFile(name)); !bytes.Equal(got, whole) {
		t.Error("the file is not as it was")
	}
	if err := s.Snapshot(); err != nil {
		t.Error(err)
	}
}

// TestScrubReplacesADamagedSnapshot while the node still knows what was in it.
func TestScrubReplacesADamagedSnapshot(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	run := createRun(t, s)
	appendChunk(t, s, chunk(run.ID, "vm1", 1))
	if err := s.Snapshot(); err != nil {
		t.Fatal(err)
	}
	flip(50)(t, damagedFile(t, dir, "snapshots/*/state.bin"))
	if err := (&scrubber{store: s, rate: 1 << 40}).pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if bad, err := s.snapshots.verify(); len(bad) != 0 || err != nil {
		t.Errorf("snapshots %v are damaged: %v", bad, err)
	}
	if i := s.Inventory(); i.Damaged != 1 || i.Repaired != 1 {
		t.Errorf("%+v: want one damaged and repaired", i)
	}
	s = reopen(t, s, dir)
	if got := len(chunksOf(t, s, run.ID)); got != 1 {
		t.Errorf("%d chunks after a restart", got)
	}
}
