package cli

import (
	"fmt"
	"io"
	"strings"

	"syncline/controller/clock"
	"syncline/controller/timeline"
)

// drawOptions say how a picture is put on a terminal.
type drawOptions struct {
	// Width is the number of columns there are. From listBelow on a ladder is drawn;
	// below it, events are listed one a line. From fullFrom on labels are given whole.
	Width int
	// ASCII keeps to the 95 printable characters of ASCII.
	ASCII bool
	// Colour marks resets and what is impossible in red, with ANSI sequences.
	Colour bool
}

const (
	listBelow = 80
	fullFrom  = 100
)

// drawLadder writes a ladder: time goes down, a line per host, an arrow per packet, a
// bracket per call. The same ladder and options give the same bytes.
func drawLadder(w io.Writer, l *timeline.Ladder, opts drawOptions) error {
	var lines []string
	lines = append(lines, ladderHeader(l, opts)...)
	if opts.Width < listBelow {
		lines = append(lines, listRows(l, opts)...)
	} else {
		lines = append(lines, newPicture(l, opts).lines()...)
	}
	lines = append(lines, ladderFooter(l, opts)...)
	if _, err := io.WriteString(w, strings.Join(lines, "\n")+"\n"); err != nil {
		return fmt.Errorf("write the ladder: %w", err)
	}
	return nil
}

// ladderHeader says what is drawn, on which clocks, and how it was judged.
func ladderHeader(l *timeline.Ladder, o drawOptions) []string {
	title := fmt.Sprintf("run %s  rep %d", l.RunID, l.Repetition)
	if l.Experiment != "" {
		title += "  " + l.Experiment
	}
	lines := []string{o.spread(title, verdictMark(l), rulingStyle(l.Ruling))}
	for _, c := range l.Connections {
		lines = append(lines, o.fit(fmt.Sprintf("conn %d  %s → %s", c.Number, endText(l, c.Client, c.ClientAddress), endText(l, c.Server, c.ServerAddress))))
	}
	lines = append(lines, o.wrap("clock   ", clockTexts(l), " · ")...)
	return append(lines, "")
}

func endText(l *timeline.Ladder, lane int, address string) string {
	if lane < 0 {
		return address
	}
	return l.Lanes[lane].Name + " " + address
}

func verdictMark(l *timeline.Ladder) string {
	if l.Judged == 0 {
		return ""
	}
	return fmt.Sprintf("%s %d/%d", strings.ToUpper(l.Ruling.String()), l.Passed, l.Judged)
}

func rulingStyle(r timeline.Ruling) style {
	switch r {
	case timeline.Pass:
		return green
	case timeline.Fail:
		return red
	}
	return plain
}

// clockTexts tell how each host's clock relates to the lab's.
func clockTexts(l *timeline.Ladder) []string {
	if l.LocalTimes {
		return []string{"each host's own CLOCK_MONOTONIC, raw; times of two hosts are not to be compared"}
	}
	var texts []string
	for i := range l.Lanes {
		lane := &l.Lanes[i]
		c := &lane.Clock
		text := lane.Name
		if lane.Agent != "" {
			text += " (" + lane.Agent + ")"
		}
		switch {
		case lane.Reference:
			text += " reference"
		case !c.Bound.Known():
			text += " unknown"
		case c.Method == "same clock":
			text += " same clock"
		default:
			text += fmt.Sprintf(" %s ±%s", offsetText(c.Bound.Mid()), timeline.Span(c.Bound.Err()))
			if c.Messages > 0 {
				text += fmt.Sprintf(", %d messages", c.Messages)
			}
		}
		texts = append(texts, text)
	}
	return texts
}

