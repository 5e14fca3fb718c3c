package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"syncline/agent/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

const (
	// burst bounds the datagrams that are received at a socket before anything else is done.
	burst = 64
	// strangers is how many refused ones of them make a flood, and flood how long nothing is
	// received after that.
	strangers = burst / 2
	flood     = 2 * time.Millisecond
	// warmUp is how long replies are looked for at once, so that whoever waits for the
	// first exchange hears of it.
	warmUp = time.Second
	// atOnce is how many peers are asked at once, at most.
	atOnce = 8
	// collecting is how long replies may lie in the socket. They are stamped, and reading them
	// with the next request saves a wake-up.
	collecting = 250 * time.Millisecond
	// backlog is longer than a datagram ever waits between its stamp and the socket, a queue
	// of the kernel's own that a softirq works off.
	backlog = time.Second
)

// What becomes of sights that nobody will see.
const (
	lostStamp    = "stamp of a clock probe that left, which the kernel never gave"
	lostMoment   = "stamp of a clock probe that fits no moment: CLOCK_REALTIME was stepped, or the stamp is wrong"
	lostOverflow = "datagrams, perhaps of strangers, and stamps for which the receive buffer of the clock probes had no room"
)

// session is what Run's goroutine owns.
type session struct {
	prober *Prober
	key    *key
	own    tag
	peers  []*peer
	byTag  map[tag]*peer
	quiet  bool
	// period is from one turn of a peer to the next, in each of which it is asked inARow
	// times.
	period  int64
	started int64
	// prompt is set if datagrams are to be received as soon as they come.
	prompt bool
	// leaving is until when the last exchanges may take; 0: it is not the end yet.
	leaving int64
	// finishing is set when nothing is sent any more.
	finishing bool

	exchanges uint64
	awaited   map[uint64]awaited
	// asked are the numbers of awaited in their order, and of some that were answered.
	asked []uint64
	// lasts is how many of awaited are last exchanges.
	lasts int

	moves    clock.Map
	sampled  int64
	pending  []sight
	lost     map[string]uint64
	reported int64
	dropped  []uint32
	counts   Counts
	in       [Size + 1]byte
	out      [Size]byte
}

// awaited is a request without a reply yet.
type awaited struct {
	peer  *peer
	route *route
	at    int64
	last  bool
}

func newSession(p *Prober) *session {
	s := &session{
		prober: p, byTag: map[tag]*peer{}, awaited: map[uint64]awaited{}, lost: map[string]uint64{},
		dropped: make([]uint32, len(p.sockets)),
	}
	s.sample()
	s.reported = s.sampled
	return s
}

// plan takes in who takes part. The plan is right by itself.
func (s *session) plan(plan *Plan) error {
	s.key = newKey(plan.Secret, plan.Session)
	s.own = s.key.name("host", plan.Host)
	s.period, s.quiet = inARow*int64(time.Second)/int64(plan.Rate), plan.Quiet
	for _, asked := range plan.Peers {
		p := &peer{host: asked.Host, tag: s.key.name("host", asked.Host), ask: asked.Ask, due: math.MaxInt64}
		p.allowance = newBucket(plan.Rate, 4*quietBurst)
		for _, e := range asked.Endpoints {
			i := slices.IndexFunc(s.prober.sockets, func(k *socket) bool { return k.path == e.Path })
			p.routes = append(p.routes, &route{socket: s.prober.sockets[i], to: sockaddr(e.Address), remote: e.Address})
		}
		if s.byTag[p.tag] != nil || p.tag == s.own {
			return fmt.Errorf("probe: the tag of host %q is that of another one under this secret; take another secret", p.host)
		}
		s.byTag[p.tag] = p
		s.peers = append(s.peers, p)
		s.prompt = s.prompt || !p.ask
	}
	for _, k := range s.prober.sockets {
		s.prompt = s.prompt || !k.arrivals
	}
	return nil
}

