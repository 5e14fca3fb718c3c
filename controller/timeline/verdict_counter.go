package timeline

import (
	"fmt"
	"net/netip"
	"slices"

	"syncline/controller/experiment"
)

// counter judges how far a kernel counter moved while the repetition ran. It counts for
// the whole network namespace of the host, whoever's traffic it was. A counter that the
// host's kernel does not have never moves. A host that is an address of the loopback
// interface shares its namespace, and so its counters, with the whole machine.
func (tr *trial) counter(e *experiment.CounterExpectation) Verdict {
	host, ok := tr.hosts[e.Host]
	if !ok {
		tr.empty = true
		return Verdict{Ruling: Fail, Reason: "selects nothing: the run has no host " + e.Host}
	}
	var sum int64
	v := Verdict{Ruling: Pass}
	for i := range tr.t.Moments {
		m := &tr.t.Moments[i]
		if m.Event.Counters != nil && m.Event.Host == host {
			v.Moments = append(v.Moments, i)
			sum += m.Event.Counters.Deltas[e.Name]
		}
	}
	touches := gapsOf(CounterData, host)
	cause := tr.hidden(func(g *gap) bool { return touches(g) && g.kind != gapBusy })
	if shared := tr.t.sharesCounters(host); shared != "" && cause != "" {
		cause = shared + "; " + cause
	} else if shared != "" {
		cause = shared
	}
	switch {
	case len(v.Moments) == 0 && cause != "":
		return Verdict{Ruling: CannotTell, Reason: fmt.Sprintf("no counters of %s are on record; %s", e.Host, cause)}
	case len(v.Moments) == 0:
		return Verdict{Ruling: CannotTell, Reason: fmt.Sprintf("no counters of %s are on record: is `counters` among the sources of `observe`?", e.Host)}
	}
	at := v.Moments
	v = bounded(quantity{sum, sum}, e.Bounds)
	if e.Increases {
		v = worse(v, decide(sum > 0, sum <= 0, "expected to increase"))
	}
	v.Moments = at
	if v.Ruling != Pass {
		moved := fmt.Sprintf("moved by %d", sum)
		if sum == 0 {
			moved = "did not move"
		}
		v.Reason = fmt.Sprintf("%s of %s %s, %s", e.Name, e.Host, moved, v.Reason)
	}
	if cause != "" {
		return doubted(v, cause)
	}
	return v
}

// sharesCounters is why the counters of a host are not its own, empty if they are.
func (t *Timeline) sharesCounters(host int) string {
	if !t.Hosts[host].Address.Unmap().IsLoopback() {
		return ""
	}
	return fmt.Sprintf("%s is an address of the loopback interface, and its counters are those of the whole machine", t.Hosts[host].Name)
}

// queue judges the longest that a listener's accept queue was.
//
// The queue is sampled, so it was at least as long as the longest sample, and may have
// been longer between two. It was at most one more than the backlog, which is where the
// kernel stops, and at most as long as the connections to the listener are many. Only
// where both ends meet is the length known; a short peak that no sample met leaves the
// ruling open.
func (tr *trial) queue(e *experiment.QueueExpectation) Verdict {
	what := socketSelectorText(&e.Of)
	listeners := tr.listeners(&e.Of)
	if len(listeners) == 0 {
		tr.empty = true
		return tr.absent("selects nothing: "+what+" never listened", tr.hidden(tr.gapsOfSocket(Syscalls, &e.Of)))
	}
	v := Verdict{Ruling: Pass}
	for _, l := range listeners {
		v = worse(v, tr.queueOf(e, what, l))
	}
	return v
}

// listening is a socket that listened, with its address.
type listening struct {
	host    int
	address netip.AddrPort
}

func (tr *trial) listeners(sel *experiment.SocketSelector) []listening {
	names := tr.socketNames(sel)
	var all []listening
	for _, c := range tr.calls {
		if c.Name != "listen" || c.Errno != 0 || c.EndedBy != EndedByKernel || !slices.Contains(names, SocketName{c.Lane, c.Socket}) {
			continue
		}
		l := listening{tr.t.Moments[c.enter].Event.Host, plain(c.Local)}
		if !slices.Contains(all, l) {
			all = append(all, l)
		}
	}
	return all
}

// has reports whether a sample is of this listener. One that listens at every address
// is told by its port.
func (l *listening) has(address netip.AddrPort) bool {
	address = plain(address)
	if l.address.Port() == 0 || address == l.address {
		return true
	}
	anywhere := address.Addr().IsUnspecified() || l.address.Addr().IsUnspecified()
	return anywhere && address.Port() == l.address.Port()
}

func (tr *trial) queueOf(e *experiment.QueueExpectation, what string, l listening) Verdict {
	peak, limit := -1, 0
	var moments []int
	for i := range tr.t.Moments {
		ev := tr.t.Moments[i].Event
		if ev.Queue == nil || ev.Host != l.host || !l.has(ev.Queue.Address) {
			continue
		}
		limit = max(limit, ev.Queue.Limit)
		if ev.Queue.Length > peak {
			peak, moments = ev.Queue.Length, []int{i}
		}
	}
	if peak < 0 {
		cause := tr.sampleCause(l)
		if cause == "" {
			cause = "is `accept-queue` among the sources of `observe`?"
		}
		return Verdict{Ruling: CannotTell, Reason: fmt.Sprintf("no sample of the accept queue of %s is on record; %s", what, cause)}
	}
	most, why := int64(max(peak, limit+1)), fmt.Sprintf("the backlog of %d allows %d", limit, limit+1)
	if cause := tr.sampleCause(l); cause != "" {
		// A sample that is missing may have had another backlog: listen(2) can change it.
		most, why = many, cause
	}
	if n := tr.connectionsTo(l); n >= 0 && int64(n) < most {
		most, why = int64(max(peak, n)), fmt.Sprintf("there were %d connections to it", n)
	}
	v := bounded(quantity{int64(peak), most}, e.Peak)
	v.Moments = moments
	if v.Ruling != Pass {
		v.Reason = fmt.Sprintf("the accept queue of %s was sampled at %d at the most, %s", what, peak, v.Reason)
	}
	if v.Ruling == CannotTell {
		v.Reason += fmt.Sprintf("; between two samples it may have been longer: %s", why)
	}
	return v
}

// sampleCause is the cause for which samples of a listener may be missing.
func (tr *trial) sampleCause(l listening) string {
	touches := gapsOf(AcceptQueue, l.host)
	return tr.hidden(func(g *gap) bool { return touches(g) && g.kind != gapBusy })
}

// connectionsTo counts the connections to a listener, -1 if some may be missing from
// the record.
func (tr *trial) connectionsTo(l listening) int {
	if l.address.Port() == 0 || tr.hidden(gapsOf(Packets, l.host)) != "" {
		return -1
	}
	n := 0
	for i := range tr.t.Connections {
		server := &tr.t.Connections[i].Server
		if server.Host == l.host && server.Address.Port() == l.address.Port() {
			n++
		}
	}
	return n
}
