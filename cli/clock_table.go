package cli

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// drawClock writes a report on clocks: what it is about, a table of the hosts, what the
// pairs told each other, a plot of each host, and what a person must know before
// believing it. The same report and options give the same bytes.
func drawClock(w io.Writer, r *synclinev1.ClockReport, shown []int, plot string, o drawOptions) error {
	lines := clockHead(r, o)
	lines = append(lines, "")
	lines = append(lines, clockTable(r, shown, o)...)
	lines = append(lines, pairTable(r, shown, o)...)
	lines = append(lines, clockPlots(r, shown, plot, o)...)
	if warnings := clockWarnings(r, shown, o); len(warnings) > 0 {
		lines = append(append(lines, ""), warnings...)
	}
	if _, err := io.WriteString(w, strings.Join(lines, "\n")+"\n"); err != nil {
		return fmt.Errorf("write the clocks: %w", err)
	}
	return nil
}

// clockHead says whose clocks these are, on which clock they are told, and under which
// assumption.
func clockHead(r *synclinev1.ClockReport, o drawOptions) []string {
	what := "clocks of run " + r.RunId
	if r.RunId == "" {
		what = "clocks just now"
	}
	reference := r.Hosts[r.Reference]
	points := ""
	if n := len(reference.Points); n > 0 {
		points = fmt.Sprintf(", at %s over %s", numbered(n, "moment", "moments"), timeline.Span(clockSpan(reference)))
	}
	lines := o.sentence("", fmt.Sprintf("%s: %s%s", what, numbered(len(r.Hosts), "host", "hosts"), points))
	text := fmt.Sprintf("lab time is the clock of %s: offsets are against it", clockName(reference))
	switch {
	case points == "":
	case r.RunId == "":
		text += ", at the end"
	default:
		text += ", half way through"
	}
	if r.DriftPpb > 0 {
		text += fmt.Sprintf(". Assumed: no clock gains more than %s on another", ppmUnsigned(r.DriftPpb))
		if r.WanderPpb > 0 {
			text += fmt.Sprintf(", and no rate changes by more than %s in a second", ppmUnsigned(r.WanderPpb))
		}
	}
	return append(lines, o.sentence("", text)...)
}

func ppmUnsigned(ppb uint64) string {
	return strconv.FormatFloat(float64(ppb)/1000, 'f', -1, 64) + " ppm"
}

// clockName is a host, and its agent if that is called otherwise.
func clockName(h *synclinev1.ClockHost) string {
	if h.Agent == "" || h.Agent == h.Host {
		return h.Host
	}
	return h.Host + " (" + h.Agent + ")"
}

// clockSpan is the time from a host's first point to its last.
func clockSpan(h *synclinev1.ClockHost) int64 {
	if len(h.Points) == 0 {
		return 0
	}
	return h.Points[len(h.Points)-1].LocalNs - h.Points[0].LocalNs
}

// bounded reports whether an interval has both its sides.
func bounded(b *synclinev1.ClockBound) bool { return b != nil && b.LowNs != nil && b.HighNs != nil }

// halfWidth is half the width of a bounded interval, rounded up.
func halfWidth(b *synclinev1.ClockBound) int64 {
	width := uint64(*b.HighNs) - uint64(*b.LowNs)
	if *b.HighNs < *b.LowNs {
		return 0
	}
	return int64(width/2 + width%2)
}

// middleOf is the best guess in a bounded interval, and how far from it the truth may be.
func middleOf(b *synclinev1.ClockBound) (mid, err int64) {
	if b.EstimateNs == nil {
		return *b.LowNs + halfWidth(b), halfWidth(b)
	}
	return *b.EstimateNs, max(*b.HighNs-*b.EstimateNs, *b.EstimateNs-*b.LowNs)
}

// method is one of the ways in which an offset is known.
type method struct {
	name string
	of   func(*synclinev1.ClockPoint) *synclinev1.ClockBound
	// messages says how many two hosts told each other.
	messages func(*synclinev1.ClockPair) uint32
}

