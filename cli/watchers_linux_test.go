package cli

import (
	"flag"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

var (
	watchersRepeat      = flag.Int("watchers.repeat", 2, "repetitions of each scenario that other tracers watch too")
	watchersConnections = flag.Int("watchers.connections", 200, "connections of the burst that other tracers watch too, at most 1600 in a repetition")
)

// repeatedData is an experiment whose data have to be sent again: they are dropped until
// they have come twice.
const repeatedData = `experiment: repeated-data
about: Data that a firewall drops are sent again when the retransmission timer says so.
hosts: { A: {}, B: {} }
vars: { port: 8651 }
observe: [syscalls, packets, tcp-states, drops]
changes:
  cut: { host: B, firewall: drop tcp/$port }
lanes:
  server:
    host: B
    do:
      - s = socket(tcp)
      - setsockopt(s, SO_REUSEADDR, 1)
      - bind(s, 0.0.0.0:$port)
      - listen(s, 8)
      - signal(listening)
      - a = accept(s)
      - apply(cut)
      - signal(is_cut)
      - wait(received(B, A>B data) 2 times)
      - undo(cut)
      - recv(a, 16) -> "again"
      - recv(a, 16) -> 0
      - close(a)
      - close(s)
  client:
    host: A
    do:
      - wait(server.listening)
      - c = socket(tcp)
      - connect(c, B:$port) -> ok
      - wait(server.is_cut)
      - send(c, "again") -> 5
      - close(c)
expect:
  - retransmits: { of: A>B data, at_least: 1 }
repeat: { runs: 1, timeout: 20s }
`

// crowd is an experiment of many connections at once, closed in every way there is.
func crowd(connections int) []byte {
	const lanes = 4
	each := max(connections/lanes, 1)
	return fmt.Appendf(nil, `experiment: crowd
about: Many connections at once.
hosts: { A: {}, B: {} }
observe: [syscalls, packets, tcp-states]
lanes:
  server:
    host: B
    do:
      - s = socket(tcp)
      - setsockopt(s, SO_REUSEADDR, 1)
      - bind(s, 0.0.0.0:8652)
      - listen(s, 4096)
      - signal(listening)
      - repeat: %d
        do:
          - a = accept(s)
          - close(a)
      - close(s)
  closes:
    host: A
    copies: %d
    do:
      - wait(server.listening)
      - repeat: %d
        do:
          - c = socket(tcp)
          - connect(c, B:8652)
          - close(c)
  reads:
    host: A
    copies: %[2]d
    do:
      - wait(server.listening)
      - repeat: %[3]d
        do:
          - c = socket(tcp)
          - connect(c, B:8652)
          - recv(c, 1) -> 0
          - close(c)
expect:
  - no-rst
repeat: { runs: 1, timeout: 60s }
`, lanes*each, lanes/2, each)
}

// watched are the runs that other tracers watch too.
func watched(t *testing.T) (sources [][]byte) {
	for _, name := range []string{"server-closes-first", "half-close", "linger-zero", "reset-after-accept", "reset-before-accept", "close-with-unread-data", "connect-refused", "time-wait-place", "simultaneous-open"} {
		sources = append(sources, library(t, name))
	}
	return append(sources, []byte(repeatedData), crowd(*watchersConnections))
}

// TestWatchersAgree runs scenarios while bpftrace traces the states of the same sockets and
// tshark captures on both hosts: each state change and each packet that they saw is in the
// runs' events, and they saw each of those that are there.
//
//	go test ./cli -run TestWatchersAgree -watchers.repeat 20 -watchers.connections 1600
func TestWatchersAgree(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("needs tshark: apt-get install tshark")
	}
	sources := watched(t)
	l := newTestLab(t, mustParse(t, sources[0]))
	var hosts []string
	for _, h := range l.exp.Hosts {
		hosts = append(hosts, l.bindings[h.Name])
	}
	tracer := l.startTracer(hosts)
	var taps []*witness
	for _, agent := range hosts {
		taps = append(taps, newWitness(t, l.Host(agent), l.Host(controllerHost).Address, "tcp"))
	}
	seen := &sights{packets: map[string][]seenPacket{}}
	for _, source := range sources {
		exp := mustParse(t, source)
		run, err := l.operator.execute(t.Context(), l.client, exp.Name, source, runOptions{repeat: *watchersRepeat, bindings: l.bindings})
		if err != nil {
			t.Fatal(err)
		}
		if run.State != synclinev1.RunState_RUN_STATE_SEALED || run.RepetitionsDone == 0 {
			t.Fatalf("%s: run is %v after %d repetitions: %s", exp.Name, run.State, run.RepetitionsDone, run.Reason)
		}
		seen.take(l, run.Id)
	}
	for i, tap := range taps {
		sameMultiset(t, hosts[i], seen.packets[hosts[i]], tap.stop(), seen.lost[lossOf{hosts[i], synclinev1.Source_SOURCE_PACKETS}])
	}
	theirs, misses := tracer.stop()
	seen.sameStates(t, theirs, misses)
	if seen.connections < 200 || seen.retransmissions == 0 || seen.resets == 0 {
		t.Errorf("%d connections, %d retransmissions, %d resets: want at least 200, 1, 1", seen.connections, seen.retransmissions, seen.resets)
	}
	t.Logf("%d connections, %d retransmissions traced, %d resets", seen.connections, seen.retransmissions, seen.resets)
}

