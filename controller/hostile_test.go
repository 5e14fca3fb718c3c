package controller

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

const scenario = "connect-refused"

// wantFailed fails unless a run ended as failed, with a reason that has a text in it,
// and no expectation passed.
func (c *testController) wantFailed(run *synclinev1.Run, reason string) {
	c.t.Helper()
	if run.State != synclinev1.RunState_RUN_STATE_FAILED || !strings.Contains(run.Reason, reason) || len(run.Incomplete) == 0 {
		c.t.Errorf("the run ended as %v, reason %.200q, incomplete %.200q; want it failed because of %q", run.State, run.Reason, run.Incomplete, reason)
	}
	if passed := c.passes(run.Id); len(passed) > 0 {
		c.t.Errorf("passed in a run that is not whole: %q", passed)
	}
}

// An agent of a name that is taken is refused, and changes nothing.
func TestSecondAgentOfAName(t *testing.T) {
	c := newTestController(t)
	if err := c.newFake("client", "10.0.0.1").dial(); err != nil {
		t.Fatal(err)
	}
	other := c.newFake("client", "10.9.9.9")
	other.hello.Incarnation = 2
	if err := other.dial(); status.Code(err) != codes.AlreadyExists {
		t.Errorf("the second agent got %v", err)
	}
	list, err := c.agents.ListAgents(t.Context(), &synclinev1.ListAgentsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Agents) != 1 || !slices.Equal(list.Agents[0].Addresses, []string{"10.0.0.1"}) {
		t.Errorf("the agents are %v", list.Agents)
	}
}

// What no agent may say of itself is refused for good.
func TestBadHello(t *testing.T) {
	c := newTestController(t)
	for name, spoil := range map[string]func(*synclinev1.Hello){
		"name":     func(h *synclinev1.Hello) { h.Name = "../../etc" },
		"address":  func(h *synclinev1.Hello) { h.Addresses = []string{"here"} },
		"no boot":  func(h *synclinev1.Hello) { h.BootId = "" },
		"protocol": func(h *synclinev1.Hello) { h.ProtocolMin, h.ProtocolMax = 7, 9 },
		"too old":  func(h *synclinev1.Hello) { h.ProtocolMin, h.ProtocolMax = 1, 1 },
		"clock":    func(h *synclinev1.Hello) { h.TestClock = strings.Repeat("x", maxTestClock+1) },
		"labels":   func(h *synclinev1.Hello) { h.Labels = map[string]string{"k": strings.Repeat("v", 1000)} },
		"nothing":  func(h *synclinev1.Hello) { h.Addresses = nil },
		"features": func(h *synclinev1.Hello) { h.Features = make([]*synclinev1.Feature, maxFeatures+1) },
		"feature": func(h *synclinev1.Hello) {
			h.Features = []*synclinev1.Feature{{Name: "root", Reason: strings.Repeat("x", maxFeatureSize)}}
		},
	} {
		f := c.newFake("client", "10.0.0.1")
		spoil(f.hello)
		if code := status.Code(f.dial()); code != codes.InvalidArgument && code != codes.FailedPrecondition {
			t.Errorf("%s: %v", name, code)
		}
	}
}

// A chunk that does not hold what its envelope claims is rejected, and the run is not
// whole without it.
func TestChunkThatClaimsTooMuch(t *testing.T) {
	c := newTestController(t)
	c.pair(func(client, server *fakeAgent) {
		client.finish = func(run string) (uint64, uint64) {
			claims := client.chunkOf(run, 1, mark(1, 1, synclinev1.MarkKind_MARK_KIND_REPETITION_BEGIN), mark(50, 1, synclinev1.MarkKind_MARK_KIND_REPETITION_END))
			claims.Events = 50
			if rejected, err := client.upload(claims); err != nil || rejected == "" {
				t.Errorf("not rejected: %v", err)
			}
			// It says honestly then that it has nothing, but its lanes are not on record.
			return 0, 0
		}
	})
	run := c.follow(c.create("q", scenario).Id)
	if passed := c.passes(run.Id); len(passed) > 0 {
		t.Errorf("passed without an event: %q", passed)
	}
}

// Only the agents of a run add to it.
func TestChunkOfAStranger(t *testing.T) {
	c := newTestController(t)
	stranger := c.newFake("stranger", "10.0.0.3")
	c.pair(func(client, server *fakeAgent) {
		client.finish = func(run string) (uint64, uint64) {
			if rejected, err := stranger.upload(stranger.chunkOf(run, 1, mark(1, 1, synclinev1.MarkKind_MARK_KIND_ARMED))); err != nil || !strings.Contains(rejected, "no part") {
				t.Errorf("rejected as %q, %v", rejected, err)
			}
			return 0, 0
		}
	})
	c.follow(c.create("q", scenario).Id)
}

