package timeline

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"syncline/controller/experiment"
)

// datagrams plays UDP, ICMP and ARP between two hosts, some of it lost or doubled, and
// some that neither tap can tell from what went before.
func datagrams(w *world, t int64) int64 {
	a, b := netip.AddrPortFrom(w.address(0), 5000), netip.AddrPortFrom(w.address(1), 53)
	for i := range 12 {
		question := Packet{Source: a, Destination: b, Protocol: ProtocolUDP, PayloadLength: 2, Payload: []byte{byte(i), 1}}
		if i%4 == 3 {
			question.Payload = []byte{0, 0}
		}
		at := w.send(t, 0, 1, question, fate{lost: i == 5, twice: i == 7})
		answer := Packet{
			Source: netip.AddrPortFrom(b.Addr(), 0), Destination: netip.AddrPortFrom(a.Addr(), 0),
			Protocol: ProtocolICMP, ICMPType: icmpUnreachable, ICMPCode: 3, PayloadLength: 28, Payload: []byte{byte(i)},
		}
		t = w.send(at+4_000, 1, 0, answer, fate{}) + 200_000
	}
	who := Packet{Source: netip.AddrPortFrom(a.Addr(), 0), Destination: netip.AddrPortFrom(b.Addr(), 0), ARP: 1}
	is := Packet{Source: netip.AddrPortFrom(b.Addr(), 0), Destination: netip.AddrPortFrom(a.Addr(), 0), ARP: 2}
	return w.send(w.send(t, 0, 1, who, fate{})+3_000, 1, 0, is, fate{})
}

func TestPacketsThatAreNoTCP(t *testing.T) {
	for seed := range uint64(60) {
		w := newWorld(seed, randomClocks(seed, 2)...)
		w.alike = seed%2 == 0
		w.repeat(1, 0, func(at int64) int64 { return datagrams(w, at) })
		tl, err := Build(w.run, 1)
		if err != nil {
			t.Fatal(err)
		}
		w.checkOrder(t, tl)
		w.checkStamps(t, tl)
		w.checkCertain(t, tl)
		// 12 datagrams with a double, 12 answers, two of ARP.
		if len(tl.Connections) != 0 || len(tl.Others) != 27 {
			t.Fatalf("seed %d: %d connections, %d others", seed, len(tl.Connections), len(tl.Others))
		}
		if tl.Clocks[1].Method != "segments" {
			t.Errorf("seed %d: the clocks are tied by %q", seed, tl.Clocks[1].Method)
		}
		w.checkOthers(t, tl)
	}
}

// checkOthers compares pairs with the truth: those that are sure are true, and what was
// lost is said to be.
func (w *world) checkOthers(t *testing.T, tl *Timeline) {
	t.Helper()
	lost, doubled, sure := 0, 0, 0
	for _, tr := range tl.Others {
		switch {
		case tr.Lost:
			lost++
			if !w.lost[idOf(&tl.Moments[tr.Departure])] {
				t.Errorf("%+v is said to be lost", tr)
			}
		case tr.Duplicate:
			doubled++
		case tr.Departure < 0 || tr.Arrival < 0:
			t.Errorf("%+v was not paired", tr)
		case !tr.Ambiguous:
			sure++
			if !slices.Contains(w.cause[idOf(&tl.Moments[tr.Arrival])], idOf(&tl.Moments[tr.Departure])) {
				t.Errorf("%+v is a pair of two packets", tr)
			}
		}
	}
	if lost != 1 || doubled != 1 || sure < 20 {
		t.Errorf("%d lost, %d doubled, %d sure; want 1, 1 and at least 20", lost, doubled, sure)
	}
}

