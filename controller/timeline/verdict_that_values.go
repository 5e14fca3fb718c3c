package timeline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"syncline/controller/clock"
	"syncline/controller/experiment"
)

// socketOf reads "client.c" and "client[2].c".
func socketOf(name string) experiment.SocketSelector {
	lane, socket, _ := strings.Cut(name, ".")
	return experiment.SocketSelector{Lane: lane, Socket: socket, Text: name}
}

// connectionOf is the only connection of the experiment, or of a socket; an error value
// if there is none or more than one.
func (w *thatWorld) connectionOf(name string) (int, ref.Val) {
	var all []int
	what := "the experiment"
	if name == "" {
		for i, b := range w.own.of {
			if b != foreign {
				all = append(all, i)
			}
		}
	} else {
		what = name
		sel := socketOf(name)
		for _, ref := range w.endsOf(&sel) {
			if !slices.Contains(all, ref.Connection) {
				all = append(all, ref.Connection)
			}
		}
	}
	switch len(all) {
	case 0:
		return -1, experiment.NewThatNothing(fmt.Sprintf("%s has no connection", what))
	case 1:
		if why := w.doubtOf(all[0]); why != "" {
			return -1, experiment.NewThatUndecided(why)
		}
		return all[0], nil
	}
	return -1, experiment.NewThatUndecided(fmt.Sprintf("%s has %d connections, and the expression does not say which is meant", what, len(all)))
}

func (w *thatWorld) onlyRTT() ref.Val { return w.rttOf("") }

func (w *thatWorld) rttOf(socket string) ref.Val {
	connection, fault := w.connectionOf(socket)
	if fault != nil {
		return fault
	}
	l, doubt := w.rtt(connection)
	if doubt != "" {
		return experiment.NewThatUndecided(doubt)
	}
	w.noteText("the round-trip time is %s", l)
	return experiment.NewThatSpan(l.lo, l.hi)
}

// phasesOf are the phases of a name, of all connections of the experiment or of one
// socket.
func (w *thatWorld) phasesOf(name, socket string) ([]Phase, ref.Val) {
	if !slices.Contains(experiment.PhaseNames(), name) {
		return nil, types.NewErr("there is no phase %q; the phases are %s", name, strings.Join(experiment.PhaseNames(), ", "))
	}
	var sel experiment.SocketSelector
	if socket != "" {
		sel = socketOf(socket)
	}
	var all []Phase
	for connection := -1; connection < len(w.t.Connections); connection++ {
		switch why := w.doubtOf(connection); why {
		case foreignText:
			continue
		case "":
		default:
			w.doubt = why
		}
		for _, p := range w.t.Phases(connection) {
			if p.Name == name && w.isPhaseOf(&sel, connection, &p) {
				all = append(all, p)
			}
		}
	}
	return all, nil
}

func (w *thatWorld) phaseValue(p *Phase) ref.Val {
	w.note(p.From, p.To)
	l := length{-clock.Unbounded, clock.Unbounded}
	w.causes.dispute(p.From, p.To)
	if p.Err < clock.Unbounded {
		l = length{p.Nanoseconds - p.Err, p.Nanoseconds + p.Err}
	}
	w.noteText("%s took %s", p.Name, l)
	return experiment.NewThatSpan(l.lo, l.hi)
}

func (w *thatWorld) onePhaseOf(name, socket string) ref.Val {
	all, fault := w.phasesOf(name, socket)
	switch {
	case fault != nil:
		return fault
	case len(all) == 0:
		return experiment.NewThatNothing("no phase " + strings.TrimSuffix(name+" of "+socket, " of "))
	case len(all) > 1:
		return experiment.NewThatUndecided(fmt.Sprintf("the phase %s is there %d times; name a socket, or write phases(%q)", name, len(all), name))
	}
	return w.phaseValue(&all[0])
}

func (w *thatWorld) phaseList(name, socket string) ref.Val {
	all, fault := w.phasesOf(name, socket)
	if fault != nil {
		return fault
	}
	values := make([]ref.Val, len(all))
	for i := range all {
		values[i] = w.phaseValue(&all[i])
	}
	return types.NewRefValList(types.DefaultTypeAdapter, values)
}

