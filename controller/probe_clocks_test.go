package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/experiment"
	synclinev1 "syncline/proto/syncline/v1"
)

// exchangesOf gives two fakes clocks that are ahead of each other, and sights of so many
// exchanges between them, 10 ms apart, of which each way takes 20 µs.
func exchangesOf(asker, answerer *fakeAgent, names [2]string, ahead time.Duration, count int) {
	const way = int64(20 * time.Microsecond)
	var at, peer []*synclinev1.Event
	sight := func(to *[]*synclinev1.Event, host string, ns int64, out synclinev1.Direction, exchange int, reply bool) {
		*to = append(*to, &synclinev1.Event{Number: uint64(len(*to) + 1), TimeNs: ns, Fact: &synclinev1.Event_Probe{Probe: &synclinev1.Probe{
			Peer: host, Direction: out, Exchange: uint64(exchange), Reply: reply,
			Path: synclinev1.ProbePath_PROBE_PATH_EXPERIMENT, Origin: synclinev1.StampOrigin_STAMP_ORIGIN_KERNEL, ErrorNs: 40,
		}}})
	}
	const out, in = synclinev1.Direction_DIRECTION_OUT, synclinev1.Direction_DIRECTION_IN
	for i := 1; i <= count; i++ {
		t := int64(time.Hour) + int64(i)*int64(10*time.Millisecond)
		sight(&at, names[1], t, out, i, false)
		sight(&peer, names[0], t+way+int64(ahead), in, i, false)
		sight(&peer, names[0], t+2*way+int64(ahead), out, i, true)
		sight(&at, names[1], t+3*way, in, i, true)
	}
	tell := func(f *fakeAgent, events []*synclinev1.Event) {
		f.stopped = func(m *synclinev1.StopProbes) *synclinev1.ProbesStopped {
			return &synclinev1.ProbesStopped{Session: m.Session, Events: events}
		}
	}
	tell(asker, at)
	tell(answerer, peer)
}

func TestProbeClocks(t *testing.T) {
	c := newTestController(t)
	began := make(chan *synclinev1.StartProbes, 2)
	c.pair(func(client, server *fakeAgent) {
		for _, f := range []*fakeAgent{client, server} {
			f.probes()
			f.began = func(m *synclinev1.StartProbes) { began <- m; f.meet(m) }
		}
		server.hello.TestClock = "offset=1s"
		exchangesOf(client, server, [2]string{"client", "server"}, time.Second, 20)
	})
	answer, err := c.timelines.ProbeClocks(t.Context(), &synclinev1.ProbeClocksRequest{
		Agents: []string{"client", "server"}, Reference: "client", DurationNs: int64(50 * time.Millisecond), Rate: 50, Points: 5,
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if m := <-began; m.Rate != 50 || !strings.HasPrefix(m.Session, "p-") || m.Quiet {
			t.Errorf("an agent was told %v", m)
		}
	}
	r := answer.Report
	if r.Schema != ClockSchema || r.RunId != "" || len(r.Hosts) != 2 || r.Hosts[0].Method != "reference" || r.Hosts[1].TestClock != "offset=1s" {
		t.Fatalf("the report is %v", r)
	}
	if len(r.Hosts[1].Points) != 5 || len(r.Pairs) != 1 || r.Pairs[0].ProbesThere != 20 || r.Pairs[0].ProbesBack != 20 {
		t.Errorf("the report has %d points and the pairs %v", len(r.Hosts[1].Points), r.Pairs)
	}
	for _, p := range r.Hosts[1].Points {
		if all := p.All; all.GetLowNs() > 1e9 || all.GetHighNs() < 1e9 || all.GetHighNs()-all.GetLowNs() > 60_000 || all.LowNs == nil {
			t.Errorf("at %d the offset is in %v, want 1 s within ± 30 µs", p.LocalNs, all)
		}
	}
}

// What cannot be measured is refused, with what to do about it.
func TestProbeClocksErrors(t *testing.T) {
	c := newTestController(t)
	gone := c.newFake("gone", "10.0.0.3")
	if err := gone.dial(); err != nil {
		t.Fatal(err)
	}
	gone.leave()
	c.pair(func(client, server *fakeAgent) { client.probes() })
	c.awaitGone("gone")
	both := []string{"client", "server"}
	for name, w := range map[string]struct {
		q    *synclinev1.ProbeClocksRequest
		code codes.Code
		text string
	}{
		"nobody":          {&synclinev1.ProbeClocksRequest{}, codes.InvalidArgument, "two agents or more"},
		"one":             {&synclinev1.ProbeClocksRequest{Agents: both[:1]}, codes.InvalidArgument, "1 named"},
		"too many":        {&synclinev1.ProbeClocksRequest{Agents: make([]string, 257)}, codes.InvalidArgument, "at most 256"},
		"twice":           {&synclinev1.ProbeClocksRequest{Agents: []string{"client", "client"}}, codes.InvalidArgument, "named twice"},
		"unknown":         {&synclinev1.ProbeClocksRequest{Agents: []string{"client", "vm9"}}, codes.NotFound, `no agent "vm9"`},
		"gone":            {&synclinev1.ProbeClocksRequest{Agents: []string{"client", "gone"}}, codes.FailedPrecondition, "agent gone is not connected"},
		"too long":        {&synclinev1.ProbeClocksRequest{Agents: both, DurationNs: int64(maxProbeTime) + 1}, codes.InvalidArgument, "at most 1m0s"},
		"back in time":    {&synclinev1.ProbeClocksRequest{Agents: both, DurationNs: -1}, codes.InvalidArgument, "-1ns was asked for"},
		"too fast":        {&synclinev1.ProbeClocksRequest{Agents: both, Rate: 101}, codes.InvalidArgument, "at most 100"},
		"too many points": {&synclinev1.ProbeClocksRequest{Agents: both, Points: 10_001}, codes.InvalidArgument, "at most"},
		"no reference":    {&synclinev1.ProbeClocksRequest{Agents: both, Reference: "vm9"}, codes.InvalidArgument, "there are client, server"},
		"old agent":       {&synclinev1.ProbeClocksRequest{Agents: both}, codes.FailedPrecondition, "agent server: its release knows no clock probes"},
	} {
		_, err := c.timelines.ProbeClocks(t.Context(), w.q)
		if status.Code(err) != w.code || !strings.Contains(status.Convert(err).Message(), w.text) {
			t.Errorf("%s: %v, want %v with %q", name, err, w.code, w.text)
		}
	}
}

// awaitGone waits until an agent is no more connected.
func (c *testController) awaitGone(name string) {
	c.t.Helper()
	stream, err := c.agents.WatchAgents(c.t.Context(), &synclinev1.WatchAgentsRequest{})
	if err != nil {
		c.t.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			c.t.Fatal(err)
		}
		for _, a := range m.Agents {
			if a.Name == name && a.State == synclinev1.AgentState_AGENT_STATE_GONE {
				return
			}
		}
	}
}

