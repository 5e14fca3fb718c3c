package identity

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
)

func TestRefusalsDoNotFloodTheLog(t *testing.T) {
	var said bytes.Buffer
	r := &refusals{log: slog.New(slog.NewTextHandler(&said, nil))}
	from := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}
	for range 10000 {
		r.tell(from, errors.New("a stranger"))
	}
	if n := strings.Count(said.String(), "a stranger"); n < 10 || n > 1000 {
		t.Errorf("%d of 10000 refusals were told at once, want some ten", n)
	}
	r.paid = r.paid.Add(-1e12)
	r.tell(from, errors.New("a stranger"))
	if lines := strings.Split(strings.TrimSpace(said.String()), "\n"); strings.HasSuffix(lines[len(lines)-1], "others_not_told=0") {
		t.Errorf("what was not told is not counted: %s", lines[len(lines)-1])
	}
}
