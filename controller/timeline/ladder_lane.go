package timeline

import (
	"cmp"
	"slices"
)

// lanes puts the hosts from left to right: as the experiment lists them, but one that
// stands between the ends of a connection between their lanes.
func (b *ladderer) lanes() {
	b.lane = make([]int, len(b.t.Hosts))
	for n, h := range b.order() {
		b.lane[h] = n
		host, reference := &b.t.Hosts[h], &b.t.Hosts[b.t.Reference]
		lane := LadderLane{Host: h, Name: host.Name, Agent: host.Agent, Reference: h == b.t.Reference}
		lane.SameKernel = !lane.Reference && host.ClockID != "" && host.ClockID == reference.ClockID
		if h < len(b.t.Clocks) {
			lane.Clock = b.t.Clocks[h]
		}
		b.l.Lanes = append(b.l.Lanes, lane)
	}
	for i := range b.t.Moments {
		e := b.t.Moments[i].Event
		if e.Call == nil {
			continue
		}
		lane := &b.l.Lanes[b.lane[e.Host]]
		if !slices.Contains(lane.Roles, e.Call.Lane) {
			lane.Roles = append(lane.Roles, e.Call.Lane)
		}
	}
}

// station is where a host stands on the way of the packets: the middle between the ends
// of the connections that it saw pass and, among those of one way, how many hosts the
// packets had passed before it.
type station struct {
	host          int
	between, hops float64
}

// order is the hosts from left to right.
func (b *ladderer) order() []int {
	stations := make([]station, len(b.t.Hosts))
	for h := range stations {
		stations[h] = station{host: h, between: float64(h)}
	}
	isEnd := make([]bool, len(b.t.Hosts))
	for ci := range b.t.Connections {
		for end := range 2 {
			if h := b.t.Connections[ci].End(end).Host; h >= 0 {
				isEnd[h] = true
			}
		}
	}
	for h, seen := range b.passages() {
		if isEnd[h] || seen.times == 0 {
			// What is an end itself stays where the experiment has it.
			continue
		}
		stations[h].between, stations[h].hops = seen.between/float64(seen.times), seen.hops/float64(seen.times)
	}
	slices.SortStableFunc(stations, func(x, y station) int {
		return cmp.Or(cmp.Compare(x.between, y.between), cmp.Compare(x.hops, y.hops), cmp.Compare(x.host, y.host))
	})
	order := make([]int, len(stations))
	for n := range stations {
		order[n] = stations[n].host
	}
	return order
}

// passage sums up what a host saw pass.
type passage struct {
	times         int
	between, hops float64
}

// passages are, by host, the packets that it saw pass between two others. The TTL of each,
// RFC 791 3.2, tells how many hosts it had passed: from the left end on, or up to the right
// one.
func (b *ladderer) passages() []passage {
	seen := make([]passage, len(b.t.Hosts))
	for i := range b.t.Moments {
		m := &b.t.Moments[i]
		p := m.Event.Packet
		if p == nil || !p.TCP() || m.Connection < 0 || m.Segment >= 0 {
			continue
		}
		c := &b.t.Connections[m.Connection]
		left, right := c.Client.Host, c.Server.Host
		if left < 0 || right < 0 || left == right || m.Event.Host == left || m.Event.Host == right {
			continue
		}
		passed := -float64(p.TTL)
		if fromRight := plain(p.Source) == c.Server.Address; fromRight != (left > right) {
			passed = -passed
		}
		s := &seen[m.Event.Host]
		s.times++
		s.between += float64(left+right) / 2
		s.hops += passed
	}
	return seen
}
