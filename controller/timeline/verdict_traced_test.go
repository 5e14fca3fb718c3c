package timeline

import (
	"slices"
	"strings"
	"testing"

	"syncline/controller/experiment"

	"github.com/rogpeppe/go-internal/txtar"
)

// What lanes of the scripts in testdata/states did, with the states that are expected.
const tracedExperiment = `experiment: traced
hosts: { A: {}, B: {} }
observe: [syscalls, packets, tcp-states]
lanes:
  server:
    host: B
    do:
      - s = socket(tcp)
      - bind(s, 0.0.0.0:8080)
      - listen(s, 1)
      - signal(listening)
      - a = accept(s)
      - close(a)
  client:
    host: A
    do:
      - wait(server.listening)
      - c = socket(tcp)
      - connect(c, B:8080)
      - close(c)
expect:
  - states: { client.c: [CLOSED, SYN_SENT, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, TIME_WAIT] }
  - states: { server.a: [SYN_RECV, ESTABLISHED, CLOSE_WAIT, LAST_ACK, CLOSED] }
`

// A loss takes from the verdicts what rests on what was lost, and nothing else.
func TestVerdictsOnTraces(t *testing.T) {
	exp, err := experiment.Parse([]byte(tracedExperiment), experiment.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		script         string
		client, server Ruling
		// why must be in the reason of the client's verdict.
		why []string
	}{
		{"traced_client_closes", Pass, Pass, nil},
		{"traced_loss", Pass, Pass, nil},
		{"traced_loss_of_both", CannotTell, Pass, []string{"A lost 1 of its packets", "A lost 1 record of tracepoints"}},
		{"traced_packets_lost", CannotTell, Pass, []string{"whether for TIME_WAIT", "no CAP_NET_RAW"}},
		{"traced_hole", CannotTell, Pass, []string{"with a hole"}},
		{"traced_contradiction", CannotTell, Fail, []string{"the kernel traced client.c on A as"}},
		{"traced_off_diagram", Fail, Fail, []string{"LAST_ACK"}},
	} {
		t.Run(c.script, func(t *testing.T) {
			archive, err := txtar.ParseFile("testdata/states/" + c.script + ".txtar")
			if err != nil {
				t.Fatal(err)
			}
			run := newScript(t, section(archive, "events")).run
			run.Experiment = exp
			tl, err := Build(run, 1)
			if err != nil {
				t.Fatal(err)
			}
			verdicts := slices.DeleteFunc(tl.Verdicts, func(v Verdict) bool { return !strings.HasPrefix(v.Expectation, "states") })
			if len(verdicts) != 2 {
				t.Fatalf("%d verdicts on states, want 2", len(verdicts))
			}
			for i, want := range []Ruling{c.client, c.server} {
				if got := verdicts[i]; got.Ruling != want {
					t.Errorf("%s: %v (%s), want %v", got.Expectation, got.Ruling, got.Reason, want)
				}
			}
			for _, why := range c.why {
				if !strings.Contains(verdicts[0].Reason, why) {
					t.Errorf("reason %q does not say %q", verdicts[0].Reason, why)
				}
			}
		})
	}
}

