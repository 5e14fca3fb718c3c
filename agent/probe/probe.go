// Package probe compares the clocks of hosts by small UDP exchanges between their agents:
// a request and its reply, each stamped by the kernel as it leaves one host and as it
// reaches the other.
//
// The contract is that every sight holds. A datagram's sight at a host is an event whose
// time and error surely enclose the moment of its stamp, and whose direction, exchange
// and kind are those of exactly this datagram: stamps of departures, which come back from
// the kernel apart from what they are of, are matched by number and never by order, and
// one that cannot be right is counted as lost. Sights of the same datagram at both ends
// therefore give one inequality: it did not arrive before it left. Nothing that happens on
// the way can make that wrong. Delays, copies and detours only make it say less.
//
// The stamps are the kernel's, in software: of a departure as the driver gets the packet,
// of an arrival as the driver hands it over. Stamps of the network card are left alone,
// even where there are any: they are of the card's own clock, and moving them to
// CLOCK_MONOTONIC takes a bound on how far that runs from the host's between two
// readings, which nobody promises. Stamps in software need no such promise. Where the kernel
// has none, the agent's own are taken, and said to be.
//
// # Strangers
//
// A prober has ports that anybody can send to, and must be of no use to them:
//
//   - Every datagram carries the first 16 bytes of an HMAC-SHA256 under the session's secret.
//     One that does not verify is counted and dropped. So a stranger gets no answer to
//     anything.
//   - A reply is never answered, so that no two probers can be made to talk for ever.
//   - A reply goes to the endpoint that the controller named for the peer whose request it
//     is, whatever the request's source was, and so reflects nothing to third parties.
//   - A request is answered once: its number is remembered, and one that is too old to be
//     remembered is dropped. Whoever records datagrams and repeats them gets nothing.
//   - A reply is exactly as long as its request, and a peer gets no more of them than a
//     little above the session's rate: nothing is amplified.
//   - What is refused costs little, and a flood of it makes the prober look less often.
package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"syncline/agent/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

// Limits of a session.
const (
	// MaxRate bounds the exchanges a second with one peer.
	MaxRate = 100
	// MaxAsking bounds the exchanges a second with all peers together.
	MaxAsking = 2000
	// MaxPeers bounds the other hosts of a session.
	MaxPeers = 256
	// MaxName bounds the bytes of a name, of a session or of a host.
	MaxName = 256
	// SecretSize is the length of a session's secret.
	SecretSize = 32
)

// Config says where to take probes and whom to tell of them.
type Config struct {
	// Endpoints are the paths of this host and its addresses on them, one each. With
	// port 0 the kernel chooses the port.
	Endpoints []Endpoint
	// Avoid reports that a port must not be one of the prober's, since packets with it would
	// be taken for those of a run. nil: any will do.
	Avoid func(port uint16) bool
	// Clock is the test clock whose steps the stamps are to show; nil means the host's own.
	Clock *clock.Test
	// Emit gets every sight, and what was lost of them, as events, in the order in which the
	// prober learned of them. Number and repetition are left to it. It is called on Run's
	// goroutine and owns what it gets.
	Emit func([]*synclinev1.Event)
	// Met is told once of each path to each peer that is asked when its first answer has
	// come. It is called on Run's goroutine; nil: nobody is told.
	Met func(host string, path synclinev1.ProbePath)
}

// Endpoint is where a host takes probes on a path.
type Endpoint struct {
	Path    synclinev1.ProbePath
	Address netip.AddrPort
}

// Plan is what a session does.
type Plan struct {
	// Session is its name, Host that of this host in it.
	Session, Host string
	// Secret is the key of the datagrams' authentication, SecretSize random bytes.
	Secret []byte
	// Rate is how many exchanges a second there are with each peer that is asked.
	Rate int
	// Peers are the other hosts.
	Peers []Peer
	// Quiet is for runs whose record probes would be seen in, as ARP for one: the prober asks
	// several times at the beginning and at the end, and only answers in between.
	Quiet bool
}

// Peer is another host of the session.
type Peer struct {
	Host string
	// Endpoints are the peer's, each on a path that this host has too.
	Endpoints []Endpoint
	// Ask makes this host the one that asks. Otherwise the peer does.
	Ask bool
}

// Counts is what became of a session's datagrams so far.
type Counts struct {
	// Asked is how many requests were sent, Met how many of them got a reply, and Answered
	// how many requests of others did from here.
	Asked, Met, Answered uint64
	// Unsent datagrams were refused by this host's own kernel (a firewall, no route).
	Unsent uint64
	// Lost sights were not stamped, or their stamp could not be moved to CLOCK_MONOTONIC,
	// or the receive buffer had no room for them.
	Lost uint64
	// Refused datagrams had not the session's authentication.
	Refused uint64
	// Replayed requests were answered before, or are too old to tell; Throttled ones came
	// above the rate; Unasked are replies that nobody waits for. All of them were dropped.
	Replayed, Throttled, Unasked uint64
	// Elsewhere datagrams are authentic and came from another address than the peer's, as
	// they do behind a NAT box. They count as any other.
	Elsewhere uint64
}

