package timeline

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"syncline/controller/experiment"
)

// lab is a repetition of three hosts, written call by call and packet by packet. It
// goes through Build, so that the calls find their connections as in a real run.
type lab struct {
	*world
	at int64
}

// newLab begins the repetition 1.
func newLab(hosts int) *lab {
	clocks := []simClock{{}, {offset: 5_000_000_000}, {offset: -7_000_000_000}}
	l := &lab{world: newWorld(1, clocks[:hosts]...), at: 2_000_000}
	l.mark(1_000_000, MarkBegin)
	return l
}

// judge ends the repetition and rules on one expectation.
func (l *lab) judge(t *testing.T, expect string) (Verdict, *Timeline) {
	t.Helper()
	l.mark(l.at+100_000_000, MarkEnd)
	tl, err := Build(l.run, 1)
	if err != nil {
		t.Fatal(err)
	}
	checkInvariants(t, tl)
	exp := expectations(t, expect)
	exp.Lanes = []experiment.Lane{{Name: "client", Host: "A"}, {Name: "server", Host: "B"}}
	verdicts := tl.Judge(exp)
	return verdicts[len(verdicts)-1], tl
}

// wants judges and compares. The reason has to contain each of the parts.
func (l *lab) wants(t *testing.T, expect string, ruling Ruling, parts ...string) *Timeline {
	t.Helper()
	v, tl := l.judge(t, expect)
	if v.Ruling != ruling {
		t.Errorf("%s\n got %s: %s\nwant %s", expect, v.Ruling, v.Reason, ruling)
	}
	for _, part := range parts {
		if !strings.Contains(v.Reason, part) {
			t.Errorf("%s\n reason %q\n want %q in it", expect, v.Reason, part)
		}
	}
	if ruling == Pass && v.Reason != "" {
		t.Errorf("a pass with the reason %q", v.Reason)
	}
	return tl
}

// open opens a connection by the lanes client+name and server+name.
func (l *lab) open(name string, client, server int, port uint16) *talk {
	k := l.talk(client, server, port, 1000*uint32(port))
	k.name = name
	l.at = k.open(l.at) + 1_000_000
	return k
}

// shut closes it from both ends.
func (l *lab) shut(k *talk) { l.at = k.close(l.at, 0) + 1_000_000 }

// abort closes it with SO_LINGER {1, 0}.
func (l *lab) abort(k *talk) {
	k.call(k.client, l.at, l.at+9_000, Call{Lane: "client" + k.name, Step: 2, Name: "close", Socket: "c", FD: 7})
	l.at = k.up(l.at+3_000, RST|ACK, 1, 1, 0, fate{}) + 1_000_000
}

// stray is a connection that no call of the experiment is of: opened, and reset by
// the server. It takes less than a call.
func (l *lab) stray(client, server int, port uint16) {
	k := l.talk(client, server, port, 1000*uint32(port))
	t := k.up(l.at, SYN, 0, 0, 0, fate{})
	l.at = k.down(t+5_000, RST|ACK, 0, 1, 0, fate{}) + 1_000_000
}

// resetThenFin has two lanes of A: klient resets its connection, and then client
// closes its own with a FIN.
func resetThenFin() *lab {
	l := newLab(2)
	klient, client := l.open("K", 0, 1, 4001), l.open("", 0, 1, 4002)
	l.abort(klient)
	l.shut(client)
	return l
}

func TestAPacketIsOfTheCallBesideIt(t *testing.T) {
	const klient, client = "10.0.0.1:4001 → 10.0.0.2:8080", "10.0.0.1:4002 → 10.0.0.2:8080"
	for _, test := range []struct {
		expect string
		ruling Ruling
		reason string
	}{
		{"order enter(clientK.close) < sent(A, any FIN) < received(B, any FIN)", Fail, "selects nothing: A sent no packet any FIN on " + klient},
		{"order enter(clientK.close) < sent(A, any RST) < received(B, any RST)", Pass, ""},
		{"order enter(client.close) < sent(A, any FIN) < received(B, any FIN) < return(server.close)", Pass, ""},
		{"order enter(client.close) < sent(A, any RST)", Fail, "selects nothing: A sent no packet any RST on " + client},
		{"order sent(A, any RST) < enter(client.close)", Fail, "on " + client},
		{"order enter(client.connect) < sent(A, SYN) < received(B, SYN) < return(server.accept)", Pass, ""},
		{"order return(server.accept) < sent(A, SYN)", Fail, "sent(A, SYN) on " + client},
		// Each of two calls has the packets beside it.
		{"order enter(clientK.connect) < sent(A, SYN) < return(clientK.connect) < enter(client.connect) < sent(A, SYN) < return(client.connect)", Pass, ""},
		{"order enter(clientK.connect) < sent(A, SYN) < enter(client.connect)", CannotTell, "sent(A, SYN) can be of 2 connections; name a call of the one you mean"},
		{"order enter(clientK.close) < sent(A, any FIN) < return(client.close)", CannotTell, "can be of 2 connections"},
		{"order return(clientK.connect) < return(client.connect)", Pass, ""},
		// No call is named: a packet that only one connection has is that one's.
		{"order sent(A, any RST) < received(B, any RST)", Pass, ""},
		{"order sent(A, any FIN) < received(B, any FIN) < sent(B, any FIN)", Pass, ""},
		{"order sent(A, SYN) < received(B, SYN)", CannotTell,
			"sent(A, SYN) matches packets of 2 connections; name a call of the one you mean, or give the ends: A>B SYN"},
		{"order sent(A, A>B SYN) < received(B, A>B SYN)", CannotTell, "matches packets of 2 connections; name a call of the one you mean"},
		// A chain stays on the connection it is on.
		{"order sent(A, any RST) < sent(A, any FIN)", Fail, "selects nothing: A sent no packet any FIN on " + klient},
	} {
		t.Run(test.expect, func(t *testing.T) { resetThenFin().wants(t, test.expect, test.ruling, test.reason) })
	}
}

