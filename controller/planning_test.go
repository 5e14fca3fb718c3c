package controller

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/clock"
	"syncline/controller/experiment"
	"syncline/controller/store"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

func (c *testController) plan(source string) *synclinev1.Plan {
	c.t.Helper()
	answer, err := c.runs.PlanExperiment(c.t.Context(), &synclinev1.PlanExperimentRequest{FileName: "x", Source: []byte(source)})
	if err != nil {
		c.t.Fatal(err)
	}
	return answer.Plan
}

const plannedSource = `experiment: planned
needs: [root]
hosts: { A: { pick: { role: client } }, B: { pick: { role: server } } }
observe: [syscalls, packets]
setup: { B: { require: nothing listens on tcp/8080 } }
lanes:
  server:
    host: B
    do:
      - s = socket(tcp)
      - bind(s, 0.0.0.0:8080)
      - listen(s, 1)
      - signal(ready)
      - a = accept(s)
      - sleep(20ms)
      - close(a)
  client:
    host: A
    do:
      - wait(server.ready)
      - c = socket(tcp)
      - connect(c, B:8080) -> ok
      - sleep(50ms)
      - close(c)
expect:
  - order: enter(client.connect) < sent(A, SYN)
  - order: enter(client.connect) < return(server.accept)
  - never: any RST
repeat: { runs: 5, gap: 100ms, timeout: 2s }
`

// Without agents a plan says who is missing and what could be; with them, what each
// sees and what that leaves.
func TestPlans(t *testing.T) {
	c := newTestController(t)
	plan := c.plan(plannedSource)
	if len(plan.Unmet) != 2 || !strings.Contains(plan.Unmet[0], "role=client") || plan.Hosts[0].Agent != "" {
		t.Errorf("without agents: %v", plan)
	}
	c.pair(func(client, server *fakeAgent) {
		for _, f := range []*fakeAgent{client, server} {
			f.hello.Capabilities = []*synclinev1.Capability{
				{Source: synclinev1.Source_SOURCE_SYSCALLS, Available: true}, {Source: synclinev1.Source_SOURCE_PACKETS, Available: f == server, Reason: "no CAP_NET_RAW"},
			}
		}
	})
	plan = c.plan(plannedSource)
	if len(plan.Unmet) != 0 || plan.Hosts[0].Agent != "client" || plan.Hosts[1].Agent != "server" {
		t.Errorf("with agents: %v", plan)
	}
	if plan.Repetitions != 5 || len(plan.Variants) != 1 || plan.Variants[0].Repetitions != 5 {
		t.Errorf("repetitions: %v", plan)
	}
	if want := 5*(50e6+int64(silence)) + 4*100e6; plan.LeastNs != want {
		t.Errorf("at least %d ns, want %d", plan.LeastNs, want)
	}
	if want := int64(5*2e9 + 4*100e6); plan.MostNs != want || plan.LikelyNs != 0 {
		t.Errorf("at most %d ns, want %d; likely %d, want 0", plan.MostNs, want, plan.LikelyNs)
	}
	if !slices.Equal(plan.Needs, []string{"root"}) || len(plan.Requirements) != 1 || !strings.HasPrefix(plan.Requirements[0], "B: ") {
		t.Errorf("needs %q, requirements %q", plan.Needs, plan.Requirements)
	}
	want := []string{
		timeline.EveryOutcome + ": ", timeline.EveryEvent + ": ",
		"order: enter(client.connect) < sent(A, SYN): A has no packets",
		"order: enter(client.connect) < return(server.accept): ",
		"never: any RST: A has no packets",
	}
	var got []string
	for _, v := range plan.Variants[0].Verdicts {
		got = append(got, v.Expectation+": "+v.Doubt)
	}
	if !slices.Equal(got, want) {
		t.Errorf("verdicts:\n%q, want\n%q", got, want)
	}

	created, err := c.runs.CreateRun(t.Context(), &synclinev1.CreateRunRequest{RequestId: "q", FileName: "x", Source: []byte(plannedSource)})
	if err != nil {
		t.Fatal(err)
	}
	if last := c.follow(created.Run.Id); last.State != synclinev1.RunState_RUN_STATE_SEALED {
		t.Fatalf("the run is %v: %s", last.State, last.Reason)
	}
	if plan := c.plan(plannedSource); plan.LikelyRunId != created.Run.Id || plan.LikelyNs <= 0 {
		t.Errorf("after a run: %d ns, going by run %q", plan.LikelyNs, plan.LikelyRunId)
	}
	// Another value of a variable makes another experiment.
	if plan := c.plan(strings.Replace(plannedSource, "50ms", "51ms", 1)); plan.LikelyRunId != "" {
		t.Errorf("another file goes by run %q", plan.LikelyRunId)
	}
	list, err := c.runs.ListRuns(t.Context(), &synclinev1.ListRunsRequest{})
	if err != nil || len(list.Runs) != 1 {
		t.Errorf("%d runs are stored after one run and some plans: %v", len(list.GetRuns()), err)
	}
}

