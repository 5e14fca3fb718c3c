package cli

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"syncline/controller/clock"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// clockScenes are the reports that testdata/clock has pictures of, by the name of the
// file.
var clockScenes = map[string]func() *synclinev1.ClockReport{
	"two_hosts":  twoClocks,
	"test_clock": shiftedClocks,
	"disagree":   disagreeingClocks,
	"many_hosts": manyClocks,
	"probed_now": probedClocks,
	"not_known":  unknownClocks,
	"same_clock": sameClocks,
	"one_clock":  oneClock,
}

// clockHost is a host whose offset to the reference is at(t) ± err(t), t in seconds from
// the start, over a minute.
func clockHost(name, agent, method string, at, err func(t float64) float64) *synclinev1.ClockHost {
	h := &synclinev1.ClockHost{Host: name, Agent: agent, ClockId: "boot " + agent, Method: method}
	var widths []int64
	for i := range 60 {
		t := float64(i) * 60 / 59
		p := &synclinev1.ClockPoint{LocalNs: 81_234_567_890_123 + int64(t*1e9), All: clockBound(at(t), err(t))}
		if method == "probes and segments" {
			p.Probes, p.Segments = clockBound(at(t)+20, 1.2*err(t)), clockBound(at(t)-90, 3.1*err(t))
		}
		h.Points = append(h.Points, p)
		widths = append(widths, halfWidth(p.All))
	}
	slices.Sort(widths)
	h.ErrorMedianNs, h.ErrorMaxNs = proto.Int64(widths[len(widths)/2]), proto.Int64(widths[len(widths)-1])
	gained := (at(60) - at(0)) / 60
	h.RateLowPpb, h.RateHighPpb = proto.Int64(int64(gained)-25), proto.Int64(int64(gained)+25)
	return h
}

func clockBound(at, err float64) *synclinev1.ClockBound {
	return &synclinev1.ClockBound{
		LowNs: proto.Int64(int64(math.Floor(at - err))), HighNs: proto.Int64(int64(math.Ceil(at + err))), EstimateNs: proto.Int64(int64(math.Round(at + 0.1*err))),
	}
}

func referenceClock(name, agent string) *synclinev1.ClockHost {
	h := clockHost(name, agent, "reference", func(float64) float64 { return 0 }, func(float64) float64 { return 0 })
	h.RateLowPpb, h.RateHighPpb = proto.Int64(0), proto.Int64(0)
	return h
}

// breathing is an error that is least while repetitions run, and wider at both ends.
func breathing(t float64) float64 {
	return 600 + 40*math.Sin(t*1.7) + 3_000*max(0, 2-t) + 3_000*max(0, t-58)
}

// wandering is a clock that goes 2.1 ppm too fast, and wanders by 60 ppb twice a minute.
func wandering(t float64) float64 {
	return -3_214_502 + 2_100*t + 60*30/(2*math.Pi)*math.Sin(2*math.Pi*t/30)
}

func twoClocks() *synclinev1.ClockReport {
	return &synclinev1.ClockReport{
		Schema: "syncline.clock/1", RunId: "r-7f3c2a10", DriftPpb: 200_000, WanderPpb: 1_000,
		Hosts: []*synclinev1.ClockHost{referenceClock("A", "vm1"), clockHost("B", "vm2", "probes and segments", wandering, breathing)},
		Pairs: []*synclinev1.ClockPair{{A: 0, B: 1, ProbesThere: 602, ProbesBack: 602, SegmentsThere: 1504, SegmentsBack: 1502, RoundTripNs: 61_400}},
	}
}

