package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"syncline/controller/experiment"
	"syncline/controller/store"
	"syncline/proto/chunk"
	synclinev1 "syncline/proto/syncline/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testController is a real controller on loopback, asked and dialled through gRPC.
type testController struct {
	t testing.TB
	// dir holds all that the controller keeps, log all that it says.
	dir       string
	log       *testLog
	conn      *grpc.ClientConn
	runs      synclinev1.RunServiceClient
	agents    synclinev1.AgentServiceClient
	timelines synclinev1.TimelineServiceClient
}

// testLog keeps what a controller says. Safe for concurrent use.
type testLog struct {
	mu   sync.Mutex
	said strings.Builder
}

func (l *testLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.Write(b)
}

func (l *testLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.String()
}

func newTestController(t testing.TB) *testController {
	t.Helper()
	return newLeasingController(t, 0)
}

// newLeasingController is newTestController with leases of another length.
func newLeasingController(t testing.TB, lease time.Duration) *testController {
	t.Helper()
	dir, log := t.TempDir(), &testLog{}
	c, err := Open(Config{Dir: dir, Version: "test", Dev: true, Lease: lease, Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- c.Serve(ctx, l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-served, conn.Close()); err != nil {
			t.Error(err)
		}
	})
	return &testController{
		t: t, dir: dir, log: log, conn: conn, runs: synclinev1.NewRunServiceClient(conn),
		agents: synclinev1.NewAgentServiceClient(conn), timelines: synclinev1.NewTimelineServiceClient(conn),
	}
}

// fakeAgent says what a test wants an agent to say. What it is not told to do
// otherwise it does as a faultless agent that sees nothing.
type fakeAgent struct {
	*testController
	hello        *synclinev1.Hello
	capabilities []*synclinev1.Capability
	environment  *synclinev1.Environment
	leave        context.CancelFunc
	// welcome is what it was welcomed with last.
	welcome *synclinev1.Welcome
	// saying guards the sending side of stream.
	saying sync.Mutex
	stream grpc.BidiStreamingClient[synclinev1.ControlRequest, synclinev1.ControlResponse]

	refuse    string // the error of its Prepared
	unchanged string // the error of its Configured
	// booted is when its clock showed 0.
	booted time.Time
	// meetings are those it was told of.
	meetings chan *synclinev1.Meeting
	// signals counts those of others that it was told.
	signals atomic.Int32
	// start and finish replace its answers; configured hears what it is asked to change.
	// armed replaces its answer to Arm, drained says what it has recorded so far, and
	// draining hears what it is asked to drain.
	start      func(*synclinev1.Start)
	armed      func(*synclinev1.Arm) *synclinev1.Armed
	drained    func() (lastEvent uint64)
	draining   func(*synclinev1.Drain)
	configured func(*synclinev1.Configure)
	finish     func(run string) (lastEvent, lastChunk uint64)
	// opened, began and stopped replace what it does about clock probes; nil answers are
	// none. It takes part only if it says that it can, see probes.
	opened  func(*synclinev1.OpenProbes) *synclinev1.ProbesOpened
	began   func(*synclinev1.StartProbes)
	stopped func(*synclinev1.StopProbes) *synclinev1.ProbesStopped

	// told are the kinds of messages that it was sent, in order.
	tellMu sync.Mutex
	told   []string
}

// probes gives the agent the source of clock probes, at port 7000 of its address.
func (f *fakeAgent) probes() {
	can := &synclinev1.Capability{Source: synclinev1.Source_SOURCE_PROBES, Available: true}
	f.capabilities = append(f.capabilities, can)
	f.hello.Capabilities = append(f.hello.Capabilities, can)
}

// wasTold are the kinds of messages that the agent was sent so far.
func (f *fakeAgent) wasTold() []string {
	f.tellMu.Lock()
	defer f.tellMu.Unlock()
	return slices.Clone(f.told)
}

// probe answers what is about clock probes. As the asker it has met every peer at once.
func (f *fakeAgent) probe(m *synclinev1.ControlResponse) {
	switch m := m.Message.(type) {
	case *synclinev1.ControlResponse_OpenProbes:
		answer := &synclinev1.ProbesOpened{Session: m.OpenProbes.Session, Endpoints: []*synclinev1.ProbeEndpoint{{
			Path: synclinev1.ProbePath_PROBE_PATH_EXPERIMENT, Address: f.hello.Addresses[0] + ":7000",
		}}}
		if f.opened != nil {
			answer = f.opened(m.OpenProbes)
		}
		if answer != nil {
			f.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_ProbesOpened{ProbesOpened: answer}})
		}
	case *synclinev1.ControlResponse_StartProbes:
		if f.began != nil {
			f.began(m.StartProbes)
			return
		}
		f.meet(m.StartProbes)
	case *synclinev1.ControlResponse_StopProbes:
		answer := &synclinev1.ProbesStopped{Session: m.StopProbes.Session}
		if f.stopped != nil {
			answer = f.stopped(m.StopProbes)
		}
		if answer != nil {
			f.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_ProbesStopped{ProbesStopped: answer}})
		}
	}
}

