package cli

import (
	"strings"
	"unicode"

	"github.com/mattn/go-runewidth"
)

// style is how a piece of text stands out on a terminal with colours. Nothing is
// said by colour alone.
type style uint8

const (
	plain style = iota
	faint
	red
	green
	yellow
)

// ansi are the sequences of ECMA-48 8.3.117 that set each style.
var ansi = [...]string{plain: "", faint: "\x1b[2m", red: "\x1b[31m", green: "\x1b[32m", yellow: "\x1b[33m"}

const ansiReset = "\x1b[0m"

// columns measures text in terminal columns, whatever the locale: the box-drawing
// characters are one wide here.
var columns = &runewidth.Condition{StrictEmojiNeutral: true}

// ascii has a stand-in for every character that a picture uses beyond ASCII.
var ascii = strings.NewReplacer(
	"│", "|", "─", "-", "┬", "+", "┴", "+", "┼", "+", "├", "-", "┤", "-", "┊", ":", "┃", "#", "┋", "%", "×", "x",
	"╭", "+", "╮", "+", "╯", "+", "╰", "+", "╱", "/", "╲", `\`, "╳", "X", "┄", "-",
	"▶", ">", "◀", "<", "▷", ">", "◁", "<", "●", "o", "⋮", ":", "≈", "~",
	"→", "->", "↔", "<->", "└", "+", "▲", "^", "·", "-", "±", "+-", "µ", "u", "−", "-", "…", "...", "ε", "eps", "–", "-", "≤", "<=", "»", ">>",
	"✓", "v", "✗", "x", "░", "%", "◆", "*", "◇", "^", "◈", "@",
)

// text is a string as it may be put on the terminal: without control characters,
// since part of it comes from other machines, and in ASCII if that is asked for.
func (o drawOptions) text(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
	if !o.ASCII {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII {
			return '?'
		}
		return r
	}, ascii.Replace(s))
}

// width is the number of columns a string takes once it is put on the terminal.
func (o drawOptions) width(s string) int { return columns.StringWidth(o.text(s)) }

// paint puts a style around a string.
func (o drawOptions) paint(s string, st style) string {
	if !o.Colour || st == plain || s == "" {
		return s
	}
	return ansi[st] + s + ansiReset
}

// cut shortens text to a number of columns, with an ellipsis where something is
// missing.
func (o drawOptions) cut(s string, width int) string {
	s = o.text(s)
	if columns.StringWidth(s) <= width {
		return s
	}
	more := o.text("…")
	if width < columns.StringWidth(more) {
		return more[:max(width, 0)]
	}
	return columns.Truncate(s, width, more)
}

// fitting is the first of several texts that fits, or what fits of the last.
func (o drawOptions) fitting(texts []string, room int) string {
	for _, text := range texts {
		if o.width(text) <= room {
			return text
		}
	}
	return o.cut(texts[len(texts)-1], room)
}

// fit is a line cut to the width of the terminal.
func (o drawOptions) fit(s string) string { return o.cut(s, o.Width) }

// spread puts one text at the left and one at the right end of a line.
func (o drawOptions) spread(left, right string, st style) string {
	if right == "" {
		return o.fit(left)
	}
	room := o.Width - o.width(right) - 2
	left = o.cut(left, room)
	gap := strings.Repeat(" ", max(o.Width-columns.StringWidth(left)-o.width(right), 1))
	return left + gap + o.paint(o.text(right), st)
}

// sentence sets a text on as many lines as it needs, as wrap does, and cuts words that are
// longer than a line: what a host calls itself, or its clock, may be.
func (o drawOptions) sentence(lead, text string) []string {
	room := max(o.Width-o.width(lead), 2)
	var words []string
	for _, word := range strings.Fields(o.text(text)) {
		for columns.StringWidth(word) > room {
			head := columns.Truncate(word, room, "")
			words = append(words, head)
			word = strings.TrimPrefix(word, head)
		}
		words = append(words, word)
	}
	return o.wrap(lead, words, " ")
}

// wrap sets pieces on as many lines as they need, the first opened by lead and the
// others indented as far. A piece that is longer than a line is cut at its words.
func (o drawOptions) wrap(lead string, pieces []string, separator string) []string {
	indent := strings.Repeat(" ", o.width(lead))
	var lines []string
	line, empty := o.text(lead), true
	// A comma stays on the line that it ends.
	comma := ""
	if strings.HasPrefix(separator, ",") {
		comma = ","
	}
	add := func(piece, between string) {
		if !empty && columns.StringWidth(line)+o.width(between+piece+comma) > o.Width {
			if between == separator {
				line += comma
			}
			lines = append(lines, strings.TrimRight(line, " "))
			line, empty = indent, true
		}
		if !empty {
			line += o.text(between)
		}
		line, empty = line+o.text(piece), false
	}
	for _, piece := range pieces {
		if o.width(piece)+len(indent) <= o.Width {
			add(piece, separator)
			continue
		}
		for i, word := range strings.Fields(piece) {
			if i == 0 {
				add(word, separator)
			} else {
				add(word, " ")
			}
		}
	}
	return append(lines, line)
}
