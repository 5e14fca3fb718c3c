package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// DefaultCacheBytes is how much of archived runs a controller keeps at hand.
const DefaultCacheBytes = 1 << 30

// Cache keeps parts of archived runs as files, by their hashes, so that looking at a run
// again asks the bucket for nothing. It may be deleted at any time. Its methods are safe
// for concurrent use; only one Cache may use a directory.
type Cache struct {
	dir   string
	limit int64

	// mu makes one download out of two for the same part, and is held while the files are
	// counted.
	mu       sync.Mutex
	fetching map[string]*fetch
}

// fetch is a download that others may wait for. err is set once done is closed.
type fetch struct {
	done chan struct{}
	err  error
}

// unfinished begins the names of files that are being written.
const unfinished = "unfinished-"

// OpenCache makes the directory if it is not there, and removes what an interrupted program
// left in it. limit is how many bytes the files may have together; the newest is kept even
// if it alone has more.
func OpenCache(dir string, limit int64) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the cache of archived runs: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("look into the cache of archived runs: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), unfinished) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, fmt.Errorf("tidy the cache of archived runs: %w", err)
			}
		}
	}
	return &Cache{dir: dir, limit: limit, fetching: map[string]*fetch{}}, nil
}

// File opens the copy of a part, and gets it from the bucket if there is none. The caller
// closes the file. It stays readable when the cache drops it.
func (c *Cache) File(ctx context.Context, b *Bucket, p Part) (*os.File, error) {
	for {
		f, err := c.open(p)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		if err := c.fetch(ctx, b, p); err != nil {
			return nil, err
		}
	}
}

// Drop removes the copy of a part, which was found to be damaged.
func (c *Cache) Drop(p Part) error {
	if err := os.Remove(c.name(p)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop a damaged copy of an archived run: %w", err)
	}
	return nil
}

func (c *Cache) name(p Part) string { return filepath.Join(c.dir, p.SHA256) }

func (c *Cache) open(p Part) (*os.File, error) {
	if _, err := p.written(); err != nil {
		// Its hash is about to be the name of a file.
		return nil, err
	}
	f, err := os.Open(c.name(p))
	if err != nil {
		return nil, err
	}
	// What was used last is dropped last.
	now := time.Now()
	if err := os.Chtimes(c.name(p), now, now); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// fetch gets a part, or waits for whoever does so already.
func (c *Cache) fetch(ctx context.Context, b *Bucket, p Part) error {
	c.mu.Lock()
	if at := c.fetching[p.SHA256]; at != nil {
		c.mu.Unlock()
		select {
		case <-at.done:
			if errors.Is(at.err, context.Canceled) || errors.Is(at.err, context.DeadlineExceeded) {
				return nil // it was the other who gave up; File asks again
			}
			return at.err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	at := &fetch{done: make(chan struct{})}
	c.fetching[p.SHA256] = at
	c.mu.Unlock()

	at.err = c.download(ctx, b, p)
	c.mu.Lock()
	delete(c.fetching, p.SHA256)
	if at.err == nil {
		at.err = c.evict(p)
	}
	c.mu.Unlock()
	close(at.done)
	return at.err
}

// download makes the copy. It has its name once it is whole.
func (c *Cache) download(ctx context.Context, b *Bucket, p Part) (err error) {
	f, err := os.CreateTemp(c.dir, unfinished)
	if err != nil {
		return fmt.Errorf("keep a copy of an archived run: %w", err)
	}
	err = b.Read(ctx, p, f)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), c.name(p))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// evict removes what was not used for the longest time until the rest fits, but for the
// newest. Whoever has one of them open reads on.
func (c *Cache) evict(newest Part) error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return fmt.Errorf("look into the cache of archived runs: %w", err)
	}
	var files []fs.FileInfo
	var sum int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || strings.HasPrefix(e.Name(), unfinished) {
			continue // it is gone, or not there yet
		}
		files = append(files, info)
		sum += info.Size()
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, f := range files {
		if sum <= c.limit {
			break
		}
		if f.Name() == newest.SHA256 {
			continue
		}
		if err := os.Remove(filepath.Join(c.dir, f.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("make room in the cache of archived runs: %w", err)
		}
		sum -= f.Size()
	}
	return nil
}

// Bytes is how much the copies have together.
func (c *Cache) Bytes() (int64, error) {
	var sum int64
	err := filepath.WalkDir(c.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return nil // it went meanwhile
		}
		sum += info.Size()
		return nil
	})
	return sum, err
}
