package cli

import (
	"strings"
	"unicode"

	tea "charm.land/bubbletea/v2"
)

// promptLine is a line that a person types. The cursor stands before the rune at.
type promptLine struct {
	text []rune
	at   int
}

// longestPrompt is how many characters are taken.
const longestPrompt = longestFilter

func newPromptLine(text string) promptLine {
	p := promptLine{text: []rune(text)}
	p.at = len(p.text)
	return p
}

func (p *promptLine) String() string { return string(p.text) }

// key edits the line as a shell does, and reports whether the key meant anything to it.
func (p *promptLine) key(k tea.KeyPressMsg) bool {
	switch k.String() {
	case "left", "ctrl+b":
		p.at = max(p.at-1, 0)
	case "right", "ctrl+f":
		p.at = min(p.at+1, len(p.text))
	case "home", "ctrl+a":
		p.at = 0
	case "end", "ctrl+e":
		p.at = len(p.text)
	case "backspace", "ctrl+h":
		if p.at > 0 {
			p.remove(p.at-1, p.at)
		}
	case "delete", "ctrl+d":
		if p.at < len(p.text) {
			p.remove(p.at, p.at+1)
		}
	case "ctrl+u":
		p.remove(0, p.at)
	case "ctrl+k":
		p.remove(p.at, len(p.text))
	case "ctrl+w":
		p.remove(p.wordBefore(), p.at)
	default:
		if k.Text == "" || k.Mod&^tea.ModShift != 0 {
			return false
		}
		p.insert(k.Text)
	}
	return true
}

func (p *promptLine) remove(from, to int) {
	p.text = append(p.text[:from:from], p.text[to:]...)
	p.at = from
}

// wordBefore is where the word before the cursor begins.
func (p *promptLine) wordBefore() int {
	at := p.at
	for at > 0 && p.text[at-1] == ' ' {
		at--
	}
	for at > 0 && p.text[at-1] != ' ' {
		at--
	}
	return at
}

// insert puts in what can be seen of a text: what is pasted may hold anything.
func (p *promptLine) insert(text string) {
	var seen []rune
	for _, r := range strings.TrimSpace(text) {
		if unicode.IsPrint(r) {
			seen = append(seen, r)
		}
	}
	if text == " " {
		seen = []rune{' '}
	}
	seen = seen[:min(len(seen), max(longestPrompt-len(p.text), 0))]
	p.text = append(p.text[:p.at:p.at], append(seen, p.text[p.at:]...)...)
	p.at += len(seen)
}

// show is the part of the line that fits a number of columns, with the cursor in it, and
// the column of the cursor.
func (p *promptLine) show(o drawOptions, width int) (text string, cursor int) {
	from := 0
	for o.width(string(p.text[from:p.at]))+1 > width && from < p.at {
		from++
	}
	text = o.text(string(p.text[from:]))
	if columns.StringWidth(text) > width {
		text = columns.Truncate(text, max(width, 0), "")
	}
	return text, o.width(string(p.text[from:p.at]))
}
