package lane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	synclinev1 "syncline/proto/syncline/v1"
)

// heard is what a group knows of a lane from its process.
type heard struct {
	thread uint32
	// reported is the last step that an event told of, counted from 1.
	reported int64
	// over and ended are the frames; failure is the text of the last of them.
	over, ended bool
	failure     string
	// hasTaken says that took is closed.
	hasTaken bool
}

// hear does what the process says until the process is gone: everything that it has
// written is read first. What the process asked for and may take time is done meanwhile,
// and given up when the process is gone.
// Its error is about what the process said.
func (p *process) hear(ctx context.Context) error {
	asking, done := context.WithCancel(ctx)
	var asks sync.WaitGroup
	defer asks.Wait()
	defer done()
	for {
		f, err := p.link.receive()
		if err == nil {
			err = p.heed(asking, &asks, &f)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// heed does what one frame says.
func (p *process) heed(ctx context.Context, asks *sync.WaitGroup, f *frame) error {
	switch f.kind {
	case frameEvent:
		return p.heedEvent(f.body)
	case framePost:
		p.m.post(string(f.body))
	case frameMade:
		var s Socket
		if err := json.Unmarshal(f.body, &s); err != nil {
			return err
		}
		s.Descriptor = -1 // it is another process's
		p.m.made(s)
	case frameTook:
		if p.hasTaken {
			return errors.New("it has its sockets for the second time")
		}
		p.hasTaken = true
		close(p.took)
	case frameOver:
		p.over, p.failure = true, string(f.body)
		p.m.over(p.failure)
	case frameEnded:
		p.ended, p.failure = true, string(f.body)
	case frameAllow:
		to, err := netip.ParseAddrPort(string(f.body))
		if err != nil {
			return err
		}
		var a answer
		if err := p.m.allow(to); err != nil {
			a = failed(err)
		}
		p.reply(a)
	case frameAsk:
		step := &synclinev1.Step{}
		if err := proto.Unmarshal(f.body, step); err != nil {
			return err
		}
		asks.Go(func() { p.reply(p.m.ask(ctx, step)) })
	case frameFork:
		h, inherited, err := f.inherited()
		if err != nil {
			return err
		}
		asks.Go(func() { p.reply(p.forkOther(ctx, h, inherited)) })
	default:
		return fmt.Errorf("message %d", f.kind)
	}
	return nil
}

// reply answers the process. If it cannot be told, it is gone, which hear will see.
func (p *process) reply(a answer) { _ = p.link.sendValue(frameAnswer, a) }

func (p *process) heedEvent(body []byte) error {
	e := &synclinev1.Event{}
	if err := proto.Unmarshal(body, e); err != nil {
		return err
	}
	if c := e.GetCall(); c != nil && !c.ByLab {
		p.reported = int64(c.Step) + 1
	}
	p.m.emit(e)
	return nil
}

// forkOther forks a lane for this one. The sockets were copied into this process to get
// there, and nothing may be held up by a copy: they are closed before the new lane's
// first step, and before this lane goes on.
func (p *process) forkOther(ctx context.Context, h inheritance, inherited []descriptor) answer {
	arrived := sync.OnceValue(func() error { return closeAll(inherited) })
	a := p.m.cast.fork(ctx, p.m.name, h.Lane, time.Duration(h.Limit), inherited, arrived)
	if err := arrived(); err != nil && a.Failure == "" {
		a = failed(err)
	}
	return a
}

// noted is the call that the process was making when it went.
func (p *process) noted() *flight { return (*flight)(unsafe.Pointer(unsafe.SliceData(p.shared))) }

// reportDeath tells of the call that the process died in, if it was in one, and of its
// death.
func (p *process) reportDeath(err error) {
	for _, e := range p.unreported(err) {
		p.m.emit(e)
	}
	gone := &synclinev1.LaneProcess{Lane: p.m.name, Process: p.pid(), Gone: true}
	if s := p.deadly(); s != 0 {
		gone.Signal = uint32(s)
	}
	p.m.emit(p.event(p.goneAt, gone))
}

// unreported are the calls that the process did not come to tell of: the one under way,
// and a meeting before it.
func (p *process) unreported(err error) []*synclinev1.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	plan, planErr := newPlan(p.lane, p.inherited)
	if p.over || planErr != nil {
		return nil // such a plan has not made a call
	}
	var all []*synclinev1.Event
	f := p.noted()
	if met := &f.meeting; p.missing(plan, met.step) {
		e := p.recover(plan, met.step, met.enter)
		c := e.GetCall()
		c.ReturnNs, c.EndedBy = met.at, synclinev1.EndedBy_ENDED_BY_KERNEL
		all = append(all, e)
	}
	if p.missing(plan, f.step) && f.enter != 0 {
		all = append(all, p.interrupted(plan, f, err))
	}
	return all
}

// missing reports whether a step, counted from 1, is one that was not reported.
func (p *process) missing(plan *plan, step int64) bool {
	return step > p.reported && step <= int64(len(plan.ops))
}

// recover makes the event of a call from what the group knows of it.
func (p *process) recover(plan *plan, step, enter int64) *synclinev1.Event {
	c := &synclinev1.Call{}
	describe(c, p.m.name, &plan.ops[step-1], int(step-1))
	c.Thread, c.Process = p.thread, p.pid()
	return &synclinev1.Event{TimeNs: enter, Fact: &synclinev1.Event_Call{Call: c}}
}

// interrupted is the call that the process died in. If the kernel was through with it,
// and only the report is missing, it is what the kernel said.
func (p *process) interrupted(plan *plan, f *flight, err error) *synclinev1.Event {
	e := p.recover(plan, f.step, f.enter)
	c := e.GetCall()
	c.Fd = int32(f.fd)
	c.ReturnNs, c.Result, c.EndedBy = p.goneAt, -1, synclinev1.EndedBy_ENDED_BY_DEATH
	if f.at != 0 && plan.ops[f.step-1].tellsAll() {
		c.ReturnNs, c.Result, c.Errno, c.EndedBy = f.at, f.result, uint32(f.errno), synclinev1.EndedBy_ENDED_BY_KERNEL
	} else if err != nil && !errors.Is(err, ErrKilled) {
		c.Failure = err.Error()
	}
	return e
}

// tellsAll reports whether the result of the system call is that of the step; that of
// the others is in the memory of the process, or comes of more than one system call.
func (o *op) tellsAll() bool {
	switch o.call.trap {
	case 0, unix.SYS_PPOLL, unix.SYS_GETSOCKOPT:
		return false
	}
	return true
}
