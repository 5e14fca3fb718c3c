package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// parts puts runs whose bundles have so many bytes each, and returns them.
func parts(t *testing.T, b *Bucket, sizes ...int) []Part {
	t.Helper()
	var all []Part
	for i, size := range sizes {
		run := Run{ID: fmt.Sprintf("r-%d", i), Seal: bytes.Repeat([]byte{byte(i)}, 32), Contents: []Content{
			{Name: "bundle", Suffix: ".syncline", Exact: true, Write: text(string(bytes.Repeat([]byte{byte('a' + i)}, size)))},
		}}
		ref, err := b.Put(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		m, err := b.Manifest(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		p, _ := m.Part("bundle")
		all = append(all, p)
	}
	return all
}

func contents(t *testing.T, c *Cache, b *Bucket, p Part) string {
	t.Helper()
	f, err := c.File(t.Context(), b, p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestCacheIsBounded asks for more than there is room for, and finds what was used last.
func TestCacheIsBounded(t *testing.T) {
	b, dir := open(t, "file://"+filepath.ToSlash(t.TempDir())), t.TempDir()
	c, err := OpenCache(dir, 250)
	if err != nil {
		t.Fatal(err)
	}
	all := parts(t, b, 100, 100, 100, 400)
	for i, p := range all[:3] {
		if n := len(contents(t, c, b, p)); n != 100 {
			t.Fatalf("part %d has %d bytes", i, n)
		}
		// The files' times tell them apart.
		old := time.Unix(int64(1000+i), 0)
		if err := os.Chtimes(c.name(p), old, old); err != nil {
			t.Fatal(err)
		}
	}
	held := func(p Part) bool { _, err := os.Stat(c.name(p)); return err == nil }
	if held(all[0]) || !held(all[1]) || !held(all[2]) {
		t.Errorf("of three that do not fit are there: %v, %v, %v", held(all[0]), held(all[1]), held(all[2]))
	}
	if n, err := c.Bytes(); err != nil || n != 200 {
		t.Errorf("%d bytes: %v", n, err)
	}
	if n := len(contents(t, c, b, all[3])); n != 400 {
		t.Errorf("the large one has %d bytes", n)
	}
	if n, err := c.Bytes(); err != nil || n != 400 {
		t.Errorf("beside the large one are %d bytes: %v", n, err)
	}
}

// TestCacheTidiesUp removes what an interrupted program left, and nothing else.
func TestCacheTidiesUp(t *testing.T) {
	b, dir := open(t, "file://"+filepath.ToSlash(t.TempDir())), t.TempDir()
	p := parts(t, b, 10)[0]
	c, err := OpenCache(dir, 100)
	if err != nil {
		t.Fatal(err)
	}
	contents(t, c, b, p)
	if err := os.WriteFile(filepath.Join(dir, unfinished+"1"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = OpenCache(dir, 100); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); len(got) != 1 || got[0] != p.SHA256 {
		t.Errorf("there are %q", got)
	}
}

// TestOneDownloadForMany lets many ask for the same part at once.
func TestOneDownloadForMany(t *testing.T) {
	b := open(t, "file://"+filepath.ToSlash(t.TempDir()))
	c, err := OpenCache(t.TempDir(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	p := parts(t, b, 100)[0]
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			f, err := c.File(context.Background(), b, p)
			if err != nil {
				t.Error(err)
				return
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// TestCacheKeepsNothingFalse asks for a part that is damaged in the bucket, and for one
// whose hash is the name of another file.
func TestCacheKeepsNothingFalse(t *testing.T) {
	dir, at := t.TempDir(), t.TempDir()
	b := open(t, "file://"+filepath.ToSlash(dir))
	c, err := OpenCache(at, 1000)
	if err != nil {
		t.Fatal(err)
	}
	p := parts(t, b, 100)[0]
	if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(p.Key)), []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.File(t.Context(), b, p); !errors.Is(err, ErrDamaged) {
		t.Errorf("the error is %v", err)
	}
	if got := names(t, at); len(got) != 0 {
		t.Errorf("there are %q", got)
	}
	p.SHA256 = "../../secret"
	if _, err := c.File(t.Context(), b, p); !errors.Is(err, ErrDamaged) {
		t.Errorf("the error is %v", err)
	}
}
