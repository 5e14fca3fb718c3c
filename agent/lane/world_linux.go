package lane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// world is what is around a lane, as its thread sees it: the group it runs in, or, in a
// process of its own, the link to that group. Both are safe for use by one lane at a
// time; only those that return an answer may block.
type world interface {
	// allow is Config.Allow.
	allow(netip.AddrPort) error
	// emit is Config.Emit.
	emit(*synclinev1.Event)
	// made is Config.Made.
	made(Socket)
	// post posts a signal of the lane.
	post(name string)
	// over says that the lane signals no more, before its descriptors are closed.
	over(failure string)
	// ask makes a wait, meet, kill, apply or undo, under the limit of the step. The value
	// of a meet is its instant.
	ask(ctx context.Context, step *synclinev1.Step) answer
	// fork starts a lane with these sockets. The value is its process id.
	fork(ctx context.Context, target string, limit time.Duration, inherited []descriptor) answer
}

// answer is what came of a call of the lab's own.
type answer struct {
	Value   int64              `json:"value,omitempty"`
	Errno   uint32             `json:"errno,omitempty"`
	EndedBy synclinev1.EndedBy `json:"ended_by,omitempty"`
	// Failure, if not empty, ends the lane, whatever the author expects of the call.
	Failure string `json:"failure,omitempty"`
}

func succeeded(value int64) answer {
	return answer{Value: value, EndedBy: synclinev1.EndedBy_ENDED_BY_KERNEL}
}

// endedBy is the answer of a call that something else ended, or of one that was through.
func endedBy(by synclinev1.EndedBy) answer {
	if by == synclinev1.EndedBy_ENDED_BY_KERNEL {
		return succeeded(0)
	}
	return answer{Value: -1, EndedBy: by}
}

// failed is the answer of a call that the lab could not make.
func failed(err error) answer { return answer{Value: -1, Failure: err.Error()} }

// errnoAnswer is a failure as the kernel told it.
func errnoAnswer(errno unix.Errno) answer {
	return answer{Value: -1, Errno: uint32(errno), EndedBy: synclinev1.EndedBy_ENDED_BY_KERNEL}
}

// descriptor is an open socket; fd is -1 once it was closed.
type descriptor struct {
	fd   int32
	name string
	kind kind
}

// identify asks the kernel which socket a descriptor is. It has no errors to tell of: a
// descriptor that is open has an inode, and a kernel without cookies gives 0.
func identify(lane string, d descriptor) Socket {
	s := Socket{Lane: lane, Name: d.name, Descriptor: int(d.fd), Domain: d.kind.domain, Type: d.kind.typ, Protocol: d.kind.protocol}
	var stat unix.Stat_t
	if unix.Fstat(int(d.fd), &stat) == nil {
		s.Inode = stat.Ino
	}
	size := uint32(unsafe.Sizeof(s.Cookie))
	_, _, _ = unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(d.fd), unix.SOL_SOCKET, unix.SO_COOKIE,
		uintptr(unsafe.Pointer(&s.Cookie)), uintptr(unsafe.Pointer(&size)), 0)
	return s
}

// member is a lane as its group sees it, and the world of a lane in this process. cast
// is nil for a lane that runs alone.
type member struct {
	cfg  *Config
	name string
	cast *cast
}

func (m *member) allow(to netip.AddrPort) error {
	if m.cfg.Allow == nil {
		return nil
	}
	return m.cfg.Allow(to)
}

func (m *member) emit(e *synclinev1.Event) { m.cfg.Emit(e) }

func (m *member) made(s Socket) { m.cfg.Made(s) }

func (m *member) post(name string) {
	m.cfg.Board.Post(m.name, name)
	if m.cfg.Signalled != nil {
		m.cfg.Signalled(m.name, name)
	}
}

func (m *member) over(failure string) { m.cfg.Board.End(m.name, failure) }

func (m *member) ask(ctx context.Context, step *synclinev1.Step) answer {
	limit := time.Duration(step.GetTimeoutNs())
	switch c := step.GetCall().(type) {
	case *synclinev1.Step_Wait:
		return m.wait(ctx, c.Wait, limit)
	case *synclinev1.Step_Meet:
		return m.meet(ctx, c.Meet.GetName(), limit)
	case *synclinev1.Step_Apply:
		return m.change(ctx, c.Apply.GetName(), false, limit)
	case *synclinev1.Step_Undo:
		return m.change(ctx, c.Undo.GetName(), true, limit)
	case *synclinev1.Step_Kill:
		if m.cast == nil {
			return failed(errors.New("a lane that runs alone can kill no other"))
		}
		return m.cast.kill(ctx, c.Kill, limit)
	default:
		return failed(fmt.Errorf("%T is no call of the lab", c))
	}
}

func (m *member) wait(ctx context.Context, c *synclinev1.WaitCall, limit time.Duration) answer {
	lanes, name := append([]string{c.GetLane()}, c.GetMoreLanes()...), c.GetSignal()
	if c.GetWatch() != "" {
		lanes, name = []string{watches}, c.GetWatch()
	}
	by, err := m.cfg.Board.wait(ctx, lanes, name, limit)
	if err != nil {
		a := failed(err)
		a.EndedBy = by
		return a
	}
	return endedBy(by)
}

func (m *member) meet(ctx context.Context, name string, limit time.Duration) answer {
	if m.cfg.Arrived == nil {
		return failed(errors.New("no meetings take place here"))
	}
	m.cfg.Arrived(m.name, name)
	at, by, err := m.cfg.Board.meet(ctx, name, limit)
	if err != nil {
		return failed(fmt.Errorf("meeting %s does not take place: %w", name, err))
	}
	if by != synclinev1.EndedBy_ENDED_BY_KERNEL {
		return endedBy(by)
	}
	return succeeded(at)
}

func (m *member) change(ctx context.Context, name string, undo bool, limit time.Duration) answer {
	if m.cfg.Change == nil {
		return failed(errors.New("no changes of the host can be made here"))
	}
	within := ctx
	if limit > 0 {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	switch err := m.cfg.Change(within, m.name, name, undo); {
	case err == nil:
		return succeeded(0)
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return endedBy(synclinev1.EndedBy_ENDED_BY_CANCEL)
	case within.Err() != nil && errors.Is(err, within.Err()):
		return endedBy(synclinev1.EndedBy_ENDED_BY_TIMEOUT)
	default:
		return failed(err)
	}
}

func (m *member) fork(ctx context.Context, target string, limit time.Duration, inherited []descriptor) answer {
	if m.cast == nil {
		return failed(errors.New("a lane that runs alone can fork none"))
	}
	return m.cast.fork(ctx, m.name, target, limit, inherited, func() error { return nil })
}
