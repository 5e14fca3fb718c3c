package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"syncline/agent/packet"
	"syncline/agent/probe"
	synclinev1 "syncline/proto/syncline/v1"
)

// probed is an agent without a controller: what it would say is in said.
type probed struct {
	*runs
	t    *testing.T
	said chan *synclinev1.ControlRequest
}

// noPeer is a control stream of which nothing is known.
type noPeer struct {
	grpc.BidiStreamingClient[synclinev1.ControlRequest, synclinev1.ControlResponse]
}

func (noPeer) Context() context.Context { return context.Background() }

func newProbed(t *testing.T, name, address string) *probed {
	t.Helper()
	cfg := Config{Name: name, PendingBytes: 1 << 20, Addresses: []string{address}, Log: slog.New(slog.DiscardHandler)}
	p := &probed{runs: newRuns(cfg, 1), t: t, said: make(chan *synclinev1.ControlRequest, 4096)}
	t.Cleanup(p.close)
	p.attach(&link{stream: noPeer{}, out: p.said, gone: make(chan struct{})})
	return p
}

// tell has the agent hear a message.
func (p *probed) tell(m *synclinev1.ControlResponse) {
	p.t.Helper()
	if err := p.handle(m); err != nil {
		p.t.Fatal(err)
	}
}

// say waits for the next message of a kind.
func say[M any](p *probed, of func(*synclinev1.ControlRequest) *M) *M {
	p.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case m := <-p.said:
			if found := of(m); found != nil {
				return found
			}
		case <-deadline:
			p.t.Fatalf("agent %s does not say it", p.cfg.Name)
		}
	}
}

func (p *probed) open(session, run string) *synclinev1.ProbesOpened {
	p.t.Helper()
	p.tell(&synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_OpenProbes{OpenProbes: &synclinev1.OpenProbes{Session: session, RunId: run}}})
	return say(p, (*synclinev1.ControlRequest).GetProbesOpened)
}

func (p *probed) start(m *synclinev1.StartProbes) {
	p.t.Helper()
	p.tell(&synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_StartProbes{StartProbes: m}})
}

func (p *probed) stopped(session string) *synclinev1.ProbesStopped {
	p.t.Helper()
	p.tell(&synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_StopProbes{StopProbes: &synclinev1.StopProbes{Session: session}}})
	return say(p, (*synclinev1.ControlRequest).GetProbesStopped)
}

func startOf(session, host string, ask bool, peer string, at []*synclinev1.ProbeEndpoint) *synclinev1.StartProbes {
	return &synclinev1.StartProbes{
		Session: session, Secret: make([]byte, probe.SecretSize), Host: host, Rate: 50,
		Peers: []*synclinev1.ProbePeer{{Host: peer, Endpoints: at, Ask: ask}},
	}
}

// ofProbes counts the sights, by direction and kind.
func ofProbes(events []*synclinev1.Event) map[string]int {
	n := map[string]int{}
	for _, e := range events {
		if p := e.GetProbe(); p != nil {
			n[fmt.Sprintf("%v %v reply=%t", p.Peer, p.Direction, p.Reply)]++
		}
	}
	return n
}