// shiftedClocks is a host with a test clock that steps and is slewed on its way.
func shiftedClocks() *synclinev1.ClockReport {
	r := twoClocks()
	b := r.Hosts[1]
	for _, p := range b.Points {
		for _, bound := range []*synclinev1.ClockBound{p.All, p.Probes, p.Segments} {
			for _, v := range []*int64{bound.LowNs, bound.HighNs, bound.EstimateNs} {
				*v += 3_600_000_000_000
			}
		}
	}
	b.TestClock = "offset=1h,ppm=2.1,wander=0.06"
	start := b.Points[0].LocalNs
	for _, s := range []struct {
		at   float64
		step *synclinev1.ClockStep
	}{
		{20.5, &synclinev1.ClockStep{StepNs: 1_000_000, Change: synclinev1.ClockChange_CLOCK_CHANGE_STEP}},
		{31.25, &synclinev1.ClockStep{RatePpb: 12_000, RateBeforePpb: -500, Change: synclinev1.ClockChange_CLOCK_CHANGE_SLEW}},
		{40, &synclinev1.ClockStep{StepNs: 3_000_000_000, Change: synclinev1.ClockChange_CLOCK_CHANGE_SUSPEND}},
	} {
		b.Changes = append(b.Changes, &synclinev1.Event{TimeNs: start + int64(s.at*1e9), Fact: &synclinev1.Event_ClockStep{ClockStep: s.step}})
	}
	r.Warnings = []string{"host B has a test clock: its times are of no clock that exists"}
	return r
}

func disagreeingClocks() *synclinev1.ClockReport {
	r := twoClocks()
	for _, p := range r.Hosts[1].Points {
		*p.Segments.LowNs += 9_000
		*p.Segments.HighNs += 9_000
		*p.Segments.EstimateNs += 9_000
	}
	r.Pairs[0].Disagree = true
	r.Pairs[0].Disagreement = "at 81271.2 s of B probes say at most −3.13 ms and segments at least −3.125 ms"
	return r
}

func manyClocks() *synclinev1.ClockReport {
	r := &synclinev1.ClockReport{Schema: "syncline.clock/1", RunId: "r-7f3c2a10", Reference: 1, DriftPpb: 200_000}
	for i := range 6 {
		name, agent := string(rune('A'+i)), "lab-machine-"+strconv.Itoa(i+1)
		if i == 1 {
			r.Hosts = append(r.Hosts, referenceClock(name, agent))
			continue
		}
		r.Hosts = append(r.Hosts, clockHost(name, agent, "probes", func(t float64) float64 { return float64(i)*4e12 - wandering(t)*float64(i) }, func(t float64) float64 { return float64(i+1) * breathing(t) }))
		r.Pairs = append(r.Pairs, &synclinev1.ClockPair{A: 1, B: uint32(i), ProbesThere: 600, ProbesBack: 598, RoundTripNs: 61_400 * int64(i+1)})
	}
	return r
}

func probedClocks() *synclinev1.ClockReport {
	r := twoClocks()
	r.RunId, r.WanderPpb = "", 0
	r.Hosts = []*synclinev1.ClockHost{referenceClock("vm1", "vm1"), clockHost("vm2", "vm2", "probes", wandering, breathing)}
	for _, h := range r.Hosts {
		h.Points = h.Points[:3]
	}
	r.Pairs = []*synclinev1.ClockPair{{A: 0, B: 1, ProbesThere: 22, ProbesBack: 22, RoundTripNs: 61_400}}
	return r
}

// unknownClocks has a host of which only one side is bounded, one of which nothing is
// known, and one known from signals.
func unknownClocks() *synclinev1.ClockReport {
	r := twoClocks()
	half := clockHost("B", "vm2", "probes", wandering, breathing)
	lost := clockHost("C", "vm3", "unknown", wandering, breathing)
	half.RateLowPpb, lost.RateHighPpb = nil, nil
	for i := range half.Points {
		half.Points[i].All = &synclinev1.ClockBound{LowNs: half.Points[i].All.LowNs}
		lost.Points[i].All = nil
	}
	signals := clockHost("D", "vm4", "signals", wandering, func(t float64) float64 { return 1_500_000 + 200_000*t })
	r.Hosts = []*synclinev1.ClockHost{referenceClock("A", "vm1"), half, lost, signals}
	r.Pairs = []*synclinev1.ClockPair{{A: 0, B: 1, ProbesThere: 602}}
	r.Warnings = []string{"no probe from B came back to A: a firewall, or a route that goes one way only"}
	return r
}

