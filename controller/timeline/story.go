package timeline

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"syncline/controller/experiment"
)

// Story is in which order things happened in a repetition, as far as that is sure and as far
// as two repetitions can be compared by it: what each lane called and what came of it, and
// what each end of each connection sent and received. No times, ports and sequence numbers
// are in it. Between two of its lines nothing is said of order but by what arrived, since
// what two threads or two hosts do beside each other may come in either order.
type Story struct {
	// ID is the same for two stories exactly if their lines are.
	ID    string
	Lines []StoryLine
}

// StoryLine is what one lane did, or one end of one connection saw, in order.
type StoryLine struct {
	// Of is whose it is: "lane client on A", "client.c at A".
	Of string
	// Steps in their order: "connect → 0", "→ SYN", "← SYN+ACK".
	Steps []string
}

// exchangeLimit is from how many segments on, of data and of their acknowledgments in a row,
// a story counts them no more: how a stream of bytes is cut into segments is not in anybody's
// hands.
const exchangeLimit = 8

// Steps of a story that stand for several.
const (
	manySegments = "many segments of data"
	againStep    = "again"
)

// Story tells in which order things happened.
func (t *Timeline) Story() *Story {
	s := &Story{Lines: append(t.laneLines(), t.endLines()...)}
	s.Lines = append(s.Lines, t.otherLines()...)
	slices.SortStableFunc(s.Lines, func(a, b StoryLine) int {
		return cmp.Or(cmp.Compare(a.Of, b.Of), slices.Compare(a.Steps, b.Steps))
	})
	hash := sha256.New()
	for _, l := range s.Lines {
		fmt.Fprintf(hash, "%s\n", l.Of)
		for _, step := range l.Steps {
			fmt.Fprintf(hash, "\t%s\n", step)
		}
	}
	s.ID = hex.EncodeToString(hash.Sum(nil)[:6])
	return s
}

// storyDoubt is what is missing from the record, empty if nothing is.
func (t *Timeline) storyDoubt() string {
	var evidence *evidence
	if t.certain != nil {
		evidence = t.certain.evidence
	}
	if evidence == nil {
		evidence = evidenceOf(t)
	}
	for _, source := range []Source{Syscalls, Packets} {
		for host := range t.Hosts {
			if why := evidence.complete(host, t.Repetition, source); why != "" {
				return why
			}
		}
	}
	return ""
}

// laneLines are the calls of each lane in their order, but for what the lab did to tidy up.
func (t *Timeline) laneLines() []StoryLine {
	lines := make(map[string]*StoryLine)
	var order []string
	for i := range t.Moments {
		m := &t.Moments[i]
		c := m.Event.Call
		if c == nil || c.ByLab || m.Edge == Enter {
			continue
		}
		name := c.Lane
		if lines[name] == nil {
			lines[name] = &StoryLine{Of: fmt.Sprintf("lane %s on %s", name, t.hostName(m.Event.Host))}
			order = append(order, name)
		}
		lines[name].Steps = oneMore(lines[name].Steps, c.Name+onSocket(c)+" → "+outcomeOf(c))
	}
	all := make([]StoryLine, 0, len(order))
	for _, name := range order {
		all = append(all, *lines[name])
	}
	return all
}

// oneMore adds a step. One that is as the one before is told once more and then no more.
func oneMore(steps []string, step string) []string {
	switch n := len(steps); {
	case n > 0 && steps[n-1] == againStep && steps[n-2] == step:
		return steps
	case n > 0 && steps[n-1] == step && step != againStep:
		return append(steps, againStep)
	}
	return append(steps, step)
}

func onSocket(c *Call) string {
	if c.Socket == "" {
		return ""
	}
	return " " + c.Socket
}

// outcomeOf is what a call gave, as far as it is the same wherever the same happened: an
// error by its name, bytes without their number, no descriptors.
func outcomeOf(c *Call) string {
	switch {
	case c.EndedBy == EndedByTimeout:
		return "timeout"
	case c.EndedBy == EndedByCancel:
		return "cancelled"
	case c.EndedBy == EndedByDeath:
		return "killed"
	case c.Errno != 0:
		return experiment.ErrnoName(c.Errno)
	case (strings.HasPrefix(c.Name, "send") || strings.HasPrefix(c.Name, "recv")) && c.Result == 0:
		return "0"
	case strings.HasPrefix(c.Name, "send") || strings.HasPrefix(c.Name, "recv"):
		return "bytes"
	}
	return "ok"
}

