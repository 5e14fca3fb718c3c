package experiment

import (
	"regexp"
	"slices"
)

// resultForms are the ways to say what a call returned.
var resultForms = []string{"ok", "value", "errno", "data", "ended_by"}

func (p *reading) result(n *node) {
	values, ok := p.fields(n, "a result", []string{"of"}, slices.Concat(resultForms, []string{"within", "at_least", "at_most"})...)
	if !ok {
		return
	}
	p.needs("syscalls", n.place)
	form := ""
	for _, f := range resultForms {
		if values[f] != nil && form != "" {
			p.fault(values[f].place, "join what is accepted by `or`", "a result says %s or %s, not both", form, f)
			return
		}
		if values[f] != nil {
			form = f
		}
	}
	before := len(p.faults)
	out := &ResultExpectation{}
	p.timeBounds(n, values, &out.Least, &out.Most)
	if form == "" && out.Least == nil && out.Most == nil && len(p.faults) == before {
		p.fault(n.place, knownNames("forms", resultForms), "the result does not say what is expected")
		return
	}
	t, ok := p.scalar(values["of"], "of")
	if !ok {
		return
	}
	if out.Of, ok = p.callMoment(ReturnCall, t); !ok {
		return
	}
	if form == "" {
		out.Outcome = Outcome{OK: true, Errnos: allErrnos, Timeout: true}
	} else if v, ok := p.scalar(values[form], form); ok {
		out.Outcome, _ = p.resultOutcome(form, v, out.Of)
	}
	if form == "errno" || form == "ended_by" {
		p.leaveToResult(out.Of)
	}
	out.Of.Step = p.anyRound(out.Of)
	if len(p.faults) == before {
		p.add("result", n, Expectation{Result: out})
	}
}

// leaveToResult lets a step without an outcome of its own give whatever comes of it, in
// all copies and rounds: a result expects it to fail, and judges it. The lane goes on.
func (p *reading) leaveToResult(of MomentSelector) {
	meant, ok := p.laneOf(of.Lane)
	if !ok {
		return
	}
	written := p.exp.Lanes[meant.lane].Steps[of.Step].Pos
	for _, l := range p.exp.Lanes {
		for i := range l.Steps {
			if l.Steps[i].Pos == written && l.Steps[i].Outcome == nil {
				l.Steps[i].Outcome = &Outcome{OK: true, Errnos: allErrnos, Timeout: true}
			}
		}
	}
}

var madeData = regexp.MustCompile(`^(bytes|pattern|hex) *\(`)

// resultOutcome reads `ok: true`, `value: 0`, `errno: ENAME or ENAME`, `data: "hello"`,
// `ended_by: lab timeout`.
func (p *reading) resultOutcome(form string, v phrase, of MomentSelector) (Outcome, bool) {
	switch form {
	case "ok":
		if v.text != "true" {
			p.fault(v.pos(), "write `ok: true`, or the errno that is expected", "ok is true, found %q", shorten(v.text))
		}
		return Outcome{OK: true}, v.text == "true"
	case "ended_by":
		if v.text != "lab timeout" {
			p.fault(v.pos(), "write `ended_by: lab timeout`", "unknown end %q", shorten(v.text))
		}
		return Outcome{Timeout: true}, v.text == "lab timeout"
	case "data":
		if of.Call != "recv" && of.Call != "recvfrom" {
			p.fault(v.pos(), "data is of recv or recvfrom", "%s receives no data", of.Call)
			return Outcome{}, false
		}
		data, ok := []byte(v.text), true
		if madeData.MatchString(v.text) {
			data, ok = p.bytes(v)
		}
		return Outcome{Data: [][]byte{data}}, ok
	}
	out, ok := p.outcomeOf(of, v)
	if !ok {
		return out, false
	}
	fits := !out.OK && !out.Timeout && len(out.Data) == 0 && (form == "value") == (len(out.Errnos) == 0) && (form == "errno") == (len(out.Values) == 0)
	if !fits {
		p.fault(v.pos(), "write `value: 0` or `errno: ECONNREFUSED`", "%q is no %s", shorten(v.text), form)
	}
	return out, fits
}

// outcomeOf reads an outcome of the call of a moment.
func (p *reading) outcomeOf(m MomentSelector, t phrase) (Outcome, bool) {
	of, ok := p.laneOf(m.Lane)
	if !ok {
		return p.outcome(t)
	}
	return p.outcomeIn(t, formsOf(&p.exp.Lanes[of.lane].Steps[m.Step]))
}
