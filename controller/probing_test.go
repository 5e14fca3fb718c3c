package controller

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// sessionOf is a session of so many hosts with a clock each.
func sessionOf(hosts int) *probing {
	p := &probing{session: "p-1", wanted: store.Probing{Rate: 10}}
	for i := range hosts {
		p.hosts = append(p.hosts, &probeHost{
			name: fmt.Sprint("H", i), agent: fmt.Sprint("vm", i), clock: fmt.Sprint("clock ", i),
			addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})},
		})
	}
	return p
}

func opened(p *probing, host int, endpoints ...*synclinev1.ProbeEndpoint) news {
	return news{agent: p.hosts[host].agent, message: &synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_ProbesOpened{
		ProbesOpened: &synclinev1.ProbesOpened{Session: p.session, Endpoints: endpoints},
	}}}
}

func stopped(p *probing, host int) news {
	return news{agent: p.hosts[host].agent, message: &synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_ProbesStopped{
		ProbesStopped: &synclinev1.ProbesStopped{Session: p.session, Events: []*synclinev1.Event{{Number: 1}}},
	}}}
}

func endpoint(path synclinev1.ProbePath, address string) *synclinev1.ProbeEndpoint {
	return &synclinev1.ProbeEndpoint{Path: path, Address: address}
}

const (
	experimentPath = synclinev1.ProbePath_PROBE_PATH_EXPERIMENT
	controlPath    = synclinev1.ProbePath_PROBE_PATH_CONTROL
)

// Two hosts use the paths that both have, and no address of another family.
func TestPathsThatTwoHostsHave(t *testing.T) {
	p := sessionOf(4)
	p.hosts[1].addresses = append(p.hosts[1].addresses, netip.MustParseAddr("192.0.2.1"))
	p.hosts[2].addresses = []netip.Addr{netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("192.0.2.2")}
	p.open()
	p.hear(opened(p, 0, endpoint(experimentPath, "10.0.0.0:1")))
	p.hear(opened(p, 1, endpoint(experimentPath, "10.0.0.1:1"), endpoint(controlPath, "192.0.2.1:2")))
	p.hear(opened(p, 2, endpoint(experimentPath, "[2001:db8::2]:1"), endpoint(controlPath, "[::ffff:192.0.2.2]:2")))
	p.hear(opened(p, 3, endpoint(experimentPath, "10.0.0.3:1"), endpoint(experimentPath, "10.0.0.3:2"), endpoint(controlPath, "10.0.0.3:3")))
	if left := p.opening(); len(left) != 0 {
		t.Fatalf("waits for %v", left)
	}
	if p.hosts[3].lacks == "" || len(p.hosts[3].endpoints) != 0 {
		t.Errorf("a host with three addresses takes part: %v", p.hosts[3].endpoints)
	}
	p.start()
	var got []string
	for _, w := range p.unmet() {
		got = append(got, fmt.Sprint(w.asker, w.answerer, " ", w.path))
	}
	want := []string{"0 1 PROBE_PATH_EXPERIMENT", "1 2 PROBE_PATH_CONTROL"}
	if !slices.Equal(got, want) {
		t.Errorf("the pairs are %q, want %q", got, want)
	}
}

// Whatever agents say, and whoever of them is lost when: nothing is waited for for ever, and
// nobody is made to send to an address that its host did not tell of.
func TestProbingIsRobust(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := sessionOf(rapid.IntRange(1, 12).Draw(t, "hosts"))
		for _, h := range p.hosts {
			h.clock = fmt.Sprint("clock ", rapid.IntRange(0, 3).Draw(t, "clock"))
			h.lacks = rapid.SampledFrom([]string{"", "", "old"}).Draw(t, "lacks")
		}
		speak := func(most int) {
			for range rapid.IntRange(0, most).Draw(t, "messages") {
				i := rapid.IntRange(0, len(p.hosts)-1).Draw(t, "who")
				address := fmt.Sprintf("10.0.0.%d:%d", rapid.IntRange(0, 12).Draw(t, "address"), rapid.IntRange(0, 2).Draw(t, "port"))
				n := news{agent: p.hosts[i].agent, message: &synclinev1.ControlRequest{}}
				session := rapid.SampledFrom([]string{p.session, p.session, "another"}).Draw(t, "session")
				path := synclinev1.ProbePath(rapid.IntRange(0, 3).Draw(t, "path"))
				switch rapid.IntRange(0, 4).Draw(t, "kind") {
				case 0:
					n = opened(p, i, endpoint(path, address), endpoint(controlPath, address))
				case 1:
					n.message.Message = &synclinev1.ControlRequest_ProbesMet{ProbesMet: &synclinev1.ProbesMet{Session: session, Host: fmt.Sprint("H", rapid.IntRange(0, 12).Draw(t, "peer")), Path: path}}
				case 2:
					n = stopped(p, i)
				case 3:
					n = news{agent: n.agent, gone: true}
				case 4:
					n.message.Message = &synclinev1.ControlRequest_ProbesOpened{ProbesOpened: &synclinev1.ProbesOpened{Session: session, Error: "no"}}
				}
				p.hear(n)
			}
		}
		p.open()
		speak(20)
		for i, h := range p.hosts {
			if rapid.Bool().Draw(t, "answers") {
				p.hear(opened(p, i, endpoint(experimentPath, h.addresses[0].String()+":7000")))
			}
		}
		p.late("OpenProbes", probesOpenLimit, p.opening())
		if left := p.opening(); len(left) > 0 {
			t.Fatalf("still waits for %v", left)
		}
		for _, m := range p.start() {
			for _, peer := range m.message.GetStartProbes().Peers {
				i := slices.IndexFunc(p.hosts, func(h *probeHost) bool { return h.name == peer.Host })
				if len(peer.Endpoints) == 0 {
					t.Fatalf("%s is to probe %s nowhere", m.agent, peer.Host)
				}
				for _, e := range peer.Endpoints {
					if at := netip.MustParseAddrPort(e.Address); !slices.Contains(p.hosts[i].addresses, at.Addr()) || at.Port() == 0 {
						t.Fatalf("%s is to send to %s, which %s did not tell of", m.agent, at, peer.Host)
					}
				}
			}
		}
		speak(30)
		p.stop()
		speak(20)
		p.late("StopProbes", probesStopLimit, p.stopping())
		if left := p.stopping(); len(left) > 0 {
			t.Fatalf("still waits for %v", left)
		}
		for _, w := range p.warnings() {
			if len(w) > maxCause+len("…") || strings.Contains(w, "%!") {
				t.Fatalf("a warning of %d bytes: %q", len(w), w)
			}
		}
	})
}

