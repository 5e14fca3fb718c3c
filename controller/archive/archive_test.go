package archive

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// open opens a bucket and closes it with the test.
func open(t testing.TB, url string) *Bucket {
	t.Helper()
	b, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
}

// small is a run with a table, a bundle, and a part that is left out.
func small() Run {
	return Run{ID: "r-7f3c2a10", Seal: bytes.Repeat([]byte{0xab}, 32), WrittenBy: "syncline test", Contents: []Content{
		{Name: "bundle", Suffix: ".syncline", Exact: true, Write: text("all that there is of the run")},
		{Name: "events", Suffix: ".parquet", Write: text("a table")},
		{Name: "verdicts", Suffix: ".parquet", Omitted: "the run is too long"},
	}}
}

// buckets calls f with a bucket of each kind.
func buckets(t *testing.T, f func(t *testing.T, url string)) {
	t.Run("file", func(t *testing.T) { f(t, "file://"+filepath.ToSlash(t.TempDir())) })
	t.Run("s3", func(t *testing.T) { f(t, startS3(t).url("lab", "prefix=runs/")) })
}

func read(t *testing.T, b *Bucket, p Part) string {
	t.Helper()
	var out bytes.Buffer
	if err := b.Read(t.Context(), p, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestPutAndRead puts a run and reads it by what Put returned, twice over.
func TestPutAndRead(t *testing.T) {
	buckets(t, func(t *testing.T, url string) {
		b := open(t, url)
		if err := b.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		first, err := b.Put(t.Context(), small())
		if err != nil {
			t.Fatal(err)
		}
		again, err := b.Put(t.Context(), small())
		if err != nil || again != first {
			t.Fatalf("the same run once more is %+v and %v, was %+v", again, err, first)
		}
		m, err := b.Manifest(t.Context(), first)
		if err != nil {
			t.Fatal(err)
		}
		bundle, ok := m.Part("bundle")
		if !ok || read(t, b, bundle) != "all that there is of the run" {
			t.Errorf("the bundle is %+v", bundle)
		}
		if _, ok := m.Part("verdicts"); ok {
			t.Error("a part is there that was omitted")
		}
		if m.Run != "r-7f3c2a10" || !strings.HasPrefix(first.Key, "manifests/r-7f3c2a10-abababababab-") {
			t.Errorf("run %q, manifest %q", m.Run, first.Key)
		}
	})
}

// TestNothingIsThereBeforeTheManifest lets every writing fail in turn. There is no manifest
// then; and the next Put puts all of it there.
func TestNothingIsThereBeforeTheManifest(t *testing.T) {
	refused := errors.New("the disk of the chunks is gone")
	for broken := range 2 {
		t.Run(fmt.Sprint(broken), func(t *testing.T) {
			dir := t.TempDir()
			b, run := open(t, "file://"+filepath.ToSlash(dir)), small()
			run.Contents[broken].Write = func(w io.Writer) error {
				if _, err := io.WriteString(w, "the beginning"); err != nil {
					return err
				}
				return refused
			}
			if _, err := b.Put(t.Context(), run); !errors.Is(err, refused) {
				t.Fatalf("the error is %v", err)
			}
			if left := names(t, dir); slices.ContainsFunc(left, func(n string) bool { return strings.HasPrefix(n, "manifests/") }) || len(left) != broken {
				t.Fatalf("after a failure there are %q", left)
			}
			if _, err := b.Put(t.Context(), small()); err != nil {
				t.Fatal(err)
			}
			if n := len(names(t, dir)); n != 3 {
				t.Errorf("there are %d objects: %q", n, names(t, dir))
			}
		})
	}
}

// TestWriterThatChangesItsMind is refused: what a run is restored from must be the same
// each time.
func TestWriterThatChangesItsMind(t *testing.T) {
	b, run, n := open(t, "file://"+filepath.ToSlash(t.TempDir())), small(), 0
	run.Contents[0].Write = func(w io.Writer) error { n++; _, err := fmt.Fprint(w, n); return err }
	if _, err := b.Put(t.Context(), run); err == nil || !strings.Contains(err.Error(), "written twice") {
		t.Errorf("the error is %v", err)
	}
}

// names are the objects of a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, err = filepath.Rel(dir, name)
			all = append(all, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestDamageIsSeen changes every object in turn: flips a bit, cuts it short, makes it
// longer, takes it away. What is read is never given away as what was written.
func TestDamageIsSeen(t *testing.T) {
	damages := map[string]func(data []byte) []byte{
		"flipped": func(data []byte) []byte { data[len(data)/2] ^= 1; return data },
		"cut":     func(data []byte) []byte { return data[:len(data)-1] },
		"longer":  func(data []byte) []byte { return append(data, 0) },
		"gone":    nil,
	}
	for what, damage := range damages {
		for _, object := range []string{"bundle/", "events/", "manifests/"} {
			t.Run(what+" "+strings.TrimSuffix(object, "/"), func(t *testing.T) {
				dir := t.TempDir()
				b := open(t, "file://"+filepath.ToSlash(dir))
				ref, err := b.Put(t.Context(), small())
				if err != nil {
					t.Fatal(err)
				}
				all := names(t, dir)
				name := filepath.Join(dir, all[slices.IndexFunc(all, func(n string) bool { return strings.HasPrefix(n, object) })])
				want := ErrDamaged
				if damage == nil {
					want, err = ErrNotFound, os.Remove(name)
				} else {
					data, readErr := os.ReadFile(name)
					err = errors.Join(readErr, os.WriteFile(name, damage(data), 0o600))
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := readAll(t.Context(), b, ref); !errors.Is(err, want) {
					t.Errorf("the error is %v, want %v", err, want)
				}
			})
		}
	}
}

// readAll reads a manifest and all that it lists.
func readAll(ctx context.Context, b *Bucket, ref Ref) error {
	m, err := b.Manifest(ctx, ref)
	if err != nil {
		return err
	}
	for _, p := range m.Parts {
		if p.Omitted != "" {
			continue
		}
		if err := b.Read(ctx, p, io.Discard); err != nil {
			return err
		}
	}
	return nil
}

// TestURLs says which there are, and refuses others with what to write.
func TestURLs(t *testing.T) {
	for url, part := range map[string]string{
		"file:///srv/archive":       "",
		"s3://lab":                  "",
		"s3://lab?region=eu-west-1": "",
		"file://srv/archive":        "file:///DIRECTORY",
		"file:///srv?create_dir=1":  "file:///DIRECTORY",
		"/srv/archive":              "file:///DIRECTORY and s3://BUCKET",
		"gs://lab":                  "file:///DIRECTORY and s3://BUCKET",
		"s3:///x":                   "s3://BUCKET",
		"s3://key:secret@lab":       "AWS_ACCESS_KEY_ID",
		"s3://lab\x7f":              "not the URL",
		"file:///" + "a%zz":         "not the URL",
	} {
		err := CheckURL(url)
		if (err == nil) != (part == "") || err != nil && (!errors.Is(err, ErrURL) || !strings.Contains(err.Error(), part)) {
			t.Errorf("%q: %v, want %q in it", url, err, part)
		}
		if err != nil && strings.Contains(err.Error(), "secret@") {
			t.Errorf("the error repeats a password: %v", err)
		}
	}
}

// TestMissingDirectory is an error, and makes no directory where a file system might not be
// mounted.
func TestMissingDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "mounted")
	if _, err := Open(t.Context(), "file://"+filepath.ToSlash(dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was made: %v", err)
	}
}

// TestManifestOfVersion1 reads the manifest of the first version as it was written then,
// and writes the same.
func TestManifestOfVersion1(t *testing.T) {
	dir := t.TempDir()
	b := open(t, "file://"+filepath.ToSlash(dir))
	ref, err := b.Put(t.Context(), small())
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(ref.Key)))
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "v1", "manifest.json")
	if *update {
		if err := os.MkdirAll(filepath.Dir(golden), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if m, err := ParseManifest(want); err != nil || len(m.Parts) != 3 {
		t.Errorf("%+v: %v", m, err)
	}
}

// TestNewerManifest says who wrote it.
func TestNewerManifest(t *testing.T) {
	_, err := ParseManifest([]byte(`{"format": 2, "written_by": "syncline 9.0", "parts": 5}`))
	if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "syncline 9.0") {
		t.Errorf("the error is %v", err)
	}
}

// FuzzParseManifest holds that whatever lies in a bucket is a manifest with keys that lead
// nowhere else, or an error.
func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"format":1,"run":"r-1","parts":[{"name":"events","key":"events/a.parquet","bytes":1,"sha256":"` + strings.Repeat("0a", 32) + `"}]}`))
	f.Add([]byte(`{"format":1,"parts":[{"name":"events","key":"../../etc/passwd","bytes":-1,"sha256":"zz"}]}`))
	f.Add([]byte(`{"format":1e9}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err != nil {
			return
		}
		for _, p := range m.Parts {
			if p.Omitted != "" && p.Key == "" {
				continue
			}
			if strings.Contains(p.Key, "..") && filepath.Clean(p.Key) != p.Key || strings.HasPrefix(p.Key, "/") || p.Key == "" || p.Bytes < 0 {
				t.Errorf("key %q, %d bytes", p.Key, p.Bytes)
			}
			if _, err := p.written(); err != nil {
				t.Error(err)
			}
		}
	})
}
