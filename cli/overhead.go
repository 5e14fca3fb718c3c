package cli

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	synclinev1 "syncline/proto/syncline/v1"
)

// defaultRounds is how many rounds --measure-overhead has without a number: the
// interval of a median ratio then leaves out five of the twenty on either side.
const defaultRounds = 20

// overheadWidth is what the table takes, and what notes are wrapped at.
const overheadWidth = 80

// drawOverhead writes what watching a run costs, in at most 80 columns; nothing if
// nobody asked for it.
func drawOverhead(w io.Writer, o *synclinev1.Overhead) error {
	_, err := io.WriteString(w, describeOverhead(o, drawOptions{}))
	return err
}

// describeOverhead is what watching costs in words: a line for each setting, and one of
// ratios to the bare lanes. Of opts only those on characters matter.
func describeOverhead(o *synclinev1.Overhead, opts drawOptions) string {
	if o == nil {
		return ""
	}
	t := &overheadText{drawOptions: opts}
	t.Width = overheadWidth
	if o.Variant != "" {
		t.note("", "of "+o.Variant+":")
	}
	switch {
	case o.Failure != "":
		t.note("", "what watching costs is not known: "+o.Failure)
	case len(o.Settings) == 0:
		t.note("", fmt.Sprintf("what watching costs: round %d of %d is through", o.RoundsDone, o.Rounds))
	default:
		t.note("", fmt.Sprintf("what watching costs, sources in turn, rounds: %d; × is of bare", o.Rounds))
		t.table(o.Settings)
		t.notes(o.Settings)
	}
	return t.String()
}

// overheadText are the lines of a measurement.
type overheadText struct {
	strings.Builder
	drawOptions
}

// note writes a sentence, on as many lines as it takes.
func (t *overheadText) note(indent, text string) {
	for _, line := range t.wrap(indent, strings.Fields(t.text(text)), " ") {
		t.line(line)
	}
}

// row writes one line: name, rate, its ratio and interval, connect(), processors.
func (t *overheadText) row(name, rate, ratio, connect, processors string) {
	t.line(t.text(fmt.Sprintf("  %-12s %9s %-20s %15s %15s", name, rate, ratio, connect, processors)))
}

// text has a stand-in for the sign of ratios as well.
func (t *overheadText) text(s string) string {
	if t.ASCII {
		s = strings.ReplaceAll(s, "×", "x")
	}
	return t.drawOptions.text(s)
}

func (t *overheadText) line(s string) { fmt.Fprintln(t, strings.TrimRight(s, " ")) }

func (t *overheadText) table(settings []*synclinev1.OverheadSetting) {
	rate, of := (*synclinev1.OverheadSetting).GetRepetitionsPerSecond, "rep/s"
	if slices.ContainsFunc(settings, func(s *synclinev1.OverheadSetting) bool { return s.ConnectionsPerSecond != nil }) {
		rate, of = (*synclinev1.OverheadSetting).GetConnectionsPerSecond, "conn/s"
	}
	measured := slices.DeleteFunc(slices.Clone(settings), func(s *synclinev1.OverheadSetting) bool { return s.Repetitions == 0 })
	if len(measured) == 0 {
		return
	}
	t.row("sources", of, "", "connect p50 p99", "agents machines")
	for _, s := range measured {
		t.row(s.Name, perSecond(rate(s)), interval(rate(s)),
			two(lasting(s.ConnectP50Ns), lasting(s.ConnectP99Ns)), two(lasting(s.AgentCpuNs), lasting(s.MachineCpuNs)))
		if connect, cpu := two(times(s.ConnectP50Ns), times(s.ConnectP99Ns)), two(times(s.AgentCpuNs), times(s.MachineCpuNs)); strings.TrimSpace(connect+cpu) != "" {
			t.row("", "", "", connect, cpu)
		}
	}
}

// notes say what the table is worth.
func (t *overheadText) notes(settings []*synclinev1.OverheadSetting) {
	var lost, events uint64
	for _, s := range settings {
		lost, events = lost+s.Lost, events+s.Events
	}
	t.note("  ", fmt.Sprintf("agents, machines: processor time of a repetition; %d events in all, %d lost", events, lost))
	for _, s := range settings {
		if c := firstCost(s); c.GetPairs() > 0 {
			t.note("  ", fmt.Sprintf("[ ] holds the true median of the ratios of %d rounds with %.1f %%", c.Pairs, 100*c.Confidence))
			break
		}
	}
	for _, s := range settings {
		switch {
		case s.Failed > 0:
			t.note("  ", fmt.Sprintf("%s: a lane failed in %d of %d repetitions, which do not count: %s", s.Name, s.Failed, s.Failed+s.Repetitions, s.Failure))
		case s.Repetitions == 0:
			t.note("  ", fmt.Sprintf("%s: not measured: %s", s.Name, s.Failure))
		}
		if s.Lost > 0 {
			t.note("  ", fmt.Sprintf("%s: %d events lost", s.Name, s.Lost))
		}
	}
}

// firstCost is a figure that every setting has, if it has any.
func firstCost(s *synclinev1.OverheadSetting) *synclinev1.Cost {
	if s.ConnectionsPerSecond != nil {
		return s.ConnectionsPerSecond
	}
	return s.RepetitionsPerSecond
}

// two right-justifies two short texts in one column of the table.
func two(a, b string) string { return fmt.Sprintf("%7s %7s", a, b) }

// perSecond is a rate: "12,345", "3.21".
func perSecond(c *synclinev1.Cost) string {
	if c == nil {
		return "-"
	}
	if c.Value < 100 {
		return strconv.FormatFloat(c.Value, 'g', 3, 64)
	}
	digits := strconv.FormatFloat(c.Value, 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// lasting is a time with three digits: "4.51µs", "113ms".
func lasting(c *synclinev1.Cost) string {
	if c == nil {
		return "-"
	}
	v, unit := c.Value, "ns"
	for _, larger := range []string{"µs", "ms", "s"} {
		if v < 999.5 {
			break
		}
		v, unit = v/1000, larger
	}
	if v >= 999.5 {
		return fmt.Sprintf("%.0f%s", v, unit)
	}
	return strconv.FormatFloat(v, 'g', 3, 64) + unit
}

func times(c *synclinev1.Cost) string {
	if c.GetRatio() == 0 {
		return ""
	}
	return "×" + ratioText(c.Ratio)
}

// ratioText is a ratio with two digits behind the point, or fewer if it is large.
func ratioText(r float64) string {
	if r >= 99.995 {
		return strconv.FormatFloat(r, 'f', 0, 64)
	}
	return strconv.FormatFloat(r, 'f', 2, 64)
}

// interval is a ratio and where its median surely is: "×0.74 [0.71, 0.77]".
func interval(c *synclinev1.Cost) string {
	if c.GetPairs() == 0 {
		return times(c)
	}
	return fmt.Sprintf("%s [%s, %s]", times(c), ratioText(c.RatioLow), ratioText(c.RatioHigh))
}