// Two agents of one machine without privileges measure each other's clock without a run.
func TestProbesWithoutARun(t *testing.T) {
	a, b := newProbed(t, "vm1", "127.0.0.1"), newProbed(t, "vm2", "127.0.0.2")
	atA, atB := a.open("p-1", ""), b.open("p-1", "")
	if atA.Error != "" || len(atA.Endpoints) != 1 || !strings.HasPrefix(atA.Endpoints[0].Address, "127.0.0.1:") {
		t.Fatalf("%v", atA)
	}
	if again := a.open("p-1", ""); !strings.Contains(again.Error, "already") {
		t.Errorf("opened twice: %v", again)
	}
	b.start(startOf("p-1", "vm2", false, "vm1", atA.Endpoints))
	a.start(startOf("p-1", "vm1", true, "vm2", atB.Endpoints))
	met := say(a, (*synclinev1.ControlRequest).GetProbesMet)
	if met.Session != "p-1" || met.Host != "vm2" || met.Path != synclinev1.ProbePath_PROBE_PATH_EXPERIMENT {
		t.Errorf("%v", met)
	}
	toldA, toldB := a.stopped("p-1"), b.stopped("p-1")
	for _, s := range []*synclinev1.ProbesStopped{toldA, toldB} {
		if s.Session != "p-1" || s.Error != "" || s.Refused != 0 {
			t.Errorf("%v", s)
		}
	}
	for _, told := range []*synclinev1.ProbesStopped{toldA, toldB} {
		// There is no run that would have them on record.
		samples := 0
		for _, e := range told.Events {
			if s := e.GetClockSample(); s != nil && s.RealtimeNs != 0 && e.TimeNs != 0 {
				samples++
			}
		}
		if last := told.Events[len(told.Events)-1]; samples == 0 || last.GetClockSample() == nil && last.GetClockStep() == nil {
			t.Errorf("%d samples of the clocks, and the last event is %v", samples, last)
		}
	}
	atVM1, atVM2 := ofProbes(toldA.Events), ofProbes(toldB.Events)
	asked := atVM1["vm2 DIRECTION_OUT reply=false"]
	if asked < 2 || atVM1["vm2 DIRECTION_IN reply=true"] < 2 || atVM2["vm1 DIRECTION_IN reply=false"] < 2 || atVM2["vm1 DIRECTION_OUT reply=true"] < 2 {
		t.Errorf("vm1 saw %v, vm2 %v", atVM1, atVM2)
	}
	// Its name is free again once its ports are.
	for deadline := time.Now().Add(20 * time.Second); ; {
		if again := a.open("p-1", ""); again.Error == "" {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(again)
		}
	}
}

// The sights of a run are events of its stream, of no repetition, and all are there before
// the agent says that it has stopped.
func TestProbesOfARun(t *testing.T) {
	a, b := newProbed(t, "vm1", "127.0.0.1"), newProbed(t, "vm2", "127.0.0.2")
	hosts := []*synclinev1.HostAddress{{Host: "A", Agent: "vm1", Address: "127.0.0.1"}, {Host: "B", Agent: "vm2", Address: "127.0.0.2"}}
	for i, p := range []*probed{a, b} {
		if early := p.open("r-1", "r-1"); !strings.Contains(early.Error, "no run r-1") {
			t.Errorf("before the run is prepared: %v", early)
		}
		if err := p.admit(&synclinev1.Prepare{RunId: "r-1", Epoch: 1, Host: hosts[i].Host, Hosts: hosts}, false); err != nil {
			t.Fatal(err)
		}
	}
	atA, atB := a.open("r-1", "r-1"), b.open("r-1", "r-1")
	b.start(startOf("r-1", "B", false, "A", atA.Endpoints))
	a.start(startOf("r-1", "A", true, "B", atB.Endpoints))
	say(a, (*synclinev1.ControlRequest).GetProbesMet)
	for _, p := range []*probed{a, b} {
		p.tell(&synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_StopProbes{StopProbes: &synclinev1.StopProbes{Session: "r-1"}}})
	}
	for _, p := range []*probed{a, b} {
		stopped := say(p, (*synclinev1.ControlRequest).GetProbesStopped)
		if stopped.Error != "" || len(stopped.Events) > 0 || stopped.Lost > 0 {
			t.Errorf("%v", stopped)
		}
		r := p.byID["r-1"]
		r.finish("")
		<-r.done
		if late := p.open("r-2", "r-1"); late.Error == "" {
			t.Errorf("after the run has ended: %v", late)
		}
		_, events, err := chunksOf(r.stream, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.GetProbe() != nil && e.Repetition != 0 {
				t.Errorf("of repetition %d: %v", e.Repetition, e)
			}
		}
		seen := ofProbes(events)
		if len(seen) != 2 || slices.Min([]int{seen["B DIRECTION_OUT reply=false"] + seen["A DIRECTION_IN reply=false"], seen["B DIRECTION_IN reply=true"] + seen["A DIRECTION_OUT reply=true"]}) < 2 {
			t.Errorf("agent %s: %v", p.cfg.Name, seen)
		}
	}
}

