package timeline

import (
	"sort"

	"syncline/controller/clock"
)

// causes knows which moments are before which, from what a timeline holds and
// nothing else: the stamps with their errors, each host's own order, and the
// messages that were seen at both ends.
type causes struct {
	t *Timeline
	// slack is, per host, the largest error of moving a packet's stamp to the clock
	// that calls are stamped with. A call and a packet of one host that are nearer
	// than that have no known order.
	slack []int64
	// arrivals are, per host, the messages it received, in order of its own clock.
	arrivals [][]arrival
}

// arrival is what a host knew once a message had reached it: everything that
// happened on host h up to known[h] of h's clock was before.
type arrival struct {
	at    clock.Local
	known []clock.Local
}

const neverLocal = clock.Local(-1 << 63)

func newCauses(t *Timeline) *causes {
	c := &causes{
		t:        t,
		slack:    make([]int64, len(t.Hosts)),
		arrivals: make([][]arrival, len(t.Hosts)),
	}
	departures := make(map[int]int)
	for i := range t.Moments {
		if p := t.Moments[i].Event.Packet; p != nil {
			host := t.Moments[i].Event.Host
			c.slack[host] = max(c.slack[host], p.Err)
		}
	}
	for i := range t.Connections {
		for _, s := range t.Connections[i].Segments {
			if s.Departure >= 0 && s.Arrival > s.Departure && !s.Impossible && !s.Duplicate {
				departures[s.Arrival] = s.Departure
			}
		}
	}
	for i := range t.Moments {
		if departure, ok := departures[i]; ok {
			c.receive(departure, i)
		}
	}
	return c
}

// receive records that the message of departure reached the host of moment at.
// Messages are received in order of their arrival, so all that the sender knew has
// been recorded before.
func (c *causes) receive(departure, at int) {
	sender, receiver := c.t.Moments[departure].Event.Host, c.t.Moments[at].Event.Host
	known := make([]clock.Local, len(c.t.Hosts))
	for h := range known {
		known[h] = neverLocal
	}
	merge(known, c.knownAt(departure))
	known[sender] = max(known[sender], c.t.Moments[departure].Local)
	if n := len(c.arrivals[receiver]); n > 0 {
		merge(known, c.arrivals[receiver][n-1].known)
	}
	c.arrivals[receiver] = append(c.arrivals[receiver], arrival{at: c.t.Moments[at].Local, known: known})
}

func merge(into, from []clock.Local) {
	for h := range from {
		into[h] = max(into[h], from[h])
	}
}

// knownAt is what had reached the host of a moment before that moment, nil if
// nothing had.
func (c *causes) knownAt(moment int) []clock.Local {
	m := &c.t.Moments[moment]
	host := m.Event.Host
	limit := m.Local
	if m.Event.Packet == nil {
		limit -= clock.Local(c.slack[host])
	}
	n := sort.Search(len(c.arrivals[host]), func(i int) bool { return c.arrivals[host][i].at > limit })
	if n == 0 {
		return nil
	}
	return c.arrivals[host][n-1].known
}

// through reports whether a message, or a chain of them, left the host of a at or
// after a and reached the host of b at or before b.
func (c *causes) through(a, b int) bool {
	known := c.knownAt(b)
	if known == nil {
		return false
	}
	m := &c.t.Moments[a]
	at := m.Local
	if m.Event.Packet == nil {
		at += clock.Local(c.slack[m.Event.Host])
	}
	return known[m.Event.Host] >= at
}

// apart bounds the time from moment a to moment b, in nanoseconds. It is exact for
// two calls and for two packets of one host.
func (c *causes) apart(a, b int) (lo, hi int64) {
	ma, mb := &c.t.Moments[a], &c.t.Moments[b]
	if ma.Event.Host == mb.Event.Host {
		d := int64(mb.Local - ma.Local)
		if (ma.Event.Packet == nil) == (mb.Event.Packet == nil) {
			return d, d
		}
		err := packetErr(ma) + packetErr(mb)
		return d - err, d + err
	}
	if ma.Stamp.Err >= clock.Unbounded || mb.Stamp.Err >= clock.Unbounded {
		return -clock.Unbounded, clock.Unbounded
	}
	d, err := int64(mb.Stamp.At-ma.Stamp.At), ma.Stamp.Err+mb.Stamp.Err
	return d - err, d + err
}

func packetErr(m *Moment) int64 {
	if m.Event.Packet == nil {
		return 0
	}
	return m.Event.Packet.Err
}

// order tells if moment a is surely not after b, or surely after it; neither if
// nothing decides.
func (c *causes) order(a, b int) (notAfter, after bool) {
	lo, hi := c.apart(a, b)
	crossing := c.t.Moments[a].Event.Host != c.t.Moments[b].Event.Host
	switch {
	case lo >= 0 || (crossing && c.through(a, b)):
		return true, false
	case hi < 0 || (crossing && c.through(b, a)):
		return false, true
	}
	return false, false
}
