package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// overfull is a listener whose queue takes one more than its backlog, clients
// enough to fill it, and one more that is refused a place.
func overfull(backlog int) (end, []end) {
	l := tcp(unix.AF_INET)
	check(unix.Bind(int(l), sockaddr(loopback4, port)))
	check(unix.Listen(int(l), backlog))
	var ends []end
	for range backlog + 1 {
		ends = append(ends, dial(loopback4))
	}
	// Its SYN is dropped, so its connect must not block.
	late := tcp(unix.AF_INET)
	check(unix.SetNonblock(int(late), true))
	if err := unix.Connect(int(late), sockaddr(loopback4, port)); err != unix.EINPROGRESS {
		panic(err)
	}
	return l, append(ends, late)
}

// recorded is what a QueueWatch says from a thread of its own.
type recorded struct {
	events chan *synclinev1.Event
	cancel context.CancelFunc
	wait   func()
}

func record(f Flows) *recorded {
	ctx, cancel := context.WithCancel(context.Background())
	r := &recorded{events: make(chan *synclinev1.Event, 1000), cancel: cancel}
	r.wait = alongside(func() {
		w := QueueWatch{Flows: f}
		check(w.Run(ctx, func(e *synclinev1.Event) { r.events <- e }))
		close(r.events)
	})
	return r
}

// until reads events up to the one that says this, "address length/limit requests".
func (r *recorded) until(want string) {
	var said []string
	for {
		select {
		case e := <-r.events:
			said = append(said, queueText(e))
			if said[len(said)-1] == want {
				return
			}
		case <-time.After(5 * time.Second):
			panic(fmt.Sprintf("the queue was never %s, only %s", want, strings.Join(said, ", ")))
		}
	}
}

func (r *recorded) end() (rest []string) {
	r.cancel()
	r.wait()
	for e := range r.events {
		rest = append(rest, queueText(e))
	}
	return rest
}

func queueText(e *synclinev1.Event) string {
	q := e.GetQueue()
	return fmt.Sprintf("%s %d/%d %d", q.Address, q.Length, q.Limit, q.Requests)
}

func TestQueueFillsAndEmpties(t *testing.T) {
	inNamespace(t, func() {
		r := record(flowsOf(loopback4))
		l := tcp(unix.AF_INET)
		check(unix.Bind(int(l), sockaddr(loopback4, port)))
		check(unix.Listen(int(l), 1))
		r.until("127.0.0.1:8080 0/1 0")
		a := dial(loopback4)
		r.until("127.0.0.1:8080 1/1 0")
		b := dial(loopback4)
		r.until("127.0.0.1:8080 2/1 0")
		s := l.accept()
		r.until("127.0.0.1:8080 1/1 0")
		check(unix.Listen(int(l), 7))
		r.until("127.0.0.1:8080 1/7 0")
		if rest := r.end(); len(rest) != 0 {
			panic(fmt.Sprint("nothing changed, and it said ", rest))
		}
		for _, e := range []end{a, b, s, l} {
			e.close()
		}
	})
}

func TestQueueCountsRequestSockets(t *testing.T) {
	for _, any := range []netip.Addr{loopback4, netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		t.Run(any.String(), func(t *testing.T) {
			inNamespace(t, func() {
				l := listener(any)
				check(unix.SetsockoptInt(int(l), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 30))
				r := record(flowsOf(loopback4))
				c := dial(loopback4)
				address := netip.AddrPortFrom(any, port).String()
				r.until(address + " 0/16 1")
				check(c.write("x"))
				r.until(address + " 1/16 0")
				w := QueueWatch{Flows: flowsOf(loopback4)}
				var said []string
				for _, e := range must(w.Sample()) {
					said = append(said, queueText(e))
				}
				if d := cmp.Diff([]string{address + " 1/16 0"}, said); d != "" {
					panic(d)
				}
				r.end()
				c.close()
				l.close()
			})
		})
	}
}

func TestQueueOfALateListenerAndOfOthers(t *testing.T) {
	inNamespace(t, func() {
		other := tcp(unix.AF_INET)
		check(unix.Bind(int(other), sockaddr(loopback4, port+1)))
		check(unix.Listen(int(other), 3))
		r := record(Flows{Addresses: []netip.Addr{loopback4}, Ranges: []PortRange{{port - 5, port}}})
		l := listener(loopback4)
		r.until("127.0.0.1:8080 0/16 0")
		l.close()
		l = listener(loopback4)
		// The next one at the same place is another.
		r.until("127.0.0.1:8080 0/16 0")
		if rest := r.end(); len(rest) != 0 {
			panic(fmt.Sprint("of a port that is not the run's: ", rest))
		}
		l.close()
		other.close()
	})
}

func TestQueueLooksOnceMoreAtTheEnd(t *testing.T) {
	inNamespace(t, func() {
		l := listener(loopback4)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		var said []string
		w := QueueWatch{Flows: flowsOf(loopback4)}
		check(w.Run(ctx, func(e *synclinev1.Event) { said = append(said, queueText(e)) }))
		if d := cmp.Diff([]string{"127.0.0.1:8080 0/16 0"}, said); d != "" {
			panic(d)
		}
		l.close()
	})
}

func TestRequestsFindTheirListener(t *testing.T) {
	at := netip.MustParseAddrPort
	listeners := []Socket{
		{Cookie: 1, Local: at("[::]:80")},
		{Cookie: 2, Local: at("10.0.0.1:80")},
		{Cookie: 3, Local: at("0.0.0.0:81")},
		{Cookie: 4, Local: at("10.0.0.1:80")},
	}
	requests := []Socket{
		{Local: at("10.0.0.1:80")}, {Local: at("10.0.0.2:80")}, {Local: at("[fd00::1]:80")},
		{Local: at("10.0.0.1:81")}, {Local: at("[fd00::1]:81")}, {Local: at("10.0.0.1:82")},
	}
	want := map[uint64]uint32{1: 2, 2: 1, 3: 1}
	if d := cmp.Diff(want, requestsOf(listeners, requests)); d != "" {
		t.Error(d)
	}
}

// The two looks that a QueueWatch makes, every 2 ms and every 10 ms.
func BenchmarkQueueLook(b *testing.B) {
	for _, requests := range []bool{false, true} {
		b.Run(fmt.Sprintf("requests=%v", requests), func(b *testing.B) {
			l := tcp(unix.AF_INET)
			defer l.close()
			check(unix.Bind(int(l), sockaddr(loopback4, 0)))
			check(unix.Listen(int(l), 3))
			f := Flows{Addresses: []netip.Addr{loopback4}, Ranges: []PortRange{{1, 65535}}}
			look, err := openQueueLook(f)
			if err != nil {
				b.Fatal(err)
			}
			defer look.diag.close()
			for b.Loop() {
				if err := look.once(requests, func(*synclinev1.Event) {}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
