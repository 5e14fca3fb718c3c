package kernel

import (
	"testing"
	"time"
)

// A look that takes long is made less often, but never so rarely that a person would
// miss it.
func TestRestAfter(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{
		0:                      10 * time.Millisecond,
		100 * time.Microsecond: 10 * time.Millisecond,
		time.Millisecond:       100 * time.Millisecond,
		time.Second:            200 * time.Millisecond,
	} {
		if got := restAfter(took); got != want {
			t.Errorf("restAfter(%v) = %v, want %v", took, got, want)
		}
	}
}