// A drop counts where its host, its reason and its packet are the ones that are meant, and
// a lost trace takes nothing but the upper end.
func TestDropVerdicts(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/states/traced_drop.txtar")
	if err != nil {
		t.Fatal(err)
	}
	events := section(archive, "events")
	for _, c := range []struct {
		expect, more string
		want         Ruling
		why          string
	}{
		{"{ of: A>B SYN }", "", Pass, ""},
		{"{ of: A>B SYN, equals: 2 }", "", Pass, ""},
		{"{ of: A>B SYN, host: B, reason: NETFILTER_DROP, equals: 1 }", "", Pass, ""},
		{"{ of: A>B SYN, host: A, equals: 1 }", "", Pass, ""},
		{"{ of: A>B SYN, reason: NO_SOCKET }", "", Fail, "expected at least 1, counted 0 of A>B SYN that a kernel dropped for NO_SOCKET"},
		{"{ of: B>A SYN+ACK, at_most: 0 }", "", Pass, ""},
		{"{ of: A>B SYN, at_most: 1 }", "", Fail, "expected at most 1, counted 2"},
		{"{ of: A>B SYN, at_least: 2 }", "B loss 1 10..20 tracepoints", Pass, ""},
		{"{ of: A>B SYN, equals: 2 }", "B loss 1 10..20 tracepoints", CannotTell, "B lost 1 record of tracepoints"},
		{"{ of: A>B SYN, host: A, equals: 1 }", "B loss 1 10..20 tracepoints", Pass, ""},
		{"{ of: A>B SYN, equals: 2 }", "B missing drops", CannotTell, "B has no drops"},
	} {
		t.Run(c.expect+" "+c.more, func(t *testing.T) {
			text := strings.Replace(tracedExperiment, "tcp-states]", "tcp-states, drops]", 1)
			exp, err := experiment.Parse([]byte(text+"  - drop: "+c.expect+"\n"), experiment.Options{})
			if err != nil {
				t.Fatal(err)
			}
			run := newScript(t, events+c.more+"\n").run
			run.Experiment = exp
			tl, err := Build(run, 1)
			if err != nil {
				t.Fatal(err)
			}
			v := tl.Verdicts[len(tl.Verdicts)-1]
			if !strings.HasPrefix(v.Expectation, "drop") || v.Ruling != c.want || !strings.Contains(v.Reason, c.why) {
				t.Errorf("%s: %v (%s), want %v (%s)", v.Expectation, v.Ruling, v.Reason, c.want, c.why)
			}
		})
	}
}

// A drop whose reason the kernel does not name may be one for the reason that is meant, and
// may be none: the kernels that do not have that reason yet name none.
func TestDropVerdictsOfUnnamedReasons(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/states/traced_drop.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		reason, expect string
		want           Ruling
		why            string
	}{
		{"NOT_SPECIFIED", "{ of: A>B SYN, host: B, reason: TCP_MINTTL, equals: 1 }", CannotTell, "the kernel of B does not name the reason"},
		{"", "{ of: A>B SYN, host: B, reason: TCP_MINTTL, equals: 1 }", CannotTell, "the kernel of B does not name the reason"},
		{"reason 70", "{ of: A>B SYN, host: B, reason: TCP_MINTTL, equals: 1 }", CannotTell, "the kernel of B does not name the reason"},
		{"NOT_SPECIFIED", "{ of: A>B SYN, host: B, reason: TCP_MINTTL, equals: 0 }", CannotTell, "the kernel of B does not name the reason"},
		{"NOT_SPECIFIED", "{ of: A>B SYN, host: B, reason: TCP_MINTTL, equals: 2 }", Fail, "counted 0"},
		{"NOT_SPECIFIED", "{ of: B>A SYN+ACK, host: B, reason: TCP_MINTTL, equals: 0 }", Pass, ""},
		{"NOT_SPECIFIED", "{ of: A>B SYN, host: B, reason: NOT_SPECIFIED, equals: 1 }", Pass, ""},
		{"NOT_SPECIFIED", "{ of: A>B SYN, host: B, equals: 1 }", Pass, ""},
		{"NO_SOCKET", "{ of: A>B SYN, host: B, reason: TCP_MINTTL, equals: 1 }", Fail, "counted 0"},
	} {
		t.Run(c.reason+" "+c.expect, func(t *testing.T) {
			text := strings.Replace(tracedExperiment, "tcp-states]", "tcp-states, drops]", 1)
			exp, err := experiment.Parse([]byte(text+"  - drop: "+c.expect+"\n"), experiment.Options{})
			if err != nil {
				t.Fatal(err)
			}
			run := newScript(t, section(archive, "events")).run
			for i := range run.Events {
				if tr := run.Events[i].Trace; tr != nil && tr.Kind == TraceDrop {
					tr.Reason = c.reason
				}
			}
			run.Experiment = exp
			tl, err := Build(run, 1)
			if err != nil {
				t.Fatal(err)
			}
			v := tl.Verdicts[len(tl.Verdicts)-1]
			if v.Ruling != c.want || !strings.Contains(v.Reason, c.why) {
				t.Errorf("%s: %v (%s), want %v (%s)", v.Expectation, v.Ruling, v.Reason, c.want, c.why)
			}
		})
	}
}

