package netlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// Process is a process that runs on a host. Its methods may be called concurrently.
type Process struct {
	cmd  *exec.Cmd
	host *Host
	// done is closed by await, after err is set.
	done chan struct{}
	err  error
}

// start is a request to a host's launcher.
type start struct {
	cmd   *exec.Cmd
	reply chan error
}

// Start starts cmd on the host, in a process group of its own: an interrupt from
// the terminal reaches the maker alone, which then closes the lab in order. The
// process dies with the maker (see Config.Keep), and when it ends, the rest of its group is
// killed. What may live on is a descendant that left the group, or any descendant
// if the process or the maker was itself killed with SIGKILL.
//
// Start changes cmd's SysProcAttr and WaitDelay where it must. The lab waits for the
// process; cmd.Wait must not be called.
func (h *Host) Start(cmd *exec.Cmd) (*Process, error) {
	h.startMu.Lock()
	defer h.startMu.Unlock()
	if h.closed {
		return nil, fmt.Errorf("netlab: start %s on host %s: %w", cmd.Path, h.Name, ErrClosed)
	}
	if h.starts == nil {
		h.starts, h.launched = make(chan start), make(chan struct{})
		go h.launch()
	}
	h.lab.prepare(cmd)
	reply := make(chan error, 1)
	h.starts <- start{cmd: cmd, reply: reply}
	if err := <-reply; err != nil {
		return nil, fmt.Errorf("netlab: start %s on host %s: %w", cmd.Path, h.Name, err)
	}
	p := &Process{cmd: cmd, host: h, done: make(chan struct{})}
	h.lab.mu.Lock()
	h.lab.processes = append(h.lab.processes, p)
	h.lab.mu.Unlock()
	go p.await()
	return p, nil
}

// launch starts the host's processes on one thread that lives as long as the lab:
// PR_SET_PDEATHSIG means the thread that forked, not its process (prctl(2)), and a
// child is born into the network namespace of that thread.
func (h *Host) launch() {
	defer close(h.launched)
	err := h.Do(func() error {
		for s := range h.starts {
			s.reply <- s.cmd.Start()
		}
		return nil
	})
	// Empty if the thread got into the host.
	for s := range h.starts {
		s.reply <- err
	}
}

func (l *Lab) prepare(cmd *exec.Cmd) {
	attr := new(syscall.SysProcAttr)
	if cmd.SysProcAttr != nil {
		*attr = *cmd.SysProcAttr
	}
	attr.Setpgid, attr.Pgid = true, 0
	if l.plan.Keep {
		cmd.ExtraFiles = append(slices.Clip(cmd.ExtraFiles), l.dir.lock)
		if l.fabric != nil {
			cmd.ExtraFiles = append(cmd.ExtraFiles, l.fabric.ns)
		}
	} else {
		attr.Pdeathsig = syscall.SIGKILL
	}
	cmd.SysProcAttr = attr
	if cmd.WaitDelay == 0 {
		// Otherwise a descendant that inherited a pipe would hold Wait up.
		cmd.WaitDelay = l.plan.Grace
	}
}

// await reaps the process. Its group is killed before that, while the dead leader
// still keeps the number of the group from being used again.
func (p *Process) await() {
	defer close(p.done)
	pid := p.cmd.Process.Pid
	var waited error
	for {
		waited = unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if waited != unix.EINTR {
			break
		}
	}
	if waited == nil && !p.host.lab.plan.Keep {
		// The dead leader is a member, so the group exists; EPERM means that nobody
		// but it is left, or that a member changed its user.
		if err := unix.Kill(-pid, unix.SIGKILL); err != nil && err != unix.EPERM {
			waited = fmt.Errorf("kill the process group: %w", err)
		}
	}
	if err := p.cmd.Wait(); err != nil || waited != nil {
		p.err = fmt.Errorf("netlab: %s on host %s: %w", p.cmd.Path, p.host.Name, errors.Join(err, waited))
	}
}

// PID is the process's number, also its process group's.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended and its output is drained.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the process to end; its error has the *exec.ExitError in its chain
// if the process failed.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Signal sends a signal to the process, never to a stranger that has its number now:
// the kernel's pidfd is used. The error is os.ErrProcessDone if it has ended.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Stop ends the process: SIGTERM, then SIGKILL when ctx is done. It returns only
// when the process has ended, with an error only if SIGKILL was needed; what the process itself
// had to say is Wait's.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("netlab: terminate %s on host %s: %w", p.cmd.Path, p.host.Name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
	}
	if err := p.Signal(unix.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("netlab: kill %s on host %s: %w", p.cmd.Path, p.host.Name, err)
	}
	<-p.done
	return fmt.Errorf("netlab: %s on host %s (process %d) did not end on SIGTERM in time and was killed",
		p.cmd.Path, p.host.Name, p.PID())
}
