package cli

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// figure5 has the transitions of RFC 9293 figure 5 and its notes, as Linux spells the
// states. What is not here may go to CLOSED all the same: by a reset or an abort.
var figure5 = map[string][]string{
	"CLOSED":      {"SYN_SENT"},
	"SYN_SENT":    {"ESTABLISHED"},
	"SYN_RECV":    {"ESTABLISHED"},
	"ESTABLISHED": {"FIN_WAIT1", "CLOSE_WAIT"},
	"FIN_WAIT1":   {"FIN_WAIT2", "CLOSING", "TIME_WAIT"},
	"FIN_WAIT2":   {"TIME_WAIT"},
	"CLOSING":     {"TIME_WAIT"},
	"CLOSE_WAIT":  {"LAST_ACK"},
}

// copies is what tells lanes apart that do the same.
var copies = regexp.MustCompile(`\[?\d+\]?`)

// visit judges the state paths of one repetition.
type visit struct {
	tl       *synclinev1.Timeline
	journey  *journey
	isTraced bool
	book     *ledger
	waiting  timeWaits
}

// ownEnd is one end of a connection that is judged.
type ownEnd struct {
	*synclinev1.ConnectionEnd
	name   string
	peer   string
	routes []route
	wire   wire
}

// repetition reports whether every path is complete and right.
func (v *visit) repetition(t testing.TB) (right bool) {
	t.Helper()
	right = true
	complain := func(format string, args ...any) {
		t.Helper()
		right = false
		t.Errorf("%s, repetition %d %s: %s", v.journey.name(), v.tl.Repetition, v.tl.Variant, fmt.Sprintf(format, args...))
	}
	lossy := false
	for _, w := range v.tl.Warnings {
		// The kernel counts what it did not tell of any socket, others' too.
		if strings.Contains(w, "of any socket of this machine") {
			lossy = true
			continue
		}
		complain("warning: %s", w)
	}
	if len(v.tl.Incomplete) > 0 {
		complain("incomplete: %s", v.tl.Incomplete)
	}
	clients := 0
	for _, c := range v.tl.Connections {
		if c.Client.Lane == "" {
			complain("a connection of nobody: %s to %s", c.Client.Address, c.Server.Address)
			continue
		}
		clients++
		ends := v.journey.ends(t, v.tl.Variant, c.Client.Lane)
		name := c.Client.Lane + "." + c.Client.Socket
		for _, e := range []*ownEnd{
			{ConnectionEnd: c.Client, name: name, peer: c.Server.Address, routes: ends.client, wire: v.wireOf(c, true)},
			{ConnectionEnd: c.Server, name: "server of " + name, peer: c.Client.Address, routes: ends.server, wire: v.wireOf(c, false)},
		} {
			faults := v.faults(e, lossy)
			for _, f := range faults {
				complain("%s went %s: %s", e.name, pathOf(e), f)
			}
			v.book.note(fmt.Sprintf("%s %s %s: %s", v.journey.name(), v.tl.Variant, copies.ReplaceAllString(e.name, ""), pathOf(e)), len(faults) == 0)
		}
	}
	if clients == 0 {
		complain("there is no connection")
	}
	if listeners := v.listeners(); v.isTraced && (len(listeners) != v.journey.listeners || slices.ContainsFunc(listeners, func(p string) bool { return p != "CLOSED LISTEN CLOSED" })) {
		complain("listeners went %q, want %d times CLOSED LISTEN CLOSED", listeners, v.journey.listeners)
	}
	return right
}

func pathOf(e *ownEnd) string {
	var names []string
	for _, s := range e.States {
		names = append(names, s.Name)
	}
	return strings.Join(names, " ")
}