// sights are what the runs' events hold.
type sights struct {
	packets map[string][]seenPacket
	states  []stateChange
	// lost is what an agent reported of one source: traces are of any socket of its host.
	lost                                 map[lossOf]uint64
	connections, retransmissions, resets int
}

// lossOf is whose events of what were lost. It excuses no others.
type lossOf struct {
	agent  string
	source synclinev1.Source
}

// lose counts what an agent reported lost.
func (s *sights) lose(agent string, l *synclinev1.Loss) {
	if s.lost == nil {
		s.lost = map[lossOf]uint64{}
	}
	s.lost[lossOf{agent, l.Source}] += l.Count
}

func (s *sights) take(l *testLab, run string) {
	l.t.Helper()
	l.eachEvent(run, func(agent string, e *synclinev1.Event) {
		switch {
		case e.GetPacket() != nil && e.GetPacket().Protocol == 0 && e.GetPacket().ArpOperation == 0:
			s.packets[agent] = append(s.packets[agent], packetOf(l.t, e.GetPacket()))
			if e.GetPacket().Flags&flagRST != 0 && e.GetPacket().Direction == synclinev1.Direction_DIRECTION_OUT {
				s.resets++
			}
		case e.GetTrace().GetKind() == synclinev1.TraceKind_TRACE_KIND_STATE:
			tr := e.GetTrace()
			s.states = append(s.states, stateChange{
				at: e.TimeNs, agent: agent, socket: fmt.Sprint(tr.Cookie),
				local: endOf(l.t, tr.LocalAddress), peer: endOf(l.t, tr.PeerAddress), from: tr.OldState, to: tr.State,
			})
			if timeline.StateName(int(tr.State)) == "SYN_SENT" {
				s.connections++
			}
		case e.GetTrace().GetKind() == synclinev1.TraceKind_TRACE_KIND_RETRANSMIT:
			s.retransmissions++
		case e.GetLoss() != nil:
			s.lose(agent, e.GetLoss())
			l.t.Logf("%s lost %d of %v in %s", agent, e.GetLoss().Count, e.GetLoss().Source, e.GetLoss().Where)
		}
	})
}

// sameStates holds the state changes of the runs' events against those that bpftrace saw,
// and that the kernel left it out of. Only traces that the host reports lost may be
// missing, and of each host as many.
func (s *sights) sameStates(t testing.TB, theirs map[string]int, misses int) {
	t.Helper()
	missing := map[string][]string{}
	var invented []string
	total, lacking := 0, 0
	mine := tally(s.states)
	for change, n := range theirs {
		total += n
		agent, _, _ := strings.Cut(change, " ")
		for range n - mine[change] {
			missing[agent] = append(missing[agent], change)
			lacking++
		}
	}
	for change, n := range mine {
		for range n - theirs[change] {
			invented = append(invented, change)
		}
	}
	for agent, changes := range missing {
		slices.Sort(changes)
		if lost := s.lost[lossOf{agent, synclinev1.Source_SOURCE_TRACEPOINTS}]; uint64(len(changes)) > lost {
			t.Errorf("the runs lack %d state changes that bpftrace saw of %s, which reports %d traces lost:\n%s", len(changes), agent, lost, strings.Join(changes, "\n"))
		}
	}
	slices.Sort(invented)
	// The kernel calls no program that is running already, and counts that.
	if len(invented) > misses {
		t.Errorf("the runs have %d state changes that bpftrace did not see; it missed %d:\n%s", len(invented), misses, strings.Join(invented, "\n"))
	}
	if total == 0 {
		t.Error("bpftrace saw nothing")
	}
	t.Logf("states: %d in the runs, bpftrace saw %d and the kernel left it out of %d; %d are missing, %d invented", len(s.states), total, misses, lacking, len(invented))
}

