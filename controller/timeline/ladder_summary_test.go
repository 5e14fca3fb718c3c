package timeline

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var rewriteSummaries = flag.Bool("rewrite-summaries", false, "rewrite testdata/summaries.txt from what Ladder says now")

// TestLadderSummary: who closed first, why the last packet is a RST, and what was blocked
// longest, of every file of testdata/states, as testdata/summaries.txt has them.
func TestLadderSummary(t *testing.T) {
	files, err := filepath.Glob("testdata/states/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	var b strings.Builder
	b.WriteString("What the foot of a ladder says of each file of testdata/states.\n")
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		tl := builtStates(t, name)
		b.WriteString("\n" + name + "\n")
		for _, text := range tl.Ladder(LadderOptions{Notes: true}).Summary {
			b.WriteString("  " + text + "\n")
		}
		if got := tl.Ladder(LadderOptions{}).Summary; got != nil {
			t.Errorf("%s: nobody asked for %q", name, got)
		}
	}
	const golden = "testdata/summaries.txt"
	if *rewriteSummaries {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatalf("%v: write it with -rewrite-summaries", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(b.String(), "\n")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// The summary has ± exactly where the time column has it.
func TestLadderSummaryTellsItsErrors(t *testing.T) {
	tl, err := Build(story(t, `open
A client close c 200..210 = 0
A>B FIN+ACK 205..225
B>A ACK 228..248
B server close a 300..310 = 0
B>A FIN+ACK 305..325
A>B ACK 328..348
`), 1)
	if err != nil {
		t.Fatal(err)
	}
	other := 1 - tl.Reference
	for _, opts := range []LadderOptions{{Notes: true}, {Notes: true, Zero: ZeroSYN}, {Notes: true, LocalTimes: true}} {
		l := tl.Ladder(opts)
		first, _, _ := strings.Cut(l.Summary[0], ":")
		_, rest, _ := strings.Cut(l.Summary[0], ": ")
		told := 0
		for i := range l.Rows {
			r := &l.Rows[i]
			if r.Kind != RowMoment || r.Arrow < 0 || l.Arrows[r.Arrow].Departure != i || !strings.HasPrefix(l.Arrows[r.Arrow].Words[0], "FIN") {
				continue
			}
			told++
			at, within := l.Time(r)
			if l.Lanes[r.Lane].Host == other && !opts.LocalTimes && within == "" {
				t.Errorf("the FIN of the host that is not the reference has no ±: %s", at)
			}
			want := "left at " + at
			if within != "" {
				want += " ±" + l.number(l.roundUp(r.Err))
			}
			if !strings.Contains(rest, want+" "+l.Unit.String()) {
				t.Errorf("%s: %q, want %q", first, rest, want)
			}
		}
		if told != 2 {
			t.Fatalf("%d FINs left", told)
		}
	}
}
