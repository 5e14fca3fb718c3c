package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	synclinev1 "syncline/proto/syncline/v1"
)

// rawEvents are what two hosts recorded: a steered clock that was set, and one that has
// only sights of probes.
func rawEvents() (*synclinev1.Run, []*synclinev1.ListEventsResponse) {
	run := &synclinev1.Run{Id: "r-1", Hosts: []*synclinev1.RunHost{
		{Name: "A", Agent: "vm1"}, {Name: "B", Agent: "vm2", TestClock: "offset=1s,ppm=100"},
	}}
	const in, out = synclinev1.Direction_DIRECTION_IN, synclinev1.Direction_DIRECTION_OUT
	probe := func(at int64, p *synclinev1.Probe) *synclinev1.Event {
		return &synclinev1.Event{TimeNs: at, Fact: &synclinev1.Event_Probe{Probe: p}}
	}
	sample := func(at, ahead, raw int64) *synclinev1.Event {
		return &synclinev1.Event{TimeNs: at, Fact: &synclinev1.Event_ClockSample{ClockSample: &synclinev1.ClockSample{
			RealtimeNs: at + ahead, ErrorNs: 37, RawNs: raw, RawErrorNs: 40}}}
	}
	a := []*synclinev1.Event{
		sample(81_000_000_000_000, 1_760_000_000_000_000_000, 80_999_000_000_000),
		{TimeNs: 81_000_500_000_000, Repetition: 1, Fact: &synclinev1.Event_Mark{Mark: &synclinev1.Mark{}}},
		{TimeNs: 81_005_000_000_000, Fact: &synclinev1.Event_ClockStep{ClockStep: &synclinev1.ClockStep{StepNs: 1_000_000_000, SinceNs: 81_004_000_000_000}}},
		sample(81_010_000_000_000, 1_760_000_001_000_000_000, 81_008_999_900_000),
		probe(81_001_000_000_000, &synclinev1.Probe{Peer: "B", Direction: out, Exchange: 1}),
		probe(81_001_000_060_000, &synclinev1.Probe{Peer: "B", Direction: in, Exchange: 1, Reply: true}),
		probe(81_002_000_000_000, &synclinev1.Probe{Peer: "B", Direction: out, Exchange: 2}),
	}
	b := []*synclinev1.Event{
		probe(5_000_000_000, &synclinev1.Probe{Peer: "A", Direction: in, Exchange: 1}),
		probe(5_000_020_000, &synclinev1.Probe{Peer: "A", Direction: out, Exchange: 1, Reply: true}),
	}
	return run, []*synclinev1.ListEventsResponse{
		{Agent: "vm2", Incarnation: 9, Events: b}, {Agent: "vm1", Incarnation: 8, Events: a[:3]}, {Agent: "vm1", Incarnation: 8, Events: a[3:]},
	}
}

func rawClocks(t *testing.T, names ...string) ([]*rawClock, error) {
	t.Helper()
	run, messages := rawEvents()
	var clocks []*rawClock
	for _, m := range messages {
		clocks = addRaw(clocks, run, m)
	}
	return rawClocksOf(clocks, run, names)
}