// Agents of one clock need not be measured; nothing is sent.
func TestProbeClocksOfOneClock(t *testing.T) {
	c := newTestController(t)
	var all []*fakeAgent
	c.pair(func(client, server *fakeAgent) {
		server.hello.BootId = client.hello.BootId
		all = []*fakeAgent{client, server}
	})
	answer, err := c.timelines.ProbeClocks(t.Context(), &synclinev1.ProbeClocksRequest{Agents: []string{"client", "server"}, Reference: "server"})
	if err != nil {
		t.Fatal(err)
	}
	r := answer.Report
	if r.Reference != 1 || r.Hosts[0].Method != "same clock" || r.Hosts[1].Method != "reference" || r.Hosts[0].GetErrorMaxNs() != 0 || r.Hosts[0].ErrorMaxNs == nil {
		t.Errorf("the report is %v", r)
	}
	for _, f := range all {
		if told := f.wasTold(); len(told) > 0 {
			t.Errorf("agent %s was told %v", f.hello.Name, told)
		}
	}
}

// A measurement ends with whoever asked for it, with its agents, and with what they say that
// makes no sense; the agents are told to stop in every case but that they are gone.
func TestProbeClocksEnds(t *testing.T) {
	for name, w := range map[string]struct {
		spoil func(client, server *fakeAgent, cancel context.CancelFunc)
		code  codes.Code
		text  string
	}{
		"cancelled": {func(client, _ *fakeAgent, cancel context.CancelFunc) {
			client.began = func(*synclinev1.StartProbes) { cancel() }
		}, codes.Canceled, ""},
		"agent lost": {func(client, server *fakeAgent, _ context.CancelFunc) {
			client.began = func(*synclinev1.StartProbes) { server.leave() }
		}, codes.FailedPrecondition, "agent server: it was lost"},
		"nothing seen": {func(_, _ *fakeAgent, _ context.CancelFunc) {}, codes.FailedPrecondition, "no two of these clocks could be compared"},
		"nonsense": {func(client, _ *fakeAgent, _ context.CancelFunc) {
			client.stopped = func(m *synclinev1.StopProbes) *synclinev1.ProbesStopped {
				return &synclinev1.ProbesStopped{Session: m.Session, Events: []*synclinev1.Event{mark(1, 0, synclinev1.MarkKind_MARK_KIND_ARMED), {Number: 2}}}
			}
		}, codes.FailedPrecondition, "that agent client told of"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newTestController(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stopped := make(chan bool, 2)
			c.pair(func(client, server *fakeAgent) {
				client.probes()
				server.probes()
				w.spoil(client, server, cancel)
				answer := client.stopped
				client.stopped = func(m *synclinev1.StopProbes) *synclinev1.ProbesStopped {
					stopped <- true
					if answer != nil {
						return answer(m)
					}
					return &synclinev1.ProbesStopped{Session: m.Session}
				}
			})
			q := &synclinev1.ProbeClocksRequest{Agents: []string{"client", "server"}, DurationNs: int64(100 * time.Millisecond)}
			if name == "cancelled" {
				q.DurationNs = int64(maxProbeTime)
			}
			_, err := c.timelines.ProbeClocks(ctx, q)
			if status.Code(err) != w.code || !strings.Contains(status.Convert(err).Message(), w.text) {
				t.Errorf("%v, want %v with %q", err, w.code, w.text)
			}
			<-stopped
		})
	}
}