// run does the session's work until ended reports true or the last exchange is over.
func (s *session) run(ended func() bool) error {
	s.begin(clock.Now())
	for !ended() {
		over, err := s.step()
		if err != nil {
			return errors.Join(err, s.finish())
		}
		if over {
			break
		}
	}
	return s.finish()
}

// step is one pass and the wait for the next. It reports true when the last exchange is over.
func (s *session) step() (over bool, err error) {
	now := clock.Now()
	if s.leaving == 0 && s.prober.toStop() {
		s.leave(now)
	}
	patience, err := s.pass(now)
	if err != nil {
		return false, err
	}
	if s.leaving != 0 && (s.through() || clock.Now() >= s.leaving) {
		return true, nil
	}
	return false, s.wait(patience)
}

// begin asks every peer at once, on every path, and plans when it is their turn.
func (s *session) begin(now int64) {
	s.started = now
	times := inARow
	if s.quiet {
		times = quietBurst
	}
	s.askAll(times, false)
	if s.quiet {
		return
	}
	// Peers are asked a few at a time, since to wake up costs more than to send, and the
	// times are even within a period. Where in it the first ones are asked depends on the
	// host, so that not all hosts ask at once.
	asked := 0
	for _, p := range s.peers {
		if p.ask {
			asked++
		}
	}
	slots := (asked + atOnce - 1) / atOnce
	shift, k := float64(binary.BigEndian.Uint16(s.own[:]))/(1<<16), 0
	for _, p := range s.peers {
		if p.ask {
			p.due = now + s.period/2 + int64(float64(s.period)*(float64(k%slots)+shift)/float64(slots))
			k++
		}
	}
}

func (s *session) askAll(times int, last bool) {
	for _, p := range s.peers {
		for _, r := range p.routes {
			for i := 0; p.ask && i < times; i++ {
				s.ask(p, r, last && i == times-1)
			}
		}
	}
}

// leave asks every peer for the last time.
func (s *session) leave(now int64) {
	s.leaving = now + int64(lastWait)
	times := inARow
	if s.quiet {
		times = quietBurst
	}
	s.askAll(times, true)
}

// through reports whether nothing is outstanding any more: the last replies are here, the
// stamps of what left too, and those who ask have asked for the last time.
func (s *session) through() bool {
	for _, k := range s.prober.sockets {
		if k.ever && len(k.waiting) > 0 {
			return false
		}
	}
	return s.lasts == 0 && !slices.ContainsFunc(s.peers, func(p *peer) bool { return !p.ask && !p.allLeft() })
}

// pass does all that can be done now. It answers how long nothing needs to be received,
// because of a flood, or less than nothing if there is more to receive already.
func (s *session) pass(now int64) (patience time.Duration, err error) {
	for _, k := range s.prober.sockets {
		n, refused, err := s.receive(k)
		if err != nil {
			return 0, err
		}
		switch {
		case refused >= strangers:
			patience = flood
		case n == burst && patience == 0:
			patience = -1
		}
	}
	if s.leaving == 0 {
		s.askDue(now)
	}
	for _, k := range s.prober.sockets {
		if err := s.stamps(k); err != nil {
			return 0, err
		}
	}
	s.expire(now)
	if err := s.hand(); err != nil {
		return 0, err
	}
	s.prober.publish(s.counts, nil)
	return patience, nil
}

// wait waits for what comes next.
func (s *session) wait(patience time.Duration) error {
	now := clock.Now()
	until := s.sampled + int64(sampling)
	prompt := s.prompt || s.leaving != 0 || now < s.started+int64(warmUp) && s.unmet()
	if !prompt && len(s.awaited) > 0 {
		until = min(until, now+int64(collecting))
	}
	if s.leaving != 0 {
		until = min(until, s.leaving)
	} else {
		for _, p := range s.peers {
			until = min(until, p.due)
		}
	}
	switch {
	case patience < 0:
		until = now
	case patience > 0:
		return s.prober.poller.wait(min(patience, time.Duration(until-now)), false)
	}
	return s.prober.poller.wait(time.Duration(until-now), prompt)
}