func (w *thatWorld) varMap() ref.Val {
	values := make(map[string]any)
	for _, v := range w.exp.Vars {
		if n, err := strconv.ParseInt(v.Value, 10, 64); err == nil {
			values[v.Name] = n
		} else {
			values[v.Name] = v.Value
		}
	}
	return types.NewStringInterfaceMap(types.DefaultTypeAdapter, values)
}

// statesOf are the states of a socket of one connection, or of a listener.
func (w *thatWorld) statesOf(socket string) ref.Val {
	sel := socketOf(socket)
	var paths []walk
	for _, name := range w.socketNames(&sel) {
		paths = append(paths, w.pathsOf(&sel, name)...)
	}
	switch {
	case len(paths) == 0:
		return experiment.NewThatNothing(socket + " was no end of a connection and no listener")
	case len(paths) > 1:
		return experiment.NewThatUndecided(fmt.Sprintf("%s is %d sockets, and the expression does not say which is meant", socket, len(paths)))
	case paths[0].doubt != "":
		return experiment.NewThatUndecided("the states of " + socket + " are in doubt: " + paths[0].doubt)
	}
	names := make([]string, len(paths[0].states))
	for i, s := range paths[0].states {
		names[i] = s.Name
		if s.Moment >= 0 {
			w.note(s.Moment)
		}
	}
	w.noteText("%s went %s", socket, strings.Join(names, ", "))
	return types.NewStringList(types.DefaultTypeAdapter, names)
}

func (w *thatWorld) countersOf(host string) ref.Val {
	index, ok := w.hosts[host]
	if !ok {
		return experiment.NewThatNothing("the run has no host " + host)
	}
	deltas := make(map[string]int64)
	found := false
	for i := range w.t.Moments {
		m := &w.t.Moments[i]
		if m.Event.Counters == nil || m.Event.Host != index {
			continue
		}
		found = true
		w.note(i)
		for name, n := range m.Event.Counters.Deltas {
			deltas[name] += n
		}
	}
	if !found {
		return experiment.NewThatUndecided("no counters of " + host + " are on record")
	}
	if shared := w.t.sharesCounters(index); shared != "" {
		return experiment.NewThatUndecided(shared)
	}
	return experiment.ThatCounters(deltas)
}

// infoOf is what the last info(c) of a socket read.
func (w *thatWorld) infoOf(socket string) ref.Val {
	sel := socketOf(socket)
	names := w.socketNames(&sel)
	var last *made
	for i := range w.calls {
		c := &w.calls[i]
		if c.Name == "info" && c.Errno == 0 && len(c.Data) > 0 && slices.Contains(names, SocketName{c.Lane, c.Socket}) {
			if last != nil && last.Lane != c.Lane {
				return experiment.NewThatUndecided(fmt.Sprintf("%s is sockets of several lanes; name one, as in info(%q)", socket, c.Lane+"."+c.Socket))
			}
			last = c
		}
	}
	if last == nil {
		return experiment.NewThatNothing(fmt.Sprintf("no info(%s) of lane %s that succeeded", sel.Socket, sel.Lane))
	}
	w.note(last.enter)
	w.noteText("info of %s: %s", socket, last.Shown)
	return experiment.NewThatInfo(last.Data, StateName(int(last.Data[0])))
}

func (w *thatWorld) callList() ref.Val {
	values := make([]ref.Val, len(w.calls))
	for i := range w.calls {
		c := &w.calls[i]
		values[i] = experiment.NewThatCall(func(field string) ref.Val { return w.callField(c, field) })
	}
	return types.NewRefValList(types.DefaultTypeAdapter, values)
}

var endNames = map[EndedBy]string{EndedByKernel: "kernel", EndedByTimeout: "lab timeout", EndedByCancel: "cancel", EndedByDeath: "death"}

func (w *thatWorld) callField(c *made, field string) ref.Val {
	switch field {
	case "lane":
		return types.String(c.Lane)
	case "call":
		return types.String(c.Name)
	case "socket":
		return types.String(c.Socket)
	case "makes":
		return types.String(c.Makes)
	case "label":
		return types.String(c.Label)
	case "step":
		return types.Int(c.Step + 1)
	case "result":
		return types.Int(valueOf(c.Call))
	case "errno":
		if c.Errno == 0 {
			return types.String("")
		}
		return types.String(experiment.ErrnoName(c.Errno))
	case "ended_by":
		return types.String(endNames[c.EndedBy])
	case "data":
		return types.Bytes(c.Data)
	case "entered":
		return experiment.NewThatInstant(w, c.enter)
	}
	if c.leave < 0 {
		return nil
	}
	switch field {
	case "returned":
		return experiment.NewThatInstant(w, c.leave)
	case "blocked":
		w.note(c.enter, c.leave)
		took := int64(w.t.Moments[c.leave].Local - w.t.Moments[c.enter].Local)
		return experiment.NewThatSpan(took, took)
	}
	return nil
}