func sameClocks() *synclinev1.ClockReport {
	r := twoClocks()
	zero := func(float64) float64 { return 0 }
	same := clockHost("B", "vm2", "same clock", zero, zero)
	for _, p := range same.Points {
		p.All = clockBound(0, 0)
	}
	r.Hosts[1] = same
	return r
}

// oneClock is what is measured between hosts that read one clock: nothing.
func oneClock() *synclinev1.ClockReport {
	return &synclinev1.ClockReport{Schema: "syncline.clock/1", Hosts: []*synclinev1.ClockHost{
		{Host: "vm1", Agent: "vm1", Method: "reference"}, {Host: "vm2", Agent: "vm2", Method: "same clock"},
	}}
}

// clockOptionsOf reads the name of a section: a width, then "ascii", "colour", what to
// plot, and hosts.
func clockOptionsOf(t *testing.T, name string) (o drawOptions, plot string, hosts []string) {
	t.Helper()
	plot = plotOffset
	for i, word := range strings.Fields(name) {
		switch {
		case i == 0:
			width, err := strconv.Atoi(word)
			if err != nil {
				t.Fatalf("section %q: %v", name, err)
			}
			o.Width = width
		case word == "ascii":
			o.ASCII = true
		case word == "colour":
			o.Colour = true
		case word == plotError || word == plotNothing:
			plot = word
		default:
			hosts = append(hosts, word)
		}
	}
	return o, plot, hosts
}

// TestClock draws every report in every way that its file has a section for. Run with
// -update to write them anew, then look at what changed.
func TestClock(t *testing.T) {
	for name, scene := range clockScenes {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", "clock", name+".txt")
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sentence, sections := splitSections(string(data))
			if strings.TrimSpace(sentence) == "" || len(sections) == 0 {
				t.Fatalf("%s: wants a sentence that says what it shows, and sections", file)
			}
			for i := range sections {
				s := &sections[i]
				got := drawnClock(t, scene(), s.name)
				if *update {
					s.body = got
				} else if diff := cmp.Diff(s.body, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", s.name, diff)
				}
			}
			if *update {
				writeSections(t, file, sentence, sections)
			}
		})
	}
}

func drawnClock(t *testing.T, r *synclinev1.ClockReport, section string) string {
	t.Helper()
	o, plot, hosts := clockOptionsOf(t, section)
	shown, err := hostsOf(r, hosts)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := drawClock(&b, r, shown, plot, o); err != nil {
		t.Fatal(err)
	}
	checkWidth(t, b.String(), o)
	return b.String()
}

// TestClockExit: what a report leaves open is told by the exit code.
func TestClockExit(t *testing.T) {
	for _, test := range []struct {
		name  string
		hosts []string
		open  bool
	}{
		{"two_hosts", nil, false},
		{"test_clock", nil, false},
		{"same_clock", nil, false},
		{"disagree", nil, true},
		{"not_known", nil, true},
		{"not_known", []string{"D"}, false},
		{"not_known", []string{"vm2"}, true},
	} {
		r := clockScenes[test.name]()
		shown, err := hostsOf(r, test.hosts)
		if err != nil {
			t.Fatal(err)
		}
		if got := openQuestions(r, shown); got != test.open {
			t.Errorf("%s %v: open is %v", test.name, test.hosts, got)
		}
	}
	if _, err := hostsOf(twoClocks(), []string{"B", "X"}); err == nil || !strings.Contains(err.Error(), "A, B") {
		t.Errorf("an unknown host: %v", err)
	}
}

