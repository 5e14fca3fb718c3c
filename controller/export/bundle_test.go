package export

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// drawContents draws a run: streams in order, their chunks in order with holes.
func drawContents(t *rapid.T) (Contents, []Chunk) {
	names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-zß-]{1,8}`), 0, 4, rapid.ID).Draw(t, "agents")
	slices.Sort(names)
	var chunks []Chunk
	for _, name := range names {
		starts := rapid.SliceOfNDistinct(rapid.Uint64(), 1, 3, rapid.ID).Draw(t, "incarnations")
		slices.Sort(starts)
		for _, start := range starts {
			sequence := uint64(0)
			for range rapid.IntRange(1, 4).Draw(t, "chunks") {
				sequence += rapid.Uint64Range(1, 3).Draw(t, "gap")
				chunks = append(chunks, Chunk{
					Agent: name, Incarnation: start, Sequence: sequence,
					FirstEvent: rapid.Uint64Range(1, 1<<40).Draw(t, "first"), Events: rapid.Uint32Range(1, 1000).Draw(t, "events"),
					Data: rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "data"),
				})
			}
		}
	}
	c := Contents{
		Run: rapid.StringMatching(`r-[0-9a-f]{8}`).Draw(t, "run"), WrittenBy: "syncline 0.1.0", Ended: time.Unix(1763900000, 0),
		Record: rapid.SliceOfN(rapid.Byte(), 0, 500).Draw(t, "record"), Source: rapid.SliceOfN(rapid.Byte(), 0, 500).Draw(t, "source"),
		Chunks: each(chunks),
	}
	return c, chunks
}

func each(chunks []Chunk) func(func(Chunk) error) error {
	return func(yield func(Chunk) error) error {
		for _, c := range chunks {
			if err := yield(c); err != nil {
				return err
			}
		}
		return nil
	}
}

// bundle writes contents that are in order.
func bundle(t interface{ Fatal(...any) }, c Contents) []byte {
	var b bytes.Buffer
	if err := WriteBundle(&b, c); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(b []byte) (*Bundle, error) { return OpenBundle(bytes.NewReader(b), int64(len(b))) }

func (b *Bundle) all() ([]Chunk, error) {
	var all []Chunk
	err := b.Chunks(func(c Chunk) error {
		all = append(all, c)
		return nil
	})
	return all, err
}

// What was written is read again, whatever it was, and the same contents give the same
// bytes: also those that were read.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, chunks := drawContents(t)
		first := bundle(t, c)
		b, err := open(first)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Record, c.Record) || !bytes.Equal(b.Source, c.Source) || b.Manifest.Run != c.Run || b.Manifest.WrittenBy != c.WrittenBy {
			t.Fatalf("read %q, %q, %+v", b.Record, b.Source, b.Manifest)
		}
		got, err := b.all()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(chunks, got); d != "" {
			t.Fatal(d)
		}
		again := bundle(t, Contents{
			Run: b.Manifest.Run, WrittenBy: b.Manifest.WrittenBy, Ended: c.Ended, Record: b.Record, Source: b.Source, Chunks: b.Chunks,
		})
		if !bytes.Equal(first, again) {
			t.Fatal("the same contents gave other bytes")
		}
	})
}

// sample is a small bundle with two streams.
func sample() Contents {
	return Contents{
		Run: "r-7f3c2a10", WrittenBy: "syncline 0.1.0", Ended: time.Unix(1763900000, 0),
		Record: []byte(`{"run": {"id": "r-7f3c2a10"}}`), Source: []byte("name: sample\n"),
		Chunks: each([]Chunk{
			{Agent: "vm1", Incarnation: 7, Sequence: 1, FirstEvent: 1, Events: 22, Data: []byte("one")},
			{Agent: "vm1", Incarnation: 7, Sequence: 2, FirstEvent: 23, Events: 2, Data: []byte("two")},
			{Agent: "vm2", Incarnation: 9, Sequence: 1, FirstEvent: 1, Events: 5, Data: []byte("three")},
		}),
	}
}

// A bundle of which a part is missing or another byte is never read as if it were whole.
func TestDamage(t *testing.T) {
	whole := bundle(t, sample())
	want, err := open(whole)
	if err != nil {
		t.Fatal(err)
	}
	chunks, err := want.all()
	if err != nil {
		t.Fatal(err)
	}
	known := func(err error) bool {
		return errors.Is(err, ErrDamaged) || errors.Is(err, ErrNoBundle) || errors.Is(err, ErrLimit) || errors.Is(err, ErrNewer)
	}
	for n := range len(whole) {
		if _, err := open(whole[:n]); !known(err) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(whole), err)
		}
	}
	harmless := 0
	for i := range whole {
		spoilt := bytes.Clone(whole)
		spoilt[i] ^= 0x55
		got, err := open(spoilt)
		if known(err) {
			continue
		}
		if err != nil {
			t.Fatalf("byte %d: %v has none of the known errors", i, err)
		}
		// Times of files and the like may differ; what is read may not.
		harmless++
		same, err := got.all()
		if err != nil || !cmp.Equal(chunks, same) || !bytes.Equal(got.Record, want.Record) || !bytes.Equal(got.Source, want.Source) || !cmp.Equal(got.Manifest, want.Manifest) {
			t.Fatalf("with another byte %d something else is read: %v", i, err)
		}
	}
	if harmless > len(whole)/2 {
		t.Fatalf("%d of %d bytes may be anything", harmless, len(whole))
	}
}

// file is a part of an archive made by hand.
type file struct {
	name, text string
	method     uint16
}

// archive makes a bundle of any files, the first as a bundle's first is.
func archive(t testing.TB, files []file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	first, err := w.CreateRaw(&zip.FileHeader{
		Name: mediaTypePart, CRC32: crc32.ChecksumIEEE([]byte(MediaType)),
		CompressedSize64: uint64(len(MediaType)), UncompressedSize64: uint64(len(MediaType)),
	})
	if err == nil {
		_, err = io.WriteString(first, MediaType)
	}
	for _, f := range files {
		if err != nil {
			break
		}
		var part io.Writer
		if part, err = w.CreateHeader(&zip.FileHeader{Name: f.name, Method: f.method}); err == nil {
			_, err = io.WriteString(part, f.text)
		}
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// parts are the files of a whole bundle, the media type apart.
func parts(t testing.TB, b []byte) []file {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var all []file
	for _, f := range r.File[1:] {
		text, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, file{f.Name, string(data), f.Method})
	}
	return all
}

func TestHostileArchives(t *testing.T) {
	whole := parts(t, bundle(t, sample()))
	manifest := whole[len(whole)-1].text
	with := func(old, other string) []file {
		if strings.Count(manifest, old) == 0 {
			t.Fatalf("the manifest has no %q:\n%s", old, manifest)
		}
		changed := slices.Clone(whole)
		changed[len(changed)-1].text = strings.Replace(manifest, old, other, 1)
		return changed
	}
	if _, err := open(archive(t, whole)); err != nil {
		t.Fatalf("the whole one: %v", err)
	}
	for _, test := range []struct {
		name  string
		files []file
		err   error
		says  string
	}{
		{"nothing", nil, ErrDamaged, "manifest.json is missing"},
		{"a newer format", with(`"format": 1`, `"format": 2`), ErrNewer, `format 2, written by "syncline 0.1.0"`},
		{"no format", with(`"format": 1`, `"format": 0`), ErrDamaged, "names no format"},
		{"a manifest that is no JSON", with(`"format": 1,`, ``+"\x00"), ErrDamaged, "manifest.json"},
		{"a path out of the archive", append(slices.Clone(whole), file{"../../etc/passwd", "x", zip.Store}), ErrDamaged, "7 files"},
		{"a part twice", append(slices.Clone(whole), whole[0]), ErrDamaged, "twice"},
		{"a part too few", whole[1:], ErrDamaged, "run.json"},
		{"a stream elsewhere", with(`"part": "events/0001.chunks"`, `"part": "run.json"`), ErrDamaged, "stream 1"},
		{"another name", with(`"name": "run.json"`, `"name": "experiment.yaml"`), ErrDamaged, "experiment.yaml"},
		{"another hash", with(`"sha256": "`, `"sha256": "00`), ErrDamaged, "SHA-256"},
		{"another size", with(`"bytes": 29`, `"bytes": 28`), ErrDamaged, "has 29 bytes, and had 28"},
		{"another number of events", with(`"events": 24`, `"events": 25`), ErrDamaged, "24 events, and there were 2 with 25"},
		{"another agent", with(`"agent": "vm2"`, `"agent": "vm0"`), ErrDamaged, "not in order"},
		{"a long name", with(`"agent": "vm2"`, fmt.Sprintf(`"agent": "w%0100d"`, 0)), ErrLimit, "agent"},
		{"a compressed stream", func() []file {
			changed := slices.Clone(whole)
			changed[2].method = zip.Deflate
			return changed
		}(), ErrDamaged, "compressed"},
		{"a manifest that is too long", with("{", "{"+strings.Repeat(" ", maxManifestBytes)), ErrLimit, "manifest.json"},
		{"a source that grows a thousandfold", func() []file {
			changed := with(`"bytes": 13`, fmt.Sprintf(`"bytes": %d`, 1<<20))
			changed[1] = file{sourcePart, strings.Repeat(" ", 1<<20), zip.Deflate}
			return changed
		}(), ErrLimit, "experiment.yaml"},
		{"too many parts", func() []file {
			changed := slices.Clone(whole)
			for i := range MaxStreams {
				changed = append(changed, file{fmt.Sprint(i), "", zip.Store})
			}
			return changed
		}(), ErrLimit, "parts"},
	} {
		_, err := open(archive(t, test.files))
		if !errors.Is(err, test.err) || !strings.Contains(fmt.Sprint(err), test.says) {
			t.Errorf("%s: %v; want %v saying %q", test.name, err, test.err, test.says)
		}
	}
}

// Two parts that lie in the same bytes would be read twice for the price of one.
func TestPartsDoNotOverlap(t *testing.T) {
	b := bundle(t, sample())
	r, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var twice Bundle
	twice.files = map[string]*zip.File{}
	large := *r.File[1]
	large.CompressedSize64 = uint64(len(b)) - 10
	if err := twice.index([]*zip.File{r.File[0], &large}, int64(len(b))); !errors.Is(err, ErrDamaged) {
		t.Errorf("parts larger than the file: %v", err)
	}
}

func TestWhatIsNotWritten(t *testing.T) {
	chunk := func(change func(*Chunk)) func(*Contents) {
		return func(c *Contents) {
			bad := Chunk{Agent: "vm1", Incarnation: 7, Sequence: 1, FirstEvent: 1, Events: 1, Data: []byte("x")}
			change(&bad)
			c.Chunks = each([]Chunk{bad})
		}
	}
	for _, test := range []struct {
		name   string
		change func(*Contents)
		says   string
	}{
		{"no run", func(c *Contents) { c.Run = "" }, "run id"},
		{"a large record", func(c *Contents) { c.Record = make([]byte, MaxRecordBytes+1) }, "record"},
		{"a large experiment", func(c *Contents) { c.Source = make([]byte, MaxSourceBytes+1) }, "experiment"},
		{"no agent", chunk(func(c *Chunk) { c.Agent = "" }), "agent"},
		{"an agent of no text", chunk(func(c *Chunk) { c.Agent = "\xff" }), "UTF-8"},
		{"no data", chunk(func(c *Chunk) { c.Data = nil }), "0 bytes"},
		{"much data", chunk(func(c *Chunk) { c.Data = make([]byte, MaxChunkBytes+1) }), "bytes"},
		{"no events", chunk(func(c *Chunk) { c.Events = 0 }), "0 events"},
		{"out of order", func(c *Contents) {
			one := Chunk{Agent: "vm1", Sequence: 2, FirstEvent: 1, Events: 1, Data: []byte("x")}
			c.Chunks = each([]Chunk{one, one})
		}, "in order"},
		{"too many streams", func(c *Contents) {
			var all []Chunk
			for i := range MaxStreams + 1 {
				all = append(all, Chunk{Agent: "vm1", Incarnation: uint64(i), Sequence: 1, FirstEvent: 1, Events: 1, Data: []byte("x")})
			}
			c.Chunks = each(all)
		}, "streams"},
		{"chunks that cannot be read", func(c *Contents) {
			c.Chunks = func(func(Chunk) error) error { return errors.New("the disk is gone") }
		}, "the disk is gone"},
	} {
		c := sample()
		test.change(&c)
		if err := WriteBundle(io.Discard, c); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v; want an error with %q", test.name, err, test.says)
		}
	}
}

// An error of whoever reads chunks comes back as it is, and ends the reading.
func TestYieldEndsChunks(t *testing.T) {
	b, err := open(bundle(t, sample()))
	if err != nil {
		t.Fatal(err)
	}
	enough, n := errors.New("enough"), 0
	if err := b.Chunks(func(Chunk) error { n++; return enough }); err != enough || n != 1 {
		t.Errorf("after %d chunks: %v", n, err)
	}
}

// An error of the file is not called damage.
func TestFileErrors(t *testing.T) {
	whole := bundle(t, sample())
	gone := errors.New("input/output error")
	for n := range int64(len(whole)) {
		_, err := OpenBundle(failing{bytes.NewReader(whole), n, gone}, int64(len(whole)))
		if err == nil {
			continue
		}
		if !errors.Is(err, gone) {
			t.Fatalf("reads that touch byte %d fail: %v", n, err)
		}
	}
}

// failing fails to read what holds one byte.
type failing struct {
	io.ReaderAt
	at  int64
	err error
}

func (f failing) ReadAt(b []byte, offset int64) (int, error) {
	if offset <= f.at && f.at < offset+int64(len(b)) {
		return 0, f.err
	}
	return f.ReaderAt.ReadAt(b, offset)
}

// FuzzOpenBundle: whatever the bytes are, they are read without harm, and what is read can
// be written again.
func FuzzOpenBundle(f *testing.F) {
	f.Add(bundle(f, sample()))
	f.Add([]byte("PK\x03\x04"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := open(data)
		if err != nil {
			return
		}
		var out bytes.Buffer
		again := Contents{Run: b.Manifest.Run, WrittenBy: b.Manifest.WrittenBy, Record: b.Record, Source: b.Source, Chunks: b.Chunks}
		if err := WriteBundle(&out, again); err != nil && !errors.Is(err, ErrLimit) {
			t.Fatal(err)
		}
	})
}

// FuzzStream: the frames of a stream are read without harm, and those that are taken give
// the same bytes again.
func FuzzStream(f *testing.F) {
	var seed []byte
	for i := range uint64(3) {
		c := Chunk{Sequence: i + 1, FirstEvent: 1, Events: 1, Data: []byte("data")}
		seed = append(appendFrame(seed, &c), c.Data...)
	}
	f.Add(seed, uint64(3), uint64(3))
	f.Fuzz(func(t *testing.T, data []byte, chunks, events uint64) {
		s := Stream{Agent: "vm1", Chunks: chunks, Events: events}
		var again []byte
		err := s.chunks(bytes.NewReader(data), func(c Chunk) error {
			again = append(appendFrame(again, &c), c.Data...)
			return nil
		})
		if err == nil && !bytes.Equal(data, again) || !bytes.HasPrefix(data, again) {
			t.Fatalf("%x was read as %x: %v", data, again, err)
		}
	})
}
