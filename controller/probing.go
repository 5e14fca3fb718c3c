package controller

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

const (
	// defaultProbeRate is exchanges a second with each peer; each is two datagrams.
	defaultProbeRate = 10
	maxProbeRate     = 100
	// maxProbeLoad bounds the exchanges a second of one host with all of its peers.
	maxProbeLoad = 2000
	// maxAllPairs is how many hosts can be probed in all pairs.
	maxAllPairs = 32
	// maxEndpoints is one for each path.
	maxEndpoints = 2
	// maxNamed is how many things of one kind that went wrong with a session are named.
	maxNamed = 20
	// maxSights is how many events an agent may tell of a session without a run.
	maxSights = 1 << 16
	// probeSecretSize is the length of a session's key.
	probeSecretSize = 32
)

// probingWanted checks what was asked for of a session of so many hosts, and fills in the
// defaults.
func probingWanted(q *synclinev1.Probing, hosts int) (store.Probing, error) {
	if q.GetOff() {
		if q.GetRate() != 0 || q.GetAllPairs() {
			return store.Probing{}, fmt.Errorf("probes are off, and have no rate and no pairs; leave away the one or the other")
		}
		return store.Probing{Off: true}, nil
	}
	peers := max(1, hosts-1)
	p := store.Probing{Rate: int(q.GetRate()), AllPairs: q.GetAllPairs()}
	switch {
	case p.Rate > maxProbeRate:
		return store.Probing{}, fmt.Errorf("%d exchanges of probes a second with each peer; at most %d", p.Rate, maxProbeRate)
	case p.AllPairs && hosts > maxAllPairs:
		return store.Probing{}, fmt.Errorf("all pairs of %d hosts are %d; at most %d hosts are probed in all pairs: without all pairs every host is probed all the same", hosts, hosts*(hosts-1)/2, maxAllPairs)
	case p.Rate*peers > maxProbeLoad:
		return store.Probing{}, fmt.Errorf("%d exchanges of probes a second with each of %d peers can be %d at one host; at most %d, so ask for a rate of %d or less", p.Rate, peers, p.Rate*peers, maxProbeLoad, max(1, maxProbeLoad/peers))
	case p.Rate == 0:
		p.Rate = max(1, min(defaultProbeRate, maxProbeLoad/peers))
	}
	return p, nil
}

// probeHost is a host of a session.
type probeHost struct {
	// name is what the hosts of the session call it: the role in a run, else the agent.
	name, agent string
	// clock names the clock that it reads; testClock describes it if it is not real.
	clock, testClock string
	// lacks is why it takes no part, empty if it can.
	lacks string
	// addresses are those at which it may take probes: what it said of itself, and where
	// it dials from.
	addresses []netip.Addr

	// asked and opened: it was sent OpenProbes, and has answered.
	asked, opened bool
	endpoints     []*synclinev1.ProbeEndpoint
	// began and stopped: it was sent StartProbes, and has answered StopProbes.
	began, stopped bool
	events         []*synclinev1.Event
	lost, refused  uint64
	failure        string
}

// probing is one session of clock probes, as the controller sees it: what to tell which
// agent next, and what is still waited for. It sends and waits for nothing itself, and
// belongs to one goroutine.
//
// The secret is in it and in the messages that begin the session, and nowhere else.
type probing struct {
	session string
	// run is the run whose events the sights become; empty: they are told at the end.
	run    string
	wanted store.Probing
	// quiet asks at the beginning and at the end only, so that no run sees the probes.
	quiet bool
	hosts []*probeHost
	// connected are the pairs of hosts between which lanes connect.
	connected []hostPair
	pairs     []probePair
	// met are the pairs that had an exchange, by path.
	met map[probeWay]bool
	// ended is set once the session was told to stop in its own time.
	ended bool
	// notes are what went wrong, for people.
	notes []string
}

// probeWay is one path of a pair.
type probeWay struct {
	probePair
	path synclinev1.ProbePath
}

// needed reports whether probes could tell anything: two hosts that can take part read
// different clocks.
func (p *probing) needed() bool {
	return slices.ContainsFunc(p.hosts, p.hasPartner)
}

// severalClocks reports whether the hosts read more than one clock.
func (p *probing) severalClocks() bool {
	return slices.ContainsFunc(p.hosts, func(h *probeHost) bool { return h.clock != p.hosts[0].clock })
}

// hasPartner reports whether a host can take part, and another one of another clock can.
func (p *probing) hasPartner(h *probeHost) bool {
	return h.lacks == "" && slices.ContainsFunc(p.hosts, func(other *probeHost) bool {
		return other.lacks == "" && other.clock != h.clock
	})
}

