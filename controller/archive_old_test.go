package controller

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncline/controller/export"
	"syncline/controller/store"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// TestOldBundles opens bundles of every format that there ever was, and finds in them what
// was found when they were written. Their texts are not to be written anew: one that
// differs is a bundle that its owner cannot read any more.
func TestOldBundles(t *testing.T) {
	for format := 1; format <= export.BundleFormat; format++ {
		for _, name := range bundles(t, fmt.Sprintf("v%d", format)) {
			t.Run(fmt.Sprintf("v%d/%s", format, strings.TrimSuffix(filepath.Base(name), export.BundleSuffix)), func(t *testing.T) {
				want, err := os.ReadFile(strings.TrimSuffix(name, export.BundleSuffix) + ".txt")
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(facts(t, openBundle(t, name)), "\n")); d != "" {
					t.Errorf("%s holds other facts (-then +now):\n%s", name, d)
				}
			})
		}
	}
}

// facts are what a bundle holds, in words that no later version has a reason to change.
func facts(t *testing.T, a *Archive) string {
	t.Helper()
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	r := a.run
	line("format %d, written by %s", a.Manifest().Format, a.Manifest().WrittenBy)
	line("run %s of %s is %s: %s", r.ID, r.Experiment, r.State, r.Reason)
	line("%d of %d repetitions, from %d to %d ns since 1970", r.RepetitionsDone, r.Repetitions, r.CreatedNs, r.EndedNs)
	line("asked for: %s of %d bytes, %d repetitions, cases %q, set %v, bindings %v, probing %+v", r.FileName, len(r.Source), r.Runs, r.Cases, r.Set, r.Bindings, r.Probing)
	for _, v := range r.Variants {
		line("variant %q: repetitions %d to %d", v.Name, v.First, v.Last)
	}
	for _, h := range r.Hosts {
		line("host %s: agent %s at %s and %s, kernel %s, clock %s, test clock %q", h.Name, h.Agent, h.Address, h.Address6, h.Kernel, h.ClockID, h.TestClock)
		for _, c := range h.Capabilities {
			line("  %s: %v %s", c.Source, c.Available, c.Reason)
		}
	}
	for _, e := range r.Environments {
		settings := 0
		for _, s := range environmentFromStore(e).Sections {
			settings += len(s.Settings)
		}
		line("environment of %s: %d settings", e.Host, settings)
	}
	for _, what := range r.Incomplete {
		line("missing: %s", what)
	}
	for _, what := range r.Warnings {
		line("to know: %s", what)
	}
	if o := overheadFromStore(r.Overhead); o != nil {
		line("watching costs: %d of %d rounds, repetitions %d to %d, %d settings %s", o.RoundsDone, o.Rounds, o.First, o.Last, len(o.Settings), o.Failure)
	}
	line("seal %x", r.Seal)
	for _, text := range eventFacts(t, a) {
		line("%s", text)
	}
	builder, err := a.records.cache.builder(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= r.RepetitionsDone; n++ {
		tl, err := builder.Build(n)
		if errors.Is(err, timeline.ErrNoEvents) {
			line("repetition %d: nothing on record", n)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		line("repetition %d: %d hosts, connections: %d", n, len(tl.Hosts), len(tl.Connections))
	}
	return b.String()
}

// eventFacts are how many events of what kind each agent told.
func eventFacts(t *testing.T, a *Archive) []string {
	t.Helper()
	kinds := map[string]int{}
	err := decodeChunks(a, a.RunID(), func(c store.Chunk, events []*synclinev1.Event) error {
		for _, e := range events {
			kinds[fmt.Sprintf("agent %s, %s", c.Agent, strings.TrimPrefix(fmt.Sprintf("%T", e.Fact), "*synclinev1.Event_"))]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		all = append(all, fmt.Sprintf("%s: %d", kind, kinds[kind]))
	}
	return all
}