// threeHosts has connections from C to B and, later, from A to B and from B to C.
func threeHosts() *lab {
	l := newLab(3)
	l.open("C", 2, 1, 4003)
	l.open("", 0, 1, 4001)
	l.open("P", 1, 2, 4002)
	return l
}

func TestPacketsOfThreeHosts(t *testing.T) {
	for _, test := range []struct {
		expect string
		ruling Ruling
		reason string
	}{
		{"order sent(A, SYN) < received(B, SYN) < sent(B, SYN+ACK) < received(A, SYN+ACK)", Pass, ""},
		{"order received(B, SYN) < sent(B, SYN+ACK)", CannotTell, "received(B, SYN) matches packets of 2 connections"},
		{"order received(B, A>B SYN) < sent(B, SYN+ACK)", Pass, ""},
		{"order received(B, C>B SYN) < sent(A, A>B SYN) < received(B, A>B SYN)", Pass, ""},
		{"order received(B, A>B SYN) < received(B, C>B SYN)", Fail, "received(B, C>B SYN) on 10.0.0.3:4003 → 10.0.0.2:8080 at "},
		// The ends say that these are not of the call beside them.
		{"order return(client.connect) < sent(B, B>C SYN) < received(C, B>C SYN)", Pass, ""},
		{"order return(client.connect) < received(C, SYN) < return(clientP.connect)", Pass, ""},
		{"order enter(client.connect) < sent(A, A>B SYN) < enter(clientP.connect) < sent(B, SYN) < received(C, SYN) < return(clientP.connect)", Pass, ""},
	} {
		t.Run(test.expect, func(t *testing.T) { threeHosts().wants(t, test.expect, test.ruling, test.reason) })
	}
}

// crowded is one connection of the experiment among others of nobody's.
func crowded(strays int) *lab {
	l := newLab(2)
	for n := range strays {
		l.stray(0, 1, 5000+uint16(n))
	}
	l.shut(l.open("", 0, 1, 4001))
	for n := range strays {
		l.stray(0, 1, 6000+uint16(n))
	}
	return l
}

const (
	wholePackets = "packets SYN, SYN+ACK, ACK, FIN+ACK, ACK, FIN+ACK, ACK"
	synOrder     = "order sent(A, SYN) < received(B, SYN) < sent(B, SYN+ACK)"
	strayWarning = "40 connections belong to no call of this experiment: order and packets leave them out, never does not."
)

func TestTrafficOfNobodyIsLeftOut(t *testing.T) {
	crowded(20).wants(t, wholePackets, Pass)
	crowded(20).wants(t, synOrder, Pass)
	crowded(20).wants(t, "order sent(A, SYN) < sent(B, any RST)", Fail, "selects nothing: B sent no packet any RST")
	tl := crowded(20).wants(t, "never any RST", Fail, "B>A RST+ACK on 10.0.0.1:5000 → 10.0.0.2:8080 seen by")
	if n := slices.Index(tl.Warnings, strayWarning); n < 0 || slices.Contains(tl.Warnings[n+1:], strayWarning) {
		t.Errorf("warnings %q, want once %q", tl.Warnings, strayWarning)
	}
	if tl := crowded(0).wants(t, wholePackets, Pass); len(tl.Warnings) != 0 {
		t.Errorf("warnings %q with no other traffic", tl.Warnings)
	}
}

// TestAnyTrafficIsMeantWithoutCalls: an experiment that only watches.
func TestAnyTrafficIsMeantWithoutCalls(t *testing.T) {
	l := newLab(2)
	l.stray(0, 1, 5000)
	tl := l.wants(t, "packets SYN, RST+ACK", Pass)
	if len(tl.Warnings) != 0 {
		t.Errorf("warnings %q", tl.Warnings)
	}
	l = newLab(2)
	l.stray(0, 1, 5000)
	l.wants(t, "order sent(A, SYN) < received(B, SYN)", Pass)
}

