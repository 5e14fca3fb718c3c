package cli

import (
	"bytes"
	"context"
	"errors"
	"testing"
)

// TestErrorsAreHarmless: an error may quote a stranger's bundle, and does nothing to the
// terminal but to be read.
func TestErrorsAreHarmless(t *testing.T) {
	for text, want := range map[string]string{
		"first\nsecond\tthird é → µs": "syncline: first\nsecond\tthird é → µs\n",
		"host \x1b]0;x\x07\x1b[2J\r":  "syncline: host ?]0;x??[2J\n",
		"\u009b2J of \u202ex\x7f":     "syncline: ?2J of ?x?\n",
	} {
		var said bytes.Buffer
		if code := (&app{Streams: Streams{Err: &said}}).report(context.Background(), errors.New(text)); code != exitUsage || said.String() != want {
			t.Errorf("%q: exit %d, %q, want %q", text, code, &said, want)
		}
	}
}