// TestAnyReportCanBeDrawn: a report comes from another machine, and whatever its numbers
// are the picture fits.
func TestAnyReportCanBeDrawn(t *testing.T) {
	side := rapid.Custom(func(t *rapid.T) *int64 {
		if rapid.IntRange(0, 5).Draw(t, "unset") == 0 {
			return nil
		}
		return proto.Int64(rapid.OneOf(rapid.Int64Range(-5_000, 5_000), rapid.Int64()).Draw(t, "side"))
	})
	bound := rapid.Custom(func(t *rapid.T) *synclinev1.ClockBound {
		if rapid.IntRange(0, 9).Draw(t, "none") == 0 {
			return nil
		}
		return &synclinev1.ClockBound{LowNs: side.Draw(t, "low"), HighNs: side.Draw(t, "high"), EstimateNs: side.Draw(t, "estimate")}
	})
	rapid.Check(t, func(rt *rapid.T) {
		r := &synclinev1.ClockReport{RunId: rapid.SampledFrom([]string{"", "r-1"}).Draw(rt, "run"), DriftPpb: rapid.Uint64().Draw(rt, "drift"), WanderPpb: rapid.Uint64().Draw(rt, "wander")}
		var shown []int
		for i := range rapid.IntRange(1, 6).Draw(rt, "hosts") {
			h := &synclinev1.ClockHost{
				Host: rapid.String().Draw(rt, "host"), Agent: rapid.String().Draw(rt, "agent"), TestClock: rapid.String().Draw(rt, "test clock"),
				Method:     rapid.SampledFrom([]string{"reference", "probes and segments", "probes", "segments", "signals", "same clock", "unknown", "x"}).Draw(rt, "method"),
				RateLowPpb: side.Draw(rt, "rate low"), RateHighPpb: side.Draw(rt, "rate high"),
			}
			for range rapid.IntRange(0, 6).Draw(rt, "points") {
				h.Points = append(h.Points, &synclinev1.ClockPoint{
					LocalNs: rapid.OneOf(rapid.Int64Range(0, 1000), rapid.Int64()).Draw(rt, "local"),
					All:     bound.Draw(rt, "all"), Probes: bound.Draw(rt, "probes"), Segments: bound.Draw(rt, "segments"),
				})
			}
			for range rapid.IntRange(0, 3).Draw(rt, "changes") {
				h.Changes = append(h.Changes, &synclinev1.Event{TimeNs: rapid.OneOf(rapid.Int64Range(0, 1000), rapid.Int64()).Draw(rt, "changed"), Fact: &synclinev1.Event_ClockStep{
					ClockStep: &synclinev1.ClockStep{StepNs: rapid.Int64().Draw(rt, "step"), Change: synclinev1.ClockChange(rapid.IntRange(0, 6).Draw(rt, "change"))}}})
			}
			r.Hosts = append(r.Hosts, h)
			shown = append(shown, i)
		}
		for range rapid.IntRange(0, 3).Draw(rt, "pairs") {
			r.Pairs = append(r.Pairs, &synclinev1.ClockPair{
				A: rapid.Uint32Range(0, 7).Draw(rt, "a"), B: rapid.Uint32Range(0, 7).Draw(rt, "b"), ProbesThere: rapid.Uint32().Draw(rt, "there"),
				RoundTripNs: rapid.Int64().Draw(rt, "trip"), Disagree: rapid.Bool().Draw(rt, "disagree"),
			})
		}
		o := drawOptions{Width: rapid.IntRange(minWidth, 120).Draw(rt, "width"), ASCII: rapid.Bool().Draw(rt, "ascii")}
		var b bytes.Buffer
		if err := drawClock(&b, r, shown, rapid.SampledFrom([]string{plotOffset, plotError}).Draw(rt, "plot"), o); err != nil {
			rt.Fatal(err)
		}
		if wrong := misfits(b.String(), o); len(wrong) > 0 {
			rt.Fatalf("%q in\n%s", wrong, b.String())
		}
	})
}

// TestOffsetDigits: what is shown of an offset and its error holds what is known.
func TestOffsetDigits(t *testing.T) {
	for _, test := range []struct {
		ns, err int64
		want    string
	}{
		{0, 620, "0 ns"},
		{-22, 2_100, "−22 ns"},
		{1_450, 2_100, "+1.5 µs"},
		{-3_214_502, 620, "−3.21450 ms"},
		{-3_214_502, 38_000, "−3.215 ms"},
		{999_999, 38_000, "+1000 µs"},
		{3_600_000_000_123, 620, "+3600.00000012 s"},
		{3_600_000_000_123, 0, "+3600.000000123 s"},
		{math.MaxInt64, 5, "+9223372036.854775807 s"},
		{math.MinInt64, 5e9, "−9223372036.8 s"},
	} {
		if got := offsetDigits(test.ns, test.err); got != test.want {
			t.Errorf("%d ± %d is %q, want %q", test.ns, test.err, got, test.want)
		}
	}
}