// There are only so many measurements at once, and a run does not hear of them.
func TestProbeClocksLimit(t *testing.T) {
	c := newTestController(t)
	opened := make(chan bool, maxProbings)
	c.pair(func(client, server *fakeAgent) {
		client.probes()
		server.probes()
		client.began = func(*synclinev1.StartProbes) { opened <- true }
	})
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for range maxProbings {
		waiting.Go(func() {
			_, err := c.timelines.ProbeClocks(ctx, &synclinev1.ProbeClocksRequest{Agents: []string{"client", "server"}, DurationNs: int64(maxProbeTime)})
			if status.Code(err) != codes.Canceled {
				t.Errorf("a measurement ended with %v", err)
			}
		})
	}
	for range maxProbings {
		<-opened
	}
	_, err := c.timelines.ProbeClocks(t.Context(), &synclinev1.ProbeClocksRequest{Agents: []string{"client", "server"}})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one more measurement got %v, want ResourceExhausted", err)
	}
	cancel()
	waiting.Wait()
}

// A run that would see probes keeps them few, its own and those of a measurement beside it.
func TestProbesKeepQuiet(t *testing.T) {
	for observe, want := range map[string]bool{"syscalls, packets": false, "syscalls, packets, arp": true} {
		c := newTestController(t)
		began := make(chan *synclinev1.StartProbes, 8)
		hold := make(chan bool)
		c.pair(func(client, server *fakeAgent) {
			for _, f := range []*fakeAgent{client, server} {
				f.probes()
				f.began = func(m *synclinev1.StartProbes) { began <- m; f.meet(m) }
				f.start = func(m *synclinev1.Start) {
					go func() {
						<-hold
						for _, l := range m.Lanes {
							f.endLane(m.RunId, m.Repetition, l.Name)
						}
					}()
				}
			}
		})
		source := strings.Replace(plannedSource, "syscalls, packets", observe, 1)
		created, err := c.runs.CreateRun(t.Context(), &synclinev1.CreateRunRequest{RequestId: "q", FileName: "x", Source: []byte(source), Repetitions: 1})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.timelines.ProbeClocks(t.Context(), &synclinev1.ProbeClocksRequest{Agents: []string{"client", "server"}, DurationNs: 1})
		if status.Code(err) != codes.FailedPrecondition {
			t.Error(err) // The fakes saw nothing.
		}
		close(hold)
		if run := c.follow(created.Run.Id); run.State != synclinev1.RunState_RUN_STATE_SEALED {
			t.Errorf("the run is %v: %s", run.State, run.Reason)
		}
		if got := c.follow(created.Run.Id).Warnings; len(got) > 0 != want {
			t.Errorf("observing %s: the warnings are %q", observe, got)
		}
		for range 4 {
			if m := <-began; m.Quiet != want {
				t.Errorf("observing %s: session %s keeps quiet: %v, want %v", observe, m.Session, m.Quiet, want)
			}
		}
	}
}