// States rest on tracepoints where an agent has them, and on packets where it has not.
func TestPlansOfStates(t *testing.T) {
	c := newTestController(t)
	c.pair(func(client, server *fakeAgent) {
		for _, f := range []*fakeAgent{client, server} {
			f.hello.Capabilities = []*synclinev1.Capability{
				{Source: synclinev1.Source_SOURCE_SYSCALLS, Available: true},
				{Source: synclinev1.Source_SOURCE_PACKETS, Reason: "no CAP_NET_RAW"},
				{Source: synclinev1.Source_SOURCE_TCP_STATES, Available: true},
				{Source: synclinev1.Source_SOURCE_TRACEPOINTS, Available: f == client, Reason: map[bool]string{false: "no CAP_BPF"}[f == client]},
			}
		}
	})
	head, _, _ := strings.Cut(plannedSource, "expect:")
	plan := c.plan(strings.Replace(head, "packets]", "packets, tcp-states]", 1) + `expect:
  - states: { client.c: [..., CLOSED] }
  - states: { server.a: [..., CLOSED] }
`)
	want := []string{"", "B has no packets"}
	var got []string
	for _, v := range plan.Variants[0].Verdicts[2:] {
		got = append(got, v.Doubt)
	}
	if !slices.Equal(got, want) {
		t.Errorf("doubts %q, want %q", got, want)
	}
	for i, h := range plan.Hosts {
		last := h.Capabilities[len(h.Capabilities)-1]
		if last.Source != synclinev1.Source_SOURCE_TRACEPOINTS || last.Available != (i == 0) {
			t.Errorf("%s: the last of its sources is %v", h.Name, last)
		}
	}
}

func TestPlansOfWrongFiles(t *testing.T) {
	c := newTestController(t)
	for what, q := range map[string]*synclinev1.PlanExperimentRequest{
		"no file":          {},
		"unknown key":      {Source: []byte(strings.Replace(plannedSource, "needs:", "neds:", 1))},
		"too many":         {Source: []byte(plannedSource), Repetitions: maxRepetitions + 1},
		"no such case":     {Source: []byte(plannedSource), Cases: []string{"x"}},
		"no such variable": {Source: []byte(plannedSource), Set: map[string]string{"x": "1"}},
	} {
		if _, err := c.runs.PlanExperiment(t.Context(), q); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v, want InvalidArgument", what, err)
		}
	}
	answer, err := c.runs.PlanExperiment(t.Context(), &synclinev1.PlanExperimentRequest{Source: []byte(plannedSource), Bindings: map[string]string{"A": "vm9"}})
	if err != nil || !strings.Contains(strings.Join(answer.Plan.Unmet, "\n"), "vm9") {
		t.Errorf("a binding to an agent that is not there: %v %v", answer, err)
	}
}

// A plan must not promise what a missing source takes away. Of every scenario of the
// library, and for every source that one of its hosts may miss, a repetition of which
// nothing is on record is judged twice: as one that had the source, and as one that had
// not. A verdict that only the second leaves open rests on it.
func TestPlansForetellWhatCannotBeTold(t *testing.T) {
	judged := 0
	for _, entry := range experiment.Library() {
		source, _ := experiment.Open(entry.Name)
		exp, err := experiment.Parse(source, experiment.Options{FileName: entry.Name})
		if err != nil {
			t.Fatal(err)
		}
		whole := judgeNothing(t, exp, -1, "")
		for h := range exp.Hosts {
			for _, missing := range exp.Observe {
				hosts := libraryHosts(exp)
				hosts[h].Capabilities = []store.Capability{{Source: missing, Reason: "not here"}}
				variant, err := planVariant(exp, 0, hosts)
				if err != nil {
					t.Fatal(err)
				}
				for i, v := range judgeNothing(t, exp, h, timeline.Source(missing)) {
					planned := variant.Verdicts[i]
					if planned.Expectation != v.Expectation {
						t.Fatalf("%s: verdict %d is on %q, planned %q", entry.Name, i, v.Expectation, planned.Expectation)
					}
					judged++
					opened := v.Ruling == timeline.CannotTell && whole[i].Ruling != timeline.CannotTell
					// Where no phase is on record any gap at all is a reason to doubt.
					if opened && planned.Doubt == "" && !strings.HasPrefix(v.Expectation, "phase:") {
						t.Errorf("%s, %s without %s: %q cannot be told (%s), and the plan does not say so", entry.Name, exp.Hosts[h].Name, missing, v.Expectation, v.Reason)
					}
				}
			}
		}
	}
	if judged < 1000 {
		t.Errorf("only %d verdicts were compared", judged)
	}
}

func libraryHosts(exp *experiment.Experiment) []store.RunHost {
	var hosts []store.RunHost
	for i, h := range exp.Hosts {
		hosts = append(hosts, store.RunHost{Name: h.Name, Agent: "vm-" + h.Name, Address: fmt.Sprintf("10.0.0.%d", i+1), Kernel: "6.18.0"})
	}
	return hosts
}

// judgeNothing is the verdicts on a repetition that began and ended on every host, with
// nothing between, and that lacked a source on one of them.
func judgeNothing(t *testing.T, exp *experiment.Experiment, lacking int, source timeline.Source) []timeline.Verdict {
	t.Helper()
	run := &timeline.Run{ID: "r-1", Experiment: exp}
	for h, stored := range libraryHosts(exp) {
		host := timeline.Host{
			Name: stored.Name, Agent: stored.Agent, Address: netip.MustParseAddr(stored.Address), Kernel: stored.Kernel,
			ClockID: "one", Missing: map[timeline.Source]string{},
		}
		if h == lacking {
			host.Missing[source] = "not here"
		}
		run.Hosts = append(run.Hosts, host)
		for i, kind := range []timeline.MarkKind{timeline.MarkBegin, timeline.MarkEnd} {
			run.Events = append(run.Events, timeline.Event{
				Host: h, Number: uint64(i + 1), Incarnation: 1, Repetition: 1, At: clock.Local(1000 * (i + 1)), Mark: &timeline.Mark{Kind: kind},
			})
		}
	}
	built, err := timeline.Build(run, 1)
	if err != nil {
		t.Fatal(err)
	}
	return built.Verdicts
}
