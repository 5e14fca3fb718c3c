package cli

import (
	"fmt"
	"io"
	"strings"
)

// drawDiff draws how two runs differ.
func drawDiff(w io.Writer, d *runDiff, o drawOptions) error {
	var lines []string
	for _, r := range []struct {
		name string
		run  *diffRun
	}{{"A", &d.A}, {"B", &d.B}} {
		lines = append(lines, o.sentence(r.name+"  ", fmt.Sprintf("%s  %s  %s: %s", r.run.Run, r.run.Experiment, howMany(r.run.Repetitions, "repetition"), r.run.counted))...)
	}
	for i := range d.Variants {
		lines = append(lines, "")
		if v := &d.Variants[i]; v.Variant != "" {
			lines = append(lines, o.sentence("", "variant "+v.Variant)...)
		}
		lines = append(lines, variantLines(&d.Variants[i], o)...)
	}
	for _, only := range []struct {
		run      string
		variants []string
	}{{"A", d.OnlyA}, {"B", d.OnlyB}} {
		if len(only.variants) > 0 {
			lines = append(lines, "")
			lines = append(lines, o.sentence("", fmt.Sprintf("only %s has the variants %s", only.run, strings.Join(only.variants, ", ")))...)
		}
	}
	lines = append(lines, "")
	answer := d.Answer
	if len(d.Because) > 0 {
		answer += ": " + strings.Join(d.Because, ", ")
	}
	return writeLines(w, append(lines, o.sentence("", answer)...))
}

func variantLines(v *variantDiff, o drawOptions) []string {
	lines := rulingLines(v, o)
	lines = append(lines, orderText(&v.Order, o)...)
	lines = append(lines, "")
	if len(v.Phases) > 0 {
		lines = append(lines, phaseTable(v.Phases, o)...)
		lines = append(lines, phaseCount(v.Phases, o)...)
	}
	lines = append(lines, loneLines("A", v.NotCompared, func(p lonePhase) int { return p.NA }, func(p lonePhase) int { return p.NB }, o)...)
	lines = append(lines, loneLines("B", v.NotCompared, func(p lonePhase) int { return p.NB }, func(p lonePhase) int { return p.NA }, o)...)
	return lines
}

// loneLines name the phases that one run alone has, and how often.
func loneLines(name string, all []lonePhase, own, other func(lonePhase) int, o drawOptions) []string {
	var parts []string
	for _, p := range all {
		if own(p) > 0 && other(p) == 0 {
			parts = append(parts, fmt.Sprintf("%s (%d)", p.label, own(p)))
		}
	}
	if len(parts) == 0 {
		return nil
	}
	return o.sentence("only in "+name+": ", strings.Join(parts, ", "))
}

// rulingLines say which rulings differ in number.
func rulingLines(v *variantDiff, o drawOptions) []string {
	var lines []string
	for _, r := range v.Rulings {
		if r.Different {
			lines = append(lines, o.sentence("", fmt.Sprintf("%s: %d in A, %d in B, different (p %s)", r.Ruling, r.A, r.B, chanceText(r.P)))...)
		}
	}
	return lines
}

// chanceText is a probability as people read it.
func chanceText(p float64) string {
	switch {
	case p < 0.001:
		return "<0.001"
	case p < 0.1:
		return fmt.Sprintf("%.3f", p)
	}
	return fmt.Sprintf("%.2f", p)
}

// ordersShown is how many orders of events are shown.
const ordersShown = 6

// orderText shows the orders of events, the most frequent first, and of the others what they
// have in another way.
func orderText(d *orderDiff, o drawOptions) []string {
	lines := []string{o.fit("order of events       A     B")}
	for i := range d.Orders {
		if i == ordersShown {
			lines = append(lines, o.sentence("  ", howMany(len(d.Orders)-i, "order")+" more; -o json has them")...)
			break
		}
		s := &d.Orders[i]
		name := "the most frequent"
		if i > 0 {
			name = "another"
		}
		text := fmt.Sprintf("%-17s%6d%6d  %s", name, s.A, s.B, orderPlaces(s))
		if s.Different {
			text += "  different, p " + chanceText(s.P)
		}
		lines = append(lines, o.fit(text))
		if i > 0 {
			lines = append(lines, orderLinesText(s.Lines, o)...)
		}
	}
	if left := d.DoubtA + d.DoubtB; left > 0 {
		lines = append(lines, o.sentence("  ", fmt.Sprintf("%d in A and %d in B are left out, since events of them may be missing: %s", d.DoubtA, d.DoubtB, d.Why))...)
	}
	if d.Because != "" {
		lines = append(lines, o.sentence("  ", "it cannot be told whether they differ: "+d.Because)...)
	}
	return lines
}

