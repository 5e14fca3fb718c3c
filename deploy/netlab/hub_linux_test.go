package netlab

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testHub is a hub whose ports are socket pairs: what a test writes to the far end of
// one, a host has sent.
type testHub struct {
	*hub
	t   *testing.T
	far map[string]int
}

func newTestHub(t *testing.T, wires map[string]Wire, names ...string) *testHub {
	t.Helper()
	h, err := newHub()
	if err != nil {
		t.Fatal(err)
	}
	th := &testHub{hub: h, t: t, far: map[string]int{}}
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
		for _, fd := range th.far {
			unix.Close(fd)
		}
	})
	for i, name := range names {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		th.far[name] = pair[1]
		if err := h.add(name, pair[0], wires[name], i); err != nil {
			t.Fatal(err)
		}
	}
	h.start()
	return th
}

// ethernet is a frame between two addresses that differ in their last bytes.
func ethernet(to, from uint16) []byte {
	frame := make([]byte, 60)
	frame[0], frame[6] = 2, 2
	binary.BigEndian.PutUint16(frame[4:], to)
	binary.BigEndian.PutUint16(frame[10:], from)
	return frame
}

// send has a host send a frame, and answers who else got it.
func (h *testHub) send(from string, frame []byte) (got []string) {
	h.t.Helper()
	before, _, err := h.report(from)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := unix.Write(h.far[from], frame); err != nil {
		h.t.Fatal(err)
	}
	await(h.t, "the frame is taken", func() bool {
		now, _, err := h.report(from)
		return err == nil && now.Taken > before.Taken && now.InFlight == 0
	})
	buffer := make([]byte, maxFrame)
	for name, fd := range h.far {
		n, err := unix.Read(fd, buffer)
		for ; err == nil; n, err = unix.Read(fd, buffer) {
			if !slices.Equal(buffer[:n], frame) {
				h.t.Errorf("%s got another frame than %s sent", name, from)
			}
			got = append(got, name)
		}
		if err != unix.EAGAIN {
			h.t.Fatal(err)
		}
	}
	slices.Sort(got)
	return got
}

func TestHubSwitchesAsABridgeDoes(t *testing.T) {
	h := newTestHub(t, nil, "A", "B", "C")
	const a, b, c = 1, 2, 3
	multicast, bridges := ethernet(9, a), ethernet(0, a)
	multicast[0] = 0x33
	copy(bridges, []byte{0x01, 0x80, 0xc2, 0, 0, 0x0e})
	for _, step := range []struct {
		what  string
		from  string
		frame []byte
		want  []string
	}{
		{"a stranger is looked for everywhere", "A", ethernet(b, a), []string{"B", "C"}},
		{"who has spoken is known", "B", ethernet(a, b), []string{"A"}},
		{"and so is who answered", "A", ethernet(b, a), []string{"B"}},
		{"many are everybody else", "A", multicast, []string{"B", "C"}},
		{"what is for bridges ends here", "A", bridges, nil},
		{"nothing goes back to where it came from", "A", ethernet(a, c), nil},
		{"who has moved is found again", "C", ethernet(a, b), []string{"A"}},
		{"where it is now", "A", ethernet(b, a), []string{"C"}},
	} {
		if got := h.send(step.from, step.frame); !slices.Equal(got, step.want) {
			t.Errorf("%s: %v got it, want %v", step.what, got, step.want)
		}
	}
	if out, _, err := h.report("A"); err != nil || out.Refused != 1 {
		t.Errorf("%d refused (%v), want that for bridges", out.Refused, err)
	}
}

// More addresses than the table holds are no more than frames to everybody.
func TestHubForgetsWhenItsTableIsFull(t *testing.T) {
	h := newTestHub(t, nil, "A", "B", "C")
	h.send("B", ethernet(0xffff, 0xbbbb))
	for i := range uint16(maxLearnt) {
		h.send("A", ethernet(0xbbbb, i))
	}
	h.mu.Lock()
	n := len(h.learnt)
	h.mu.Unlock()
	if n > maxLearnt {
		t.Errorf("%d addresses are learnt, at most %d", n, maxLearnt)
	}
	if got := h.send("A", ethernet(0xbbbb, 1)); !slices.Equal(got, []string{"B", "C"}) {
		t.Errorf("%v got a frame for who was forgotten, want all others", got)
	}
}

// A frame that is too short to be Ethernet's goes nowhere, and harms nothing.
func TestHubRefusesRunts(t *testing.T) {
	h := newTestHub(t, nil, "A", "B")
	for n := 1; n < 14; n++ {
		if got := h.send("A", make([]byte, n)); got != nil {
			t.Errorf("%v got a frame of %d bytes", got, n)
		}
	}
	if got := h.send("A", ethernet(1, 2)); !slices.Equal(got, []string{"B"}) {
		t.Errorf("%v got a good frame, want B", got)
	}
}

// What is under way when the hub ends is counted, and nothing of it stays.
func TestHubEndsWithFramesUnderWay(t *testing.T) {
	h := newTestHub(t, map[string]Wire{"A": {Out: Direction{Delay: MaxDelay}}}, "A", "B")
	for range 100 {
		if _, err := unix.Write(h.far["A"], ethernet(1, 2)); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "all are under way", func() bool {
		out, _, err := h.report("A")
		return err == nil && out.InFlight == 100
	})
	began := time.Now()
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > deadline {
		t.Errorf("the end took %v", took)
	}
}
