package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// rawClockSchema names the form of what `syncline clock show --raw -o json` prints.
const rawClockSchema = "syncline.clock-raw/1"

// rawClock is what the clocks of one host said, in its own time: readings, changes and
// sights of probes, as its agent recorded them.
type rawClock struct {
	host        *synclinev1.RunHost
	agent       string
	incarnation uint64
	// first and last are CLOCK_MONOTONIC of the earliest and the latest event of any kind.
	first, last int64
	samples     []*synclinev1.Event
	changes     []*synclinev1.Event
	probes      []*synclinev1.Event
}

// showRawClocks reads a run's events for what they say of clocks.
func (a *app) showRawClocks(ctx context.Context, cl *client, id string, names []string, opts clockOptions) error {
	answer, err := cl.runs.GetRun(ctx, &synclinev1.GetRunRequest{Id: id})
	if err != nil {
		return answered(err)
	}
	stream, err := cl.runs.ListEvents(ctx, &synclinev1.ListEventsRequest{RunId: id})
	if err != nil {
		return answered(err)
	}
	var clocks []*rawClock
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return answered(err)
		}
		clocks = addRaw(clocks, answer.Run, m)
	}
	if clocks, err = rawClocksOf(clocks, answer.Run, names); err != nil {
		return err
	}
	if opts.output == "json" {
		return a.writeRawClocks(id, clocks)
	}
	s := newSheet(a.Out)
	s.o = a.drawing(a.Out, ladderOptions{ascii: opts.ascii, width: opts.width})
	s.o.Colour = false
	describeRawClocks(s, id, clocks)
	return s.to(a.Out)
}

// addRaw keeps what the events of one stream say of clocks.
func addRaw(clocks []*rawClock, run *synclinev1.Run, m *synclinev1.ListEventsResponse) []*rawClock {
	i := slices.IndexFunc(clocks, func(c *rawClock) bool { return c.agent == m.Agent && c.incarnation == m.Incarnation })
	if i < 0 {
		c := &rawClock{agent: m.Agent, incarnation: m.Incarnation, first: math.MaxInt64, last: math.MinInt64}
		for _, h := range run.GetHosts() {
			if h.Agent == m.Agent {
				c.host = h
			}
		}
		i, clocks = len(clocks), append(clocks, c)
	}
	c := clocks[i]
	for _, e := range m.Events {
		c.first, c.last = min(c.first, e.TimeNs), max(c.last, e.TimeNs)
		switch e.Fact.(type) {
		case *synclinev1.Event_ClockSample:
			c.samples = append(c.samples, e)
		case *synclinev1.Event_ClockStep:
			c.changes = append(c.changes, e)
		case *synclinev1.Event_Probe:
			c.probes = append(c.probes, e)
		}
	}
	return clocks
}

// rawClocksOf are those of the hosts that were named, all if none was, in the order of
// the run's hosts.
func rawClocksOf(clocks []*rawClock, run *synclinev1.Run, names []string) ([]*rawClock, error) {
	var all []string
	place := map[string]int{}
	for i, h := range run.GetHosts() {
		all = append(all, h.Name)
		place[h.Agent] = i
	}
	for _, name := range names {
		if !slices.ContainsFunc(run.GetHosts(), func(h *synclinev1.RunHost) bool { return h.Name == name || h.Agent == name }) {
			return nil, usage("no host %q; there are: %s", name, strings.Join(all, ", "))
		}
	}
	clocks = slices.DeleteFunc(clocks, func(c *rawClock) bool {
		return len(names) > 0 && !slices.Contains(names, c.agent) && !slices.Contains(names, c.host.GetName())
	})
	slices.SortStableFunc(clocks, func(a, b *rawClock) int { return place[a.agent] - place[b.agent] })
	return clocks, nil
}

func (c *rawClock) name() string {
	if c.host == nil || c.host.Name == c.agent {
		return c.agent
	}
	return c.host.Name + " (" + c.agent + ")"
}

// describeRawClocks writes, for each host, what its clocks said.
func describeRawClocks(s *sheet, run string, clocks []*rawClock) {
	s.line("clocks of run %s as each host's own, raw: times of two hosts are not to be compared", run)
	if len(clocks) == 0 {
		s.line("no events are stored of these hosts")
	}
	const at = 14
	for _, c := range clocks {
		s.blank()
		s.item(c.name(), at, fmt.Sprintf("CLOCK_MONOTONIC from %s to %s s, which is %s", seconds(c.first), seconds(c.last), timeline.Span(c.last-c.first)))
		if t := c.host.GetTestClock(); t != "" {
			s.item("", at, "test clock: "+t)
		}
		describeSamples(s, at, c.samples)
		describeSights(s, at, c.probes)
		for _, e := range c.changes {
			s.item("", at, fmt.Sprintf("at %s s %s", seconds(e.TimeNs), changeWords(e.GetClockStep())))
		}
	}
}