// unmet reports whether some peer has not answered on some path yet.
func (s *session) unmet() bool {
	return slices.ContainsFunc(s.peers, func(p *peer) bool {
		return p.ask && slices.ContainsFunc(p.routes, func(r *route) bool { return !r.met })
	})
}

// askDue asks the peers whose time has come.
func (s *session) askDue(now int64) {
	// Replies of those who are asked at once queue up at this host: not always in one order.
	first := s.exchanges
	for i := range s.peers {
		p := s.peers[(first+uint64(i))%uint64(len(s.peers))]
		if p.due > now {
			continue
		}
		r := p.next()
		for range inARow {
			s.ask(p, r, false)
		}
		// What was missed, because this process did not run, is not made up for, and the next
		// one is not sent right after this one.
		missed := (now - p.due + s.period/2) / s.period
		p.due += (1+missed)*s.period + s.spread(p.turn) - s.spread(p.turn-1)
	}
}

// spread is by how much an exchange is off the beat: up to a tenth of the period, the same in
// every session. So probes do not go in step with anything periodic on the host.
func (s *session) spread(turn uint64) int64 {
	noise := turn * 0x9e3779b97f4a7c15 >> 48
	return int64(noise) * (s.period / 10) >> 16
}

// next is the path whose turn it is.
func (p *peer) next() *route {
	p.turn++
	control := p.turn%controlShare == 0
	for _, r := range p.routes {
		if (r.socket.path == synclinev1.ProbePath_PROBE_PATH_CONTROL) == control {
			return r
		}
	}
	return p.routes[0]
}

// ask sends a request.
func (s *session) ask(p *peer, r *route, last bool) {
	s.exchanges++
	if !s.send(p, r, &datagram{kind: kindRequest, last: last, exchange: s.exchanges}) {
		return
	}
	s.counts.Asked++
	s.awaited[s.exchanges] = awaited{p, r, clock.Now(), last}
	s.asked = append(s.asked, s.exchanges)
	if last {
		s.lasts++
	}
}

// send completes a datagram and sends it.
func (s *session) send(p *peer, r *route, d *datagram) bool {
	d.path, d.sender, d.receiver = r.socket.path, s.own, p.tag
	s.key.seal(&s.out, d)
	r.tried++
	done, complete, err := s.transmit(r, sight{
		peer: p, direction: synclinev1.Direction_DIRECTION_OUT, exchange: d.exchange, reply: d.kind == kindReply, path: d.path,
	})
	if err != nil {
		s.counts.Unsent++
		r.unsent++
		if r.trouble == nil {
			r.trouble = err
		}
		return false
	}
	if complete {
		s.pending = append(s.pending, done.unstamped())
	}
	return true
}

func (s *session) transmit(r *route, what sight) (departure, bool, error) {
	if r.socket.unsure {
		// It is sure again once no stamp is awaited, and they may be here already.
		if err := s.stamps(r.socket); err != nil {
			return departure{}, false, err
		}
	}
	return r.socket.send(&s.out, r.to, what)
}

// receive takes in what has come to a socket, a burst at most, and says how many that were
// and how many of them were refused.
func (s *session) receive(k *socket) (n, refused int, err error) {
	for n < burst {
		a, ok, err := k.receive(s.in[:])
		if err != nil || !ok {
			return n, refused, err
		}
		n++
		if !s.take(k, &a) {
			refused++
			s.counts.Refused++
		}
	}
	return n, refused, nil
}

