package agent

import (
	"errors"
	"log/slog"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"syncline/agent/packet"
	synclinev1 "syncline/proto/syncline/v1"
)

// unheard is a port of this machine that is taken and on which nobody listens, so that
// no packet is of it but a SYN that the test sends, and the RST.
func unheard(t *testing.T) *net.TCPAddr {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: bound.(*unix.SockaddrInet4).Port}
}

// The taps of each repetition account for exactly the packets that are on record for it,
// those included that come after it was drained and before other taps are opened.
func TestTapsOfARepetition(t *testing.T) {
	if err := packet.Available(); err != nil {
		t.Skip(err)
	}
	address := unheard(t)
	refused := func() {
		if _, err := net.DialTCP("tcp4", nil, address); !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatalf("connect to a port without a listener: %v", err)
		}
	}
	watched := []synclinev1.Source{synclinev1.Source_SOURCE_SYSCALLS, synclinev1.Source_SOURCE_PACKETS}
	rs := newRuns(Config{Name: "vm1", PendingBytes: 1 << 20, Log: slog.New(slog.DiscardHandler)}, 1)
	t.Cleanup(rs.close)
	err := rs.admit(&synclinev1.Prepare{
		RunId: "r-1", Epoch: 1, Host: "A", Sources: watched,
		Hosts: []*synclinev1.HostAddress{{Host: "A", Agent: "vm1", Address: "127.0.0.1"}},
		Flows: &synclinev1.Flows{Ports: []uint32{uint32(address.Port)}},
	}, true)
	if err != nil {
		t.Fatal(err)
	}
	r := rs.byID["r-1"]
	arm := func(next uint32, sources ...synclinev1.Source) {
		r.arm(&synclinev1.Arm{RunId: "r-1", Epoch: 1, Sources: sources, Repetition: next})
		settled(r)
	}
	repeat := func(n uint32, hold bool) {
		r.start(&synclinev1.Start{RunId: "r-1", Epoch: 1, Repetition: n})
		refused()
		r.drain(&synclinev1.Drain{RunId: "r-1", Epoch: 1, Repetition: n, Hold: hold})
		settled(r)
		refused()
	}
	arm(0)
	repeat(1, false)
	arm(3, watched...)
	repeat(3, true)
	arm(4, watched...)
	refused() // another host was faster: its first packet is of repetition 4 already
	repeat(4, true)
	arm(5, synclinev1.Source_SOURCE_SYSCALLS)
	repeat(5, true)
	r.finish("")
	<-r.done
	if r.finished.Error != "" {
		t.Fatalf("the run ended with %q", r.finished.Error)
	}
	_, events, err := chunksOf(r.stream, 1)
	if err != nil {
		t.Fatal(err)
	}
	recorded, passed := map[uint32]uint64{}, map[uint32]uint64{}
	for _, e := range events {
		recorded[e.Repetition] += e.GetLoss().GetCount()
		switch {
		case e.GetPacket() != nil:
			recorded[e.Repetition]++
		case e.GetMark().GetKind() == synclinev1.MarkKind_MARK_KIND_CLOSED:
			passed[e.Repetition] += e.GetMark().Frames
		}
	}
	one := recorded[1]
	if one == 0 {
		t.Fatal("the taps heard nothing")
	}
	if recorded[2] != one || recorded[1]+recorded[2] != passed[0] {
		t.Errorf("the taps of the run itself let %d through; %d are of repetition 1, %d came after it", passed[0], recorded[1], recorded[2])
	}
	for n, times := range map[uint32]uint64{3: 2, 4: 3, 5: 0, 6: 0} {
		if recorded[n] != times*one || recorded[n] != passed[n] {
			t.Errorf("repetition %d: %d packets on record, its taps let %d through; want %d", n, recorded[n], passed[n], times*one)
		}
	}
}

func anyPacket() []*synclinev1.Event {
	return []*synclinev1.Event{{TimeNs: 1, Fact: &synclinev1.Event_Packet{Packet: &synclinev1.Packet{
		Flags: 2, Source: []byte{127, 0, 0, 1}, Destination: []byte{127, 0, 0, 1},
	}}}}
}

// packetsOf counts the packets of each repetition that wait to be numbered.
func packetsOf(r *run) map[uint32]int {
	r.stream.mu.Lock()
	defer r.stream.mu.Unlock()
	packets := map[uint32]int{}
	for _, e := range r.stream.open {
		if e.GetPacket() != nil {
			packets[e.Repetition]++
		}
	}
	return packets
}

// What comes late is of the repetition that was drained with hold, until other taps are
// opened; without, of the number after it. Nobody in the next repetition is told of it.
func TestLateBeforeRearm(t *testing.T) {
	_, r := newTestRun(t)
	// No chunk is cut while the test looks at what waits for that.
	r.stream.cutting.Lock()
	defer r.stream.cutting.Unlock()
	bare := []synclinev1.Source{synclinev1.Source_SOURCE_SYSCALLS}
	repeat := func(n uint32, hold bool) {
		r.start(&synclinev1.Start{RunId: "r-1", Epoch: 1, Repetition: n})
		r.repetition.lanes.Wait()
		r.heard(anyPacket())
		r.drain(&synclinev1.Drain{RunId: "r-1", Epoch: 1, Repetition: n, Hold: hold})
		settled(r)
		r.heard(anyPacket())
	}
	arm := func(next uint32) {
		r.arm(&synclinev1.Arm{RunId: "r-1", Epoch: 1, Sources: bare, Repetition: next})
		settled(r)
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.early) > 0 || r.overlooked > 0 {
			t.Errorf("%d packets of the taps before, and %d overlooked, are kept for those who wait in repetition %d", len(r.early), r.overlooked, r.number)
		}
	}
	repeat(1, false) // the last of the run itself: 2 is nobody's
	r.mu.Lock()
	kept := len(r.early)
	r.early, r.overlooked = append(r.early, make([]*synclinev1.Event, maxEarly-kept)...), 3
	r.mu.Unlock()
	arm(3)
	repeat(3, true)
	arm(4)
	repeat(4, true)
	arm(0) // of a controller that does not say what comes next
	r.heard(anyPacket())
	want := map[uint32]int{1: 1, 2: 1, 3: 2, 4: 2, 5: 1}
	got := packetsOf(r)
	for n := uint32(1); n <= 6; n++ {
		if got[n] != want[n] {
			t.Errorf("repetition %d has %d packets, want %d", n, got[n], want[n])
		}
	}
	if kept == 0 {
		t.Error("nobody kept the packet that came between two repetitions, so the test shows nothing")
	}
}
