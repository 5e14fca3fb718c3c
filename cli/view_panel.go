package cli

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"
)

// viewPanel covers the ladder with text, or with a list to choose from.
type viewPanel struct {
	title string
	// fit sets what the panel has on lines for a screen as wide as it is; lines are those for
	// the screen as it is now.
	fit   func(*viewer) []string
	lines []string
	// first is the first on the screen.
	first int
	// choose is called with the line that was chosen; nil for a text. at is the one that
	// is selected then.
	choose func(*viewer, int) tea.Cmd
	at     int
	// next is called to show the same of the next row, or of the one before; nil if that
	// means nothing.
	next func(v *viewer, direction int)
}

func (p *viewPanel) scroll(by, room int) {
	p.first = max(min(p.first+by, len(p.lines)-room), 0)
}

// cover covers the ladder with a panel.
func (v *viewer) cover(p *viewPanel) {
	p.lines = p.fit(v)
	v.panel = p
}

// refit sets the panel anew on a screen that has become another one. What was at its top, or
// is selected, stays on the screen.
func (v *viewer) refit() {
	p := v.panel
	if p == nil || !v.roomy() {
		return
	}
	before := len(p.lines)
	p.lines = p.fit(v)
	if p.choose != nil {
		p.scroll(0, v.panelRoom())
		p.follow(v.panelRoom())
		return
	}
	if before > 0 {
		p.first = p.first * len(p.lines) / before
	}
	p.scroll(0, v.panelRoom())
}

// follow scrolls so that what is selected is on the screen.
func (p *viewPanel) follow(room int) { p.first = max(min(p.first, p.at), p.at-room+1) }

// panelRoom is how many lines of a panel the screen has: it has a title.
func (v *viewer) panelRoom() int { return max(v.height-chromeAbove-chromeBelow-1, 1) }

// panelKey does what a key means in a panel; done is false if it means what it does
// without one, and the panel is closed then.
func (v *viewer) panelKey(k tea.KeyPressMsg) (done bool, cmd tea.Cmd) {
	p, room, by := v.panel, v.panelRoom(), 0
	switch k.String() {
	case "j", "down":
		by = 1
	case "k", "up":
		by = -1
	case "pgdown", "space":
		by = room
	case "pgup", "b":
		by = -room
	case "ctrl+d":
		by = room / 2
	case "ctrl+u":
		by = -room / 2
	case "g", "home":
		by = -len(p.lines)
	case "G", "end":
		by = len(p.lines)
	case "tab", "shift+tab":
		if p.next == nil {
			return true, nil
		}
		direction := 1
		if k.String() == "shift+tab" {
			direction = -1
		}
		p.next(v, direction)
		return true, nil
	case "esc", "q":
		v.panel = nil
		return true, nil
	case "enter":
		v.panel = nil
		if p.choose != nil && p.at < len(p.lines) {
			return true, p.choose(v, p.at)
		}
		return true, nil
	case "?":
		v.panel = nil
		return p.title == helpTitle, nil
	default:
		if p.choose == nil {
			v.panel = nil
			return false, nil
		}
		return true, nil
	}
	if p.choose == nil {
		p.scroll(by, room)
		return true, nil
	}
	p.at = max(min(p.at+by, len(p.lines)-1), 0)
	p.follow(room)
	return true, nil
}

const helpTitle = "Keys"

func (v *viewer) showHelp() {
	v.cover(&viewPanel{title: helpTitle, fit: func(v *viewer) []string { return v.wrapped(v.helpTexts()) }})
}

// hanging is a text and what stands before its first line; the others are indented as far.
type hanging struct{ lead, text string }

// wrapped sets texts on lines as wide as the screen.
func (v *viewer) wrapped(texts []hanging) []string {
	var lines []string
	for _, h := range texts {
		for _, line := range v.o.sentence(h.lead, h.text) {
			lines = append(lines, strings.TrimRight(line, " "))
		}
	}
	return lines
}

// showAbout tells what the text ladder tells above and below the picture.
func (v *viewer) showAbout() {
	v.cover(&viewPanel{title: "About this repetition", fit: func(v *viewer) []string {
		o := v.o
		o.Colour = false
		return append(ladderHeader(v.shown.l, o), ladderFooter(v.shown.l, o, v.shown.d.drawn())...)
	}})
}

func (v *viewer) pickConnection() {
	t := v.shown.t
	if len(t.Connections) == 0 {
		v.say("this repetition has no connection")
		return
	}
	lines := []string{"all"}
	for i := range t.Connections {
		c := &t.Connections[i]
		lines = append(lines, fmt.Sprintf("%d  %s → %s", i+1, endName(v, c.Client.Host, c.Client.Address.String()), endName(v, c.Server.Host, c.Server.Address.String())))
	}
	at := 0
	if len(v.look.Connections) == 1 {
		at = v.look.Connections[0]
	}
	v.pick("Connections", lines, at, func(v *viewer, i int) tea.Cmd {
		v.keep()
		v.look.Connections = nil
		if i > 0 {
			v.look.Connections = []int{i}
		}
		v.lay()
		return nil
	})
}

func endName(v *viewer, host int, address string) string {
	if host < 0 {
		return address
	}
	return v.shown.t.Hosts[host].Name + " " + address
}

func (v *viewer) pickRepetition() tea.Cmd {
	return v.listed(func(v *viewer) tea.Cmd {
		if len(v.list) == 0 {
			v.say("no repetition of the run was done to its end")
			return nil
		}
		var lines []string
		at := 0
		for i := range v.list {
			r := &v.list[i]
			lines = append(lines, strings.Join(nonEmpty(fmt.Sprint(r.number), r.variant, r.why), "  "))
			if r.number == v.shown.t.Repetition {
				at = i
			}
		}
		v.pick("Repetitions", lines, at, func(v *viewer, i int) tea.Cmd { return v.open(v.list[i].number, false) })
		return nil
	})
}

// pick lets choose one of several lines, each cut to the screen.
func (v *viewer) pick(title string, lines []string, at int, choose func(*viewer, int) tea.Cmd) {
	v.cover(&viewPanel{title: title, at: max(min(at, len(lines)-1), 0), choose: choose, fit: func(v *viewer) []string {
		var cut []string
		for _, line := range lines {
			cut = append(cut, v.o.cut(line, max(v.o.Width-2, 1)))
		}
		return cut
	}})
	v.panel.follow(v.panelRoom())
}
