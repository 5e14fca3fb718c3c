package lane

import (
	"os"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// widePorts gives a namespace all the ports it can have, so that TIME_WAIT does not
// become what is measured.
func (n *namespace) widePorts(b *testing.B) {
	b.Helper()
	written := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := n.enter(); err != nil {
			written <- err
			return
		}
		written <- os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("1024 65535"), 0)
	}()
	if err := <-written; err != nil {
		b.Fatal(err)
	}
}

// batch bounds the steps of a lane, which are a list.
const batch = 5000

// backlog holds all that a client can be ahead of its server while the latter waits for
// a processor. With a full one the client's SYN is dropped, and sent again a second later.
const backlog = 4096

// BenchmarkLane makes connections one by one between a client and a server lane:
// socket, connect, close against accept, close, every call an event.
func BenchmarkLane(b *testing.B) {
	s := newStage(b)
	s.space.widePorts(b)
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; left -= batch {
		b.StopTimer()
		server, client := manyConnections(min(left, batch))
		s.calls = map[string][]*synclinev1.Event{}
		b.StartTimer()
		s.run(server, client)
	}
	s.ok()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "connections/s")
}

// BenchmarkBareCalls is the same without anything of this package: the limit.
func BenchmarkBareCalls(b *testing.B) {
	n := newNamespace(b)
	n.widePorts(b)
	sockaddr := &unix.RawSockaddrInet4{Family: unix.AF_INET, Port: 0x901f, Addr: [4]byte{127, 0, 0, 1}}
	ready, done := make(chan struct{}), make(chan error, 2)
	b.ResetTimer()
	go onThread(n, done, func() error { return bareServer(sockaddr, b.N, ready, bareAccept) })
	<-ready
	go onThread(n, done, func() error { return bareClient(sockaddr, b.N) })
	for range 2 {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "connections/s")
}

func onThread(n *namespace, done chan<- error, f func() error) {
	runtime.LockOSThread()
	if err := n.enter(); err != nil {
		done <- err
		return
	}
	done <- f()
}

func bare(trap, a, b, c uintptr) (int, error) {
	r, _, errno := unix.Syscall6(trap, a, b, c, 0, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}

func bareAccept(s int) (int, error) { return bare(unix.SYS_ACCEPT4, uintptr(s), 0, 0) }

func bareServer(sockaddr *unix.RawSockaddrInet4, n int, ready chan<- struct{}, accept func(s int) (int, error)) error {
	defer close(ready)
	s, err := bare(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	if _, err := bare(unix.SYS_BIND, uintptr(s), uintptr(unsafe.Pointer(sockaddr)), unsafe.Sizeof(*sockaddr)); err != nil {
		return err
	}
	if _, err := bare(unix.SYS_LISTEN, uintptr(s), backlog, 0); err != nil {
		return err
	}
	ready <- struct{}{}
	for range n {
		a, err := accept(s)
		if err != nil {
			return err
		}
		if _, err := bare(unix.SYS_CLOSE, uintptr(a), 0, 0); err != nil {
			return err
		}
	}
	return nil
}

func bareClient(sockaddr *unix.RawSockaddrInet4, n int) error {
	for range n {
		c, err := bare(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if _, err := bare(unix.SYS_CONNECT, uintptr(c), uintptr(unsafe.Pointer(sockaddr)), unsafe.Sizeof(*sockaddr)); err != nil {
			return err
		}
		if _, err := bare(unix.SYS_CLOSE, uintptr(c), 0, 0); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkReturnStamp shows how much later a return stamp would be if it were taken
// after the runtime's exitsyscall, as it must be around unix.Syscall: of an accept that
// mostly blocked, in the same calls, so that the machine's noise is in both.
func BenchmarkReturnStamp(b *testing.B) {
	n := newNamespace(b)
	n.widePorts(b)
	sockaddr := &unix.RawSockaddrInet4{Family: unix.AF_INET, Port: 0x901f, Addr: [4]byte{127, 0, 0, 1}}
	later := make([]int64, 0, b.N)
	var during flight
	accept := func(s int) (int, error) {
		call := syscallArgs{trap: unix.SYS_ACCEPT4, a: [6]uintptr{uintptr(s)}}
		stamps := stamped(&call, &during, whenever)
		later = append(later, nanotime()-stamps.at)
		if stamps.errno != 0 {
			return -1, stamps.errno
		}
		return int(stamps.result), nil
	}
	ready, done := make(chan struct{}), make(chan error, 2)
	b.ResetTimer()
	go onThread(n, done, func() error { return bareServer(sockaddr, b.N, ready, accept) })
	<-ready
	go onThread(n, done, func() error { return bareClient(sockaddr, b.N) })
	for range 2 {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(later)
	b.ReportMetric(float64(later[len(later)/2]), "ns-later-p50")
	b.ReportMetric(float64(later[len(later)*99/100]), "ns-later-p99")
	b.ReportMetric(float64(later[len(later)-1]), "ns-later-max")
}

// BenchmarkProcess is the whole life of a process with a lane of one step.
func BenchmarkProcess(b *testing.B) {
	s := newStage(b)
	for range b.N {
		clear(s.errs)
		s.play(own(newTestLane("client", signalOf("x"))))
	}
	s.ok()
}

// BenchmarkFork is fork, from its entry to its return, with one socket.
func BenchmarkFork(b *testing.B) {
	s := newStage(b)
	took := make([]int64, 0, b.N)
	for range b.N {
		clear(s.errs)
		clear(s.calls)
		s.play(newTestLane("server", socket("s"), fork("worker")), forkedBy("server", newTestLane("worker")))
		e := s.event("server", "fork")
		took = append(took, e.GetCall().ReturnNs-e.TimeNs)
	}
	s.ok()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2]), "ns-fork-p50")
}
