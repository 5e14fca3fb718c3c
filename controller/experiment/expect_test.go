package experiment

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// expectation parses a file that has one thing to expect beside its lanes: a listening
// server that accepts in a loop, three copies of a client, and a meeting of the two
// lanes of A.
const crowd = `
experiment: crowd
hosts: { A: , B: }
vars: { port: 8080, backlog: 1, clients: 3 }
observe: [syscalls, packets, tcp-states, tcp-info, counters, accept-queue, icmp, arp, drops]
lanes:
  server:
    host: B
    do:
      - s = socket(tcp)
      - bind(s, 0.0.0.0:$port)
      - listen(s, $backlog)
      - signal(listening)
      - { repeat: $clients, do: ["a = accept(s, timeout=2s) -> ok or timeout as taken", "recv(a, 10) as got", close(a)] }
  client:
    host: A
    copies: $clients
    do:
      - wait(server.listening)
      - c = socket(tcp)
      - meet(go)
      - connect(c, B:$port) as try
      - close(c)
  other:
    host: A
    do:
      - meet(go)
      - d = socket(tcp)
      - connect(d, B:$port) -> ok or ECONNREFUSED
      - getsockopt(d, SO_ERROR) as why
`

func expecting(t *testing.T, item string) *Experiment {
	t.Helper()
	return mustParse(t, crowd+"expect:\n  - "+item+"\n")
}

func number(n int64) *int64 { return &n }

