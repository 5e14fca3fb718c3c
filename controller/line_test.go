package controller

import (
	"strings"
	"testing"
	"time"

	synclinev1 "syncline/proto/syncline/v1"
)

// lined is a fake agent that keeps its line: it numbers what it says, and can come back.
type lined struct {
	*fakeAgent
	said, heard uint64
	kept        []*synclinev1.ControlRequest
}

func (f *lined) tell(m *synclinev1.ControlRequest) {
	f.said++
	m.Number = f.said
	f.kept = append(f.kept, m)
	f.say(m)
}

// next is the next message of the controller that is on the line.
func (f *lined) next() *synclinev1.ControlResponse {
	f.t.Helper()
	for {
		m, err := f.stream.Recv()
		if err != nil {
			f.t.Fatal(err)
		}
		if m.Number == 0 {
			continue
		}
		if m.Number != f.heard+1 {
			f.t.Fatalf("message %d of the controller came after %d", m.Number, f.heard)
		}
		f.heard++
		return m
	}
}

// comeBack dials again with what it has of its line.
func (f *lined) comeBack() {
	f.t.Helper()
	f.leave()
	f.hello.Line, f.hello.Received = f.welcome.Line, f.heard
	if err := f.dial(); err != nil {
		f.t.Fatal(err)
	}
	if !f.welcome.Resumed {
		return
	}
	// What was on its way may have been lost with the stream.
	for _, m := range f.kept[f.welcome.Received:] {
		f.say(m)
	}
}

// begin makes a client with a line and a faultless server, and a run whose client has been
// asked to prepare.
func (c *testController) begin() (client *lined, run *synclinev1.Run) {
	c.t.Helper()
	client = &lined{fakeAgent: c.newFake("client", "10.0.0.1")}
	server := c.newFake("server", "10.0.0.2")
	if err := server.dial(); err != nil {
		c.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); server.answer() }()
	c.t.Cleanup(func() { server.leave(); <-done })
	if err := client.dial(); err != nil {
		c.t.Fatal(err)
	}
	run = c.create("q", scenario)
	if p := client.next().GetPrepare(); p.GetRunId() != run.Id || p.LeaseNs <= 0 {
		c.t.Fatalf("the client was asked to prepare %v", p)
	}
	return client, run
}

func (f *lined) prepared(run string) *synclinev1.ControlRequest {
	return &synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Prepared{Prepared: &synclinev1.Prepared{RunId: run, Capabilities: f.capabilities}}}
}

// An agent that comes back with its line is told what it was not told before, and its run
// goes on as if nothing had been. What it says twice is heard once.
func TestRunGoesOnWithItsLine(t *testing.T) {
	c := newTestController(t)
	client, run := c.begin()
	client.comeBack()
	if w := client.welcome; !w.Resumed || w.Received != 0 {
		t.Fatalf("welcomed with %v", w)
	}
	client.tell(client.prepared(run.Id))
	if m := client.next(); m.GetArm() == nil {
		t.Fatalf("after it was prepared the client was told %v", m)
	}
	// It has not acted on the Arm: the controller says it again.
	client.heard--
	client.comeBack()
	if w := client.welcome; !w.Resumed || w.Received != 1 {
		t.Fatalf("welcomed with %v", w)
	}
	client.say(client.kept[0])
	if m := client.next(); m.GetArm() == nil {
		t.Fatalf("the client was told %v", m)
	}
	client.tell(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Armed{Armed: &synclinev1.Armed{RunId: run.Id}}})
	client.comeBack()
	if m := client.next(); m.GetStart() == nil && m.GetConfigure() == nil {
		t.Fatalf("armed, the client was told %v", m)
	}
}

// An agent that comes back without its line, as another start or as one that has lost
// something, has lost its run, at once. A new line begins at its first message.
func TestRunIsLostWithItsLine(t *testing.T) {
	for name, spoil := range map[string]func(*lined){
		"another line": func(f *lined) { f.welcome.Line = "nothing" },
		"no line":      func(f *lined) { f.welcome.Line = "" },
		"from beyond":  func(f *lined) { f.heard = 57 },
	} {
		t.Run(name, func(t *testing.T) {
			c := newLeasingController(t, time.Hour)
			client, run := c.begin()
			client.tell(client.prepared(run.Id))
			client.next()
			client.tell(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Armed{Armed: &synclinev1.Armed{RunId: run.Id}}})
			client.next()
			spoil(client)
			client.comeBack()
			if client.welcome.Resumed || client.welcome.Line == "" {
				t.Fatalf("welcomed with %v", client.welcome)
			}
			client.said, client.heard = 0, 0
			m := client.next().GetCancel()
			if m.GetRunId() != run.Id || m.Epoch != run.Epoch {
				t.Fatalf("told %v", m)
			}
			client.tell(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Finished{Finished: &synclinev1.Finished{
				RunId: run.Id, Incarnation: 1, Gap: "agent client was killed: the last second is lost",
			}}})
			ended := c.follow(run.Id)
			c.wantFailed(ended, "agent client was lost")
			if all := strings.Join(ended.Incomplete, "; "); !strings.Contains(all, "the last second is lost (0 events in 0 chunks of it are stored)") {
				t.Errorf("incomplete: %s", all)
			}
		})
	}
}

// A lost agent is waited for as long as a lease; one that knows none is lost at once.
func TestLostAgentIsAwaitedForALease(t *testing.T) {
	c := newLeasingController(t, 300*time.Millisecond)
	client, run := c.begin()
	client.leave()
	c.wantFailed(c.follow(run.Id), "agent client was lost")
	if !strings.Contains(c.log.String(), "away_for=300ms") {
		t.Errorf("it was not waited for: %s", c.log)
	}

	c = newLeasingController(t, time.Hour)
	client = &lined{fakeAgent: c.newFake("client", "10.0.0.1")}
	client.hello.ProtocolMax, client.hello.ProtocolMin = 3, 3
	server := c.newFake("server", "10.0.0.2")
	for _, f := range []*fakeAgent{client.fakeAgent, server} {
		if err := f.dial(); err != nil {
			t.Fatal(err)
		}
	}
	run = c.create("q", scenario)
	if m, err := client.stream.Recv(); err != nil || m.Number != 0 || m.GetPrepare() == nil || m.GetPrepare().LeaseNs != 0 {
		t.Fatalf("an agent of version 3 was told %v, %v", m, err)
	}
	client.leave()
	c.wantFailed(c.follow(run.Id), "agent client was lost")
}

// Leases are renewed while somebody works on the run.
func TestLeasesAreRenewed(t *testing.T) {
	c := newLeasingController(t, 90*time.Millisecond)
	client, run := c.begin()
	for range 5 {
		for {
			m, err := client.stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if l := m.GetLease(); l != nil {
				if l.RunId != run.Id || l.Epoch != run.Epoch || time.Duration(l.DurationNs) != 90*time.Millisecond {
					t.Fatalf("lease %v", l)
				}
				break
			}
		}
	}
}

// An agent that leaves out a message is not listened to any more.
func TestHoleInALine(t *testing.T) {
	c := newTestController(t)
	client, run := c.begin()
	client.said = 5
	client.tell(client.prepared(run.Id))
	for {
		if _, err := client.stream.Recv(); err != nil {
			if !strings.Contains(err.Error(), "message 6 came after message 0") {
				t.Errorf("the stream ended with %v", err)
			}
			return
		}
	}
}
