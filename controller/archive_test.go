package controller

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"syncline/controller/experiment"
	"syncline/controller/export"
	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// bundles are the recorded runs of a directory of package export's.
func bundles(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join("export", "testdata", dir, "*"+export.BundleSuffix))
	if err != nil || len(all) == 0 {
		t.Fatalf("no bundles in %s: %v", dir, err)
	}
	return all
}

func openBundle(t *testing.T, name string) *Archive {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	a, err := OpenArchive(bytes.NewReader(data), int64(len(data)), "test")
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return a
}

// TestLibraryBundles takes every recorded run of the library into the store of a
// controller, chunk by chunk. The seal comes out the same, and what the controller then
// answers about the run is what is answered over the bundle, byte for byte.
func TestLibraryBundles(t *testing.T) {
	st, err := store.Open(store.Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := st.WaitLeader(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range bundles(t, "library") {
		t.Run(strings.TrimSuffix(filepath.Base(name), export.BundleSuffix), func(t *testing.T) {
			// Whoever commits at the same time shares an fsync.
			t.Parallel()
			a := openBundle(t, name)
			imported := take(t, st, a)
			if !bytes.Equal(imported.Seal, a.run.Seal) {
				t.Fatalf("the store's seal is %x, the bundle's %x", imported.Seal, a.run.Seal)
			}
			// It was made and sealed again, at another time.
			imported.CreatedNs, imported.EndedNs, imported.Epoch = a.run.CreatedNs, a.run.EndedNs, a.run.Epoch
			sameRun(t, a.run, imported)
			want, got := answers(t, newRecords(st, "test"), a.RunID()), answers(t, a.records, a.RunID())
			if len(want) < 2+min(1, a.run.RepetitionsDone) || len(want) != len(got) {
				t.Fatalf("%d answers from the store, %d from the bundle", len(want), len(got))
			}
			for what, raw := range want {
				if !bytes.Equal(raw, got[what]) {
					t.Errorf("%s: %d bytes from the store, %d other bytes from the bundle", what, len(raw), len(got[what]))
				}
			}
		})
	}
}

// take makes a store keep the run of an archive.
func take(t *testing.T, st *store.Store, a *Archive) store.Run {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	run, err := st.CreateRun(ctx, "import of "+a.RunID(), a.run)
	must(err)
	for _, e := range a.run.Environments {
		must(st.PutEnvironment(ctx, run.ID, run.Epoch, e))
	}
	must(a.Chunks(run.ID, func(c store.Chunk) error {
		_, err := st.AppendChunk(ctx, c)
		return err
	}))
	for _, state := range []store.RunState{store.Prepared, store.Running, store.Collecting} {
		run, err = st.ChangeRun(ctx, run.ID, store.RunChange{Epoch: run.Epoch, State: state, RepetitionsDone: a.run.RepetitionsDone})
		must(err)
	}
	run, err = st.Seal(ctx, run.ID, store.Sealing{Epoch: run.Epoch, State: a.run.State, Reason: a.run.Reason})
	must(err)
	return run
}

// answers are the events of a run, its clocks and its timelines, as bytes. Verdicts and
// summaries are made of the timelines.
func answers(t *testing.T, r *records, id string) map[string][]byte {
	t.Helper()
	ctx, all := t.Context(), map[string][]byte{}
	put := func(what string, m proto.Message, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		all[what] = append(all[what], raw...)
	}
	runs, timelines := &runReader{records: r}, &timelineReader{records: r}
	run, ok := r.Run(id)
	if !ok {
		t.Fatalf("no run %s", id)
	}
	put("events", nil, runs.ListEvents(&synclinev1.ListEventsRequest{RunId: id}, collector[synclinev1.ListEventsResponse]{ctx: ctx, take: func(m *synclinev1.ListEventsResponse) { put("events", m, nil) }}))
	clock, err := timelines.GetClock(ctx, &synclinev1.GetClockRequest{RunId: id})
	put("clock", clock, err)
	for n := range run.RepetitionsDone {
		answer, err := timelines.GetTimeline(ctx, &synclinev1.GetTimelineRequest{RunId: id, Repetition: uint32(n + 1)})
		put(fmt.Sprintf("timeline %d", n+1), answer, err)
		if _, err := TimelineFromProto(answer.GetTimeline()); err != nil {
			t.Errorf("timeline %d: %v", n+1, err)
		}
	}
	return all
}

// collector takes what is sent on a stream.
type collector[M any] struct {
	grpc.ServerStream
	ctx  context.Context
	take func(*M)
}

func (c collector[M]) Context() context.Context { return c.ctx }

func (c collector[M]) Send(m *M) error {
	c.take(m)
	return nil
}

// exported is the bundle of a run.
func exported(t interface{ Fatal(...any) }, r *records, id string) []byte {
	var b bytes.Buffer
	err := (&runReader{records: r}).ExportRun(&synclinev1.ExportRunRequest{RunId: id}, collector[synclinev1.ExportRunResponse]{
		take: func(m *synclinev1.ExportRunResponse) { b.Write(m.Data) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A run that is taken out of a bundle and written again gives the same bytes, by the same
// version.
func TestBundlesAreDeterministic(t *testing.T) {
	for i, name := range bundles(t, "library") {
		if i%4 != 0 {
			continue
		}
		a := openBundle(t, name)
		again := exported(t, a.records, a.RunID())
		b, err := OpenArchive(bytes.NewReader(again), int64(len(again)), "test")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if third := exported(t, b.records, b.RunID()); !bytes.Equal(again, third) {
			t.Errorf("%s: the same run gives other bytes", name)
		}
		sameRun(t, a.run, b.run)
	}
}

// sameRun compares all that is kept of two runs.
func sameRun(t *testing.T, want, got store.Run) {
	t.Helper()
	a, err := recordJSON(want)
	if err != nil {
		t.Fatal(err)
	}
	b, err := recordJSON(got)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) || !bytes.Equal(want.Source, got.Source) {
		t.Errorf("another run (-want +got):\n%s", cmp.Diff(want, got, cmpopts.IgnoreUnexported(store.Run{}), cmpopts.EquateEmpty()))
	}
}

// drawRun draws a sealed run with all that a store keeps of one.
func drawRun(t *rapid.T) store.Run {
	text, count := rapid.StringN(0, 12, -1), rapid.IntRange(0, maxRepetitions)
	texts := func(name string) []string { return rapid.SliceOfN(text, 0, 3).Draw(t, name) }
	pairs := func(name string) map[string]string { return rapid.MapOfN(text, text, 0, 3).Draw(t, name) }
	r := store.Run{
		ID: rapid.StringMatching(`r-[0-9a-f]{8}`).Draw(t, "id"), Experiment: text.Draw(t, "experiment"), FileName: text.Draw(t, "file"),
		Source: []byte(text.Draw(t, "source")), State: rapid.SampledFrom([]store.RunState{store.Sealed, store.Failed, store.Cancelled}).Draw(t, "state"),
		Reason: text.Draw(t, "reason"), Epoch: rapid.Uint64().Draw(t, "epoch"), Repetitions: count.Draw(t, "repetitions"),
		Bindings: pairs("bindings"), Set: pairs("set"), Cases: texts("cases"), Runs: count.Draw(t, "runs"),
		CreatedNs: rapid.Int64().Draw(t, "created"), EndedNs: rapid.Int64().Draw(t, "ended"), Incomplete: texts("incomplete"),
		Probing:  store.Probing{Off: rapid.Bool().Draw(t, "off"), Rate: rapid.IntRange(0, 100).Draw(t, "rate"), AllPairs: rapid.Bool().Draw(t, "pairs")},
		Warnings: texts("warnings"), Seal: rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "seal"),
		Events: rapid.Uint64().Draw(t, "events"), Chunks: rapid.Uint64().Draw(t, "chunks"), Bytes: rapid.Uint64().Draw(t, "bytes"),
	}
	r.RepetitionsDone = rapid.IntRange(0, r.Repetitions).Draw(t, "done")
	for range rapid.IntRange(0, 3).Draw(t, "variants") {
		r.Variants = append(r.Variants, store.RunVariant{Name: text.Draw(t, "variant"), First: count.Draw(t, "first"), Last: count.Draw(t, "last")})
	}
	sources := experiment.Sources()
	for i := range rapid.IntRange(0, 3).Draw(t, "hosts") {
		h := store.RunHost{
			Name: fmt.Sprintf("h%d", i), Agent: fmt.Sprintf("vm%d", i), Address: text.Draw(t, "address"), Kernel: text.Draw(t, "kernel"),
			ClockID: text.Draw(t, "clock"), Address6: text.Draw(t, "address6"), TestClock: text.Draw(t, "test clock"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "capabilities") {
			h.Capabilities = append(h.Capabilities, store.Capability{
				Source: rapid.SampledFrom(sources).Draw(t, "source"), Available: rapid.Bool().Draw(t, "available"), Reason: text.Draw(t, "why"), Remedy: text.Draw(t, "remedy"),
			})
		}
		r.Hosts = append(r.Hosts, h)
		if rapid.Bool().Draw(t, "told") {
			e, err := environmentToStore(h.Name, &synclinev1.Environment{Sections: []*synclinev1.Environment_Section{{
				Name: text.Draw(t, "section"), Settings: []*synclinev1.Environment_Setting{{Name: text.Draw(t, "name"), Value: text.Draw(t, "value"), Failure: text.Draw(t, "failure")}},
			}}})
			if err != nil {
				t.Fatal(err)
			}
			r.Environments = append(r.Environments, e)
		}
	}
	if rapid.Bool().Draw(t, "measured") {
		r.Overhead = overheadToStore(&synclinev1.Overhead{
			Variant: text.Draw(t, "variant"), Rounds: rapid.Uint32().Draw(t, "rounds"),
			Settings: []*synclinev1.OverheadSetting{{Name: "all", Resting: rapid.Float64().Draw(t, "resting"), Events: rapid.Uint64().Draw(t, "events")}},
		})
	}
	return r
}

// A run that became a record and its JSON, and was read again, is the same.
func TestRecordsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		run := drawRun(t)
		text, err := recordJSON(run)
		if err != nil {
			t.Fatal(err)
		}
		b := &export.Bundle{Manifest: export.Manifest{Run: run.ID}, Record: text, Source: run.Source}
		got, err := recordOf(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(run, got, cmpopts.IgnoreUnexported(store.Run{}), cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
	})
}

// Every field of a stored run is one that the test above draws: whoever adds one to the
// store is told to add it to the record.
func TestRecordsHaveEveryField(t *testing.T) {
	drawn, run := map[string]bool{}, rapid.Custom(drawRun)
	for seed := range 200 {
		fieldsOf(reflect.ValueOf(run.Example(seed)), "Run", drawn)
	}
	for field, is := range drawn {
		// Where the chunks of a run are is no part of it.
		if !is && !strings.HasPrefix(field, "Run.Archive") && !strings.HasPrefix(field, "Run.Removed") {
			t.Errorf("%s is never drawn: is it in a bundle?", field)
		}
	}
	if len(drawn) < 40 {
		t.Errorf("only %d fields were looked at", len(drawn))
	}
}

// fieldsOf notes of every exported field of a structure, and of those within it, if it was
// ever set.
func fieldsOf(v reflect.Value, name string, set map[string]bool) {
	switch {
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		for i := range v.Len() {
			fieldsOf(v.Index(i), name, set)
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				of := name + "." + f.Name
				set[of] = set[of] || !v.Field(i).IsZero()
				fieldsOf(v.Field(i), of, set)
			}
		}
	}
}

// hostile writes a bundle of a record that a stranger wrote.
func hostile(t *testing.T, record, run string, chunks ...export.Chunk) []byte {
	t.Helper()
	var b bytes.Buffer
	err := export.WriteBundle(&b, export.Contents{
		Run: run, Record: []byte(record), Source: []byte("name: x\n"),
		Chunks: func(yield func(export.Chunk) error) error {
			for _, c := range chunks {
				if err := yield(c); err != nil {
					return err
				}
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHostileRecords(t *testing.T) {
	const sealed = `"state": "RUN_STATE_SEALED", "seal": "AAAA"`
	for _, test := range []struct{ name, record, says string }{
		{"nothing", ``, "record"},
		{"no JSON", `{`, "record"},
		{"no run", `{}`, "names no run"},
		{"a path outside", `{"run": {"id": "../r-1", ` + sealed + `}}`, "run id \"../r-1\""},
		{"an absolute path", `{"run": {"id": "/tmp/r-1", ` + sealed + `}}`, "run id \"/tmp/r-1\""},
		{"a terminal's sequence", `{"run": {"id": "r\u001b[2J", ` + sealed + `}}`, `run id "r\x1b[2J"`},
		{"a long id", `{"run": {"id": "` + strings.Repeat("r", 65) + `", ` + sealed + `}}`, "1 to 64"},
		{"a host with a sequence", `{"run": {"id": "r-1", ` + sealed + `, "hosts": [{"name": "A\u001b[2J", "agent": "a"}]}}`, `host "A\x1b[2J"`},
		{"an agent that is a path", `{"run": {"id": "r-1", ` + sealed + `, "hosts": [{"name": "A", "agent": "../a"}]}}`, `agent "../a"`},
		{"a host without a name", `{"run": {"id": "r-1", ` + sealed + `, "hosts": [{"agent": "a"}]}}`, `host ""`},
		{"another run", `{"run": {"id": "r-2", ` + sealed + `}}`, "r-2, and the manifest says \"r-1\""},
		{"not over", `{"run": {"id": "r-1", "state": "RUN_STATE_RUNNING", "seal": "AAAA"}}`, "running and not sealed"},
		{"no such state", `{"run": {"id": "r-1", "state": 77, "seal": "AAAA"}}`, "not sealed"},
		{"not sealed", `{"run": {"id": "r-1", "state": "RUN_STATE_FAILED"}}`, "not sealed"},
		{"many repetitions", `{"run": {"id": "r-1", ` + sealed + `, "repetitions": 4000000000, "repetitions_done": 4000000000}}`, "at most 100000"},
		{"more than all", `{"run": {"id": "r-1", ` + sealed + `, "repetitions": 1, "repetitions_done": 2}}`, "2 of 1 repetitions"},
		{"many asked for", `{"run": {"id": "r-1", ` + sealed + `}, "repetitions_asked": 4000000000}`, "at most"},
		{"many hosts", `{"run": {"id": "r-1", ` + sealed + `, "hosts": [` + strings.Repeat("{},", 300) + `{}]}}`, "hosts"},
		{"many variants", `{"run": {"id": "r-1", ` + sealed + `, "variants": [` + strings.Repeat("{},", 2000) + `{}]}}`, "variants"},
		{"an agent twice", `{"run": {"id": "r-1", ` + sealed + `, "hosts": [{"name": "A", "agent": "a"}, {"name": "B", "agent": "a"}]}}`, "two roles"},
		{"another seal", `{"run": {"id": "r-1", ` + sealed + `}}`, "not those that were sealed"},
		{"unpaired JSON", `{"run": {"id": "r-1", "seal": {}}}`, "record"},
	} {
		data := hostile(t, test.record, "r-1")
		_, err := OpenArchive(bytes.NewReader(data), int64(len(data)), "test")
		if !errors.Is(err, export.ErrDamaged) || !strings.Contains(fmt.Sprint(err), test.says) {
			t.Errorf("%s: %v; want damage with %q", test.name, err, test.says)
		}
	}
}

// A sealed bundle whose experiment, hosts or chunks make no sense opens, since the seal is
// right; whoever asks for a timeline is told, and nothing breaks.
func TestSealedNonsense(t *testing.T) {
	c := export.Chunk{Agent: "a", Incarnation: 1, Sequence: 1, FirstEvent: 1, Events: 1, Data: []byte("no chunk")}
	digest := store.NewDigest()
	digest.Add(&store.Chunk{Agent: c.Agent, Incarnation: c.Incarnation, Sequence: c.Sequence, FirstEvent: c.FirstEvent, Events: c.Events, Data: c.Data})
	record := fmt.Sprintf(`{"run": {"id": "r-1", "state": "RUN_STATE_SEALED", "seal": %q, "events": 1, "chunks": 1, "bytes": 8, "repetitions": 1, "repetitions_done": 1}}`, base64.StdEncoding.EncodeToString(digest.Sum()))
	data := hostile(t, record, "r-1", c)
	a, err := OpenArchive(bytes.NewReader(data), int64(len(data)), "test")
	if err != nil {
		t.Fatal(err)
	}
	_, err = (&timelineReader{records: a.records}).GetTimeline(t.Context(), &synclinev1.GetTimelineRequest{RunId: "r-1", Repetition: 1})
	if status.Code(err) != codes.Internal {
		t.Errorf("a timeline of nonsense: %v", err)
	}
	err = (&runReader{records: a.records}).ListEvents(&synclinev1.ListEventsRequest{RunId: "r-1"}, collector[synclinev1.ListEventsResponse]{ctx: t.Context()})
	if err == nil {
		t.Error("events of nonsense were given")
	}
}

// What takes a controller is refused over a bundle, and never answered as if nothing were
// there.
func TestArchiveAnswersWhatItHas(t *testing.T) {
	a := openBundle(t, bundles(t, "library")[0])
	all := a.Runs()
	if len(all) != 1 || all[0].ID != a.RunID() {
		t.Errorf("its runs are %v", all)
	}
	if _, ok := a.Run("r-other"); ok {
		t.Error("it has a run that it does not have")
	}
	if err := a.Chunks("r-other", nil); !errors.Is(err, store.ErrUnknownRun) {
		t.Errorf("chunks of another run: %v", err)
	}
	_, err := (&archivedRuns{runReader{records: a.records}}).CancelRun(t.Context(), &synclinev1.CancelRunRequest{Id: a.RunID()})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("cancelling it: %v", err)
	}
	var watched []*synclinev1.Run
	err = (&archivedRuns{runReader{records: a.records}}).WatchRun(&synclinev1.WatchRunRequest{Id: a.RunID()}, collector[synclinev1.WatchRunResponse]{
		take: func(m *synclinev1.WatchRunResponse) { watched = append(watched, m.Run) },
	})
	if err != nil || len(watched) != 1 || !slices.Equal(watched[0].Seal, a.run.Seal) {
		t.Errorf("watching it: %v, %v", watched, err)
	}
}

// loneRun is a keeper of one run without events.
type loneRun struct{ run store.Run }

func (l loneRun) Run(id string) (store.Run, bool)              { return l.run, id == l.run.ID }
func (l loneRun) Runs() []store.Run                            { return []store.Run{l.run} }
func (l loneRun) Chunks(string, func(store.Chunk) error) error { return nil }

// A run that is not sealed has no bundle: it would not be one for ever.
func TestOnlySealedRunsAreExported(t *testing.T) {
	for _, state := range []store.RunState{store.Planned, store.Running, store.Collecting, store.Failed} {
		r := newRecords(loneRun{store.Run{ID: "r-1", State: state}}, "test")
		err := (&runReader{records: r}).ExportRun(&synclinev1.ExportRunRequest{RunId: "r-1"}, collector[synclinev1.ExportRunResponse]{
			take: func(*synclinev1.ExportRunResponse) { t.Error("something was sent") },
		})
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), state.String()+" and not sealed yet") {
			t.Errorf("a run that is %v: %v", state, err)
		}
	}
	if err := (&runReader{records: newRecords(loneRun{store.Run{ID: "r-1"}}, "test")}).ExportRun(&synclinev1.ExportRunRequest{RunId: "r-2"}, nil); status.Code(err) != codes.NotFound {
		t.Errorf("no such run: %v", err)
	}
}

// Whoever saw a run end has a bundle of it at once, over the network.
func TestExportOfARunThatJustEnded(t *testing.T) {
	c := newTestController(t)
	c.pair(func(_, _ *fakeAgent) {})
	run := c.follow(c.create("x", "basic-open-close").Id)
	stream, err := c.runs.ExportRun(t.Context(), &synclinev1.ExportRunRequest{RunId: run.Id})
	if err != nil {
		t.Fatal(err)
	}
	var file []byte
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		file = append(file, m.Data...)
	}
	a, err := OpenArchive(bytes.NewReader(file), int64(len(file)), "test")
	if err != nil {
		t.Fatal(err)
	}
	if a.RunID() != run.Id || !bytes.Equal(a.run.Seal, run.Seal) {
		t.Errorf("the bundle is of run %s with seal %x", a.RunID(), a.run.Seal)
	}
}
