package experiment

import (
	"slices"
	"time"
)

// defaultLead is how long before its instant a meeting is told to the hosts: longer
// than a message takes to any of them.
const defaultLead = 20 * time.Millisecond

const maxMeetings = 256

// meetings reads `meetings: { go: { lead: 100ms, max_spread: 10ms } }`.
func (p *reading) meetings(n *node) {
	if n.kind == null {
		return
	}
	if n.kind != mapping {
		p.fault(n.place, "write `meetings: { go: { max_spread: 10ms } }`", "meetings is a mapping of names, found %s", n.kind.describe())
		p.vague.meetings = true
		return
	}
	for _, e := range n.entries {
		if !p.isName(e.key, "a meeting") {
			p.vague.meetings = true
			continue
		}
		m := Meeting{Name: e.key.text, Lead: defaultLead, Pos: e.key.pos()}
		values := p.keys(e.value, "key", []string{"lead", "max_spread", "release"})
		if v := values["lead"]; v != nil {
			if t, ok := p.scalar(v, "lead"); ok {
				m.Lead = p.duration(t, "lead", time.Millisecond)
			}
		}
		if v := values["max_spread"]; v != nil {
			if t, ok := p.scalar(v, "max_spread"); ok {
				m.MaxSpread = p.duration(t, "max_spread", time.Nanosecond)
			}
		}
		if v := values["release"]; v != nil {
			const only = "same aligned instant"
			if t, ok := p.scalar(v, "release"); ok && t.text != only {
				p.fault(t.pos(), "write `release: "+only+"`, or leave it away", "unknown release %q", shorten(t.text))
			}
		}
		p.declare("meeting", e.key)
		p.exp.Meetings = append(p.exp.Meetings, m)
	}
}

// comeTo notes that a lane comes to a meeting, each of its copies once.
func (p *reading) comeTo(s *script, a *action, name string, rounds int) {
	i := slices.IndexFunc(p.exp.Meetings, func(m Meeting) bool { return m.Name == name })
	if i < 0 {
		if i = len(p.exp.Meetings); i == maxMeetings {
			p.fault(a.at, "", "more than %d meetings", maxMeetings)
			return
		}
		p.exp.Meetings = append(p.exp.Meetings, Meeting{Name: name, Lead: defaultLead, Pos: a.at})
	}
	p.use("meeting", name)
	m := &p.exp.Meetings[i]
	first := s.lane.Base
	if s.copies > 0 {
		first = copyName(first, 1)
	}
	switch {
	case slices.Contains(m.Lanes, first):
		p.fault(a.at, "a meeting takes place once a repetition: give the second another name", "the lane %q comes to the meeting %q twice", s.lane.Base, name)
	case rounds > 1:
		p.fault(a.at, "a meeting takes place once a repetition", "the lane %q comes to the meeting %q in each of %d rounds", s.lane.Base, name, rounds)
	case s.copies > 0:
		m.Lanes = append(m.Lanes, p.copyNames(s)...)
	default:
		m.Lanes = append(m.Lanes, first)
	}
}

// checkMeetings faults meetings to which one lane comes alone, and leaves those away to
// which none comes.
func (p *reading) checkMeetings() {
	if p.vague.lanes || slices.ContainsFunc(p.scripts, func(s *script) bool { return s.vague }) {
		return
	}
	p.exp.Meetings = slices.DeleteFunc(p.exp.Meetings, func(m Meeting) bool { return len(m.Lanes) == 0 })
	var known []string
	for _, m := range p.exp.Meetings {
		known = append(known, m.Name)
	}
	for _, m := range p.exp.Meetings {
		if len(m.Lanes) == 1 && copyOf.FindString(m.Lanes[0]) == "" {
			p.fault(m.Pos, suggest(m.Name, "other meetings", slices.DeleteFunc(slices.Clone(known), func(n string) bool { return n == m.Name })),
				"the lane %q comes to the meeting %q alone", m.Lanes[0], m.Name)
		}
	}
}
