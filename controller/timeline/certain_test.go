package timeline

import (
	"strings"
	"testing"

	"syncline/controller/clock"
	"syncline/controller/experiment"
)

// Wide bounds leave most of two hosts' moments without an order; what a segment
// carried is ordered all the same.
func TestCausalityDecidesWhereClocksCannot(t *testing.T) {
	w := newWorld(3, randomClocks(3, 2)...)
	w.repeat(1, 0, func(at int64) int64 {
		k := w.talk(0, 1, 40312, 1000)
		at = k.up(at, SYN, 0, 0, 0, fate{delay: 50_000_000})
		return k.down(at+5_000, SYN|ACK, 0, 1, 0, fate{delay: 50_000_000})
	})
	tl, err := Build(w.run, 1)
	if err != nil {
		t.Fatal(err)
	}
	syn := tl.Connections[0].Segments[0]
	if lo, hi := tl.Apart(syn.Departure, syn.Arrival); lo > 0 || hi < 50_000_000 {
		t.Fatalf("the SYN was between %d and %d ns on the way: this proves nothing", lo, hi)
	}
	last := len(tl.Moments) - 1
	for _, pair := range [][2]int{{syn.Departure, syn.Arrival}, {0, syn.Arrival}, {syn.Departure, last}} {
		if before, known := tl.Certain(pair[0], pair[1]); !before || !known {
			t.Errorf("moment %d before %d: %v, known %v", pair[0], pair[1], before, known)
		}
		if before, known := tl.Certain(pair[1], pair[0]); before || !known {
			t.Errorf("moment %d before %d: %v, known %v", pair[1], pair[0], before, known)
		}
	}
	begins := [2]int{0, 1}
	if _, known := tl.Certain(begins[0], begins[1]); known {
		t.Errorf("the order of the two beginnings is called known with an error of %d ns", tl.Moments[1].Stamp.Err)
	}
}

// A timeline put together by hand, from exported fields alone, answers too.
func TestCertainByHand(t *testing.T) {
	w := newWorld(4, randomClocks(4, 2)...)
	w.repeat(1, 0, func(at int64) int64 {
		k := w.talk(0, 1, 40312, 1000)
		return k.close(k.open(at), 0)
	})
	tl, err := Build(w.run, 1)
	if err != nil {
		t.Fatal(err)
	}
	hand := *tl
	hand.certain = nil
	w.checkCertain(t, &hand)
	known := 0
	for a := range tl.Moments {
		for b := range tl.Moments {
			if _, ok := hand.Certain(a, b); ok {
				known++
			}
		}
	}
	if all := len(tl.Moments) * len(tl.Moments); known < all/2 {
		t.Errorf("only %d of %d orders are known", known, all)
	}
	if got := hand.Complete(1, Packets); got != "" {
		t.Errorf("a whole repetition is not complete: %s", got)
	}
}

func TestCallAndPacketWithinTheStampsErrorHaveNoOrder(t *testing.T) {
	run := &Run{ID: "r-1", Hosts: []Host{{Name: "A"}}, Events: []Event{
		{Number: 1, Repetition: 1, At: 1000, Call: &Call{Name: "send", Return: 1040}},
		{Number: 2, Repetition: 1, At: 1060, Packet: &Packet{Direction: Out, Err: 50}},
		{Number: 3, Repetition: 1, At: 1061, Packet: &Packet{Direction: Out, Err: 50}},
	}}
	tl, err := Build(run, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		a, b          int
		before, known bool
	}{
		{0, 2, true, true},
		{1, 2, false, false},
		{2, 3, true, true},
		{3, 2, false, true},
		{3, 0, false, true},
	} {
		before, known := tl.Certain(tt.a, tt.b)
		if before != tt.before || known != tt.known {
			t.Errorf("moment %d before %d: %v, known %v; want %v, %v", tt.a, tt.b, before, known, tt.before, tt.known)
		}
	}
}

func TestComplete(t *testing.T) {
	end := Event{Number: 9, Repetition: 1, At: 900, Mark: &Mark{Kind: MarkEnd}}
	tests := []struct {
		name   string
		host   Host
		events []Event
		source Source
		want   string
	}{
		{"whole", Host{Name: "A"}, []Event{end}, Packets, ""},
		{"no end", Host{Name: "A"}, nil, Packets, "A did not end"},
		{"missing", Host{Name: "A", Missing: map[Source]string{Packets: "no CAP_NET_RAW"}}, []Event{end}, Packets, "A has no packets: no CAP_NET_RAW"},
		{"missing elsewhere", Host{Name: "A", Missing: map[Source]string{Packets: ""}}, []Event{end}, Syscalls, ""},
		{"loss", Host{Name: "A"}, []Event{end, {Number: 1, Repetition: 1, At: 5, Loss: &Loss{Source: Packets, Count: 7}}}, Packets, "A lost 7 of its packets"},
		{"loss of the run, in time", Host{Name: "A"}, []Event{end, {Number: 1, At: 950, Loss: &Loss{Source: Packets, Count: 7, Since: 850}}}, Packets, "A lost 7"},
		{"loss of the run, later", Host{Name: "A"}, []Event{end, {Number: 1, At: 1950, Loss: &Loss{Source: Packets, Count: 7, Since: 1850}}}, Packets, ""},
		{"busy", Host{Name: "A"}, []Event{end, {Number: 1, Repetition: 1, At: 890, Mark: &Mark{Kind: MarkNotQuiet}}}, Packets, "still busy"},
		{"source missing by mark", Host{Name: "A"}, []Event{end, {Number: 1, At: 1, Mark: &Mark{Kind: MarkSourceMissing, Detail: "packets: no CAP_NET_RAW"}}}, Packets, "no CAP_NET_RAW"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events := append([]Event{{Number: 20, Repetition: 1, At: 1, Mark: &Mark{Kind: MarkBegin}}}, tt.events...)
			tl, err := Build(&Run{ID: "r-1", Hosts: []Host{tt.host}, Events: events}, 1)
			if err != nil {
				t.Fatal(err)
			}
			got := tl.Complete(0, tt.source)
			if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("reason %q, want %q", got, tt.want)
			}
		})
	}
}

