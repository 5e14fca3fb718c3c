package agent

import (
	"log/slog"
	"testing"

	synclinev1 "syncline/proto/syncline/v1"
)

// A run that is forgotten while it works keeps the host to itself until it has ended:
// two runs at once would disturb each other's times.
func TestForgottenRunKeepsTheHost(t *testing.T) {
	rs := newRuns(Config{Name: "vm1", PendingBytes: 1 << 20, Log: slog.New(slog.DiscardHandler)}, 1)
	defer rs.close()
	prepare := func(id string) *synclinev1.Prepare {
		return &synclinev1.Prepare{RunId: id, Epoch: 1, Host: "A", Hosts: []*synclinev1.HostAddress{{Host: "A", Agent: "vm1", Address: "127.0.0.1"}}}
	}
	if err := rs.admit(prepare("r-1"), false); err != nil {
		t.Fatal(err)
	}
	first := rs.byID["r-1"]
	ended := make(chan struct{})
	first.later(func() { <-ended })
	rs.forget("r-1")
	if err := rs.admit(prepare("r-2"), false); err == nil {
		t.Error("a second run was let in beside the first")
	}
	close(ended)
	<-first.done
	rs.leaving.Wait()
	if err := rs.admit(prepare("r-2"), false); err != nil {
		t.Errorf("after the first has ended: %v", err)
	}
}