// seconds is a time in seconds, to the nanosecond.
func seconds(ns int64) string {
	sign, size := "", uint64(ns)
	if ns < 0 {
		sign, size = "−", -uint64(ns)
	}
	return fmt.Sprintf("%s%d.%09d", sign, size/1e9, size%1e9)
}

// describeSamples writes how far the other clocks of a host were from CLOCK_MONOTONIC,
// at the first reading and at the last.
func describeSamples(s *sheet, at int, samples []*synclinev1.Event) {
	if len(samples) == 0 {
		s.item("", at, "its other clocks were not read")
		return
	}
	first, last := samples[0], samples[len(samples)-1]
	ahead := func(e *synclinev1.Event) int64 { return e.GetClockSample().RealtimeNs - e.TimeNs }
	s.item("", at, fmt.Sprintf("CLOCK_REALTIME − CLOCK_MONOTONIC: %s s ±%s at first, %s of %s", seconds(ahead(first)), spanUp(max(first.GetClockSample().ErrorNs, 0)),
		moved(ahead(last)-ahead(first)), readings(len(samples))))
	var raw []*synclinev1.Event
	for _, e := range samples {
		if e.GetClockSample().RawNs != 0 {
			raw = append(raw, e)
		}
	}
	if len(raw) < 2 || raw[len(raw)-1].TimeNs <= raw[0].TimeNs {
		return
	}
	first, last = raw[0], raw[len(raw)-1]
	beside := func(e *synclinev1.Event) int64 { return e.TimeNs - e.GetClockSample().RawNs }
	span := last.TimeNs - first.TimeNs
	gained := beside(last) - beside(first)
	s.item("", at, fmt.Sprintf("CLOCK_MONOTONIC gained %s on CLOCK_MONOTONIC_RAW, which is %s, by %s", timeline.Span(gained),
		ppm(int64(math.Round(float64(gained)/float64(span)*1e9))), readings(len(raw))))
}

func moved(ns int64) string {
	if ns == 0 {
		return "and the same at last,"
	}
	return offsetDigits(ns, 0) + " until the last"
}

func readings(n int) string { return numbered(n, "reading", "readings") }

// describeSights counts what was seen of probes, by peer.
func describeSights(s *sheet, at int, probes []*synclinev1.Event) {
	counts := map[string]*[4]int{}
	var peers []string
	for _, e := range probes {
		p := e.GetProbe()
		if counts[p.Peer] == nil {
			counts[p.Peer] = new([4]int)
			peers = append(peers, p.Peer)
		}
		i := 0
		if p.Direction == synclinev1.Direction_DIRECTION_IN {
			i = 1
		}
		if p.Reply {
			i += 2
		}
		counts[p.Peer][i]++
	}
	for _, peer := range peers {
		n := counts[peer]
		s.item("", at, "probes with "+peer+": "+strings.Join(nonEmpty(
			sightsOf(n[0], "request out", "requests out"), sightsOf(n[3], "reply in", "replies in"),
			sightsOf(n[1], "request in", "requests in"), sightsOf(n[2], "reply out", "replies out")), ", "))
	}
}

// sightsOf is a number of datagrams, nothing if there were none.
func sightsOf(n int, singular, plural string) string {
	if n == 0 {
		return ""
	}
	return numbered(n, singular, plural)
}

// writeRawClocks writes the events of clocks as one JSON value.
func (a *app) writeRawClocks(run string, clocks []*rawClock) error {
	type host struct {
		Host        string            `json:"host"`
		Agent       string            `json:"agent"`
		Incarnation uint64            `json:"incarnation"`
		TestClock   string            `json:"test_clock,omitempty"`
		First       int64             `json:"first_ns"`
		Last        int64             `json:"last_ns"`
		Samples     []json.RawMessage `json:"samples"`
		Changes     []json.RawMessage `json:"changes"`
		Probes      []json.RawMessage `json:"probes"`
	}
	report := struct {
		Schema string `json:"schema"`
		Run    string `json:"run_id"`
		Hosts  []host `json:"hosts"`
	}{Schema: rawClockSchema, Run: run, Hosts: []host{}}
	for _, c := range clocks {
		h := host{Host: c.host.GetName(), Agent: c.agent, Incarnation: c.incarnation, TestClock: c.host.GetTestClock(), First: c.first, Last: c.last}
		for _, list := range []struct {
			to   *[]json.RawMessage
			from []*synclinev1.Event
		}{{&h.Samples, c.samples}, {&h.Changes, c.changes}, {&h.Probes, c.probes}} {
			*list.to = []json.RawMessage{}
			for _, e := range list.from {
				raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(e)
				if err != nil {
					return err
				}
				*list.to = append(*list.to, raw)
			}
		}
		report.Hosts = append(report.Hosts, h)
	}
	e := json.NewEncoder(a.Out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(report)
}