// The sights of a run are its events; what an agent says besides is not kept.
func TestSightsOfARunAreNotKeptTwice(t *testing.T) {
	for run, want := range map[string]int{"": 1, "r-1": 0} {
		p := sessionOf(2)
		p.run = run
		p.open()
		p.hear(stopped(p, 0))
		if got := len(p.hosts[0].events); got != want {
			t.Errorf("%d events of run %q are kept, want %d", got, run, want)
		}
	}
}

// An agent that tells of more than it may has its newest sights kept, and is named.
func TestSightsAreBounded(t *testing.T) {
	p := sessionOf(2)
	p.open()
	m := stopped(p, 0)
	s := m.message.GetProbesStopped()
	s.Events = make([]*synclinev1.Event, maxSights+3)
	last := &synclinev1.Event{Number: 1}
	s.Events[len(s.Events)-1] = last
	p.hear(m)
	kept := p.hosts[0].events
	if len(kept) != maxSights || cap(kept) > 2*maxSights || kept[maxSights-1] != last {
		t.Errorf("%d of %d events are kept", len(kept), len(s.Events))
	}
	if got := p.warnings(); !slices.ContainsFunc(got, func(w string) bool { return strings.Contains(w, "the first 3 are left out") }) {
		t.Errorf("the warnings are %q", got)
	}
}

// Only the paths that a pair has can have had an exchange.
func TestInventedPathsAreNotKept(t *testing.T) {
	p := sessionOf(2)
	p.open()
	for i, h := range p.hosts {
		p.hear(opened(p, i, endpoint(experimentPath, h.addresses[0].String()+":7000")))
	}
	p.start()
	asker, answerer := p.hosts[p.pairs[0].asker], p.hosts[p.pairs[0].answerer]
	for path := range 1000 {
		p.hear(news{agent: asker.agent, message: &synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_ProbesMet{
			ProbesMet: &synclinev1.ProbesMet{Session: p.session, Host: answerer.name, Path: synclinev1.ProbePath(path)},
		}}})
	}
	if len(p.met) != 1 || p.meeting() {
		t.Errorf("%d paths are kept, and the first exchange is waited for: %v", len(p.met), p.meeting())
	}
}

// However many hosts a session goes wrong with, what a run says of it stays short.
func TestWarningsAreFew(t *testing.T) {
	p := sessionOf(store.MaxHosts)
	p.open()
	for i, h := range p.hosts {
		h.lacks, h.failure, h.refused = "old", "gone", 1
		p.note("note %d", i)
	}
	if got := p.warnings(); len(got) > 6*(maxNamed+1) {
		t.Errorf("%d warnings", len(got))
	}
}

// An agent that is lost is said to be, and not to have answered nobody.
func TestLostInTheSession(t *testing.T) {
	p := sessionOf(3)
	p.open()
	for i, h := range p.hosts {
		p.hear(opened(p, i, endpoint(experimentPath, h.addresses[0].String()+":7000")))
	}
	p.start()
	p.hear(news{agent: "vm1", gone: true})
	p.stop()
	if left := p.stopping(); !slices.Equal(left, []string{"vm0", "vm2"}) {
		t.Errorf("waits for %v", left)
	}
	p.hear(stopped(p, 0))
	p.hear(stopped(p, 2))
	got := p.warnings()
	if len(got) != 2 || !strings.Contains(got[0], "agent vm1: it was lost") || !strings.Contains(got[1], "host H0 answered no clock probe of host H2") {
		t.Errorf("the warnings are %q", got)
	}
}

// The most that an agent says of a session fits one message, whatever it is called.
func TestAllSightsFitOneMessage(t *testing.T) {
	sight := &synclinev1.Event{
		Number: 1 << 40, TimeNs: math.MaxInt64, Fact: &synclinev1.Event_Probe{Probe: &synclinev1.Probe{
			Peer: strings.Repeat("x", 63), Direction: synclinev1.Direction_DIRECTION_OUT, Exchange: 1 << 40, Reply: true,
			Path: controlPath, Origin: synclinev1.StampOrigin_STAMP_ORIGIN_AGENT, RealtimeNs: math.MaxInt64, ErrorNs: 1 << 30,
		}},
	}
	all := make([]*synclinev1.Event, maxSights)
	for i := range all {
		all[i] = sight
	}
	size := proto.Size(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_ProbesStopped{ProbesStopped: &synclinev1.ProbesStopped{
		Session: "p-0123456789abcdef", Events: all,
	}}})
	if size > maxSightsMessage {
		t.Errorf("%d sights are %d bytes, %d are taken", len(all), size, maxSightsMessage)
	}
}
