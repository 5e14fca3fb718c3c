package probe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// Available says whether this process can have probes on this host: nil, or an error that
// is ErrUnavailable and says what to do. stamps is nil if the kernel stamps what
// leaves and what arrives; otherwise it says why not, and the agent's own stamps are
// taken.
func Available() (err, stamps error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return refused(err), nil
	}
	s := &socket{fd: fd}
	stamps = s.stamp(stampDepartures)
	return s.close(), stamps
}

// Prober is this host's part of a session of probes.
//
// Run does the work, on one goroutine; Stop, Counts, Endpoints and Close may be called from
// any other while it does.
type Prober struct {
	cfg     Config
	sockets []*socket
	poller  *poller
	// closing is closed by Close, once; ended by Run when it is through.
	closing, ended chan struct{}

	// Owned by Run from its start on.
	session *session

	mu        sync.Mutex
	state     state
	stopping  bool
	published Counts
	troubles  []string
}

type state int

const (
	opened state = iota
	running
	stopped
	closed
)

// Open binds a socket for each path, in the network namespace of the calling thread. From
// its return on every probe that comes is stamped, though none is read before Run.
func Open(cfg Config) (*Prober, error) {
	if len(cfg.Endpoints) == 0 {
		return nil, errors.New("probe: no address to take probes at")
	}
	if cfg.Emit == nil {
		return nil, errors.New("probe: nobody to tell of what was seen")
	}
	poller, err := newPoller()
	if err != nil {
		return nil, err
	}
	p := &Prober{cfg: cfg, poller: poller, closing: make(chan struct{}), ended: make(chan struct{})}
	for i, e := range cfg.Endpoints {
		if slices.ContainsFunc(cfg.Endpoints[:i], func(f Endpoint) bool { return f.Path == e.Path }) {
			return nil, errors.Join(fmt.Errorf("probe: two addresses for the %s path", PathName(e.Path)), p.release())
		}
		s, err := openSocket(e, cfg.Avoid)
		if err != nil {
			return nil, errors.Join(err, p.release())
		}
		p.sockets = append(p.sockets, s)
	}
	poller.sockets = p.sockets
	// What comes before Run is stamped after this.
	p.session = newSession(p)
	return p, nil
}

// Endpoints are where this host takes probes, with their ports.
func (p *Prober) Endpoints() []Endpoint {
	all := make([]Endpoint, len(p.sockets))
	for i, s := range p.sockets {
		all[i] = Endpoint{s.path, s.local}
	}
	return all
}

// Run asks and answers as the plan says, until Stop is called, which adds a last exchange
// with every peer, or until ctx is done or Close is called, which do not. When it returns,
// every sight of what was sent and of what had come has been emitted or reported lost, but for what a flood leaves unread,
// and nothing is answered any more. The ports
// stay taken until Close. Run can be called once; a plan that cannot be carried out is an
// error at once.
func (p *Prober) Run(ctx context.Context, plan Plan) error {
	if err := p.begin(); err != nil {
		return err
	}
	defer p.end()
	if err := plan.check(p.Endpoints()); err != nil {
		return err
	}
	if err := p.session.plan(&plan); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, p.kick)
	defer stop()
	err := p.session.run(func() bool { return ctx.Err() != nil || isClosed(p.closing) })
	for _, s := range p.sockets {
		err = errors.Join(err, s.mute())
	}
	return err
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func (p *Prober) begin() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != opened {
		return errors.New("probe: Run was called before, or after Close")
	}
	p.state = running
	return nil
}

func (p *Prober) end() {
	p.mu.Lock()
	p.state = stopped
	p.mu.Unlock()
	close(p.ended)
}

// Stop has Run make one last exchange with every peer that is asked, wait a moment for what
// is outstanding and for the last of those who ask, and return. It does not wait for that.
func (p *Prober) Stop() {
	p.mu.Lock()
	p.stopping = true
	p.mu.Unlock()
	p.kick()
}

func (p *Prober) toStop() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopping
}

// Counts is what became of the datagrams so far. Once Run has returned it is exact.
func (p *Prober) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.published
}

// Troubles says, of each path to a peer on which nothing could be sent, why not. It is for
// after Run.
func (p *Prober) Troubles() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.troubles
}

func (p *Prober) publish(c Counts, troubles []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.published, p.troubles = c, troubles
}

// Close ends Run, waits for it, and gives the ports back. It may be called more than once,
// and must not be called from Emit or Met.
func (p *Prober) Close() error {
	p.mu.Lock()
	if isClosed(p.closing) {
		p.mu.Unlock()
		return nil
	}
	close(p.closing)
	wasRunning := p.state == running || p.state == stopped
	if !wasRunning {
		p.state = stopped
	}
	p.mu.Unlock()
	if wasRunning {
		p.kick()
		<-p.ended
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = closed
	return p.release()
}

// release closes every descriptor. Nothing uses them any more.
func (p *Prober) release() error {
	var errs []error
	for _, s := range p.sockets {
		errs = append(errs, s.close())
	}
	return errors.Join(append(errs, p.poller.close())...)
}

// kick makes Run's wait return.
func (p *Prober) kick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == closed {
		return
	}
	p.poller.kick()
}

// sight is a datagram as it left this host or reached it, before its stamp is moved.
type sight struct {
	peer      *peer
	direction synclinev1.Direction
	exchange  uint64
	reply     bool
	path      synclinev1.ProbePath
	origin    synclinev1.StampOrigin
	// realtime is the kernel's stamp. Without one, the moment is between low and high, of
	// CLOCK_MONOTONIC.
	realtime  int64
	low, high int64
}

// event is the sight with its moment: within bound nanoseconds of t.
func (s *sight) event(t, bound int64) *synclinev1.Event {
	slot := &struct {
		event synclinev1.Event
		fact  synclinev1.Event_Probe
		probe synclinev1.Probe
	}{}
	slot.probe.Peer, slot.probe.Direction = s.peer.host, s.direction
	slot.probe.Exchange, slot.probe.Reply = s.exchange, s.reply
	slot.probe.Path, slot.probe.Origin = s.path, s.origin
	slot.probe.RealtimeNs, slot.probe.ErrorNs = s.realtime, bound
	slot.fact.Probe = &slot.probe
	slot.event.TimeNs, slot.event.Fact = t, &slot.fact
	return &slot.event
}

// route is the way to a peer on one path.
type route struct {
	socket *socket
	to     unix.Sockaddr
	remote netip.AddrPort
	// tried and unsent count datagrams; trouble is why the first was not sent.
	tried, unsent uint64
	trouble       error
	// met is set when the first reply has come, left when the peer has asked here for the
	// last time.
	met, left bool
}

// peer is another host of the session.
type peer struct {
	host   string
	tag    tag
	ask    bool
	routes []*route
	// due is when to ask next, by CLOCK_MONOTONIC, and turn how often it was asked.
	due  int64
	turn uint64
	// taken are the requests of this peer that were seen, allowance how many of them are
	// answered.
	taken     window
	allowance bucket
}

// allLeft reports whether the peer has asked for the last time on every path.
func (p *peer) allLeft() bool {
	return !slices.ContainsFunc(p.routes, func(r *route) bool { return !r.left })
}

// route is the way on a path, nil if there is none.
func (p *peer) route(path synclinev1.ProbePath) *route {
	for _, r := range p.routes {
		if r.socket.path == path {
			return r
		}
	}
	return nil
}
