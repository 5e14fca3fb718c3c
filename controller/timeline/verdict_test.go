package timeline

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"syncline/controller/experiment"
)

// handshake is a complete connection over a path of 20 ms.
const handshake = `
host A 10.0.0.1
host B 10.0.0.2 ±0.038
B server accept(s) -1..60.22 = 7 makes a
A client connect(c, B:8080) 0..40.14 = 0 as try
A>B SYN 0.031..20.05
B>A SYN+ACK 20.09..40.12
A>B ACK 40.13..60.17
A client shutdown(c, WR) 90..90.2 = 0
A>B FIN+ACK 90.1..110.1
B>A ACK 110.12..130.12
B server close(a) 120..120.2 = 0
B>A FIN+ACK 120.1..140.1
A>B ACK 140.12..160.12
`

const handshakePackets = "packets A>B SYN, B>A SYN+ACK, A>B ACK, A>B FIN+ACK, B>A ACK, B>A FIN+ACK, A>B ACK"

// expectations are the ways in which a scene is judged: "packets …", "order …",
// "result LABEL outcome", "never …".
func expectations(t testing.TB, lines ...string) *experiment.Experiment {
	t.Helper()
	exp := &experiment.Experiment{Lanes: []experiment.Lane{
		{Name: "client", Host: "A", Steps: []experiment.Step{{Call: "connect", Label: "try", Text: "connect(c, B:8080) as try"}}},
		{Name: "server", Host: "B"},
	}}
	for _, line := range lines {
		noun, rest, _ := strings.Cut(line, " ")
		e := experiment.Expectation{Text: line}
		switch noun {
		case "packets":
			e.Packets = &experiment.PacketsExpectation{Pattern: parseTerms(rest)}
		case "order":
			e.Order = &experiment.OrderExpectation{}
			for _, text := range strings.Split(rest, " < ") {
				e.Order.Moments = append(e.Order.Moments, parseMoment(t, text))
			}
		case "result":
			label, outcome, _ := strings.Cut(rest, " ")
			e.Result = &experiment.ResultExpectation{Of: experiment.MomentSelector{Label: label}, Outcome: parseOutcome(t, outcome)}
		case "never":
			e.Never = &experiment.NeverExpectation{Packet: parsePacket(rest)}
		default:
			t.Fatalf("no noun %q", noun)
		}
		exp.Expect = append(exp.Expect, e)
	}
	return exp
}

func parseTerms(text string) []experiment.PacketTerm {
	var terms []experiment.PacketTerm
	for _, term := range strings.Split(text, ", ") {
		terms = append(terms, experiment.PacketTerm{Any: term == "...", Packet: parsePacket(term)})
	}
	return terms
}

func parsePacket(text string) experiment.PacketSelector {
	sel := experiment.PacketSelector{Text: text, ICMPType: -1, ICMPCode: -1, Length: -1, Window: -1}
	for _, word := range strings.Fields(text) {
		from, to, isWay := strings.Cut(word, ">")
		switch {
		case isWay:
			sel.From, sel.To = from, to
		case word == "any":
			sel.Contains = true
		case word == "packet":
			sel.AnyFlags = true
		case word == "third":
			sel.Third = true
		case word == "data":
			yes := true
			sel.Data = &yes
		default:
			for _, name := range strings.Split(word, "+") {
				sel.Flags |= uint16(sceneFlags[name])
			}
		}
	}
	return sel
}

var momentForm = regexp.MustCompile(`^(\w+)\((\w+)(?:\.(\w+)(?: (\w+))?|, (.+))?\)$`)

func parseMoment(t testing.TB, text string) experiment.MomentSelector {
	t.Helper()
	m := momentForm.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("cannot read moment %q", text)
	}
	sel := experiment.MomentSelector{Text: text}
	switch m[1] {
	case "enter", "return":
		sel.Kind = map[string]experiment.MomentKind{"enter": experiment.EnterCall, "return": experiment.ReturnCall}[m[1]]
		sel.Lane, sel.Call, sel.Socket = m[2], m[3], m[4]
		if m[3] == "" {
			sel.Lane, sel.Label = "", m[2]
		}
	case "sent", "received":
		sel.Kind = map[string]experiment.MomentKind{"sent": experiment.PacketSent, "received": experiment.PacketReceived}[m[1]]
		sel.Host, sel.Packet = m[2], parsePacket(m[5])
	}
	return sel
}

