package trace

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

var statesAlone = []synclinev1.TraceKind{synclinev1.TraceKind_TRACE_KIND_STATE}

// Notes that nobody took away, since the second program was left out of their events, make
// no event be told twice, and none be missed: whatever stands there.
func TestForgottenNotes(t *testing.T) {
	p := newPair(t)
	client := p.client.watch(t, Config{Flows: p.flows(), Kinds: statesAlone})
	want := map[string]int{"CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 CLOSE": 1}
	for _, order := range []uint64{0, 1, 1 << 40} {
		each := must(client.tracer.each())
		for i := range each {
			taken := &each[i].Taken[synclinev1.TraceKind_TRACE_KIND_STATE]
			taken.Order = order
			for j := range taken.Notes {
				taken.Notes[j].Frame, taken.Notes[j].Order = ^uint64(j), order-uint64(j)
			}
		}
		check(client.tracer.counts.Put(uint32(0), each))
		client.forget()
		l := p.server.listen(p.server4, port)
		p.converse(t, l, p.server4, false)
		check(unix.Close(l))
		client.wait(fmt.Sprint(want), func(all []*synclinev1.Event) bool { return cmp.Equal(want, pathsOf(all)) })
	}
}

// Where the kernel calls the first program though it is under way already, as before Linux
// 6.1, it leaves the event to the second; and that asks for no note while the first is under
// way.
func TestLeftToSecond(t *testing.T) {
	p := newPair(t)
	client := p.client.watch(t, Config{Flows: p.flows(), Kinds: statesAlone})
	each := must(client.tracer.each())
	for i := range each {
		each[i].Taken[synclinev1.TraceKind_TRACE_KIND_STATE].Running = 1
	}
	check(client.tracer.counts.Put(uint32(0), each))
	l := p.server.listen(p.server4, port)
	p.converse(t, l, p.server4, false)
	check(unix.Close(l))
	want := map[string]int{"CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 CLOSE": 1}
	client.wait(fmt.Sprint(want), func(all []*synclinev1.Event) bool { return cmp.Equal(want, pathsOf(all)) })
	if n := must(client.tracer.Counts()).Nested; n < 5 {
		t.Errorf("of 5 events, the second program took %d", n)
	}
}

// Packets that another processor's interrupt brings in between change states while a
// thread is changing those of its own sockets. None is missing, and none is told twice.
func TestInterruptedStates(t *testing.T) {
	const enough = 50
	cpus := processors(t)
	p := newPair(t)
	p.client.steer(cpus[0])
	flows := p.flows()
	flows.Ports = append(flows.Ports, port+1)
	w := p.client.watch(t, Config{Flows: flows, Kinds: statesAlone})

	var nested uint64
	deadline := time.Now().Add(20 * time.Second)
	for nested < enough {
		if time.Now().After(deadline) {
			t.Fatalf("%d events came within another one, not %d, in 20 s", nested, enough)
		}
		w.forget()
		before, ran := must(w.tracer.Counts()).Nested, ranFirst(t)
		want := p.interrupt(cpus, 100*time.Millisecond)
		events, unseen := w.flush(), ranFirst(t) != ran
		got := pathsOf(events)
		if left := got["CLOSE SYN_SENT"]; unseen && left > 0 {
			t.Logf("process 1 ran, and of %d sockets the end was not told", left)
			got["CLOSE SYN_SENT CLOSE"] += left
			delete(got, "CLOSE SYN_SENT")
		}
		for _, e := range events {
			if l := e.GetLoss(); l != nil {
				t.Errorf("lost: %v", l)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("sockets (-made +told):\n%s", diff)
		}
		nested += must(w.tracer.Counts()).Nested - before
	}

	// Whoever else is on this machine adds to both meanwhile.
	atLeast := must(w.tracer.Counts()).Nested
	missed := w.missed()
	if atMost := must(w.tracer.Counts()).Nested; missed < atLeast || missed > atMost {
		t.Errorf("the first program was left out of %d events, and the second took %d to %d", missed, atLeast, atMost)
	}
}

// interrupt makes listeners on one processor and connections that are refused on another
// one, the answers to which interrupt the first. It answers with what became of the sockets.
func (p *pair) interrupt(cpus []int, during time.Duration) map[string]int {
	p.client.t.Helper()
	ends := time.Now().Add(during)
	listens, connects := 0, 0
	listening := p.client.alongside(func() error {
		if err := pin(cpus[0]); err != nil {
			return err
		}
		for ; time.Now().Before(ends); listens++ {
			if err := unix.Close(listen(p.client4, port+1, 1)); err != nil {
				return err
			}
		}
		return nil
	})
	connecting := p.client.alongside(func() error {
		if err := pin(cpus[1]); err != nil {
			return err
		}
		for ; time.Now().Before(ends); connects++ {
			fd := tcp(unix.AF_INET)
			if err := unix.Connect(fd, sockaddr(p.server4, port)); !errors.Is(err, unix.ECONNREFUSED) {
				return fmt.Errorf("connect to a port where nobody listens: %w", err)
			}
			if err := unix.Close(fd); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(listening(), connecting()); err != nil {
		p.client.t.Fatal(err)
	}
	made := map[string]int{"CLOSE LISTEN CLOSE": listens, "CLOSE SYN_SENT CLOSE": connects}
	// On a busy machine one of them may not get its processor meanwhile.
	maps.DeleteFunc(made, func(_ string, n int) bool { return n == 0 })
	return made
}

// ranFirst is for how long each thread of process 1 has run; nothing if the kernel does not
// say. Some kernels of sandboxes call no program for anything that happens on a processor
// where one of these runs, interrupts included, see DESIGN.md.
func ranFirst(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, path := range must(filepath.Glob("/proc/1/task/*/schedstat")) {
		b, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}

// missed is how often the kernel has left first programs out.
func (w *watch) missed() (n uint64) {
	for _, p := range w.tracer.programs {
		n += must(p.Stats()).RecursionMisses
	}
	return n
}

// processors are two that this process may run on.
func processors(t *testing.T) (cpus []int) {
	t.Helper()
	var set unix.CPUSet
	check(unix.SchedGetaffinity(0, &set))
	for cpu := 0; len(cpus) < 2 && cpu < 1024; cpu++ {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	if len(cpus) < 2 {
		t.Skip("one processor cannot interrupt another here (run the test where this process may use two)")
	}
	return cpus
}

// pin keeps the calling thread on a processor.
func pin(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("keep a thread on processor %d: %w", cpu, err)
	}
	return nil
}

// steer has the packets that reach eth0 taken in on one processor, whichever sends them.
func (h *host) steer(cpu int) {
	h.t.Helper()
	dir := h.t.TempDir()
	wait := h.alongside(func() error {
		// A sysfs shows the devices of the namespace that it was mounted in.
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("make a mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("keep mounts private: %w", err)
		}
		if err := unix.Mount("sysfs", dir, "sysfs", 0, ""); err != nil {
			return fmt.Errorf("mount sysfs: %w", err)
		}
		path := filepath.Join(dir, "class/net/eth0/queues/rx-0/rps_cpus")
		err := os.WriteFile(path, mask(cpu), 0)
		return errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH))
	})
	if err := wait(); err != nil {
		h.t.Fatal(err)
	}
}

// mask is a processor as sysfs reads it: words of 32 bits in hexadecimal, the last one first.
func mask(cpu int) []byte {
	return []byte(fmt.Sprintf("%x", 1<<(cpu%32)) + strings.Repeat(",00000000", cpu/32))
}
