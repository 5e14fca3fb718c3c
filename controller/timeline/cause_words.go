package timeline

import (
	"fmt"
	"strings"

	"syncline/controller/experiment"
)

// Words say what happens at a moment, as a reader would: "connect() of client",
// "A sends SYN+ACK".
func (c *Causality) Words(moment int) string {
	m := &c.t.Moments[moment]
	e := m.Event
	host := c.t.hostName(e.Host)
	switch {
	case e.Call != nil && m.Edge == Return:
		return returnWords(e.Call)
	case e.Call != nil:
		return callWords(e.Call)
	case e.Packet != nil && e.Packet.Direction == Out:
		return host + " sends " + packetName(e.Packet)
	case e.Packet != nil:
		return packetName(e.Packet) + " comes to " + host
	case e.Signal != nil && e.Signal.Lane == "":
		return fmt.Sprintf("the lab knows at %s: %s", host, e.Signal.Name)
	case e.Signal != nil:
		return fmt.Sprintf("signal %s of %s at %s", e.Signal.Name, e.Signal.Lane, host)
	case e.Process != nil && e.Process.Gone:
		return fmt.Sprintf("the process of %s is gone", e.Process.Lane)
	case e.Process != nil:
		return fmt.Sprintf("the process of %s begins", e.Process.Lane)
	case e.Trace != nil && e.Trace.Kind == TraceState:
		return fmt.Sprintf("a socket of %s goes from %s to %s", host, stateText(e.Trace.OldState), stateText(e.Trace.State))
	case e.Trace != nil:
		return fmt.Sprintf("kernel of %s: %s", host, e.Trace.Kind)
	case e.Socket != nil:
		return fmt.Sprintf("sock_diag at %s shows %s", host, stateText(e.Socket.State))
	case e.Change != nil:
		return fmt.Sprintf("the lab changes %s: %s", host, e.Change.Text)
	}
	return "an event of " + host
}

// callWords name a call that is entered.
func callWords(c *Call) string {
	if ofLab(c) {
		return fmt.Sprintf("%s(%s) of %s", c.Name, c.Arguments, c.Lane)
	}
	return c.Name + "() of " + c.Lane
}

// returnWords tell what a call returned.
func returnWords(c *Call) string {
	switch {
	case c.EndedBy == EndedByTimeout || c.EndedBy == EndedByCancel || c.EndedBy == EndedByDeath:
		return fmt.Sprintf("%s is ended: %s", callWords(c), shortResult(c))
	case c.Errno != 0:
		return fmt.Sprintf("%s fails: %s", callWords(c), experiment.ErrnoName(c.Errno))
	case ofLab(c):
		return callWords(c) + " goes on"
	}
	text := fmt.Sprintf("%s returns %s", callWords(c), shortResult(c))
	if r := remark(c); r != "" {
		text += " (" + r + ")"
	}
	return text
}

// packetName is a packet in a few words: its flags and its length.
func packetName(p *Packet) string {
	if !p.TCP() {
		return strings.Join(otherWords(p), " ")
	}
	if p.PayloadLength == 0 {
		return p.Flags.String()
	}
	return fmt.Sprintf("%s with %s", p.Flags, countOf(p.PayloadLength, "byte"))
}