func parseOutcome(t testing.TB, text string) experiment.Outcome {
	t.Helper()
	switch text {
	case "ok":
		return experiment.Outcome{OK: true}
	case "timeout":
		return experiment.Outcome{Timeout: true}
	case "0":
		return experiment.Outcome{Values: []int64{0}}
	case "ECONNREFUSED":
		return experiment.Outcome{Errnos: []uint32{111}}
	}
	t.Fatalf("no outcome %q", text)
	return experiment.Outcome{}
}

// change replaces one line of a scene; an empty new line takes it out.
func change(t *testing.T, scene, line, with string) string {
	t.Helper()
	if strings.Count(scene, line) != 1 {
		t.Fatalf("%d lines %q in the scene", strings.Count(scene, line), line)
	}
	return strings.Replace(scene, line, with, 1)
}

func TestExpectations(t *testing.T) {
	const (
		order  = "order enter(client.connect) < sent(A, SYN) < received(B, SYN) < sent(B, SYN+ACK) < received(A, SYN+ACK) < return(client.connect)"
		accept = "order received(B, third ACK) < return(server.accept)"
		far    = "order return(client.shutdown) < enter(server.close a)"
	)
	for _, test := range []struct {
		name, scene, expect string
		ruling              Ruling
		reason              string
	}{
		{"packets match", handshake, handshakePackets, Pass, ""},
		{"packets match with anything between", handshake, "packets A>B SYN, ..., A>B ACK", Pass, ""},
		{"packets, another flag", change(t, handshake, "B>A FIN+ACK 120.1", "B>A RST 120.1"), handshakePackets, Fail,
			"expected B>A FIN+ACK as 6th packet, got B>A RST at 120.100 ms ±38 µs"},
		{"packets, one is not there", change(t, handshake, "A>B ACK 140.12..160.12", ""), handshakePackets, Fail,
			"expected A>B ACK as 7th packet, but no more came"},
		{"packets, one too many", handshake, "packets A>B SYN, B>A SYN+ACK, A>B ACK, A>B FIN+ACK, B>A ACK, B>A FIN+ACK", Fail,
			"expected nothing more as 7th packet, got A>B ACK at 140.120 ms"},
		{"packets, a lost one is one", change(t, handshake, "A>B SYN 0.031..20.05", "A>B SYN 0.031..? lost\nA>B SYN 10.0..20.05 again"), handshakePackets, Fail,
			"expected B>A SYN+ACK as 2nd packet, got A>B SYN at 10.000 ms"},
		{"packets, no connection", "host A 10.0.0.1\nhost B 10.0.0.2", handshakePackets, Fail,
			"selects nothing: no packet of a TCP connection was seen"},
		{"packets, a tap lost some, and the rest fits", change(t, handshake, "A>B ACK 140.12..160.12", "loss A packets 1 130..150"), handshakePackets, CannotTell,
			"expected A>B ACK as 7th packet, but no more came, but A lost 1 packet (capture ring of eth0)"},
		{"packets, a tap lost some, and all is there", handshake + "loss A packets 1 130..150", handshakePackets, CannotTell,
			"nothing on record speaks against it, but A lost 1 packet (capture ring of eth0)"},
		{"packets, a tap lost some, and no packet can mend it", change(t, handshake, "B>A FIN+ACK 120.1", "B>A RST 120.1") + "loss A packets 1 130..150", handshakePackets, Fail,
			"expected B>A FIN+ACK as 6th packet, got B>A RST at 120.100 ms ±38 µs"},
		{"packets, no tap at B", change(t, handshake, "host B 10.0.0.2 ±0.038", "host B 10.0.0.2 ±0.038 missing packets"), handshakePackets, CannotTell,
			"nothing on record speaks against it, but B has no packets: needs CAP_NET_RAW"},
		{"packets, clock step", handshake + "step B 1000 50..60", handshakePackets, CannotTell,
			"nothing on record speaks against it, but the clock of B was stepped by +1 s"},
		{"packets, FINs cross", crossing("±0.5"), "packets ..., A>B FIN+ACK, B>A FIN+ACK, ...", Pass, ""},
		{"packets, FINs cross the other way", crossing("±0.5"), "packets ..., B>A FIN+ACK, A>B FIN+ACK, ...", Fail,
			"expected B>A FIN+ACK as 8th packet, but no more came"},
		{"packets, nobody knows which FIN left first", crossing("±3"), "packets ..., A>B FIN+ACK, B>A FIN+ACK, ...", CannotTell,
			"which came first, A>B FIN+ACK at 90.000 ms or B>A FIN+ACK at 91.000 ms ±3 ms, is not known: they are 1 ms apart, ε is 3 ms; an ε below 1 ms would have decided it"},
		{"packets, nobody knows and it does not matter", crossing("±3"), "packets ..., FIN+ACK, FIN+ACK, ...", Pass, ""},

		{"order holds", handshake, order, Pass, ""},
		{"order of the third ACK", handshake, accept, Pass, ""},
		{"order by a message, beyond the clocks", change(t, handshake, "±0.038", "±500"), order, Pass, ""},
		{"order broken on one host", change(t, handshake, "0..40.14 = 0 as try", "0..40.11 = 0 as try"), order, Fail,
			"received(A, SYN+ACK) at 40.120 ms is after return(client.connect) at 40.110 ms by 10 µs"},
		{"order of two hosts", handshake, far, Pass, ""},
		{"order of two hosts, wrong", change(t, handshake, "120..120.2", "80..80.2"), far, Fail,
			"return(client.shutdown) at 90.200 ms is after enter(server.close a) at 80.000 ms ±38 µs by 10.2 ms ±38 µs"},
		{"order within ε", change(t, handshake, "120..120.2", "90.21..90.4"), far, CannotTell,
			"which came first, return(client.shutdown) at 90.200 ms or enter(server.close a) at 90.210 ms ±38 µs, is not known: they are 10 µs apart, ε is 38 µs; an ε below 10 µs would have decided it"},
		{"order of unknown clocks", change(t, handshake, "±0.038", "±?"), far, CannotTell,
			"which came first, return(client.shutdown) at 90.200 ms or enter(server.close a) at an unknown time, is not known: nothing ties the two clocks"},
		{"order against a message", change(t, handshake, "±0.038", "±500"), "order received(B, SYN) < sent(A, SYN)", Fail,
			"received(B, SYN) at 20.050 ms ±500 ms is after sent(A, SYN) at 0.031 ms (a message orders them)"},
		{"order of nothing", handshake, "order sent(A, RST) < sent(B, SYN+ACK)", Fail, "selects nothing: A sent no packet RST"},
		{"order of no call", handshake, "order enter(client.send) < sent(A, SYN)", Fail, "selects nothing: no call client.send"},
		{"order, no tap", change(t, handshake, "host A 10.0.0.1", "host A 10.0.0.1 missing packets"), "order sent(A, RST) < sent(B, SYN+ACK)", CannotTell,
			"selects nothing: A sent no packet RST that is on record; A has no packets: needs CAP_NET_RAW"},
		{"order, an earlier second moment may be lost", handshake + "loss A packets 2 0.01..0.02", "order enter(client.connect) < sent(A, SYN)", CannotTell,
			"nothing on record speaks against it, but A lost 2 packets (capture ring of eth0)"},
		{"order, what was lost came later", handshake + "loss A packets 2 50..60", "order enter(client.connect) < sent(A, SYN)", Pass, ""},
		{"order broken, an earlier first moment may be lost", handshake + "loss B packets 2 10..20", "order received(B, SYN) < enter(client.connect)", CannotTell,
			"received(B, SYN) at 20.050 ms ±38 µs is after enter(client.connect) at 0.000 ms by 20.05 ms ±38 µs, but B lost 2 packets (capture ring of eth0)"},
		{"order broken, what was lost came later", handshake + "loss B packets 2 50..60", "order received(B, SYN) < enter(client.connect)", Fail,
			"received(B, SYN) at 20.050 ms ±38 µs is after enter(client.connect) at 0.000 ms by 20.05 ms ±38 µs"},
		{"order broken, and a clock stepped", handshake + "step B 1000 10..20", "order received(B, SYN) < enter(client.connect)", CannotTell,
			"received(B, SYN) at 20.050 ms ±38 µs is after enter(client.connect) at 0.000 ms by 20.05 ms ±38 µs, but the clock of B was stepped by +1 s"},

		{"result", handshake, "result try ok", Pass, ""},
		{"result by value", handshake, "result try 0", Pass, ""},
		{"result, other", handshake, "result try ECONNREFUSED", Fail, "expected ECONNREFUSED of connect(c, 10.0.0.2:8080), got 0"},
		{"result refused", change(t, handshake, "= 0 as try", "= ECONNREFUSED as try"), "result try ECONNREFUSED", Pass, ""},
		{"result is an error", change(t, handshake, "= 0 as try", "= ECONNREFUSED as try"), "result try ok", Fail,
			"expected ok of connect(c, 10.0.0.2:8080), got ECONNREFUSED"},
		{"result timeout", change(t, handshake, "= 0 as try", "= timeout as try"), "result try timeout", Pass, ""},
		{"result timeout is no value", change(t, handshake, "= 0 as try", "= timeout as try"), "result try ok", Fail,
			"expected ok of connect(c, 10.0.0.2:8080), got the lab's timeout"},
		{"result of no call", change(t, handshake, " as try", ""), "result try ok", Fail, "selects nothing: no call try"},
		{"result of a lost call", change(t, handshake, " as try", "") + "loss A syscalls 1 0..1", "result try ok", CannotTell,
			"selects nothing: no call try that is on record; A lost 1 syscall (capture ring of eth0)"},
		{"result needs no packets", handshake + "loss A packets 1 0..1", "result try ok", Pass, ""},
		{"result, no end mark", handshake + "unended A", "result try ok", CannotTell,
			"nothing on record speaks against it, but A never said that the repetition is all on record"},

		{"never", handshake, "never any RST", Pass, ""},
		{"never, and one was seen", change(t, handshake, "B>A FIN+ACK 120.1", "B>A RST+ACK 120.1"), "never any RST", Fail, "B>A RST+ACK seen by B at 120.100 ms ±38 µs"},
		{"never, and one was seen beside losses", change(t, handshake, "B>A FIN+ACK 120.1", "B>A RST+ACK 120.1") + "loss A packets 1 0..1", "never any RST", Fail,
			"B>A RST+ACK seen by B at 120.100 ms ±38 µs"},
		{"never, of the other direction", change(t, handshake, "B>A FIN+ACK 120.1", "B>A RST+ACK 120.1"), "never A>B any RST", Pass, ""},
		{"never, but losses", handshake + "loss A packets 1 0..1", "never any RST", CannotTell,
			"nothing on record speaks against it, but A lost 1 packet (capture ring of eth0)"},
		{"never, but sockets were busy", handshake + "busy B 170", "never any RST", CannotTell,
			"nothing on record speaks against it, but sockets of B were still busy when the repetition's time was up (FIN_WAIT2 10.0.0.2:8080)"},
		{"never any packet", handshake, "never A>B packet", Fail, "A>B SYN seen by A at 0.031 ms"},
	} {
		t.Run(test.name, func(t *testing.T) {
			verdicts := parseScene(t, test.scene).Judge(expectations(t, test.expect))
			v := verdicts[len(verdicts)-1]
			if v.Ruling != test.ruling || v.Reason != test.reason {
				t.Errorf("%s\n got %s: %s\nwant %s: %s", test.expect, v.Ruling, v.Reason, test.ruling, test.reason)
			}
			if v.Expectation != test.expect {
				t.Errorf("verdict on %q, want %q", v.Expectation, test.expect)
			}
		})
	}
}

