package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// memoryFile is a file of bytes, to be read.
type memoryFile struct {
	file
	bytes []byte
}

func (memoryFile) Name() string { return "memory" }

func (f memoryFile) ReadAt(b []byte, at int64) (int, error) {
	return bytes.NewReader(f.bytes).ReadAt(b, at)
}

// FuzzChunkFile: whatever a chunk file holds, a chunk read from it is the one that was
// committed, or damaged.
func FuzzChunkFile(f *testing.F) {
	st := newStream("r-1", streamKey{"vm1", 1})
	whole := st.header()
	committed := map[uint64]Chunk{}
	for seq := uint64(1); seq <= 3; seq++ {
		c := chunk("r-1", "vm1", seq)
		c.Data = c.Data[:50]
		c.CRC32C = Checksum(c.Data)
		st.add(refOf(&c, st.size))
		whole = append(whole, frame(&c)...)
		committed[seq] = c
	}
	f.Add(whole)
	f.Add(whole[:100])
	f.Add([]byte{})
	f.Add(append(bytes.Clone(whole[:40]), whole...))
	f.Fuzz(func(t *testing.T, b []byte) {
		from := memoryFile{bytes: b}
		for _, ref := range st.chunks {
			c, err := readChunk(from, st, ref)
			if err != nil {
				if !errors.Is(err, ErrDamaged) {
					t.Fatalf("an error without ErrDamaged: %v", err)
				}
				continue
			}
			if diff := cmp.Diff(committed[ref.sequence], c); diff != "" {
				t.Fatalf("a chunk that was not committed:\n%s", diff)
			}
		}
		if err := checkHeader(from, st); (err == nil) != bytes.HasPrefix(b, st.header()) {
			t.Fatalf("the header: %v", err)
		}
	})
}

// FuzzInventory: an inventory is read as it was written, or refused.
func FuzzInventory(f *testing.F) {
	f.Add(stock{}.format())
	f.Add(stock{"r-1/vm1-1.chunks": {{0, 512}, {600, 700}}, "r-2/%56m-3.chunks": {{0, 1 << 40}}}.format())
	f.Add([]byte("syncline inventory 2\nend 0 crc32c 00000000\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		// Most of what a fuzzer makes has a wrong checksum; give it the right one.
		all := [][]byte{data}
		if body, _, err := cutChecksum(data); err == nil {
			all = append(all, []byte(string(body)+hex32(Checksum(body))+"\n"))
		}
		for _, in := range all {
			s, err := parseInventory(in)
			if err != nil {
				continue
			}
			if !bytes.Equal(s.format(), in) {
				t.Fatalf("%q was read, and is written %q", in, s.format())
			}
			for name, spans := range s {
				at := int64(-1)
				for _, r := range spans {
					if !filepath.IsLocal(name) || r.first <= at || r.end <= r.first {
						t.Fatalf("%q has %v", name, spans)
					}
					at = r.end
				}
			}
		}
	})
}

func hex32(v uint32) string {
	const digits = "0123456789abcdef"
	b := make([]byte, 8)
	for i := range b {
		b[i] = digits[v>>(28-4*i)&15]
	}
	return string(b)
}

