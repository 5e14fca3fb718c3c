package lane

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

func TestMain(m *testing.M) {
	if Child() {
		return
	}
	// A process with the race detector otherwise waits a second before it ends.
	if err := os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0")); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// namespace is a fresh network namespace with its loopback up. It is gone when the
// test is over.
type namespace struct {
	fd     int
	handle *netlink.Handle
}

func newNamespace(t testing.TB) *namespace {
	t.Helper()
	n := &namespace{fd: -1}
	opened := make(chan error, 1)
	go func() {
		// The thread dies with the goroutine, and its namespace membership with it.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			opened <- err
			return
		}
		var err error
		n.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		opened <- err
	}()
	switch err := <-opened; {
	case errors.Is(err, unix.EPERM):
		t.Skip("needs CAP_SYS_ADMIN for network namespaces of its own: run as root, or under unshare -Ur")
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(n.fd) })
	handle, err := netlink.NewHandleAt(netns.NsHandle(n.fd))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(handle.Close)
	n.handle = handle
	n.up(t, "lo")
	return n
}

func (n *namespace) up(t testing.TB, name string) netlink.Link {
	t.Helper()
	link, err := n.handle.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.handle.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	return link
}

// enter is a Config.Prepare.
func (n *namespace) enter() error { return unix.Setns(n.fd, unix.CLONE_NEWNET) }

// blackhole is an address that is routed and never answers: a veth pair whose other
// end drops frames for a MAC address that is not its own.
func (n *namespace) blackhole(t *testing.T) string {
	t.Helper()
	attributes := netlink.NewLinkAttrs()
	attributes.Name = "near"
	if err := n.handle.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: "far"}); err != nil {
		t.Fatal(err)
	}
	n.up(t, "far")
	near := n.up(t, "near")
	address, err := netlink.ParseAddr("10.9.0.1/24")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.handle.AddrAdd(near, address); err != nil {
		t.Fatal(err)
	}
	err = n.handle.NeighAdd(&netlink.Neigh{
		LinkIndex: near.Attrs().Index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT,
		IP: net.IPv4(10, 9, 0, 2), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9},
	})
	if err != nil {
		t.Fatal(err)
	}
	return "10.9.0.2:8080"
}

// stage is one repetition.
type stage struct {
	t     testing.TB
	space *namespace
	allow Config // functions of every lane
	// longer, if set, is the context of the lane "server", so that its end does not
	// reach the client as a packet.
	longer context.Context

	mu     sync.Mutex
	calls  map[string][]*synclinev1.Event
	lives  []*synclinev1.Event
	errs   map[string]error
	thread map[string]int
}

func newStage(t testing.TB) *stage {
	return &stage{
		t: t, space: newNamespace(t),
		calls: map[string][]*synclinev1.Event{}, errs: map[string]error{}, thread: map[string]int{},
	}
}

// start runs the lanes and returns their board, and a function that waits for all.
func (s *stage) start(ctx context.Context, lanes ...*synclinev1.Lane) (*Board, func()) {
	var names []string
	for _, l := range lanes {
		names = append(names, l.Name)
	}
	board := NewBoard(names)
	var group sync.WaitGroup
	for _, l := range lanes {
		group.Go(func() {
			ctx := ctx
			if l.Name == "server" && s.longer != nil {
				ctx = s.longer
			}
			err := Run(ctx, s.config(l, board))
			s.mu.Lock()
			defer s.mu.Unlock()
			s.errs[l.Name] = err
		})
	}
	return board, group.Wait
}

func (s *stage) config(l *synclinev1.Lane, board *Board) Config {
	return Config{
		Lane: l, Board: board, Allow: s.allow.Allow, Signalled: s.allow.Signalled,
		Made: s.allow.Made, Change: s.allow.Change, TCPInfo: s.allow.TCPInfo,
		Prepare: func() error {
			s.mu.Lock()
			s.thread[l.Name] = unix.Gettid()
			s.mu.Unlock()
			return s.space.enter()
		},
		Emit: func(e *synclinev1.Event) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if c := e.GetCall(); c != nil {
				s.calls[c.Lane] = append(s.calls[c.Lane], e)
			} else {
				s.lives = append(s.lives, e)
			}
		},
	}
}

// run runs the lanes to their end, which must come soon.
func (s *stage) run(lanes ...*synclinev1.Lane) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, wait := s.start(ctx, lanes...)
	wait()
	if ctx.Err() != nil {
		s.t.Fatalf("the lanes did not end by themselves: %v", s.errs)
	}
}

// ok fails the test if a lane failed.
func (s *stage) ok() {
	s.t.Helper()
	for name, err := range s.errs {
		if err != nil {
			s.t.Errorf("lane %s: %v", name, err)
		}
	}
}

// call is the first call of a lane with this name.
func (s *stage) call(lane, name string) *synclinev1.Call {
	s.t.Helper()
	return s.event(lane, name).GetCall()
}

func (s *stage) event(lane, name string) *synclinev1.Event {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.calls[lane] {
		if e.GetCall().Name == name {
			return e
		}
	}
	s.t.Fatalf("lane %s made no call %s; its error: %v", lane, name, s.errs[lane])
	return nil
}

// blocked waits until a lane is inside a system call, as the kernel sees it.
func (s *stage) blocked(lane string, trap uintptr) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("lane %s blocks in system call %d", lane, trap), func() bool {
		s.mu.Lock()
		thread := s.thread[lane]
		s.mu.Unlock()
		b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/syscall", thread))
		return err == nil && strings.HasPrefix(string(b), fmt.Sprintf("%d ", trap))
	})
}

