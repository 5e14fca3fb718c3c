package experiment

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// outcomeForms are what an outcome may be beside ok, errnos, timeout and any, which
// every call can have.
type outcomeForms struct {
	// data: bytes that are received.
	data bool
	// events: those of poll, as IN|HUP.
	events bool
	// option is the one that getsockopt asks for.
	option *option
}

// outcome reads what an author accepts of a call of no special kind.
func (p *reading) outcome(t phrase) (Outcome, bool) { return p.outcomeIn(t, outcomeForms{}) }

// outcomeIn reads what an author accepts of a call: parts joined by "or".
func (p *reading) outcomeIn(t phrase, forms outcomeForms) (Outcome, bool) {
	var out Outcome
	words := t.words()
	for len(words) > 0 {
		n := slices.IndexFunc(words, func(w phrase) bool { return w.text == "or" })
		last := n < 0
		if last {
			n = len(words)
		}
		if n == 0 || !last && n+1 == len(words) {
			words = nil
			break
		}
		if !p.outcomePart(t, words[:n], forms, &out) {
			return out, false
		}
		if last {
			return out, true
		}
		words = words[n+1:]
	}
	p.fault(t.end(), "write ok, a number, the name of an errno or timeout", "an outcome is missing")
	return out, false
}

// outcomePart reads one part, which is one word, or several that are a number.
func (p *reading) outcomePart(t phrase, words []phrase, forms outcomeForms, out *Outcome) bool {
	if i := slices.IndexFunc(words, func(w phrase) bool { return !isArithmetic(w.text) }); len(words) > 1 && i >= 0 {
		w := words[max(i, 1)]
		p.fault(w.pos(), "outcomes are joined by `or`, a label comes after `as`", "%q is not understood", shorten(w.text))
		return false
	}
	w := words[0]
	if len(words) > 1 {
		w = join(words)
	}
	switch {
	case w.text == "ok":
		out.OK = true
	case w.text == "timeout":
		out.Timeout = true
	case w.text == "any":
		out.OK, out.Errnos = true, allErrnos
	case isArithmetic(w.text):
		return p.outcomeNumber(w, forms, out)
	case isData(w.text) && (forms.data || forms.option.isBytes()):
		data, ok := p.bytes(w)
		out.Data = append(out.Data, data)
		return ok
	case isData(w.text):
		p.fault(w.pos(), "what recv, recvfrom and getsockopt get can be an outcome", "this call gives no data that could be %s", shorten(w.text))
		return false
	case forms.events && isEvents(w.text):
		mask, ok := p.mask(w, "event", pollEvents)
		out.accept(int64(mask))
		return ok
	case forms.option != nil && forms.option.unit > 0 && isTime(w.text):
		n, ok := p.units(w, forms.option.unit)
		out.accept(int64(n))
		return ok
	default:
		return p.outcomeErrno(w, forms, out)
	}
	return true
}

// isArithmetic reports whether a word is a number, or a piece of a sum of such.
func isArithmetic(w string) bool {
	return strings.Trim(w, "0123456789+-* ") == ""
}

func isTime(w string) bool {
	_, err := time.ParseDuration(w)
	return err == nil
}

// join is the piece of text that goes from the first of several words to the last.
func join(words []phrase) phrase {
	out := phrase{line: words[0].line}
	var text strings.Builder
	for i, w := range words {
		if i > 0 {
			text.WriteByte(' ')
			out.columns = append(out.columns, w.columns[0])
		}
		text.WriteString(w.text)
		out.columns = append(out.columns, w.columns[:len(w.text)]...)
	}
	last := words[len(words)-1]
	out.text = text.String()
	out.columns = append(out.columns, last.columns[len(last.text)])
	return out
}

func (o *Outcome) accept(n int64) {
	if !slices.Contains(o.Values, n) {
		o.Values = append(o.Values, n)
	}
}

func (p *reading) outcomeNumber(w phrase, forms outcomeForms, out *Outcome) bool {
	n, ok := calculate(w.text)
	switch {
	case !ok:
		p.fault(w.pos(), "", "%q is no number", shorten(w.text))
		return false
	case forms.events && n != 0:
		p.fault(w.pos(), "name the events that come, IN|HUP; 0 is none of them in time", "poll gives events, not the number %d", n)
		return false
	case forms.option != nil && !forms.option.isNumber():
		p.fault(w.pos(), forms.option.outcomeHint(), "the value of %s is no number", forms.option.name)
		return false
	case n < 0 && forms.option == nil:
		p.fault(w.pos(), "write the name of the errno", "a call that fails gives an errno, not %d", n)
		return false
	}
	out.accept(n)
	return true
}

func (p *reading) outcomeErrno(w phrase, forms outcomeForms, out *Outcome) bool {
	n, ok := errnos[w.text]
	switch {
	case !ok:
		p.fault(w.pos(), p.suggestOutcome(w.text, forms), "unknown outcome %q", shorten(w.text))
		return false
	case forms.option != nil && forms.option.kind == OptionErrno:
		out.accept(int64(n)) // getsockopt succeeds: the error is the value
	case !slices.Contains(out.Errnos, n):
		out.Errnos = append(out.Errnos, n)
	}
	return true
}

// succeeds reports whether the outcome leaves room for success.
func (o *Outcome) succeeds() bool {
	return o == nil || o.OK || len(o.Values) > 0 || len(o.Data) > 0
}

// allErrnos are those of `any`, whatever the kernel says, in order.
var allErrnos = slices.Compact(slices.Sorted(maps.Values(errnos)))

func (p *reading) suggestOutcome(name string, forms outcomeForms) string {
	text := "an outcome is ok, a number, the name of an errno as errno(3) lists it, timeout or any"
	switch {
	case forms.data:
		text += `; what is received may be "text" too`
	case forms.events:
		text += "; poll gives events: IN|HUP"
	}
	if !p.hints() {
		return text
	}
	known := append(errnoNames(), "ok", "timeout", "any")
	if forms.events {
		known = append(known, maskNames(pollEvents)...)
	}
	if c := Closest(name, known); c != "" {
		return fmt.Sprintf("did you mean %q? %s", c, text)
	}
	return text
}

// hints reports whether names that were meant are still looked for. In a file with more
// faults than anyone reads at once it would take too long.
func (p *reading) hints() bool { return len(p.faults) < 20*maxShown }
