package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"syncline/controller"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// overtaken says which packet of a repetition overtook another one of its connection and
// direction; empty if none did.
//
// A veth receives a packet on the processor that sends it. While that one is busy, a packet that
// was sent later on another processor may come first: on a cable between two machines nothing
// does that. Then the stack answers as it does to any packet out of order, and a scenario that
// says what happens in order does not pass. The taps of both ends show it.
func overtaken(tl *timeline.Timeline) string {
	var last []timeline.Transmission
	for _, tr := range tl.Transmissions() {
		if tr.Connection < 0 || tr.Number < 0 || tr.Departure < 0 || tr.Arrival < 0 {
			continue
		}
		for _, before := range last {
			if before.Connection == tr.Connection && before.From == tr.From &&
				tl.Moments[before.Departure].Local < tl.Moments[tr.Departure].Local && tl.Moments[before.Arrival].Local > tl.Moments[tr.Arrival].Local {
				return fmt.Sprintf("packet %d of connection %d overtook packet %d", tr.Number+1, tr.Connection+1, before.Number+1)
			}
		}
		last = append(last, tr)
	}
	return ""
}

// packetList is a line for each packet: when it left and came, by the clock of each tap, and what it was.
func packetList(tl *timeline.Timeline) string {
	var b strings.Builder
	at := func(moment int) string {
		if moment < 0 {
			return "?"
		}
		return strconv.FormatInt(int64(tl.Moments[moment].Local-tl.Moments[0].Local), 10)
	}
	for _, tr := range tl.Transmissions() {
		p := tl.Packet(&tr)
		fmt.Fprintf(&b, "connection %d, host %d > %d: %s .. %s ns: %+v\n", tr.Connection, tr.From, tr.To, at(tr.Departure), at(tr.Arrival), *p)
	}
	return b.String()
}

func TestOvertaken(t *testing.T) {
	for _, c := range []struct{ scene, want string }{
		{"A>B SYN 0..1\nA>B ACK data 5 2..5\nA>B ACK data 5 3..4\n", "packet 3 of connection 1 overtook packet 2"},
		{"A>B SYN 0..1\nA>B ACK data 5 2..4\nA>B ACK data 5 3..5\n", ""},
		// What goes the other way overtakes nothing.
		{"A>B SYN 0..5\nB>A SYN+ACK 2..3\n", ""},
	} {
		tl := parseScene(t, "host A 10.0.0.1\nhost B 10.0.0.2\n"+c.scene)
		if got := overtaken(tl); got != c.want {
			t.Errorf("%q: %q, want %q", c.scene, got, c.want)
		}
	}
}

// overtakings are the repetitions of a run that failed, or could not be told, and in which packets
// overtook each other, each with its own; ok is false if any other did not pass
// either.
func (l *testLab) overtakings(run *synclinev1.Run, s *runSummary) (found map[int]string, ok bool) {
	l.t.Helper()
	found = map[int]string{}
	for _, tally := range s.tally.Tallies {
		for _, e := range tally.Exceptions {
			// What was not reproduced was not to be judged.
			if e.Ruling != timeline.NotReproduced {
				found[e.Repetition] = ""
			}
		}
	}
	for _, n := range slices.Sorted(maps.Keys(found)) {
		tl, err := controller.TimelineFromProto(l.timeline(run, n))
		if err != nil {
			l.t.Fatal(err)
		}
		if found[n] = overtaken(tl); found[n] == "" {
			l.t.Logf("run %s, repetition %d did not pass, and nothing overtook anything there:\n%s", run.Id, n, packetList(tl))
			return found, false
		}
		l.t.Logf("run %s, repetition %d: %s, on a machine that is busy", run.Id, n, found[n])
	}
	return found, len(found) > 0
}
