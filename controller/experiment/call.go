package experiment

import "strings"

// This file reads the one-line form of a step:
//
//	[name =] call(arguments) [-> outcome] [as label]
//
// What the arguments of each call mean stands in the table of calls.

// callText is a step cut into its parts.
type callText struct {
	makes, name phrase
	args        []phrase
	timeout     *phrase
	// closing is where the arguments end.
	closing Pos
	outcome *phrase
	label   *phrase
}

// cutCall cuts a step into its parts; it is not ok after a fault.
func (p *reading) cutCall(t phrase) (c callText, ok bool) {
	t = t.trim()
	open := strings.IndexByte(t.text, '(')
	if open < 0 {
		p.fault(t.pos(), "write `[name =] call(arguments) [-> outcome] [as label]`", "%q is no call", shorten(t.text))
		return c, false
	}
	c.name = t.slice(0, open).trim()
	if name, call, found := c.name.cut("="); found {
		c.makes, c.name = name.trim(), call.trim()
		if !p.isName(c.makes, "a socket") {
			return c, false
		}
	}
	inside, rest, ok := p.cutParentheses(t, open)
	if !ok {
		return c, false
	}
	c.closing = inside.end()
	if !p.cutArguments(inside, &c) {
		return c, false
	}
	return c, p.cutTail(rest.trim(), &c)
}

// cutParentheses splits t, whose parenthesis opens at open, into what is inside and
// what follows.
func (p *reading) cutParentheses(t phrase, open int) (inside, rest phrase, ok bool) {
	depth := 0
	for i := open; i < len(t.text); i++ {
		switch t.text[i] {
		case '"':
			end := textEnd(t.text, i)
			if end < 0 {
				p.fault(t.at(i), "the whole step goes in single quotes if its text holds ` #`", "text without an end")
				return t, t, false
			}
			i = end
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return t.slice(open+1, i), t.from(i + 1), true
			}
		}
	}
	p.fault(t.at(open), "the whole step goes in quotes if it holds ` #`", "the parenthesis is not closed")
	return t, t, false
}

// textEnd is the index of the quote that closes the one at start, -1 if none does.
func textEnd(s string, start int) int {
	for i := start + 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

// cutArguments splits at the commas outside of quotes and brackets, and takes
// timeout= out.
func (p *reading) cutArguments(inside phrase, c *callText) bool {
	if strings.TrimSpace(inside.text) == "" {
		return true
	}
	for _, arg := range splitCommas(inside) {
		key, value, found := arg.cut("=")
		if !found || strings.ContainsAny(key.text, "\"({[") {
			c.args = append(c.args, arg)
			continue
		}
		key, value = key.trim(), value.trim()
		switch {
		case key.text != "timeout":
			p.fault(key.pos(), suggest(key.text, "named arguments", []string{"timeout"}), "unknown argument %q", shorten(key.text))
			return false
		case c.timeout != nil:
			p.fault(key.pos(), "", "timeout= is given twice")
			return false
		}
		c.timeout = &value
	}
	return true
}

func splitCommas(t phrase) []phrase {
	var parts []phrase
	depth, start := 0, 0
	for i := 0; i < len(t.text); i++ {
		switch t.text[i] {
		case '"':
			if i = textEnd(t.text, i); i < 0 {
				i = len(t.text)
			}
		case '(', '{', '[':
			depth++
		case ')', '}', ']':
			depth--
		case ',':
			if depth == 0 {
				parts = append(parts, t.slice(start, i).trim())
				start = i + 1
			}
		}
	}
	return append(parts, t.from(start).trim())
}

// cutTail reads what follows the parenthesis: an outcome, then a label.
func (p *reading) cutTail(rest phrase, c *callText) bool {
	if after, ok := strings.CutPrefix(rest.text, "->"); ok {
		outcome := rest.from(len(rest.text) - len(after)).trim()
		rest = outcome.from(len(outcome.text))
		if i := labelAt(outcome); i >= 0 {
			outcome, rest = outcome.slice(0, i).trim(), outcome.from(i)
		}
		c.outcome = &outcome
	}
	if rest.text == "" {
		return true
	}
	words := rest.fields()
	if words[0].text != "as" {
		p.fault(rest.pos(), "after a call comes `-> outcome`, then `as label`", "%q is not understood", shorten(rest.text))
		return false
	}
	if len(words) != 2 {
		p.fault(rest.pos(), "write `as label` last", "a label is one word")
		return false
	}
	c.label = &words[1]
	return p.isName(words[1], "a label")
}

// words splits around the spaces that stand in no text and no parenthesis.
func (p phrase) words() []phrase {
	var words []phrase
	depth, start := 0, -1
	for i := 0; i < len(p.text); i++ {
		c := p.text[i]
		if c == ' ' && depth <= 0 {
			if start >= 0 {
				words = append(words, p.slice(start, i))
			}
			start = -1
			continue
		}
		if start < 0 {
			start = i
		}
		switch c {
		case '"':
			if end := textEnd(p.text, i); end >= 0 {
				i = end
			}
		case '(':
			depth++
		case ')':
			depth--
		}
	}
	if start >= 0 {
		words = append(words, p.from(start))
	}
	return words
}

// labelAt is where "as label" begins behind an outcome, -1 if there is none.
func labelAt(t phrase) int {
	at := 0
	for _, w := range t.words() {
		at += strings.Index(t.text[at:], w.text)
		if w.text == "as" {
			return at
		}
		at += len(w.text)
	}
	return -1
}

// shorten keeps a quotation from filling the screen.
func shorten(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && s[cut]&0xc0 == 0x80 { // not inside of a character
		cut--
	}
	return s[:cut] + "…"
}
