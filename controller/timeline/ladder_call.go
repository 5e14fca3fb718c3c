package timeline

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"syncline/controller/experiment"
)

// Bracket is a call, from its entry to its return. A call that was over at once, with
// nothing else happening meanwhile, has both in one row, and so has each of the lab's
// own steps.
type Bracket struct {
	Lane int
	// Column counts from 0, the one nearest to the host's line. Brackets that are
	// open at once have different ones.
	Column int
	// Enter and Return are rows; equal for a call shown in one.
	Enter, Return int
	// Role is the experiment's lane that made the call.
	Role string
	// Call is the call with its arguments in short, "connect B:8080"; for several
	// calls in one row their names, "socket, bind, listen".
	Call string
	// Calls is how many calls the bracket stands for.
	Calls int
	// Result is what it gave: "0", "fd 7", "5 B", "ECONNREFUSED", "timeout". Remark
	// says what that means where the number does not.
	Result, Remark string
	// Took is the time from entry to return in nanoseconds, on the host's own clock.
	Took int64
	// Blocked is true for a call that did not return by its own work but when something
	// released it. Released says what, in words, empty if that is not known; ReleasedAt is
	// the row of that, -1 if it has none.
	Blocked    bool
	Released   string
	ReleasedAt int
	// Waits is true for a call that waits for the other side: accept, recv, wait.
	Waits bool
	// Failed is true if it did not give what its author wrote.
	Failed bool
	// Lab is true for the lab's own steps and for a close the lab made to tidy up.
	Lab bool
	// Tidy is true for the latter: a real close(2), but not one that the experiment's
	// author wrote.
	Tidy bool
}

// atOnce is how long a call may take and still be drawn as one moment. It is no more
// than the shortest time that is folded as quiet, so a call that blocks is never drawn
// as one that returned at once.
const atOnce = quietAtLeast

// preparing are calls that send nothing and wait for nothing. Several in a row of
// one lane are one row of the ladder.
var preparing = []string{
	"socket", "setsockopt", "getsockopt", "bind", "listen", "signal", "nonblock", "dup", "getsockname", "getpeername",
}

// layCalls makes the brackets and returns the moments that keep a row of their own.
func (b *ladderer) layCalls(shown []int) []int {
	var kept []int
	for n := 0; n < len(shown); n++ {
		i := shown[n]
		m := &b.t.Moments[i]
		c := m.Event.Call
		switch {
		case c == nil:
			kept = append(kept, i)
		case comesTogether(c) && m.Edge == Enter, ofLab(c) && !comesTogether(c) && m.Edge == Return:
			// The lab's own steps have one row: a wait when it is over, the others
			// when they begin.
		case b.follows(kept, n, shown):
			b.join(kept[len(kept)-1], m.Event)
		case m.Edge == Return && b.alone(kept, m.Event) && int64(c.Return-m.Event.At) < atOnce:
			// The call is in the row of its entry already.
		default:
			b.bracket(m.Event)
			kept = append(kept, i)
		}
	}
	return kept
}

// alone reports whether the last row is the entry of this same call.
func (b *ladderer) alone(kept []int, e *Event) bool {
	if len(kept) == 0 {
		return false
	}
	last := &b.t.Moments[kept[len(kept)-1]]
	return last.Event == e || b.sharesRow(last.Event, e)
}

// sharesRow reports whether a call was joined to the row of another.
func (b *ladderer) sharesRow(first, e *Event) bool {
	i, ok := b.brackets[e]
	return ok && first.Call != nil && b.brackets[first] == i
}

// follows reports whether shown[n] enters a preparing call right after another one
// of its lane, with nothing between that has a row; all of them are over at once.
func (b *ladderer) follows(kept []int, n int, shown []int) bool {
	m := &b.t.Moments[shown[n]]
	if len(kept) == 0 || m.Edge != Enter || !quietCall(m.Event.Call) || !b.returnsNext(n, shown) {
		return false
	}
	last := &b.t.Moments[kept[len(kept)-1]]
	c := last.Event.Call
	return c != nil && last.Edge == Enter && quietCall(c) && c.Lane == m.Event.Call.Lane && c.Return <= m.Local &&
		int64(m.Event.Call.Return-last.Local) < atOnce
}

// returnsNext reports whether the call that shown[n] enters has returned before
// anything else is shown; the lab's own steps need no return.
func (b *ladderer) returnsNext(n int, shown []int) bool {
	e := b.t.Moments[shown[n]].Event
	return ofLab(e.Call) || (n+1 < len(shown) && b.t.Moments[shown[n+1]].Event == e)
}

// quietCall reports whether a call is a preparing one that went as it should.
func quietCall(c *Call) bool {
	return slices.Contains(preparing, c.Name) && c.Failure == "" && c.Errno == 0 && c.Shown == ""
}

