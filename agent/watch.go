package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"syncline/agent/kernel"
	"syncline/agent/lane"
	"syncline/agent/packet"
	synclinev1 "syncline/proto/syncline/v1"
)

// lookout has what this host looks out for in one repetition. Its methods are safe for
// concurrent use: packets come from the taps, sockets from the lanes.
type lookout struct {
	// hearing is held while packets are looked at, which come in order.
	hearing sync.Mutex
	// seen is called once for each watch that has seen what it looks for.
	seen func(*synclinev1.Watch)
	// lost is called if a watch can never see it.
	lost func(*synclinev1.Watch, error)
	// ended is called, if it is set, with the end of a socket that a watch has seen.
	ended   func(kernel.Sighting)
	packets []*packetWatch
	states  []*synclinev1.Watch
	looking sync.WaitGroup

	mu sync.Mutex
	// following are the watches of sockets that exist, so that their addresses can be
	// told as soon as a call brings them.
	following map[socketName][]*kernel.StateWatch
	// accepted are the sockets that accept(2) makes.
	accepted map[socketName]bool
}

// packetWatch is one watch of a packet. Who holds hearing owns it.
type packetWatch struct {
	watch   *synclinev1.Watch
	matcher *packet.Matcher
	// over is true once it has seen its packet, or never can: it has been told then.
	over bool
}

// socketName is a socket as the experiment names it.
type socketName struct{ lane, name string }

// accepted are the names that lanes give to what accept(2) makes.
func accepted(lanes []*synclinev1.Lane) map[socketName]bool {
	names := map[socketName]bool{}
	for _, l := range lanes {
		for _, s := range l.Steps {
			if s.GetAccept() != nil && s.Makes != "" {
				names[socketName{l.Name, s.Makes}] = true
			}
		}
	}
	return names
}

// maxWatches bounds what one host looks out for in a repetition.
const maxWatches = 256

// newLookout reads what is to be looked out for. The lookout is there also with an
// error, and sees nothing more.
func newLookout(all []*synclinev1.Watch, accepted map[socketName]bool, seen func(*synclinev1.Watch), lost func(*synclinev1.Watch, error)) (*lookout, error) {
	l := &lookout{seen: seen, lost: lost, accepted: accepted, following: map[socketName][]*kernel.StateWatch{}}
	if len(all) > maxWatches {
		return l, fmt.Errorf("%d things to watch; at most %d", len(all), maxWatches)
	}
	for _, w := range all {
		switch look := w.Look.(type) {
		case *synclinev1.Watch_Packet:
			matcher, err := packet.NewMatcher(look.Packet)
			if err != nil {
				return l, fmt.Errorf("watch %s: %w", w.Text, err)
			}
			l.packets = append(l.packets, &packetWatch{watch: w, matcher: matcher})
		case *synclinev1.Watch_State:
			l.states = append(l.states, w)
		default:
			return l, fmt.Errorf("watch %s is of a kind this agent does not know", w.Text)
		}
	}
	return l, nil
}

// heard looks at what a tap has heard.
func (l *lookout) heard(events []*synclinev1.Event) {
	l.hearing.Lock()
	defer l.hearing.Unlock()
	l.look(events)
}

// look is heard for who holds hearing.
func (l *lookout) look(events []*synclinev1.Event) {
	for _, e := range events {
		p := e.GetPacket()
		if p == nil {
			continue
		}
		for _, w := range l.packets {
			if !w.over && w.matcher.Match(p) {
				w.over = true
				l.seen(w.watch)
			}
		}
	}
}

// overlook ends the watches of packets that have not seen theirs: it may have been among
// some that were never looked at. The caller holds hearing.
func (l *lookout) overlook(err error) {
	for _, w := range l.packets {
		if !w.over {
			w.over = true
			l.lost(w.watch, err)
		}
	}
}

// made begins to follow a socket, if a watch is for it, until ctx ends.
func (l *lookout) made(ctx context.Context, s lane.Socket) {
	name := socketName{s.Lane, s.Name}
	for _, w := range l.states {
		state := w.GetState()
		if state.Lane != s.Lane || state.Socket != s.Name {
			continue
		}
		follow := &kernel.StateWatch{Cookie: s.Cookie, Descriptor: s.Descriptor, Accepted: l.accepted[name], Wanted: kernel.State(state.State)}
		l.mu.Lock()
		l.following[name] = append(l.following[name], follow)
		l.mu.Unlock()
		l.looking.Go(func() {
			seen, err := follow.Run(ctx)
			switch {
			case err == nil:
				if l.ended != nil && follow.Wanted == kernel.Close && seen.State == kernel.Close {
					l.ended(seen)
				}
				l.seen(w)
			case ctx.Err() == nil:
				l.lost(w, err)
			}
		})
	}
}

// called learns the addresses that a call has brought its socket.
func (l *lookout) called(c *synclinev1.Call) {
	if len(l.states) == 0 || c == nil || c.LocalAddress == "" || c.PeerAddress == "" {
		return
	}
	local, err := netip.ParseAddrPort(c.LocalAddress)
	peer, err2 := netip.ParseAddrPort(c.PeerAddress)
	if errors.Join(err, err2) != nil {
		// Unix sockets have no TCP state, and no address of this form.
		return
	}
	name := socketName{c.Lane, c.Socket}
	if c.Makes != "" {
		name.name = c.Makes
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, follow := range l.following[name] {
		follow.Found(local, peer)
	}
}