// A chunk that was damaged on its way ends the upload at once, so that the agent
// comes again with a good one.
func TestDamagedChunk(t *testing.T) {
	c := newTestController(t)
	c.pair(func(client, server *fakeAgent) {
		client.finish = func(run string) (uint64, uint64) {
			damaged := client.chunkOf(run, 1, mark(1, 1, synclinev1.MarkKind_MARK_KIND_ARMED))
			damaged.Crc32C++
			if _, err := client.upload(damaged); status.Code(err) != codes.DataLoss {
				t.Errorf("the upload of a damaged chunk ended with %v", err)
			}
			return 0, 0
		}
	})
	c.follow(c.create("q", scenario).Id)
}

// A stray chunk of another start of an agent leaves a gap that nothing fills: the run
// ends all the same, as failed.
func TestChunkOfAnotherStart(t *testing.T) {
	c := newTestController(t)
	c.pair(func(client, server *fakeAgent) {
		client.finish = func(run string) (uint64, uint64) {
			stray := client.chunkOf(run, 7, mark(70, 1, synclinev1.MarkKind_MARK_KIND_ARMED))
			stray.Incarnation = 99
			if _, err := client.upload(stray); err != nil {
				t.Error(err)
			}
			return 0, 0
		}
	})
	c.wantFailed(c.follow(c.create("q", scenario).Id), "seal")
}

// Only the host of a lane ends it, and only in its own run.
func TestLaneEndedByAStranger(t *testing.T) {
	c := newTestController(t)
	began := make(chan *synclinev1.Start, 1)
	c.pair(func(client, server *fakeAgent) {
		client.start = func(s *synclinev1.Start) { began <- s }
		server.start = func(s *synclinev1.Start) {
			for _, lane := range s.LaneNames {
				server.endLane("r-of-yesterday", s.Repetition, lane)
				server.endLane(s.RunId, s.Repetition, lane)
			}
			// Without a lane of its own the server is through; this comes after the false
			// words, and the run reads them in order.
			server.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Finished{Finished: &synclinev1.Finished{RunId: s.RunId, Error: "enough"}}})
		}
	})
	run := c.create("q", scenario)
	<-began
	c.wantFailed(c.follow(run.Id), "enough")
}

// A source that an agent does not name is missing.
func TestSourceNotNamed(t *testing.T) {
	c := newTestController(t)
	whole := func(f *fakeAgent) func(string) (uint64, uint64) {
		return func(run string) (uint64, uint64) {
			if rejected, err := f.upload(f.chunkOf(run, 1, mark(1, 1, synclinev1.MarkKind_MARK_KIND_REPETITION_BEGIN), mark(2, 1, synclinev1.MarkKind_MARK_KIND_REPETITION_END))); err != nil || rejected != "" {
				t.Errorf("rejected as %q, %v", rejected, err)
			}
			return 2, 1
		}
	}
	c.pair(func(client, server *fakeAgent) {
		client.capabilities, server.capabilities = nil, nil
		client.finish, server.finish = whole(client), whole(server)
	})
	run := c.follow(c.create("q", "basic-open-close").Id)
	if run.State != synclinev1.RunState_RUN_STATE_SEALED {
		t.Errorf("the run ended as %v: %s", run.State, run.Reason)
	}
	for _, passed := range c.passes(run.Id) {
		if strings.HasPrefix(passed, "never") || strings.HasPrefix(passed, "order") || strings.HasPrefix(passed, "packets") {
			t.Errorf("passed without a tap: %s", passed)
		}
	}
}

// A text of any length that an agent or an operator gives ends in the run, cut.
func TestLongReason(t *testing.T) {
	c := newTestController(t)
	c.pair(func(client, server *fakeAgent) { client.refuse = strings.Repeat("e", 400<<10) })
	c.wantFailed(c.follow(c.create("q", scenario).Id), "eeee")
}

// The same request again finds the run that the first one made, also while its agents
// are at work.
func TestCreateRunAgain(t *testing.T) {
	c := newTestController(t)
	began := make(chan *synclinev1.Start, 1)
	var worker *fakeAgent
	c.pair(func(client, server *fakeAgent) {
		client.start = func(s *synclinev1.Start) { began <- s }
		worker = client
	})
	first := c.create("q", scenario)
	start := <-began
	if again := c.create("q", scenario); again.Id != first.Id {
		t.Errorf("the same request made runs %s and %s", first.Id, again.Id)
	}
	_, err := c.runs.CreateRun(t.Context(), &synclinev1.CreateRunRequest{RequestId: "other", FileName: "x", Source: []byte(busySource)})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "syncline cancel "+first.Id) {
		t.Errorf("another run of a busy agent got %v", err)
	}
	worker.endLane(first.Id, start.Repetition, "client")
	c.follow(first.Id)
}

const busySource = `experiment: busy
hosts: { A: { pick: { role: client } } }
observe: [syscalls]
lanes: { client: { host: A, do: ["c = socket(tcp)", "close(c)"] } }
`

