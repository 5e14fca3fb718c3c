package controller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"syncline/controller/archive"
	"syncline/controller/export"
	"syncline/controller/store"
)

// shelvesKept is how many archived runs stay open, for someone who pages through a run.
const shelvesKept = 4

// fetchLimit is how long it may take to get an archived run from its bucket.
const fetchLimit = 10 * time.Minute

// bundlePart is the part of an archived run that it is read from.
const bundlePart = "bundle"

// errAway: the events of a run are in an archive that cannot be read now.
var errAway = errors.New("the archive cannot be read")

// shelf is a keeper: the runs of a store, whose chunks are read from where they are, on the
// disk or in an archive. It is safe for concurrent use.
type shelf struct {
	store   *store.Store
	cache   *archive.Cache
	version string
	// other is a bucket to look into when the one that a run was put into cannot be read: what
	// was an archive may have moved. "" if there is none.
	other string
	// life ends when the controller's does.
	life context.Context

	mu      sync.Mutex
	buckets map[string]*archive.Bucket
	// open are archived runs that were read, the one used last first.
	open []*shelved
}

// shelved is an archived run that is open. users is guarded by the shelf's mu; the file is
// closed when there are none and the shelf has let go of it.
type shelved struct {
	*Archive
	file    *os.File
	users   int
	dropped bool
}

func newShelf(life context.Context, st *store.Store, cache *archive.Cache, other, version string) *shelf {
	return &shelf{store: st, cache: cache, version: version, other: other, life: life, buckets: map[string]*archive.Bucket{}}
}

// Run implements keeper.
func (s *shelf) Run(id string) (store.Run, bool) { return s.store.Run(id) }

// Runs implements keeper.
func (s *shelf) Runs() []store.Run { return s.store.Runs() }

var _ keeper = (*shelf)(nil)

// Chunks implements keeper. Of an archived run it is store.Chunks over what is in the
// bucket, held against the run's seal before any of it is given away.
func (s *shelf) Chunks(id string, yield func(store.Chunk) error) error {
	err := s.store.Chunks(id, yield)
	if !errors.Is(err, store.ErrArchived) {
		return err
	}
	run, ok := s.store.Run(id)
	if !ok {
		return fmt.Errorf("read chunks: %w: %s", store.ErrUnknownRun, id)
	}
	at, err := s.take(run)
	if err != nil {
		return fmt.Errorf("run %s is archived, and %w: %w", id, errAway, err)
	}
	defer s.release(at)
	return at.Chunks(id, yield)
}

// take opens an archived run, or finds it open. Whoever takes it releases it.
func (s *shelf) take(run store.Run) (*shelved, error) {
	if at := s.opened(run.ID); at != nil {
		return at, nil
	}
	ctx, cancel := context.WithTimeout(s.life, fetchLimit)
	defer cancel()
	at, err := s.fetch(ctx, run)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at.users = 1
	s.open = append([]*shelved{at}, s.open...)
	for len(s.open) > shelvesKept {
		last := s.open[len(s.open)-1]
		s.open = s.open[:len(s.open)-1]
		last.dropped = true
		s.closeUnused(last)
	}
	return at, nil
}

// opened finds a run that is open, and makes it the one used last.
func (s *shelf) opened(id string) *shelved {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.open, func(a *shelved) bool { return a.RunID() == id })
	if i < 0 {
		return nil
	}
	at := s.open[i]
	s.open = slices.Insert(slices.Delete(s.open, i, i+1), 0, at)
	at.users++
	return at
}

func (s *shelf) release(at *shelved) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at.users--
	s.closeUnused(at)
}

// closeUnused closes the file of a run that nobody reads any more. Nothing was written to
// it, so that no error is lost.
func (s *shelf) closeUnused(at *shelved) {
	if at.dropped && at.users == 0 {
		_ = at.file.Close()
	}
}

// fetch opens an archived run from its bucket, or from the one that the controller was
// started with.
func (s *shelf) fetch(ctx context.Context, run store.Run) (*shelved, error) {
	at, err := s.fetchFrom(ctx, run.Archive.URL, run)
	if err == nil || s.other == "" || s.other == run.Archive.URL || ctx.Err() != nil {
		return at, err
	}
	at, again := s.fetchFrom(ctx, s.other, run)
	if again != nil {
		return nil, errors.Join(err, again)
	}
	return at, nil
}

func (s *shelf) fetchFrom(ctx context.Context, url string, run store.Run) (*shelved, error) {
	if len(run.Archive.SHA256) != len(archive.Ref{}.SHA256) {
		return nil, fmt.Errorf("%w: the log names no hash of its manifest", store.ErrDamaged)
	}
	b, err := s.bucket(ctx, url)
	if err != nil {
		return nil, err
	}
	m, err := b.Manifest(ctx, archive.Ref{Key: run.Archive.Manifest, SHA256: [32]byte(run.Archive.SHA256)})
	if err != nil {
		return nil, err
	}
	part, ok := m.Part(bundlePart)
	if !ok || m.Run != run.ID {
		return nil, fmt.Errorf("%w: the manifest %s is of run %q and lists no bundle of run %s", archive.ErrDamaged, run.Archive.Manifest, m.Run, run.ID)
	}
	at, err := s.openPart(ctx, b, part, run)
	if errors.Is(err, export.ErrDamaged) {
		// The copy is not what it was when it was made. The bucket has another.
		if dropped := s.cache.Drop(part); dropped != nil {
			return nil, errors.Join(err, dropped)
		}
		at, err = s.openPart(ctx, b, part, run)
	}
	return at, err
}

func (s *shelf) openPart(ctx context.Context, b *archive.Bucket, part archive.Part, run store.Run) (*shelved, error) {
	f, err := s.cache.File(ctx, b, part)
	if err != nil {
		return nil, err
	}
	a, err := OpenArchive(f, part.Bytes, s.version)
	if err == nil && (a.RunID() != run.ID || !bytes.Equal(a.run.Seal, run.Seal)) {
		err = fmt.Errorf("%w: the bundle is of run %s with the seal %x, and run %s has %x", archive.ErrDamaged, a.RunID(), a.run.Seal, run.ID, run.Seal)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the bundle %s of the archive %s: %w", part.Key, b.URL(), err), f.Close())
	}
	return &shelved{Archive: a, file: f}, nil
}

// bucket opens a bucket once.
func (s *shelf) bucket(ctx context.Context, url string) (*archive.Bucket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.buckets[url]; b != nil {
		return b, nil
	}
	b, err := archive.Open(ctx, url)
	if err != nil {
		return nil, err
	}
	s.buckets[url] = b
	return b, nil
}

// close closes what is open. Nobody reads any more.
func (s *shelf) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, at := range s.open {
		at.dropped = true
		s.closeUnused(at)
	}
	s.open = nil
	for url, b := range s.buckets {
		if err := b.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close the archive %s: %w", url, err))
		}
	}
	clear(s.buckets)
	return errors.Join(errs...)
}
