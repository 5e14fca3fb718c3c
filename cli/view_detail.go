package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"syncline/controller/clock"
	"syncline/controller/timeline"
)

// showDetails shows all that is on record of the row that is selected.
func (v *viewer) showDetails() {
	row := v.rowAt(v.at)
	if row < 0 {
		return
	}
	v.cover(&viewPanel{
		title: fmt.Sprintf("Row %d", row+1),
		fit:   func(v *viewer) []string { return v.wrapped(v.detailTexts(row)) },
		next: func(v *viewer, direction int) {
			v.step(direction)
			v.showDetails()
		},
	})
}

// detailTexts tell a row: what it is, its times, the packet's header, struct tcp_info, then
// the events as they were recorded.
func (v *viewer) detailTexts(row int) []hanging {
	l := v.shown.l
	r := &l.Rows[row]
	what := rowSentence(l, row)
	if r.Lane >= 0 {
		lane := &l.Lanes[r.Lane]
		what = strings.Join(nonEmpty(lane.Name, named("(", lane.Agent, ")")), " ") + "  " + what
	}
	texts := []hanging{{text: what}}
	add := func(name, text string) {
		if text != "" {
			texts = append(texts, hanging{"  " + pad(name, 12, v.o) + "  ", text})
		}
	}
	if r.Kind == timeline.RowState {
		add("state", v.stateBounds(&l.States[r.Mark]))
	}
	if text := v.remark(row); text != "" {
		add("note", text)
	}
	moments := v.momentsOf(row)
	for _, i := range moments {
		m := &v.shown.t.Moments[i]
		prefix := ""
		if len(moments) > 1 {
			prefix = edgeWord(m.Edge) + " "
		}
		add(prefix+"lab", v.labText(m))
		add(prefix+"local", localText(m.Local)+" of "+v.shown.t.Hosts[m.Event.Host].Name+"'s CLOCK_MONOTONIC")
	}
	if v.mark != nowhere && r.Timed() && v.mark != r.Moment {
		add("from mark", v.apartText(v.mark, r.Moment))
	}
	if cause, ok := v.causeOf(row); ok {
		add("cause", v.shown.explained().causeText(&cause, make(map[*timeline.Rule]bool)))
	}
	add("connection", v.connectionText(row))
	if r.Arrow >= 0 {
		v.packetTexts(r, add)
	}
	done := make(map[*timeline.Event]bool)
	for _, i := range moments {
		e := v.shown.t.Moments[i].Event
		if done[e] {
			continue
		}
		done[e] = true
		if e.Call != nil {
			add("took", timeline.Span(int64(e.Call.Return-e.At)))
			add("tcp_info", describeTCPInfo(e.Call.TCPInfo))
		}
		texts = append(texts, hanging{}, hanging{text: fmt.Sprintf("event %d of %s", e.Number, v.shown.t.Hosts[e.Host].Name)})
		for _, line := range v.eventJSON(i) {
			bare := strings.TrimLeft(line, " ")
			texts = append(texts, hanging{line[:len(line)-len(bare)], bare})
		}
	}
	return texts
}

// explained is who caused what in the repetition. It is found out when somebody asks first.
func (l *viewedLadder) explained() *explanation {
	if l.causes == nil {
		l.causes = newExplanation(l.t, 0)
	}
	return l.causes
}

// causeOf is what brought a row about, of a call what let it return; ok is false if nobody
// looked for a cause.
func (v *viewer) causeOf(row int) (cause timeline.Cause, ok bool) {
	moments := v.momentsOf(row)
	for i := len(moments) - 1; i >= 0 && !ok; i-- {
		cause, ok = v.shown.explained().causes.Of(moments[i])
	}
	return cause, ok
}

// goToCause goes to what brought the row about, where that has a row: an arrival comes of
// its departure.
func (v *viewer) goToCause() {
	row := v.rowAt(v.at)
	if row < 0 {
		return
	}
	l := v.shown.l
	cause, ok := v.causeOf(row)
	to := nowhere
	switch r := &l.Rows[row]; {
	case ok && cause.By >= 0:
		to = v.rowOfMoment(cause.By)
	case !ok && r.Arrow >= 0 && l.Arrows[r.Arrow].Arrival == row:
		to = l.Arrows[r.Arrow].Departure
	}
	switch {
	case ok && cause.By < 0:
		v.say("%s", v.shown.explained().causeText(&cause, make(map[*timeline.Rule]bool)))
		return
	case !ok && to == nowhere:
		v.say("nothing is said to have caused this")
		return
	case to == nowhere || to == row:
		v.say("what caused this has no row of its own in what is shown")
		return
	}
	v.goTo(v.bodyOf(to))
	if ok {
		v.say("%s", v.shown.explained().causeText(&cause, make(map[*timeline.Rule]bool)))
	} else {
		v.say("this is where it left")
	}
}

// rowOfMoment is the row that shows a moment, nowhere if none does.
func (v *viewer) rowOfMoment(moment int) int {
	for row := range v.shown.l.Rows {
		if r := &v.shown.l.Rows[row]; r.Timed() && r.Moment <= moment && slices.Contains(v.momentsOf(row), moment) {
			return row
		}
	}
	return nowhere
}

