package packet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"syncline/agent/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

const (
	// pause is how long Run sleeps after it has read some frames, so that traffic costs a
	// wake-up per pause and not one per block. Drain cuts it short, and a prompt capture
	// takes none.
	pause = 10 * time.Millisecond
	// leisure is how long Run leaves frames in a ring that has room: to read them takes
	// the processor from those who send them. It is as long as most loops of calls that an
	// experiment can hold.
	leisure = 250 * time.Millisecond
	// sampling is how often the two clocks are compared when nothing else calls for it. A
	// stamp near a step is known to be between two comparisons, and no better.
	sampling = 100 * time.Millisecond
	// patience is how long Run waits at its end for blocks that the kernel's timer
	// should have handed over within a few milliseconds.
	patience = time.Second
)

// Capture hears the packets of a run on every interface of its path.
//
// Run reads; Drain, Frames and Close may be called from any goroutine while it does.
type Capture struct {
	flows flows
	rings []*ring
	clock *clock.Test
	// pause is how long Run sleeps after it has read some frames, leisure how long it does
	// so again while the rings have room. Both are 0 of a prompt capture.
	pause, leisure time.Duration
	// wake is an eventfd(2) that ends Run's waiting.
	wake int
	// hurry counts the callers of Drain; while there are any, Run takes no pauses.
	hurry atomic.Int32
	// downs counts the interfaces that were taken down on purpose and not yet seen to be.
	downs atomic.Int32
	// closing is closed by Close, once; ended by Run when it is through.
	closing, ended chan struct{}

	// Owned by Run from its start on.
	moves clock.Map
	// compared is when the clocks were compared last.
	compared int64
	emit     func([]*synclinev1.Event)

	mu     sync.Mutex
	state  state
	counts []counts
	// at is when, by CLOCK_MONOTONIC, the last pass that is over read the counters.
	at int64
	// last is when the last packet of the flows was seen.
	last int64
	// passed is closed, and made anew, by Run at the end of each pass.
	passed chan struct{}
}

type state int

const (
	opened state = iota
	running
	stopped
	closed
)

// counts is what is known of one ring's frames. Guarded by Capture.mu.
type counts struct {
	// kept frames got a place in the ring, dropped ones did not; both by the kernel.
	kept, dropped uint64
	// read, unreadable and foreign are what the reader made of the kept ones.
	read, unreadable, foreign uint64
	// abandoned were kept by the kernel and never handed over.
	abandoned uint64
	// reported is how many of the dropped are in a Loss event, and since is when it
	// was last known that no more were.
	reported uint64
	since    int64
}

// unread is negative while a block has been read whose frames are not counted yet.
func (c *counts) unread() int64 { return int64(c.kept - c.read - c.abandoned) }

// Open arms a tap on each interface, in the network namespace of the calling thread.
// From its return on every packet of the flows is captured, though none is read
// before Run. The error is ErrUnavailable if this process may not capture packets.
func Open(cfg Config) (*Capture, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	c := &Capture{
		flows: newFlows(&cfg), clock: cfg.Clock,
		closing: make(chan struct{}), ended: make(chan struct{}), passed: make(chan struct{}),
	}
	armed := cfg.Clock.Read()
	c.moves.Add(armed)
	c.at, c.last, c.compared = armed.Monotonic, armed.Monotonic, armed.Monotonic
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("packet: eventfd: %w", err)
	}
	c.wake = wake
	shape := shapeOf(&cfg)
	if !cfg.Prompt {
		c.pause, c.leisure = pause, leisure
	}
	for _, name := range dedupe(cfg.Interfaces) {
		r, err := openRing(name, &c.flows, shape)
		if err != nil {
			return nil, errors.Join(err, c.release())
		}
		r.floor, r.clock = armed.Monotonic, cfg.Clock
		c.rings = append(c.rings, r)
		c.counts = append(c.counts, counts{since: armed.Monotonic})
	}
	return c, nil
}

func dedupe(names []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

// Available says whether this process may capture packets in the network namespace of
// the calling thread: nil, or an error that is ErrUnavailable and says what to do.
func Available() error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return refused(err)
	}
	return unix.Close(fd)
}

// Run reads the rings and hands over what they hold until ctx is done or Close is
// called. It then ends the taps, reads what is left, and returns when every frame
// that the kernel counted has been emitted or reported lost, some 10 ms later.
//
// emit gets Packet and Loss events, in the order in which each interface saw them but not in
// order of time across interfaces. Steps of the clock are told by clock.Keeper, and are here
// in the bounds of the packets around them. It is called on Run's
// goroutine, owns what it gets, and may block: the rings then fill meanwhile. Number
// and repetition are left to it. Run can be called once.
func (c *Capture) Run(ctx context.Context, emit func([]*synclinev1.Event)) error {
	if err := c.begin(); err != nil {
		return err
	}
	defer c.end()
	stop := context.AfterFunc(ctx, c.kick)
	defer stop()
	c.emit = emit
	for ctx.Err() == nil && !isClosed(c.closing) {
		if err := c.step(); err != nil {
			return err
		}
	}
	return c.finish()
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func (c *Capture) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != opened {
		return errors.New("packet: Run was called before, or after Close")
	}
	c.state = running
	return nil
}

