package timeline

import (
	"slices"

	"syncline/controller/clock"
)

// datagram names one datagram of a clock probe, as both its ends know it: the asker
// numbers its exchanges, whatever peer and path.
type datagram struct {
	asker, peer int
	exchange    uint64
	path        ProbePath
	reply       bool
}

// sightsOf are the two ends of a datagram. An arrival without a departure, or a
// departure without an arrival, says nothing.
type sightsOf struct {
	departure, arrival *Event
	// twice: two departures bear the same name, as after a restart of the asker. Nobody
	// knows which of them arrived.
	twice bool
}

// probes are the sights of a run's clock probes, paired.
type probes struct {
	// datagrams in the order of the asker's clock, and of its peers; only those that are
	// known at both ends.
	datagrams []pairedProbe
	// strangers counts sights whose peer has no part in the run.
	strangers int
	// lost counts, by host, sights that happened and were not kept.
	lost []uint64
	// trips are the shortest round trips, in nanoseconds, of pairs that have one.
	trips map[pair]int64
}

// pairedProbe is a datagram that was seen at both ends.
type pairedProbe struct {
	datagram
	departure, arrival *Event
}

// pairProbes pairs the sights of probes; the events are sorted, by host, and all of them
// are of probes.
func pairProbes(hosts []Host, events []*Event) probes {
	p := probes{lost: make([]uint64, len(hosts))}
	index := make(map[string]int)
	for h := range slices.Backward(hosts) {
		index[hosts[h].Name] = h
	}
	seen := make(map[datagram]*sightsOf)
	var order []datagram
	for _, e := range events {
		if e.Loss != nil {
			p.lost[e.Host] += e.Loss.Count
			continue
		}
		peer, ok := index[e.Probe.Peer]
		if !ok || peer == e.Host {
			p.strangers++
			continue
		}
		name := nameOf(e, peer)
		s := seen[name]
		if s == nil {
			s = &sightsOf{}
			seen[name] = s
			order = append(order, name)
		}
		s.add(e)
	}
	for _, name := range order {
		if s := seen[name]; s.departure != nil && s.arrival != nil && !s.twice {
			p.datagrams = append(p.datagrams, pairedProbe{name, s.departure, s.arrival})
		}
	}
	p.measure()
	return p
}

// nameOf is the datagram that a host saw.
func nameOf(e *Event, peer int) datagram {
	name := datagram{asker: e.Host, peer: peer, exchange: e.Probe.Exchange, path: e.Probe.Path, reply: e.Probe.Reply}
	if (e.Probe.Direction == Out) == e.Probe.Reply {
		name.asker, name.peer = name.peer, name.asker
	}
	return name
}

// add takes a sight. The network may deliver a datagram twice: both arrivals are after the
// departure, and the first says more.
func (s *sightsOf) add(e *Event) {
	switch {
	case e.Probe.Direction == In && s.arrival == nil:
		s.arrival = e
	case e.Probe.Direction == In:
		if e.At < s.arrival.At {
			s.arrival = e
		}
	case s.departure == nil:
		s.departure = e
	default:
		s.twice = true
	}
}

// measure finds the shortest round trip of each pair of hosts: how long a request and its
// reply were under way together, without the time at the peer. Each of the two differences
// is of one clock, so no offset is in it.
func (p *probes) measure() {
	type exchange struct {
		asker, peer int
		number      uint64
		path        ProbePath
	}
	p.trips = make(map[pair]int64)
	requests := make(map[exchange]*pairedProbe)
	for i := range p.datagrams {
		d := &p.datagrams[i]
		if !d.reply {
			requests[exchange{d.asker, d.peer, d.exchange, d.path}] = d
		}
	}
	for i := range p.datagrams {
		reply := &p.datagrams[i]
		request := requests[exchange{reply.asker, reply.peer, reply.exchange, reply.path}]
		if !reply.reply || request == nil {
			continue
		}
		took := int64(reply.arrival.At-request.departure.At) - int64(reply.departure.At-request.arrival.At)
		between := pairOf(reply.asker, reply.peer)
		if least, ok := p.trips[between]; took > 0 && (!ok || took < least) {
			p.trips[between] = took
		}
	}
}

// pair is two hosts, the lower index first.
type pair struct{ a, b int }

func pairOf(a, b int) pair { return pair{min(a, b), max(a, b)} }

// messages are what the probes tell the clocks.
func (p *probes) messages() []clock.Message {
	all := make([]clock.Message, 0, len(p.datagrams))
	for i := range p.datagrams {
		d := &p.datagrams[i]
		all = append(all, clock.Message{
			From: d.departure.Host, Sent: d.departure.At, SentErr: d.departure.Probe.Err,
			To: d.arrival.Host, Received: d.arrival.At, ReceivedErr: d.arrival.Probe.Err, Method: clock.Probes,
		})
	}
	return all
}
