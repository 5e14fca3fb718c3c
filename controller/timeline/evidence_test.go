package timeline

import (
	"net/netip"
	"strings"
	"testing"

	"syncline/controller/clock"
)

// A loss may have happened in every repetition that its time overlaps, whichever it was
// reported with.
func TestLossTouchesWhatItsTimeOverlaps(t *testing.T) {
	mark := func(number uint64, repetition int, at clock.Local, kind MarkKind) Event {
		return Event{Number: number, Repetition: repetition, At: at, Mark: &Mark{Kind: kind}}
	}
	for _, tt := range []struct {
		name        string
		repetition  int
		since, at   clock.Local
		source      Source
		first, last bool
	}{
		{"within the second", 2, 1110, 1150, Packets, false, true},
		{"reported with the first, late", 1, 150, 1150, Packets, true, true},
		{"reported with the second, from the first on", 2, 150, 1150, Packets, true, true},
		{"since the first was read to its end", 2, 195, 1150, Packets, false, true},
		{"reported with the second, before it began", 2, 195, 1000, Packets, false, true},
		{"before the first", 0, 5, 50, Packets, false, false},
		{"of the run", 0, 5, 150, Packets, true, false},
		{"of another source", 2, 150, 1150, CounterData, false, false},
		{"of the run, over all", 0, 5, 5000, Packets, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run := &Run{ID: "r-1", Hosts: []Host{{Name: "A"}}, Events: []Event{
				mark(1, 1, 100, MarkBegin),
				{Number: 2, Repetition: 1, At: 120, Call: &Call{Name: "sleep", Return: 180}},
				mark(3, 1, 200, MarkEnd),
				mark(4, 2, 1100, MarkBegin),
				{Number: 5, Repetition: 2, At: 1120, Call: &Call{Name: "sleep", Return: 1180}},
				mark(6, 2, 1200, MarkEnd),
				{Number: 7, Repetition: tt.repetition, At: tt.at, Loss: &Loss{Source: tt.source, Count: 3, Since: tt.since}},
			}}
			for i, want := range []bool{tt.first, tt.last} {
				tl, err := Build(run, i+1)
				if err != nil {
					t.Fatal(err)
				}
				if why := tl.Complete(0, Packets); (why != "") != want {
					t.Errorf("repetition %d: %q, want a loss: %v", i+1, why, want)
				}
				told := false
				for j := range tl.Moments {
					told = told || tl.Moments[j].Event.Loss != nil
				}
				if tt.source == Packets && told != want {
					t.Errorf("repetition %d: the loss is one of its moments: %v, want %v", i+1, told, want)
				}
			}
		})
	}
}

// Traces of a socket that outlives its repetition may be lost in a later one, and packets
// too: its states rest on all that it has crossed.
func TestStatesCrossRepetitions(t *testing.T) {
	trace, packet := Loss{Source: Tracepoints, Count: 1}, Loss{Source: Packets, Count: 1}
	const later = "A lost 1 packet in a later repetition"
	for _, tt := range []struct {
		name string
		// first and second are what is lost after the last trace, and in the second repetition.
		first, second []Loss
		dump          bool
		doubt         string
	}{
		{name: "nothing lost"},
		{name: "a trace", second: []Loss{trace}},
		{name: "a packet, and no dump that shows where the traces stop", second: []Loss{packet}, doubt: later},
		{name: "a trace and a packet", second: []Loss{trace, packet}, doubt: later},
		{name: "its last traces, and a packet of another repetition", first: []Loss{trace}, second: []Loss{packet}},
		{name: "a packet, when a dump shows no such socket any more", second: []Loss{packet}, dump: true},
	} {
		t.Run(tt.name, func(t *testing.T) { checkCrossing(t, tt.first, tt.second, tt.dump, tt.doubt) })
	}
}

func checkCrossing(t *testing.T, first, second []Loss, dump bool, doubt string) {
	t.Helper()
	// A's kernel told of all states but the last, which it came to in the second repetition.
	w := newWorld(1, simClock{}, simClock{offset: 5_000_000})
	k := w.talk(0, 1, 40000, 1000)
	state := func(at int64, from, to string) {
		w.emit(0, at, Event{Trace: &Trace{Kind: TraceState, Cookie: 7, Local: k.a, Peer: k.b, OldState: stateNumber(from), State: stateNumber(to)}})
	}
	lose := func(at int64, losses []Loss) {
		for _, l := range losses {
			l.Since = w.clocks[0].at(at)
			w.emit(0, at+1_000, Event{Loss: &l})
		}
	}
	end := w.repeat(1, 0, func(at int64) int64 {
		w.call(0, at, at+100, Call{Lane: "client", Name: "socket", Makes: "c"})
		state(at+5_000, stateClosed, stateSynSent)
		at = k.openSince(at, at+10_000)
		state(at-20_000, stateSynSent, stateEstablished)
		w.call(0, at+1_000, at+2_000, Call{Lane: "client", Step: 2, Name: "close", Socket: "c"})
		state(at+1_100, stateEstablished, stateFinWait1)
		at = k.up(at+1_200, FIN|ACK, 1, 1, 0, fate{})
		at = k.down(at+4_000, ACK, 1, 2, 0, fate{})
		state(at+200, stateFinWait1, stateFinWait2)
		lose(at+300, first)
		if dump {
			w.emit(0, at+2_000, Event{Socket: &SocketState{Local: netip.AddrPortFrom(k.a.Addr(), 1), State: stateNumber(stateListen), Final: true}})
		}
		return at + 2_000
	})
	w.repeat(2, end+1_000_000, func(at int64) int64 {
		lose(at, second)
		return at + 10_000
	})
	tl, err := Build(w.run, 1)
	if err != nil {
		t.Fatal(err)
	}
	connection, at, ok := tl.EndOf("client", "c")
	if !ok {
		t.Fatal("no end")
	}
	got := tl.StateDoubt(connection, at)
	if (doubt == "") != (got == "") || !strings.Contains(got, doubt) {
		t.Errorf("doubt %q, want %q; states %s", got, doubt, pathText(tl.Connections[connection].End(at).States))
	}
}
