package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

// TestServeStatus serves and stops, and says where; and refuses an address that is none.
func TestServeStatus(t *testing.T) {
	var said, logged bytes.Buffer
	a := &app{Streams: Streams{Out: io.Discard, Err: &said}}
	log := slog.New(slog.NewJSONHandler(&logged, nil))
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	stop, err := a.serveStatus("127.0.0.1:0", handler, log)
	if err != nil {
		t.Fatal(err)
	}
	var line struct{ Address string }
	if err := json.Unmarshal(logged.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	get := func() (string, error) {
		answer, err := http.Get("http://" + line.Address + "/readyz")
		if err != nil {
			return "", err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return string(text), err
	}
	if text, err := get(); err != nil || text != "ok\n" {
		t.Errorf("it answers %q: %v", text, err)
	}
	stop()
	if _, err := get(); err == nil {
		t.Error("it answers after it was stopped")
	}
	http.DefaultClient.CloseIdleConnections()
	if said.Len() > 0 {
		t.Errorf("of a loopback address it says %q", &said)
	}
	if _, err := a.serveStatus("nowhere", handler, log); err == nil || !strings.Contains(err.Error(), "--metrics 127.0.0.1:9464") {
		t.Errorf("the error is %v", err)
	}
	for text, want := range map[string]uint64{"1": 1, "20GiB": 20 << 30, "3kB": 3000, "7B": 7, "2TB": 2e12, "": 0, "0": 0, "-1": 0, "1.5GiB": 0, "9999999999TiB": 0, "5 GB": 0} {
		if got, err := parseSize(text); got != want || (err == nil) != (want > 0) {
			t.Errorf("size %q is %d, want %d: %v", text, got, want, err)
		}
	}
}