// packetList is every packet once that is the experiment's, or may be.
func (w *thatWorld) packetList() ref.Val {
	var values []ref.Val
	last := -1
	for i := range w.transmissions() {
		one := &w.sent[i]
		if one.First() == last {
			continue
		}
		last = one.First()
		p, ok := w.sighting(one)
		if !ok {
			continue
		}
		switch why := w.doubtOf(one.Connection); why {
		case foreignText:
			continue
		case "":
		default:
			w.doubt = why
		}
		values = append(values, experiment.NewThatPacket(func(field string) ref.Val { return w.packetField(one, p, field) }))
	}
	return types.NewRefValList(types.DefaultTypeAdapter, values)
}

func (w *thatWorld) packetField(one *Transmission, p sighting, field string) ref.Val {
	switch field {
	case "from":
		return w.endName(p.from, p.Source.Addr().String())
	case "to":
		return w.endName(p.to, p.Destination.Addr().String())
	case "of":
		return types.NewStringList(types.DefaultTypeAdapter, w.socketsOf(one.Connection))
	case "protocol":
		return types.String(protocolName(p.Packet))
	case "flags":
		return types.NewStringList(types.DefaultTypeAdapter, flagList(p.Packet))
	case "seq":
		return w.relativeNumber(one, p, p.Seq, one.FromClient)
	case "ack":
		return w.relativeNumber(one, p, p.Ack, !one.FromClient)
	case "window":
		return types.Int(p.Window)
	case "length":
		return types.Int(p.PayloadLength)
	case "copy":
		return types.Int(one.Copy)
	case "lost":
		return types.Bool(one.Lost)
	case "type":
		return types.Int(p.ICMPType + p.ARP)
	case "code":
		return types.Int(p.ICMPCode)
	case "sent":
		return w.instantOf(one.Departure)
	case "received":
		return w.instantOf(one.Arrival)
	}
	return nil
}

func (w *thatWorld) instantOf(moment int) ref.Val {
	if moment < 0 {
		return nil
	}
	return experiment.NewThatInstant(w, moment)
}

func (w *thatWorld) endName(host int, address string) ref.Val {
	if host < 0 {
		return types.String(address)
	}
	return types.String(w.hostName(host))
}

// relativeNumber counts from the initial number of the end that it is of, modulo 2^32.
func (w *thatWorld) relativeNumber(one *Transmission, p sighting, n uint32, ofClient bool) ref.Val {
	if !p.TCP() || one.Connection < 0 {
		return types.Int(0)
	}
	end := w.t.Connections[one.Connection].End(ServerEnd)
	if ofClient {
		end = w.t.Connections[one.Connection].End(ClientEnd)
	}
	if !end.HasISN {
		return nil
	}
	return types.Int(n - end.ISN)
}

func (w *thatWorld) socketsOf(connection int) []string {
	var names []string
	if connection < 0 {
		return names
	}
	for end := range 2 {
		e := w.t.Connections[connection].End(end)
		if e.Socket != "" {
			names = append(names, SocketName{e.Lane, e.Socket}.String())
		}
		for _, n := range e.Names {
			if text := n.String(); !slices.Contains(names, text) {
				names = append(names, text)
			}
		}
	}
	return names
}

func protocolName(p *Packet) string {
	switch {
	case p.ARP != 0:
		return "arp"
	case p.TCP():
		return "tcp"
	case p.Protocol == ProtocolUDP:
		return "udp"
	case p.Protocol == ProtocolICMP:
		return "icmp"
	case p.Protocol == ProtocolICMPv6:
		return "icmp6"
	}
	return strconv.Itoa(p.Protocol)
}

func flagList(p *Packet) []string {
	var names []string
	if !p.TCP() {
		return names
	}
	for _, n := range flagNames {
		if p.Flags&n.flag != 0 {
			names = append(names, n.name)
		}
	}
	return names
}