// toAgent is a message on its way to an agent.
type toAgent struct {
	agent   string
	message *synclinev1.ControlResponse
}

// open asks every host that has somebody to probe for its sockets.
func (p *probing) open() []toAgent {
	var out []toAgent
	for _, h := range p.hosts {
		if !p.hasPartner(h) {
			continue
		}
		h.asked = true
		out = append(out, toAgent{h.agent, &synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_OpenProbes{
			OpenProbes: &synclinev1.OpenProbes{Session: p.session, RunId: p.run},
		}}})
	}
	return out
}

// opening are the agents that have yet to say where they take probes.
func (p *probing) opening() []string {
	return p.agents(func(h *probeHost) bool { return h.asked && !h.opened })
}

// start chooses the pairs among the hosts that have answered, and tells each its part.
func (p *probing) start() []toAgent {
	secret := make([]byte, probeSecretSize)
	rand.Read(secret)
	choice := pairing{reach: p.reach, connected: p.connected, all: p.wanted.AllPairs}
	for _, h := range p.hosts {
		choice.clocks = append(choice.clocks, h.clock)
	}
	p.pairs = choice.choose()
	p.met = map[probeWay]bool{}
	var out []toAgent
	for i, h := range p.hosts {
		peers := p.peersOf(i)
		if len(peers) == 0 {
			continue
		}
		h.began = true
		out = append(out, toAgent{h.agent, &synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_StartProbes{
			StartProbes: &synclinev1.StartProbes{Session: p.session, Secret: secret, Host: h.name, Rate: uint32(p.wanted.Rate), Peers: peers, Quiet: p.quiet},
		}}})
	}
	return out
}

func (p *probing) peersOf(i int) []*synclinev1.ProbePeer {
	var peers []*synclinev1.ProbePeer
	for _, pair := range p.pairs {
		other := pair.answerer
		if pair.answerer == i {
			other = pair.asker
		} else if pair.asker != i {
			continue
		}
		peer := &synclinev1.ProbePeer{Host: p.hosts[other].name, Ask: pair.asker == i}
		for _, way := range p.ways(i, other) {
			peer.Endpoints = append(peer.Endpoints, p.endpoint(other, way))
		}
		peers = append(peers, peer)
	}
	return peers
}

// reach reports whether two hosts have a path in common.
func (p *probing) reach(a, b int) bool { return len(p.ways(a, b)) > 0 }

// ways are the paths that two hosts have in common, with addresses of one family.
func (p *probing) ways(a, b int) []synclinev1.ProbePath {
	var all []synclinev1.ProbePath
	for _, mine := range p.hosts[a].endpoints {
		theirs := p.endpoint(b, mine.Path)
		if theirs != nil && isSix(mine) == isSix(theirs) {
			all = append(all, mine.Path)
		}
	}
	return all
}

func (p *probing) endpoint(host int, path synclinev1.ProbePath) *synclinev1.ProbeEndpoint {
	for _, e := range p.hosts[host].endpoints {
		if e.Path == path {
			return e
		}
	}
	return nil
}

// isSix is of an endpoint whose address was read before.
func isSix(e *synclinev1.ProbeEndpoint) bool {
	return netip.MustParseAddrPort(e.Address).Addr().Unmap().Is6()
}

// meeting reports whether some pair has yet to have its first exchange.
func (p *probing) meeting() bool { return len(p.unmet()) > 0 }

// unmet are the pairs, and their paths, that had no exchange so far.
func (p *probing) unmet() []probeWay {
	var all []probeWay
	for _, pair := range p.pairs {
		for _, path := range p.ways(pair.asker, pair.answerer) {
			if way := (probeWay{pair, path}); !p.met[way] {
				all = append(all, way)
			}
		}
	}
	return all
}

// stop ends the session.
func (p *probing) stop() []toAgent {
	p.ended = true
	var out []toAgent
	for _, h := range p.hosts {
		if h.asked {
			out = append(out, toAgent{h.agent, &synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_StopProbes{
				StopProbes: &synclinev1.StopProbes{Session: p.session},
			}}})
		}
	}
	return out
}

// stopping are the agents that have yet to say that they have stopped.
func (p *probing) stopping() []string {
	return p.agents(func(h *probeHost) bool { return h.asked && !h.stopped })
}

func (p *probing) agents(which func(*probeHost) bool) []string {
	var all []string
	for _, h := range p.hosts {
		if which(h) {
			all = append(all, h.agent)
		}
	}
	return all
}

