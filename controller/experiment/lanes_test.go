package experiment

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// parseParts parses a file with these keys after a head of two hosts.
func parseParts(t *testing.T, parts string) *Experiment {
	t.Helper()
	exp, err := Parse([]byte(withHead(parts)), Options{})
	if err != nil {
		t.Fatalf("%v\n%s", err, parts)
	}
	return exp
}

func withHead(parts string) string {
	return "experiment: x\nhosts: { A: , B: }\nobserve: [syscalls, packets]\n" + parts
}

// lane finds a lane by its name.
func lane(t *testing.T, exp *Experiment, name string) Lane {
	t.Helper()
	i := slices.IndexFunc(exp.Lanes, func(l Lane) bool { return l.Name == name })
	if i < 0 {
		t.Fatalf("no lane %s", name)
	}
	return exp.Lanes[i]
}

// texts are the steps of a lane, each with the round of its innermost loop.
func texts(l Lane) []string {
	var out []string
	for _, s := range l.Steps {
		out = append(out, fmt.Sprintf("%d %s", s.Round, s.Text))
	}
	return out
}

func TestLoops(t *testing.T) {
	exp := parseParts(t, `
vars: { n: 2 }
lanes:
  l:
    host: B
    do:
      - s = socket(tcp)
      - listen(s, 9)
      - repeat: $n
        do:
          - a = accept(s) as taken
          - { repeat: $n - 1 + 1, do: ["recv(a, 10) as got", { repeat: 1, do: [sleep(1ms)] }] }
          - close(a)
      - bind(s, 0.0.0.0:80)
expect:
  - result: { of: taken, ok: true }
`)
	round := func(n int) []string {
		return []string{fmt.Sprintf("%d a = accept(s) as taken", n),
			"1 recv(a, 10) as got", "1 sleep(1ms)", "2 recv(a, 10) as got", "1 sleep(1ms)", fmt.Sprintf("%d close(a)", n)}
	}
	want := slices.Concat([]string{"0 s = socket(tcp)", "0 listen(s, 9)"}, round(1), round(2), []string{"0 bind(s, 0.0.0.0:80)"})
	if diff := cmp.Diff(want, texts(exp.Lanes[0])); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestCopies(t *testing.T) {
	exp := parseParts(t, `
vars: { n: 3, port: 80 }
lanes:
  server:
    host: B
    do:
      - wait(all client.settled, timeout=20s)
      - wait(client[2].settled)
      - meet(go)
      - signal(done)
  client:
    host: A
    copies: $n
    start_gap: 20ms
    do:
      - c = socket(tcp)
      - connect(c, B:$port) as reached
      - signal(settled)
      - wait(all client.settled)
      - wait(all server.done)
      - meet(end)
  helper: { host: A, do: [meet(go), meet(end)] }
meetings: { go: { lead: 100ms, max_spread: 10us }, end: }
`)
	var names []string
	for _, l := range exp.Lanes {
		names = append(names, fmt.Sprintf("%s %s %d %v", l.Name, l.Base, l.Copy, l.Delay))
	}
	want := []string{"server server 0 0s", "client[1] client 1 0s", "client[2] client 2 20ms", "client[3] client 3 40ms", "helper helper 0 0s"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("lanes (-want +got):\n%s", diff)
	}
	copies := []string{"client[1]", "client[2]", "client[3]"}
	server, client := lane(t, exp, "server").Steps, lane(t, exp, "client[3]").Steps
	for _, test := range []struct{ got, want any }{
		{server[0].Args, WaitArgs{Lane: "client", Signal: "settled", Lanes: copies}},
		{server[1].Args, WaitArgs{Lane: "client[2]", Signal: "settled"}},
		{client[3].Args, WaitArgs{Lane: "client", Signal: "settled", Lanes: copies}},
		{client[4].Args, WaitArgs{Lane: "server", Signal: "done"}},
		{client[1].Label, "reached"},
		{exp.Meetings, []Meeting{
			{Name: "go", Lanes: []string{"server", "helper"}, Lead: 100 * time.Millisecond, MaxSpread: 10 * time.Microsecond, Pos: exp.Meetings[0].Pos},
			{Name: "end", Lanes: append(copies, "helper"), Lead: 20 * time.Millisecond, Pos: exp.Meetings[1].Pos},
		}},
	} {
		if diff := cmp.Diff(test.want, test.got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestProcesses(t *testing.T) {
	exp := parseParts(t, `
lanes:
  worker:
    forked_by: server
    do:
      - a = accept(s)
      - t = dup(a)
      - connect(t, B:81)
      - fork(child)
      - close(t)
  child: { forked_by: worker, limits: { as: 512 MiB, core: unlimited }, do: [recv(t, 10), recv(a, 10), close(s)] }
  server:
    host: B
    do:
      - s = socket(tcp6)
      - bind(s, [::]:80)
      - gone = socket(udp)
      - close(gone)
      - fork(worker)
      - later = socket(udp)
      - kill(worker)
      - kill(child, TERM)
  victim: { host: A, process: own, limits: { nofile: 30 + 2 }, do: [sleep(1ms)] }
`)
	worker, child, victim := lane(t, exp, "worker"), lane(t, exp, "child"), lane(t, exp, "victim")
	server := lane(t, exp, "server").Steps
	for _, test := range []struct{ got, want any }{
		{[]string{worker.Host, child.Host}, []string{"B", "B"}},
		{[]string{worker.ForkedBy, child.ForkedBy}, []string{"server", "worker"}},
		{[]bool{worker.OwnProcess, child.OwnProcess, victim.OwnProcess}, []bool{true, true, true}},
		{child.Limits, []Limit{{"as", 9, 512 << 20}, {"core", 4, 1<<64 - 1}}},
		{victim.Limits, []Limit{{"nofile", 7, 32}}},
		{worker.Steps[2].Args, ConnectArgs{Address{Role: "B", Port: 81, Six: true}}}, // accept and dup hand the kind on
		{worker.Steps[3].Args, ForkArgs{"child"}},
		{server[6].Args, KillArgs{"worker", 9}},
		{server[7].Args, KillArgs{"child", 15}},
	} {
		if diff := cmp.Diff(test.want, test.got, cmp.Comparer(func(a, b Address) bool { return a == b })); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestWatches(t *testing.T) {
	exp := parseParts(t, `
lanes:
  client:
    host: A
    copies: 2
    do:
      - c = socket(tcp)
      - connect(c, B:80)
  watcher:
    host: B
    do:
      - wait(client[1].c is SYN_SENT, timeout=1s)
      - wait(received(B, A>B SYN) 3 times)
      - wait(sent(B, SYN+ACK))
      - wait(client[1].c is SYN_SENT)
      - wait(client[2].c is FIN_WAIT_2)
`)
	var got []string
	for _, w := range exp.Watches {
		text := fmt.Sprintf("%s on %s", w.Text, w.Host)
		if w.Packet != nil {
			text += fmt.Sprintf(" (%s, sent %v, %d)", w.Packet.Text, w.Sent, w.Count)
		} else {
			text += fmt.Sprintf(" (%s %s %d)", w.Lane, w.Socket, w.State)
		}
		got = append(got, text)
	}
	want := []string{
		"client[1].c is SYN_SENT on A (client[1] c 2)",
		"received(B, A>B SYN) 3 times on B (A>B SYN, sent false, 3)",
		"sent(B, SYN+ACK) on B (SYN+ACK, sent true, 1)",
		"client[2].c is FIN_WAIT2 on A (client[2] c 5)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("watches (-want +got):\n%s", diff)
	}
	var ids []string
	for _, s := range lane(t, exp, "watcher").Steps {
		ids = append(ids, s.Args.(WaitArgs).Watch)
	}
	if diff := cmp.Diff([]string{
		"client[1].c is SYN_SENT", "received(B, A>B SYN) 3 times", "sent(B, SYN+ACK)", "client[1].c is SYN_SENT", "client[2].c is FIN_WAIT2",
	}, ids); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
}

// TestNoFalseAlarm holds what may go well to be no deadlock.
func TestNoFalseAlarm(t *testing.T) {
	for name, lanes := range map[string]string{
		"a limit ends the circle": `
  one: { host: A, do: [wait(two.x, timeout=1s), signal(x)] }
  two: { host: B, do: [wait(one.x), signal(x)] }`,
		"a watch ends the circle": `
  one: { host: A, do: [c = socket(tcp), wait(one.c is ESTABLISHED), signal(x)] }
  two: { host: B, do: [wait(one.x), signal(x)] }`,
		"a barrier of copies": `
  many: { host: A, copies: 5, do: [signal(here), wait(all many.here), meet(go)] }`,
		"the one that waits is killed": `
  victim: { host: A, process: own, do: [wait(killer.never), signal(x)] }
  killer: { host: A, do: [kill(victim), wait(victim.x), signal(never)] }`,
		"a killed lane waits for itself": `
  victim: { host: A, process: own, do: [wait(victim.x), signal(x)] }
  killer: { host: A, do: [kill(victim)] }`,
		"forks before waits": `
  parent: { host: A, do: [fork(child), wait(child.x)] }
  child: { forked_by: parent, do: [signal(x)] }`,
		"meetings one after the other": `
  one: { host: A, do: [meet(first), meet(second)] }
  two: { host: B, do: [meet(first), meet(second)] }`,
	} {
		t.Run(name, func(t *testing.T) {
			parseParts(t, "lanes:"+lanes+"\n  other: { host: B, do: [s = socket(tcp), bind(s, 0.0.0.0:80)] }\n")
		})
	}
}

// unpleasantLanes are files of the greatest size whose lanes are as unpleasant as a stranger
// can make them.
func unpleasantLanes() map[string]string {
	fill := func(before, unit, after string) string {
		return before + strings.Repeat(unit, (MaxBytes-len(before)-len(after))/len(unit)) + after
	}
	numbered := func(before, format string) string {
		var b strings.Builder
		b.WriteString(before)
		for i := 0; b.Len() < MaxBytes-200; i++ {
			b.WriteString(strings.ReplaceAll(format, "#", fmt.Sprint(i)))
		}
		return b.String()
	}
	head := withHead("lanes:\n  l:\n    host: A\n    do:\n")
	copies := withHead("lanes:\n  l:\n    host: A\n    copies: 128\n    do:\n")
	steps := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(strings.ReplaceAll(format, "#", fmt.Sprint(i)))
		}
		return b.String()
	}
	return map[string]string{
		"loops in loops":        head + "    - " + strings.Repeat("{ repeat: 10000, do: [", 12) + "sleep(1us)" + strings.Repeat("] }", 12) + "\n",
		"many loops":            fill(head, "    - { repeat: 10000, do: [sleep(1us)] }\n", ""),
		"faults in loops":       fill(head+"    - repeat: 10000\n      do:\n", "      - close(x)\n", ""),
		"unknown outcomes":      numbered(head, "    - sleep(1us) -> ECONREFUSD#\n"),
		"unknown options":       numbered(head+"    - c = socket(tcp)\n", "    - setsockopt(c, TCP_NODELY#, 1)\n"),
		"unknown signals":       numbered(head+"    - signal(go)\n", "    - wait(l.g#)\n"),
		"unknown states":        numbered(head, "    - wait(l.c is ESTAB#)\n"),
		"many signals":          numbered(head, "    - signal(s#)\n    - wait(l.s#)\n") + "    - nothing()\n",
		"many sockets":          numbered(head, "    - s# = socket(tcp)\n") + "    - nothing()\n",
		"many meetings":         numbered(head, "    - meet(m#)\n"),
		"many changes":          numbered(withHead("changes:\n"), "  c#: { host: A, firewall: drop tcp/80 }\n"),
		"one long rule":         fill(withHead("setup: { A: { firewall: drop "), "tcp/80 ", "} }\n"),
		"unknown words":         fill(withHead("setup: { A: { firewall: ["), "drop tpc/80,", "] } }\n"),
		"waits of copies":       copies + steps(38, "    - signal(s#)\n    - wait(all l.s#)\n") + "    - wait(l.s1)\n",
		"copies that all wait":  copies + steps(38, "    - wait(all l.s#)\n    - signal(s#)\n"),
		"big data in a loop":    head + "    - c = socket(tcp)\n    - { repeat: 5000, do: [\"send(c, bytes(1000))\"] }\n",
		"long steps in a loop":  head + "    - { repeat: 9000, do: ['signal(" + strings.Repeat("x", 4000) + ")'] }\n",
		"a long number":         head + "    - sleep(1us) -> 1" + strings.Repeat(" + 1", 900) + " +\n",
		"outcomes without end":  fill(head+"    - sleep(1us) -> ", "ok or ", "\n"),
		"members without end":   fill(head+"    - c = socket(tcp)\n    - setsockopt(c, SO_LINGER, {", "1,", "1})\n"),
		"fork of many":          numbered(withHead("lanes:\n  p: { host: A, do: [fork(c0)] }\n"), "  c#: { forked_by: p, do: [fork(c#)] }\n"),
		"lanes that fork lanes": withHead("lanes:\n") + steps(200, "  c#: { forked_by: c#x, do: [fork(c#)] }\n"),
	}
}

// TestUnpleasantLanes is TestUnpleasantShapes for lanes.
func TestUnpleasantLanes(t *testing.T) {
	for name, text := range unpleasantLanes() {
		t.Run(name, func(t *testing.T) {
			if len(text) > MaxBytes {
				t.Fatalf("the shape has %d bytes", len(text))
			}
			stop := stopwatch()
			_, err := Parse([]byte(text), Options{})
			took := stop()
			var faults Errors
			if !errors.As(err, &faults) {
				t.Fatalf("Parse found no fault: %v", err)
			}
			t.Logf("%v, %d faults: %.120s", took.Round(time.Millisecond), len(faults), faults[0].Message)
			if took > 4*time.Second {
				t.Errorf("took %v", took)
			}
			checkPlaces(t, []byte(text), faults)
		})
	}
}

// TestWrittenOut holds the limits to what loops and copies make of a file.
func TestWrittenOut(t *testing.T) {
	for parts, want := range map[string]string{
		"lanes: { l: { host: A, do: [{ repeat: 10000, do: [sleep(1us), sleep(1us)] }] } }":                                                          "more than 10000 steps, loops and copies written out",
		"lanes: { l: { host: A, copies: 128, do: [{ repeat: 79, do: [sleep(1us)] }] } }":                                                            "more than 10000 steps, loops and copies written out",
		"lanes: { l: { host: A, copies: 129, do: [sleep(1us)] } }":                                                                                  `copies is a number from 1 to 128, found "129"`,
		"lanes: { l: { host: A, copies: 128, do: [sleep(1us)] }, m: { host: A, copies: 128, do: [sleep(1us)] }, n: { host: A, do: [sleep(1us)] } }": "more than 256 lanes, all copies counted",
		"lanes: { l: { host: A, copies: 2, do: [c = socket(tcp), 'send(c, bytes(600000))'] } }":                                                     "the sends of a file hold at most 1048576 bytes together, loops and copies written out",
	} {
		_, err := Parse([]byte(withHead(parts)), Options{})
		var faults Errors
		if !errors.As(err, &faults) || len(faults) != 1 || faults[0].Message != want {
			t.Errorf("%s:\ngot %v, want %s", parts, err, want)
		}
	}
}