func (c *Capture) end() {
	c.mu.Lock()
	c.state = stopped
	c.mu.Unlock()
	close(c.ended)
}

// step is one pass over the rings and the wait for the next.
func (c *Capture) step() error {
	read, err := c.pass()
	if err != nil {
		return err
	}
	if read > 0 {
		if woken, err := c.linger(); woken || err != nil {
			return err
		}
	}
	due := time.Duration(c.compared + int64(sampling) - clock.Now())
	if due <= 0 {
		c.compare()
		return nil
	}
	_, err = c.wait(due, true)
	return err
}

// linger leaves the rings alone while they have room, and no longer than c.leisure. The
// clocks are compared meanwhile, so that frames which wait are no less exact than others.
func (c *Capture) linger() (woken bool, err error) {
	if c.pause == 0 {
		return false, nil
	}
	until := clock.Now() + int64(c.leisure)
	for c.hurry.Load() == 0 {
		if woken, err := c.wait(c.pause, false); woken || err != nil {
			return woken, err
		}
		now := c.compare()
		if now.Monotonic >= until || slices.ContainsFunc(c.rings, (*ring).filling) {
			break
		}
	}
	return false, nil
}

// expectedDown takes one off the downs that were announced; it reports false if there
// is none.
func (c *Capture) expectedDown() bool {
	for {
		n := c.downs.Load()
		if n <= 0 {
			return false
		}
		if c.downs.CompareAndSwap(n, n-1) {
			return true
		}
	}
}

// ExpectDown says that an interface is about to be taken down on purpose, once, which is
// then no fault of the capture. A tap hears nothing while its interface is down, and is
// hooked in again by the notifier of the step that brings it up, before the link has a
// carrier: until then nothing can arrive. Any goroutine may call it at any time.
func (c *Capture) ExpectDown() { c.downs.Add(1) }

// finish ends the taps and reads what is left in the rings.
func (c *Capture) finish() error {
	var errs []error
	for _, r := range c.rings {
		errs = append(errs, r.unhook())
	}
	deadline := clock.Now() + int64(patience)
	for {
		if _, err := c.pass(); err != nil {
			errs = append(errs, err)
			break
		}
		if c.settled() {
			break
		}
		rest := time.Duration(deadline - clock.Now())
		if rest <= 0 {
			c.abandon()
			break
		}
		if _, err := c.wait(rest, true); err != nil {
			errs = append(errs, err)
			break
		}
	}
	for _, r := range c.rings {
		if r.wasDown {
			errs = append(errs, fmt.Errorf("packet: interface %s went down during the capture; packets right after it came up again may be missing", r.name))
		}
	}
	return errors.Join(errs...)
}

// settled reports whether every frame that the kernel kept has been read.
func (c *Capture) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unread() == 0
}

// unread is how many frames the kernel has counted that are no events yet. The caller
// holds mu.
func (c *Capture) unread() (n int64) {
	for i := range c.counts {
		n += c.counts[i].unread()
	}
	return n
}

// abandon reports as lost what the kernel kept and never handed over.
func (c *Capture) abandon() {
	var events []*synclinev1.Event
	c.mu.Lock()
	for i, r := range c.rings {
		n := &c.counts[i]
		if left := n.unread(); left > 0 {
			n.abandoned += uint64(left)
			events = append(events, loss(uint64(left), n.since, clock.Now(), "unfinished block of the capture ring of "+r.name))
		}
	}
	c.mu.Unlock()
	c.hand(events)
}

// pass reads all blocks that are ready now, then the kernel's counters. A frame that
// was counted and not read is therefore in a block that is still the kernel's.
func (c *Capture) pass() (blocks int, err error) {
	ready := make([]int, len(c.rings))
	for i, r := range c.rings {
		ready[i] = r.ready()
		blocks += ready[i]
	}
	if blocks > 0 {
		now := c.compare()
		for i, r := range c.rings {
			for range ready[i] {
				c.deliver(i, r.take(&c.flows, &c.moves, now))
			}
		}
	}
	at := clock.Now()
	lost, err := c.count(at)
	if err != nil {
		return blocks, err
	}
	c.hand(lost)
	c.mu.Lock()
	c.at = at
	close(c.passed)
	c.passed = make(chan struct{})
	c.mu.Unlock()
	return blocks, nil
}