// A measurement that began first ends when a run begins that would see it, before the run
// has its agents do anything.
func TestMeasurementEndsForARunThatWouldSeeIt(t *testing.T) {
	for observe, want := range map[string]bool{"syscalls, packets": false, "syscalls, packets, arp": true} {
		c := newTestController(t)
		began := make(chan bool, 8)
		c.pair(func(client, server *fakeAgent) {
			client.probes()
			server.probes()
			for _, f := range []*fakeAgent{client, server} {
				f.began = func(m *synclinev1.StartProbes) { began <- true; f.meet(m) }
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		measured := make(chan error, 1)
		go func() {
			_, err := c.timelines.ProbeClocks(ctx, &synclinev1.ProbeClocksRequest{Agents: []string{"client", "server"}, DurationNs: int64(maxProbeTime)})
			measured <- err
		}()
		<-began
		<-began
		source := strings.Replace(plannedSource, "syscalls, packets", observe, 1)
		created, err := c.runs.CreateRun(t.Context(), &synclinev1.CreateRunRequest{RequestId: "q", FileName: "x", Source: []byte(source), Repetitions: 1})
		if err != nil {
			t.Fatal(err)
		}
		if want {
			err := <-measured
			if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "ended before its time: run "+created.Run.Id) {
				t.Errorf("observing %s: the measurement ended with %v", observe, err)
			}
		}
		if run := c.follow(created.Run.Id); run.State != synclinev1.RunState_RUN_STATE_SEALED {
			t.Errorf("the run is %v: %s", run.State, run.Reason)
		}
		cancel()
		if !want {
			if err := <-measured; status.Code(err) != codes.Canceled {
				t.Errorf("observing %s: the measurement ended with %v", observe, err)
			}
		}
	}
}

func TestSeesProbes(t *testing.T) {
	for expect, want := range map[string]bool{
		"counter: { host: B, name: TcpExt.ListenOverflows, equals: 0 }":                                                     false,
		"counter: { host: B, name: Tcp.PassiveOpens, equals: 0 }":                                                           false,
		"counter: { host: B, name: Udp.NoPorts, equals: 0 }":                                                                true,
		"counter: { host: B, name: IpExt.InCEPkts, equals: 0 }":                                                             true,
		`that: counters("B")["Udp.InDatagrams"] == 0`:                                                                       true,
		`that: counters("B")["TcpExt.TCPAbortOnClose"] == 0`:                                                                false,
		`that: counters("B").all(k, counters("B")[k] == 0)`:                                                                 true,
		`that: 'counters("B")["Tcp.InErrs"] < counters("A").size()'`:                                                        true,
		"never: any RST\ncases: { one: {}, two: { expect: [{ counter: { host: B, name: Udp.InDatagrams, equals: 0 } }] } }": true,
	} {
		head, _, _ := strings.Cut(plannedSource, "expect:")
		source := strings.Replace(head, "syscalls, packets", "syscalls, packets, counters, icmp", 1) + "expect:\n  - " + expect + "\n"
		exp, err := experiment.Parse([]byte(source), experiment.Options{FileName: "x"})
		if err != nil {
			t.Fatal(err)
		}
		if got := seesProbes(exp); got != want {
			t.Errorf("%s: %v, want %v", expect, got, want)
		}
	}
}

// A rule that rejects answers probes by ICMP, one that drops does not.
func TestRejectsSeeProbes(t *testing.T) {
	for rule, want := range map[string]bool{"reject udp": true, "drop udp": false} {
		for observe, sees := range map[string]bool{"syscalls, packets": false, "syscalls, packets, icmp": true} {
			source := strings.Replace(plannedSource, "syscalls, packets", observe, 1)
			source = strings.Replace(source, "setup: { B: {", "setup: { B: { firewall: "+rule+",", 1)
			exp, err := experiment.Parse([]byte(source), experiment.Options{FileName: "x"})
			if err != nil {
				t.Fatal(err)
			}
			if got := seesProbes(exp); got != (want && sees) {
				t.Errorf("%s, observing %s: %v", rule, observe, got)
			}
		}
	}
}

// A plan tells how well clocks will be known: of one clock exactly, else by probes of now,
// else by an earlier run; else why not.
func TestPlansOfClocks(t *testing.T) {
	for name, w := range map[string]struct {
		change func(client, server *fakeAgent)
		ask    *synclinev1.Probing
		by     string
		most   int64 // the error at most; -1: unknown
		doubts int
	}{
		"one clock": {func(client, server *fakeAgent) { server.hello.BootId = client.hello.BootId }, nil, "same clock", 0, 0},
		"probed": {func(client, server *fakeAgent) {
			client.probes()
			server.probes()
			exchangesOf(client, server, [2]string{"A", "B"}, time.Second, 20)
		}, nil, "probed just now", 30_000, 0},
		"silent": {func(client, server *fakeAgent) {
			client.probes()
			server.probes()
			client.began = func(*synclinev1.StartProbes) {}
			server.began = func(*synclinev1.StartProbes) {}
		}, nil, "answered no clock probe", -1, 1},
		"old": {func(client, server *fakeAgent) { client.probes() }, nil, "host B: agent server: its release knows no clock probes", -1, 1},
		"off": {func(client, server *fakeAgent) {}, &synclinev1.Probing{Off: true}, "the run is not to probe", -1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newTestController(t)
			c.pair(w.change)
			answer, err := c.runs.PlanExperiment(t.Context(), &synclinev1.PlanExperimentRequest{FileName: "x", Source: []byte(plannedSource), Probing: w.ask})
			if err != nil {
				t.Fatal(err)
			}
			clocks := answer.Plan.Clocks
			if len(clocks) != 1 || clocks[0].Host != "A" || clocks[0].Peer != "B" || !strings.Contains(clocks[0].By, w.by) {
				t.Fatalf("the clocks are %v, want those of A and B by %q", clocks, w.by)
			}
			if known := clocks[0].ErrorNs != nil; known != (w.most >= 0) || clocks[0].GetErrorNs() > w.most && known {
				t.Errorf("the clocks are %v, want an error of at most %d", clocks, w.most)
			}
			if len(answer.Plan.ClockDoubts) != w.doubts {
				t.Errorf("the doubts are %q, want %d", answer.Plan.ClockDoubts, w.doubts)
			}
		})
	}
}

// Without agents nobody has a clock.
func TestPlansOfClocksWithoutAgents(t *testing.T) {
	c := newTestController(t)
	if plan := c.plan(plannedSource); len(plan.Clocks) > 0 || len(plan.ClockDoubts) > 0 {
		t.Errorf("without agents the clocks are %v, the doubts %q", plan.Clocks, plan.ClockDoubts)
	}
	_, err := c.runs.PlanExperiment(t.Context(), &synclinev1.PlanExperimentRequest{Source: []byte(plannedSource), Probing: &synclinev1.Probing{Rate: 1000}})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("a plan of 1000 exchanges a second: %v", err)
	}
}

