package lane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// startLimit is how long a process has to say its first word.
const startLimit = 10 * time.Second

// start brings the process to where it waits for the beginning of its lane. If it
// fails, nothing is left.
func (p *process) start(ctx context.Context) error {
	near, far, err := socketPair()
	if err != nil {
		return err
	}
	defer far.Close() // the process has its own
	memory, err := p.shareFlight()
	if err != nil {
		return errors.Join(err, near.Close())
	}
	defer memory.Close()
	if p.link, err = newLink(near); err != nil {
		return errors.Join(err, unix.Munmap(p.shared))
	}
	started := make(chan error, 1)
	go p.keep([]*os.File{far, memory}, started)
	if err := <-started; err != nil {
		return errors.Join(err, p.release())
	}
	// The end of the process is then the end of the link.
	if err := far.Close(); err != nil {
		return errors.Join(err, p.abandon())
	}
	if err := p.welcome(ctx); err != nil {
		err = errors.Join(err, p.abandon())
		if said := p.stderr.String(); said != "" {
			err = fmt.Errorf("%w; it said: %s", err, said)
		}
		return err
	}
	return nil
}

// keep starts the process and waits for its end, on one thread. The thread must live as
// long, since its death is what the process dies of (PR_SET_PDEATHSIG, prctl(2)); it
// ends with this goroutine, and with it whatever Prepare did to it.
func (p *process) keep(files []*os.File, started chan<- error) {
	runtime.LockOSThread()
	if p.m.cfg.Prepare != nil {
		if err := p.m.cfg.Prepare(); err != nil {
			started <- fmt.Errorf("preparing the thread that starts it: %w", err)
			return
		}
	}
	p.cmd = &exec.Cmd{
		Path:       "/proc/self/exe",
		Args:       []string{"syncline: lane " + p.m.name},
		Env:        append(os.Environ(), childVariable+"=1"),
		ExtraFiles: files,
		Stderr:     &p.stderr,
		// A group of its own: what the terminal sends is for the agent.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL},
	}
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	// How it ended is in its state, and what it said in stderr.
	_ = p.cmd.Wait()
	p.goneAt = nanotime()
	p.state = p.cmd.ProcessState
	close(p.gone)
}

// welcome hears that the process is there, and sends it the lane.
func (p *process) welcome(ctx context.Context) error {
	if err := p.link.conn.SetReadDeadline(time.Now().Add(startLimit)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		// It fails only if the link is closed, and nothing reads then.
		_ = p.link.conn.SetReadDeadline(time.Now())
	})
	f, err := p.link.receive()
	if !stop() {
		return context.Cause(ctx)
	}
	var h hello
	if err == nil && f.kind != frameHello {
		err = fmt.Errorf("it said message %d first; does the program's main call lane.Child?", f.kind)
	}
	if err != nil {
		return fmt.Errorf("the first word of the process: %w (does the program's main call lane.Child?)", err)
	}
	if err := json.Unmarshal(f.body, &h); err != nil {
		return fmt.Errorf("the first word of the process: %w", err)
	}
	p.thread = h.Thread
	return errors.Join(p.link.conn.SetReadDeadline(time.Time{}), p.link.sendMessage(framePlan, p.lane))
}

// abandon kills a process that was started, and frees what belongs to it.
func (p *process) abandon() error {
	p.destroy()
	<-p.gone
	return p.release()
}

// release frees what the group holds of the process, when it is gone.
func (p *process) release() error {
	return errors.Join(p.link.close(), unix.Munmap(p.shared))
}

// socketPair is the link's two ends.
func socketPair() (near, far *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	return os.NewFile(uintptr(pair[0]), "link"), os.NewFile(uintptr(pair[1]), "link"), nil
}

// shareFlight makes the memory in which the process notes the call it is making.
func (p *process) shareFlight() (*os.File, error) {
	fd, err := unix.MemfdCreate("flight", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "flight")
	if err := f.Truncate(flightSize); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	p.shared, err = unix.Mmap(fd, 0, flightSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mmap: %w", err), f.Close())
	}
	return f, nil
}

// sayingSize is how much of what a process says at its end is kept.
const sayingSize = 2048

// saying keeps the first and so the telling lines of what a dying Go program says, up to
// sayingSize. It is safe for concurrent use.
type saying struct {
	mu   sync.Mutex
	text []byte
}

func (t *saying) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b[:min(len(b), sayingSize-len(t.text))]...)
	return len(b), nil
}

func (t *saying) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(strings.TrimSpace(string(t.text)), "\uFFFD")
}