// crossing is a connection whose two FINs are in flight at once; B's stamps are off
// by at most err.
func crossing(err string) string {
	return `
host A 10.0.0.1
host B 10.0.0.2 ` + err + `
A>B SYN 0..20
B>A SYN+ACK 21..41
A>B ACK 42..62
A>B FIN+ACK 90..110
B>A FIN+ACK 91..111
B>A ACK 112..132
A>B ACK 113..133
`
}

func TestOutcomesAndRecord(t *testing.T) {
	for _, test := range []struct {
		name, scene      string
		outcomes, record Ruling
		outcomeReason    string
		recordReason     string
	}{
		{"all is well", handshake, Pass, Pass, "", ""},
		{"a call failed", change(t, handshake, "= 0 as try", "= ECONNREFUSED as try fails expected ok, got ECONNREFUSED"), Fail, Pass,
			"lane client, step 1, connect(c, 10.0.0.2:8080): expected ok, got ECONNREFUSED", ""},
		{"a call was cancelled", change(t, handshake, "= 0 as try", "= cancel as try"), Fail, Pass,
			"lane client, step 1, connect(c, 10.0.0.2:8080): still blocked when the repetition's time was up", ""},
		{"a lane did not end", "host A 10.0.0.1\nhost B 10.0.0.2", Fail, Pass,
			"lane client: 0 of 1 calls are on record, connect(c, B:8080) as try is not", ""},
		{"a lane whose calls were lost", "host A 10.0.0.1\nhost B 10.0.0.2\nloss A syscalls 3 0..1", CannotTell, CannotTell,
			"lane client: 0 of 1 calls are on record, connect(c, B:8080) as try is not; A lost 3 syscalls (capture ring of eth0)",
			"A lost 3 syscalls (capture ring of eth0)"},
		{"packets were lost", handshake + "loss B packets 1 0..1", Pass, CannotTell, "", "B lost 1 packet (capture ring of eth0)"},
		{"a source was never there", change(t, handshake, "±0.038", "±0.038 missing packets"), Pass, Pass, "", ""},
		{"a clock was stepped", handshake + "step A -2.5 0..1", CannotTell, CannotTell,
			"nothing on record speaks against it, but the clock of A was stepped by −2.5 ms", "the clock of A was stepped by −2.5 ms"},
	} {
		t.Run(test.name, func(t *testing.T) {
			verdicts := parseScene(t, test.scene).Judge(expectations(t))
			want := []Verdict{
				{Expectation: EveryOutcome, Ruling: test.outcomes, Reason: test.outcomeReason},
				{Expectation: EveryEvent, Ruling: test.record, Reason: test.recordReason},
			}
			if diff := cmp.Diff(want, verdicts, cmpopts.IgnoreFields(Verdict{}, "Moments")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestOneChangeOneVerdict breaks one thing at a time and wants exactly the verdict
// about it to turn.
func TestOneChangeOneVerdict(t *testing.T) {
	exp := expectations(t,
		handshakePackets,
		"order received(A, SYN+ACK) < return(client.connect)",
		"order received(B, third ACK) < return(server.accept)",
		"result try ok",
		"never any RST",
	)
	for _, test := range []struct{ name, line, with, turned string }{
		{"connect returns early", "0..40.14 = 0 as try", "0..40.11 = 0 as try", "order received(A, SYN+ACK) < return(client.connect)"},
		{"accept returns early", "-1..60.22", "-1..60.16", "order received(B, third ACK) < return(server.accept)"},
		{"connect gives a number", "= 0 as try", "= EAGAIN as try", "result try ok"},
		{"the last ACK is not sent", "A>B ACK 140.12..160.12", "", handshakePackets},
		{"a call fails", "90..90.2 = 0", "90..90.2 = 0 fails expected 1, got 0", EveryOutcome},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, v := range parseScene(t, change(t, handshake, test.line, test.with)).Judge(exp) {
				want := Pass
				if v.Expectation == test.turned {
					want = Fail
				}
				if v.Ruling != want {
					t.Errorf("%s: got %s, want %s (%s)", v.Expectation, v.Ruling, want, v.Reason)
				}
			}
		})
	}
}

func TestEveryConnectionMustMatch(t *testing.T) {
	scene := handshake + `
host C 10.0.0.3
C other connect(c, B:8080) 0..4 = ECONNREFUSED
C>B SYN 0..1
B>C RST+ACK 2..3
`
	verdicts := parseScene(t, scene).Judge(expectations(t, "packets ..., FIN+ACK, ..."))
	want := "10.0.0.3:40312 → 10.0.0.2:8080: expected FIN+ACK as 3rd packet, but no more came"
	if v := verdicts[2]; v.Ruling != Fail || v.Reason != want {
		t.Errorf("got %s: %s, want fail: %s", v.Ruling, v.Reason, want)
	}
}

func TestWorst(t *testing.T) {
	for _, test := range []struct {
		rulings []Ruling
		want    Ruling
	}{
		{nil, 0},
		{[]Ruling{Pass, Pass}, Pass},
		{[]Ruling{Pass, NotReproduced}, NotReproduced},
		{[]Ruling{CannotTell, NotReproduced}, CannotTell},
		{[]Ruling{CannotTell, Fail, Pass}, Fail},
	} {
		var verdicts []Verdict
		for _, r := range test.rulings {
			verdicts = append(verdicts, Verdict{Ruling: r})
		}
		if got := Worst(verdicts); got != test.want {
			t.Errorf("worst of %v is %s, want %s", test.rulings, got, test.want)
		}
	}
}

func TestSummary(t *testing.T) {
	var s Summary
	for rep := 1; rep <= 20; rep++ {
		verdicts := []Verdict{{Expectation: "a", Ruling: Pass}, {Expectation: "b", Ruling: Pass}}
		switch {
		case rep == 3:
			verdicts[1] = Verdict{Expectation: "b", Ruling: CannotTell, Reason: "ε"}
		case rep > 5:
			verdicts[1] = Verdict{Expectation: "b", Ruling: Fail, Reason: "no"}
		}
		s.Add(rep, verdicts)
	}
	if s.Repetitions != 20 || s.Clean != 4 || s.Ruling() != Fail {
		t.Errorf("%d repetitions, %d clean, %s", s.Repetitions, s.Clean, s.Ruling())
	}
	a, b := s.Tallies[0], s.Tallies[1]
	if a.Passed != 20 || a.Total() != 20 || a.Ruling() != Pass || len(a.Exceptions) != 0 {
		t.Errorf("a: %+v", a)
	}
	if b.Passed != 4 || b.Untold != 1 || b.Failed != 15 || b.Total() != 20 {
		t.Errorf("b: %+v", b)
	}
	want := []Exception{{3, CannotTell, "ε"}}
	for rep := 6; rep < 6+MaxExceptions; rep++ {
		want = append(want, Exception{rep, Fail, "no"})
	}
	if diff := cmp.Diff(want, b.Exceptions); diff != "" {
		t.Error(diff)
	}
}

// TestSummaryKeepsEveryReason: one repetition that failed otherwise is not lost among
// many that failed alike, however their times and ports differ.
func TestSummaryKeepsEveryReason(t *testing.T) {
	var s Summary
	reason := func(rep int) string {
		switch {
		case rep == 40:
			return "selects nothing: A sent no packet FIN"
		case rep > 40:
			return fmt.Sprintf("lane client, step %d, close(c): expected 0, got 1", rep)
		}
		return fmt.Sprintf("sent(A, FIN) on 10.0.0.1:%d → 10.0.0.2:8080 at %d.115 ms ±%d µs is after it", 4000+rep, rep, rep)
	}
	for rep := 1; rep <= 50; rep++ {
		s.Add(rep, []Verdict{{Expectation: "e", Ruling: Fail, Reason: reason(rep)}})
		s.Add(rep, []Verdict{{Expectation: "e", Ruling: CannotTell, Reason: "ε"}})
	}
	got := make(map[Ruling][]int)
	for _, e := range s.Tallies[0].Exceptions {
		got[e.Ruling] = append(got[e.Ruling], e.Repetition)
	}
	want := map[Ruling][]int{
		Fail:       {1, 2, 3, 4, 5, 6, 7, 8, 40, 41, 42},
		CannotTell: {1, 2, 3, 4, 5, 6, 7, 8},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	first, second := s.Tallies[0].Exceptions[0], s.Tallies[0].Exceptions[2]
	if first.Kind() != second.Kind() || first.Kind() != "sent(A, FIN) on 10.0.0.1:… → 10.0.0.2:… at … … is after it" {
		t.Errorf("kinds %q and %q", first.Kind(), second.Kind())
	}
}

// TestCutRecordIsOnePacket: a record that the sender's tap saw whole, and the
// receiver's in two pieces (TSO), has two segments and is one packet.
func TestCutRecordIsOnePacket(t *testing.T) {
	tl := parseScene(t, `
host A 10.0.0.1
host B 10.0.0.2 ±0.01
A>B SYN 0..1
B>A SYN+ACK 2..3
A>B ACK data 2896 4..5
A>B ACK ?..5.01
`)
	segments := tl.Connections[0].Segments
	segments[3].Departure = segments[2].Departure
	v := tl.Judge(expectations(t, "packets A>B SYN, B>A SYN+ACK, A>B ACK"))[2]
	if v.Ruling != Pass {
		t.Errorf("got %s: %s", v.Ruling, v.Reason)
	}
}
