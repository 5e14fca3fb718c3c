package lane

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// Run runs the lane on a thread of its own. It returns when every step is through, one
// has failed or ctx is done; every descriptor of the lane is closed then. The error is
// nil if every outcome was met, and says which step ended the lane if not. The thread
// ends with the lane, within moments of the return.
//
// Run ends the lane on the board as soon as it can signal no more, before the
// descriptors that it left open are closed.
func Run(ctx context.Context, cfg Config) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked, so that the thread, with the signals it blocks and whatever
		// Prepare did to it, dies with this goroutine.
		runtime.LockOSThread()
		done <- run(ctx, cfg)
	}()
	return <-done
}

// run is the whole life of a lane, on its thread.
func run(ctx context.Context, cfg Config) (err error) {
	defer func() { cfg.Board.End(cfg.Lane.GetName(), failureText(err)) }()
	if cfg.Prepare != nil {
		if err := cfg.Prepare(); err != nil {
			return fmt.Errorf("preparing the thread of lane %s: %w", cfg.Lane.GetName(), err)
		}
	}
	plan, err := newPlan(cfg.Lane)
	if err != nil {
		return fmt.Errorf("lane %s: %w", cfg.Lane.GetName(), err)
	}
	alarm, err := newAlarm()
	if err != nil {
		return fmt.Errorf("lane %s: %w", cfg.Lane.GetName(), err)
	}
	l := newLane(ctx, cfg, plan, alarm)
	rung := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { rung <- alarm.ring() })
	err = l.steps()
	cfg.Board.End(l.name, failureText(err))
	l.closeLeft()
	if !stop() {
		err = errors.Join(err, <-rung)
	}
	return errors.Join(err, alarm.close())
}

func failureText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// lane is a lane that runs. It belongs to its thread.
type lane struct {
	ctx    context.Context
	cfg    Config
	name   string
	thread uint32
	plan   *plan
	alarm  *alarm
	// sockets by the index of their name: what the name stands for now, or none.
	sockets []int
	// made are the descriptors in the order of their creation.
	made []descriptor
	// records of the steps, one each.
	records []record
	// call and until are what the kernel is given; they are here to be on the heap.
	call  syscallArgs
	until unix.Timespec
}

// descriptor is an open socket; fd is -1 once it was closed.
type descriptor struct {
	fd   int32
	name string
}

// record is an event and its parts in one piece of memory.
type record struct {
	event synclinev1.Event
	fact  synclinev1.Event_Call
	call  synclinev1.Call
}

// newLane allocates all that the steps need, before the first of them.
func newLane(ctx context.Context, cfg Config, p *plan, a *alarm) *lane {
	l := &lane{
		ctx: ctx, cfg: cfg, name: cfg.Lane.GetName(), thread: uint32(unix.Gettid()),
		plan: p, alarm: a,
		sockets: make([]int, len(p.names)),
		records: make([]record, len(p.ops)),
	}
	for i := range l.sockets {
		l.sockets[i] = none
	}
	makes := 0
	for i := range p.ops {
		o := &p.ops[i]
		l.prefill(&l.records[i], o, i)
		if o.makesSocket() {
			makes++
		}
	}
	l.made = make([]descriptor, 0, makes)
	return l
}

// prefill writes into a record what is known of a call before it is made.
func (l *lane) prefill(r *record, o *op, step int) {
	r.fact.Call = &r.call
	r.event.Fact = &r.fact
	c := &r.call
	c.Lane, c.Step, c.Thread = l.name, uint32(step), l.thread
	c.Name, c.Arguments = o.name, o.arguments
	c.Socket, c.Makes, c.Label = o.step.GetSocket(), o.step.GetMakes(), o.step.GetLabel()
	c.Fd = -1
}

// steps makes one call after another until one ends the lane.
func (l *lane) steps() error {
	for i := range l.plan.ops {
		o := &l.plan.ops[i]
		if l.ctx.Err() != nil {
			return &overError{lane: l.name, step: i, text: o.step.Text, cause: context.Cause(l.ctx)}
		}
		r := &l.records[i]
		l.perform(r, o)
		l.cfg.Emit(&r.event)
		if r.call.Failure != "" {
			return fmt.Errorf("lane %s, step %d, %s: %s", l.name, i+1, o.step.Text, r.call.Failure)
		}
	}
	return nil
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
		o := &op{step: &synclinev1.Step{Socket: l.made[i].name}, name: "close"}
		o.call.trap = unix.SYS_CLOSE
		r := &record{}
		l.prefill(r, o, max(len(l.plan.ops)-1, 0))
		r.call.ByLab = true
		r.call.Fd = l.made[i].fd
		l.enter(r, o, 0)
		l.made[i].fd = -1
		l.cfg.Emit(&r.event)
	}
}