// TestConnectionThatMayBeOurs: where calls are missing from the record, nobody knows
// whose a connection without calls is.
func TestConnectionThatMayBeOurs(t *testing.T) {
	lose := func(l *lab) *lab {
		l.emit(0, l.at, Event{Loss: &Loss{Source: Syscalls, Count: 3, Where: "chunk 4"}})
		return l
	}
	const cause = "no call on record is of 10.0.0.1:5000 → 10.0.0.2:8080, and A lost 3 syscalls (chunk 4)"
	alone := func() *lab {
		l := newLab(2)
		l.stray(0, 1, 5000)
		return lose(l)
	}
	alone().wants(t, "packets SYN, RST+ACK", CannotTell, "nothing on record speaks against it, but "+cause)
	alone().wants(t, "packets SYN, SYN+ACK", CannotTell, "expected SYN+ACK as 2nd packet, got B>A RST+ACK", cause)
	alone().wants(t, "order sent(A, SYN) < received(B, SYN)", CannotTell, cause)
	alone().wants(t, "order received(B, SYN) < sent(A, SYN)", CannotTell, "is after", cause)

	tl := lose(crowded(1)).wants(t, wholePackets, CannotTell, cause)
	if want := "2 connections belong to no call of this experiment that is on record, but may be its own all the same."; !slices.Contains(tl.Warnings, want) {
		t.Errorf("warnings %q, want %q", tl.Warnings, want)
	}
	lose(crowded(1)).wants(t, synOrder, CannotTell, "sent(A, SYN) matches packets of 3 connections")
	// A call that is on record says which connection is meant.
	lose(crowded(1)).wants(t, "order enter(client.connect) < sent(A, SYN) < received(B, SYN)", Pass)
}

// TestConnectThatMayBeOfSeveral: a connect that was refused has lost its own address.
func TestConnectThatMayBeOfSeveral(t *testing.T) {
	refused := func(strays int) *lab {
		l := newLab(2)
		since := l.at
		for n := range strays {
			l.stray(0, 1, 5000+uint16(n))
		}
		l.call(0, since-10_000, l.at, Call{Lane: "client", Name: "connect", Socket: "c", Arguments: "10.0.0.2:8080", Result: -1, Errno: 111})
		return l
	}
	const order = "order enter(client.connect) < sent(A, SYN) < received(A, any RST) < return(client.connect)"
	refused(1).wants(t, order, Pass)
	refused(1).wants(t, "packets SYN, RST+ACK", Pass)
	refused(2).wants(t, order, CannotTell, "which connection connect(c, 10.0.0.2:8080) of lane client was for is not known")
	refused(2).wants(t, "packets SYN, RST+ACK", CannotTell, "connect(c, 10.0.0.2:8080) of lane client may be of it")
	kept := refused(2)
	kept.run.Events[len(kept.run.Events)-1].Call.Local = netip.MustParseAddrPort("0.0.0.0:5001")
	kept.wants(t, order, Pass)
	refused(0).wants(t, order, Fail, "selects nothing: A sent no packet SYN; connect(c, 10.0.0.2:8080) of lane client has no connection on record")

	// It sent nothing: what others sent is not taken for it.
	l := refused(0)
	l.at += 50_000_000
	l.stray(0, 1, 5000)
	l.wants(t, order, Fail, "selects nothing: A sent no packet SYN")
	l = refused(0)
	l.at += 50_000_000
	l.stray(0, 1, 5000)
	l.wants(t, "packets SYN, RST+ACK", Fail, "selects nothing: no packet of a TCP connection of this experiment was seen")
}

// TestOthersChangeNothing: whatever the network carries beside the experiment, and
// whenever, an order and a pattern of packets are ruled on as without it.
func TestOthersChangeNothing(t *testing.T) {
	expects := []string{
		wholePackets, "packets SYN, ..., RST+ACK", synOrder,
		"order enter(client.close) < sent(A, any FIN) < received(B, any FIN)",
		"order enter(client.close) < sent(A, any RST) < received(B, any RST)",
		"order received(B, third ACK) < return(server.accept)",
		"order return(server.accept) < sent(A, SYN)",
		"order sent(B, SYN+ACK) < sent(B, any RST)",
		"order enter(client.connect) < received(A, any RST)",
		"order sent(A, A>B SYN) < received(B, any FIN)",
	}
	rapid.Check(t, func(r *rapid.T) {
		expect := rapid.SampledFrom(expects).Draw(r, "expect")
		aborts := rapid.Bool().Draw(r, "aborts")
		starts := rapid.SliceOfN(rapid.Int64Range(1_100_000, 9_000_000), 1, 12).Draw(r, "strays start")
		build := func(starts []int64) Verdict {
			l := newLab(2)
			if k := l.open("", 0, 1, 4001); aborts {
				l.abort(k)
			} else {
				l.shut(k)
			}
			end := l.at
			for n, at := range starts {
				l.at = at
				l.stray(0, 1, 5000+uint16(n))
			}
			l.at = end
			v, _ := l.judge(t, expect)
			return v
		}
		alone, crowded := build(nil), build(starts)
		if alone.Ruling != crowded.Ruling {
			r.Fatalf("%s: alone %s (%s), among others %s (%s)", expect, alone.Ruling, alone.Reason, crowded.Ruling, crowded.Reason)
		}
	})
}
