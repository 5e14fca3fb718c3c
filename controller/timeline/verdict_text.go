package timeline

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"syncline/controller/clock"
	"syncline/controller/experiment"
)

// spanText is a length of time as people say it: "380 ns", "3.1 µs", "46 µs",
// "40.14 ms", "1.003 s".
func spanText(ns int64) string {
	if ns < 0 {
		// The smallest number of all has no opposite; a nanosecond of 292 years is lost.
		return "−" + spanText(-max(ns, -math.MaxInt64))
	}
	switch {
	case ns < 1_000:
		return strconv.FormatInt(ns, 10) + " ns"
	case ns < 9_950:
		return trimmed(float64(ns)/1e3, 1) + " µs"
	case ns < 999_500:
		return trimmed(float64(ns)/1e3, 0) + " µs"
	case ns < 999_995_000:
		return trimmed(float64(ns)/1e6, 2) + " ms"
	}
	return trimmed(float64(ns)/1e9, 3) + " s"
}

func signedSpan(ns int64) string {
	if ns > 0 {
		return "+" + spanText(ns)
	}
	return spanText(ns)
}

// trimmed writes a number with at most so many decimals, and none that is zero.
func trimmed(x float64, decimals int) string {
	s := strconv.FormatFloat(x, 'f', decimals, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// timeText is the time of a moment since Timeline.Zero, as the time column of the
// ladder shows it, with its unit and, where it crosses from one clock to another, its
// error.
func (tr *trial) timeText(moment int) string {
	m := &tr.t.Moments[moment]
	if m.Stamp.Err >= clock.Unbounded {
		return "an unknown time"
	}
	if tr.column == nil {
		tr.column = tr.t.Ladder(LadderOptions{})
	}
	text := tr.column.number(int64(m.Stamp.At-tr.t.Zero)) + " " + tr.column.Unit.String()
	if m.Event.Host != tr.t.Reference && m.Stamp.Err > 0 {
		text += " ±" + spanText(m.Stamp.Err)
	}
	return text
}

// labText says that a packet comes of the close that the lab itself made at the end
// of a lane, empty if it does not.
func (tr *trial) labText(moment int) string {
	p, ok := tr.packetAt(moment)
	if !ok || p.connection < 0 || p.Flags&(FIN|RST) == 0 {
		return ""
	}
	call := tr.closing(p, moment)
	if call == nil || !call.ByLab {
		return ""
	}
	how := "by"
	if p.Flags&RST != 0 {
		how = "after"
	}
	return fmt.Sprintf(", %s the lab's own close at the end of lane %s", how, call.Lane)
}

// closing is the call of its sender that a FIN or a reset comes of, nil if none
// surely came before it. A FIN is sent for the first call that ends the sending,
// close(2) or shutdown(2); a reset is of the last close, or answers what came after it.
func (tr *trial) closing(p sighting, moment int) *Call {
	var last *Call
	for i := range tr.t.Moments {
		m := &tr.t.Moments[i]
		if m.Event.Call == nil || m.Edge != Enter || m.Connection != p.connection || m.Event.Host != p.from {
			continue
		}
		c := m.Event.Call
		ends := c.Name == "close" || c.Name == "shutdown" && c.Arguments != "RD"
		if notAfter, _ := tr.causes.order(i, moment); !ends || !notAfter {
			continue
		}
		if p.Flags&FIN != 0 {
			return c
		}
		last = c
	}
	return last
}

var flagNames = []struct {
	flag Flags
	name string
}{
	{SYN, "SYN"}, {FIN, "FIN"}, {RST, "RST"}, {PSH, "PSH"}, {URG, "URG"},
	{ACK, "ACK"}, {ECE, "ECE"}, {CWR, "CWR"}, {AE, "AE"},
}

// String is the flags joined by "+", ACK after the flag that it rides on:
// "SYN+ACK". No flag at all is "none".
func (f Flags) String() string {
	var names []string
	for _, n := range flagNames {
		if f&n.flag != 0 {
			names = append(names, n.name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, "+")
}

// packetText is a packet as a person writes it in an expectation, "A>B SYN+ACK".
func (tr *trial) packetText(p sighting) string {
	text := fmt.Sprintf("%s>%s %s", tr.hostName(p.from), tr.hostName(p.to), kindText(p.Packet))
	if p.PayloadLength > 0 {
		text += fmt.Sprintf(" with %d bytes", p.PayloadLength)
	}
	return text
}

// kindText is what kind of packet it is, as a person writes it in an expectation.
func kindText(p *Packet) string {
	switch {
	case p.ARP == 1:
		return "ARP request"
	case p.ARP != 0:
		return "ARP reply"
	case p.TCP():
		return (p.Flags &^ (PSH | URG | ECE | CWR | AE)).String()
	case p.Protocol == ProtocolUDP:
		return "UDP"
	case p.Protocol == ProtocolICMP:
		return fmt.Sprintf("ICMP %d/%d", p.ICMPType, p.ICMPCode)
	case p.Protocol == ProtocolICMPv6:
		return fmt.Sprintf("ICMPv6 %d/%d", p.ICMPType, p.ICMPCode)
	}
	return fmt.Sprintf("IP protocol %d", p.Protocol)
}

func packetSelectorText(sel *experiment.PacketSelector) string {
	if sel.Text != "" {
		return sel.Text
	}
	var parts []string
	if sel.From != "" || sel.To != "" {
		parts = append(parts, orAny(sel.From)+">"+orAny(sel.To))
	}
	switch {
	case sel.Third:
		parts = append(parts, "third ACK")
	case sel.AnyFlags:
		parts = append(parts, "with any flags")
	case sel.Contains:
		parts = append(parts, "any "+Flags(sel.Flags).String())
	default:
		parts = append(parts, Flags(sel.Flags).String())
	}
	if sel.Data != nil {
		parts = append(parts, map[bool]string{true: "data", false: "no data"}[*sel.Data])
	}
	return strings.Join(parts, " ")
}

func orAny(role string) string {
	if role == "" {
		return "any"
	}
	return role
}

func callSelectorText(sel *experiment.MomentSelector) string {
	if sel.Label != "" {
		return sel.Label
	}
	text := sel.Lane + "." + sel.Call
	if sel.Socket != "" {
		text += " " + sel.Socket
	}
	return text
}

func momentSelectorText(sel *experiment.MomentSelector) string {
	if sel.Text != "" {
		return sel.Text
	}
	switch sel.Kind {
	case experiment.EnterCall:
		return "enter(" + callSelectorText(sel) + ")"
	case experiment.ReturnCall:
		return "return(" + callSelectorText(sel) + ")"
	case experiment.PacketSent:
		return "sent(" + sel.Host + ", " + packetSelectorText(&sel.Packet) + ")"
	}
	return "received(" + sel.Host + ", " + packetSelectorText(&sel.Packet) + ")"
}

// callText is a call with its arguments: "connect(c, 10.0.0.2:8080)".
func callText(c *Call) string {
	var args []string
	if c.Socket != "" {
		args = append(args, c.Socket)
	}
	if c.Arguments != "" {
		args = append(args, c.Arguments)
	}
	return c.Name + "(" + strings.Join(args, ", ") + ")"
}

// resultText is what a call gave: a number, an errno's name, or what ended it.
func resultText(c *Call) string {
	switch {
	case c.EndedBy == EndedByTimeout:
		return "the lab's timeout"
	case c.EndedBy == EndedByCancel:
		return "no return before the repetition's time was up"
	case c.EndedBy == EndedByDeath:
		return "the death of the lane's process"
	case c.Errno != 0:
		return experiment.ErrnoName(c.Errno)
	case c.Name == "getsockopt" || c.Name == "poll":
		return shownText(c)
	case (c.Name == "recv" || c.Name == "recvfrom") && c.Result > 0:
		return fmt.Sprintf("%d bytes %s", c.Result, dataText(c.Data, c.Result))
	}
	return strconv.FormatInt(c.Result, 10)
}

// maxErrnosNamed bounds how many errnos of one outcome a reason names.
const maxErrnosNamed = 16

// shownText is a value with what a person reads it as: "111 (ECONNREFUSED)".
func shownText(c *Call) string {
	text := strconv.FormatInt(valueOf(c), 10)
	if c.Shown != "" && c.Shown != text {
		text += " (" + c.Shown + ")"
	}
	return text
}

// dataText is the beginning of what was received, quoted.
func dataText(data []byte, length int64) string {
	const most = 32
	text := strconv.Quote(string(data[:min(most, len(data))]))
	if int64(min(most, len(data))) < length {
		text += "…"
	}
	return text
}

func outcomeText(o *experiment.Outcome) string {
	var parts []string
	if o.OK {
		parts = append(parts, "ok")
	}
	for _, value := range o.Values {
		parts = append(parts, strconv.FormatInt(value, 10))
	}
	// "any" stands for every errno there is, and nobody reads them all.
	if len(o.Errnos) > maxErrnosNamed {
		parts = append(parts, "any error")
	} else {
		for _, errno := range o.Errnos {
			parts = append(parts, experiment.ErrnoName(errno))
		}
	}
	for _, data := range o.Data {
		parts = append(parts, dataText(data, int64(len(data))))
	}
	if o.Timeout {
		parts = append(parts, "the lab's timeout")
	}
	return strings.Join(parts, " or ")
}
