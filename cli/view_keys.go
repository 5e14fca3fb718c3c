package cli

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"

	"syncline/controller/timeline"
)

// viewKey is what some keys do.
type viewKey struct {
	// group and help are how the help has it; without help it is not told.
	group, help string
	keys        []string
	do          func(*viewer) tea.Cmd
	// always is true for what needs no repetition.
	always bool
}

// viewKeys are all keys of the viewer but those of a prompt. Where a key scrolls, it does
// so in a panel as well.
func viewKeys() []viewKey {
	plainly := func(do func(*viewer)) func(*viewer) tea.Cmd {
		return func(v *viewer) tea.Cmd {
			do(v)
			return nil
		}
	}
	laying := func(change func(*viewer)) func(*viewer) tea.Cmd {
		return plainly(func(v *viewer) {
			change(v)
			v.relay()
		})
	}
	return []viewKey{
		{"Move", "one row down, up", []string{"j", "down"}, plainly(func(v *viewer) { v.step(1) }), false},
		{"", "", []string{"k", "up"}, plainly(func(v *viewer) { v.step(-1) }), false},
		{"Move", "a screen down, up", []string{"pgdown", "space"}, plainly(func(v *viewer) { v.page(v.room()) }), false},
		{"", "", []string{"pgup", "b"}, plainly(func(v *viewer) { v.page(-v.room()) }), false},
		{"Move", "half a screen down, up", []string{"ctrl+d"}, plainly(func(v *viewer) { v.page(v.room() / 2) }), false},
		{"", "", []string{"ctrl+u"}, plainly(func(v *viewer) { v.page(-v.room() / 2) }), false},
		{"Move", "the first row, the last", []string{"g", "home"}, plainly(func(v *viewer) { v.goTo(0); v.first = 0 }), false},
		{"", "", []string{"G", "end"}, plainly(func(v *viewer) { v.goTo(v.bodyLength() - 1) }), false},
		{"Move", "to the row that is marked", []string{"'"}, plainly((*viewer).goToMark), false},
		{"Look closer", "all that is on record of the row", []string{"enter"}, plainly((*viewer).showDetails), false},
		{"Look closer", "go to what caused the row", []string{"u"}, plainly((*viewer).goToCause), false},
		{"Look closer", "mark the row: times are told from it", []string{"m"}, plainly((*viewer).setMark), false},
		{"Look closer", "what the run is, its clocks, verdicts and marks", []string{"i"}, plainly((*viewer).showAbout), false},
		{"Find", "filter, as in host:A call:connect -is:lab \"SYN\"", []string{"/"}, plainly((*viewer).askFilter), false},
		{"Find", "the next hit, the one before", []string{"n"}, plainly(func(v *viewer) { v.nextHit(1) }), false},
		{"", "", []string{"N"}, plainly(func(v *viewer) { v.nextHit(-1) }), false},
		{"Find", "fold away all but the hits", []string{"f"}, plainly((*viewer).toggleHits), false},
		{"Choose", "connections", []string{"c"}, plainly((*viewer).pickConnection), false},
		{"Choose", "the repetition before, the next", []string{"["}, func(v *viewer) tea.Cmd { return v.nextRepetition(-1, false) }, false},
		{"", "", []string{"]"}, func(v *viewer) tea.Cmd { return v.nextRepetition(1, false) }, false},
		{"Choose", "the next odd repetition, the one before", []string{"o"}, func(v *viewer) tea.Cmd { return v.nextRepetition(1, true) }, false},
		{"", "", []string{"O"}, func(v *viewer) tea.Cmd { return v.nextRepetition(-1, true) }, false},
		{"Choose", "a repetition from a list", []string{"p"}, (*viewer).pickRepetition, false},
		{"Choose", "compare with another repetition, or no longer", []string{"d"}, (*viewer).askCompare, false},
		{"Choose", "swap the two that are compared", []string{"x"}, plainly((*viewer).swap), false},
		{"Show", "scale: a row each, linear, log", []string{"s"}, laying(func(v *viewer) { v.look.Scale = (v.look.Scale + 1) % (timeline.ScaleLog + 1) }), false},
		{"Show", "times of each host's own clock, raw", []string{"r"}, laying(func(v *viewer) { v.look.LocalTimes = !v.look.LocalTimes }), false},
		{"Show", "times from connect(), the first SYN, of the day", []string{"z"}, plainly((*viewer).nextZero), false},
		{"Show", "notes", []string{"t"}, laying(func(v *viewer) { v.look.Notes = !v.look.Notes }), false},
		{"Show", "the lab's own steps", []string{"l"}, laying(func(v *viewer) { v.look.HideLab = !v.look.HideLab }), false},
		{"Show", "calls", []string{"1"}, laying(func(v *viewer) { v.look.HideCalls = !v.look.HideCalls }), false},
		{"Show", "packets", []string{"2"}, laying(func(v *viewer) { v.look.HidePackets = !v.look.HidePackets }), false},
		{"Show", "TCP states", []string{"3"}, laying(func(v *viewer) { v.look.HideStates = !v.look.HideStates }), false},
		{"Else", "save what is shown as text", []string{"S"}, plainly((*viewer).askSave), false},
		{"Else", "this help", []string{"?"}, plainly((*viewer).showHelp), true},
		{"Else", "quit", []string{"q"}, func(*viewer) tea.Cmd { return tea.Quit }, true},
	}
}

