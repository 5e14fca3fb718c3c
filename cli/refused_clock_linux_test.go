package cli

import (
	"os"
	"strings"
	"testing"
)

// Addresses of one machine have no clocks of their own to lie about.
func TestUnprivilegedTestClock(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become somebody who is not: run the tests as root")
	}
	code, stdout, stderr := asNobody(t, readable(t), "demo", "--test-clock", "B:offset=1s", "--repeat", "1")
	if code != exitRefused || stdout != "" || !strings.Contains(stderr, "--test-clock: without network namespaces") {
		t.Errorf("exit %d, want %d\n%s\n%s", code, exitRefused, stdout, stderr)
	}
}