// A cancelled run and a lost controller end their sessions at once, and nothing is left of
// them.
func TestProbesEndWithWhatTheyAreFor(t *testing.T) {
	a := newProbed(t, "vm1", "127.0.0.1")
	hosts := []*synclinev1.HostAddress{{Host: "A", Agent: "vm1", Address: "127.0.0.1"}}
	if err := a.admit(&synclinev1.Prepare{RunId: "r-1", Epoch: 1, Host: "A", Hosts: hosts}, false); err != nil {
		t.Fatal(err)
	}
	ofRun, loose := a.open("r-1", "r-1"), a.open("p-1", "")
	if ofRun.Error != "" || loose.Error != "" {
		t.Fatalf("%v, %v", ofRun, loose)
	}
	a.start(startOf("r-1", "A", true, "B", ofRun.Endpoints))
	a.byID["r-1"].finish("cancelled")
	<-a.byID["r-1"].done
	if a.probes.find("r-1") != nil || a.probes.find("p-1") == nil {
		t.Error("the run's session goes on, or the other one does not")
	}
	a.detach()
	if a.probes.find("p-1") != nil {
		t.Error("nobody can ask any more for what the session has seen, and it goes on")
	}
	taken, err := net.ListenPacket("udp4", loose.Endpoints[0].Address)
	if err != nil {
		t.Fatalf("its port is not free: %v", err)
	}
	taken.Close()
}

// A session without a run ends by itself.
func TestProbesAreForgotten(t *testing.T) {
	defer func(d time.Duration) { probeLife = d }(probeLife)
	probeLife = time.Millisecond
	a := newProbed(t, "vm1", "127.0.0.1")
	a.open("p-1", "")
	stopped := say(a, (*synclinev1.ControlRequest).GetProbesStopped)
	if !strings.Contains(stopped.Error, "ended themselves") {
		t.Errorf("%v", stopped)
	}
}

// What cannot be done is said to the controller, with the reason.
func TestProbesAreRefused(t *testing.T) {
	a := newProbed(t, "vm1", "127.0.0.1")
	hosts := []*synclinev1.HostAddress{{Host: "A", Agent: "vm1", Address: "127.0.0.1"}, {Host: "B", Agent: "vm2", Address: "127.0.0.2"}}
	if err := a.admit(&synclinev1.Prepare{RunId: "r-1", Epoch: 1, Host: "A", Hosts: hosts}, false); err != nil {
		t.Fatal(err)
	}
	at := func(text string) []*synclinev1.ProbeEndpoint {
		return []*synclinev1.ProbeEndpoint{{Path: synclinev1.ProbePath_PROBE_PATH_EXPERIMENT, Address: text}}
	}
	if s := a.stopped("p-0"); !strings.Contains(s.Error, "no clock probes p-0") {
		t.Errorf("stop what is not there: %v", s)
	}
	for say, change := range map[string]func(*synclinev1.StartProbes){
		"none of them":    func(m *synclinev1.StartProbes) { m.Peers[0].Endpoints = at("127.0.0.3:9") },
		"address of peer": func(m *synclinev1.StartProbes) { m.Peers[0].Endpoints = at("nowhere") },
		"secret has 0":    func(m *synclinev1.StartProbes) { m.Secret = nil },
		"exchanges a sec": func(m *synclinev1.StartProbes) { m.Rate = 1 << 31 },
		"no path control": func(m *synclinev1.StartProbes) {
			m.Peers[0].Endpoints[0].Path = synclinev1.ProbePath_PROBE_PATH_CONTROL
		},
		"has no endpoint":  func(m *synclinev1.StartProbes) { m.Peers[0].Endpoints = nil },
		"name of this hos": func(m *synclinev1.StartProbes) { m.Host = "" },
	} {
		if o := a.open(say, "r-1"); o.Error != "" {
			t.Fatal(o)
		}
		m := startOf(say, "A", true, "B", at("127.0.0.2:9"))
		change(m)
		a.start(m)
		stopped := sayOf(a, say)
		if !strings.Contains(stopped.Error, say) {
			t.Errorf("want an error that says %q, got %q", say, stopped.Error)
		}
		// It keeps its ports until the run ends, unless there never was a plan.
		a.probes.end(fmt.Errorf("the test is through"), func(s *probeSession) bool { return s.name == say })
	}
	for i := range maxProbeSessions {
		if o := a.open(fmt.Sprint("p-", i), ""); o.Error != "" {
			t.Fatal(o)
		}
	}
	if o := a.open("one more", ""); !strings.Contains(o.Error, "16 sessions") {
		t.Errorf("%v", o)
	}
	if o := a.open("", ""); !strings.Contains(o.Error, "name") {
		t.Errorf("%v", o)
	}
}

func sayOf(p *probed, session string) *synclinev1.ProbesStopped {
	return say(p, func(m *synclinev1.ControlRequest) *synclinev1.ProbesStopped {
		if s := m.GetProbesStopped(); s.GetSession() == session {
			return s
		}
		return nil
	})
}

