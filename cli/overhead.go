package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	synclinev1 "syncline/proto/syncline/v1"
)

// defaultRounds is how many rounds --measure-overhead has without a number: the
// interval of a median ratio then leaves out five of the twenty on either side.
const defaultRounds = 20

// drawOverhead writes what watching a run costs: a line for each setting, in at most 80
// columns. It writes nothing if nobody asked for it.
func drawOverhead(w io.Writer, o *synclinev1.Overhead) error {
	if o == nil {
		return nil
	}
	var b strings.Builder
	of := ""
	if o.Variant != "" {
		of = " " + o.Variant
	}
	switch {
	case o.Failure != "":
		fmt.Fprintf(&b, "what watching%s costs is not known: %s\n", of, o.Failure)
	case len(o.Settings) == 0:
		fmt.Fprintf(&b, "what watching%s costs: round %d of %d\n", of, o.RoundsDone, o.Rounds)
	default:
		fmt.Fprintf(&b, "what watching%s costs, in %d rounds, settings in turn; × is of bare\n", of, o.Rounds)
		overheadTable(&b, o.Settings)
		overheadNotes(&b, o.Settings)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// overheadRow is one line: name, rate, its ratio and interval, connect(), processors.
const overheadRow = "  %-12s %9s %-20s %15s %15s\n"

func overheadTable(b *strings.Builder, settings []*synclinev1.OverheadSetting) {
	rate, of := (*synclinev1.OverheadSetting).GetRepetitionsPerSecond, "rep/s"
	if settings[0].ConnectionsPerSecond != nil {
		rate, of = (*synclinev1.OverheadSetting).GetConnectionsPerSecond, "conn/s"
	}
	fmt.Fprintf(b, overheadRow, "sources", of, "", "connect p50 p99", "agents machines")
	for _, s := range settings {
		if s.Repetitions == 0 {
			continue
		}
		fmt.Fprintf(b, overheadRow, s.Name, perSecond(rate(s)), interval(rate(s)),
			two(lasting(s.ConnectP50Ns), lasting(s.ConnectP99Ns)), two(lasting(s.AgentCpuNs), lasting(s.MachineCpuNs)))
		if ratios := (s.ConnectP50Ns.GetRatio() + s.ConnectP99Ns.GetRatio() + s.AgentCpuNs.GetRatio() + s.MachineCpuNs.GetRatio()); ratios > 0 {
			fmt.Fprintf(b, overheadRow, "", "", "",
				two(times(s.ConnectP50Ns), times(s.ConnectP99Ns)), two(times(s.AgentCpuNs), times(s.MachineCpuNs)))
		}
	}
}

// overheadNotes say what the table is worth.
func overheadNotes(b *strings.Builder, settings []*synclinev1.OverheadSetting) {
	var lost, events uint64
	for _, s := range settings {
		lost, events = lost+s.Lost, events+s.Events
	}
	fmt.Fprintf(b, "  processor time of a repetition; %d events in all, %d lost\n", events, lost)
	for _, s := range settings {
		if c := firstCost(s); c.GetPairs() > 0 {
			fmt.Fprintf(b, "  [ ] holds the median ratio of %d rounds in %.3g of 100 measurements\n", c.Pairs, 100*c.Confidence)
			break
		}
	}
	for _, s := range settings {
		switch {
		case s.Failed > 0:
			fmt.Fprintf(b, "  %s: a lane failed in %d of %d repetitions, which do not count: %s\n", s.Name, s.Failed, s.Failed+s.Repetitions, s.Failure)
		case s.Repetitions == 0:
			fmt.Fprintf(b, "  %s: not measured: %s\n", s.Name, s.Failure)
		}
		if s.Lost > 0 {
			fmt.Fprintf(b, "  %s: %d events lost\n", s.Name, s.Lost)
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
	return fmt.Sprintf("×%.2f", c.Ratio)
}

// interval is a ratio and where its median surely is: "×0.74 [0.71, 0.77]".
func interval(c *synclinev1.Cost) string {
	if c.GetPairs() == 0 {
		return times(c)
	}
	return fmt.Sprintf("%s [%.2f, %.2f]", times(c), c.RatioLow, c.RatioHigh)
}