// meet says that every peer that it asks has answered.
func (f *fakeAgent) meet(m *synclinev1.StartProbes) {
	for _, p := range m.Peers {
		for _, e := range p.Endpoints {
			if p.Ask {
				f.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_ProbesMet{ProbesMet: &synclinev1.ProbesMet{
					Session: m.Session, Host: p.Host, Path: e.Path,
				}}})
			}
		}
	}
}

// newFake makes an agent that an experiment can pick by its role.
func (c *testController) newFake(role, address string) *fakeAgent {
	return &fakeAgent{
		testController: c,
		booted:         time.Now(),
		meetings:       make(chan *synclinev1.Meeting, 64),
		hello: &synclinev1.Hello{
			Name: role, Addresses: []string{address}, BootId: "boot of " + role, Incarnation: 1,
			ProtocolMin: Protocol, ProtocolMax: Protocol, Labels: map[string]string{"role": role},
		},
		capabilities: []*synclinev1.Capability{
			{Source: synclinev1.Source_SOURCE_SYSCALLS, Available: true}, {Source: synclinev1.Source_SOURCE_PACKETS, Available: true},
		},
	}
}

// dial says hello and waits for the answer.
func (f *fakeAgent) dial() error {
	f.t.Helper()
	ctx, leave := context.WithCancel(context.Background())
	f.leave = leave
	f.t.Cleanup(leave)
	stream, err := synclinev1.NewLinkServiceClient(f.conn).Control(ctx)
	if err != nil {
		return err
	}
	f.stream = stream
	f.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Hello{Hello: f.hello}})
	first, err := stream.Recv()
	f.welcome = first.GetWelcome()
	return err
}

// pair makes a client and a server that are connected and answer.
func (c *testController) pair(change func(client, server *fakeAgent)) {
	c.t.Helper()
	client, server := c.newFake("client", "10.0.0.1"), c.newFake("server", "10.0.0.2")
	change(client, server)
	for _, f := range []*fakeAgent{client, server} {
		if err := f.dial(); err != nil {
			c.t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { defer close(done); f.answer() }()
		c.t.Cleanup(func() { f.leave(); <-done })
	}
}

// say sends a message. What cannot be sent shows on the other side.
func (f *fakeAgent) say(m *synclinev1.ControlRequest) {
	f.saying.Lock()
	defer f.saying.Unlock()
	_ = f.stream.Send(m)
}

func (f *fakeAgent) endLane(run string, repetition uint32, lane string) {
	f.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_LaneEnded{LaneEnded: &synclinev1.LaneEnded{RunId: run, Repetition: repetition, Lane: lane}}})
}

