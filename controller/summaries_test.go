package controller

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncline/controller/clock"
	"syncline/controller/export"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// recordings are the recorded runs of the library.
func recordings(t testing.TB) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join("export", "testdata", "library", "*"+export.BundleSuffix))
	if err != nil || len(all) < 25 {
		t.Fatalf("%d recorded runs of the library: %v", len(all), err)
	}
	return all
}

func openRecording(t testing.TB, name string) *Archive {
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

// archiveBuilder is the builder of the run that a bundle has.
func archiveBuilder(t testing.TB, a *Archive) *builder {
	t.Helper()
	b, err := a.records.cache.builder(t.Context(), a.run)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// checkConnectParts makes sure that the parts of every connect(2) follow each other and sum
// to the time that it blocked, or that it is said why there are none.
func checkConnectParts(t *testing.T, tl *timeline.Timeline) (inParts, told, all int) {
	t.Helper()
	for c := range tl.Connections {
		for _, connect := range tl.ConnectParts(c) {
			all++
			if connect.Untold == "" {
				told++
			}
			if len(connect.Parts) == 0 {
				if connect.Untold == "" {
					t.Errorf("repetition %d: a connect of connection %d has no parts, and nothing says why", tl.Repetition, c)
				}
				continue
			}
			inParts++
			at, sum, err := connect.Blocked.From, int64(0), connect.Blocked.Err
			for _, p := range connect.Parts {
				if p.From != at {
					t.Errorf("repetition %d: part %s of a connect begins at moment %d, want %d", tl.Repetition, p.Name, p.From, at)
				}
				if p.Err >= clock.Unbounded {
					t.Errorf("repetition %d: nothing bounds part %s of a connect", tl.Repetition, p.Name)
				}
				at, sum, err = p.To, sum+p.Nanoseconds, err+p.Err
			}
			if at != connect.Blocked.To {
				t.Errorf("repetition %d: the parts of a connect end at moment %d, want %d", tl.Repetition, at, connect.Blocked.To)
			}
			if off := sum - connect.Blocked.Nanoseconds; max(off, -off) > err {
				t.Errorf("repetition %d: the parts of a connect sum to %d ns, it blocked %d ns, ±%d: %+v", tl.Repetition, sum, connect.Blocked.Nanoseconds, err, connect.Parts)
			}
		}
	}
	return inParts, told, all
}

// TestConnectPartsSumInTheLibrary takes every connect of every recorded run of the library
// apart: as its controller has it, and as who asks over the network gets it.
func TestConnectPartsSumInTheLibrary(t *testing.T) {
	var inParts, told, all int
	for _, name := range recordings(t) {
		t.Run(strings.TrimSuffix(filepath.Base(name), export.BundleSuffix), func(t *testing.T) {
			a := openRecording(t, name)
			b := archiveBuilder(t, a)
			for n := 1; n <= a.run.RepetitionsDone; n++ {
				tl, err := b.Build(n)
				if err != nil {
					t.Fatal(err)
				}
				p, s, c := checkConnectParts(t, tl)
				inParts, told, all = inParts+p, told+s, all+c
				asked, err := TimelineFromProto(timelineToProto(tl, a.run))
				if err != nil {
					t.Fatal(err)
				}
				if p2, _, c2 := checkConnectParts(t, asked); p2 != p || c2 != c {
					t.Errorf("repetition %d: the controller takes %d of %d connects apart, who asks %d of %d", n, p, c, p2, c2)
				}
				for i := range tl.Connections {
					for _, connect := range tl.ConnectParts(i) {
						if connect.Untold != "" {
							t.Logf("repetition %d, connection %d: %d parts; %s", n, i, len(connect.Parts), connect.Untold)
						}
					}
				}
			}
		})
	}
	t.Logf("%d connects, %d of them in parts, %d with every part told", all, inParts, told)
	if inParts == 0 || told*10 < all*7 {
		t.Errorf("%d of %d connects are in parts, %d with every part told: this tests too little", inParts, all, told)
	}
}

// TestSummariesOfTheLibrary asks for the summaries of every recorded run: they are those of
// its timelines, they come over the network as they are, and a second question is answered by
// the same.
func TestSummariesOfTheLibrary(t *testing.T) {
	stories, repetitions := 0, 0
	for _, name := range recordings(t) {
		t.Run(strings.TrimSuffix(filepath.Base(name), export.BundleSuffix), func(t *testing.T) {
			a := openRecording(t, name)
			b := archiveBuilder(t, a)
			all, err := b.digests(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			var got Summaries
			told := make(map[string]bool)
			for _, d := range all {
				m := &synclinev1.ListSummariesResponse{Summary: summaryToProto(d)}
				if !told[d.Story.ID] {
					told[d.Story.ID], m.Story = true, storyToProto(d.Story)
				}
				if err := got.Add(m); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(all, got.Digests); diff != "" {
				t.Errorf("summaries do not come as they are (-sent +got):\n%s", diff)
			}
			again, err := b.digests(context.Background())
			if err != nil || len(again) != len(all) || len(all) > 0 && again[0] != all[0] {
				t.Errorf("asked again, %d summaries of %d are made anew: %v", len(again), len(all), err)
			}
			stories, repetitions = stories+len(told), repetitions+len(all)
			t.Logf("%d repetitions, %d orders of events", len(all), len(told))
		})
	}
	t.Logf("%d repetitions, %d orders of events", repetitions, stories)
}

func TestSummariesRefuseWhatCannotBe(t *testing.T) {
	end, connection := uint32(2), uint32(0)
	for name, m := range map[string]*synclinev1.ListSummariesResponse{
		"no repetition":          {},
		"a story nobody sent":    {Summary: &synclinev1.Summary{Repetition: 1, Story: "x"}},
		"a third end":            {Summary: &synclinev1.Summary{Story: "x", Phases: []*synclinev1.SummaryPhase{{End: &end}}}, Story: &synclinev1.Story{Id: "x"}},
		"an unknown connection":  {Summary: &synclinev1.Summary{Story: "x", Phases: []*synclinev1.SummaryPhase{{Connection: &connection}}}, Story: &synclinev1.Story{Id: "x"}},
		"an error less than no.": {Summary: &synclinev1.Summary{Story: "x", Phases: []*synclinev1.SummaryPhase{{ErrorNs: new(int64(-1))}}}, Story: &synclinev1.Story{Id: "x"}},
	} {
		var s Summaries
		if err := s.Add(m); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestDigestsDoNotDependOnWhoAsks: seen from another host's clock first, the repetitions are
// the same in short.
func TestDigestsDoNotDependOnWhoAsks(t *testing.T) {
	differ := false
	for _, name := range recordings(t) {
		if !strings.HasPrefix(filepath.Base(name), "handshake-and-teardown") && !strings.HasPrefix(filepath.Base(name), "simultaneous-open") {
			continue
		}
		want, err := archiveBuilder(t, openRecording(t, name)).digests(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b := archiveBuilder(t, openRecording(t, name))
		for _, h := range b.hosts {
			b = archiveBuilder(t, openRecording(t, name))
			other, err := b.withReference(h.Name)
			if err != nil {
				t.Fatal(err)
			}
			by, err := digest(t.Context(), other)
			if err != nil {
				t.Fatal(err)
			}
			timeline.CompareDigests(by)
			differ = differ || !reflect.DeepEqual(by, want)
			got, err := other.digests(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: asked by the clock of %s first, the digests are others", filepath.Base(name), h.Name)
			}
		}
	}
	if !differ {
		t.Error("no reference makes any difference, so that this shows nothing")
	}
}
