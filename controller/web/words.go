package web

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"syncline/controller/experiment"
	"syncline/controller/timeline"
)

// speaker tells each moment in one line: what the event table shows and the filter looks in.
type speaker struct {
	t      *timeline.Timeline
	ladder *timeline.Ladder
	// names are the hosts' by their addresses.
	names map[netip.Addr]string
}

func newSpeaker(t *timeline.Timeline, ladder *timeline.Ladder) *speaker {
	s := &speaker{t: t, ladder: ladder, names: make(map[netip.Addr]string)}
	for i := range t.Hosts {
		h := &t.Hosts[i]
		for _, a := range []netip.Addr{h.Address, h.Address6} {
			if a.IsValid() {
				s.names[a] = h.Name
			}
		}
	}
	return s
}

// moment is the line of a moment that stands where the ladder has it.
func (s *speaker) moment(i int, at placed) string {
	m := &s.t.Moments[i]
	e := m.Event
	switch {
	case e.Call != nil:
		return s.call(m, at)
	case e.Packet != nil:
		return s.packet(e.Packet, at)
	case at.row >= 0 && s.ladder.Rows[at.row].Text != "":
		return s.ladder.Rows[at.row].Text
	case e.Trace != nil:
		return s.trace(e.Trace)
	case e.Loss != nil:
		return fmt.Sprintf("%d of %s lost %s", e.Loss.Count, e.Loss.Source, e.Loss.Where)
	case e.Change != nil:
		return e.Change.Text
	case e.Process != nil:
		return fmt.Sprintf("process %d of lane %s", e.Process.PID, e.Process.Lane)
	case e.Queue != nil:
		return fmt.Sprintf("accept queue of %s: %d of %d", s.address(e.Queue.Address), e.Queue.Length, e.Queue.Limit+1)
	case e.Counters != nil:
		return counterWords(e.Counters)
	case e.Socket != nil:
		return fmt.Sprintf("socket %s to %s is in %s", s.address(e.Socket.Local), s.address(e.Socket.Peer), stateWord(e.Socket.State))
	case e.Signal != nil && e.Signal.Sent:
		return "signals " + e.Signal.Lane + "." + e.Signal.Name
	case e.Signal != nil:
		return "learns of " + e.Signal.Lane + "." + e.Signal.Name
	case e.Mark != nil:
		return strings.TrimSuffix("mark of the agent: "+e.Mark.Detail, ": ")
	}
	return ""
}

func (s *speaker) call(m *timeline.Moment, at placed) string {
	c := m.Event.Call
	call := c.Name
	if c.Arguments != "" {
		call += " " + c.Arguments
	}
	result := strconv.FormatInt(c.Result, 10)
	if c.Errno != 0 {
		result = experiment.ErrnoName(c.Errno)
	}
	if at.bracket >= 0 {
		if b := &s.ladder.Brackets[at.bracket]; b.Calls == 1 {
			call, result = b.Call, b.Result
			if b.Remark != "" {
				result += " (" + b.Remark + ")"
			}
		}
	}
	if m.Edge != timeline.Return {
		return call
	}
	return fmt.Sprintf("%s = %s in %s", call, result, timeline.Span(int64(c.Return-m.Event.At)))
}

func (s *speaker) packet(p *timeline.Packet, at placed) string {
	words := []string{p.Flags.String()}
	if !p.TCP() {
		words = []string{fmt.Sprintf("protocol %d", p.Protocol)}
	}
	if at.arrow >= 0 {
		words = s.ladder.Arrows[at.arrow].Words
	}
	way := " to " + s.address(p.Destination)
	if p.Direction == timeline.In {
		way = " from " + s.address(p.Source)
	}
	return strings.Join(words, " ") + way
}

func (s *speaker) trace(tr *timeline.Trace) string {
	if tr.Kind == timeline.TraceState {
		return stateWord(tr.OldState) + " to " + stateWord(tr.State)
	}
	if tr.Kind == timeline.TraceDrop {
		return tr.DropText()
	}
	words := tr.Kind.String()
	if tr.Reason != "" {
		words += ": " + tr.Reason
	}
	if tr.Errno != 0 {
		words += ": " + experiment.ErrnoName(tr.Errno)
	}
	if tr.State != 0 {
		words += " in " + stateWord(tr.State)
	}
	return words
}

// address is an address with the name of its host for the address, if it is one's.
func (s *speaker) address(a netip.AddrPort) string {
	name, ok := s.names[a.Addr()]
	if !ok {
		name = a.Addr().String()
	}
	if a.Port() == 0 {
		return name
	}
	if !ok {
		return a.String()
	}
	return name + ":" + strconv.Itoa(int(a.Port()))
}

// counterWords are the counters that moved, in order of their names.
func counterWords(c *timeline.Counters) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(c.Deltas)) {
		words = append(words, fmt.Sprintf("%s %+d", name, c.Deltas[name]))
	}
	return strings.Join(words, ", ")
}

// stateWord is a TCP state by the kernel's number.
func stateWord(number int) string {
	if name := timeline.StateName(number); name != "" {
		return name
	}
	return fmt.Sprintf("state %d", number)
}
