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
