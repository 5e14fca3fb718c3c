package lane

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// Run runs one lane on a thread of its own, in this process and with nothing around it
// but the board: it can neither fork nor kill. It returns when every step is through,
// one has failed or ctx is done; every descriptor of the lane is closed then. The error
// is nil if every outcome was met, and says which step ended the lane if not. The thread
// ends with the lane, within moments of the return.
//
// Run ends the lane on the board as soon as it can signal no more, before the
// descriptors that it left open are closed.
func Run(ctx context.Context, cfg Config) error {
	return runHere(ctx, &member{cfg: &cfg, name: cfg.Lane.GetName()}, cfg.Lane, nanotime())
}

// runHere runs a lane on a thread of its own in this process.
func runHere(ctx context.Context, m *member, l *synclinev1.Lane, begin int64) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked, so that the thread, with the signals it blocks and whatever
		// Prepare did to it, dies with this goroutine.
		runtime.LockOSThread()
		done <- func() (err error) {
			defer func() { m.over(failureText(err)) }()
			if m.cfg.Prepare != nil {
				if err := m.cfg.Prepare(); err != nil {
					return fmt.Errorf("preparing the thread of lane %s: %w", m.name, err)
				}
			}
			return run(ctx, &life{lane: l, world: m, begin: begin, watched: m.cfg.Made != nil, informed: m.cfg.TCPInfo, flight: &flight{}})
		}()
	}()
	return <-done
}

// life is all that a lane's thread needs.
type life struct {
	lane  *synclinev1.Lane
	world world
	// begin is the moment of CLOCK_MONOTONIC that the start delay counts from.
	begin int64
	// watched says that somebody wants to know of each socket.
	watched bool
	// informed says that somebody wants TCP_INFO after each call.
	informed bool
	flight   *flight
	// process is the id of the lane's own process, 0 if it has none.
	process uint32
	// inherited are the sockets of a forked lane, the lane's to close from now on.
	inherited []descriptor
	// limits takes effect right before the first step. Nil does nothing.
	limits func() error
}

// run is the life of a lane, on its thread, which is locked and dies with it.
func run(ctx context.Context, f *life) (err error) {
	name := f.lane.GetName()
	plan, err := newPlan(f.lane, f.inherited)
	if err != nil {
		return errors.Join(fmt.Errorf("lane %s: %w", name, err), closeAll(f.inherited))
	}
	alarm, err := newAlarm()
	if err != nil {
		return errors.Join(fmt.Errorf("lane %s: %w", name, err), closeAll(f.inherited))
	}
	l := newLane(ctx, f, plan, alarm)
	rung := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { rung <- alarm.ring() })
	l.nap(f.begin + f.lane.GetStartDelayNs())
	if err = l.settle(f); err == nil {
		err = l.steps()
	}
	l.world.over(failureText(err))
	l.closeLeft()
	if !stop() {
		err = errors.Join(err, <-rung)
	}
	return errors.Join(err, alarm.close())
}

// closeAll gives up the sockets of a lane that cannot begin.
func closeAll(all []descriptor) error {
	var failed []error
	for _, d := range all {
		if err := unix.Close(int(d.fd)); err != nil {
			failed = append(failed, fmt.Errorf("close the inherited socket %s: %w", d.name, err))
		}
	}
	return errors.Join(failed...)
}

// settle makes the last things that come before the first step.
func (l *lane) settle(f *life) error {
	for _, d := range f.inherited {
		l.tell(d)
	}
	if f.limits == nil {
		return nil
	}
	if err := f.limits(); err != nil {
		return fmt.Errorf("lane %s: %w", l.name, err)
	}
	return nil
}

func failureText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// lane is a lane that runs. It belongs to its thread.
type lane struct {
	ctx     context.Context
	name    string
	world   world
	watched bool
	// info is nil if nobody wants to know.
	info    *infoReader
	process uint32
	thread  uint32
	plan    *plan
	alarm   *alarm
	flight  *flight
	// sockets by the index of their name: what the name stands for now, or none.
	sockets []int
	// made are the descriptors in the order of their creation, inherited ones first.
	made []descriptor
	// records of the steps, one each; unreported is that of a meeting right before the
	// step under way.
	records    []record
	unreported *record
	// call, until and poll are what the kernel is given; they are here to be on the heap.
	call  syscallArgs
	until unix.Timespec
	poll  unix.PollFd
	// ordinary is how the thread is scheduled when it is not in a hurry; nil if it is not.
	ordinary *unix.SchedAttr
	// received are the bytes that the call under way brought back, in the plan's buffer.
	received []byte
}