// TestOffsetsHoldTheTruth: rounding an offset leaves nothing of what is known outside of it
// and its ±.
func TestOffsetsHoldTheTruth(t *testing.T) {
	units := map[string]float64{"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9}
	read := func(t *rapid.T, text string) float64 {
		number, unit, _ := strings.Cut(strings.Replace(text, "−", "-", 1), " ")
		shown, err := strconv.ParseFloat(number, 64)
		if err != nil || units[unit] == 0 {
			t.Fatalf("%q is no time", text)
		}
		return shown * units[unit]
	}
	rapid.Check(t, func(t *rapid.T) {
		low := rapid.OneOf(rapid.Int64Range(-20_000, 20_000), rapid.Int64Range(-5e9, 5e9)).Draw(t, "low")
		high := low + rapid.OneOf(rapid.Int64Range(0, 20_000), rapid.Int64Range(0, 5e9)).Draw(t, "width")
		lane := timeline.LadderLane{Name: "B", Clock: timeline.HostClock{Bound: clock.Bound{Lo: low, Hi: high}}}
		_, head, _ := strings.Cut(clockText(&lane), " ")
		offset, within, _ := strings.Cut(head, " ±")
		for _, cells := range [][]string{offsetCells(&synclinev1.ClockBound{LowNs: &low, HighNs: &high}), {offset, within}} {
			mid, err := read(t, cells[0]), read(t, cells[1])
			if slack := 1e-6 * (1 + err); mid-err > float64(low)+slack || mid+err < float64(high)-slack {
				t.Fatalf("%d to %d is shown as %s ±%s", low, high, cells[0], cells[1])
			}
		}
	})
	low, high := int64(1950), int64(4148)
	if got := offsetCells(&synclinev1.ClockBound{LowNs: &low, HighNs: &high}); got[0] != "+3.0 µs" || got[1] != "1.2 µs" {
		t.Errorf("%d to %d is shown as %q", low, high, got)
	}
}

func TestRateText(t *testing.T) {
	for _, test := range []struct {
		low, high int64
		want      string
	}{
		{2_075, 2_125, "+2.100 ppm ±0.025"},
		{-25, 25, "0.000 ppm ±0.025"},
		{-100_400, -99_600, "−100.00 ppm ±0.40"},
		{1_000, 1_000, "+1.000 ppm ±0.000"},
		{-200_000, 200_000, "0 ppm ±200"},
		{math.MinInt64, math.MaxInt64, "between −9223372036854776 ppm and +9223372036854776 ppm"},
		{5, -5, "between +0.005 ppm and −0.005 ppm"},
	} {
		if got := rateText(test.low, test.high); got != test.want {
			t.Errorf("%d to %d is %q, want %q", test.low, test.high, got, test.want)
		}
	}
}

// TestErrorsAreNeverRoundedDown: a bound that is shown smaller than it is would be a lie.
func TestErrorsAreNeverRoundedDown(t *testing.T) {
	units := map[string]float64{"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9}
	rapid.Check(t, func(t *rapid.T) {
		ns := rapid.OneOf(rapid.Int64Range(0, 20_000), rapid.Int64Range(0, 2_000_000_000), rapid.Int64Range(0, math.MaxInt64/1024)).Draw(t, "ns")
		number, unit, _ := strings.Cut(spanUp(ns), " ")
		shown, err := strconv.ParseFloat(number, 64)
		if err != nil || units[unit] == 0 {
			t.Fatalf("%d ns is %q", ns, spanUp(ns))
		}
		if shown *= units[unit]; shown < float64(ns)*(1-1e-12) || shown > float64(ns)*1.12+1 {
			t.Fatalf("%d ns is shown as %q", ns, spanUp(ns))
		}
	})
}