// What an earlier run knew serves a plan that cannot probe.
func TestPlansOfClocksByAnEarlierRun(t *testing.T) {
	c := newTestController(t)
	sights := map[string][]*synclinev1.Event{}
	c.pair(func(client, server *fakeAgent) {
		exchangesOf(client, server, [2]string{"A", "B"}, time.Second, 20)
		for _, f := range []*fakeAgent{client, server} {
			sights[f.hello.Name] = f.stopped(&synclinev1.StopProbes{}).Events
			f.finish = func(run string) (uint64, uint64) {
				events := sights[f.hello.Name]
				if rejected, err := f.upload(f.chunkOf(run, 1, events...)); err != nil || rejected != "" {
					t.Errorf("rejected: %q, %v", rejected, err)
				}
				return uint64(len(events)), 1
			}
		}
	})
	created, err := c.runs.CreateRun(t.Context(), &synclinev1.CreateRunRequest{RequestId: "q", FileName: "x", Source: []byte(plannedSource)})
	if err != nil {
		t.Fatal(err)
	}
	if run := c.follow(created.Run.Id); run.State != synclinev1.RunState_RUN_STATE_SEALED {
		t.Fatalf("the run is %v: %s", run.State, run.Reason)
	}
	plan := c.plan(plannedSource)
	if len(plan.Clocks) != 1 || plan.Clocks[0].By != "run "+created.Run.Id || plan.Clocks[0].GetErrorNs() > 30_000 || plan.Clocks[0].ErrorNs == nil {
		t.Errorf("the clocks are %v, want them by run %s", plan.Clocks, created.Run.Id)
	}
	answer, err := c.runs.PlanExperiment(t.Context(), &synclinev1.PlanExperimentRequest{FileName: "x", Source: []byte(plannedSource), Probing: &synclinev1.Probing{Off: true}})
	if err != nil || answer.Plan.Clocks[0].ErrorNs != nil {
		t.Errorf("a run without probes is promised what they gave: %v, %v", answer.GetPlan().GetClocks(), err)
	}
	if other := c.plan(strings.Replace(plannedSource, "50ms", "51ms", 1)); slices.ContainsFunc(other.Clocks, func(p *synclinev1.PlanClock) bool { return p.ErrorNs != nil }) {
		t.Errorf("another file has the clocks %v", fmt.Sprint(other.Clocks))
	}
}