// note keeps something that people should know, once.
func (p *probing) note(format string, args ...any) {
	if text := clip(fmt.Sprintf(format, args...)); !slices.Contains(p.notes, text) {
		p.notes = append(p.notes, text)
	}
}

// hear takes news of an agent. What is not of this session, or comes from somebody who has
// no part in it, or comes twice, changes nothing.
func (p *probing) hear(n news) {
	i := slices.IndexFunc(p.hosts, func(h *probeHost) bool { return h.agent == n.agent })
	if i < 0 {
		return
	}
	h := p.hosts[i]
	switch {
	case n.gone:
		p.lose(h)
	case n.message.GetProbesOpened().GetSession() == p.session && h.asked && !h.opened && !h.stopped:
		h.opened = true
		p.opened(h, n.message.GetProbesOpened())
	case n.message.GetProbesMet().GetSession() == p.session && h.began:
		p.meet(i, n.message.GetProbesMet())
	case n.message.GetProbesStopped().GetSession() == p.session && h.asked && !h.stopped:
		// Also unasked: a session can come to its end at the agent.
		s := n.message.GetProbesStopped()
		h.opened, h.stopped = true, true
		h.lost, h.refused, h.failure = s.Lost, s.Refused, s.Error
		if p.run == "" {
			h.events = s.Events
			if beyond := len(s.Events) - maxSights; beyond > 0 {
				p.note("host %s: agent %s told of %d sights of clock probes, and may tell of %d; the first %d are left out", h.name, h.agent, len(s.Events), maxSights, beyond)
				// A copy: the others are not to be kept for these.
				h.events = slices.Clone(s.Events[beyond:])
			}
		}
	}
}

// lose gives up an agent that has gone; nothing of it is waited for any more.
func (p *probing) lose(h *probeHost) {
	if h.asked && !h.stopped {
		h.opened, h.stopped = true, true
		h.failure = "it was lost"
	}
}

// opened keeps where a host takes probes. An agent sends the others of the session
// datagrams to whatever it names, so only its own addresses are believed.
func (p *probing) opened(h *probeHost, m *synclinev1.ProbesOpened) {
	if m.Error != "" {
		// It has nothing that would have to be stopped.
		h.lacks, h.asked = m.Error, false
		return
	}
	if len(m.Endpoints) == 0 || len(m.Endpoints) > maxEndpoints {
		h.lacks = fmt.Sprintf("it takes probes at %d addresses, 1 to %d are needed", len(m.Endpoints), maxEndpoints)
		return
	}
	for _, e := range m.Endpoints {
		at, err := netip.ParseAddrPort(e.GetAddress())
		switch {
		case err != nil:
			p.note("host %s: the address %.64q that agent %s takes clock probes at is none: %v", h.name, e.GetAddress(), h.agent, err)
		case e.Path != synclinev1.ProbePath_PROBE_PATH_EXPERIMENT && e.Path != synclinev1.ProbePath_PROBE_PATH_CONTROL:
			p.note("host %s: agent %s takes clock probes on a path that this controller does not know (%d); install the same release on both", h.name, h.agent, e.Path)
		case at.Port() == 0 || !slices.Contains(h.addresses, at.Addr().Unmap().WithZone("")):
			p.note("host %s: agent %s wants clock probes at %s, which is no address of its host that it told of; give it that one with --address", h.name, h.agent, at)
		case slices.ContainsFunc(h.endpoints, func(had *synclinev1.ProbeEndpoint) bool { return had.Path == e.Path }):
			p.note("host %s: agent %s takes clock probes at two addresses of one path; the first one counts", h.name, h.agent)
		default:
			h.endpoints = append(h.endpoints, e)
		}
	}
	if len(h.endpoints) == 0 {
		h.lacks = "none of the addresses that it takes probes at can be used"
	}
}

func (p *probing) meet(asker int, m *synclinev1.ProbesMet) {
	for _, pair := range p.pairs {
		if pair.asker == asker && p.hosts[pair.answerer].name == m.Host && slices.Contains(p.ways(asker, pair.answerer), m.Path) {
			p.met[probeWay{pair, m.Path}] = true
		}
	}
}

// late gives up the agents that did not answer a step within its limit.
func (p *probing) late(step string, limit time.Duration, agents []string) {
	for _, h := range p.hosts {
		if !slices.Contains(agents, h.agent) {
			continue
		}
		text := fmt.Sprintf("it did not answer %s within %v", step, limit)
		if h.opened {
			h.failure = text
		} else {
			h.lacks = text
		}
		h.opened, h.stopped = true, true
	}
}