func TestBuildRefuses(t *testing.T) {
	hosts := []Host{{Name: "A"}}
	mark := &Mark{Kind: MarkBegin}
	tests := []struct {
		name string
		run  Run
		want string
	}{
		{"no hosts", Run{}, "no hosts"},
		{"no such repetition", Run{ID: "r-1", Hosts: hosts}, "r-1 has no events of repetition 1"},
		{"no such host", Run{Hosts: hosts, Events: []Event{{Host: 1, Number: 4, Mark: mark}}}, "event 4 is of host 1"},
		{"no fact", Run{Hosts: hosts, Events: []Event{{Number: 4}}}, "event 4 of A holds 0 facts"},
		{"two facts", Run{Hosts: hosts, Events: []Event{{Number: 4, Mark: mark, Signal: &Signal{}}}}, "holds 2 facts"},
		{"backwards", Run{Hosts: hosts, Events: []Event{{Number: 4, At: 9, Call: &Call{Name: "send", Return: 8}}}}, "send returns 1 ns before"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Build(&tt.run, 1)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

// Two connects to one server that fail at the same time and lose their addresses
// cannot be told apart, and are not.
func TestDoubtfulConnects(t *testing.T) {
	w := newWorld(6, randomClocks(6, 2)...)
	w.repeat(1, 0, func(at int64) int64 {
		end := at
		for i, lane := range []string{"one", "two"} {
			k := w.talk(0, 1, uint16(40312+i), uint32(1000+i))
			back := k.up(at+int64(i)*3_000, SYN, 0, 0, 0, fate{})
			p := k.packet(false, RST|ACK, 0, 1, 0)
			p.Seq = 0
			end = max(end, w.send(back+2_000, 1, 0, p, fate{})+9_000)
			k.call(0, at-5_000, at+900_000, Call{
				Lane: lane, Name: "connect", Socket: "c", Arguments: "10.0.0.2:8080", Result: -1, Errno: 111,
			})
		}
		return end + 900_000
	})
	tl, err := Build(w.run, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range tl.Moments {
		if m.Event.Call != nil && m.Connection >= 0 {
			t.Errorf("moment %d of lane %s is with connection %d", i, m.Event.Call.Lane, m.Connection)
		}
	}
	if got := strings.Join(tl.Warnings, "\n"); strings.Count(got, "could have opened any of several") != 2 {
		t.Errorf("warnings do not name both calls:\n%s", got)
	}
}

// Build judges what the experiment expects.
func TestBuildJudges(t *testing.T) {
	w := newWorld(7, randomClocks(7, 2)...)
	w.repeat(1, 0, func(at int64) int64 {
		k := w.talk(0, 1, 40312, 1000)
		return k.close(k.open(at), 0)
	})
	w.run.Experiment = &experiment.Experiment{Name: "close", Expect: []experiment.Expectation{
		{Text: "never RST", Never: &experiment.NeverExpectation{Packet: experiment.PacketSelector{Flags: uint16(RST), Contains: true, Text: "RST", Length: -1, Window: -1}}},
	}}
	tl, err := Build(w.run, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range tl.Verdicts {
		if v.Ruling != Pass {
			t.Errorf("%s: %s: %s", v.Expectation, v.Ruling, v.Reason)
		}
	}
	if n := len(tl.Verdicts); n == 0 || tl.Verdicts[n-1].Expectation != "never RST" || tl.Experiment != "close" {
		t.Errorf("verdicts %+v", tl.Verdicts)
	}
}

// Zero is the entry of the first connect, on the lab's clock.
func TestZero(t *testing.T) {
	w := newWorld(8, simClock{offset: 1e9}, simClock{})
	var entered clock.Local
	w.repeat(1, 0, func(at int64) int64 {
		entered = w.clocks[0].at(at)
		return w.talk(0, 1, 40312, 1000).open(at)
	})
	tl, err := Build(w.run, 1)
	if err != nil {
		t.Fatal(err)
	}
	if tl.Zero != clock.Lab(entered) {
		t.Errorf("zero is %d, connect was entered at %d", tl.Zero, entered)
	}
}