// keyName is a key as a person reads it.
func keyName(key string) string {
	switch key {
	case "pgdown":
		return "PgDn"
	case "pgup":
		return "PgUp"
	case "ctrl+d":
		return "^D"
	case "ctrl+u":
		return "^U"
	case "down", "up", "space", "home", "end", "enter":
		return strings.ToUpper(key[:1]) + key[1:]
	}
	return key
}

// helpTexts list what all keys do. A key whose line has no help belongs to the one before.
func (v *viewer) helpTexts() []hanging {
	var texts []hanging
	group, keys, help := "", "", ""
	flush := func() {
		if help != "" {
			texts = append(texts, hanging{"  " + pad(keys, 20, v.o) + "  ", help})
		}
	}
	for i := range v.keys {
		b := &v.keys[i]
		var names []string
		for _, key := range b.keys {
			names = append(names, keyName(key))
		}
		if b.help == "" {
			keys += "  " + strings.Join(names, " ")
			continue
		}
		flush()
		if b.group != group {
			texts = append(texts, hanging{}, hanging{text: b.group})
			group = b.group
		}
		keys, help = strings.Join(names, " "), b.help
	}
	flush()
	return append(texts[1:], hanging{}, hanging{text: "The wheel scrolls, a click selects a row, another one opens it."}, hanging{text: "Esc closes a panel; ^C leaves at once."})
}

// nextZero counts the times from something else, and says so where nothing tells that.
func (v *viewer) nextZero() {
	v.look.Zero = (v.look.Zero + 1) % (timeline.ZeroWall + 1)
	v.relay()
	if why := noZero(v.shown.l, v.look); why != "" {
		v.say("times cannot count from %s: %s", v.look.Zero, why)
	}
}

func (v *viewer) goToMark() {
	if v.mark == nowhere {
		v.say("no row is marked; m marks the one that is selected")
		return
	}
	v.keep()
	v.restore.moment = v.mark
	v.goTo(v.place())
}

// setMark marks the row that is selected, or takes its mark away.
func (v *viewer) setMark() {
	row := v.rowAt(v.at)
	if row < 0 || !v.shown.l.Rows[row].Timed() {
		v.say("this row has no time of its own to count from")
		return
	}
	moment := v.shown.l.Rows[row].Moment
	if v.mark == moment {
		v.mark = nowhere
		v.say("no row is marked now")
		return
	}
	v.mark = moment
	v.say("times are told from this row; m takes the mark away, ' comes back to it")
}

func (v *viewer) toggleHits() {
	if v.filter == nil {
		v.say("there is no filter; / sets one")
		return
	}
	v.keep()
	v.onlyHits = !v.onlyHits
	v.fold()
	v.goTo(v.place())
	if v.onlyHits && len(v.hits) == 0 {
		v.say("nothing in this repetition is %s, so all is shown", v.filter.source)
	}
}

// nextRepetition opens the next repetition in a direction, of all or of the odd ones.
func (v *viewer) nextRepetition(direction int, odd bool) tea.Cmd {
	return v.listed(func(v *viewer) tea.Cmd {
		return v.openNext(direction, odd)
	})
}

func (v *viewer) openNext(direction int, odd bool) tea.Cmd {
	to := nowhere
	for i := range v.list {
		r := &v.list[i]
		beyond := (r.number - v.shown.t.Repetition) * direction
		if beyond <= 0 || odd && r.why == "" {
			continue
		}
		if to == nowhere || beyond < (v.list[to].number-v.shown.t.Repetition)*direction {
			to = i
		}
	}
	if to == nowhere {
		v.say("%s", v.noneBeyond(direction, odd))
		return nil
	}
	if odd {
		v.say("repetition %d: %s", v.list[to].number, v.list[to].why)
	}
	return v.open(v.list[to].number, false)
}

// noneBeyond says that there is no further repetition.
func (v *viewer) noneBeyond(direction int, odd bool) string {
	any := false
	for i := range v.list {
		any = any || v.list[i].why != ""
	}
	switch {
	case odd && !any:
		return fmt.Sprintf("none of the %d repetitions is odd", len(v.list))
	case odd && direction > 0:
		return "no repetition after this one is odd; O looks before it"
	case odd:
		return "no repetition before this one is odd; o looks after it"
	case direction > 0:
		return "this is the last repetition"
	}
	return "this is the first repetition"
}

// swap shows the repetition that was compared with, and compares it with the one that was
// shown.
func (v *viewer) swap() {
	if v.other == nil {
		v.say("nothing is compared; d compares with another repetition")
		return
	}
	v.shown, v.other = v.other, v.shown
	v.mark = nowhere
	v.restore = viewPlace{nowhere, v.at}
	v.chooseOfShown()
	v.lay()
}
