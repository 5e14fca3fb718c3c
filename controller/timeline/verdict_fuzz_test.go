package timeline

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncline/controller/experiment"
)

// everyNoun expects one of each, of lanes that eventOf makes calls of.
const everyNoun = `
experiment: every-noun
hosts: { A: {}, B: {}, C: {} }
vars: { port: 8080 }
observe: [syscalls, packets, tcp-states, tcp-info, counters, accept-queue, icmp, arp]
lanes:
  s:
    host: B
    do: ["s = socket(tcp)", "bind(s, 0.0.0.0:$port)", "listen(s, 1)", "signal(n)", "a = accept(s) as take", "recv(a, 9)", "meet(go)", "close(a)"]
  c:
    host: A
    process: own
    do: ["c = socket(tcp)", "connect(c, B:$port) as try", "send(c, \"x\")", "meet(go)", "info(c)", "close(c)"]
  a:
    host: A
    do: ["sleep(1ms)", "kill(c)"]
meetings: { go: { max_spread: 1ms } }
expect:
  - precondition: [enter(s.accept) < received(B, SYN)]
  - packets: [A>B SYN, ..., retransmitted SYN, ...]
  - packets: [..., "A>B ICMP", ..., UDP, ARP request]
  - packets: { of: c.c, pattern: [SYN, ...] }
  - states: { c.c: [CLOSED, ..., TIME_WAIT], s.a: [..., CLOSED], s.s: [CLOSED, LISTEN, CLOSED] }
  - order: enter(c.connect) < sent(A, SYN) < received(B, SYN) < return(s.accept)
  - order: sent(A, UDP) < received(B, UDP) < received(A, B>A ICMP 3/3)
  - phase: { name: connect.blocked, within: [1 rtt, 2 rtt + 2ms] }
  - phase: { name: teardown.whole, of: s.a, at_least: 1us }
  - count: { of: SYN, equals: 2 }
  - count: { of: return(s.accept) ok, after: sent(A, SYN), before: enter(c.close), at_least: 1 }
  - retransmits: { of: data, gaps: [1us, 2us, ...], tolerance: 50% }
  - counter: { host: B, name: TcpExt.ListenDrops, increases: true }
  - queue: { of: s.s, peak: 1 }
  - result: { of: try, ok: true, at_least: 1us, at_most: 1 rtt }
  - result: { of: s.recv, data: "hello" }
  - never: { packet: any RST, after: enter(c.connect), before: enter(c.close) }
  - final: { TIME_WAIT: [c.c], CLOSED: [s.a, s.s] }
  - spread: { of: go, at_most: 10us }
  - that: phase("connect.blocked") < 2 * rtt && packets.all(p, has(p.sent) && p.length < 16)
  - that: calls.exists(c, c.errno != "" && c.blocked > duration("1us")) || states("c.c").size() > 1
`

// FuzzJudge judges every noun on events of arbitrary bytes: it ends, gives what
// Expectations lists, the same again the second time, and a reason with all but a pass.
func FuzzJudge(f *testing.F) {
	exp, err := experiment.Parse([]byte(everyNoun), experiment.Options{FileName: "every-noun"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	for _, sc := range scenarios[:9] {
		f.Add(seedOf(sc.play(3).run))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		run := &Run{ID: "r-1", Hosts: []Host{
			{Name: "A", Address: netip.MustParseAddr("10.0.0.1")},
			{Name: "B", Address: netip.MustParseAddr("10.0.0.2")},
			{Name: "C", Address: netip.MustParseAddr("10.0.0.3")},
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
			verdicts := tl.Judge(exp)
			if d := cmp.Diff(verdicts, tl.Judge(exp)); d != "" {
				t.Fatalf("judged otherwise the second time: %s", d)
			}
			var texts []string
			for _, v := range verdicts {
				texts = append(texts, v.Expectation)
				if v.Ruling == 0 || (v.Ruling == Pass) != (v.Reason == "") {
					t.Fatalf("%s: %s, because %q", v.Expectation, v.Ruling, v.Reason)
				}
				for _, m := range v.Moments {
					if m < 0 || m >= len(tl.Moments) {
						t.Fatalf("%s: there is no moment %d", v.Expectation, m)
					}
				}
			}
			if d := cmp.Diff(Expectations(exp, tl.Hosts), texts); d != "" {
				t.Fatal(d)
			}
		}
	})
}
