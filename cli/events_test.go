package cli

import (
	"bytes"
	"strings"
	"testing"
)

// Events are told by each host's own clock, and by no other.
func TestEventsAreRaw(t *testing.T) {
	var out, errs bytes.Buffer
	code := Main(t.Context(), []string{"events", "r-1", "--raw=false"}, Streams{Out: &out, Err: &errs})
	if code != exitUsage || out.Len() > 0 || !strings.Contains(errs.String(), "--raw=false") {
		t.Errorf("exit %d, want %d\n%s%s", code, exitUsage, &out, &errs)
	}
}
