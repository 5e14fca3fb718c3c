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

// surely is the confidence below which an interval is not shown.
const surely = 0.95

// drawOverhead writes what watching a run costs, in at most 80 columns; nothing if
// nobody asked for it.
func drawOverhead(w io.Writer, r *synclinev1.Run) error {
	_, err := io.WriteString(w, describeOverhead(r, drawOptions{}))
	return err
}

// describeOverhead is what watching costs in words: what all sources together cost, then
// a line for each setting and one of ratios to the bare lanes, then what that is worth.
// Of opts only those on characters matter.
func describeOverhead(r *synclinev1.Run, opts drawOptions) string {
	o := r.GetOverhead()
	if o == nil {
		return ""
	}
	t := &overheadText{drawOptions: opts}
	t.Width = overheadWidth
	of := ""
	if o.Variant != "" {
		of = ", of " + o.Variant
	}
	switch {
	case o.Failure != "":
		t.note("", "what watching costs is not known"+of+": "+o.Failure)
	case len(o.Settings) == 0:
		t.note("", fmt.Sprintf("what watching costs%s: round %d of %d is through", of, o.RoundsDone, o.Rounds))
	default:
		t.note("", "what watching costs"+of+": "+allTogether(o.Settings))
		t.table(o.Settings)
		t.notes(r)
	}
	return t.String()
}

// allTogether is the result: what all sources at once leave of the bare rate.
func allTogether(settings []*synclinev1.OverheadSetting) string {
	i := slices.IndexFunc(settings, func(s *synclinev1.OverheadSetting) bool { return s.Name == "all" })
	if i < 0 {
		return "it was not measured with all sources"
	}
	s := settings[i]
	rate, unit := rateOf(settings)
	c := rate(s)
	if c.GetRatio() == 0 {
		return "it is not known for all sources at once"
	}
	ratio, without := interval(c), ""
	if !certain(c) {
		ratio, without = "×"+ratioText(c.Ratio), ", without an interval"
	}
	text := fmt.Sprintf("with all sources %s of the bare %s%s", ratio, map[string]string{connectionRate: "connections a second", repetitionRate: "repetitions a second"}[unit], without)
	if slices.ContainsFunc(s.Unwatched, func(u *synclinev1.Unwatched) bool { return !u.InPart }) {
		text += ", and not all of them were on"
	}
	if slices.ContainsFunc(s.Unwatched, (*synclinev1.Unwatched).GetInPart) {
		text += ", some of them in part"
	}
	if len(hardlyBusy(settings[0])) > 0 {
		text += "; of lanes that hardly load a machine"
	}
	return text
}

// Units of the rate in the table.
const (
	connectionRate = "conn/s"
	repetitionRate = "rep/s"
)

// rateOf is the rate that a measurement compares, and its unit: of connections, if there
// were any.
func rateOf(settings []*synclinev1.OverheadSetting) (rate func(*synclinev1.OverheadSetting) *synclinev1.Cost, unit string) {
	if slices.ContainsFunc(settings, func(s *synclinev1.OverheadSetting) bool { return s.ConnectionsPerSecond != nil }) {
		return (*synclinev1.OverheadSetting).GetConnectionsPerSecond, connectionRate
	}
	return (*synclinev1.OverheadSetting).GetRepetitionsPerSecond, repetitionRate
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
	t.line(t.text(fmt.Sprintf("  %-13s %9s %-20s %15s %15s", name, rate, ratio, connect, processors)))
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
	rate, unit := rateOf(settings)
	measured := slices.DeleteFunc(slices.Clone(settings), func(s *synclinev1.OverheadSetting) bool { return s.Repetitions == 0 })
	if len(measured) == 0 {
		return
	}
	t.row("sources", unit, "", "connect p50 p99", "agents machines")
	for _, s := range measured {
		name := s.Name
		if len(s.Unwatched) > 0 {
			name += "*"
		}
		t.row(name, perSecond(rate(s)), interval(rate(s)),
			two(lasting(s.ConnectP50Ns), lasting(s.ConnectP99Ns)), two(lasting(s.AgentCpuNs), lasting(s.MachineCpuNs)))
		if rate(s).GetRatio() > 0 || s.ConnectP50Ns.GetRatio() > 0 || s.AgentCpuNs.GetRatio() > 0 {
			t.row("", "", worth(rate(s)), two(times(s.ConnectP50Ns), times(s.ConnectP99Ns)), two(times(s.AgentCpuNs), times(s.MachineCpuNs)))
		}
	}
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

// times is a ratio: "×1.21"; "~1.02" if its interval holds 1, so that it may as well be 1
// for all that is known; "(1.21)" if there is no interval, so that nothing is.
func times(c *synclinev1.Cost) string {
	switch {
	case c.GetRatio() == 0:
		return ""
	case !certain(c):
		return "(" + ratioText(c.Ratio) + ")"
	case maybeOne(c):
		return "~" + ratioText(c.Ratio)
	}
	return "×" + ratioText(c.Ratio)
}

// maybeOne reports whether the interval of a ratio holds 1.
func maybeOne(c *synclinev1.Cost) bool { return certain(c) && c.RatioLow <= 1 && c.RatioHigh >= 1 }

// certain reports whether there are pairs enough for an interval.
func certain(c *synclinev1.Cost) bool { return c.GetPairs() > 0 && c.Confidence >= surely }

// worth is what the interval of a ratio rests on: "n=20, 95.9 %".
func worth(c *synclinev1.Cost) string {
	switch {
	case c.GetRatio() == 0:
		return ""
	case certain(c):
		return fmt.Sprintf("n=%d, %.1f %%", c.Pairs, 100*c.Confidence)
	}
	return fmt.Sprintf("n=%d is too few", c.Pairs)
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
	if !certain(c) {
		return times(c)
	}
	return fmt.Sprintf("%s [%s, %s]", times(c), ratioText(c.RatioLow), ratioText(c.RatioHigh))
}