// A source that was promised and could not be opened says so by a mark alone, of the whole
// run; it is missing all the same.
func TestAMarkTakesTheSourceAway(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/states/traced_drop.txtar")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(tracedExperiment, "tcp-states]", "tcp-states, drops]", 1)
	exp, err := experiment.Parse([]byte(text+"  - drop: { of: A>B SYN, equals: 2 }\n"), experiment.Options{})
	if err != nil {
		t.Fatal(err)
	}
	run := newScript(t, section(archive, "events")).run
	run.Experiment = exp
	run.Events = append(run.Events, Event{Host: 1, Number: 1 << 20, At: 1, Mark: &Mark{Kind: MarkSourceMissing, Detail: "drops"}})
	tl, err := Build(run, 1)
	if err != nil {
		t.Fatal(err)
	}
	v := tl.Verdicts[len(tl.Verdicts)-1]
	if v.Ruling != CannotTell || !strings.Contains(v.Reason, "B has no drops") {
		t.Errorf("%s: %v (%s), want that nobody can tell", v.Expectation, v.Ruling, v.Reason)
	}
	if _, touched := run.Hosts[1].Missing[Drops]; touched {
		t.Error("the run's own hosts were changed")
	}
}

// A packet that was dropped before any tap heard it is one that its host was sending or one
// that it had received, as the trace says; where that does not, nobody can tell.
func TestDropVerdictsOfUnseenPackets(t *testing.T) {
	// Neither tap hears the first SYN.
	const script = `
A client connect c 0..1000060 = 0
B server accept s->a -20..1000095 = 8
A>B SYN 1000005..1000025
B>A SYN+ACK 1000030..1000050
A>B ACK 1000055..1000075
`
	for _, c := range []struct {
		expect, trace string
		want          Ruling
		why           string
	}{
		{"{ of: A>B SYN, equals: 1 }", "B trace - 30 drop A>B SYN XDP bpf_prog_run_xdp", Pass, ""},
		{"{ of: B>A SYN, at_most: 0 }", "B trace - 30 drop A>B SYN XDP bpf_prog_run_xdp", Pass, ""},
		{"{ of: B>A SYN }", "B trace - 30 drop A>B SYN XDP bpf_prog_run_xdp", Fail, "counted 0"},
		{"{ of: A>B SYN, equals: 1 }", "A trace 1 30 drop A>B SYN NETFILTER_DROP nf_hook_slow", Pass, ""},
		{"{ of: B>A SYN, at_most: 0 }", "A trace 1 30 drop A>B SYN NETFILTER_DROP nf_hook_slow", Pass, ""},
		{"{ of: A>B SYN }", "B trace - 30 drop A>B SYN XDP bpf_prog_run_xdp noway", CannotTell, "whether B sent or received"},
		{"{ of: B>A SYN }", "B trace - 30 drop A>B SYN XDP bpf_prog_run_xdp noway", CannotTell, "whether B sent or received"},
		{"{ of: SYN, equals: 1 }", "B trace - 30 drop A>B SYN XDP bpf_prog_run_xdp noway", Pass, ""},
		{"{ of: A>B FIN, at_most: 0 }", "B trace - 30 drop A>B SYN XDP bpf_prog_run_xdp noway", Pass, ""},
		{"{ of: 'retransmitted A>B SYN', at_most: 0 }", "B trace - 30 drop A>B SYN XDP bpf_prog_run_xdp", CannotTell, "does not tell a retransmission"},
		{"{ of: 'A>B SYN window 0' }", "B trace - 30 drop A>B SYN XDP bpf_prog_run_xdp", CannotTell, "does not tell the window"},
	} {
		t.Run(c.expect+" "+c.trace, func(t *testing.T) {
			text := strings.Replace(tracedExperiment, "tcp-states]", "tcp-states, drops]", 1)
			exp, err := experiment.Parse([]byte(text+"  - drop: "+c.expect+"\n"), experiment.Options{})
			if err != nil {
				t.Fatal(err)
			}
			run := newScript(t, script+c.trace+"\n").run
			run.Experiment = exp
			tl, err := Build(run, 1)
			if err != nil {
				t.Fatal(err)
			}
			v := tl.Verdicts[len(tl.Verdicts)-1]
			if v.Ruling != c.want || !strings.Contains(v.Reason, c.why) {
				t.Errorf("%s: %v (%s), want %v (%s)", v.Expectation, v.Ruling, v.Reason, c.want, c.why)
			}
		})
	}
}
