package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"syncline/controller/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

// manyExperiment has host A accept what every other one connects, a few times a second.
func manyExperiment(hosts []string) []byte {
	var b strings.Builder
	b.WriteString("experiment: many\nhosts: { ")
	for i, h := range hosts {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s: {}", h)
	}
	const times = 20
	fmt.Fprintf(&b, ` }
observe: [syscalls, packets]
lanes:
  server:
    host: A
    do:
      - s = socket(tcp)
      - setsockopt(s, SO_REUSEADDR, 1)
      - bind(s, 0.0.0.0:8080)
      - listen(s, 128)
      - signal(listening)
      - { repeat: %d, do: [a = accept(s), close(a)] }
`, times*(len(hosts)-1))
	for _, h := range hosts[1:] {
		fmt.Fprintf(&b, `  client%[1]s:
    host: %[1]s
    do:
      - wait(server.listening)
      - { repeat: %[2]d, do: [c = socket(tcp), "connect(c, A:8080)", close(c), sleep(100ms)] }
`, h, times)
	}
	b.WriteString("expect:\n  - never: any RST\nrepeat: { runs: 1, timeout: 30s }\n")
	return []byte(b.String())
}

// TestClocksOfSixHosts: every pair of six hosts is probed, and the worst pair of all is known
// no worse than one and a half times the worst that is probed directly, by its own probes
// alone. Beside it the test tells what a star would have given, in which all but one host
// are probed with one only, as it is beyond eight hosts.
func TestClocksOfSixHosts(t *testing.T) {
	t.Parallel()
	hosts := []string{"A", "B", "C", "D", "E", "F"}
	lies := []string{"A:offset=1s", "B:offset=-10s,ppm=20", "C:offset=1h,ppm=-50", "D:offset=20ms,ppm=50", "E:offset=-1h,wander=1ppm/20s", "F:offset=3s,ppm=-20"}
	ts := truthsOf(t, lies...)
	source := manyExperiment(hosts)
	l := newLyingLab(t, mustParse(t, source), lies...)
	run := l.run(source, 1)
	l.sealed(run)

	// What the run says of its clocks, with each host's clock as the lab's in turn.
	var worst time.Duration
	var moments [][]int64
	for _, reference := range hosts {
		r := l.clockReport(run.Id, reference, 50)
		q := ts.compare(r)
		q.wantTrue(t, &q.both, &q.probes)
		var own []int64
		for i, h := range r.Hosts {
			if uint32(i) == r.Reference {
				for _, p := range h.Points {
					own = append(own, p.LocalNs)
				}
				continue
			}
			worst = max(worst, time.Duration(h.GetErrorMedianNs()))
		}
		moments = append(moments, own)
		if want := len(hosts) * (len(hosts) - 1) / 2; probedPairs(r) != want {
			t.Errorf("%d pairs are probed, want %d", probedPairs(r), want)
		}
	}

	messages := l.probeMessages(run.Id, hosts)
	// half is the median half-width of what some of the messages tell of a pair.
	half := func(a, b int, use func(m clock.Message) bool) time.Duration {
		var some []clock.Message
		for _, m := range messages {
			if use(m) {
				some = append(some, m)
			}
		}
		model := clock.NewModel(clock.Config{Hosts: len(hosts), Reference: a, DriftPPM: 210}, some)
		q := new(quality)
		for _, at := range moments[b] {
			bound := model.Bound(b, clock.Local(at))
			lo, hi := int64(bound.Lo), int64(bound.Hi)
			q.add(fmt.Sprintf("%s from %s", hosts[b], hosts[a]), &synclinev1.ClockBound{LowNs: &lo, HighNs: &hi}, at-ts.on(hosts[a], hosts[b], at))
		}
		for _, text := range q.outside {
			t.Error(text)
		}
		return quantile(q.halves, 0.5)
	}
	var direct, spoke, star time.Duration
	for a := range hosts {
		for b := a + 1; b < len(hosts); b++ {
			direct = max(direct, half(a, b, func(m clock.Message) bool { return min(m.From, m.To) == a && max(m.From, m.To) == b }))
			through := half(a, b, func(m clock.Message) bool { return min(m.From, m.To) == 0 })
			star = max(star, through)
			if a == 0 {
				spoke = max(spoke, through)
			}
		}
	}
	t.Logf("all pairs: the worst is ±%v, the worst by its own probes alone ±%v (%.2f); a star: the worst ±%v, the worst of those with its hub ±%v (%.2f)",
		worst, direct, float64(worst)/float64(direct), star, spoke, float64(star)/float64(spoke))
	if 2*worst > 3*direct {
		t.Errorf("the worst pair is known to ±%v, by its own probes alone it would be ±%v", worst, direct)
	}
}

func probedPairs(r *synclinev1.ClockReport) (n int) {
	for _, p := range r.Pairs {
		if p.ProbesThere > 0 && p.ProbesBack > 0 {
			n++
		}
	}
	return n
}

// probeMessages are the probes of a run that both ends have seen, with hosts by their place
// among those that are named.
func (l *testLab) probeMessages(id string, hosts []string) []clock.Message {
	l.t.Helper()
	index, byAgent := map[string]int{}, map[string]int{}
	for i, h := range hosts {
		index[h], byAgent[l.bindings[h]] = i, i
	}
	type datagram struct {
		asker, answerer int
		exchange        uint64
		reply           bool
		path            synclinev1.ProbePath
	}
	left, arrived := map[datagram]*synclinev1.Event{}, map[datagram]*synclinev1.Event{}
	l.eachEvent(id, func(agent string, e *synclinev1.Event) {
		p := e.GetProbe()
		if p == nil {
			return
		}
		d := datagram{byAgent[agent], index[p.Peer], p.Exchange, p.Reply, p.Path}
		sights := arrived
		if p.Direction == synclinev1.Direction_DIRECTION_OUT {
			sights = left
		}
		if (p.Direction == synclinev1.Direction_DIRECTION_OUT) == p.Reply {
			d.asker, d.answerer = d.answerer, d.asker
		}
		sights[d] = e
	})
	var all []clock.Message
	for d, to := range arrived {
		from := left[d]
		if from == nil {
			continue
		}
		m := clock.Message{
			From: d.asker, To: d.answerer, Sent: clock.Local(from.TimeNs), Received: clock.Local(to.TimeNs),
			SentErr: from.GetProbe().ErrorNs, ReceivedErr: to.GetProbe().ErrorNs, Method: clock.Probes,
		}
		if d.reply {
			m.From, m.To = m.To, m.From
		}
		all = append(all, m)
	}
	return all
}
