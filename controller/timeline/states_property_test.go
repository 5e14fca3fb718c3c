package timeline

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"syncline/controller/clock"
)

// simRuns is how many runs are simulated, and simFirst the seed of the first.
var (
	simRuns  = flag.Int("sim.runs", 250, "how many runs to simulate")
	simFirst = flag.Uint64("sim.first", 0, "the seed of the first simulated run")
)

// simTold are the seeds of runs of which something wrong was once told; few runs are like
// them.
var simTold = []uint64{491, 503, 611, 739, 945, 1121, 1156, 1181, 1230, 1267, 1462, 2175, 2354, 2629, 2697, 2906, 3348, 3383, 4811, 10923, 11071, 12162, 12596, 12681, 14151, 15931, 17447, 21820, 21917, 22857, 31215, 36027, 36362, 54608, 56812, 57217, 60019}

// simEnough is after how many wrong claims a person has enough to look at.
const simEnough = 3

// simLosses is how often each run is looked at with some of its events missing.
const simLosses = 6

// TestStatesAreTrue holds what a timeline says of states against the truth of simulated
// kernels. Whatever is missing from the record: a path that nothing casts doubt on is the
// true one, each of its states began within its bounds, and a state that was traced began at
// that very moment, in doubt or not, but where the doubt is whose traces they are. That
// holds too where traces are missing and nothing says so, as long as anything else is against
// what is left of them. Nothing missing leaves no doubt, but of what a reset cut off,
// or a timer ended unseen.
func TestStatesAreTrue(t *testing.T) {
	var whole, sure, doubtful int
	wrong := 0
	seeds := slices.Clone(simTold)
	for seed := *simFirst; seed < *simFirst+uint64(*simRuns); seed++ {
		seeds = append(seeds, seed)
	}
	for _, seed := range seeds {
		if wrong >= simEnough {
			return
		}
		k := simulate(seed)
		for i := range 1 + simLosses {
			run := *k.run
			if i > 0 {
				run = lose(k, rand.New(rand.NewPCG(seed, uint64(i))))
			}
			tl, err := Build(&run, 1)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range k.socks {
				claims := k.claimsOf(tl, s)
				if claims.end == nil {
					if i == 0 && s.state != "" && !k.isOnRecord(tl, s) {
						t.Errorf("seed %d: no end for %s.%s: %v", seed, s.lane, s.name, s.turns)
					}
					continue
				}
				if what := k.wrong(tl, s, claims); what != "" {
					wrong++
					t.Errorf("seed %d, losses %d: %s.%s %s\n%s", seed, i, s.lane, s.name, what, k.compared(tl, s, claims))
				}
				switch {
				case i == 0:
					whole++
					if claims.doubt != "" && !isUnknowable(claims.doubt) {
						wrong++
						t.Errorf("seed %d: nothing is missing of %s.%s, and yet: %s\n%s", seed, s.lane, s.name, claims.doubt, k.compared(tl, s, claims))
					}
				case claims.doubt == "":
					sure++
				default:
					doubtful++
				}
			}
		}
	}
	t.Logf("%d paths with nothing missing; with losses %d sure and %d in doubt", whole, sure, doubtful)
	if sure < doubtful/10 || doubtful < sure/100 {
		t.Errorf("%d paths are sure and %d in doubt: the losses test nothing", sure, doubtful)
	}
}

// isUnknowable reports whether a doubt is about what no tap and no tracepoint can tell.
func isUnknowable(doubt string) bool {
	return slices.ContainsFunc([]string{"before it was reset", "tells whether it gave up", "nobody can tell which it was"}, func(end string) bool {
		return strings.HasSuffix(doubt, end)
	})
}

// simulate is a run of two repetitions, the first with some connections one after the other.
func simulate(seed uint64) *simKernels {
	k := newSimKernels(seed, []int{0, 0, 4, 12}[seed%4])
	k.mark(0, MarkBegin)
	k.now = 1_000_000
	port := uint16(40_000)
	for i := range 1 + k.random.IntN(3) {
		if !k.isFree(port) || k.chance(60) {
			port++
		}
		k.script(fmt.Sprint(i), port)
		k.play()
		k.now += 70_000_000
	}
	k.dump()
	k.now += 1_000_000
	k.mark(k.now, MarkEnd)
	k.repetition = 2
	k.mark(k.now+1_000_000, MarkBegin)
	k.mark(k.now+3_000_000_000, MarkEnd)
	return k
}