// take acts on one datagram. It reports false if that has not the session's authentication.
func (s *session) take(k *socket, a *arrival) bool {
	d, err := s.key.open(s.in[:min(a.n, len(s.in))])
	if err != nil || d.receiver != s.own || d.path != k.path {
		return false
	}
	p := s.byTag[d.sender]
	if p == nil {
		return false
	}
	r := p.route(d.path)
	if r == nil {
		return false
	}
	if a.from != r.remote {
		s.counts.Elsewhere++
	}
	if d.kind == kindReply {
		s.replied(p, r, &d, a)
	} else {
		s.requested(p, r, &d, a)
	}
	return true
}

// requested answers a request, once.
func (s *session) requested(p *peer, r *route, d *datagram, a *arrival) {
	switch {
	case !p.taken.take(d.exchange):
		s.counts.Replayed++
		return
	case !p.allowance.take(a.before):
		s.counts.Throttled++
		return
	}
	s.arrived(p, d, a)
	r.left = r.left || d.last
	if s.finishing {
		return
	}
	if s.send(p, r, &datagram{kind: kindReply, exchange: d.exchange}) {
		s.counts.Answered++
	}
}

// replied takes the reply to a request of this host, once.
func (s *session) replied(p *peer, r *route, d *datagram, a *arrival) {
	w, ok := s.awaited[d.exchange]
	if !ok || w.peer != p || w.route != r {
		s.counts.Unasked++
		return
	}
	s.forget(d.exchange, w)
	s.arrived(p, d, a)
	s.counts.Met++
	if !r.met {
		r.met = true
		if s.prober.cfg.Met != nil {
			s.prober.cfg.Met(p.host, d.path)
		}
	}
}

func (s *session) forget(exchange uint64, w awaited) {
	delete(s.awaited, exchange)
	if w.last {
		s.lasts--
	}
}

// arrived notes the sight of a datagram that came in.
func (s *session) arrived(p *peer, d *datagram, a *arrival) {
	seen := sight{
		peer: p, direction: synclinev1.Direction_DIRECTION_IN, exchange: d.exchange, reply: d.kind == kindReply, path: d.path,
		origin: synclinev1.StampOrigin_STAMP_ORIGIN_KERNEL, realtime: a.stamp, low: a.after - int64(backlog), high: a.before,
	}
	if a.stamp == 0 {
		seen.origin, seen.low = synclinev1.StampOrigin_STAMP_ORIGIN_AGENT, a.after
	}
	s.pending = append(s.pending, seen)
}

// unstamped is a departure by the agent's own clock: the datagram was handed to the kernel
// between low and high. What it waits in the host's own queues counts as the way.
func (d *departure) unstamped() sight {
	seen := d.sight
	seen.origin, seen.low, seen.high = synclinev1.StampOrigin_STAMP_ORIGIN_AGENT, d.before, d.after
	return seen
}

// stamps takes the stamps of what has left.
func (s *session) stamps(k *socket) error {
	for {
		d, stamp, ok, err := k.departed()
		if err != nil || !ok {
			return err
		}
		seen := d.sight
		seen.origin, seen.realtime = synclinev1.StampOrigin_STAMP_ORIGIN_KERNEL, stamp
		seen.low, seen.high = d.before, clock.Now()
		s.pending = append(s.pending, seen)
	}
}

// expire gives up what has waited too long.
func (s *session) expire(now int64) {
	for len(s.asked) > 0 {
		w, waiting := s.awaited[s.asked[0]]
		if waiting && now-w.at < int64(replyWait) {
			break
		}
		if waiting {
			s.forget(s.asked[0], w)
		}
		s.asked = s.asked[1:]
	}
	for _, k := range s.prober.sockets {
		for id, d := range k.waiting {
			if now-d.after >= int64(stampWait) {
				s.giveUp(k, id, d)
			}
		}
	}
}

// giveUp ends the wait for a stamp. Where none ever came, the driver makes none, and the
// agent's own will do.
func (s *session) giveUp(k *socket, id uint32, d departure) {
	delete(k.waiting, id)
	k.gaveUp = clock.Now()
	if k.ever {
		s.lost[lostStamp]++
		return
	}
	s.pending = append(s.pending, d.unstamped())
}