// warnings say which clocks probes did not compare, and why. Before the session has begun
// they are of hosts alone.
func (p *probing) warnings() []string {
	var lacking, failed, lost, refused []string
	for _, h := range p.hosts {
		different := slices.ContainsFunc(p.hosts, func(other *probeHost) bool { return other.clock != h.clock })
		if h.lacks != "" && different {
			lacking = append(lacking, fmt.Sprintf("no clock probes with host %s: agent %s: %s", h.name, h.agent, h.lacks))
		}
		switch {
		case h.failure != "":
			failed = append(failed, fmt.Sprintf("clock probes of host %s: agent %s: %s", h.name, h.agent, h.failure))
		case h.lost > 0:
			lost = append(lost, fmt.Sprintf("clock probes of host %s: agent %s could not keep or stamp %s", h.name, h.agent, counted(h.lost, "sight", "sights")))
		}
		if h.refused > 0 {
			refused = append(refused, fmt.Sprintf("host %s: %s at the sockets of the clock probes came from somebody else, or were changed on their way; agent %s did not answer them", h.name, counted(h.refused, "datagram", "datagrams"), h.agent))
		}
	}
	all := named(lacking, "no clock probes with %d more hosts")
	if p.quiet && len(p.pairs) > 0 {
		all = append(all, "clocks were probed at the beginning and at the end only, and are less well known between: the experiment judges ARP, ICMP beside a rule that rejects, or counters of IP or UDP, and would see the probes")
	}
	all = append(all, named(slices.Clone(p.notes), "%d more faults in what agents said of clock probes")...)
	all = append(all, named(failed, "clock probes failed at %d more hosts")...)
	all = append(all, named(lost, "the agents of %d more hosts could not keep or stamp all sights of clock probes")...)
	all = append(all, named(refused, "datagrams of strangers came to the sockets of the clock probes of %d more hosts")...)
	for i, text := range all {
		all[i] = clip(text)
	}
	return append(all, p.silent()...)
}

// silent names the pairs that were probed to the end and never had an exchange.
func (p *probing) silent() []string {
	if !p.ended {
		return nil
	}
	var all []string
	for _, way := range p.unmet() {
		asker, answerer := p.hosts[way.asker], p.hosts[way.answerer]
		if asker.failure != "" || answerer.failure != "" {
			continue // Why is said already.
		}
		path := "the path of the experiment"
		if way.path == synclinev1.ProbePath_PROBE_PATH_CONTROL {
			path = "the control network"
		}
		all = append(all, clip(fmt.Sprintf("host %s answered no clock probe of host %s on %s (UDP from %s to %s): a firewall or a missing route on the way is the usual cause",
			answerer.name, asker.name, path, p.endpoint(way.asker, way.path).Address, p.endpoint(way.answerer, way.path).Address)))
	}
	return named(all, "no clock probe was answered on %d more paths")
}

// named keeps the first of many texts of one kind, and says how many more there were.
func named(all []string, more string) []string {
	if beyond := len(all) - maxNamed; beyond > 0 {
		return append(all[:maxNamed], fmt.Sprintf(more, beyond))
	}
	return all
}

func counted(n uint64, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// probesLacking is why an agent cannot take part in clock probes, by what it said that it
// has; empty if it can.
func probesLacking(capabilities []*synclinev1.Capability) string {
	for _, c := range capabilities {
		if c.GetSource() != synclinev1.Source_SOURCE_PROBES {
			continue
		}
		if c.Available {
			return ""
		}
		why := cmp.Or(c.Reason, "it does not say why")
		if c.Remedy != "" {
			why += "; " + c.Remedy
		}
		return "it cannot: " + why
	}
	return "its release knows no clock probes; install the same release on all hosts"
}

// probeAddresses are where an agent may take probes.
func probeAddresses(s *session) []netip.Addr {
	var all []netip.Addr
	for _, a := range s.hello.Addresses {
		// They were checked when the agent said hello.
		all = append(all, netip.MustParseAddr(a).Unmap().WithZone(""))
	}
	if from, err := netip.ParseAddrPort(s.remote); err == nil {
		all = append(all, from.Addr().Unmap().WithZone(""))
	}
	return all
}

// newProbeSession names a session that is of no run.
func newProbeSession() string {
	var b [8]byte
	rand.Read(b[:])
	return "p-" + hex.EncodeToString(b[:])
}
