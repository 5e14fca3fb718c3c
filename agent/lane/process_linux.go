package lane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// grace is how long a process has to end its lane when the repetition is over.
const grace = 2 * time.Second

// process is the process of a lane, as its group sees it.
type process struct {
	m    *member
	lane *synclinev1.Lane

	// Set by start and not changed after.
	link   *link
	shared []byte
	cmd    *exec.Cmd
	stderr saying

	// startedAt is what start delays count from; set before any lane runs.
	startedAt int64

	// gone is closed by keep when the process has been waited for; the two after it are
	// set then.
	gone   chan struct{}
	goneAt int64
	state  *os.ProcessState

	// Set by hear, and read when it has returned; took it closes itself.
	heard
	took chan struct{}

	mu sync.Mutex
	// begin is closed when the lane may begin, never when it will not be forked; with mu
	// held, and never both.
	begin, never chan struct{}
	begun        bool
	neverErr     error
	// signals are those that steps of the experiment have sent.
	signals map[unix.Signal]bool
	stopped bool
	// forced says that the process was killed because the repetition was over.
	forced bool
	// inherited are the sockets it began with, for their names.
	inherited []descriptor
}

func newProcess(m *member, l *synclinev1.Lane) *process {
	return &process{
		m: m, lane: l,
		gone: make(chan struct{}), took: make(chan struct{}),
		begin: make(chan struct{}), never: make(chan struct{}),
		signals: make(map[unix.Signal]bool),
	}
}

// run is the life of the lane from its beginning to the end of the process. The process
// has been started.
func (p *process) run(ctx context.Context) error {
	cancelled := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(cancelled)
		p.cancel(context.Cause(ctx))
	})
	begun := p.awaitBegin()
	var senseless error
	if begun {
		senseless = p.hear(ctx)
	}
	if !begun || senseless != nil {
		p.destroy()
	}
	<-p.gone
	if !stop() {
		<-cancelled
	}
	err := p.verdict(ctx)
	if senseless != nil {
		err = fmt.Errorf("lane %s: its process said something that makes no sense: %w", p.m.name, senseless)
	}
	if begun {
		p.reportDeath(err)
	}
	if errors.Is(err, ErrKilled) {
		p.m.over("")
	}
	p.m.over(failureText(err))
	return errors.Join(err, p.release())
}

// awaitBegin begins the lane, or waits for the lane that forks it; false if that will
// not be.
func (p *process) awaitBegin() bool {
	if p.lane.GetForkedBy() == "" {
		if err := p.beginNow(); err != nil {
			return false
		}
		// A failure to tell the process is seen at the other end of the link.
		_ = p.sendStart()
		return true
	}
	select {
	case <-p.begin:
		return true
	case <-p.never:
	case <-p.gone: // killed: the repetition is over
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begun
}

// beginNow says that the process is the lane from now on.
func (p *process) beginNow() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.begun:
		return fmt.Errorf("lane %s was forked already: a lane is forked once", p.m.name)
	case p.neverErr != nil:
		return p.neverErr
	case p.forced:
		return errors.New("the repetition is over")
	}
	p.begun = true
	close(p.begin)
	p.m.emit(p.event(nanotime(), &synclinev1.LaneProcess{Lane: p.m.name, Process: p.pid()}))
	return nil
}

func (p *process) event(at int64, fact *synclinev1.LaneProcess) *synclinev1.Event {
	return &synclinev1.Event{TimeNs: at, Fact: &synclinev1.Event_LaneProcess{LaneProcess: fact}}
}

func (p *process) pid() uint32 { return uint32(p.cmd.Process.Pid) }

func (p *process) hasBegun() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begun
}

// neverFork says that nobody will fork the lane any more, unless that was done.
func (p *process) neverFork(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.begun && p.neverErr == nil {
		p.neverErr = why
		close(p.never)
	}
}

func (p *process) sendStart() error {
	return p.link.sendValue(frameStart, start{Begin: p.startedAt, Watched: p.m.cfg.Made != nil, Informed: p.m.cfg.TCPInfo})
}

// fork makes the process the lane, with these sockets. arrived is called when they have
// arrived there, before the lane's first step.
func (p *process) fork(ctx context.Context, limit time.Duration, inherited []descriptor, arrived func() error) answer {
	if err := p.beginNow(); err != nil {
		return failed(err)
	}
	a := p.passOn(ctx, limit, inherited)
	if err := arrived(); err != nil {
		a = failed(fmt.Errorf("close the sockets that were passed on: %w", err))
	}
	if a.EndedBy == synclinev1.EndedBy_ENDED_BY_KERNEL && a.Errno == 0 {
		if err := p.sendStart(); err != nil {
			a = failed(fmt.Errorf("start lane %s: %w", p.m.name, err))
		}
	}
	if a.Value < 0 {
		p.destroy()
	}
	return a
}

