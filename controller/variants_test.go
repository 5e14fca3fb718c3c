package controller

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"syncline/controller/experiment"
	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// cased has two cases that change host B, a warm-up, and a port of its own each time.
const cased = `experiment: cased
hosts: { A: { pick: { role: client } }, B: { pick: { role: server } } }
vars: { port: 8000, gap: 1 }
observe: [syscalls]
lanes:
  client:
    host: A
    do: [c = socket(tcp), "connect(c, B:$port)"]
setup:
  B: { sysctl: { net.ipv4.tcp_syncookies: $gap } }
cases:
  one: {}
  two: { vars: { gap: 2 } }
repeat: { runs: 2, warmup: 1, fresh: [port] }
`

func (c *testController) createSource(request, source string, cases ...string) (*synclinev1.Run, error) {
	c.t.Helper()
	created, err := c.runs.CreateRun(c.t.Context(), &synclinev1.CreateRunRequest{
		RequestId: request, FileName: "cased.yaml", Source: []byte(source), Cases: cases,
	})
	return created.GetRun(), err
}

// A run goes through its variants one after the other: the hosts are changed for each,
// every repetition has the values of its own, and which repetition was of which variant
// is on record.
func TestVariantsRunOneAfterTheOther(t *testing.T) {
	c := newTestController(t)
	var mu sync.Mutex
	var happened []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		happened = append(happened, what)
	}
	c.pair(func(client, server *fakeAgent) {
		client.start = func(s *synclinev1.Start) {
			note(s.Lanes[0].Steps[1].GetConnect().Address)
			client.endLane(s.RunId, s.Repetition, "client")
		}
		server.configured = func(m *synclinev1.Configure) {
			note("cookies " + m.Setups[0].Changes[0].GetSysctl().Value)
		}
	})
	created, err := c.createSource("variants", cased)
	if err != nil {
		t.Fatal(err)
	}
	run := c.follow(created.Id)
	want := []string{
		"cookies 1", "10.0.0.2:8000", "10.0.0.2:8001", "10.0.0.2:8002",
		"cookies 2", "10.0.0.2:8003", "10.0.0.2:8004", "10.0.0.2:8005",
	}
	if !slices.Equal(happened, want) {
		t.Errorf("happened: %q, want %q", happened, want)
	}
	if run.State != synclinev1.RunState_RUN_STATE_SEALED || run.Repetitions != 6 || run.RepetitionsDone != 6 {
		t.Errorf("the run ended as %v", run)
	}
	if len(run.Variants) != 2 || run.Variants[0].Name != "one" || run.Variants[0].First != 1 || run.Variants[0].Last != 3 ||
		run.Variants[1].Name != "two" || run.Variants[1].First != 4 || run.Variants[1].Last != 6 {
		t.Errorf("variants on record: %v", run.Variants)
	}
	if got := c.judged(run.Id); !slices.Equal(got, []string{"2 one", "3 one", "5 two", "6 two"}) {
		t.Errorf("judged: %q; the first repetition of each variant is a warm-up", got)
	}
}

// An operator chooses among the cases; one that is not there is refused with the names
// of those that are.
func TestOneCaseOfMany(t *testing.T) {
	c := newTestController(t)
	c.pair(func(*fakeAgent, *fakeAgent) {})
	created, err := c.createSource("one case", cased, "two")
	if err != nil {
		t.Fatal(err)
	}
	if run := c.follow(created.Id); len(run.Variants) != 1 || run.Variants[0].Name != "two" || run.RepetitionsDone != 3 {
		t.Errorf("the run of one case ended as %v", run)
	}
	if _, err := c.createSource("no case", cased, "twoo"); err == nil || !strings.Contains(err.Error(), "two") {
		t.Errorf("an unknown case: %v", err)
	}
}

// A host that cannot be changed fails the run before any lane of that variant runs.
func TestHostThatCannotBeChanged(t *testing.T) {
	c := newTestController(t)
	c.pair(func(client, server *fakeAgent) {
		server.unchanged = "write net.ipv4.tcp_syncookies: operation not permitted"
		client.start = func(*synclinev1.Start) { t.Error("a lane was started on hosts that are not as the file says") }
	})
	created, err := c.createSource("unchanged", cased)
	if err != nil {
		t.Fatal(err)
	}
	run := c.follow(created.Id)
	if run.State != synclinev1.RunState_RUN_STATE_FAILED || !strings.Contains(run.Reason, "server") || !strings.Contains(run.Reason, "not permitted") {
		t.Errorf("the run ended as %v: %s", run.State, run.Reason)
	}
}