// A peer that reads nothing is cut off, and holds up nobody for ever.
func TestSessionThatDoesNotRead(t *testing.T) {
	s := &session{out: make(chan *synclinev1.ControlResponse), gone: make(chan struct{}), patience: time.Millisecond}
	s.send(&synclinev1.ControlResponse{})
	select {
	case <-s.gone:
	default:
		t.Fatal("the session is still open")
	}
	s.send(&synclinev1.ControlResponse{})
}

// An upload without a chunk is answered, and harms nobody.
func TestUploadWithoutAChunk(t *testing.T) {
	c := newTestController(t)
	rejected, err := c.newFake("client", "10.0.0.1").upload(nil)
	if err != nil || rejected == "" {
		t.Errorf("an empty upload is answered with %q, %v", rejected, err)
	}
}

// An event that no timeline can be made of is refused when it comes: the run is then
// honestly not whole, instead of sealed and unreadable.
func TestEventThatNoTimelineCanHold(t *testing.T) {
	for name, e := range map[string]*synclinev1.Event{
		"address": {Number: 1, TimeNs: 1, Repetition: 1, Fact: &synclinev1.Event_Queue{Queue: &synclinev1.Queue{Address: "rubbish"}}},
		"time":    {Number: 1, TimeNs: 9, Repetition: 1, Fact: &synclinev1.Event_Call{Call: &synclinev1.Call{Lane: "client", Name: "close", ReturnNs: 5}}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newTestController(t)
			var rejected string
			c.pair(func(client, _ *fakeAgent) {
				client.finish = func(run string) (uint64, uint64) {
					var err error
					if rejected, err = client.upload(client.chunkOf(run, 1, e)); err != nil {
						t.Error(err)
					}
					return 0, 0
				}
			})
			run := c.follow(c.create("bad", scenario).Id)
			if rejected == "" {
				t.Errorf("event %v was taken", e)
			}
			stream, err := c.timelines.ListVerdicts(t.Context(), &synclinev1.ListVerdictsRequest{RunId: run.Id})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				t.Errorf("the run cannot be judged any more: %v", err)
			}
		})
	}
}

// An agent speaks for its own lanes and watches only: it cannot release a meeting for
// others, nor give their signals.
func TestAgentThatSpeaksForOthers(t *testing.T) {
	c := newTestController(t)
	began := make(chan *synclinev1.Start, 1)
	var liar, other *fakeAgent
	c.pair(func(client, server *fakeAgent) {
		liar, other = client, server
		client.start = func(s *synclinev1.Start) { began <- s }
		server.start = func(*synclinev1.Start) {}
	})
	created, err := c.createSource("foreign", met)
	if err != nil {
		t.Fatal(err)
	}
	s := <-began
	liar.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Arrived{Arrived: &synclinev1.Arrived{
		RunId: s.RunId, Repetition: s.Repetition, Meeting: "go", Lane: "right",
	}}})
	for _, name := range []string{"right", ""} {
		liar.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Signal{Signal: &synclinev1.SignalSent{
			RunId: s.RunId, Repetition: s.Repetition, Lane: name, Name: "forged",
		}}})
	}
	// Its own lane ends, which is said to the others after all it said before.
	liar.endLane(s.RunId, s.Repetition, "left")
	if m := <-other.meetings; !strings.Contains(m.Error, "left") {
		t.Errorf("the meeting took place: %v", m)
	}
	if n := other.signals.Load(); n != 0 {
		t.Errorf("%d forged signals were passed on", n)
	}
	if _, err := c.runs.CancelRun(t.Context(), &synclinev1.CancelRunRequest{Id: created.Id}); err != nil {
		t.Fatal(err)
	}
	other.endLane(s.RunId, s.Repetition, "right")
	c.follow(created.Id)
}

// TestUnknownRunIsForTheLeaderToSay: an agent forgets what is refused, so a node that may not have
// heard of a run yet refuses no chunk of it.
func TestUnknownRunIsForTheLeaderToSay(t *testing.T) {
	dir := t.TempDir()
	if _, err := store.Identify(dir, "n2"); err != nil {
		t.Fatal(err)
	}
	if err := store.JoinCluster(dir, "lab"); err != nil {
		t.Fatal(err)
	}
	// It waits for the leader of its cluster.
	st, err := store.Open(store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	link := &linkService{controller: &Controller{store: st}}
	r := link.commit(t.Context(), &synclinev1.Chunk{RunId: "r-1", Agent: "vm1", Incarnation: 1, Sequence: 1, FirstEvent: 1, Events: 1, Data: []byte("x")})
	if r.ack != nil || status.Code(r.err) != codes.Unavailable {
		t.Errorf("a node that does not lead answers %v, %v", r.ack, r.err)
	}
}
