package cli

import (
	"fmt"
	"strings"

	"syncline/controller/timeline"
)

// dropReason is why and where a kernel dropped a packet: "NETFILTER_DROP at nf_hook_slow".
func dropReason(d *timeline.LadderDrop) string {
	reason := d.Reason
	if reason == "" {
		reason = "no reason told"
	}
	if d.Place != "" {
		reason += " at " + d.Place
	}
	return reason
}

// dropWords are the words of a dropped packet, with the number of its connection where
// there are several.
func dropWords(l *timeline.Ladder, d *timeline.LadderDrop) string {
	words := strings.Join(d.Words, " ")
	if d.Arrow >= 0 {
		words = d.Words[0]
	}
	if len(l.Connections) > 1 && d.Connection >= 0 {
		words = fmt.Sprintf("#%d %s", d.Connection+1, words)
	}
	return words
}

// dropSentence says of a drop what its place in the picture says otherwise.
func dropSentence(l *timeline.Ladder, d *timeline.LadderDrop) string {
	way := ""
	switch {
	case d.Peer < 0:
	case d.Direction == timeline.In:
		way = " from " + l.Lanes[d.Peer].Name
	case d.Direction == timeline.Out:
		way = " to " + l.Lanes[d.Peer].Name
	}
	return fmt.Sprintf("dropped %s%s: %s", dropWords(l, d), way, dropReason(d))
}

// dropBeside is the text beside a host: a packet that has an arrow needs no words.
func dropBeside(l *timeline.Ladder, d *timeline.LadderDrop) string {
	if d.Arrow >= 0 {
		return dropReason(d)
	}
	return dropWords(l, d) + ": " + dropReason(d)
}

// drawDrop marks on the line of a host that its kernel dropped a packet, and writes why
// beside it; where that has no room, the row is a sentence. What the host was about to
// send has begun its way.
func (p *picture) drawDrop(d *timeline.LadderDrop) {
	y, text := top+d.Row, dropBeside(p.l, d)
	x, step := p.margin(d.Lane)
	if _, length := p.place(x, y, step, p.o.width(text)+4); length < p.o.width(text)+4 {
		p.sentence(y, "✗ "+p.l.Lanes[d.Lane].Name+" "+dropSentence(p.l, d), red)
		return
	}
	at := p.lanes[d.Lane]
	if d.Arrow < 0 && d.Direction == timeline.Out {
		p.canvas.mark(at, y, '●', red)
		p.canvas.mark(x, y, '─', red)
		at = x + step
	}
	p.canvas.mark(at, y, '✗', red)
	p.beside(d.Lane, y, []string{text}, red)
}

// drawTrace writes beside a host what its kernel told, or over the whole row where that has
// no room.
func (p *picture) drawTrace(r *timeline.Row, y int) {
	x, step := p.margin(r.Lane)
	want := p.o.width(r.Text) + 2
	if _, length := p.place(x, y, step, want); length < want {
		p.sentence(y, "◆ "+p.l.Lanes[r.Lane].Name+": "+r.Text, plain)
		return
	}
	p.canvas.mark(p.lanes[r.Lane], y, '◆', plain)
	p.beside(r.Lane, y, []string{r.Text}, plain)
}

// sentence writes a text over a whole row, behind its time.
func (p *picture) sentence(y int, text string, st style) {
	x := p.timeColumn()
	p.canvas.clear(x, p.o.Width, y)
	p.canvas.put(x, y, p.o.cut(text, p.o.Width-x), st)
}

// toldRoom is the room between two hosts in which every reason that a kernel gave has its
// place, and every state its bounds in short.
func (p *picture) toldRoom() int {
	most := 0
	for i := range p.l.Arrows {
		if a := &p.l.Arrows[i]; a.Reason != "" {
			most = max(most, bend+1+p.o.width(packetWords(p.l, a)[0])+3)
		}
	}
	for i := range p.l.Drops {
		most = max(most, p.o.width(dropBeside(p.l, &p.l.Drops[i]))+4)
	}
	for i := range p.l.States {
		if texts := stateTexts(p.l, &p.l.States[i]); len(texts) > 1 {
			most = max(most, p.o.width(texts[len(texts)-2])+4)
		}
	}
	return min(most, widest)
}