// answer does what it is told until the stream ends.
func (f *fakeAgent) answer() {
	for {
		m, err := f.stream.Recv()
		if err != nil {
			return
		}
		f.tellMu.Lock()
		f.told = append(f.told, strings.TrimPrefix(fmt.Sprintf("%T", m.Message), "*synclinev1.ControlResponse_"))
		f.tellMu.Unlock()
		f.probe(m)
		switch m := m.Message.(type) {
		case *synclinev1.ControlResponse_Prepare:
			f.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Prepared{Prepared: &synclinev1.Prepared{
				RunId: m.Prepare.RunId, Epoch: m.Prepare.Epoch, Error: f.refuse, Capabilities: f.capabilities, Environment: f.environment,
			}}})
		case *synclinev1.ControlResponse_Arm:
			answer := &synclinev1.Armed{RunId: m.Arm.RunId}
			if f.armed != nil {
				answer = f.armed(m.Arm)
			}
			f.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Armed{Armed: answer}})
		case *synclinev1.ControlResponse_Configure:
			if f.configured != nil {
				f.configured(m.Configure)
			}
			f.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Configured{Configured: &synclinev1.Configured{
				RunId: m.Configure.RunId, Epoch: m.Configure.Epoch, Error: f.unchanged,
			}}})
		case *synclinev1.ControlResponse_ClockPing:
			f.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_ClockPong{ClockPong: &synclinev1.ClockPong{
				Id: m.ClockPing.Id, TimeNs: time.Since(f.booted).Nanoseconds(),
			}}})
		case *synclinev1.ControlResponse_Signal:
			f.signals.Add(1)
		case *synclinev1.ControlResponse_Meeting:
			f.meetings <- m.Meeting
		case *synclinev1.ControlResponse_Start:
			if f.start != nil {
				f.start(m.Start)
				continue
			}
			for _, l := range m.Start.Lanes {
				f.endLane(m.Start.RunId, m.Start.Repetition, l.Name)
			}
		case *synclinev1.ControlResponse_Settle:
			f.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Quiet{Quiet: &synclinev1.Quiet{RunId: m.Settle.RunId, Repetition: m.Settle.Repetition}}})
		case *synclinev1.ControlResponse_Drain:
			if f.draining != nil {
				f.draining(m.Drain)
			}
			answer := &synclinev1.Drained{RunId: m.Drain.RunId, Repetition: m.Drain.Repetition}
			if f.drained != nil && m.Drain.Flush {
				answer.LastEvent = f.drained()
			}
			f.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Drained{Drained: answer}})
		case *synclinev1.ControlResponse_Finish:
			f.end(m.Finish.RunId, "")
		case *synclinev1.ControlResponse_Cancel:
			if m.Cancel.Repetition == 0 {
				f.end(m.Cancel.RunId, m.Cancel.Reason)
			}
		}
	}
}

func (f *fakeAgent) end(run, cause string) {
	final := &synclinev1.Finished{RunId: run, Incarnation: f.hello.Incarnation, Error: cause}
	if f.finish != nil {
		final.LastEvent, final.LastChunk = f.finish(run)
	}
	f.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Finished{Finished: final}})
}

// chunkOf is a chunk as this agent would send it.
func (f *fakeAgent) chunkOf(run string, sequence uint64, events ...*synclinev1.Event) *synclinev1.Chunk {
	var b chunk.Builder
	for _, e := range events {
		b.Add(e)
	}
	data := b.Encode()
	return &synclinev1.Chunk{
		RunId: run, Agent: f.hello.Name, Incarnation: f.hello.Incarnation, Sequence: sequence,
		FirstEvent: events[0].Number, Events: uint32(len(events)), Data: data, Crc32C: store.Checksum(data),
	}
}

// upload sends one chunk on a stream of its own and returns why it was rejected.
func (f *fakeAgent) upload(c *synclinev1.Chunk) (rejected string, err error) {
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	stream, err := synclinev1.NewLinkServiceClient(f.conn).Upload(ctx)
	if err != nil {
		return "", err
	}
	if err := stream.Send(&synclinev1.UploadRequest{Chunk: c}); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	answer, err := stream.Recv()
	return answer.GetRejected(), err
}

func mark(number uint64, repetition uint32, kind synclinev1.MarkKind) *synclinev1.Event {
	return &synclinev1.Event{
		Number: number, TimeNs: int64(number), Repetition: repetition,
		Fact: &synclinev1.Event_Mark{Mark: &synclinev1.Mark{Kind: kind}},
	}
}

// create starts a run of one repetition of a scenario of the library.
func (c *testController) create(request, name string) *synclinev1.Run {
	c.t.Helper()
	source, ok := experiment.Open(name)
	if !ok {
		c.t.Fatalf("no scenario %s", name)
	}
	created, err := c.runs.CreateRun(c.t.Context(), &synclinev1.CreateRunRequest{RequestId: request, FileName: name, Source: source, Repetitions: 1})
	if err != nil {
		c.t.Fatal(err)
	}
	return created.Run
}

// follow waits for a run's final state.
func (c *testController) follow(id string) (last *synclinev1.Run) {
	c.t.Helper()
	stream, err := c.runs.WatchRun(c.t.Context(), &synclinev1.WatchRunRequest{Id: id})
	if err != nil {
		c.t.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return last
		}
		if err != nil {
			c.t.Fatal(err)
		}
		last = m.Run
	}
}

// passes are the expectations that passed in some repetition of a run.
func (c *testController) passes(id string) (passed []string) {
	c.t.Helper()
	stream, err := c.timelines.ListVerdicts(c.t.Context(), &synclinev1.ListVerdictsRequest{RunId: id})
	if err != nil {
		c.t.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return passed
		}
		if err != nil {
			c.t.Fatal(err)
		}
		for _, v := range m.Verdicts {
			if v.Ruling == synclinev1.Ruling_RULING_PASS {
				passed = append(passed, v.Expectation)
			}
		}
	}
}