// sameMultiset fails unless both observers of a host saw the same packets, each as often,
// at the same times, but for as many as the host reports lost of its packets.
func sameMultiset(t testing.TB, host string, ours, theirs []seenPacket, lost uint64) {
	t.Helper()
	byContent := func(all []seenPacket) map[seenPacket][]int64 {
		stamps := map[seenPacket][]int64{}
		for _, p := range all {
			at := p.stamp
			p.stamp, p.repetition = 0, 0
			stamps[p] = append(stamps[p], at)
		}
		for _, at := range stamps {
			slices.Sort(at)
		}
		return stamps
	}
	a, b := byContent(ours), byContent(theirs)
	var furthest int64
	var missing []string
	lacking := 0
	for p, at := range b {
		if len(a[p]) < len(at) {
			lacking += len(at) - len(a[p])
			missing = append(missing, fmt.Sprintf("tshark saw %d times, and the runs have %d times, %+v", len(at), len(a[p]), p))
		}
		// Of packets that are not all there nobody knows which is which.
		if len(a[p]) != len(at) {
			continue
		}
		for i := range at {
			furthest = max(furthest, at[i]-a[p][i], a[p][i]-at[i])
		}
	}
	if uint64(lacking) > lost {
		t.Errorf("%s: the runs lack %d packets, and report %d lost:\n%s", host, lacking, lost, strings.Join(missing, "\n"))
	}
	for p, at := range a {
		if len(b[p]) < len(at) {
			t.Errorf("%s: the runs have %d times, and tshark saw %d times, %+v", host, len(at), len(b[p]), p)
		}
	}
	if len(theirs) == 0 {
		t.Errorf("%s: tshark saw nothing", host)
	}
	if furthest > stampTolerance {
		t.Errorf("%s: a stamp is %d ns from tshark's", host, furthest)
	}
	t.Logf("%s: %d packets in the runs, tshark saw %d; %d are missing; stamps differ by at most %d ns", host, len(ours), len(theirs), lacking, furthest)
}

// complaints counts what a comparison finds wrong.
type complaints struct {
	testing.TB
	n int
}

func (c *complaints) Error(...any)          { c.n++ }
func (c *complaints) Errorf(string, ...any) { c.n++ }

// A loss excuses what is missing of its own source and its own host, and nothing else.
func TestLossExcuses(t *testing.T) {
	const (
		traces  = synclinev1.Source_SOURCE_TRACEPOINTS
		packets = synclinev1.Source_SOURCE_PACKETS
	)
	for _, c := range []struct {
		name   string
		agent  string
		source synclinev1.Source
		count  uint64
		// states and packets are what is wrong of those of vm1, which lacks two of either.
		states, packets int
	}{
		{"nothing", "vm1", traces, 0, 1, 1},
		{"its traces", "vm1", traces, 2, 0, 1},
		{"too few traces", "vm1", traces, 1, 1, 1},
		{"its packets", "vm1", packets, 2, 1, 0},
		{"too few packets", "vm1", packets, 1, 1, 1},
		{"calls", "vm1", synclinev1.Source_SOURCE_SYSCALLS, 2, 1, 1},
		{"another host's traces", "vm2", traces, 2, 1, 1},
		{"another host's packets", "vm2", packets, 2, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s sights
			s.lose(c.agent, &synclinev1.Loss{Source: c.source, Count: c.count})
			states := &complaints{TB: t}
			s.sameStates(states, map[string]int{"vm1 1 2 CLOSE>SYN_SENT": 1, "vm1 1 2 SYN_SENT>ESTABLISHED": 1}, 0)
			if states.n != c.states {
				t.Errorf("%d complaints of states, want %d", states.n, c.states)
			}
			seen := &complaints{TB: t}
			sameMultiset(seen, "vm1", []seenPacket{{stamp: 1}}, []seenPacket{{stamp: 1}, {stamp: 2 + 2*stampTolerance}, {seq: 1}}, s.lost[lossOf{"vm1", packets}])
			if seen.n != c.packets {
				t.Errorf("%d complaints of packets, want %d", seen.n, c.packets)
			}
		})
	}
}