// endLines are what each end of each connection sent and received, by its own tap.
func (t *Timeline) endLines() []StoryLine {
	var all []StoryLine
	for ci := range t.Connections {
		for end := range 2 {
			own := t.Connections[ci].End(end)
			if own.Host < 0 {
				continue
			}
			if steps := t.endSteps(ci, end); len(steps) > 0 {
				all = append(all, StoryLine{Of: t.endLabel(ci, end) + " at " + t.hostName(own.Host), Steps: steps})
			}
		}
	}
	return all
}

// endLabel names an end of a connection so that it has the same name in every repetition:
// by the experiment's word for its socket, else by whose peer it is, without a port that the
// kernel chose.
func (t *Timeline) endLabel(connection, end int) string {
	c := &t.Connections[connection]
	own, peer := c.End(end), c.End(1-end)
	switch {
	case own.Lane != "":
		return strings.TrimSuffix(own.Lane+"."+own.Socket, ".")
	case peer.Lane != "":
		return "peer of " + strings.TrimSuffix(peer.Lane+"."+peer.Socket, ".")
	case end == ServerEnd:
		return "server " + own.Address.String()
	}
	return "client of " + peer.Address.String()
}

// ConnectionLabel names a connection so that it has the same name in every repetition:
// "client.c to server.a". Two connections of one repetition may share it.
func (t *Timeline) ConnectionLabel(connection int) string {
	return t.endLabel(connection, ClientEnd) + " to " + t.endLabel(connection, ServerEnd)
}

func (t *Timeline) endSteps(connection, end int) []string {
	c := &t.Connections[connection]
	type sighting struct {
		at  int
		out bool
		s   *Segment
	}
	var seen []sighting
	for i := range c.Segments {
		s := &c.Segments[i]
		out := s.FromClient == (end == ClientEnd)
		at := s.Arrival
		if out {
			at = s.Departure
		}
		if at >= 0 {
			seen = append(seen, sighting{at, out, s})
		}
	}
	slices.SortStableFunc(seen, func(a, b sighting) int { return cmp.Compare(a.at, b.at) })
	// What offloads cut or joined is several segments of one moment: what was seen is one.
	seen = slices.CompactFunc(seen, func(a, b sighting) bool { return a.at == b.at })
	var steps []string
	plain := 0
	for _, x := range seen {
		p := t.Moments[x.at].Event.Packet
		if p.Flags&(SYN|FIN|RST) != 0 || x.s.Copy > 0 || x.s.Lost || x.s.Duplicate {
			plain = 0
			steps = append(steps, stepOfSegment(p, x.s, x.out))
			continue
		}
		switch plain++; {
		case plain < exchangeLimit:
			steps = append(steps, stepOfSegment(p, x.s, x.out))
		case plain == exchangeLimit:
			steps = append(steps[:len(steps)-plain+1], manySegments)
		}
	}
	return steps
}

func stepOfSegment(p *Packet, s *Segment, out bool) string {
	text := "← "
	if out {
		text = "→ "
	}
	text += (p.Flags &^ (PSH | ECE | CWR | AE)).String()
	if p.PayloadLength > 0 {
		text += " data"
	}
	switch {
	case s.Duplicate:
		text += ", a duplicate"
	case s.Copy > 0:
		text += ", sent again"
	}
	if out && s.Lost {
		text += ", lost"
	}
	return text
}

// otherLines are the packets that are no TCP, from one host to another. ARP is left out:
// whether a host asks depends on what it still knows.
func (t *Timeline) otherLines() []StoryLine {
	lines := make(map[string]*StoryLine)
	var order []string
	for i := range t.Others {
		o := &t.Others[i]
		p := t.Packet(o)
		if p.ARP != 0 {
			continue
		}
		of := fmt.Sprintf("%s from %s to %s", protocolOf(p), t.addressLabel(o.From, p.Source.Addr().String()), t.addressLabel(o.To, p.Destination.Addr().String()))
		step := "sent"
		switch {
		case p.Protocol == ProtocolICMP || p.Protocol == ProtocolICMPv6:
			step = fmt.Sprintf("type %d code %d", p.ICMPType, p.ICMPCode)
		case o.Lost:
			step = "lost"
		}
		if lines[of] == nil {
			lines[of] = &StoryLine{Of: of}
			order = append(order, of)
		}
		lines[of].Steps = oneMore(lines[of].Steps, step)
	}
	all := make([]StoryLine, 0, len(order))
	for _, of := range order {
		all = append(all, *lines[of])
	}
	return all
}

func (t *Timeline) addressLabel(host int, otherwise string) string {
	if host < 0 {
		return otherwise
	}
	return t.hostName(host)
}

func protocolOf(p *Packet) string {
	switch p.Protocol {
	case ProtocolUDP:
		return "UDP"
	case ProtocolICMP, ProtocolICMPv6:
		return "ICMP"
	}
	return fmt.Sprintf("protocol %d", p.Protocol)
}
