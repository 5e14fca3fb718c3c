package lane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	synclinev1 "syncline/proto/syncline/v1"
)

// childVariable marks, in the environment, a process that is a lane.
const childVariable = "SYNCLINE_LANE"

// Descriptors that the process of a lane begins with, after the standard ones.
const (
	linkDescriptor   = 3
	flightDescriptor = 4
)

// Child runs a lane if this process was started to be one, and reports whether it was;
// the process has nothing more to do then. A program whose groups have lanes with
// processes of their own calls it first in main, before it listens to signals or starts
// goroutines; a test does so in TestMain.
//
// The process ends when its lane does, and dies with the agent that started it.
func Child() (ran bool) {
	if os.Getenv(childVariable) == "" {
		return false
	}
	// This thread is the lane's, to the end of the process.
	runtime.LockOSThread()
	if err := child(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// child is the life of the process.
func child() error {
	if err := os.Unsetenv(childVariable); err != nil {
		return err
	}
	// Executing a file with capabilities clears what the agent has set (prctl(2)).
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("prctl(PR_SET_PDEATHSIG): %w", err)
	}
	if err := defaultSignals(); err != nil {
		return err
	}
	f, err := mapFlight(os.NewFile(flightDescriptor, "flight"))
	if err != nil {
		return err
	}
	k, err := newLink(os.NewFile(linkDescriptor, "link"))
	if err != nil {
		return fmt.Errorf("%w (%s is for the agent's own use)", err, childVariable)
	}
	d := &distant{link: k, answers: make(chan answer, 1)}
	l, err := d.prepare(f)
	if errors.Is(err, io.EOF) {
		return nil // the lane was never begun
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	go d.listen(cancel)
	err = run(ctx, l)
	d.over(failureText(err))
	return k.send(frameEnded, []byte(failureText(err)))
}

// defaultSignals takes the Go runtime's handlers away from the signals that end a
// process: to be killed is then as it is for any program.
func defaultSignals() error {
	for _, s := range []syscall.Signal{
		unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGABRT, unix.SIGTERM, unix.SIGALRM,
		unix.SIGUSR1, unix.SIGUSR2, unix.SIGXCPU, unix.SIGXFSZ,
	} {
		if err := rtSigaction(s, &sigaction{}, nil); err != nil {
			return err
		}
	}
	return nil
}

// prepare hears what the lane is and waits until it may begin.
func (d *distant) prepare(f *flight) (*life, error) {
	if err := d.link.sendValue(frameHello, hello{Thread: uint32(unix.Gettid())}); err != nil {
		return nil, err
	}
	l := &life{lane: &synclinev1.Lane{}, world: d, flight: f, process: uint32(os.Getpid())}
	l.limits = func() error { return setLimits(l.lane.GetLimits()) }
	for {
		got, err := d.link.receive()
		if err != nil {
			return nil, err
		}
		switch got.kind {
		case framePlan:
			err = proto.Unmarshal(got.body, l.lane)
		case frameInherit:
			if _, l.inherited, err = got.inherited(); err == nil {
				err = d.link.send(frameTook, nil)
			}
		case frameCancel:
			return nil, io.EOF
		case frameStart:
			var s start
			err = json.Unmarshal(got.body, &s)
			l.begin, l.watched, l.informed = s.Begin, s.Watched, s.Informed
			if err == nil {
				return l, nil
			}
		default:
			err = fmt.Errorf("message %d before the start", got.kind)
		}
		if err != nil {
			return nil, fmt.Errorf("the agent's messages to the process of lane %s: %w", l.lane.GetName(), err)
		}
	}
}

// setLimits sets soft and hard limits of this process.
func setLimits(limits []*synclinev1.ResourceLimit) error {
	for _, l := range limits {
		r := unix.Rlimit{Cur: l.GetValue(), Max: l.GetValue()}
		if err := unix.Prlimit(0, int(l.GetResource()), &r, nil); err != nil {
			return fmt.Errorf("setrlimit of resource %d to %d: %w (a limit above the agent's own needs CAP_SYS_RESOURCE)",
				l.GetResource(), l.GetValue(), err)
		}
	}
	return nil
}

// distant is the world of a lane in a process of its own: the other end of its link.
type distant struct {
	link *link
	// answers has room for one: a lane asks one thing at a time.
	answers chan answer
}

// listen hears the group until the process ends. Without the agent the lane has no
// business to go on: its sockets close with the process.
func (d *distant) listen(cancel context.CancelCauseFunc) {
	for {
		f, err := d.link.receive()
		if err != nil {
			die()
		}
		switch f.kind {
		case frameCancel:
			cancel(errors.New(string(f.body)))
		case frameAnswer:
			var a answer
			if err := json.Unmarshal(f.body, &a); err != nil {
				a = failed(fmt.Errorf("the agent's answer: %w", err))
			}
			d.answers <- a
		}
	}
}

// die ends the process at once, without anything that a program does at its end.
func die() {
	// It cannot fail for this very process.
	_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	select {}
}

// tell is for messages without an answer. They are written on the lane's thread, so
// that what was done is known even if the process is killed right after.
func (d *distant) tell(err error) {
	if err != nil {
		die()
	}
}

// question waits for the answer to a message.
func (d *distant) question(err error) answer {
	d.tell(err)
	return <-d.answers
}

func (d *distant) emit(e *synclinev1.Event) { d.tell(d.link.sendMessage(frameEvent, e)) }
func (d *distant) made(s Socket)            { d.tell(d.link.sendValue(frameMade, s)) }
func (d *distant) post(name string)         { d.tell(d.link.send(framePost, []byte(name))) }
func (d *distant) over(failure string)      { d.tell(d.link.send(frameOver, []byte(failure))) }

func (d *distant) allow(to netip.AddrPort) error {
	if a := d.question(d.link.send(frameAllow, []byte(to.String()))); a.Failure != "" {
		return errors.New(a.Failure)
	}
	return nil
}

// ask is ended by the group if the repetition ends.
func (d *distant) ask(_ context.Context, step *synclinev1.Step) answer {
	return d.question(d.link.sendMessage(frameAsk, step))
}

func (d *distant) fork(_ context.Context, target string, limit time.Duration, inherited []descriptor) answer {
	if len(inherited) > MaxInherited {
		return failed(tooMany(len(inherited)))
	}
	h, numbers := pass(target, int64(limit), inherited)
	return d.question(d.link.sendValue(frameFork, h, numbers...))
}

func tooMany(sockets int) error {
	return fmt.Errorf("a fork with %d open sockets: at most %d can be passed on", sockets, MaxInherited)
}

// flightSize is the size of the memory that an agent and the process of a lane share.
const flightSize = 4096

// mapFlight maps that memory, for good, and closes the file.
func mapFlight(f *os.File) (*flight, error) {
	b, err := unix.Mmap(int(f.Fd()), 0, flightSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("mmap of the memory shared with the agent: %w (%s is for the agent's own use)", err, childVariable)
	}
	return (*flight)(unsafe.Pointer(unsafe.SliceData(b))), nil
}