func probeMessages(p *synclinev1.ClockPair) uint32   { return p.ProbesThere + p.ProbesBack }
func segmentMessages(p *synclinev1.ClockPair) uint32 { return p.SegmentsThere + p.SegmentsBack }

// methodsOf are the rows of a host: what is known by all, then by each method alone if
// there are two.
func methodsOf(h *synclinev1.ClockHost) []method {
	all := method{h.Method, (*synclinev1.ClockPoint).GetAll, nil}
	switch h.Method {
	case "probes and segments":
		all.name = "both"
		all.messages = func(p *synclinev1.ClockPair) uint32 { return probeMessages(p) + segmentMessages(p) }
		return []method{
			all,
			{"probes", (*synclinev1.ClockPoint).GetProbes, probeMessages},
			{"segments", (*synclinev1.ClockPoint).GetSegments, segmentMessages},
		}
	case "probes":
		all.messages = probeMessages
	case "segments":
		all.messages = segmentMessages
	}
	return []method{all}
}

// clockTable has a row for each host and method.
func clockTable(r *synclinev1.ClockReport, shown []int, o drawOptions) []string {
	t := table{o: o, left: 2}
	t.row("host", "by", "offset", "±", "median ±", "max ±", "messages")
	for _, i := range shown {
		h := r.Hosts[i]
		name := clockName(h)
		if i == int(r.Reference) {
			t.row(name, "reference")
		} else {
			for _, m := range methodsOf(h) {
				t.row(append([]string{name, m.name}, methodCells(r, i, m)...)...)
				name = ""
			}
			if h.RateLowPpb != nil && h.RateHighPpb != nil && h.Method != "same clock" {
				t.note(1, "rate "+rateText(*h.RateLowPpb, *h.RateHighPpb))
			}
		}
		if h.TestClock != "" {
			t.note(1, "test clock: "+h.TestClock)
		}
	}
	return t.lines()
}

// methodCells are offset, ±, the median and the largest half-width, and messages.
func methodCells(r *synclinev1.ClockReport, host int, m method) []string {
	h := r.Hosts[host]
	if h.Method == "same clock" {
		return []string{"0 ns", "0 ns"}
	}
	var widths []int64
	for _, p := range h.Points {
		if b := m.of(p); bounded(b) {
			widths = append(widths, halfWidth(b))
		}
	}
	cells := offsetCells(telling(r, h, m))
	if len(widths) == 0 {
		cells = append(cells, "", "")
	} else {
		slices.Sort(widths)
		cells = append(cells, spanUp(widths[len(widths)/2]), spanUp(widths[len(widths)-1]))
	}
	if m.messages == nil {
		return cells
	}
	var n uint64
	for _, p := range r.Pairs {
		if int(p.A) == host || int(p.B) == host {
			n += uint64(m.messages(p))
		}
	}
	return append(cells, strconv.FormatUint(n, 10))
}

// telling is what is known at the moment that the table is about: half way through a
// run, the end of a measurement.
func telling(r *synclinev1.ClockReport, h *synclinev1.ClockHost, m method) *synclinev1.ClockBound {
	switch {
	case len(h.Points) == 0:
		return nil
	case r.RunId == "":
		return m.of(h.Points[len(h.Points)-1])
	}
	return m.of(h.Points[len(h.Points)/2])
}

// offsetCells are an offset and its ±, or what is known of it.
func offsetCells(b *synclinev1.ClockBound) []string {
	switch {
	case bounded(b):
		mid, err := middleOf(b)
		offset, within := offsetWithin(mid, err)
		return []string{offset, within}
	case b != nil && b.LowNs != nil:
		return []string{"at least " + offsetDigits(*b.LowNs, 0), ""}
	case b != nil && b.HighNs != nil:
		return []string{"at most " + offsetDigits(*b.HighNs, 0), ""}
	}
	return []string{"not known", ""}
}