// sample compares the clocks.
func (s *session) sample() {
	now := s.prober.cfg.Clock.Read()
	s.moves.Add(now)
	s.sampled = now.Monotonic
}

// hand hands on what was seen since the last time.
func (s *session) hand() error {
	if len(s.pending) == 0 && clock.Now() < s.sampled+int64(sampling) {
		return nil
	}
	return s.emit(false)
}

// emit hands on what was seen, and what was lost, if that is due or all of it is asked for.
func (s *session) emit(all bool) error {
	s.sample()
	events := make([]*synclinev1.Event, 0, len(s.pending))
	for i := range s.pending {
		if e := s.moved(&s.pending[i]); e != nil {
			events = append(events, e)
		}
	}
	s.pending = s.pending[:0]
	var err error
	if all || s.sampled-s.reported >= int64(reporting) {
		var losses []*synclinev1.Event
		losses, err = s.losses()
		events = append(events, losses...)
	}
	if len(events) > 0 {
		s.prober.cfg.Emit(events)
	}
	return err
}

// moved is a sight as an event; nil if it is lost.
func (s *session) moved(seen *sight) *synclinev1.Event {
	if seen.origin == synclinev1.StampOrigin_STAMP_ORIGIN_AGENT {
		return seen.event(seen.low+(seen.high-seen.low)/2, (seen.high-seen.low+1)/2)
	}
	seen.realtime = s.prober.cfg.Clock.Realtime(seen.realtime)
	t, bound, ok := s.moves.MonotonicSince(seen.realtime, seen.low)
	if !ok || seen.high < t-bound {
		s.lost[lostMoment]++
		return nil
	}
	return seen.event(t, bound)
}

// losses are the losses that were not told yet.
func (s *session) losses() (events []*synclinev1.Event, err error) {
	var errs []error
	for i, k := range s.prober.sockets {
		dropped, err := k.overflowed()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if n := dropped - s.dropped[i]; n > 0 {
			s.lost[lostOverflow] += uint64(n)
		}
		s.dropped[i] = dropped
	}
	for _, where := range []string{lostStamp, lostMoment, lostOverflow} {
		count := s.lost[where]
		if count == 0 {
			continue
		}
		s.counts.Lost += count
		events = append(events, &synclinev1.Event{TimeNs: s.sampled, Fact: &synclinev1.Event_Loss{Loss: &synclinev1.Loss{
			Source: synclinev1.Source_SOURCE_PROBES, Count: count, SinceNs: s.reported, Where: where,
		}}})
	}
	clear(s.lost)
	s.reported = s.sampled
	return events, errors.Join(errs...)
}

// finish hands on the rest: what lies in the sockets, the stamps of what has left, and what
// is pending, whatever fails on the way.
func (s *session) finish() error {
	s.finishing = true
	var errs []error
	for _, k := range s.prober.sockets {
		// A flood does not keep it: what it hides is lost, and counted where it is lost.
		_, _, err := s.receive(k)
		errs = append(errs, err, s.stamps(k))
		for id, d := range k.waiting {
			s.giveUp(k, id, d)
		}
	}
	errs = append(errs, s.emit(true))
	s.prober.publish(s.counts, s.troubles())
	return errors.Join(errs...)
}

// troubles says of each path on which nothing could be sent why not.
func (s *session) troubles() (all []string) {
	for _, p := range s.peers {
		for _, r := range p.routes {
			if r.tried > 0 && r.unsent == r.tried {
				all = append(all, fmt.Sprintf("none of %d probes to %s could be sent from %v to %v, on the path %s: %v",
					r.tried, p.host, r.socket.local, r.remote, PathName(r.socket.path), r.trouble))
			}
		}
	}
	return all
}