// bracket makes the bracket of a call if it has none yet.
func (b *ladderer) bracket(e *Event) {
	if _, ok := b.brackets[e]; ok {
		return
	}
	c := e.Call
	b.brackets[e] = len(b.l.Brackets)
	b.l.Brackets = append(b.l.Brackets, Bracket{
		Lane: b.lane[e.Host], Enter: -1, Return: -1, Role: c.Lane, Calls: 1,
		Call: b.shortCall(c), Result: shortResult(c), Remark: remark(c), Took: int64(c.Return - e.At),
		Waits: waits(c), ReleasedAt: -1, Failed: callFailure(c) != "",
		Lab: ofLab(c) || c.ByLab, Tidy: c.ByLab,
	})
}

// waits reports whether a call waits for the other side.
func waits(c *Call) bool {
	switch c.Name {
	case "accept", "recv", "recvfrom", "poll", "wait", "meet":
		return true
	}
	return false
}

// join adds a call to the row of another.
func (b *ladderer) join(moment int, e *Event) {
	i := b.brackets[b.t.Moments[moment].Event]
	b.brackets[e] = i
	r := &b.l.Brackets[i]
	if r.Calls == 1 {
		r.Call = b.t.Moments[moment].Event.Call.Name
	}
	r.Calls++
	r.Call += ", " + e.Call.Name
	r.Result, r.Remark = "", ""
	r.Took += int64(e.Call.Return - e.At)
	r.Lab = r.Lab && ofLab(e.Call)
}

// endBracket notes the row of an end of a call and returns its bracket.
func (b *ladderer) endBracket(e *Event, row int) int {
	i := b.brackets[e]
	r := &b.l.Brackets[i]
	if r.Enter < 0 {
		r.Enter = row
	}
	r.Return = row
	return i
}

// placeBrackets gives brackets that are open in one row different columns.
func (b *ladderer) placeBrackets() {
	order := make([]int, len(b.l.Brackets))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int { return b.l.Brackets[x].Enter - b.l.Brackets[y].Enter })
	busy := make([][]int, len(b.l.Lanes))
	for _, i := range order {
		r := &b.l.Brackets[i]
		columns := busy[r.Lane]
		for r.Column < len(columns) && columns[r.Column] >= r.Enter {
			r.Column++
		}
		if r.Column == len(columns) {
			columns = append(columns, 0)
		}
		columns[r.Column] = r.Return
		busy[r.Lane] = columns
		b.l.Lanes[r.Lane].Depth = max(b.l.Lanes[r.Lane].Depth, len(columns))
	}
}

// shortCall is a call with its arguments in short, hosts by their names. What kind of
// socket a TCP lab opens needs no words.
func (b *ladderer) shortCall(c *Call) string {
	if c.Name == "socket" {
		return c.Name
	}
	args := c.Arguments
	for i := range b.t.Hosts {
		h := &b.t.Hosts[i]
		for _, a := range []netip.Addr{h.Address, h.Address6} {
			switch {
			case !a.IsValid():
			case a.Is6():
				args = strings.ReplaceAll(args, "["+a.String()+"]:", h.Name+":")
			default:
				args = strings.ReplaceAll(args, a.String()+":", h.Name+":")
			}
		}
	}
	if args == "" {
		args = c.Socket
	}
	return strings.TrimSpace(c.Name + " " + args)
}

// shortResult is what a call gave, in the terms of that call.
func shortResult(c *Call) string {
	switch {
	case c.EndedBy == EndedByTimeout:
		return "timeout"
	case c.EndedBy == EndedByCancel:
		return "cancelled"
	case c.EndedBy == EndedByDeath:
		return "killed"
	case c.Errno != 0:
		return experiment.ErrnoName(c.Errno)
	case c.Name == "socket" || c.Name == "accept" || c.Name == "dup":
		return fmt.Sprintf("fd %d", c.Result)
	case carries(c) && c.Result > 0:
		return fmt.Sprintf("%d B", c.Result)
	case c.Shown != "" && !carries(c):
		return c.Shown
	case c.Name == "fork":
		return fmt.Sprintf("pid %d", c.Result)
	}
	return strconv.FormatInt(c.Result, 10)
}

// carries reports whether a call's result is a number of bytes.
func carries(c *Call) bool {
	switch c.Name {
	case "send", "sendto", "recv", "recvfrom":
		return true
	}
	return false
}

// remark explains a result: recv(2) returns 0 when the peer has closed its side.
func remark(c *Call) string {
	if c.Name == "recv" && c.Result == 0 && c.Errno == 0 && c.EndedBy == EndedByKernel {
		return "end of file"
	}
	return ""
}