// passOn gives the process its sockets, and waits until it has them.
func (p *process) passOn(ctx context.Context, limit time.Duration, inherited []descriptor) answer {
	p.mu.Lock()
	p.inherited = inherited
	p.mu.Unlock()
	h, numbers := pass(p.m.name, 0, inherited)
	if err := p.link.sendValue(frameInherit, h, numbers...); err != nil {
		return failed(fmt.Errorf("pass %d sockets on to lane %s: %w", len(inherited), p.m.name, err))
	}
	var late <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-p.took:
		return succeeded(int64(p.pid()))
	case <-p.gone:
		return failed(fmt.Errorf("the process of lane %s was gone before it had its sockets", p.m.name))
	case <-late:
		return endedBy(synclinev1.EndedBy_ENDED_BY_TIMEOUT)
	case <-ctx.Done():
		return endedBy(synclinev1.EndedBy_ENDED_BY_CANCEL)
	}
}

// signal is kill(2). Its error is the errno, ESRCH if the process is gone.
func (p *process) signal(s unix.Signal) error {
	p.mu.Lock()
	p.signals[s] = true
	p.stopped = p.stopped && s != unix.SIGCONT || s == unix.SIGSTOP
	p.mu.Unlock()
	err := p.cmd.Process.Signal(s)
	if errors.Is(err, os.ErrProcessDone) {
		return unix.ESRCH
	}
	return err
}

// waitStopped waits until every thread of the process has stopped, or is gone.
func (p *process) waitStopped(ctx context.Context) answer {
	for {
		err := unix.Waitid(unix.P_PID, int(p.pid()), nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		switch {
		case err == nil || errors.Is(err, unix.ECHILD):
			return succeeded(0)
		case !errors.Is(err, unix.EINTR):
			return failed(fmt.Errorf("waitid of the process of lane %s: %w", p.m.name, err))
		case ctx.Err() != nil:
			return endedBy(synclinev1.EndedBy_ENDED_BY_CANCEL)
		}
	}
}

// cancel ends the lane because the repetition is over: in order, if the process can
// hear it.
func (p *process) cancel(cause error) {
	p.mu.Lock()
	hears := p.begun && !p.stopped
	p.mu.Unlock()
	// A message that cannot be sent has nobody to hear it.
	if hears && p.link.send(frameCancel, []byte(cause.Error())) == nil {
		select {
		case <-p.gone:
			return
		case <-time.After(grace):
		}
	}
	p.mu.Lock()
	p.forced = true
	p.mu.Unlock()
	p.destroy()
}

// destroy kills the process for the lab's own reasons.
func (p *process) destroy() {
	// The only error there can be is that it is gone.
	_ = p.cmd.Process.Kill()
}

// verdict is how the lane ended. The process is gone.
func (p *process) verdict(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	signal := p.deadly()
	killed := signal != 0 && p.signals[signal]
	switch {
	case !p.begun && p.neverErr != nil && ctx.Err() == nil:
		return p.neverErr
	case p.ended && p.state.Success(), p.over && killed:
		return distantError(ctx, p.failure)
	case killed:
		return fmt.Errorf("lane %s was %w (%s)", p.m.name, ErrKilled, signalName(uint32(signal)))
	case p.forced || !p.begun:
		return p.forcedError(context.Cause(ctx))
	}
	err := fmt.Errorf("lane %s: its process died, and no step killed it: %v", p.m.name, p.state)
	if said := p.stderr.String(); said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return err
}

// forcedError says that the process did not live to see the lane end. p.mu is held.
func (p *process) forcedError(cause error) error {
	text := "the repetition ended before the lane was forked"
	switch {
	case p.begun && p.stopped:
		text = "the repetition ended while its process was stopped, which was killed then"
	case p.begun:
		text = fmt.Sprintf("the repetition ended, its process did not within %v and was killed", grace)
	}
	return &toldError{text: "lane " + p.m.name + ": " + text, cause: cause}
}

// deadly is the signal that the process died of, 0 if it ended by itself. The process
// is gone.
func (p *process) deadly() unix.Signal {
	if status, ok := p.state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return status.Signal()
	}
	return 0
}

// distantError is the error of a lane as its process told it. The end of the repetition
// is the cause of whatever came after it.
func distantError(ctx context.Context, text string) error {
	if text == "" {
		return nil
	}
	return &toldError{text: text, cause: context.Cause(ctx)}
}

type toldError struct {
	text  string
	cause error
}

func (e *toldError) Error() string { return e.text }
func (e *toldError) Unwrap() error { return e.cause }