// lose takes events of some sources of some hosts away and reports that, now and then as
// late as in the next repetition. A source may not be there at all.
func lose(k *simKernels, random *rand.Rand) Run {
	run := Run{ID: k.run.ID, Hosts: slices.Clone(k.run.Hosts)}
	kept := slices.Clone(k.run.Events)
	for host := range run.Hosts {
		for _, source := range []Source{Packets, Tracepoints, Syscalls} {
			of := func(e *Event) bool { return e.Host == host && sourceOfSim(e) == source }
			switch n := random.IntN(10); {
			case source == Packets && n == 0:
				run.Hosts[host].Missing = map[Source]string{Packets: "no CAP_NET_RAW"}
				kept = slices.DeleteFunc(kept, func(e Event) bool { return of(&e) })
			case source == Tracepoints && n == 0:
				kept = slices.DeleteFunc(kept, func(e Event) bool { return of(&e) })
			case n < 4 && (source != Syscalls || n == 1):
				kept = loseSome(kept, host, source, of, random)
			}
		}
	}
	if random.IntN(3) == 0 {
		kept = silence(kept, random.IntN(len(run.Hosts)), random)
	}
	inTime(kept)
	run.Events = kept
	return run
}

// inTime has what a host lost after all that it has of a repetition counted with the end of
// that: by then it has read its sources to their end.
func inTime(events []Event) {
	for i := range events {
		if events[i].Loss == nil || events[i].Repetition != 2 {
			continue
		}
		loss := &events[i]
		later := slices.ContainsFunc(events, func(e Event) bool {
			return e.Host == loss.Host && e.Repetition == 1 && e.Loss == nil && !e.isAfterwards() && e.At >= loss.Loss.Since
		})
		if !later {
			loss.Repetition = 1
		}
	}
}

// silence takes all traces of a host within a stretch of time away, and reports nothing: on
// some kernels no tracer is told of what happens then, and nothing counts it.
func silence(events []Event, host int, random *rand.Rand) []Event {
	var at []clock.Local
	for i := range events {
		if e := &events[i]; e.Host == host && e.Trace != nil {
			at = append(at, e.At)
		}
	}
	if len(at) == 0 {
		return events
	}
	slices.Sort(at)
	since := at[random.IntN(len(at))]
	until := since + clock.Local(random.Int64N(3_000_000))
	return slices.DeleteFunc(events, func(e Event) bool {
		return e.Host == host && e.Trace != nil && e.At >= since && e.At <= until
	})
}

func sourceOfSim(e *Event) Source {
	switch {
	case e.Packet != nil:
		return Packets
	case e.Trace != nil:
		return Tracepoints
	case e.Call != nil:
		return Syscalls
	}
	return ""
}

// loseSome takes some events of a stretch of time away.
func loseSome(events []Event, host int, source Source, of func(*Event) bool, random *rand.Rand) []Event {
	var at []clock.Local
	for i := range events {
		if of(&events[i]) {
			at = append(at, events[i].At)
		}
	}
	if len(at) == 0 {
		return events
	}
	slices.Sort(at)
	first := random.IntN(len(at))
	since, until := at[first], at[min(len(at)-1, first+random.IntN(8))]
	share := []int{30, 100}[random.IntN(2)]
	var count uint64
	kept := slices.DeleteFunc(slices.Clone(events), func(e Event) bool {
		lost := of(&e) && e.At >= since && e.At <= until && random.IntN(100) < share
		if lost {
			count++
		}
		return lost
	})
	if count == 0 {
		return kept
	}
	loss := Event{
		Host: host, Number: 1_000_000 + uint64(len(kept)), Incarnation: 1, Repetition: 1, At: until + 1,
		Loss: &Loss{Source: source, Count: count, Since: since - 1},
	}
	if source == Syscalls {
		loss.At += clock.Local(100_000_000)
	}
	if random.IntN(4) == 0 {
		// It is counted only in the next repetition.
		for i := range events {
			if events[i].Host == host && events[i].Repetition == 2 {
				loss.At, loss.Repetition = max(loss.At, events[i].At+1_000), 2
			}
		}
	}
	return append(kept, loss)
}

// simClaims is what a timeline says of an end, and why it may not be right.
type simClaims struct {
	end   *End
	doubt string
}