// faults are what is wrong with the path of an end.
func (v *visit) faults(e *ownEnd, lossy bool) (faults []string) {
	complain := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	var allowed []string
	for _, r := range e.routes {
		if r.when == nil || r.when(&e.wire) {
			allowed = append(allowed, r.states)
		}
	}
	path := pathOf(e)
	if !slices.Contains(allowed, path) {
		complain("want %q", allowed)
	}
	before := stretch{math.MinInt64, math.MaxInt64}
	for i, s := range e.States {
		if i > 0 {
			from := e.States[i-1].Name
			if !slices.Contains(figure5[from], s.Name) && s.Name != "CLOSED" {
				complain("figure 5 has no way from %s to %s", from, s.Name)
			}
		}
		began, err := v.began(s)
		if err != "" {
			complain("%s: %s", s.Name, err)
		}
		if began.latest < before.earliest {
			complain("%s began between %d and %d, before the state before it, between %d and %d", s.Name, began.earliest, began.latest, before.earliest, before.latest)
		}
		if i > 0 && began.earliest == math.MinInt64 {
			complain("%s (%s) has no lower bound", s.Name, s.Known)
		}
		// What ends a socket silently shows it only if something comes after.
		if isLast := i == len(e.States)-1; began.latest == math.MaxInt64 && (v.isTraced || !isLast) {
			complain("%s (%s) has no upper bound", s.Name, s.Known)
		}
		if v.isTraced && !lossy && s.Known != "traced" && mustBeTraced(s.Name, i) {
			complain("%s is known by %s alone", s.Name, s.Known)
		}
		allowed := e.wire.allows(e.States, i, before)
		if began.latest < allowed.earliest || began.earliest > allowed.latest {
			complain("%s began between %d and %d; the packets say between %d and %d", s.Name, began.earliest, began.latest, allowed.earliest, allowed.latest)
		}
		before = began
	}
	if n := len(e.States); n > 0 && e.States[n-1].Name == "TIME_WAIT" {
		v.waiting.note(v.tl.Hosts[*e.Host].Host.Agent, e.Address+" "+e.peer, before.latest)
	}
	return faults
}

// mustBeTraced reports whether state i of a path is one that the kernel's tracepoint
// shows: those of request sockets and of what is left of a connection are not.
func mustBeTraced(state string, i int) bool {
	return i > 0 && !slices.Contains([]string{"SYN_RECV", "TIME_WAIT", "CLOSED"}, state)
}

// stretch is an interval of a host's own clock that surely holds a moment.
type stretch struct{ earliest, latest int64 }

// began is when a state began, by what the path says of it.
func (v *visit) began(s *synclinev1.State) (at stretch, fault string) {
	at = stretch{math.MinInt64, math.MaxInt64}
	switch s.Known {
	case "traced", "packet", "call", "dump", "order":
	default:
		return at, fmt.Sprintf("it is known by %q", s.Known)
	}
	if s.After == nil && s.By == nil && s.Known == "traced" {
		if s.Moment == nil {
			return at, "it is traced, at no moment"
		}
		m := v.tl.Moments[*s.Moment]
		tr := v.tl.Events[m.Event].Event.GetTrace()
		if tr == nil || tr.Kind != synclinev1.TraceKind_TRACE_KIND_STATE {
			return at, "it is traced, by no trace of a state"
		}
		// The socket goes to CLOSE as the small one of TIME_WAIT takes over.
		if became := timeline.StateName(int(tr.State)); became != s.Name && !(s.Name == "TIME_WAIT" && became == "CLOSED") {
			return at, fmt.Sprintf("the trace is of its coming to %s", became)
		}
		return stretch{m.LocalNs, m.LocalNs}, ""
	}
	if s.After != nil {
		at.earliest = v.tl.Moments[*s.After].LocalNs - v.stampError(*s.After)
	}
	if s.By != nil {
		at.latest = v.tl.Moments[*s.By].LocalNs + v.stampError(*s.By)
	}
	if at.earliest > at.latest {
		return at, fmt.Sprintf("it began after %d and by %d", at.earliest, at.latest)
	}
	return at, ""
}

// stampError is how far a moment's time may be off on its own host's clock: packets have
// been moved from another.
func (v *visit) stampError(moment uint32) int64 {
	return v.tl.Events[v.tl.Moments[moment].Event].Event.GetPacket().GetErrorNs()
}

// listeners are the paths of listening sockets, straight from the traces.
func (v *visit) listeners() []string {
	type socket struct {
		host   uint32
		cookie uint64
	}
	paths := map[socket][]string{}
	for _, m := range v.tl.Moments {
		e := v.tl.Events[m.Event]
		tr := e.Event.GetTrace()
		if tr.GetKind() != synclinev1.TraceKind_TRACE_KIND_STATE {
			continue
		}
		at := socket{e.Host, tr.Cookie}
		now := timeline.StateName(int(tr.State))
		if now == "LISTEN" {
			paths[at] = append(paths[at], timeline.StateName(int(tr.OldState)))
		}
		if now == "LISTEN" || paths[at] != nil {
			paths[at] = append(paths[at], now)
		}
	}
	var all []string
	for _, p := range paths {
		all = append(all, strings.Join(p, " "))
	}
	return all
}
