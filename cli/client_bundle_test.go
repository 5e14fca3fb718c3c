package cli

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// endsAfter is a context that ends when somebody has asked so many times if it has.
type endsAfter struct {
	context.Context
	times int
}

func (c *endsAfter) Err() error {
	if c.times--; c.times < 0 {
		return context.Canceled
	}
	return nil
}

// TestBundleReadingIsInterrupted: whenever a command is interrupted while a bundle is read, it
// says that, and nothing of the bundle, of which it knows no fault.
func TestBundleReadingIsInterrupted(t *testing.T) {
	interrupted := 0
	for times := 0; ; times++ {
		if times == 10_000 {
			t.Fatal("it is never read to its end")
		}
		s := &subject{name: bundled("connect-refused")}
		err := s.openBundle(&endsAfter{t.Context(), times})
		if err == nil {
			s.close()
			break
		}
		interrupted++
		exit := (*exitError)(nil)
		if !errors.As(err, &exit) || exit.code != exitInterrupted || !strings.Contains(err.Error(), "interrupted while the bundle") {
			t.Fatalf("after %d reads: %v", times, err)
		}
	}
	if interrupted < 3 {
		t.Errorf("it was interrupted %d times only: reading asks too seldom", interrupted)
	}
}
