package web

import (
	"fmt"
	"slices"
	"strings"

	"syncline/controller/timeline"
)

// column is where a label stands.
type column int

// Columns of labels: the times at the left, the calls and states on the outer side of each
// lane, the packets on the side that they leave to or come from.
const (
	timeColumn column = iota
	callColumn
	rightColumn
	leftColumn
)

// label is a text beside a mark. Marks of nearly the same time are nearer to each other
// than their texts can be: then the text is moved, and a thin line leads to it.
type label struct {
	column column
	lane   int
	// place is that of the mark, on the axis; y where the text comes to stand.
	place, y float64
	class    string
	text     string
	// whole is the text that was too long.
	whole string
}

// collectLabels makes the labels of all that is drawn.
func (d *drawing) collectLabels() {
	for i := range d.l.Rows {
		r := &d.l.Rows[i]
		if r.Timed() {
			at, err := d.l.Time(r)
			d.add(&label{column: timeColumn, lane: r.Lane, place: d.axis.Places[i], class: "time", text: strings.TrimSpace(at + " " + err)})
		}
		if r.Kind == timeline.RowQuiet {
			d.add(&label{column: timeColumn, lane: -1, place: d.axis.Places[i], class: "quiet", text: "⋮ " + timeline.Span(r.Quiet)})
		}
		if class, text := d.saying(r); text != "" {
			d.add(&label{column: callColumn, lane: r.Lane, place: d.axis.Places[i], class: class, text: text})
		}
	}
	for i := range d.l.Brackets {
		d.labelBracket(&d.l.Brackets[i])
	}
	for i := range d.l.Spans {
		s := &d.l.Spans[i]
		text := s.Name
		if len(d.l.Connections) > 1 {
			text += fmt.Sprintf(" #%d", s.Connection+1)
		}
		if s.Doubtful {
			text += " ?"
		}
		d.add(&label{column: callColumn, lane: s.Lane, place: d.axis.Places[s.First], class: "state", text: text})
	}
	for i := range d.l.Arrows {
		d.labelArrow(&d.l.Arrows[i])
	}
}

func (d *drawing) add(lb *label) {
	most := labelMost
	if lb.class == "packet" || lb.class == "packet alarm" {
		most = packetMost
	}
	if runes := []rune(lb.text); len(runes) > most {
		lb.whole, lb.text = lb.text, string(runes[:most-1])+"…"
	}
	d.labelled = append(d.labelled, lb)
}

func (d *drawing) labelBracket(k *timeline.Bracket) {
	class := "call"
	switch {
	case k.Failed:
		class = "call failed"
	case k.Lab:
		class = "call lab"
	}
	result := k.Result
	if k.Remark != "" {
		result += " (" + k.Remark + ")"
	}
	if k.Enter == k.Return {
		text := k.Call
		if result != "" && result != "0" {
			text += " = " + result
		}
		d.add(&label{column: callColumn, lane: k.Lane, place: d.axis.Places[k.Enter], class: class, text: text})
		return
	}
	d.add(&label{column: callColumn, lane: k.Lane, place: d.axis.Places[k.Enter], class: class, text: k.Call})
	d.add(&label{
		column: callColumn, lane: k.Lane, place: d.axis.Places[k.Return], class: class,
		text: strings.TrimSpace("= " + result + " after " + timeline.Span(k.Took)),
	})
}

// labelArrow puts the words of a packet where it left, or where it came if that is all
// that is known.
func (d *drawing) labelArrow(a *timeline.Arrow) {
	lane, row := a.From, a.Departure
	if row < 0 {
		lane, row = a.To, a.Arrival
	}
	if row < 0 || lane < 0 {
		return
	}
	fate := ""
	switch {
	case a.Dropped:
		fate = " dropped"
	case a.Lost:
		fate = " lost"
	case a.Impossible:
		fate = " impossible"
	case a.Delayed && a.DelayErr > 0:
		fate = "  " + timeline.Span(a.Delay) + " ±" + timeline.Span(a.DelayErr)
	case a.Delayed:
		fate = "  " + timeline.Span(a.Delay)
	}
	if a.Reason != "" {
		fate += " " + a.Reason
	}
	words := a.Words
	text := strings.Join(words, " ") + fate
	for len([]rune(text)) > packetMost && len(words) > 1 {
		words = words[:len(words)-1]
		text = strings.Join(words, " ") + " …" + fate
	}
	class := "packet"
	if a.Reset || a.Impossible || a.Lost {
		class = "packet alarm"
	}
	side := rightColumn
	if d.toLeft(a) == (a.Departure >= 0) {
		side = leftColumn
	}
	d.add(&label{column: side, lane: lane, place: d.axis.Places[row], class: class, text: text})
}