func (s *stage) eventually(what string, is func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !is(); runtime.Gosched() {
		if time.Now().After(deadline) {
			s.t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// lane builds a lane.
func newTestLane(name string, steps ...*synclinev1.Step) *synclinev1.Lane {
	return &synclinev1.Lane{Name: name, Steps: steps}
}

const (
	v4 = "127.0.0.1:8080"
	v6 = "[::1]:8080"
)

func socketIn(domain uint32, name string) *synclinev1.Step {
	return &synclinev1.Step{Text: name + " = socket()", Makes: name, Call: &synclinev1.Step_SocketCall{
		SocketCall: &synclinev1.SocketCall{Domain: domain, Type: unix.SOCK_STREAM},
	}}
}

func socket(name string) *synclinev1.Step { return socketIn(unix.AF_INET, name) }

func bind(name, address string) *synclinev1.Step {
	return &synclinev1.Step{Text: "bind", Socket: name, Call: &synclinev1.Step_Bind{
		Bind: &synclinev1.BindCall{Address: address},
	}}
}

func listen(name string, backlog int32) *synclinev1.Step {
	return &synclinev1.Step{Text: "listen", Socket: name, Call: &synclinev1.Step_Listen{
		Listen: &synclinev1.ListenCall{Backlog: backlog},
	}}
}

func accept(makes, name string) *synclinev1.Step {
	return &synclinev1.Step{Text: "accept", Socket: name, Makes: makes, Call: &synclinev1.Step_Accept{
		Accept: &synclinev1.AcceptCall{},
	}}
}

func connect(name, address string) *synclinev1.Step {
	return &synclinev1.Step{Text: "connect", Socket: name, Call: &synclinev1.Step_Connect{
		Connect: &synclinev1.ConnectCall{Address: address},
	}}
}

func send(name string, size int) *synclinev1.Step {
	return &synclinev1.Step{Text: "send", Socket: name, Call: &synclinev1.Step_Send{
		Send: &synclinev1.SendCall{Data: make([]byte, size)},
	}}
}

func recv(name string, size uint32) *synclinev1.Step {
	return &synclinev1.Step{Text: "recv", Socket: name, Call: &synclinev1.Step_Recv{
		Recv: &synclinev1.RecvCall{Size: size},
	}}
}

func shutdown(name string, how int32) *synclinev1.Step {
	return &synclinev1.Step{Text: "shutdown", Socket: name, Call: &synclinev1.Step_Shutdown{
		Shutdown: &synclinev1.ShutdownCall{How: how},
	}}
}

func closeOf(name string) *synclinev1.Step {
	return &synclinev1.Step{Text: "close", Socket: name, Call: &synclinev1.Step_Close{Close: &synclinev1.CloseCall{}}}
}

func setsockopt(name string, level, option int32, values ...uint64) *synclinev1.Step {
	var value []byte
	for _, v := range values {
		value = binary.NativeEndian.AppendUint64(value, v)
	}
	if len(values) == 1 {
		value = value[:4]
	}
	return &synclinev1.Step{Text: "setsockopt", Socket: name, Call: &synclinev1.Step_Setsockopt{
		Setsockopt: &synclinev1.SetSockOptCall{Level: level, Name: option, Value: value},
	}}
}

func linger(name string, seconds uint32) *synclinev1.Step {
	value := binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, 1), seconds)
	return &synclinev1.Step{Text: "setsockopt", Socket: name, Call: &synclinev1.Step_Setsockopt{
		Setsockopt: &synclinev1.SetSockOptCall{Level: unix.SOL_SOCKET, Name: unix.SO_LINGER, Value: value},
	}}
}

func sleep(d time.Duration) *synclinev1.Step {
	return &synclinev1.Step{Text: "sleep", Call: &synclinev1.Step_Sleep{
		Sleep: &synclinev1.SleepCall{DurationNs: int64(d)},
	}}
}

func signalOf(name string) *synclinev1.Step {
	return &synclinev1.Step{Text: "signal", Call: &synclinev1.Step_Signal{Signal: &synclinev1.SignalCall{Name: name}}}
}

func wait(lane, name string) *synclinev1.Step {
	return &synclinev1.Step{Text: "wait", Call: &synclinev1.Step_Wait{
		Wait: &synclinev1.WaitCall{Lane: lane, Signal: name},
	}}
}

// within gives a step the lab's own limit.
func within(s *synclinev1.Step, limit time.Duration) *synclinev1.Step {
	s.TimeoutNs = int64(limit)
	return s
}

// expects gives a step an outcome.
func expects(s *synclinev1.Step, o *synclinev1.Outcome) *synclinev1.Step {
	s.Outcome = o
	return s
}

var (
	okay    = &synclinev1.Outcome{Ok: true}
	zero    = &synclinev1.Outcome{Values: []int64{0}}
	timeout = &synclinev1.Outcome{Timeout: true}
)

func fails(errnos ...unix.Errno) *synclinev1.Outcome {
	o := &synclinev1.Outcome{}
	for _, e := range errnos {
		o.Errnos = append(o.Errnos, uint32(e))
	}
	return o
}

// listening is a server up to its listen, which it signals as "ready".
func listening(address string, more ...*synclinev1.Step) *synclinev1.Lane {
	steps := []*synclinev1.Step{socket("s"), bind("s", address), listen("s", 128), signalOf("ready")}
	return newTestLane("server", append(steps, more...)...)
}

// dialling is a client from the server's "ready" up to its connect.
func dialling(address string, more ...*synclinev1.Step) *synclinev1.Lane {
	steps := []*synclinev1.Step{wait("server", "ready"), socket("c"), connect("c", address)}
	return newTestLane("client", append(steps, more...)...)
}

func refuseAll(netip.AddrPort) error { return errors.New("no") }
