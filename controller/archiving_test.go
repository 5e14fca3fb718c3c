package controller

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/archive"
	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// lab is a controller that leads and serves nobody.
func lab(t *testing.T, cfg Config) *Controller {
	t.Helper()
	cfg.Version, cfg.Dev = "test", true
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.store.WaitLeader(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func fileURL(dir string) string { return "file://" + filepath.ToSlash(dir) }

// recorded takes a recorded run of the library into a controller.
func recorded(t *testing.T, c *Controller, name string) store.Run {
	t.Helper()
	return take(t, c.store, openBundle(t, filepath.Join("export", "testdata", "library", name+".syncline")))
}

func chunkFiles(t *testing.T, c *Controller) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(c.cfg.Dir, "runs", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestArchivedRunsAnswerAlike archives runs of the library, with variants, with much and
// with little in them, and frees the disk of them. Every question has the very answer that
// it had before, from the bucket, from the cache, and after a restart without the cache; and
// the bundle that is exported is the one that is in the bucket.
func TestArchivedRunsAnswerAlike(t *testing.T) {
	bucket, dir := t.TempDir(), t.TempDir()
	names := []string{"handshake-and-teardown", "backlog-values", "udp-refused"}
	want, runs := map[string]map[string][]byte{}, map[string]store.Run{}
	ask := func(c *Controller, when string) {
		t.Helper()
		for id, before := range want {
			for what, raw := range asked(t, c, id) {
				if !bytes.Equal(raw, before[what]) {
					t.Errorf("%s, %s of run %s: %d bytes, and %d other bytes before", when, what, id, len(raw), len(before[what]))
				}
			}
		}
	}
	c := lab(t, Config{Dir: dir, Archive: fileURL(bucket)})
	for _, name := range names {
		run := recorded(t, c, name)
		want[run.ID], runs[run.ID] = asked(t, c, run.ID), run
	}
	for id := range want {
		answer, err := (&runService{runReader{records: c.records}, c}).ArchiveRun(t.Context(), &synclinev1.ArchiveRunRequest{Id: id})
		if err != nil {
			t.Fatal(err)
		}
		if answer.Run.Archive.GetUrl() != fileURL(bucket) || answer.Run.Events != runs[id].Events {
			t.Errorf("run %s is %v", id, answer.Run)
		}
	}
	if freed, err := c.store.Sweep(); err != nil || freed == 0 || len(chunkFiles(t, c)) != 0 {
		t.Fatalf("%d bytes are freed, left are %q: %v", freed, chunkFiles(t, c), err)
	}
	ask(c, "from the archive")
	ask(c, "once more")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "cache")); err != nil {
		t.Fatal(err)
	}
	c = lab(t, Config{Dir: dir})
	ask(c, "after a restart, without a cache and without --archive")

	for id := range want {
		m := manifestOf(t, c, id)
		part, _ := m.Part(bundlePart)
		inBucket, err := os.ReadFile(filepath.Join(bucket, filepath.FromSlash(part.Key)))
		if err != nil || !bytes.Equal(inBucket, want[id]["bundle"]) {
			t.Errorf("the bundle of run %s in the bucket has %d bytes, the exported one %d: %v", id, len(inBucket), len(want[id]["bundle"]), err)
		}
		var tables []string
		for _, p := range m.Parts {
			tables = append(tables, p.Name)
		}
		if got := strings.Join(tables, " "); got != "bundle events counters verdicts hosts runs" {
			t.Errorf("run %s has the parts %s", id, got)
		}
	}
}

// asked are the answers about a run, its verdicts and its bundle among them.
func asked(t *testing.T, c *Controller, id string) map[string][]byte {
	t.Helper()
	all := answers(t, c.records, id)
	run, _ := c.records.Run(id)
	var bundle bytes.Buffer
	if err := writeBundle(&bundle, c.records, run, "test"); err != nil {
		t.Fatal(err)
	}
	all["bundle"] = bundle.Bytes()
	return all
}

func manifestOf(t *testing.T, c *Controller, id string) *archive.Manifest {
	t.Helper()
	run, _ := c.store.Run(id)
	b, err := archive.Open(t.Context(), run.Archive.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	m, err := b.Manifest(t.Context(), archive.Ref{Key: run.Archive.Manifest, SHA256: [32]byte(run.Archive.SHA256)})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestArchivedTwiceIsTheSame archives one run from two controllers into two buckets, as after
// a crash between the bucket and the log. All objects have the same names and the same bytes.
func TestArchivedTwiceIsTheSame(t *testing.T) {
	var files [2]map[string]string
	for i := range files {
		bucket := t.TempDir()
		c := lab(t, Config{Archive: fileURL(bucket)})
		run := recorded(t, c, "handshake-and-teardown")
		// It was made at another time.
		made := openBundle(t, filepath.Join("export", "testdata", "library", "handshake-and-teardown.syncline")).run
		run.CreatedNs, run.EndedNs, run.Epoch = made.CreatedNs, made.EndedNs, made.Epoch
		b, err := archive.Open(t.Context(), fileURL(bucket))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Put(t.Context(), archive.Run{ID: run.ID, Seal: run.Seal, WrittenBy: "syncline test", Contents: c.contents(t.Context(), run)}); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		files[i] = objects(t, bucket)
	}
	if len(files[0]) != 7 || !maps.Equal(files[0], files[1]) {
		t.Errorf("the objects are %q and %q", slices.Sorted(maps.Keys(files[0])), slices.Sorted(maps.Keys(files[1])))
	}
}

func objects(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		all[strings.TrimPrefix(name, dir)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestDamagedArchiveIsNeverShown damages a bundle in the bucket and in the cache. From the
// cache alone it is mended; where both are gone the error says what is wrong with what, and
// nobody is shown anything.
func TestDamagedArchiveIsNeverShown(t *testing.T) {
	bucket := t.TempDir()
	c := lab(t, Config{Archive: fileURL(bucket)})
	run := recorded(t, c, "handshake-and-teardown")
	if _, err := c.archiveRun(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	count := func() (n int, err error) {
		err = c.records.Chunks(run.ID, func(store.Chunk) error { n++; return nil })
		return n, err
	}
	spoil := func(name string) {
		t.Helper()
		data, err := os.ReadFile(name)
		if err == nil {
			data[len(data)/2] ^= 1
			err = os.WriteFile(name, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	part, _ := manifestOf(t, c, run.ID).Part(bundlePart)
	cached := filepath.Join(c.cfg.Dir, "cache", part.SHA256)
	spoil(cached)
	if n, err := count(); err != nil || n != int(run.Chunks) {
		t.Fatalf("with a damaged copy: %d chunks: %v", n, err)
	}
	// What is open was found to be whole; only who opens it again looks again.
	if err := c.shelf.close(); err != nil {
		t.Fatal(err)
	}
	spoil(cached)
	spoil(filepath.Join(bucket, filepath.FromSlash(part.Key)))
	if n, err := count(); n != 0 || !errors.Is(err, archive.ErrDamaged) || !strings.Contains(err.Error(), part.Key) {
		t.Errorf("with a damaged bucket: %d chunks: %v", n, err)
	}
	if _, err := (&timelineReader{records: c.records}).GetTimeline(t.Context(), &synclinev1.GetTimelineRequest{RunId: run.ID, Repetition: 1}); err == nil {
		t.Error("a timeline was made of a damaged run")
	}
}

// TestMovedArchive finds a run where the archive is now.
func TestMovedArchive(t *testing.T) {
	old, moved, dir := filepath.Join(t.TempDir(), "old"), filepath.Join(t.TempDir(), "new"), t.TempDir()
	if err := os.Mkdir(old, 0o700); err != nil {
		t.Fatal(err)
	}
	c := lab(t, Config{Dir: dir, Archive: fileURL(old)})
	run := recorded(t, c, "handshake-and-teardown")
	if _, err := c.archiveRun(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Close(), os.Rename(old, moved), os.RemoveAll(filepath.Join(dir, "cache"))); err != nil {
		t.Fatal(err)
	}
	c = lab(t, Config{Dir: dir})
	if err := c.records.Chunks(run.ID, func(store.Chunk) error { return nil }); err == nil || !strings.Contains(err.Error(), old) {
		t.Errorf("without the archive: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = lab(t, Config{Dir: dir, Archive: fileURL(moved)})
	if err := c.records.Chunks(run.ID, func(store.Chunk) error { return nil }); err != nil {
		t.Error(err)
	}
}

// TestLeavingRefused says why a run cannot leave, and what to do.
func TestLeavingRefused(t *testing.T) {
	c := lab(t, Config{})
	s := &runService{runReader{records: c.records}, c}
	ctx := t.Context()
	going, err := c.store.CreateRun(ctx, "q", store.Run{ID: "r-1"})
	if err != nil {
		t.Fatal(err)
	}
	run := recorded(t, c, "udp-refused")
	refused := func(what string, err error, code codes.Code, part string) {
		t.Helper()
		if status.Code(err) != code || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v, want %v with %q", what, err, code, part)
		}
	}
	_, err = s.ArchiveRun(ctx, &synclinev1.ArchiveRunRequest{Id: run.ID})
	refused("archive without an archive", err, codes.FailedPrecondition, "--archive URL")
	_, err = s.ArchiveRun(ctx, &synclinev1.ArchiveRunRequest{Id: going.ID})
	refused("archive what goes on", err, codes.FailedPrecondition, "not sealed")
	_, err = s.DeleteRun(ctx, &synclinev1.DeleteRunRequest{Id: going.ID})
	refused("delete what goes on", err, codes.FailedPrecondition, "syncline cancel r-1")
	_, err = s.DeleteRun(ctx, &synclinev1.DeleteRunRequest{Id: "r-9"})
	refused("delete nothing", err, codes.NotFound, "r-9")
	answer, err := s.DeleteRun(ctx, &synclinev1.DeleteRunRequest{Id: run.ID, Reason: "wrong port"})
	if err != nil || answer.Run.Removal.GetReason() != "wrong port" || answer.Run.Events != run.Events {
		t.Errorf("a run is deleted: %v: %v", answer, err)
	}
	_, err = (&timelineReader{records: c.records}).GetTimeline(ctx, &synclinev1.GetTimelineRequest{RunId: run.ID, Repetition: 1})
	refused("look at a deleted run", err, codes.FailedPrecondition, "wrong port")
	err = s.ExportRun(&synclinev1.ExportRunRequest{RunId: run.ID}, collector[synclinev1.ExportRunResponse]{ctx: ctx, take: func(*synclinev1.ExportRunResponse) {}})
	refused("export a deleted run", err, codes.FailedPrecondition, "wrong port")
	if _, err := Open(Config{Dir: t.TempDir(), Dev: true, Log: slog.New(slog.DiscardHandler), Archive: "/srv"}); !errors.Is(err, archive.ErrURL) {
		t.Errorf("an archive that is none: %v", err)
	}
}

// TestQuotaArchivesTheOldest keeps two runs of three: what ended first goes, with an archive
// into it and without one for good.
func TestQuotaArchivesTheOldest(t *testing.T) {
	for _, url := range []string{"", fileURL(t.TempDir())} {
		c := lab(t, Config{Archive: url})
		var runs []store.Run
		for _, name := range []string{"udp-refused", "handshake-and-teardown", "half-close"} {
			runs = append(runs, recorded(t, c, name))
		}
		r := c.keeping
		r.quota = runs[1].Bytes + runs[2].Bytes
		if _, err := r.look(context.Background()); err != nil {
			t.Fatal(err)
		}
		first, _ := c.store.Run(runs[0].ID)
		if first.Archive.URL != url || (first.Removed.Reason == quotaReason) != (url == "") {
			t.Errorf("the run that ended first is %+v and %+v", first.Archive, first.Removed)
		}
		for _, run := range runs[1:] {
			if now, _ := c.store.Run(run.ID); !now.Here() {
				t.Errorf("run %s left too", run.ID)
			}
		}
		if left := chunkFiles(t, c); slices.ContainsFunc(left, func(n string) bool { return strings.Contains(n, runs[0].ID) }) || len(left) == 0 {
			t.Errorf("files are %q", left)
		}
	}
}

// TestQuotaThatCannotBeKept takes no new run, says why, and takes them again once it can.
func TestQuotaThatCannotBeKept(t *testing.T) {
	bucket := filepath.Join(t.TempDir(), "later")
	c := lab(t, Config{Archive: fileURL(bucket)})
	run := recorded(t, c, "udp-refused")
	r := c.keeping
	r.quota = run.Bytes - 1
	if _, err := r.look(context.Background()); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("without the bucket's directory: %v", err)
	}
	if err := r.admit(); err == nil || !strings.Contains(err.Error(), bucket) {
		t.Errorf("a new run: %v", err)
	}
	if now, _ := c.store.Run(run.ID); !now.Here() {
		t.Error("the run left for nowhere")
	}
	if err := os.Mkdir(bucket, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := r.look(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := r.admit(); err != nil {
		t.Errorf("a new run: %v", err)
	}
}

var _ io.Closer = (*Controller)(nil)
