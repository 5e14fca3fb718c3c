package trace

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// count changes the counters of the first processor as the programs would.
func (w *watch) count(change func(*programsCount)) {
	w.t.Helper()
	each := must(w.tracer.each())
	change(&each[0])
	check(w.tracer.counts.Put(uint32(0), each))
}

// until waits until what the tracer notes under its lock is so.
func (w *watch) until(what string, holds func(*Tracer) bool) {
	w.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		w.tracer.mu.Lock()
		so := holds(w.tracer)
		w.tracer.mu.Unlock()
		if so {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("still not so: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// flushing is flush, on its way.
func (w *watch) flushing() <-chan error {
	ended := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		ended <- w.tracer.Flush(ctx)
	}()
	return ended
}

// fullRing is the loss for want of room.
func fullRing(events []*synclinev1.Event) (n uint64) {
	for _, e := range events {
		if l := e.GetLoss(); l.GetWhere() == "BPF ring" {
			n += l.Count
		}
	}
	return n
}

// A look at the ring that has begun before the flush does not answer it: what was lost in
// between, it may have looked for already.
func TestFlushLooksAnew(t *testing.T) {
	p := newPair(t)
	w := &watch{t: t, ended: make(chan error, 1)}
	p.client.open(t, w, Config{Flows: p.flows(), Kinds: statesAlone})
	lost := func(n uint64) func(*programsCount) {
		return func(c *programsCount) { c.Begun += n; c.Lost += n }
	}
	w.count(lost(3))
	// Each report of a loss waits to be let through.
	reporting, through := make(chan struct{}), make(chan struct{})
	go func() {
		w.ended <- w.tracer.Run(context.Background(), func(events ...*synclinev1.Event) {
			if fullRing(events) > 0 {
				reporting <- struct{}{}
				<-through
			}
			w.take(events...)
		})
	}()
	<-reporting
	w.count(lost(4))
	flushed := w.flushing()
	w.until("a flush is asked for", func(t *Tracer) bool { return t.flushes > 0 })
	through <- struct{}{}
	<-reporting
	select {
	case err := <-flushed:
		through <- struct{}{}
		t.Fatalf("flush was over before the second loss was reported: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	through <- struct{}{}
	check(<-flushed)
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := fullRing(w.events); n != 7 {
		t.Errorf("after the flush, %d of 7 are reported lost", n)
	}
}

// Flush waits for a record that a program had begun before, and that is neither submitted
// nor lost yet.
func TestFlushWaitsForTheBegun(t *testing.T) {
	p := newPair(t)
	w := p.client.watch(t, Config{Flows: p.flows(), Kinds: statesAlone})
	w.count(func(c *programsCount) { c.Begun++ })
	flushed := w.flushing()
	w.until("the ring was looked at twice since", func(t *Tracer) bool { return t.answered > 1 })
	select {
	case err := <-flushed:
		t.Errorf("flush did not wait: %v", err)
	default:
	}
	w.count(func(c *programsCount) { c.Lost++ })
	check(<-flushed)
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := fullRing(w.events); n != 1 {
		t.Errorf("after the flush, %d of 1 are reported lost", n)
	}
}

// The end waits for programs that are under way, not for ever; and what they have not
// written by then is lost.
func TestEndWaitsForTheBegun(t *testing.T) {
	p := newPair(t)
	w := &watch{t: t, ended: make(chan error, 1)}
	p.client.open(t, w, Config{Flows: p.flows(), Kinds: statesAlone})
	w.tracer.patience = 20 * time.Millisecond
	go func() { w.ended <- w.tracer.Run(context.Background(), w.take) }()
	w.until("Run has begun", func(t *Tracer) bool { return t.state == running })
	w.count(func(c *programsCount) { c.Begun += 3 })
	check(w.tracer.Close())
	if err := <-w.ended; err == nil {
		t.Error("three records were begun and nothing became of them, and Run says nothing")
	}
	var unwritten uint64
	for _, e := range w.events {
		if l := e.GetLoss(); l.GetWhere() == "BPF ring, never written" {
			unwritten += l.Count
		}
	}
	if unwritten != 3 {
		t.Errorf("%d of 3 are reported as never written", unwritten)
	}
}

// Close may come before Run, as it does where a run ends as soon as it is armed: what the
// programs have told by then is lost, and reported.
func TestClosedBeforeRun(t *testing.T) {
	p := newPair(t)
	w := &watch{t: t}
	p.client.open(t, w, Config{Flows: p.flows(), Kinds: statesAlone})
	fd, err := p.client.dial(p.server4, port)
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatal(err)
	}
	check(unix.Close(fd))
	check(w.tracer.Close())
	check(w.tracer.Run(t.Context(), w.take))
	if len(w.events) != 1 || w.events[0].GetLoss().GetCount() != 2 || w.events[0].GetLoss().GetSource() != synclinev1.Source_SOURCE_TRACEPOINTS {
		t.Errorf("told %v of the two changes of a state", w.events)
	}
	if err := w.tracer.Run(t.Context(), w.take); err == nil {
		t.Error("a second Run was let in")
	}
	if err := w.tracer.Flush(t.Context()); err == nil {
		t.Error("flush of what is closed")
	}
}

// Whichever of Run and Close comes first, all is told or reported lost, and neither fails.
func TestCloseRacesRun(t *testing.T) {
	p := newPair(t)
	for range 5 {
		w := &watch{t: t, ended: make(chan error, 1)}
		p.client.open(t, w, Config{Flows: p.flows(), Kinds: statesAlone})
		check(unix.Close(p.client.listen(p.client4, port)))
		go func() { w.ended <- w.tracer.Run(context.Background(), w.take) }()
		w.close()
		told := 0
		for _, e := range w.events {
			if l := e.GetLoss(); l != nil {
				told += int(l.Count)
			} else {
				told++
			}
		}
		if told != 2 {
			t.Errorf("told %v of the two changes of a state", w.events)
		}
	}
}