// toLeft reports whether an arrow points to the left. One that comes from nowhere, or goes
// there, points away from the calls of its lane, or towards them.
func (d *drawing) toLeft(a *timeline.Arrow) bool {
	switch {
	case a.From >= 0 && a.To >= 0:
		return a.To < a.From
	case a.From >= 0:
		return a.From > 0
	}
	return a.To == 0
}

// saying is the sentence of a row that has one, and its class.
func (d *drawing) saying(r *timeline.Row) (class, text string) {
	switch r.Kind {
	case timeline.RowNote, timeline.RowDeed, timeline.RowTrace:
		return "saying", r.Text
	case timeline.RowLoss:
		return "saying alarm", r.Text
	case timeline.RowDrop:
		drop := &d.l.Drops[r.Mark]
		text = "drops " + strings.Join(drop.Words, " ")
		if drop.Reason != "" {
			text += ": " + drop.Reason
		}
		return "saying alarm", text
	}
	return "", ""
}

// labels places the labels and writes them.
func (d *drawing) labels() {
	d.placeLabels()
	for _, lb := range d.labelled {
		d.writeLabel(lb)
	}
}

// placeLabels moves labels apart.
func (d *drawing) placeLabels() {
	type group struct {
		column column
		lane   int
	}
	groups := make(map[group][]*label)
	var order []group
	for _, lb := range d.labelled {
		g := group{lb.column, lb.lane}
		if lb.column == timeColumn {
			g.lane = 0
		}
		if groups[g] == nil {
			order = append(order, g)
		}
		groups[g] = append(groups[g], lb)
	}
	for _, g := range order {
		d.spread(groups[g])
	}
}

// spread moves the labels of one column apart so that none stands over another, each as
// little as may be: labels that touch form a group, whose middle stands where the middle
// of their marks is.
func (d *drawing) spread(column []*label) {
	slices.SortStableFunc(column, func(a, b *label) int {
		switch {
		case a.place < b.place:
			return -1
		case a.place > b.place:
			return 1
		}
		return 0
	})
	type cluster struct {
		labels []*label
		// sum is that of what the first label's y would be for each label to stand right.
		sum float64
	}
	// None stands above the ladder.
	first := func(c *cluster) float64 { return max(c.sum/float64(len(c.labels)), d.top) }
	var clusters []*cluster
	for _, lb := range column {
		c := &cluster{labels: []*label{lb}, sum: d.y(lb.place)}
		for len(clusters) > 0 {
			above := clusters[len(clusters)-1]
			height := float64(len(above.labels)) * lineHeight
			if first(above)+height <= first(c) {
				break
			}
			c.sum = above.sum + c.sum - height*float64(len(c.labels))
			c.labels = slices.Concat(above.labels, c.labels)
			clusters = clusters[:len(clusters)-1]
		}
		clusters = append(clusters, c)
	}
	for _, c := range clusters {
		for i, lb := range c.labels {
			lb.y = first(c) + float64(i)*lineHeight
			d.bottom = max(d.bottom, lb.y+lineHeight)
		}
	}
}

// writeLabel writes a label, and the line that leads to it if it had to be moved.
func (d *drawing) writeLabel(lb *label) {
	mark, x, anchor := d.anchor(lb)
	y := d.y(lb.place)
	if moved := lb.y - y; moved > 2 || moved < -2 {
		d.element(`path class="lead" d="M%s %sL%s %s"`, px(mark), px(y), px(x), px(lb.y))
	}
	if anchor == "end" {
		x -= 3
	} else {
		x += 3
	}
	base := lb.y + 4
	if lb.column == leftColumn || lb.column == rightColumn {
		// The arrow begins at the middle of its row.
		base = lb.y - 3
	}
	if lb.whole == "" {
		d.text(lb.class, x, base, anchor, lb.text)
		return
	}
	d.b.WriteString("<g><title>" + escape(lb.whole) + "</title>\n")
	d.text(lb.class, x, base, anchor, lb.text)
	d.b.WriteString("</g>\n")
}

// anchor is where the mark of a label ends, where its text begins, and on which side.
func (d *drawing) anchor(lb *label) (mark, x float64, anchor string) {
	line := 0.0
	if lb.lane >= 0 {
		line = d.line[lb.lane]
	}
	switch lb.column {
	case timeColumn:
		return d.timeEnd() + 12, d.timeEnd(), "end"
	case callColumn:
		side := d.side[lb.lane]
		x = line + side*d.outer(lb.lane)
		mark = x - side*6
		if side < 0 {
			return mark, x, "end"
		}
		return mark, x, "start"
	case leftColumn:
		return line - 5, line - 16, "end"
	}
	return line + 5, line + 16, "start"
}

// timeEnd is the right side of the time column.
func (d *drawing) timeEnd() float64 {
	most := 0
	for _, lb := range d.labelled {
		if lb.column == timeColumn {
			most = max(most, len([]rune(lb.text)))
		}
	}
	return margin + float64(most)*charWidth
}