func TestTransmissionsAreInOrder(t *testing.T) {
	w := newWorld(4, randomClocks(4, 2)...)
	w.repeat(1, 0, func(at int64) int64 {
		k := w.talk(0, 1, 40312, 1000)
		return datagrams(w, k.close(k.open(datagrams(w, at)), 0))
	})
	tl, err := Build(w.run, 1)
	if err != nil {
		t.Fatal(err)
	}
	all := tl.Transmissions()
	if want := len(tl.Others) + len(tl.Connections[0].Segments); len(all) != want || want < 60 {
		t.Fatalf("%d transmissions, want %d", len(all), want)
	}
	if !slices.IsSortedFunc(all, compareTransmissions) {
		t.Error("they are not in order")
	}
	for _, tr := range all {
		p := tl.Packet(&tr)
		if p.TCP() != (tr.Number >= 0) || tl.Hosts[tr.From].Address != p.Source.Addr() || tl.Hosts[tr.To].Address != p.Destination.Addr() {
			t.Fatalf("%+v is of %+v", tr, p)
		}
	}
}

// An ARP request is heard by all; it is of the one whose address it asks for.
func TestBroadcastIsOfItsTarget(t *testing.T) {
	w := newWorld(5, randomClocks(5, 3)...)
	w.repeat(1, 0, func(at int64) int64 {
		who := Packet{Source: netip.AddrPortFrom(w.address(0), 0), Destination: netip.AddrPortFrom(w.address(1), 0), ARP: 1}
		w.send(at, 0, 1, who, fate{})
		w.tap(at+40_000, 2, In, who)
		return at + 100_000
	})
	tl, err := Build(w.run, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(tl.Others) != 1 || tl.Others[0].From != 0 || tl.Others[0].To != 1 || tl.Others[0].Arrival < 0 {
		t.Fatalf("%+v", tl.Others)
	}
	for _, row := range tl.Ladder(LadderOptions{}).Rows {
		if row.Kind == RowNote || row.Lane == 2 {
			t.Errorf("the ladder shows what the third host heard: %+v", row)
		}
	}
}

// A server forks a worker, dups its socket, and uses its names again in a loop: the
// ends are found by all of them.
func TestEndsOfAllNames(t *testing.T) {
	w := newWorld(6, randomClocks(6, 2)...)
	w.repeat(1, 0, func(at int64) int64 {
		for round := range 2 {
			k := w.talk(0, 1, uint16(40312+round), uint32(1000+round*90_000))
			k.call(0, at-5_000, at-4_000, Call{Lane: "client", Name: "socket", Makes: "c", Arguments: "AF_INET, SOCK_STREAM, 0"})
			at = k.open(at)
			k.call(1, at+1_000, at+2_000, Call{Lane: "server", Name: "dup", Socket: "a", Makes: "copy"})
			k.call(1, at+3_000, at+9_000, Call{Lane: "server", Name: "fork", Arguments: "worker", Result: 99})
			k.call(1, at+10_000, at+11_000, Call{Lane: "server", Name: "close", Socket: "a"})
			k.call(1, at+12_000, at+13_000, Call{Lane: "worker", Name: "recv", Socket: "a", Result: 0})
			k.call(1, at+14_000, at+15_000, Call{Lane: "server", Name: "close", Socket: "copy"})
			k.call(1, at+16_000, at+17_000, Call{Lane: "worker", Name: "close", Socket: "copy"})
			k.call(1, at+18_000, at+30_000, Call{Lane: "worker", Name: "close", Socket: "a"})
			at = k.down(at+20_000, FIN|ACK, 1, 1, 0, fate{}) + 50_000
			k.up(at, ACK, 1, 2, 0, fate{delay: 20_000})
			k.call(0, at+60_000, at+61_000, Call{Lane: "client", Name: "close", Socket: "c"})
			k.up(at+60_500, FIN|ACK, 1, 2, 0, fate{delay: 20_000})
			at = k.down(at+90_000, ACK, 2, 2, 0, fate{}) + 100_000
		}
		return at
	})
	tl, err := Build(w.run, 1)
	if err != nil {
		t.Fatal(err)
	}
	server, client := []EndRef{{0, ServerEnd}, {1, ServerEnd}}, []EndRef{{0, ClientEnd}, {1, ClientEnd}}
	for _, c := range []struct {
		lane, socket string
		want         []EndRef
	}{
		{"client", "c", client}, {"server", "a", server}, {"server", "copy", server}, {"worker", "a", server},
		{"worker", "copy", server}, {"worker", "c", nil}, {"server", "s", nil}, {"client", "", nil},
	} {
		if got := tl.EndsOf(c.lane, c.socket); !slices.Equal(got, c.want) {
			t.Errorf("%s.%s is of %v, want %v", c.lane, c.socket, got, c.want)
		}
	}
	if connection, end, ok := tl.EndOf("worker", "a"); connection != 0 || end != ServerEnd || !ok {
		t.Errorf("worker.a is end %d of %d, %v", end, connection, ok)
	}
	if _, _, ok := tl.EndOf("nobody", "x"); ok {
		t.Error("nobody.x is an end")
	}
	for i := range tl.Moments {
		m := &tl.Moments[i]
		if c := m.Event.Call; c != nil && c.Lane == "worker" && m.Connection < 0 {
			t.Errorf("%s of the forked lane belongs to no connection", c.Name)
		}
	}
	// The FIN leaves with the last close of the three, and not before.
	states := tl.Connections[0].Server.States
	if names := stateList(states); names != "SYN_RECV ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT" {
		t.Errorf("the server's states are %s", names)
	}
}

func stateList(states []State) string {
	var names []string
	for _, s := range states {
		names = append(names, s.Name)
	}
	return strings.Join(names, " ")
}

// UDP and Unix sockets connect as well; no TCP connection comes of that.
func TestConnectOfOtherSockets(t *testing.T) {
	w := newWorld(7, randomClocks(7, 2)...)
	a, b := netip.AddrPortFrom(w.address(0), 5000), netip.AddrPortFrom(w.address(1), 53)
	w.repeat(1, 0, func(at int64) int64 {
		w.call(0, at, at+1_000, Call{Lane: "client", Name: "socket", Makes: "u", Arguments: "AF_INET, SOCK_DGRAM, 0"})
		w.call(0, at+2_000, at+3_000, Call{Lane: "client", Name: "connect", Socket: "u", Local: a, Peer: b})
		w.call(0, at+4_000, at+5_000, Call{Lane: "client", Name: "socket", Makes: "x", Arguments: "AF_UNIX, SOCK_STREAM, 0"})
		w.call(0, at+6_000, at+7_000, Call{Lane: "client", Name: "connect", Socket: "x", Arguments: "unix:hall"})
		w.call(0, at+6_000, at+7_500, Call{Lane: "server", Name: "accept", Socket: "s", Makes: "y", Result: 9})
		return at + 10_000
	})
	tl, err := Build(w.run, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(tl.Connections) != 0 {
		t.Errorf("%+v", tl.Connections)
	}
	if got := len(tl.Phases(-1)); got != 3 {
		t.Errorf("%d phases of calls without a connection, want 3", got)
	}
}

// Each repetition is of its own plan.
func TestPlanOfTheRepetition(t *testing.T) {
	w := newWorld(8, randomClocks(8, 2)...)
	for repetition := 1; repetition <= 2; repetition++ {
		w.repeat(repetition, int64(repetition)*10_000_000, func(at int64) int64 {
			k := w.talk(0, 1, uint16(40000+repetition), uint32(repetition)*100_000)
			return k.close(k.open(at), 0)
		})
	}
	variants := []experiment.Variant{{Name: "slow"}, {Name: "fast"}}
	noPlan := errors.New("no such variant")
	w.run.Plan = func(repetition int) (*experiment.Experiment, error) {
		if repetition > 2 {
			return nil, noPlan
		}
		return &experiment.Experiment{Name: "planned", Variants: variants, Variant: repetition - 1}, nil
	}
	b := NewBuilder(w.run)
	for repetition, want := range map[int]string{1: "slow", 2: "fast"} {
		tl, err := b.Build(repetition)
		if err != nil || tl.Variant != want || tl.Experiment != "planned" {
			t.Errorf("repetition %d is %+v, %v", repetition, tl, err)
		}
	}
	w.run.Plan = func(int) (*experiment.Experiment, error) { return nil, noPlan }
	if _, err := NewBuilder(w.run).Build(1); !errors.Is(err, noPlan) {
		t.Errorf("a plan that cannot be had gives %v", err)
	}
}