func named(before, name, after string) string {
	if name == "" {
		return ""
	}
	return before + name + after
}

func edgeWord(e timeline.Edge) string {
	switch e {
	case timeline.Enter:
		return "enter"
	case timeline.Return:
		return "return"
	}
	return "at"
}

// momentsOf are the moments that a row stands for: of a call in one row, and of several,
// all their ends.
func (v *viewer) momentsOf(row int) []int {
	r := &v.shown.l.Rows[row]
	if !r.Timed() {
		return nil
	}
	moments := []int{r.Moment}
	if r.Bracket < 0 {
		return moments
	}
	b := &v.shown.l.Brackets[r.Bracket]
	if b.Enter != b.Return {
		return moments
	}
	first := v.shown.t.Moments[r.Moment].Event
	calls := []*timeline.Event{first}
	for i := range v.shown.t.Moments {
		m := &v.shown.t.Moments[i]
		if i == r.Moment || m.Event.Call == nil || m.Event.Host != first.Host || m.Event.Call.Lane != first.Call.Lane {
			continue
		}
		switch {
		case m.Event == calls[len(calls)-1]:
			moments = append(moments, i)
		case i > r.Moment && len(calls) < b.Calls:
			calls = append(calls, m.Event)
			moments = append(moments, i)
		case i > r.Moment:
			return moments
		}
	}
	return moments
}

// stateBounds says when an end came to a state, and how that is known.
func (v *viewer) stateBounds(m *timeline.StateMark) string {
	if m.Doubt != "" {
		return m.Doubt
	}
	known := map[string]string{
		timeline.KnownTraced: "traced by the kernel as it began", timeline.KnownPacket: "inferred from a packet",
		timeline.KnownCall: "inferred from a call", timeline.KnownDump: "read with sock_diag(7)", timeline.KnownOrder: "must have been passed on the way",
	}[m.Known]
	var bounds []string
	if m.After != "" {
		bounds = append(bounds, "not yet at "+m.After)
	}
	if m.By != "" {
		bounds = append(bounds, "surely by "+m.By)
	}
	return strings.Join(nonEmpty(m.Name, known, strings.Join(bounds, ", ")), "; ")
}

// connectionText names the connection of a row; it is "" if the row has none.
func (v *viewer) connectionText(row int) string {
	t := v.shown.t
	number := factsOf(t, v.shown.l, row).connection
	if number < 1 || number > len(t.Connections) {
		return ""
	}
	c := &t.Connections[number-1]
	return fmt.Sprintf("%d: %s → %s", number, endName(v, c.Client.Host, c.Client.Address.String()), endName(v, c.Server.Host, c.Server.Address.String()))
}

// packetTexts tell a packet's header and its way.
func (v *viewer) packetTexts(r *timeline.Row, add func(name, text string)) {
	a := &v.shown.l.Arrows[r.Arrow]
	add("packet", strings.Join(packetWords(v.shown.l, a), " "))
	e := v.shown.t.Moments[r.Moment].Event
	p := e.Packet
	if p == nil {
		return
	}
	add("from, to", p.Source.String()+" → "+p.Destination.String())
	if p.TCP() {
		add("header", fmt.Sprintf("%s  seq %d  ack %d  window %d  urgent %d  options %d B  payload %d B", p.Flags, p.Seq, p.Ack, p.Window, p.Urgent, len(p.Options), p.PayloadLength))
	}
	fragment := ""
	if p.DontFragment {
		fragment = "  DF"
	}
	add("IP", fmt.Sprintf("TTL %d  id %d  class %#02x%s  %d B on the wire, as %d", p.TTL, p.IPID, p.TrafficClass, fragment, p.WireLength, p.Segments))
	switch {
	case a.Delayed:
		add("on its way", delayText(a))
	case a.Lost:
		add("on its way", "lost: the tap at the other end lost nothing and did not see it")
	case a.Dropped:
		add("on its way", "dropped by a kernel")
	case a.Departure < 0 || a.Arrival < 0:
		add("on its way", "one end of it is not on record")
	}
	if p.Err > 0 {
		add("stamp", fmt.Sprintf("of CLOCK_REALTIME, moved to CLOCK_MONOTONIC within ±%s", timeline.Span(p.Err)))
	}
	if m := &v.shown.t.Moments[r.Moment]; m.Stamp.Err >= clock.Unbounded {
		add("clock", "nothing ties it to the others")
	}
}

// eventJSON is the event of a moment as the agent recorded it.
func (v *viewer) eventJSON(moment int) []string {
	raw := v.shown.raw
	if moment >= len(raw.Moments) || int(raw.Moments[moment].Event) >= len(raw.Events) {
		return []string{"  not on record"}
	}
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(raw.Events[raw.Moments[moment].Event].Event)
	var indented bytes.Buffer
	if err == nil {
		err = json.Indent(&indented, b, "  ", "  ")
	}
	if err != nil {
		return []string{"  cannot be shown: " + err.Error()}
	}
	return strings.Split("  "+indented.String(), "\n")
}