// TestNouns pins what the rest of the program gets of each noun.
func TestNouns(t *testing.T) {
	client := SocketSelector{Lane: "client", Socket: "c", Text: "client.c"}
	connected := MomentSelector{Kind: ReturnCall, Lane: "client", Call: "connect", Socket: "c", Step: 3, Copies: true}
	with := func(m MomentSelector, change func(*MomentSelector)) MomentSelector {
		change(&m)
		return m
	}
	synAB := selected(6, func(s *PacketSelector) { s.From, s.To, s.Flags, s.Text = "A", "B", syn, "A>B SYN" })
	tests := []struct {
		item string
		want Expectation
	}{
		{"states: { client.c: [CLOSED, SYN_SENT, ..., FIN_WAIT_1, FIN-WAIT-2] }",
			Expectation{States: &StatesExpectation{Of: client, Path: []string{"CLOSED", "SYN_SENT", "...", "FIN_WAIT1", "FIN_WAIT2"}}}},
		{"states: { 'client[2].c': [CLOSED] }",
			Expectation{States: &StatesExpectation{Of: SocketSelector{Lane: "client[2]", Socket: "c", Text: "client[2].c"}, Path: []string{"CLOSED"}}}},
		{"states: { try: [...] }",
			Expectation{States: &StatesExpectation{Of: SocketSelector{Lane: "client", Socket: "c", Label: "try", Text: "try"}, Path: []string{"..."}}}},
		{"phase: { name: connect.blocked, of: client.c, within: [1 rtt, 1.5 rtt + 2ms - 1us] }",
			Expectation{Phase: &PhaseExpectation{Name: "connect.blocked", Of: client, Least: &Span{RTTs: 1}, Most: &Span{RTTs: 1.5, Duration: 1999 * time.Microsecond}}}},
		{"phase: { name: syn.retrying, within: 2ms }",
			Expectation{Phase: &PhaseExpectation{Name: "syn.retrying", Most: &Span{Duration: 2 * time.Millisecond}}}},
		{"phase: { name: teardown.half_closed, at_least: 80ms, at_most: 1s }",
			Expectation{Phase: &PhaseExpectation{Name: "teardown.half_closed", Least: &Span{Duration: 80 * time.Millisecond}, Most: &Span{Duration: time.Second}}}},
		{"count: { of: A>B SYN, equals: $clients * 2 }",
			Expectation{Count: &CountExpectation{Packet: &synAB, Bounds: Bounds{Equals: number(6)}}}},
		{"count: { of: return(client.connect) ok, before: enter(server.accept), at_least: 1, at_most: 2 }",
			Expectation{Count: &CountExpectation{
				Moment: new(with(connected, func(m *MomentSelector) { m.Outcome, m.Text = &Outcome{OK: true}, "return(client.connect) ok" })),
				Before: &MomentSelector{Kind: EnterCall, Lane: "server", Call: "accept", Socket: "s", Label: "", Step: 4, Text: "enter(server.accept)"},
				Bounds: Bounds{AtLeast: number(1), AtMost: number(2)}}}},
		{"count: { of: return(server.accept) timeout, equals: 0 }",
			Expectation{Count: &CountExpectation{
				Moment: &MomentSelector{Kind: ReturnCall, Lane: "server", Call: "accept", Socket: "s", Step: -1, Outcome: &Outcome{Timeout: true}, Text: "return(server.accept) timeout"},
				Bounds: Bounds{Equals: number(0)}}}},
		{"retransmits: { of: A>B SYN, gaps: [1s, 2s, ...], tolerance: 10% }",
			Expectation{Retransmits: &RetransmitsExpectation{Packet: synAB, Gaps: []time.Duration{time.Second, 2 * time.Second}, More: true, Tolerance: 0.1}}},
		{"retransmits: { of: A>B SYN, at_least: 1 }",
			Expectation{Retransmits: &RetransmitsExpectation{Packet: synAB, Tolerance: 0.2, Bounds: Bounds{AtLeast: number(1)}}}},
		{"drop: { of: A>B SYN }",
			Expectation{Drop: &DropExpectation{Packet: synAB, Bounds: Bounds{AtLeast: number(1)}}}},
		{"drop: { of: A>B SYN, host: B, reason: NETFILTER_DROP, equals: 3 }",
			Expectation{Drop: &DropExpectation{Packet: synAB, Host: "B", Reason: "NETFILTER_DROP", Bounds: Bounds{Equals: number(3)}}}},
		{"counter: { host: B, name: TcpExt.ListenOverflows, increases: true }",
			Expectation{Counter: &CounterExpectation{Host: "B", Name: "TcpExt.ListenOverflows", Increases: true}}},
		{"counter: { host: B, name: TcpExt.OfALaterKernel, equals: 0 }",
			Expectation{Counter: &CounterExpectation{Host: "B", Name: "TcpExt.OfALaterKernel", Bounds: Bounds{Equals: number(0)}}}},
		{"queue: { of: server.s, peak: $backlog + 1 }",
			Expectation{Queue: &QueueExpectation{Of: SocketSelector{Lane: "server", Socket: "s", Text: "server.s"}, Peak: Bounds{Equals: number(2)}}}},
		{"queue: { of: server.s, peak: { at_most: 2 } }",
			Expectation{Queue: &QueueExpectation{Of: SocketSelector{Lane: "server", Socket: "s", Text: "server.s"}, Peak: Bounds{AtMost: number(2)}}}},
		{"result: { of: client.connect, errno: ECONNREFUSED or ETIMEDOUT, at_most: 2s }",
			Expectation{Result: &ResultExpectation{Of: with(connected, func(m *MomentSelector) { m.Text = "client.connect" }),
				Outcome: Outcome{Errnos: []uint32{111, 110}}, Most: &Span{Duration: 2 * time.Second}}}},
		{"result: { of: got, data: hello }",
			Expectation{Result: &ResultExpectation{Of: MomentSelector{Kind: ReturnCall, Lane: "server", Call: "recv", Socket: "a", Label: "got", Step: -1, Text: "got"},
				Outcome: Outcome{Data: [][]byte{[]byte("hello")}}}}},
		{"result: { of: got, data: 'hex(00ff)' }",
			Expectation{Result: &ResultExpectation{Of: MomentSelector{Kind: ReturnCall, Lane: "server", Call: "recv", Socket: "a", Label: "got", Step: -1, Text: "got"},
				Outcome: Outcome{Data: [][]byte{{0, 0xff}}}}}},
		{"result: { of: got, at_least: 1ms }",
			Expectation{Result: &ResultExpectation{Of: MomentSelector{Kind: ReturnCall, Lane: "server", Call: "recv", Socket: "a", Label: "got", Step: -1, Text: "got"},
				Outcome: Outcome{OK: true, Errnos: allErrnos, Timeout: true}, Least: &Span{Duration: time.Millisecond}}}},
		{"result: { of: why, value: 0 or ECONNREFUSED }",
			Expectation{Result: &ResultExpectation{Of: MomentSelector{Kind: ReturnCall, Lane: "other", Call: "getsockopt", Socket: "d", Label: "why", Step: 3, Text: "why"},
				Outcome: Outcome{Values: []int64{0, 111}}}}},
		{"never: { packet: A>B SYN, after: return(client.connect) ok }",
			Expectation{Never: &NeverExpectation{Packet: synAB,
				After: new(with(connected, func(m *MomentSelector) { m.Outcome, m.Text = &Outcome{OK: true}, "return(client.connect) ok" }))}}},
		{"final: { TIME_WAIT: [client.c, other.d] }",
			Expectation{Final: &FinalExpectation{State: "TIME_WAIT", Of: []SocketSelector{client, {Lane: "other", Socket: "d", Text: "other.d"}}}}},
		{"spread: { of: go, at_most: 10us }",
			Expectation{Spread: &SpreadExpectation{Meeting: "go", Most: 10 * time.Microsecond}}},
		{"packets: { of: other.d, pattern: [A>B SYN, ...] }",
			Expectation{Packets: &PacketsExpectation{Of: SocketSelector{Lane: "other", Socket: "d", Text: "other.d"}, Pattern: []PacketTerm{{Packet: synAB}, {Any: true}}}}},
		{"{ never: A>B SYN, allow_empty: true, when: { kernel: '>= 6.12, < 7', host: B } }",
			Expectation{AllowEmpty: true, Kernel: []KernelRange{{">=", "6.12"}, {"<", "7"}}, KernelHost: "B", Never: &NeverExpectation{Packet: synAB}}},
		{`precondition: ["enter(other.connect) < sent(A, A>B SYN)"]`,
			Expectation{Precondition: &PreconditionExpectation{OrderExpectation{[]MomentSelector{
				{Kind: EnterCall, Lane: "other", Call: "connect", Socket: "d", Step: 2, Text: "enter(other.connect)"},
				{Kind: PacketSent, Host: "A", Packet: synAB, Text: "sent(A, A>B SYN)"}}}}}},
	}
	for _, test := range tests {
		t.Run(test.item, func(t *testing.T) {
			exp := expecting(t, test.item)
			if len(exp.Expect) != 1 {
				t.Fatalf("it makes %d expectations: %q", len(exp.Expect), exp.Expanded())
			}
			got := exp.Expect[0]
			if got.Text == "" || got.Pos == (Pos{}) {
				t.Errorf("it has the text %q and the place %v", got.Text, got.Pos)
			}
			got.Text, got.Pos = "", Pos{}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestReady pins what the ready-made expectations stand for.
func TestReady(t *testing.T) {
	tests := map[string][]string{
		"handshake":                              {"packets: [SYN, SYN+ACK, third ACK, ...]"},
		"graceful-teardown":                      {"packets: [..., FIN, ..., FIN, ..., ACK]", "never: retransmitted FIN", "never: any RST"},
		"no-rst":                                 {"never: any RST"},
		"no-rst:":                                {"never: any RST"},
		"time-wait-on: A":                        {"final: { TIME_WAIT: [client[1].c, client[2].c, client[3].c, other.d] }"},
		"time-wait-on: B":                        {"final: { TIME_WAIT: [server.a] }"},
		"{ no-rst: , when: { kernel: '< 6' } }":  {"never: any RST, when: { kernel: < 6 }"},
		"no-rst\n  - never: any RST\n  - no-rst": {"never: any RST", "never: any RST"},
	}
	for item, want := range tests {
		t.Run(item, func(t *testing.T) {
			if diff := cmp.Diff(want, expecting(t, item).Expanded()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestNounFaults holds each mistake to one message, which says what to write.
func TestNounFaults(t *testing.T) {
	tests := []struct{ item, want string }{
		{"states: [CLOSED]", "states is a mapping of sockets to paths, found a list; write `states: { client.c: [CLOSED, SYN_SENT, ...] }`"},
		{"states: { client.x: [CLOSED] }", `the lane "client" has no socket "x"; known sockets: c`},
		{"states: { clint.c: [CLOSED] }", `unknown lane "clint"; did you mean "client"? known lanes: server, client, other`},
		{"states: { client.c: [FIN_WAIT3] }", `unknown TCP state "FIN_WAIT3"; did you mean "FIN_WAIT1"? known states: CLOSED, LISTEN, SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, CLOSING, LAST_ACK, TIME_WAIT`},
		{"states: { client.c: [] }", "a path has from 1 to 1000 states, found 0"},
		{"phase: { name: conect.blocked, at_most: 1s }", `unknown phase "conect.blocked"; did you mean "connect.blocked"?`},
		{"phase: { name: teatime, at_most: 1s }", `unknown phase "teatime"; known phases: ` + strings.Join(PhaseNames()[:maxListed], ", ") + fmt.Sprintf(" and %d more", len(PhaseNames())-maxListed)},
		{"phase: { name: connect.rtt }", "the phase has no bound; write `within: [1 rtt, 1 rtt + 2ms]`, `at_least: 80ms` or `at_most: 2 rtt`"},
		{"phase: { at_most: 1s }", `a phase needs the key "name"; known keys: name, of, within, at_least, at_most`},
		{"phase: { name: connect.rtt, within: 1s, at_most: 1s }", "within says at_least and at_most already; leave one of them away"},
		{"phase: { name: connect.rtt, within: [2 rtt, 1 rtt] }", "no time is between these bounds: the lower one is greater"},
		{"phase: { name: connect.rtt, at_most: 2 }", `a time is a time, found "2"; a time needs a unit: 2ms or 2s`},
		{"phase: { name: connect.rtt, at_most: x rtt }", `"x rtt" is no multiple of the round-trip time; write ` + "`1 rtt` or `1.5 rtt`"},
		{"phase: { name: connect.rtt, at_most: 1ms - 2ms }", `a time is from 0 to 1h and 1000 rtt, found "1ms - 2ms"`},
		{"count: { of: A>B SYN }", "the count has no bound; write `equals: 1`, `at_least: 1` or `at_most: 5`"},
		{"count: { of: A>B SYN, equals: 1, at_most: 1 }", "equals says at_least and at_most already; leave one of them away"},
		{"count: { of: A>B SYN, at_least: 2, at_most: 1 }", "no number is at least 2 and at most 1"},
		{"count: { of: 'sent(A, SYN)', equals: 1 }", "a packet is counted once, wherever it was seen; write `of: A>B SYN`"},
		{"count: { of: A>B SYN, equals: -1 }", `equals is a number from 0 to 2147483647, found "-1"`},
		{"retransmits: { of: A>B SYN }", "nothing is said of the retransmissions; write `gaps: [1s, 2s, ...]`, `equals: 3`, `at_least: 1` or `at_most: 6`"},
		{"retransmits: { of: ICMP, at_least: 1 }", "only TCP retransmits"},
		{"retransmits: { of: SYN, gaps: [..., 1s] }", "the dots come last"},
		{"retransmits: { of: SYN, gaps: [1s], tolerance: 20 }", `a tolerance is from 0% to 100%, found "20"; write 20%`},
		{"drop: { of: A>B SYN, reason: firewall }", `"firewall" is no reason of a drop; write it as the kernel does, as in NETFILTER_DROP`},
		{"drop: { of: A>B third ACK }", "which ACK is the third is told from the packets that were not dropped; name it by its flags: `of: A>B ACK`"},
		{"counter: { host: B, name: ListenOverflows, equals: 1 }", `"ListenOverflows" is no counter; did you mean "TcpExt.ListenOverflows"?`},
		{"counter: { host: B, name: TcpExt.ListenOverflow, equals: 1 }", `unknown counter "TcpExt.ListenOverflow"; did you mean "TcpExt.ListenOverflows"?`},
		{"counter: { host: B, name: Tcpx.ListenOverflows, equals: 1 }", `unknown group of counters "Tcpx"; did you mean "Tcp"? known groups: ` + strings.Join(counterGroups, ", ")},
		{"counter: { host: B, name: TcpExt.ListenOverflows }", "nothing is said of the counter; write `increases: true`, or `equals: 1`, `at_least: 1` or `at_most: 5`"},
		{"counter: { host: C, name: TcpExt.ListenOverflows, equals: 1 }", `unknown role "C"; known roles: A, B`},
		{"queue: { of: server.a, peak: 1 }", `the lane "server" never listens on the socket "a": it has no accept queue`},
		{"result: { of: client.connect, data: x }", "connect receives no data; data is of recv or recvfrom"},
		{"result: { of: got, within: [1ms, 2ms, 3ms] }", "within is one or two times, found 3; write `within: [1 rtt, 1 rtt + 2ms]` or `within: 2ms`"},
		{"result: { ok: true }", `a result needs the key "of"; known keys: of, ok, value, errno, data, ended_by, within, at_least, at_most`},
		{"never: { packet: any RST, after: enter(client) }", `unknown label "client"; known labels: got, taken, try, why; or write lane.call`},
		{"final: { TIME_WAIT: [] }", "no socket is named; write lane.socket, as in client.c, or the label of a call"},
		{"spread: { of: Go, at_most: 1ms }", `unknown meeting "Go"; did you mean "go"? known meetings: go`},
		{"packets: { of: client.c, pattern: [B>A ICMP] }", "a connection has packets of TCP only; leave `of` away: such a pattern is over all packets of the repetition"},
		{"order: [enter(client.connect) ok < return(client.connect)]", `"ok" is not understood; an outcome stands after return(...)`},
		{"order: [return(client.connect) OK < return(client.close)]", `unknown outcome "OK"; did you mean "ok"? an outcome is ok, a number, the name of an errno as errno(3) lists it, timeout or any`},
		{"no-rst: A", "the expectation \"no-rst\" takes no argument; write `- no-rst`"},
		{"time-wait-on", "the expectation \"time-wait-on\" needs an argument; write `- time-wait-on: A`"},
		{"handshak", `unknown expectation "handshak"; did you mean "handshake"? known ready-made expectations: handshake, graceful-teardown, no-rst, time-wait-on; others are ` + "`- noun: ...`"},
		{"never", "the expectation \"never\" says nothing of what is expected; write `- never: ...`"},
		{"{ when: { kernel: '> 6' } }", "this says nothing of what is expected; known expectations: " + strings.Join(itemKeys(), ", ")},
		{"{ never: SYN, when: { host: A } }", "a condition is about a kernel; write `when: { kernel: \">= 6.12\" }`"},
		{"{ never: SYN, allow_empty: maybe }", `allow_empty is true or false, found "maybe"`},
	}
	for _, test := range tests {
		t.Run(test.item, func(t *testing.T) {
			_, err := Parse([]byte(crowd+"expect:\n  - "+test.item+"\n"), Options{})
			var faults Errors
			if !errors.As(err, &faults) || len(faults) != 1 {
				t.Fatalf("got %v", err)
			}
			faults[0].Pos = Pos{}
			if got := faults[0].Error(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestThat holds expressions to what the file has.
func TestThat(t *testing.T) {
	for source, want := range map[string]string{
		`size(packets) < 20 && vars.port == 8080`:        "",
		`phase("connect.blocked", "client.c") < rtt * 2`: "",
		`phase("conect.blocked") < rtt`:                  `unknown phase "conect.blocked"; did you mean "connect.blocked"?`,
		`states("client.x") == ["CLOSED"]`:               `the lane "client" has no socket "x"; known sockets: c`,
		`counters("C")["Tcp.OutRsts"] == 0`:              `unknown role "C"; known roles: A, B`,
		`vars.prot == 1`:                                 `unknown variable "prot"; did you mean "port"? known variables: port, backlog, clients`,
		`vars["prot"] == 1`:                              `unknown variable "prot"; did you mean "port"? known variables: port, backlog, clients`,
		`size(packets)`:                                  "an expression is true or false, this one is of type int",
	} {
		_, err := Parse([]byte(crowd+"expect:\n  - that: '"+source+"'\n"), Options{})
		var faults Errors
		switch {
		case want == "":
			if err != nil {
				t.Errorf("%s: %v", source, err)
			}
		case !errors.As(err, &faults) || len(faults) != 1:
			t.Errorf("%s: got %v", source, err)
		default:
			if at := faults[0].Pos; at.Line != 32 || at.Column < 12 {
				t.Errorf("%s: the fault is at %v", source, at)
			}
			faults[0].Pos = Pos{}
			if got := faults[0].Error(); got != want {
				t.Errorf("%s:\ngot  %s\nwant %s", source, got, want)
			}
		}
	}
	// A variable that only an expression looks up is used.
	mustParse(t, strings.Replace(crowd, "vars: {", "vars: { most: 20,", 1)+"expect:\n  - that: size(packets) < vars.most\n")
}

// TestSourcesNeeded holds each noun to the source that it rests on.
func TestSourcesNeeded(t *testing.T) {
	for item, source := range map[string]string{
		"states: { client.c: [...] }":                        "tcp-states",
		"final: { TIME_WAIT: [client.c] }":                   "tcp-states",
		"phase: { name: connect.rtt, at_most: 1s }":          "packets",
		"count: { of: A>B SYN, equals: 1 }":                  "packets",
		"count: { of: enter(client.connect), equals: 1 }":    "syscalls",
		"packets: [A>B SYN, ...]":                            "packets",
		"packets: [...]":                                     "packets",
		"packets: [A>B ICMP 8/0, B>A ICMP 0/0]":              "icmp",
		"packets: [ARP request, ...]":                        "arp",
		"never: ICMP":                                        "icmp",
		"never: ARP request":                                 "arp",
		"counter: { host: B, name: Tcp.OutRsts, equals: 0 }": "counters",
		"queue: { of: server.s, peak: 1 }":                   "accept-queue",
		"result: { of: try, ok: true }":                      "syscalls",
		"spread: { of: go, at_most: 1ms }":                   "syscalls",
		"that: size(packets) < 20":                           "packets",
		"that: size(calls) < 20":                             "syscalls",
		"that: 'counters(\"B\")[\"Tcp.OutRsts\"] == 0'":      "counters",
	} {
		text := strings.Replace(crowd, source+", ", "", 1)
		if source == "arp" {
			text = strings.Replace(crowd, ", arp", "", 1)
		}
		_, err := Parse([]byte(text+"expect:\n  - "+item+"\n"), Options{})
		want := fmt.Sprintf("this needs the source %q, which is not observed; add %s to observe", source, source)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s without %s: %v", item, source, err)
		}
	}
	// What is over messages of ICMP alone needs no packets of ports.
	mustParse(t, strings.Replace(crowd, "packets, ", "", 1)+"expect:\n  - packets: [A>B ICMP 8/0, B>A ICMP 0/0]\n")
}

func TestExpectWhen(t *testing.T) {
	const cases = crowd + "cases: { one: {}, two: {} }\nmatrix: { backlog: [1, 4] }\nexpect:\n"
	for key, want := range map[string]string{
		"when one":                      "one backlog=1, one backlog=4",
		"when one or two and backlog=4": "one backlog=1, one backlog=4, two backlog=4",
		"when backlog=1":                "one backlog=1, two backlog=1",
		"always":                        "one backlog=1, one backlog=4, two backlog=1, two backlog=4",
	} {
		exp := mustParse(t, cases+"  "+key+": [no-rst]\n")
		var got []string
		for i, v := range exp.Variants {
			if len(at(t, exp, i, 1).Expect) > 0 {
				got = append(got, v.Name)
			}
		}
		if text := strings.Join(got, ", "); text != want {
			t.Errorf("%s is expected in %s, want %s", key, text, want)
		}
	}
	for key, want := range map[string]string{
		"when tow":         `the file has no case "tow"; did you mean "two"? known cases: one, two, backlog=1, backlog=4`,
		"when one two":     "\"two\" is not understood; cases are joined by `or` and `and`",
		"when one or":      "the name of a case is missing; known cases: one, two, backlog=1, backlog=4",
		"when one and two": "no variant is both one and two",
		"never":            "expect is a list, or a mapping of `always` and `when CASE` to lists; write it as an item: `- never: ...`",
		"whenever":         `unknown key "whenever"; known keys: always, when CASE`,
	} {
		_, err := Parse([]byte(cases+"  "+key+": [no-rst]\n"), Options{})
		var faults Errors
		if !errors.As(err, &faults) || len(faults) != 1 {
			t.Errorf("%s: got %v", key, err)
			continue
		}
		faults[0].Pos = Pos{}
		if got := faults[0].Error(); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", key, got, want)
		}
	}
}

// TestTextsAreStable holds the texts of expectations to be the same in every repetition:
// verdicts are counted by them.
func TestTextsAreStable(t *testing.T) {
	exp := mustParse(t, crowd+"expect: [{ count: { of: A>B SYN, at_most: $port * $clients } }]\nrepeat: { fresh: [port] }\n")
	want := []string{"count: { of: A>B SYN, at_most: $port * 3 }"}
	for _, repetition := range []int{1, 2, 700} {
		if diff := cmp.Diff(want, at(t, exp, 0, repetition).Expanded()); diff != "" {
			t.Errorf("repetition %d (-want +got):\n%s", repetition, diff)
		}
	}
	if most := at(t, exp, 0, 3).Expect[0].Count.Bounds.AtMost; most == nil || *most != 8082*3 {
		t.Errorf("in repetition 3 at most %v", most)
	}
}