// Only so many sights are kept, the newest, and the others counted.
func TestProbesKeepTheNewest(t *testing.T) {
	s := &probeSession{}
	const more = 1000
	for i := range maxProbeEvents + more {
		s.seen([]*synclinev1.Event{{TimeNs: int64(i)}})
	}
	kept := s.inOrder()
	if len(kept) != maxProbeEvents || s.unkept != more {
		t.Fatalf("%d are kept, %d not", len(kept), s.unkept)
	}
	for i, e := range kept {
		if e.TimeNs != int64(i+more) {
			t.Fatalf("event %d is %d, want %d", i, e.TimeNs, i+more)
		}
	}
	// With names as long as can be they are more than one message holds.
	large := func(i int) *synclinev1.Event {
		return &synclinev1.Event{TimeNs: int64(i), Fact: &synclinev1.Event_Probe{Probe: &synclinev1.Probe{Peer: strings.Repeat("x", probe.MaxName), RealtimeNs: 1 << 60}}}
	}
	for i := range maxProbeEvents {
		s.seen([]*synclinev1.Event{large(i)})
	}
	told := fitting(s.inOrder())
	message := &synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_ProbesStopped{ProbesStopped: &synclinev1.ProbesStopped{Events: told}}}
	size, one := proto.Size(message), proto.Size(large(maxProbeEvents-1))
	if size > maxProbeBytes+100 || size < maxProbeBytes/100*99 || told[len(told)-1].TimeNs != maxProbeEvents-1 {
		t.Errorf("%d events of %d bytes are told in %d, the last is %d", len(told), one, size, told[len(told)-1].TimeNs)
	}
}

// The record of a run has nothing of the probes beside it: no packet, and their ports are
// none of the run's.
func TestTapsDoNotHearProbes(t *testing.T) {
	if err := packet.Available(); err != nil {
		t.Skip(err)
	}
	a, b := newProbed(t, "vm1", "127.0.0.1"), newProbed(t, "vm2", "127.0.0.2")
	hosts := []*synclinev1.HostAddress{{Host: "A", Agent: "vm1", Address: "127.0.0.1"}, {Host: "B", Agent: "vm2", Address: "127.0.0.2"}}
	// Not those that the kernel offers.
	flows := &synclinev1.Flows{Ports: []uint32{20000}, Ranges: []*synclinev1.PortRange{{Low: 1, High: 1 << 14}}}
	err := a.admit(&synclinev1.Prepare{
		RunId: "r-1", Epoch: 1, Host: "A", Hosts: hosts, Flows: flows,
		Sources: []synclinev1.Source{synclinev1.Source_SOURCE_PACKETS, synclinev1.Source_SOURCE_ICMP},
	}, true)
	if err != nil {
		t.Fatal(err)
	}
	r := a.byID["r-1"]
	r.arm(&synclinev1.Arm{RunId: "r-1", Epoch: 1})
	settled(r)
	atA, atB := a.open("r-1", "r-1"), b.open("r-1", "")
	for _, e := range atA.Endpoints {
		if r.ofFlows(netip.MustParseAddrPort(e.Address).Port()) {
			t.Errorf("%v is of the run's flows", e)
		}
	}
	b.start(startOf("r-1", "B", false, "A", atA.Endpoints))
	a.start(startOf("r-1", "A", true, "B", atB.Endpoints))
	say(a, (*synclinev1.ControlRequest).GetProbesMet)
	// One that stops leaves the other asking, which gets no ICMP error.
	b.stopped("r-1")
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, []byte("hello"), 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 2}, Port: int(netip.MustParseAddrPort(atB.Endpoints[0].Address).Port())}); err != nil {
		t.Fatal(err)
	}
	a.stopped("r-1")
	r.drain(&synclinev1.Drain{RunId: "r-1", Epoch: 1, Repetition: 1})
	settled(r)
	r.finish("")
	<-r.done
	if r.finished.Error != "" {
		t.Fatal(r.finished.Error)
	}
	_, events, err := chunksOf(r.stream, 1)
	if err != nil {
		t.Fatal(err)
	}
	probes := 0
	for _, e := range events {
		if e.GetPacket() != nil {
			t.Errorf("on record is %v", e)
		}
		if e.GetProbe() != nil {
			probes++
		}
	}
	if probes == 0 {
		t.Error("there were no probes, so the test shows nothing")
	}
}
