package experiment

import (
	"slices"
	"strings"
)

// YAML ends an item of a list in brackets at every comma, so that it would cut
// [sent(A, SYN)] in two. The language means the parenthesis: what stands in one is
// hidden from the YAML library, character for character, and brought back in the
// scalars that come out. Places in the file stay what they are.

// indicators are the characters that mean something to YAML (YAML 1.2 section 5.3).
// The one at index i is hidden as the rune firstHidden + i, a noncharacter of Unicode
// that no file may hold.
const (
	indicators  = "-?:,[]{}#&*!|>'\"%@`"
	firstHidden = 0xfdd0
	lastHidden  = 0xfdef
)

func hidden(r rune) rune {
	if i := strings.IndexRune(indicators, r); i >= 0 {
		return firstHidden + rune(i)
	}
	return r
}

// reveal undoes what hidden did to the runes of a text.
func reveal(text string) string {
	return strings.Map(func(r rune) rune {
		if i := int(r) - firstHidden; i >= 0 && i < len(indicators) {
			return rune(indicators[i])
		}
		return r
	}, text)
}

// hideParentheses returns the lines with all indicators hidden that stand in a
// parenthesis of a plain scalar in a flow collection. A parenthesis that is not closed
// ends with the collection.
func hideParentheses(lines []string) []string {
	h := &hiding{lines: make([][]rune, len(lines))}
	for i, line := range lines {
		h.lines[i] = []rune(line)
	}
	for h.y < len(h.lines) {
		h.blockLine()
	}
	out := make([]string, len(lines))
	for i, line := range h.lines {
		out[i] = string(line)
	}
	return out
}

// hiding walks through a file once. It knows just enough of YAML to tell flow
// collections from everything else; what is wrong with a file the library will say.
type hiding struct {
	lines [][]rune
	// y and x are the place: lines and runes, from 0.
	y, x int
}

// inLine reports whether something follows on this line; after the last line nothing
// does.
func (h *hiding) inLine() bool { return h.y < len(h.lines) && h.x < len(h.lines[h.y]) }

// rest is what follows on this line.
func (h *hiding) rest() []rune { return h.lines[h.y][h.x:] }

func (h *hiding) nextLine() { h.y, h.x = h.y+1, 0 }

func (h *hiding) skipSpaces() {
	for h.inLine() && h.rest()[0] == ' ' {
		h.x++
	}
}

// blockLine reads one line outside of all flow collections, and what begins on it.
func (h *hiding) blockLine() {
	parent := -1 // the column of the key or dash whose value comes
	for {
		h.skipSpaces()
		rest := h.rest()
		switch {
		case len(rest) == 0 || rest[0] == '#':
			h.nextLine()
			return
		case rest[0] == '-' && (len(rest) == 1 || rest[1] == ' '):
			parent = h.x
			h.x++
		case rest[0] == '[' || rest[0] == '{':
			h.flow()
			return
		case rest[0] == '"' || rest[0] == '\'':
			column := h.x
			h.quoted()
			if !h.inLine() || h.rest()[0] != ':' {
				h.nextLine()
				return
			}
			parent = column
			h.x++
		default:
			end := keyEnd(rest)
			if end < 0 {
				h.skipScalar(parent)
				return
			}
			parent = h.x
			h.x += end + 1
		}
	}
}

// keyEnd is the index of the colon that makes a key of what precedes it, -1 if none
// does.
func keyEnd(line []rune) int {
	for i, r := range line {
		if r == '#' && i > 0 && line[i-1] == ' ' {
			return -1
		}
		if r == ':' && (i+1 == len(line) || line[i+1] == ' ') {
			return i
		}
	}
	return -1
}

// skipScalar leaves a plain or block scalar behind: all lines that are indented
// deeper than its parent belong to it.
func (h *hiding) skipScalar(parent int) {
	h.nextLine()
	for ; parent >= 0 && h.y < len(h.lines); h.nextLine() {
		h.skipSpaces()
		if len(h.rest()) > 0 && h.x <= parent {
			break
		}
	}
	h.x = 0
}

// quoted leaves a scalar in quotes behind. One without an end takes the rest of the
// file.
func (h *hiding) quoted() {
	quote := h.rest()[0]
	for h.x++; h.y < len(h.lines); h.nextLine() {
		for ; h.inLine(); h.x++ {
			rest := h.rest()
			switch {
			case rest[0] == '\\' && quote == '"', rest[0] == quote && quote == '\'' && len(rest) > 1 && rest[1] == quote:
				h.x++
			case rest[0] == quote:
				h.x++
				return
			}
		}
	}
}

// flow leaves a flow collection and the rest of its last line behind.
func (h *hiding) flow() {
	depth, start := 0, true // start: no scalar has begun since the last mark
	for ; h.y < len(h.lines); h.nextLine() {
		for h.inLine() {
			switch r := h.rest()[0]; {
			case r == '(':
				h.parenthesis()
				start = false
				continue
			case (r == '"' || r == '\'') && start:
				h.quoted()
				start = false
				continue
			case r == '#' && h.afterSpace():
				h.x = len(h.lines[h.y])
				continue
			case r == '[' || r == '{':
				depth, start = depth+1, true
			case r == ']' || r == '}':
				depth--
			case r == ',' || r == ':' && h.beforeSpace():
				start = true
			case r != ' ':
				start = false
			}
			h.x++
			if depth == 0 {
				h.nextLine()
				return
			}
		}
	}
}

func (h *hiding) afterSpace() bool { return h.x == 0 || h.lines[h.y][h.x-1] == ' ' }

func (h *hiding) beforeSpace() bool {
	rest := h.rest()
	return len(rest) == 1 || rest[1] == ' '
}

// parenthesis hides what is in the parenthesis that opens here, and stops behind its
// end, or at the bracket that ends the collection.
func (h *hiding) parenthesis() {
	var open []rune
	for ; h.y < len(h.lines); h.nextLine() {
		for h.inLine() {
			r := h.rest()[0]
			switch r {
			case '(', '[', '{':
				open = append(open, r)
			case ')', ']', '}':
				i := lastIndex(open, opening[r])
				if i < 0 {
					return
				}
				open = open[:i]
			case '"':
				h.hideText()
				continue
			case '#':
				if h.afterSpace() {
					h.x = len(h.lines[h.y])
					continue
				}
			}
			h.lines[h.y][h.x] = hidden(r)
			h.x++
			if len(open) == 0 {
				return
			}
		}
	}
}

var opening = map[rune]rune{')': '(', ']': '[', '}': '{'}

func lastIndex(open []rune, r rune) int {
	for i, other := range slices.Backward(open) {
		if other == r {
			return i
		}
	}
	return -1
}

// hideText hides a text in quotes that is an argument of a call, or the quote alone
// if it has no end on this line.
func (h *hiding) hideText() {
	rest := h.rest()
	end := 1
	for end < len(rest) && rest[end] != '"' {
		if rest[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(rest) {
		end = 0
	}
	for i := range end + 1 {
		rest[i] = hidden(rest[i])
	}
	h.x += end + 1
}
