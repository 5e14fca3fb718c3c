package agent

import (
	"math"
	"testing"
	"time"
)

func TestParseBusy(t *testing.T) {
	for _, c := range []struct {
		name, stat string
		want       time.Duration
		fails      bool
	}{
		{"all columns", "cpu  100 20 3 4000 50 6 7 8 9 10\ncpu0 1 2 3 4\n", 1360 * time.Millisecond, false},
		{"an old kernel's four", "cpu 1 2 3 4\n", 60 * time.Millisecond, false},
		{"no newline", "cpu 1 2 3 4", 60 * time.Millisecond, false},
		{"nothing", "", 0, true},
		{"one processor's line", "cpu0 1 2 3 4\n", 0, true},
		{"too few", "cpu 1 2 3\n", 0, true},
		{"no number", "cpu 1 2 x 4\n", 0, true},
		{"a sum beyond all time", "cpu 922337203685 1 1 0\n", 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseBusy([]byte(c.stat))
			if got != c.want || (err != nil) != c.fails {
				t.Errorf("parseBusy = %v, %v; want %v", got, err, c.want)
			}
		})
	}
}

func FuzzParseBusy(f *testing.F) {
	f.Add([]byte("cpu  100 20 3 4000 50 6 7 8 9 10\ncpu0 1 2 3 4\n"))
	f.Add([]byte("cpu 18446744073709551615 1 1 1"))
	f.Fuzz(func(t *testing.T, stat []byte) {
		busy, err := parseBusy(stat)
		if busy < 0 || err != nil && busy != 0 || busy > math.MaxInt64/tick*tick {
			t.Errorf("parseBusy(%q) = %v, %v", stat, busy, err)
		}
	})
}