// ErrUnavailable is what errors.Is finds in the error of Open and Available when this
// process cannot send and receive probes on this host.
var ErrUnavailable = errors.New("clock probes cannot be had here")

// Unavailable says why there can be no probes here, and what to do about it.
type Unavailable struct {
	// Reason is the call that was refused, with its errno.
	Reason error
	Remedy string
}

func (u *Unavailable) Error() string {
	return fmt.Sprintf("%v: %v; %s", ErrUnavailable, u.Reason, u.Remedy)
}

func (u *Unavailable) Unwrap() []error { return []error{ErrUnavailable, u.Reason} }

// check finds what keeps a plan from being carried out with the paths that there are.
func (p *Plan) check(own []Endpoint) error {
	switch {
	case p.Session == "" || len(p.Session) > MaxName:
		return fmt.Errorf("probe: the name of the session has %d bytes; 1 to %d will do", len(p.Session), MaxName)
	case p.Host == "" || len(p.Host) > MaxName:
		return fmt.Errorf("probe: the name of this host has %d bytes; 1 to %d will do", len(p.Host), MaxName)
	case len(p.Secret) != SecretSize:
		return fmt.Errorf("probe: the secret has %d bytes, not %d", len(p.Secret), SecretSize)
	case p.Rate < 1 || p.Rate > MaxRate:
		return fmt.Errorf("probe: %d exchanges a second with each peer; 1 to %d will do", p.Rate, MaxRate)
	case len(p.Peers) > MaxPeers:
		return fmt.Errorf("probe: %d peers; at most %d", len(p.Peers), MaxPeers)
	}
	asked, names := 0, map[string]bool{p.Host: true}
	for i := range p.Peers {
		peer := &p.Peers[i]
		if names[peer.Host] {
			return fmt.Errorf("probe: host %q is in the session twice", peer.Host)
		}
		names[peer.Host] = true
		if err := peer.check(own); err != nil {
			return err
		}
		if peer.Ask {
			asked++
		}
	}
	if asked*p.Rate > MaxAsking {
		return fmt.Errorf("probe: %d peers are asked %d times a second each; at most %d a second in all", asked, p.Rate, MaxAsking)
	}
	return nil
}

func (p *Peer) check(own []Endpoint) error {
	if p.Host == "" || len(p.Host) > MaxName {
		return fmt.Errorf("probe: the name of a peer has %d bytes; 1 to %d will do", len(p.Host), MaxName)
	}
	if len(p.Endpoints) == 0 {
		return fmt.Errorf("probe: peer %s has no endpoint", p.Host)
	}
	seen := map[synclinev1.ProbePath]bool{}
	for _, e := range p.Endpoints {
		if seen[e.Path] {
			return fmt.Errorf("probe: peer %s has two endpoints on path %s", p.Host, PathName(e.Path))
		}
		seen[e.Path] = true
		if err := e.reachable(own); err != nil {
			return fmt.Errorf("probe: peer %s: %w", p.Host, err)
		}
	}
	return nil
}

// reachable reports whether a datagram may go to an endpoint of a peer at all.
func (e Endpoint) reachable(own []Endpoint) error {
	a := e.Address.Addr()
	if !e.Address.IsValid() || e.Address.Port() == 0 || a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return fmt.Errorf("%v is not where one host takes probes", e.Address)
	}
	for _, mine := range own {
		switch {
		case mine.Path != e.Path:
		case mine.Address.Addr().Is4() != a.Is4():
			return fmt.Errorf("%v on path %s cannot be reached from %v: they are of two families", a, PathName(e.Path), mine.Address.Addr())
		default:
			return nil
		}
	}
	return fmt.Errorf("this host has no path %s", PathName(e.Path))
}

// PathName is a path in words: "experiment".
func PathName(p synclinev1.ProbePath) string {
	switch p {
	case synclinev1.ProbePath_PROBE_PATH_EXPERIMENT:
		return "experiment"
	case synclinev1.ProbePath_PROBE_PATH_CONTROL:
		return "control"
	}
	return fmt.Sprintf("%d", int32(p))
}

// Times of a session.
const (
	// lastWait bounds the waiting for the last exchange, and for that of the peers.
	lastWait = 100 * time.Millisecond
	// stampWait is how long the stamp of a departure may take. A datagram that waits longer
	// for its turn on the wire was most likely thrown away in the queue.
	stampWait = time.Second
	// replyWait is how long a reply may take.
	replyWait = 10 * time.Second
	// sampling is how often the clocks are compared at least.
	sampling = time.Second
	// reporting is how often losses are told at most.
	reporting = time.Second
)

// inARow is how many exchanges with a peer follow each other at once, whenever it is its
// turn. A host that did nothing for a while sends slowly, since the way from its call to the
// wire is in no cache: of the two datagrams of a lone exchange the request would be under
// way some microseconds longer than the reply, and the middle of the interval off by half
// of that. The second exchange finds both hosts awake.
const inARow = 2

// controlShare is which part of the exchanges takes the control path where there is one:
// every fifth. Its packets may go by other machines than the experiment's.
const controlShare = 5

// quietBurst is how many exchanges a quiet session has with each peer, at the beginning and
// at the end.
const quietBurst = 4