// orderPlaces names repetitions that have an order: "A@1, B@17".
func orderPlaces(s *orderShare) string {
	const most = 2
	var parts []string
	for _, in := range []struct {
		name string
		n    []int
	}{{"A", s.InA}, {"B", s.InB}} {
		for i, n := range in.n {
			if i == most {
				parts = append(parts, "…")
				break
			}
			parts = append(parts, fmt.Sprintf("%s@%d", in.name, n))
		}
	}
	return strings.Join(parts, " ")
}

// linesShown is how many lines of an order are shown.
const linesShown = 6

func orderLinesText(all []orderLine, o drawOptions) []string {
	var lines []string
	for i, l := range all {
		if i == linesShown {
			return append(lines, o.sentence("  ", howMany(len(all)-i, "line")+" more; -o json has them")...)
		}
		steps, instead := changedSteps(l.Steps, l.Instead)
		lines = append(lines, o.sentence("  ", l.Of+": "+steps)...)
		if len(l.Instead) > 0 {
			lines = append(lines, o.sentence("    instead of ", instead)...)
		}
	}
	return lines
}

// changedSteps are the steps in which two lines differ, with the one before and the one after.
func changedSteps(steps, instead []string) (string, string) {
	before, after := 0, 0
	shorter := min(len(steps), len(instead))
	for before < shorter && steps[before] == instead[before] {
		before++
	}
	for after < shorter-before && steps[len(steps)-1-after] == instead[len(instead)-1-after] {
		after++
	}
	cut := func(all []string) string {
		from, to := max(before-1, 0), min(len(all)-after+1, len(all))
		text := strings.Join(all[from:to], "; ")
		if from > 0 {
			text = "…; " + text
		}
		if to < len(all) {
			text += "; …"
		}
		if text == "" {
			return "nothing"
		}
		return text
	}
	return cut(steps), cut(instead)
}

// marks say in one character what a comparison of a phase comes to.
func markOf(p *phaseDiff) string {
	switch {
	case p.Ruling == "changed" && p.Shift > 0:
		return "▲"
	case p.Ruling == "changed":
		return "▼"
	case p.Ruling == "within error":
		return "±"
	case p.Ruling == "too few":
		return "few"
	}
	return "~"
}

func phaseTable(all []phaseDiff, o drawOptions) []string {
	rows := [][]string{{"phase", "A", "", "B", "shift", "is in", "±", "p", "P(B>A)", ""}}
	for i := range all {
		p := &all[i]
		unit := unitOf(max(p.MedianA, p.MedianB, -p.MedianA, -p.MedianB))
		in := "-"
		if p.Low != nil {
			in = signed(unit.digits(*p.Low)) + "…" + signed(unit.digits(*p.High))
		}
		rows = append(rows, []string{
			p.label, unit.number(p.MedianA, 4), unit.name, unit.number(p.MedianB, 4), signed(unit.digits(p.Shift)), in,
			unit.within(p.Err), chanceText(p.P), fmt.Sprintf("%.0f%%", 100*p.Longer), markOf(p),
		})
	}
	return fittingColumns(rows, []int{8, 5, 6, 7}, o)
}

func signed(digits string) string {
	if digits == "0" || strings.HasPrefix(digits, "−") {
		return digits
	}
	return "+" + digits
}

// phaseCount says how the comparisons of phases came out.
func phaseCount(all []phaseDiff, o drawOptions) []string {
	n := make(map[string]int)
	for _, p := range all {
		n[p.Ruling]++
	}
	text := fmt.Sprintf("%s compared, %d changed", howMany(len(all), "phase"), n["changed"])
	if k := n["within error"]; k > 0 {
		text += fmt.Sprintf(", %d by no more than ± of the clocks", k)
	}
	if k := n["too few"]; k > 0 {
		text += fmt.Sprintf(", %d with too few repetitions to tell", k)
	}
	return o.sentence("", text)
}