// record is an event and its parts in one piece of memory.
type record struct {
	event synclinev1.Event
	fact  synclinev1.Event_Call
	call  synclinev1.Call
}

// newLane allocates all that the steps need, before the first of them.
func newLane(ctx context.Context, f *life, p *plan, a *alarm) *lane {
	l := &lane{
		ctx: ctx, name: f.lane.GetName(), world: f.world, watched: f.watched,
		process: f.process, thread: uint32(unix.Gettid()),
		plan: p, alarm: a, flight: f.flight,
		sockets: make([]int, len(p.names)),
		records: make([]record, len(p.ops)),
	}
	for i := range l.sockets {
		l.sockets[i] = none
	}
	makes := len(f.inherited)
	for i := range p.ops {
		o := &p.ops[i]
		l.prefill(&l.records[i], o, i)
		if o.makesSocket {
			makes++
		}
	}
	if f.informed {
		l.info = newInfoReader(p.ops)
	}
	l.made = append(make([]descriptor, 0, makes), f.inherited...)
	// The names of inherited sockets are the first of the plan, in the same order.
	for i := range f.inherited {
		l.sockets[i] = i
	}
	return l
}

// prefill writes into a record what is known of a call before it is made.
func (l *lane) prefill(r *record, o *op, step int) {
	r.fact.Call = &r.call
	r.event.Fact = &r.fact
	describe(&r.call, l.name, o, step)
	r.call.Thread, r.call.Process = l.thread, l.process
}

// describe writes what the plan knows of a call.
func describe(c *synclinev1.Call, lane string, o *op, step int) {
	c.Lane, c.Step = lane, uint32(step)
	c.Name, c.Arguments = o.name, o.arguments
	c.Socket, c.Makes, c.Label = o.step.GetSocket(), o.step.GetMakes(), o.step.GetLabel()
	c.Fd = -1
}

// steps makes one call after another until one ends the lane.
func (l *lane) steps() error {
	for i := range l.plan.ops {
		o := &l.plan.ops[i]
		if l.ctx.Err() != nil {
			l.reportMeeting()
			return &overError{lane: l.name, step: i, text: o.step.GetText(), cause: context.Cause(l.ctx)}
		}
		r := &l.records[i]
		l.flight.begin(i)
		l.perform(r, o)
		if o.step.GetMeet() != nil && r.call.Failure == "" && l.plan.isSystemCall(i+1) {
			l.flight.defers(r)
			l.unreported = r
			continue
		}
		if err := l.report(r); err != nil {
			return err
		}
		if r.call.Failure != "" {
			return fmt.Errorf("lane %s, step %d, %s: %s", l.name, i+1, o.step.GetText(), r.call.Failure)
		}
	}
	return nil
}

// report tells of a call, and of a meeting right before it.
func (l *lane) report(r *record) error {
	err := l.calm()
	l.reportMeeting()
	l.world.emit(&r.event)
	l.flight.end()
	return err
}

// reportMeeting tells of a meeting that a system call was to follow at once.
func (l *lane) reportMeeting() {
	if l.unreported == nil {
		return
	}
	l.world.emit(&l.unreported.event)
	l.unreported = nil
	l.flight.meeting.step = 0
}

// overError says that the repetition ended before a step. Its text is for the people
// who read the run, its cause for the agent.
type overError struct {
	lane  string
	step  int
	text  string
	cause error
}

func (e *overError) Error() string {
	return fmt.Sprintf("lane %s: the repetition ended before step %d, %s", e.lane, e.step+1, e.text)
}

func (e *overError) Unwrap() error { return e.cause }

// closeLeft closes what the steps left open, in the order of creation. After the end
// of ctx the alarm goes on ringing, so that a close that lingers (SO_LINGER, socket(7))
// does not hold up the end of the lane; the kernel finishes it without the lane.
func (l *lane) closeLeft() {
	for i := range l.made {
		if l.made[i].fd < 0 {
			continue
		}
		o := &op{step: &synclinev1.Step{Socket: l.made[i].name}}
		o.on("close", "", unix.SYS_CLOSE)
		r := &record{}
		l.prefill(r, o, max(len(l.plan.ops)-1, 0))
		r.call.ByLab = true
		r.call.Fd = l.made[i].fd
		l.enter(r, o, 0, whenever)
		l.made[i].fd = -1
		l.world.emit(&r.event)
	}
}
