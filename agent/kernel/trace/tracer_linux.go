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

	"syncline/agent/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

const (
	// pause is how long Run leaves the ring alone between two looks. Flush cuts it short.
	pause = 10 * time.Millisecond
	// batchSize bounds the events of one call of emit.
	batchSize = 1024
	// missEvery is how often the kernel is asked what it left the programs out of.
	missEvery = 100 * time.Millisecond
	// patience is how long Run waits at its end for records that a processor is still
	// writing, which takes it a microsecond.
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
	// closing is closed by Close, once; ended by Run when it is through.
	closing, ended chan struct{}

	mu    sync.Mutex
	state state
	// read records were taken from the ring and handed over, but for those omitted.
	read, omitted uint64
	// final are the programs' own counts when the maps were closed.
	final Counts
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
	since := clock.Now()
	l, err := load(&cfg)
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
	return &Tracer{
		loaded: *l, reader: reader, since: since, asked: since,
		kick: make(chan struct{}, 1), closing: make(chan struct{}), ended: make(chan struct{}), passed: make(chan struct{}),
	}, nil
}

// Missing are the tracepoints asked for that this kernel does not have.
func (t *Tracer) Missing() []Missing { return t.missing }

// Run reads the ring and hands over what it holds until ctx is done or Close is called.
// It then detaches the programs, reads what is left, and returns when every record has
// been handed over or reported lost.
//
// emit gets Trace and Loss events. It is called on Run's goroutine, owns the events but
// not the slice,
// and may block: the ring then fills meanwhile. Number and repetition are left to it.
// Run can be called once.
func (t *Tracer) Run(ctx context.Context, emit func(...*synclinev1.Event)) error {
	if err := t.begin(); err != nil {
		return err
	}
	defer t.end()
	t.emit = emit
	timer := time.NewTimer(pause)
	defer timer.Stop()
	kicked := false
	for {
		if err := t.pass(kicked); err != nil {
			return errors.Join(err, t.detach())
		}
		timer.Reset(pause)
		kicked = false
		select {
		case <-timer.C:
		case <-t.kick:
			kicked = true
		case <-ctx.Done():
			return t.finish()
		case <-t.closing:
			return t.finish()
		}
	}
}

func (t *Tracer) begin() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != opened {
		return errors.New("trace: Run was called before, or after Close")
	}
	t.state = running
	return nil
}

func (t *Tracer) end() {
	t.mu.Lock()
	t.state = stopped
	t.mu.Unlock()
	close(t.ended)
}

// finish detaches the programs and reads what is left. One that was under way on
// another processor may submit its record a little later.
func (t *Tracer) finish() error {
	if err := t.detach(); err != nil {
		return fmt.Errorf("trace: detach from the tracepoints: %w", err)
	}
	deadline := clock.Now() + int64(patience)
	for {
		if err := t.pass(true); err != nil {
			return err
		}
		counts, err := t.Counts()
		if err != nil {
			return err
		}
		switch {
		case counts.Read == counts.Submitted:
			return nil
		case clock.Now() > deadline:
			return fmt.Errorf("trace: %d records were submitted to the ring and %d came out of it", counts.Submitted, counts.Read)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// pass reads all records there are, then the programs' counters, and if it was kicked,
// the kernel's too.
func (t *Tracer) pass(kicked bool) error {
	for {
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
	if kicked || at-t.asked >= int64(missEvery) {
		if err := t.askMissed(at); err != nil {
			return err
		}
	}
	t.since = at
	t.mu.Lock()
	close(t.passed)
	t.passed = make(chan struct{})
	t.mu.Unlock()
	return nil
}

// askMissed reports events that the kernel left both programs of a tracepoint out of,
// see bpf/trace.bpf.c. They may have been of any socket of the machine.
func (t *Tracer) askMissed(at int64) error {
	var missed uint64
	for _, p := range t.programs {
		stats, err := p.Stats()
		if err != nil {
			return fmt.Errorf("trace: ask how often the program %v was left out: %w", p, err)
		}
		missed += stats.RecursionMisses
	}
	// After the misses, so that none of those is without its nested event.
	counts, err := t.kernelCounts()
	if err != nil {
		return err
	}
	if n := missed - min(missed, counts.Nested); n > t.missed {
		t.emit(loss(n-t.missed, t.asked, clock.Now(), "interrupted tracepoint, of any socket of this machine"))
		t.missed = n
	}
	t.asked = at
	return nil
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

// Flush waits, while Run reads, until every record that was submitted to the ring
// before the call has been handed over. It fails when ctx is done before, or when Run is.
func (t *Tracer) Flush(ctx context.Context) error {
	before, err := t.Counts()
	if err != nil {
		return err
	}
	for {
		t.mu.Lock()
		next := t.passed
		t.mu.Unlock()
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
		}
		t.mu.Lock()
		read := t.read
		t.mu.Unlock()
		if read >= before.Submitted {
			return nil
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
	var each []programsCount
	if err := t.counts.Lookup(uint32(0), &each); err != nil {
		return Counts{}, fmt.Errorf("trace: read the programs' counters: %w", err)
	}
	var c Counts
	for _, n := range each {
		c.Submitted += n.Submitted
		c.Lost += n.Lost
		c.Nested += n.Nested
	}
	return c, nil
}

// Close detaches the programs. It makes Run finish, waits for it, and then gives the ring
// back. It may be called more than once, and must not be called from emit.
func (t *Tracer) Close() error {
	t.mu.Lock()
	select {
	case <-t.closing:
		t.mu.Unlock()
		return nil
	default:
	}
	close(t.closing)
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
	final, err := t.kernelCounts()
	t.final, t.state = final, closed
	return errors.Join(err, t.reader.Close(), t.close())
}
