//go:build 386 || amd64 || arm || arm64 || loong64 || mips64le || mipsle || ppc64le || riscv64

package trace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"syncline/agent/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

const (
	// pause is how long Run sleeps between two looks at how full the ring is, and leisure how
	// long it leaves records in a ring that has room: to read them takes the processor from
	// those who are watched. Flush cuts both short.
	pause   = 10 * time.Millisecond
	leisure = 250 * time.Millisecond
	// recordHeader is what the ring puts before each record; both together take a multiple
	// of 8 bytes (kernel/bpf/ringbuf.c).
	recordHeader = 8
	// membarrierGlobal is MEMBARRIER_CMD_GLOBAL, linux/membarrier.h.
	membarrierGlobal = 1
	// batchSize bounds the events of one call of emit.
	batchSize = 1024
	// missEvery is how often the kernel is asked what it left the programs out of.
	missEvery = 100 * time.Millisecond
	// patience is the default of Tracer.patience. A record takes a microsecond; a virtual
	// processor may be kept from running for much longer.
	patience = time.Second
)

// Tracer listens to the tracepoints.
//
// Run reads; Flush, Counts and Close may be called from any goroutine while it does.
type Tracer struct {
	loaded
	reader *ringbuf.Reader
	// kick makes Run look now.
	kick chan struct{}
	// closing and gone are closed by the first Close, at its beginning and its end; ended by
	// Run when it is through.
	closing, gone, ended chan struct{}
	// patience is how long Run waits at its end for programs that are under way.
	patience time.Duration

	mu    sync.Mutex
	state state
	// ran is set by the first Run.
	ran bool
	// read records were taken from the ring and handed over, but for those omitted.
	read, omitted uint64
	// final are the programs' own counts when the maps were closed.
	final Counts
	// flushes is how many were asked for, and answered how many of those a look has
	// answered that began after they were asked for.
	flushes, answered uint64
	// passed is closed, and made anew, by Run at the end of each look.
	passed chan struct{}

	// Owned by Run.
	emit  func(...*synclinev1.Event)
	raw   ringbuf.Record
	batch []*synclinev1.Event
	// taken and left out are not counted yet.
	taken, left uint64
	// reported is how many of the lost are in a Loss event, and since is when it was
	// last known that no more were; missed and asked are the same of events that the
	// programs were left out of.
	reported, missed uint64
	since, asked     int64
}

type state int

const (
	opened state = iota
	running
	stopped
	closed
)

