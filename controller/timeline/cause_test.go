package timeline

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"
)

// checkCauses holds causes and notes to what every view rests on: nothing comes of what surely
// was later, nor of itself, and every packet and every blocked call is accounted for.
func checkCauses(t rapid.TB, tl *Timeline) {
	t.Helper()
	c := tl.Causes()
	if got, want := len(c.Packets), len(tl.Transmissions()); got != want {
		t.Fatalf("%d packets have a cause, or none that is known, of %d", got, want)
	}
	for i := range c.Packets {
		if k := &c.Packets[i]; k.Effect != k.First() || (k.Rule == nil) != (k.Known == NoneKnown) {
			t.Fatalf("packet %d, seen at %d: %+v", i, k.First(), k.Cause)
		}
	}
	for i := range c.Blocked {
		b := &c.Blocked[i]
		if m := &tl.Moments[b.Effect]; m.Edge != Return || b.Nanoseconds != int64(m.Event.Call.Return-m.Event.At) {
			t.Fatalf("blocked call %d: %+v", i, b)
		}
	}
	for i := range tl.Moments {
		k, ok := c.Of(i)
		if !ok {
			continue
		}
		if k.Effect != i {
			t.Fatalf("the cause of moment %d is of moment %d", i, k.Effect)
		}
		checkCause(t, c, &k)
		steps := 0
		for at := k.By; at >= 0; steps++ {
			if at == i || steps > len(tl.Moments) {
				t.Fatalf("moment %d comes of itself", i)
			}
			next, _ := c.Of(at)
			if _, ok := c.Of(at); !ok {
				break
			}
			at = next.By
		}
	}
	for _, n := range append(c.Notes(), c.Gist()...) {
		if len(n.Moments) == 0 || n.Moments[0] < 0 || n.At() >= len(tl.Moments) || n.Connection >= len(tl.Connections) || !strings.HasSuffix(n.Text, ".") {
			t.Fatalf("a note says %q of moments %v of connection %d", n.Text, n.Moments, n.Connection)
		}
	}
}

func checkCause(t rapid.TB, c *Causality, k *Cause) {
	t.Helper()
	if k.By < 0 {
		if k.Ordered || k.Known == Observed {
			t.Fatalf("moment %d comes of nothing, and that is certain: %+v", k.Effect, k)
		}
		return
	}
	before, known := c.Timeline().Certain(k.By, k.Effect)
	switch {
	case known && !before:
		t.Fatalf("%q is said to come of %q, which surely was later", c.Words(k.Effect), c.Words(k.By))
	case k.Ordered != (known && before):
		t.Fatalf("the order of %q and %q is told as %v", c.Words(k.By), c.Words(k.Effect), k.Ordered)
	case k.Known == Observed && !k.Ordered:
		t.Fatalf("%q is observed to come of %q, and their order is not known", c.Words(k.Effect), c.Words(k.By))
	}
}

// In worlds whose truth is known no cause is truly after its effect, and what brings an arrival
// about is the departure that truly did, unless the pair is only the likeliest.
func TestCausesAreTrue(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		sc := scenarios[rapid.IntRange(0, len(scenarios)-1).Draw(rt, "scenario")]
		w := sc.play(rapid.Uint64().Draw(rt, "seed"))
		tl, err := Build(w.run, 1)
		if err != nil {
			rt.Fatal(err)
		}
		checkCauses(rt, tl)
		c := tl.Causes()
		for i := range tl.Moments {
			k, ok := c.Of(i)
			if !ok || k.By < 0 || !k.Ordered {
				continue
			}
			if by, at := w.truthOf(&tl.Moments[k.By]), w.truthOf(&tl.Moments[i]); by > at+grain {
				rt.Fatalf("%q at %d is said to come of %q at %d", c.Words(i), at, c.Words(k.By), by)
			}
		}
	})
}

