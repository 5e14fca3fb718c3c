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
	// hearErr is why the group stopped listening before the end.
	hearErr error
}

// hear does what the process says until the process is gone: everything that it has
// written is read first. What the process asked for and may take time is done meanwhile,
// and given up when the process is gone.
func (p *process) hear(ctx context.Context) {
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
			return
		}
		if err != nil {
			p.hearErr = err
			p.destroy()
			return
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
		p.m.made(s)
	case frameTook:
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
	if e := p.unfinished(err); e != nil {
		p.m.emit(e)
	}
	gone := &synclinev1.LaneProcess{Lane: p.m.name, Process: p.pid(), Gone: true}
	if s := p.deadly(); s != 0 {
		gone.Signal = uint32(s)
	}
	p.m.emit(p.event(p.goneAt, gone))
}

// unfinished is the call that was under way, nil if there was none, or if the process
// had told of it.
func (p *process) unfinished(err error) *synclinev1.Event {
	f := p.noted()
	i := f.step - 1
	if p.over || i < 0 || i >= int64(len(p.lane.GetSteps())) || f.enter == 0 || f.step == p.reported {
		return nil
	}
	p.mu.Lock()
	plan, planErr := newPlan(p.lane, p.inherited)
	p.mu.Unlock()
	if planErr != nil {
		return nil // such a plan has not made a call
	}
	c := &synclinev1.Call{}
	o := &plan.ops[i]
	describe(c, p.m.name, o, int(i))
	c.Thread, c.Process, c.Fd = p.thread, p.pid(), int32(f.fd)
	c.ReturnNs, c.Result, c.EndedBy = p.goneAt, -1, synclinev1.EndedBy_ENDED_BY_DEATH
	if f.at != 0 && o.tellsAll() {
		// The kernel was through with it, and the process did not come to say so.
		c.ReturnNs, c.Result, c.Errno, c.EndedBy = f.at, f.result, uint32(f.errno), synclinev1.EndedBy_ENDED_BY_KERNEL
	} else if err != nil && !errors.Is(err, ErrKilled) {
		c.Failure = err.Error()
	}
	return &synclinev1.Event{TimeNs: f.enter, Fact: &synclinev1.Event_Call{Call: c}}
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