// Open attaches the programs, for the network namespace of the calling thread. From its
// return on every event of the flows is in the ring, though none is read before Run. The
// error is ErrUnavailable if that is not possible here for this process. It takes some
// 100 ms, most of them to read the kernel's types.
func Open(cfg Config) (*Tracer, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	spec, err := carried()
	if err != nil {
		return nil, err
	}
	since := clock.Now()
	l, err := load(&cfg, spec)
	if err != nil {
		return nil, err
	}
	reader, err := ringbuf.NewReader(l.ring)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("trace: map the ring: %w", err), l.close())
	}
	// A deadline that has passed makes each read take what is there, and no more:
	// nobody wakes us.
	reader.SetDeadline(time.Unix(1, 0))
	t := &Tracer{
		loaded: *l, reader: reader, since: since,
		kick: make(chan struct{}, 1), passed: make(chan struct{}), patience: patience,
		closing: make(chan struct{}), gone: make(chan struct{}), ended: make(chan struct{}),
	}
	// What came between the attaching of the first program and of the second is not asked of
	// anybody.
	t.asked = clock.Now()
	if t.missed, err = t.untaken(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// Missing are the tracepoints asked for that this kernel does not have.
func (t *Tracer) Missing() []Missing { return t.missing }

// Run reads the ring and hands over what it holds until ctx is done or Close is called.
// It then detaches the programs, reads what is left, and returns when every record has
// been handed over or reported lost. Where Close came before it, all records are lost.
//
// emit gets Trace and Loss events. It is called on Run's goroutine, owns the events but
// not the slice,
// and may block: the ring then fills meanwhile. Number and repetition are left to it.
// Run can be called once.
func (t *Tracer) Run(ctx context.Context, emit func(...*synclinev1.Event)) error {
	late, err := t.begin()
	if err != nil {
		return err
	}
	defer t.end()
	t.emit = emit
	if late {
		t.tooLate()
		return nil
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		if err := t.pass(false); err != nil {
			return errors.Join(err, t.detach())
		}
		if t.linger(ctx, tick.C) {
			return t.finish()
		}
	}
}

// linger leaves records in the ring for no longer than leisure, and while no more than a
// quarter of it waits to be read. It reports whether Run is to end.
func (t *Tracer) linger(ctx context.Context, tick <-chan time.Time) bool {
	for until := clock.Now() + int64(leisure); ; {
		select {
		case <-tick:
			now, waiting := clock.Now(), t.reader.AvailableBytes()
			if waiting == 0 {
				until = now + int64(leisure)
			}
			if now >= until || waiting > t.reader.BufferSize()/4 {
				return false
			}
		case <-t.kick:
			return false
		case <-ctx.Done():
			return true
		case <-t.closing:
			return true
		}
	}
}

// begin lets the first Run in, and says whether Close came before it.
func (t *Tracer) begin() (late bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ran {
		return false, errors.New("trace: Run was called before")
	}
	t.ran = true
	if t.state != opened {
		return true, nil
	}
	t.state = running
	return false, nil
}

func (t *Tracer) end() {
	t.mu.Lock()
	if t.state == running {
		t.state = stopped
	}
	t.mu.Unlock()
	close(t.ended)
}

// tooLate reports the records that Close has thrown away unread.
func (t *Tracer) tooLate() {
	<-t.gone
	t.mu.Lock()
	unread := t.final.Begun
	t.mu.Unlock()
	if unread > 0 {
		t.emit(loss(unread, t.since, clock.Now(), "BPF ring, closed before it was read"))
	}
}

// finish detaches the programs and reads what is left. One that was under way on
// another processor may submit its record a little later.
func (t *Tracer) finish() error {
	// Before the first programs are gone: the second then take all there is, of which
	// nothing was missed.
	if err := t.askMissed(clock.Now()); err != nil {
		return err
	}
	if err := t.detach(); err != nil {
		return fmt.Errorf("trace: detach from the tracepoints: %w", err)
	}
	gracePeriod()
	begun := clock.Now()
	for {
		each, err := t.each()
		if err != nil {
			return err
		}
		if err := t.pass(true); err != nil {
			return err
		}
		t.mu.Lock()
		read := t.read
		t.mu.Unlock()
		sum := total(each)
		switch {
		case quiet(each) && read == sum.Submitted:
			return nil
		case clock.Now()-begun > int64(t.patience):
			n := sum.Begun - min(sum.Begun, sum.Lost+read)
			t.emit(loss(n, begun, clock.Now(), "BPF ring, never written"))
			return fmt.Errorf("trace: %v after the programs were detached, %d records had been begun, %d submitted to the ring, %d lost for want of room, and %d read: "+
				"a program is still under way, or a record was never submitted", t.patience, sum.Begun, sum.Submitted, sum.Lost, read)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// gracePeriod waits until what any processor was in the midst of is over, programs that it
// was about to run too (membarrier(2), synchronize_rcu). Where it is not to be had, as with
// processors that have no timer ticks, the programs' counters alone tell.
func gracePeriod() {
	_, _, _ = unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0)
}

// quiet reports whether no program is under way.
func quiet(each []programsCount) bool {
	for _, n := range each {
		if n.Running != 0 || n.Begun != n.Submitted+n.Lost {
			return false
		}
	}
	return true
}

// pass reads the records that are there, then the programs' counters, and if it is the last or
// answers a Flush, the kernel's too. It answers those that were asked for before it began:
// what is lost between its beginning and its end may come after it has looked.
func (t *Tracer) pass(last bool) error {
	t.mu.Lock()
	flushes, asked := t.flushes, t.flushes > t.answered
	t.mu.Unlock()
	// No more than is there now: others may write as fast as this reads, and whoever waits
	// for a Flush waits for what is there.
	for rest := t.reader.AvailableBytes(); rest > 0; rest -= recordHeader + (len(t.raw.RawSample)+7)&^7 {
		err := t.reader.ReadInto(&t.raw)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return fmt.Errorf("trace: read the ring: %w", err)
		}
		if err := t.take(t.raw.RawSample); err != nil {
			return err
		}
	}
	t.hand()
	at := clock.Now()
	counts, err := t.kernelCounts()
	if err != nil {
		return err
	}
	if counts.Lost > t.reported {
		t.emit(loss(counts.Lost-t.reported, t.since, clock.Now(), "BPF ring"))
		t.reported = counts.Lost
	}
	if last || asked || at-t.asked >= int64(missEvery) {
		if err := t.askMissed(at); err != nil {
			return err
		}
	}
	t.since = at
	t.mu.Lock()
	t.answered = flushes
	close(t.passed)
	t.passed = make(chan struct{})
	t.mu.Unlock()
	return nil
}

// askMissed reports events that neither program of a tracepoint has taken, see
// bpf/trace.bpf.c. They may have been of any socket of the machine.
func (t *Tracer) askMissed(at int64) error {
	n, err := t.untaken()
	if err != nil {
		return err
	}
	if n > t.missed {
		t.emit(loss(n-t.missed, t.asked, clock.Now(), "interrupted tracepoint, of any socket of this machine"))
		t.missed = n
	}
	t.asked = at
	return nil
}

// untaken is how many events the kernel has left the first programs out of that the second
// ones have not taken.
func (t *Tracer) untaken() (uint64, error) {
	var missed uint64
	for _, p := range t.programs {
		stats, err := p.Stats()
		if err != nil {
			return 0, fmt.Errorf("trace: ask how often the program %v was left out: %w", p, err)
		}
		missed += stats.RecursionMisses
	}
	// After the misses, so that none of those is without its nested event.
	counts, err := t.kernelCounts()
	if err != nil {
		return 0, err
	}
	return missed - min(missed, counts.Nested), nil
}

func loss(count uint64, since, at int64, where string) *synclinev1.Event {
	return &synclinev1.Event{TimeNs: at, Fact: &synclinev1.Event_Loss{Loss: &synclinev1.Loss{
		Source: synclinev1.Source_SOURCE_TRACEPOINTS, Count: count, SinceNs: since, Where: where,
	}}}
}

// take makes an event of one record.
func (t *Tracer) take(b []byte) error {
	var r record
	if err := r.parse(b); err != nil {
		return err
	}
	e := t.decoder.event(&r)
	if e != nil {
		t.batch = append(t.batch, e)
	}
	t.taken++
	if e == nil {
		t.left++
	}
	if len(t.batch) >= batchSize {
		t.hand()
	}
	return nil
}

// hand emits what was taken, and counts it then.
func (t *Tracer) hand() {
	if len(t.batch) > 0 {
		t.emit(t.batch...)
		clear(t.batch)
		t.batch = t.batch[:0]
	}
	t.mu.Lock()
	t.read += t.taken
	t.omitted += t.left
	t.mu.Unlock()
	t.taken, t.left = 0, 0
}

// Flush waits, while Run reads, until every record that was begun before the call has been
// handed over, or was lost and is reported. It fails when ctx is done before, or when Run is.
func (t *Tracer) Flush(ctx context.Context) error {
	before, err := t.each()
	if err != nil {
		return err
	}
	for {
		now, err := t.each()
		if err != nil {
			return err
		}
		if err := t.look(ctx); err != nil {
			return err
		}
		t.mu.Lock()
		read := t.read
		t.mu.Unlock()
		// The ring is in the order of the beginnings, and the reader waits for a record that
		// is begun and not written.
		if settled(before, now) && read >= total(now).Submitted {
			return nil
		}
	}
}

// settled reports whether all that each processor had begun before is now submitted or lost.
func settled(before, now []programsCount) bool {
	for i, n := range now {
		if n.Submitted+n.Lost < before[i].Begun {
			return false
		}
	}
	return true
}

// look waits for a pass that begins after the call.
func (t *Tracer) look(ctx context.Context) error {
	t.mu.Lock()
	t.flushes++
	mine := t.flushes
	t.mu.Unlock()
	for {
		t.mu.Lock()
		answered, next := t.answered, t.passed
		t.mu.Unlock()
		if answered >= mine {
			return nil
		}
		select {
		case t.kick <- struct{}{}:
		default:
		}
		select {
		case <-next:
		case <-ctx.Done():
			return fmt.Errorf("trace: flush: %w", context.Cause(ctx))
		case <-t.ended:
			return errors.New("trace: flush: Run has ended")
		case <-t.gone:
			return errors.New("trace: flush: the tracer was closed before Run")
		}
	}
}

// Counts are exact once Run has returned, or a Flush with no event since.
func (t *Tracer) Counts() (Counts, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.final
	if t.state != closed {
		var err error
		if c, err = t.kernelCounts(); err != nil {
			return Counts{}, err
		}
	}
	c.Read, c.Omitted = t.read, t.omitted
	return c, nil
}

// kernelCounts sums up the counters of all processors.
func (t *Tracer) kernelCounts() (Counts, error) {
	each, err := t.processors()
	return total(each), err
}

// each are the counters of each processor, for those who do not hold the maps open.
func (t *Tracer) each() ([]programsCount, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == closed {
		return nil, errors.New("trace: the tracer is closed")
	}
	return t.processors()
}

func (t *Tracer) processors() (each []programsCount, err error) {
	if err := t.counts.Lookup(uint32(0), &each); err != nil {
		return nil, fmt.Errorf("trace: read the programs' counters: %w", err)
	}
	return each, nil
}

func total(each []programsCount) (c Counts) {
	for _, n := range each {
		c.Begun += n.Begun
		c.Submitted += n.Submitted
		c.Lost += n.Lost
		c.Nested += n.Nested
	}
	return c
}

// Close detaches the programs. It makes Run finish, waits for it, and then gives the ring
// back; a Run that has not begun has nothing to read any more. It may be called more than
// once, by any goroutine, and waits each time; it must not be called from emit.
func (t *Tracer) Close() error {
	t.mu.Lock()
	select {
	case <-t.closing:
		t.mu.Unlock()
		<-t.gone
		return nil
	default:
	}
	close(t.closing)
	defer close(t.gone)
	wasOpened := t.state == opened
	if wasOpened {
		t.state = stopped
	}
	t.mu.Unlock()
	if !wasOpened {
		<-t.ended
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	detached := t.detach()
	final, err := t.kernelCounts()
	t.final, t.state = final, closed
	return errors.Join(detached, err, t.reader.Close(), t.close())
}