// Every kind of thing that a simulated world does has its cause.
func TestCausesOfScripts(t *testing.T) {
	for name, want := range map[string][]string{
		"open_close":            {"connect-syn", "syn-synack", "third-ack", "close-fin", "ack-fin", "close-fin", "ack-fin"},
		"simultaneous_close":    {"connect-syn", "syn-synack", "third-ack", "close-fin", "close-fin", "ack-fin", "ack-fin"},
		"three_packet_teardown": {"connect-syn", "syn-synack", "third-ack", "close-fin", "close-fin", "ack-fin"},
		"refused":               {"connect-syn", "closed-port"},
		"backlog_full":          {"connect-syn", "syn-synack", "third-ack", "-", "synack-timer", "third-ack-again", "ack-data"},
		"unread_data":           {"connect-syn", "syn-synack", "third-ack", "send-data", "ack-data", "close-unread"},
		"syn_filtered":          {"connect-syn", "syn-timer"},
		"traced_drop":           {"connect-syn", "syn-timer", "syn-synack", "third-ack"},
	} {
		t.Run(name, func(t *testing.T) {
			archive, err := txtar.ParseFile("testdata/states/" + name + ".txtar")
			if err != nil {
				t.Fatal(err)
			}
			tl, err := Build(newScript(t, section(archive, "events")).run, 1)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range tl.Causes().Packets {
				rule := "-"
				if p.Rule != nil {
					rule = p.Rule.Name
				}
				got = append(got, rule)
			}
			if strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("the causes are\n%v, want\n%v", got, want)
			}
		})
	}
}

// Where the errors of two stamps overlap, the order of a cause and its effect is told as not
// known, and what comes of the pair as inferred.
func TestCauseOfUnknownOrder(t *testing.T) {
	run := story(t, "A client connect c 0..60 = 0\nA>B SYN 0.5..25\nB>A SYN+ACK 30..50\nA>B ACK 55..75\n")
	for i := range run.Events {
		if p := run.Events[i].Packet; p != nil && run.Events[i].Host == 0 {
			p.Err = 2000
		}
	}
	tl, err := Build(run, 1)
	if err != nil {
		t.Fatal(err)
	}
	k := tl.Causes().Packets[0]
	if k.Rule == nil || k.Rule.Name != "connect-syn" || k.Ordered || k.Known != Inferred {
		t.Errorf("a SYN that left 500 ns ± 2 µs after connect() was called: %+v", k.Cause)
	}
}

// What nothing on record explains is said to have no known cause, with the reason.
func TestCauseNoneKnown(t *testing.T) {
	for _, test := range []struct{ events, want string }{
		{"A>B SYN 5..25\n", "no connect() on record is of this end"},
		{"A>B SYN 5..25\nA loss 3 -500..0 syscalls\n", "lost"},
		{"A>B SYN -..25\n", "no tap of A saw it leave: something on the way made it"},
		{"open\nA>B FIN+ACK 205..225\n", "no close() or shutdown() on record is of this end"},
		{"open\nB>A PSH+ACK 205..225 data 5\n", "no send() on record is of this end"},
	} {
		tl, err := Build(story(t, test.events), 1)
		if err != nil {
			t.Fatal(err)
		}
		all := tl.Causes().Packets
		if k := all[len(all)-1]; k.Known != NoneKnown || k.Rule != nil || !strings.Contains(k.Why, test.want) {
			t.Errorf("%q: %s, %q; want %q", test.events, k.Known, k.Why, test.want)
		}
	}
}

// FuzzCauses asks for the causes of arbitrary events, as they come and as a timeline that was put
// together from its exported fields alone.
func FuzzCauses(f *testing.F) {
	f.Add([]byte("SYN SYN+ACK ACK and a little more, so that there are some events to build from."))
	for _, sc := range scenarios[:9] {
		f.Add(seedOf(sc.play(3).run))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		run := &Run{ID: "r-1", Hosts: []Host{
			{Name: "A", Address: netip.MustParseAddr("10.0.0.1")}, {Name: "B", Address: netip.MustParseAddr("10.0.0.2")}, {Name: "C", ClockID: "k"},
		}}
		for len(data) >= eventSize && len(run.Events) < 200 {
			run.Events = append(run.Events, eventOf(data[:eventSize], uint64(len(run.Events)+1)))
			data = data[eventSize:]
		}
		for repetition := 1; repetition <= 3; repetition++ {
			tl, err := Build(run, repetition)
			if err != nil {
				continue
			}
			checkCauses(t, tl)
			bare := *tl
			bare.certain = nil
			checkCauses(t, &bare)
		}
	})
}