// offsetText is the offset of two clocks; hosts that were started at different times
// are hours apart, and nobody needs their nanoseconds.
func offsetText(ns int64) string {
	sign := "+"
	if ns < 0 {
		sign, ns = "−", -ns
	}
	const second, minute, hour = int64(1e9), int64(60e9), int64(3600e9)
	switch {
	case ns >= hour:
		return fmt.Sprintf("%s%d h %02d min", sign, ns/hour, ns%hour/minute)
	case ns >= 100*second:
		return fmt.Sprintf("%s%d min %02d s", sign, ns/minute, ns%minute/second)
	}
	return sign + timeline.Span(ns)
}

// ladderFooter explains the marks that were used, then the verdicts that are not a
// pass, and ends with what a person must know before believing the picture.
func ladderFooter(l *timeline.Ladder, o drawOptions) []string {
	var lines []string
	if anyRow(l, func(r *timeline.Row) bool { return r.Unordered }) {
		lines = append(lines, o.wrap("≈ ", []string{"may as well have been before the row above: the clocks are not known well enough to tell"}, "")...)
	}
	if o.Width >= listBelow && anyArrow(l, unproven) {
		lines = append(lines, o.wrap("▷ ", []string{"took less time than the clocks are sure of; only that it arrived after it left is known"}, "")...)
	}
	if o.Width >= listBelow && anyArrow(l, unseen) {
		lines = append(lines, o.wrap("? ", []string{"no tap saw this end of the packet's way"}, "")...)
	}
	for i := range l.Exceptions {
		lines = append(lines, exceptionText(&l.Exceptions[i], o)...)
	}
	for _, warning := range l.Warnings {
		for _, line := range o.wrap("! ", strings.Fields(warning), " ") {
			lines = append(lines, o.paint(line, red))
		}
	}
	if len(lines) > 0 {
		lines = append([]string{""}, lines...)
	}
	return lines
}

// exceptionText is a verdict that is not a pass, with its reason.
func exceptionText(v *timeline.Verdict, o drawOptions) []string {
	lines := o.wrap(o.rulingMark(v.Ruling)+" ", strings.Fields(v.Expectation), " ")
	for i := range lines {
		lines[i] = o.paint(lines[i], rulingColour(v.Ruling))
	}
	return append(lines, o.wrap("    ", strings.Fields(v.Reason), " ")...)
}

func anyRow(l *timeline.Ladder, is func(*timeline.Row) bool) bool {
	for i := range l.Rows {
		if is(&l.Rows[i]) {
			return true
		}
	}
	return false
}

func anyArrow(l *timeline.Ladder, is func(*timeline.Arrow) bool) bool {
	for i := range l.Arrows {
		if is(&l.Arrows[i]) {
			return true
		}
	}
	return false
}

// unproven reports whether an arrow is shorter than what its clocks are sure of.
func unproven(a *timeline.Arrow) bool { return a.Delayed && !a.Impossible && a.DelayErr >= a.Delay }

// unseen reports whether one end of an arrow was not seen and the network is not
// known to be the reason.
func unseen(a *timeline.Arrow) bool {
	return !a.Lost && !a.Duplicate && (a.Departure < 0) != (a.Arrival < 0)
}

// delayText is the time on the way. Where ε is the longer of the two, only an upper
// limit is left of it: nothing arrives before it leaves.
func delayText(a *timeline.Arrow) string {
	switch {
	case a.Impossible:
		return fmt.Sprintf("%s ±%s: impossible", timeline.Span(a.Delay), timeline.Span(a.DelayErr))
	case a.DelayErr == 0:
		return timeline.Span(a.Delay)
	case a.DelayErr >= a.Delay:
		return "at most " + timeline.Span(a.Delay+a.DelayErr)
	}
	return fmt.Sprintf("%s ±%s", timeline.Span(a.Delay), timeline.Span(a.DelayErr))
}

// timeText is a row's time and its ±, as the time column has them.
func timeText(l *timeline.Ladder, r *timeline.Row) (at, err string) {
	if r.Err >= clock.Unbounded {
		return "?", ""
	}
	return l.Time(r)
}
