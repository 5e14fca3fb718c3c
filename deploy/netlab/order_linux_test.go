package netlab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestProcessorMask(t *testing.T) {
	for n, want := range map[int]string{1: "1", 2: "3", 31: "7fffffff", 32: "ffffffff", 33: "1,ffffffff", 70: "3f,ffffffff,ffffffff"} {
		if got := processorMask(n); got != want {
			t.Errorf("%d processors: %q, want %q", n, got, want)
		}
	}
}

// Where the lab keeps order, one processor receives all of a flow, whichever sends it: its
// queue is in order. On a veth by itself the processor that sends receives.
func TestKeepOrder(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("one processor: nothing can overtake")
	}
	for _, keep := range []bool{false, true} {
		l := makeLab(t, Config{Hosts: []string{"A", "B"}, KeepOrder: keep})
		conn := listenUDP(t, l.Host("A"))
		// Of a socket that has a peer the kernel remembers the processor.
		sink := dialUDP(t, l.Host("B"), conn.LocalAddr())
		received := map[int]int{}
		for i := range 200 {
			sendFrom(t, conn, sink.LocalAddr(), i%2)
			received[receiver(t, sink)]++
		}
		if err := errors.Join(conn.Close(), sink.Close()); err != nil {
			t.Error(err)
		}
		if want := map[bool]int{true: 1, false: 2}[keep]; len(received) != want {
			t.Errorf("KeepOrder %v: datagrams by the processor that received them: %v, want %d", keep, received, want)
		}
	}
}

// sendFrom sends a datagram from a processor.
func sendFrom(t *testing.T, conn *net.UDPConn, to net.Addr, processor int) {
	t.Helper()
	defer onProcessor(t, processor)()
	if _, err := conn.WriteTo([]byte("x"), to); err != nil {
		t.Fatal(err)
	}
}

// receiver waits for a datagram and is the processor on which the kernel received it: see
// SO_INCOMING_CPU in socket(7).
func receiver(t *testing.T, conn *net.UDPConn) (processor int) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var got error
	if err := raw.Control(func(fd uintptr) {
		processor, got = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_INCOMING_CPU)
	}); err != nil || got != nil {
		t.Fatal(errors.Join(err, got))
	}
	return processor
}

// onProcessor keeps the calling goroutine on a processor until the function that it returns
// is called.
func onProcessor(t *testing.T, processor int) (release func()) {
	runtime.LockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Error(err)
	}
	one.Set(processor)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Error(err)
	}
	return func() {
		if err := unix.SchedSetaffinity(0, &before); err != nil {
			t.Error(err)
		}
		runtime.UnlockOSThread()
	}
}

func listenUDP(t *testing.T, h *Host) (conn *net.UDPConn) {
	t.Helper()
	err := h.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(h.Address, 0)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func dialUDP(t *testing.T, h *Host, to net.Addr) (conn *net.UDPConn) {
	t.Helper()
	err := h.Do(func() (err error) {
		conn, err = net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(h.Address, 0)), to.(*net.UDPAddr))
		return err
	})
	if err != nil {
		t.Fatal(fmt.Errorf("dial %v: %w", to, err))
	}
	return conn
}
