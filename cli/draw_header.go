package cli

import (
	"fmt"
	"strings"
	"time"

	"syncline/controller/clock"
	"syncline/controller/timeline"
)

// headerMost is how many connections, and how many clocks, a header tells one by one.
const headerMost = 8

// ladderHeader says what is drawn, on which clocks, and how it was judged.
func ladderHeader(l *timeline.Ladder, o drawOptions) []string {
	title := fmt.Sprintf("run %s  rep %d", l.RunID, l.Repetition)
	if l.Experiment != "" {
		title += "  " + l.Experiment
	}
	lines := []string{o.spread(title, verdictMark(l), rulingStyle(l.Ruling))}
	for _, text := range connectionTexts(l) {
		lines = append(lines, o.fit(text))
	}
	lines = append(lines, o.wrap("clock   ", clockTexts(l), " · ")...)
	if text := oneKernelText(l); text != "" {
		lines = append(lines, o.wrap("        ", strings.Fields(text), " ")...)
	}
	if text := zeroText(l); text != "" {
		lines = append(lines, o.wrap("time    ", strings.Fields(text), " ")...)
	}
	if text := scaleText(l); text != "" {
		lines = append(lines, o.wrap("scale   ", strings.Fields(text), " ")...)
	}
	return append(lines, "")
}

func connectionTexts(l *timeline.Ladder) []string {
	var texts []string
	for i, c := range l.Connections {
		if i == headerMost {
			return append(texts, fmt.Sprintf("        … %d more; --conn N shows one", len(l.Connections)-i))
		}
		texts = append(texts, fmt.Sprintf("conn %d  %s → %s", c.Number, endText(l, c.Client, c.ClientAddress), endText(l, c.Server, c.ServerAddress)))
	}
	return texts
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
		if i == headerMost {
			return append(texts, otherClocks(l.Lanes[i:]))
		}
		texts = append(texts, clockText(&l.Lanes[i]))
	}
	return texts
}

func clockText(lane *timeline.LadderLane) string {
	text := lane.Name
	if lane.Agent != "" {
		text += " (" + lane.Agent + ")"
	}
	c := &lane.Clock
	switch {
	case lane.Reference:
		return text + " reference"
	case !c.Bound.Known():
		return text + " unknown"
	case c.Method == "same clock":
		return text + " same clock"
	}
	offset, within := offsetWithin(c.Bound.Mid(), c.Bound.Err())
	text += fmt.Sprintf(" %s ±%s", offset, within)
	if c.Method != "" {
		text += " by " + c.Method
	}
	if c.Messages > 0 {
		text += fmt.Sprintf(", %d messages", c.Messages)
	}
	return text
}

// otherClocks sums up the clocks for which a header has no room: the worst of them.
func otherClocks(lanes []timeline.LadderLane) string {
	unknown, worst := 0, int64(0)
	for i := range lanes {
		switch c := &lanes[i].Clock; {
		case lanes[i].Reference:
		case !c.Bound.Known():
			unknown++
		default:
			worst = max(worst, c.Bound.Err())
		}
	}
	text := fmt.Sprintf("… %d more, none beyond ±%s", len(lanes), spanUp(worst))
	if unknown > 0 {
		text = fmt.Sprintf("… %d more, %d of them unknown", len(lanes), unknown)
	}
	return text
}

// oneKernelText names the hosts whose clock is the reference's own although it was
// tied to it as a stranger's would be: there the bound can be held against the truth.
func oneKernelText(l *timeline.Ladder) string {
	var names []string
	reference := ""
	for i := range l.Lanes {
		lane := &l.Lanes[i]
		if lane.Reference {
			reference = lane.Name
		}
		if lane.SameKernel && !l.LocalTimes && lane.Clock.Bound.Known() && lane.Clock.Method != "same clock" {
			names = append(names, lane.Name)
		}
	}
	switch {
	case len(names) == 0:
		return ""
	case len(names) == 1:
		return fmt.Sprintf("%s and %s are one kernel: their true offset is 0", reference, names[0])
	case len(names) == len(l.Lanes)-1:
		return "all hosts are one kernel: their true offsets are 0"
	}
	return fmt.Sprintf("%s are one kernel with %s: their true offsets are 0", strings.Join(names, ", "), reference)
}

// zeroText says what the times count from, if that is not connect().
func zeroText(l *timeline.Ladder) string {
	switch {
	case l.LocalTimes:
	case l.Zero == timeline.ZeroSYN:
		return "counted from the first SYN"
	case l.Zero == timeline.ZeroWall:
		text := time.Unix(0, l.Wall).UTC().Format("2006-01-02") + ", UTC, as " + l.WallOf + "'s CLOCK_REALTIME had it"
		if l.WallErr < clock.Unbounded {
			text += ", ±" + spanUp(l.WallErr)
		}
		return text
	}
	return ""
}

// scaleText says what the distance of two rows means, if it means anything.
func scaleText(l *timeline.Ladder) string {
	switch l.Scale {
	case timeline.ScaleLinear:
		return "linear: a line for each " + timeline.Span(l.Step) + ", and at least one for what happened; ⋮ is folded"
	case timeline.ScaleLog:
		return "log: a line more for 10 µs between two rows, and one more for each ten times that"
	}
	return ""
}

// unitText is the unit of the time column.
func unitText(l *timeline.Ladder) string {
	if l.Zero == timeline.ZeroWall && !l.LocalTimes {
		return "UTC"
	}
	return l.Unit.String()
}

// timeText is a row's time and its ±, as the time column has them.
func timeText(l *timeline.Ladder, r *timeline.Row) (at, err string) {
	if r.Err >= clock.Unbounded {
		return "?", ""
	}
	return l.Time(r)
}