// deliver hands over one block of ring i, and counts it.
func (c *Capture) deliver(i int, b batch) {
	c.hand(b.events)
	c.mu.Lock()
	n := &c.counts[i]
	n.read += b.read
	n.unreadable += b.unreadable
	n.foreign += b.foreign
	since := n.since
	c.last = max(c.last, b.last)
	c.mu.Unlock()
	if b.unreadable > 0 {
		c.hand([]*synclinev1.Event{loss(b.unreadable, since, clock.Now(), "undecodable frame on "+c.rings[i].name)})
	}
}

// count brings the counters up to date, not before the moment at, and answers with
// the losses not yet reported.
func (c *Capture) count(at int64) (lost []*synclinev1.Event, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refresh(); err != nil {
		return nil, err
	}
	for i, r := range c.rings {
		n := &c.counts[i]
		now := clock.Now()
		if n.dropped > n.reported {
			lost = append(lost, loss(n.dropped-n.reported, n.since, now, "capture ring of "+r.name))
			n.reported = n.dropped
		}
		n.since = at
	}
	return lost, nil
}

// refresh adds what the kernel counted since the last time. The caller holds mu.
func (c *Capture) refresh() error {
	for i, r := range c.rings {
		kept, dropped, err := r.count()
		if err != nil {
			return err
		}
		c.counts[i].kept += kept
		c.counts[i].dropped += dropped
	}
	return nil
}

func loss(count uint64, since, at int64, where string) *synclinev1.Event {
	return &synclinev1.Event{TimeNs: at, Fact: &synclinev1.Event_Loss{Loss: &synclinev1.Loss{
		Source: synclinev1.Source_SOURCE_PACKETS, Count: count, SinceNs: since, Where: where,
	}}}
}

// compare lets the map know of the clocks as they are now.
func (c *Capture) compare() clock.Sample {
	now := c.clock.Read()
	c.moves.Add(now)
	c.compared = now.Monotonic
	return now
}

func (c *Capture) hand(events []*synclinev1.Event) {
	if len(events) > 0 {
		c.emit(events)
	}
}

// wait blocks until it is woken, or the time is up, or, with rings, a block is ready.
func (c *Capture) wait(atMost time.Duration, rings bool) (woken bool, err error) {
	fds := make([]unix.PollFd, 1, 1+len(c.rings))
	fds[0] = unix.PollFd{Fd: int32(c.wake), Events: unix.POLLIN}
	if rings {
		for _, r := range c.rings {
			fds = append(fds, unix.PollFd{Fd: int32(r.fd), Events: unix.POLLIN})
		}
	}
	timeout := unix.NsecToTimespec(int64(atMost))
	// EINTR is Go's preemption signal. The caller's loop makes a pass and waits anew.
	if _, err := unix.Ppoll(fds, &timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return false, fmt.Errorf("packet: poll: %w", err)
	}
	for i, fd := range fds[1:] {
		if fd.Revents&unix.POLLERR != 0 {
			if err := c.rings[i].takeError(c.expectedDown); err != nil {
				return false, err
			}
		}
	}
	if fds[0].Revents == 0 {
		return false, nil
	}
	return true, c.rest()
}

// rest takes back all kicks.
func (c *Capture) rest() error {
	var count [8]byte
	if _, err := unix.Read(c.wake, count[:]); err != nil && !errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("packet: read the eventfd: %w", err)
	}
	return nil
}

// kick makes Run's wait return.
func (c *Capture) kick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == closed {
		return
	}
	one := [8]byte{1, 1, 1, 1, 1, 1, 1, 1}
	// EAGAIN means that the counter is full, and so the wait returns anyway.
	_, _ = unix.Write(c.wake, one[:])
}

// Frames is how many frames of the flows the kernel's filter has let through, by its
// own count, and how many of them did not and will not become Packet events. Once Run
// has returned, or Drain has with no packet since, passed-lost is exactly the number
// of Packet events emitted.
func (c *Capture) Frames() (passed, lost uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != closed {
		// If this fails, the next pass fails too and says so.
		_ = c.refresh()
	}
	for i := range c.counts {
		n := &c.counts[i]
		passed += n.kept + n.dropped - n.foreign
		lost += n.dropped + n.unreadable + n.abandoned
	}
	return passed, lost
}

// Close ends the capture. It makes Run finish, waits for it, and then gives the rings
// back. It may be called more than once, and must not be called from emit.
func (c *Capture) Close() error {
	c.mu.Lock()
	if isClosed(c.closing) {
		c.mu.Unlock()
		return nil
	}
	close(c.closing)
	wasOpened := c.state == opened
	if wasOpened {
		c.state = stopped
	}
	c.mu.Unlock()
	if !wasOpened {
		c.kick()
		<-c.ended
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.refresh()
	c.state = closed
	return errors.Join(err, c.release())
}

// release closes every descriptor. Nothing reads the rings any more.
func (c *Capture) release() error {
	var errs []error
	for _, r := range c.rings {
		errs = append(errs, r.close())
	}
	return errors.Join(append(errs, unix.Close(c.wake))...)
}
