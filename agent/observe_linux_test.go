package agent

import (
	"errors"
	"log/slog"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// The first packet of another host may be here before this host is told to start, and
// what it moves belongs to the repetition.
func TestCountersFromBeforeTheStart(t *testing.T) {
	rs := newRuns(Config{Name: "vm1", PendingBytes: 1 << 20, Log: slog.New(slog.DiscardHandler)}, 1)
	defer rs.close()
	err := rs.admit(&synclinev1.Prepare{
		RunId: "r-1", Epoch: 1, Host: "A",
		Hosts:   []*synclinev1.HostAddress{{Host: "A", Agent: "vm1", Address: "127.0.0.1"}},
		Sources: []synclinev1.Source{synclinev1.Source_SOURCE_COUNTERS},
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	r := rs.byID["r-1"]
	r.arm(&synclinev1.Arm{})
	ready := make(chan struct{})
	r.later(func() { close(ready) })
	<-ready
	refused(t)
	r.start(&synclinev1.Start{RunId: "r-1", Repetition: 1})
	r.drain(&synclinev1.Drain{RunId: "r-1", Repetition: 1})
	r.finish("")
	<-r.done
	_, events, err := chunksOf(r.stream, 1)
	if err != nil {
		t.Fatal(err)
	}
	read := false
	for _, e := range events {
		for _, c := range e.GetCounters().GetCounters() {
			read = read || c.Name == "Tcp.AttemptFails" && c.Delta >= 1
		}
	}
	if !read {
		t.Errorf("Tcp.AttemptFails did not move in a repetition before whose start a connect was refused:\n%v", events)
	}
}

// refused connects to a port that is bound and listens for nobody.
func refused(t *testing.T) {
	t.Helper()
	var fds [2]int
	for i := range fds {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		fds[i] = fd
	}
	if err := unix.Bind(fds[0], &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	address, err := unix.Getsockname(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fds[1], address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("connect to a port where nobody listens: %v", err)
	}
}