// claimsOf finds the end of a socket by its name, as a verdict on its states does; one that
// no call is known of by its initial number.
func (k *simKernels) claimsOf(tl *Timeline, s *simSock) simClaims {
	ci, end, ok := tl.EndOf(s.lane, s.name)
	for i := range tl.Connections {
		c := &tl.Connections[i]
		if ok || !c.Client.HasISN || c.Client.ISN != k.clientOf(s).iss {
			continue
		}
		for e := range 2 {
			if own := c.End(e); own.Host == s.host && own.Address == s.own && own.Lane == "" {
				ci, end, ok = i, e, true
			}
		}
	}
	if !ok {
		return simClaims{}
	}
	doubt := tl.StateDoubt(ci, end)
	if doubt == "" && !tl.stateProven(EndRef{ci, end}) {
		doubt = tl.Complete(s.host, Packets)
	}
	if doubt == "" {
		doubt = tl.Complete(s.host, Syscalls)
	}
	return simClaims{tl.Connections[ci].End(end), doubt}
}

// isOnRecord reports whether there is a connection of a socket, whosever it is said to be.
func (k *simKernels) isOnRecord(tl *Timeline, s *simSock) bool {
	return slices.ContainsFunc(tl.Connections, func(c Connection) bool { return c.Client.ISN == k.clientOf(s).iss })
}

func (k *simKernels) clientOf(s *simSock) *simSock {
	if s.server {
		return s.other
	}
	return s
}

// wrong says what a timeline has wrong of a socket, empty if nothing.
func (k *simKernels) wrong(tl *Timeline, s *simSock, c simClaims) string {
	var names []string
	for _, turn := range s.turns {
		names = append(names, turn.name)
	}
	var said []string
	for _, state := range c.end.States {
		said = append(said, state.Name)
	}
	isSure := c.doubt == ""
	// Whether a state that it was in within one segment only counts is a matter of words.
	brief := func(name string) bool {
		return slices.ContainsFunc(s.passed, func(turn simTurn) bool { return turn.name == name })
	}
	if isSure && !slices.Equal(names, said) && !slices.Equal(names, slices.DeleteFunc(said, brief)) {
		return "went another way"
	}
	for i := range c.end.States {
		state := &c.end.States[i]
		exact := state.exact()
		if !isSure && (!exact || strings.Contains(c.doubt, "nobody can tell which it was")) {
			continue
		}
		if !slices.ContainsFunc(slices.Concat(s.turns, s.passed), func(turn simTurn) bool { return turn.name == state.Name && k.fits(tl, state, turn.at) }) {
			return fmt.Sprintf("did not come to %s then", state.Name)
		}
	}
	return ""
}

// fits reports whether a state can have begun at a true time.
func (k *simKernels) fits(tl *Timeline, s *State, at int64) bool {
	if s.exact() {
		return k.truthOf(tl, s.Moment) == at
	}
	return (s.After < 0 || k.truthOf(tl, s.After) <= at) && (s.By < 0 || k.truthOf(tl, s.By) >= at)
}

func (k *simKernels) truthOf(tl *Timeline, moment int) int64 {
	m := &tl.Moments[moment]
	return k.truth[simMoment{simID{m.Event.Host, m.Event.Number}, m.Edge}]
}

// compared shows the truth of a socket beside what is said of it.
func (k *simKernels) compared(tl *Timeline, s *simSock, c simClaims) string {
	text := "truly:"
	for _, turn := range s.turns {
		text += fmt.Sprintf(" %s %.1f", turn.name, float64(turn.at)/1000)
	}
	text += "\nsaid:"
	place := func(moment int) string {
		if moment < 0 {
			return "-"
		}
		return fmt.Sprintf("%.1f", float64(k.truthOf(tl, moment))/1000)
	}
	for i := range c.end.States {
		state := &c.end.States[i]
		text += fmt.Sprintf(" %s %s at %s (%s..%s)", state.Name, state.Known, place(state.Moment), place(state.After), place(state.By))
	}
	text += "\ndoubt: " + c.doubt
	for i := range tl.Moments {
		if m := &tl.Moments[i]; m.Event.Host == s.host {
			text += fmt.Sprintf("\n  %12s %s", place(i), momentText(m))
			if m.Event.Loss != nil {
				text += fmt.Sprintf(" %+v", *m.Event.Loss)
			}
		}
	}
	return text
}
