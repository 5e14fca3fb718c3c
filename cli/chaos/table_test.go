package chaos

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTable(t *testing.T) {
	var b strings.Builder
	err := WriteTable(&b, []Outcome{
		{Fault: Fault{Kind: KillLeader}, Happened: true}, {Fault: Fault{Kind: KillLeader}, Happened: true},
		{Fault: Fault{Kind: CorruptSnapshot}, Skipped: "there is none"},
	}, []Violation{{NoneLost, 4000, "x"}, {NoneLost, 2, "y"}, {SameSeals, 1, "z"}}, Figures{
		Length: time.Minute, Runs: 10, Failed: 1, Wrote: 100, Acked: 90, Checked: 95, Calls: 7, UnknownCalls: 1,
		Accepted: []time.Duration{3 * time.Second, time.Second, 2 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "table.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if diff := cmp.Diff(string(want), b.String()); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestQuantile(t *testing.T) {
	all := []time.Duration{1, 2, 3, 4}
	for p, want := range map[int]time.Duration{1: 1, 25: 1, 50: 2, 51: 3, 99: 4, 100: 4} {
		if got := Quantile(all, p); got != want {
			t.Errorf("percentile %d is %v, want %v", p, got, want)
		}
	}
}