// judged are the repetitions that have verdicts, with their variants.
func (c *testController) judged(id string) (all []string) {
	c.t.Helper()
	stream, err := c.timelines.ListVerdicts(c.t.Context(), &synclinev1.ListVerdictsRequest{RunId: id})
	if err != nil {
		c.t.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, strings.TrimSpace(string(rune('0'+m.Repetition))+" "+m.Variant))
	}
}

const met = `experiment: met
hosts: { A: { pick: { role: client } }, B: { pick: { role: server } } }
observe: [syscalls]
lanes:
  left: { host: A, do: [meet(go)] }
  right: { host: B, do: [meet(go)] }
meetings: { go: { lead: 50ms } }
`

// The lanes of a meeting are released at one instant, told to each host on its own
// clock; the instant lies the lead ahead of the last one's coming.
func TestMeeting(t *testing.T) {
	c := newTestController(t)
	var fakes []*fakeAgent
	c.pair(func(client, server *fakeAgent) {
		fakes = []*fakeAgent{client, server}
		// Their clocks are an hour apart.
		server.booted = server.booted.Add(-time.Hour)
		for i, lane := range []string{"left", "right"} {
			f := fakes[i]
			f.start = func(s *synclinev1.Start) {
				f.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Arrived{Arrived: &synclinev1.Arrived{
					RunId: s.RunId, Repetition: s.Repetition, Meeting: "go", Lane: lane,
				}}})
			}
		}
	})
	began := time.Now()
	run, err := c.createSource("met", met)
	if err != nil {
		t.Fatal(err)
	}
	var at []time.Time
	for i, lane := range []string{"left", "right"} {
		m := <-fakes[i].meetings
		if m.Error != "" || m.Name != "go" {
			t.Fatalf("%s was told %v", lane, m)
		}
		at = append(at, fakes[i].booted.Add(time.Duration(m.AtNs)))
		fakes[i].endLane(run.Id, m.Repetition, lane)
	}
	c.follow(run.Id)
	apart := at[0].Sub(at[1]).Abs()
	// A ping's way there and back bounds what the estimate can be off; all of them
	// happened within the test.
	if took := time.Since(began); apart > took {
		t.Errorf("released %v apart, in a test of %v", apart, took)
	}
	if at[0].Before(began.Add(50 * time.Millisecond)) {
		t.Errorf("released %v after the beginning, before the lead of 50 ms", at[0].Sub(began))
	}
	t.Logf("released %v apart", apart)
}

// Every call and every change of the whole language has a message.
func TestWholeLanguageHasMessages(t *testing.T) {
	for _, s := range experiment.Library() {
		source, _ := experiment.Open(s.Name)
		first, err := experiment.Parse(source, experiment.Options{FileName: s.Name})
		if err != nil {
			t.Fatal(err)
		}
		for v := range first.Variants {
			exp, err := first.At(v, 1)
			if err != nil {
				t.Fatal(err)
			}
			var hosts []store.RunHost
			for i, h := range exp.Hosts {
				hosts = append(hosts, store.RunHost{
					Name: h.Name, Agent: fmt.Sprintf("vm%d", i+1), Address: fmt.Sprintf("10.0.0.%d", i+1), Address6: fmt.Sprintf("fd77::%d", i+1),
				})
			}
			for _, h := range exp.Hosts {
				p := part{exp, h.Name, hosts}
				if _, err := p.lanes(); err != nil {
					t.Errorf("%s: %v", s.Name, err)
				}
				if _, err := p.watches(); err != nil {
					t.Errorf("%s: %v", s.Name, err)
				}
				if _, err := p.setups(append(slices.Clone(exp.Setups), exp.Changes...)); err != nil {
					t.Errorf("%s: %v", s.Name, err)
				}
				for _, q := range p.requirements() {
					if q.What == nil {
						t.Errorf("%s: no message for the requirement %s", s.Name, q.Text)
					}
				}
			}
		}
	}
}
