package controller

import (
	"slices"
	"strings"
	"testing"

	"syncline/controller/experiment"
)

const doubtedSource = `experiment: doubted
hosts: { A: {}, B: {}, C: {} }
observe: [syscalls, packets]
meetings: { go: { max_spread: 40us } }
lanes:
  server:
    host: B
    do:
      - s = socket(tcp)
      - bind(s, 0.0.0.0:8080)
      - listen(s, 1)
      - signal(ready)
      - a = accept(s)
      - meet(go)
      - close(a)
  client:
    host: A
    do:
      - wait(server.ready)
      - c = socket(tcp)
      - connect(c, B:8080) -> ok
      - meet(go)
      - close(c)
  other:
    host: C
    do:
      - wait(server.ready)
      - o = socket(tcp)
      - close(o)
expect:
  - spread: { of: go, at_most: 100us }
  - order: enter(client.connect) < sent(A, SYN)
  - order: enter(client.connect) < return(server.accept)
  - order: enter(other.close) < return(server.accept)
  - phase: { name: teardown.whole, at_most: 1 rtt + 1ms }
  - phase: { name: teardown.whole, within: [1ms, 1050us] }
  - phase: { name: connect.blocked, at_most: 1us }
  - never: { packet: any RST, before: enter(other.close) }
`

func TestClockDoubts(t *testing.T) {
	exp, err := experiment.Parse([]byte(doubtedSource), experiment.Options{FileName: "x"})
	if err != nil {
		t.Fatal(err)
	}
	sure := func(err int64) clockKnown { return clockKnown{err: err, known: true} }
	unknown := clockKnown{by: "no probes"}
	for name, c := range map[string]struct {
		known map[hostPair]clockKnown
		want  []string
	}{
		"exact":    {map[hostPair]clockKnown{{0, 1}: sure(0), {0, 2}: sure(0), {1, 2}: sure(0)}, nil},
		"well":     {map[hostPair]clockKnown{{0, 1}: sure(20_000), {0, 2}: sure(1e9), {1, 2}: sure(1e9)}, nil},
		"less":     {map[hostPair]clockKnown{{0, 1}: sure(21_000)}, []string{"meeting go: max_spread 40µs: the margin is 40µs, and the clocks of B and A are known to ±21µs only"}},
		"badly":    {map[hostPair]clockKnown{{0, 1}: sure(60_000)}, []string{"meeting go", "spread: ", "the margin is 50µs"}},
		"no agent": {nil, nil},
		"others unknown": {map[hostPair]clockKnown{{0, 1}: sure(1), {0, 2}: unknown, {1, 2}: unknown}, []string{
			"order: enter(other.close) < return(server.accept): nothing is known of how the clocks of C and B are to each other (no probes)",
			"never: ",
		}},
		"unknown": {map[hostPair]clockKnown{{0, 1}: unknown}, []string{
			"meeting go", "spread: ", "order: enter(client.connect) < return(server.accept)", "1 rtt + 1ms", "within: [1ms, 1050us]",
		}},
	} {
		got, err := clockDoubts(exp, c.known)
		if err != nil {
			t.Fatal(err)
		}
		ok := len(got) == len(c.want)
		for _, text := range c.want {
			ok = ok && slices.ContainsFunc(got, func(g string) bool { return strings.Contains(g, text) })
		}
		if !ok {
			t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}