// FuzzSnapshotMeta: what is said about a snapshot is read as it was written, or refused.
func FuzzSnapshotMeta(f *testing.F) {
	meta := storedMeta{SnapshotMeta: raft.SnapshotMeta{
		Version: 1, ID: "2-11-1795429626369", Index: 11, Term: 2, Size: 511, ConfigurationIndex: 1,
		Configuration: raft.Configuration{Servers: []raft.Server{{ID: "node-1", Address: "127.0.0.1:7443"}}},
	}, CRC: []byte("12345678")}
	f.Add(must[[]byte](f)(meta.format()))
	f.Add(must[[]byte](f)(os.ReadFile(damagedFile(f, "testdata/v0", "snapshots/*/meta.json"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		meta, err := parseMeta(b)
		if err != nil || meta.Sum == "" {
			return
		}
		if again := must[[]byte](t)(meta.format()); !bytes.Equal(again, b) {
			t.Fatalf("%q was read, and is written %q", b, again)
		}
	})
}

// FuzzSealedEntry: a log entry whose bytes changed on the disk is not taken.
func FuzzSealedEntry(f *testing.F) {
	f.Add(uint64(7), uint64(2), []byte("data"), []byte{}, uint16(3))
	f.Fuzz(func(t *testing.T, index, term uint64, data, extensions []byte, at uint16) {
		log := &raft.Log{Index: index, Term: term, Data: data, Extensions: extensions}
		sealed := seal(extensions, sumOf(log, extensions))
		body, sum, ok := unseal(sealed)
		if !ok || !bytes.Equal(body, extensions) || sum != sumOf(log, body) {
			t.Fatal("an entry is not read as it was written")
		}
		if len(data) == 0 {
			return
		}
		changed := *log
		changed.Data = bytes.Clone(data)
		changed.Data[int(at)%len(data)] ^= 1 << (at % 8)
		if sumOf(&changed, body) == sum {
			t.Fatal("a flipped bit went unnoticed")
		}
	})
}

// TestLogEntriesAreChecked reads entries back through a log that was closed.
func TestLogEntriesAreChecked(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		l := must[*checkedLog](t)(openLog(dir, newFault(testLog(t))))
		defer l.Close()
		last := must[uint64](t)(l.LastIndex())
		n := rapid.IntRange(1, 5).Draw(rt, "entries")
		var logs []*raft.Log
		for i := range n {
			log := &raft.Log{Index: last + uint64(i) + 1, Term: 1, Type: raft.LogCommand, Data: rapid.SliceOf(rapid.Byte()).Draw(rt, "data")}
			if rapid.Bool().Draw(rt, "extended") {
				log.Extensions = rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(rt, "extensions")
			}
			logs = append(logs, log)
		}
		if err := l.StoreLogs(logs); err != nil {
			rt.Fatal(err)
		}
		for _, want := range logs {
			var got raft.Log
			if err := l.GetLog(want.Index, &got); err != nil {
				rt.Fatal(err)
			}
			if got.Index != want.Index || !bytes.Equal(got.Data, want.Data) || !bytes.Equal(got.Extensions, want.Extensions) {
				rt.Fatalf("%+v was stored, %+v is read", want, got)
			}
		}
	})
}

// TestStockOfStreams: what a stream says it has is what it was told, for any set of chunks
// that are lacking.
func TestStockOfStreams(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := newStream("r-1", streamKey{"vm1", 1})
		n := rapid.IntRange(1, 200).Draw(t, "chunks")
		for i := range n {
			st.add(chunkRef{sequence: uint64(i) + 1, firstEvent: uint64(i) + 1, events: 1, length: rapid.Uint32Range(1, 100).Draw(t, "length"), offset: st.size})
		}
		st.synced = st.size
		lacking := map[int]bool{}
		for _, i := range rapid.SliceOf(rapid.IntRange(0, n-1)).Draw(t, "lacking") {
			st.lacking.set(i)
			lacking[i] = true
		}
		if st.lacking.count() != len(lacking) {
			t.Fatalf("%d are lacking, %d were set", st.lacking.count(), len(lacking))
		}
		spans := st.durable()
		if len(spans) > 0 {
			s, err := parseInventory(stock{st.name: spans}.format())
			if err != nil {
				t.Fatal(err)
			}
			spans = s[st.name]
		}
		again := &stream{key: st.key, run: st.run, name: st.name, chunks: st.chunks, size: st.size}
		length := rapid.Int64Range(0, st.size).Draw(t, "length of the file")
		cut := again.takeStock(spans, length)
		for i := range st.chunks {
			if want := lacking[i] || st.chunks[i].end() > length; again.lacking.has(i) != want {
				t.Fatalf("chunk %d: lacking %v, want %v; file of %d bytes, %v", i, again.lacking.has(i), want, length, spans)
			}
			if again.damaged.has(i) {
				cut--
			}
		}
		if cut != 0 {
			t.Fatalf("%d more chunks are called cut than are marked", cut)
		}
	})
}