// pairTable is what hosts told each other directly.
func pairTable(r *synclinev1.ClockReport, shown []int, o drawOptions) []string {
	t := table{o: o, left: 1}
	t.row("pair", "probes there, back", "segments there, back", "shortest round trip")
	for _, p := range r.Pairs {
		if !pairShown(r, p, shown) {
			continue
		}
		trip := "-"
		if p.RoundTripNs > 0 {
			trip = timeline.Span(p.RoundTripNs)
		}
		t.row(r.Hosts[p.A].Host+" ↔ "+r.Hosts[p.B].Host, thereAndBack(p.ProbesThere, p.ProbesBack), thereAndBack(p.SegmentsThere, p.SegmentsBack), trip)
	}
	if len(t.rows) == 1 {
		return nil
	}
	return append([]string{""}, t.lines()...)
}

// pairShown reports whether a pair is of hosts that there are, and one of them is shown.
func pairShown(r *synclinev1.ClockReport, p *synclinev1.ClockPair, shown []int) bool {
	return int(p.A) < len(r.Hosts) && int(p.B) < len(r.Hosts) && (slices.Contains(shown, int(p.A)) || slices.Contains(shown, int(p.B)))
}

func thereAndBack(there, back uint32) string {
	if there == 0 && back == 0 {
		return "-"
	}
	return fmt.Sprintf("%d, %d", there, back)
}

// mostChanges is how many changes of a clock are told one by one.
const mostChanges = 8

// clockWarnings are what a person must know before believing a report.
func clockWarnings(r *synclinev1.ClockReport, shown []int, o drawOptions) []string {
	var lines []string
	warn := func(text string) {
		for _, line := range o.sentence("! ", text) {
			lines = append(lines, o.paint(line, red))
		}
	}
	for _, p := range r.Pairs {
		if !p.Disagree || !pairShown(r, p, shown) {
			continue
		}
		text := fmt.Sprintf("%s and %s: probes and segments leave no offset that both allow", r.Hosts[p.A].Host, r.Hosts[p.B].Host)
		if p.Disagreement != "" {
			text += ": " + p.Disagreement
		}
		warn(text)
	}
	for _, i := range shown {
		for _, text := range changeTexts(r.Hosts[i]) {
			warn(text)
		}
	}
	for _, text := range r.Warnings {
		warn(text)
	}
	return lines
}

// changeTexts are what happened to the clocks of a host, in the time of the report.
func changeTexts(h *synclinev1.ClockHost) []string {
	var texts []string
	for i, e := range h.Changes {
		if i == mostChanges {
			return append(texts, fmt.Sprintf("%s: %d more changes of its clocks; syncline clock show RUN -o json has all", h.Host, len(h.Changes)-i))
		}
		s := e.GetClockStep()
		if s == nil {
			continue
		}
		at := "at " + strconv.FormatInt(e.TimeNs, 10)
		if len(h.Points) > 0 {
			at = sinceStart(e.TimeNs - h.Points[0].LocalNs)
		}
		texts = append(texts, fmt.Sprintf("%s: %s %s", h.Host, at, changeWords(s)))
	}
	return texts
}

// sinceStart is a moment of a report, counted from its first point.
func sinceStart(ns int64) string {
	if ns < 0 {
		return timeline.Span(-max(ns, -math.MaxInt64)) + " before the first moment"
	}
	return "at " + timeline.Span(ns)
}

// changeWords say what a change of clocks did.
func changeWords(s *synclinev1.ClockStep) string {
	moved := time.Duration(s.StepNs).String()
	switch s.Change {
	case synclinev1.ClockChange_CLOCK_CHANGE_LEAP:
		return "CLOCK_REALTIME moved by " + moved + ", for a leap second"
	case synclinev1.ClockChange_CLOCK_CHANGE_SUSPEND:
		return "the host had slept for " + moved + ", and CLOCK_MONOTONIC stood still"
	case synclinev1.ClockChange_CLOCK_CHANGE_SLEW:
		return fmt.Sprintf("the rate of CLOCK_MONOTONIC was changed from %s to %s against CLOCK_MONOTONIC_RAW", ppm(s.RateBeforePpb), ppm(s.RatePpb))
	}
	return "CLOCK_REALTIME moved by " + moved
}