// TestRawClocks: raw, nothing is said of one host in the time of another.
func TestRawClocks(t *testing.T) {
	clocks, err := rawClocks(t)
	if err != nil {
		t.Fatal(err)
	}
	s := newSheet(&bytes.Buffer{})
	s.o.Width = 80
	describeRawClocks(s, "r-1", clocks)
	want := `clocks of run r-1 as each host's own, raw: times of two hosts are not to be
  compared

A (vm1)       CLOCK_MONOTONIC from 81000.000000000 to 81010.000000000 s, which
              is 10 s
              CLOCK_REALTIME − CLOCK_MONOTONIC: 1760000000.000000000 s ±37 ns at
              first, +1.000000000 s until the last of 2 readings
              CLOCK_MONOTONIC gained 100 µs on CLOCK_MONOTONIC_RAW, which is +10
              ppm, by 2 readings
              probes with B: 2 requests out, 1 reply in
              at 81005.000000000 s CLOCK_REALTIME moved by 1s

B (vm2)       CLOCK_MONOTONIC from 5.000000000 to 5.000020000 s, which is 20 µs
              test clock: offset=1s,ppm=100
              its other clocks were not read
              probes with A: 1 request in, 1 reply out
`
	if diff := cmp.Diff(want, s.b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if clocks, err = rawClocks(t, "vm2"); err != nil || len(clocks) != 1 || clocks[0].name() != "B (vm2)" {
		t.Errorf("of vm2: %d clocks, %v", len(clocks), err)
	}
	if _, err := rawClocks(t, "C"); err == nil || !strings.Contains(err.Error(), "A, B") {
		t.Errorf("of a host that is not there: %v", err)
	}
}

// TestRawClocksAsData: every reading is there, in the host's own time.
func TestRawClocksAsData(t *testing.T) {
	clocks, err := rawClocks(t)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	a := &app{Streams: Streams{Out: &out}}
	if err := a.writeRawClocks("r-1", clocks); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Schema string
		Hosts  []struct {
			Host                     string
			Samples, Changes, Probes []struct {
				Time string `json:"time_ns"`
			}
		}
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Schema != rawClockSchema || len(got.Hosts) != 2 || got.Hosts[0].Host != "A" {
		t.Fatalf("%s", out.Bytes())
	}
	h := got.Hosts[0]
	if len(h.Samples) != 2 || len(h.Changes) != 1 || len(h.Probes) != 3 || h.Samples[1].Time != "81010000000000" {
		t.Errorf("host A: %+v", h)
	}
}

// TestRawTimelineHasNoModel: asked for raw, a timeline as data keeps local times and loses
// all that rests on one clock.
func TestRawTimelineHasNoModel(t *testing.T) {
	ns, zero := int64(40), uint32(0)
	segment := &synclinev1.Segment{Departure: &zero, OneWayNs: &ns, OneWayErrorNs: &ns}
	tl := &synclinev1.Timeline{
		Schema: "syncline.timeline/1", ZeroNs: 7,
		Hosts:       []*synclinev1.TimelineHost{{Host: &synclinev1.RunHost{Name: "A"}, OffsetLowNs: &ns, OffsetHighNs: &ns, Method: "probes", Messages: 3}},
		Events:      []*synclinev1.TimelineEvent{{Event: &synclinev1.Event{TimeNs: 5}}},
		Moments:     []*synclinev1.Moment{{LocalNs: 5, LabNs: 9, ErrorNs: &ns}},
		Connections: []*synclinev1.Connection{{Segments: []*synclinev1.Segment{segment}}},
		Others:      []*synclinev1.Transmission{{Segment: &synclinev1.Segment{OneWayNs: &ns}}, {}},
	}
	withoutModel(tl)
	var out bytes.Buffer
	if err := writeJSON(&out, tl, true); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); strings.Contains(text, "lab_ns") || strings.Contains(text, "offset_") || strings.Contains(text, "error_ns") || strings.Contains(text, "one_way") ||
		!strings.Contains(text, `"local_ns": "5"`) || !strings.Contains(text, "departure") {
		t.Errorf("%s", text)
	}
	out.Reset()
	if err := writeMoments(&out, tl, true); err != nil {
		t.Fatal(err)
	}
	if line := out.String(); !strings.Contains(line, `"local_ns":5`) || strings.Contains(line, "lab_ns") {
		t.Errorf("%s", line)
	}
	out.Reset()
	if err := writeMoments(&out, tl, false); err != nil {
		t.Fatal(err)
	}
	if line := out.String(); !strings.Contains(line, `"lab_ns":0`) {
		t.Errorf("%s", line)
	}
}
