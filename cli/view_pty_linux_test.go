package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"syncline/controller/timeline"
)

// pty is a terminal (pty(7)): what is written to its master is typed, and what is read from
// there is what the terminal was told to show.
type pty struct {
	t             testing.TB
	master, slave *os.File

	mu   sync.Mutex
	seen bytes.Buffer
	// more is sent to, without waiting, whenever something was seen.
	more chan struct{}
}

// newPTY opens a terminal of a size.
func newPTY(t testing.TB, width, height int) *pty {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("needs pseudo-terminals: %v", err)
	}
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(height), Col: uint16(width)})
	}
	if err != nil {
		t.Fatalf("ptmx: %v", err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	// Fd has made the descriptor blocking; a read must end when it is closed.
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	p := &pty{t: t, master: os.NewFile(uintptr(dup(t, fd)), "ptmx"), slave: slave, more: make(chan struct{}, 1)}
	master.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.read()
	}()
	t.Cleanup(func() {
		p.slave.Close()
		p.master.Close()
		<-read
	})
	return p
}

func dup(t testing.TB, fd int) int {
	t.Helper()
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (p *pty) read() {
	b := make([]byte, 64<<10)
	for {
		n, err := p.master.Read(b)
		p.mu.Lock()
		p.seen.Write(b[:n])
		p.mu.Unlock()
		select {
		case p.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (p *pty) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen.String()
}

// await waits until the terminal was told something after the first so many bytes, and
// returns how many it has been told then.
func (p *pty) await(after int, what string) int {
	p.t.Helper()
	deadline := time.After(time.Minute)
	for {
		text := p.text()
		if strings.Contains(text[min(after, len(text)):], what) {
			return len(text)
		}
		select {
		case <-p.more:
		case <-deadline:
			p.t.Fatalf("the terminal was not told %q but %q", what, text[min(after, len(text)):])
		}
	}
}

func (p *pty) send(keys string) {
	p.t.Helper()
	if _, err := p.master.WriteString(keys); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pty) settings() unix.Termios {
	p.t.Helper()
	s, err := unix.IoctlGetTermios(int(p.slave.Fd()), unix.TCGETS)
	if err != nil {
		p.t.Fatal(err)
	}
	return *s
}

// wantRestored wants the terminal to be as it was: its settings, its main screen, a visible
// cursor, no mouse, no bracketed paste.
func (p *pty) wantRestored(before unix.Termios) {
	p.t.Helper()
	// What was written last may still be on its way.
	p.await(0, "\x1b[?1049h")
	if after := p.settings(); after != before {
		p.t.Errorf("the terminal's settings were %+v and are %+v", before, after)
	}
	for _, mode := range []struct{ on, off string }{
		{"\x1b[?1049h", "\x1b[?1049l"}, {"\x1b[?25l", "\x1b[?25h"}, {"\x1b[?1002h", "\x1b[?1002l"}, {"\x1b[?1006h", "\x1b[?1006l"}, {"\x1b[?2004h", "\x1b[?2004l"},
	} {
		on := strings.LastIndex(p.text(), mode.on)
		if on < 0 {
			continue
		}
		p.await(on, mode.off)
	}
}

// program starts this program on the terminal.
func (p *pty) program(arguments ...string) *exec.Cmd {
	p.t.Helper()
	c := exec.Command(os.Args[0], arguments...)
	c.Env = append(os.Environ(), "TERM=xterm-256color", "COLUMNS=", "LINES=", "NO_COLOR=", "TEA_TRACE=")
	c.Stdin, c.Stdout, c.Stderr = p.slave, p.slave, p.slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if c.ProcessState == nil {
			c.Process.Kill()
			c.Wait()
		}
	})
	return c
}

// wantExit waits for a program and wants its exit code.
func wantExit(t testing.TB, c *exec.Cmd, want int) {
	t.Helper()
	err := c.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := c.ProcessState.ExitCode(); got != want {
		t.Errorf("exit %d (%v), want %d", got, err, want)
	}
}

const viewedBundle = "../controller/export/testdata/library/handshake-and-teardown.syncline"

// TestViewerOnATerminal looks at a bundle as a person does: it moves, resizes and leaves.
func TestViewerOnATerminal(t *testing.T) {
	p := newPTY(t, 100, 30)
	before := p.settings()
	c := p.program("ladder", viewedBundle, "--interactive")
	n := p.await(0, "row 1 of")
	// Only what changes is drawn anew.
	p.send("?")
	n = p.await(n, "Look closer")
	p.send("\x1b[B\x1b[6~q")
	n = p.await(n, "SYN_SENT")
	if err := unix.IoctlSetWinsize(int(p.slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	if err := c.Process.Signal(unix.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	n = p.await(n, "row 1 of")
	p.send("jjj\r")
	n = p.await(n, "CLOCK_MONOTONIC")
	p.send("G")
	n = p.await(n, "ended_by")
	p.send("q/call:connect result:0\r")
	n = p.await(n, "hit 1 of")
	p.send("nu")
	n = p.await(n, "connect() returns when")
	p.send("q")
	p.await(n, "\x1b[?1049l")
	wantExit(t, c, 0)
	p.wantRestored(before)
}

// TestViewerIsTerminated: a signal ends the viewer in order.
func TestViewerIsTerminated(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT} {
		t.Run(unix.SignalName(signal), func(t *testing.T) {
			p := newPTY(t, 100, 30)
			before := p.settings()
			c := p.program("ladder", viewedBundle, "-i")
			p.await(0, "row 1 of")
			if err := c.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			wantExit(t, c, exitInterrupted)
			p.wantRestored(before)
		})
	}
}

// TestViewerIsInterrupted: ^C is a key, since the terminal makes no signals of keys then.
func TestViewerIsInterrupted(t *testing.T) {
	p := newPTY(t, 100, 30)
	before := p.settings()
	c := p.program("ladder", viewedBundle, "-i")
	p.await(0, "row 1 of")
	p.send("\x03")
	wantExit(t, c, exitInterrupted)
	p.wantRestored(before)
}

// panicking is a source that has a bug where it lists repetitions; with late, it is the
// viewer itself that has one.
type panicking struct{ *sceneSource }

func (panicking) repetitions(context.Context) ([]viewRepetition, error) { panic("a bug in a test") }

// asPanicking has the name of a bug that a viewer is to have.
const asPanicking = "SYNCLINE_TEST_VIEWER_BUG"

// TestViewerPanics: the terminal is as it was after a bug too, whether in a command or in
// the viewer itself, and the program says so.
func TestViewerPanics(t *testing.T) {
	if bug := os.Getenv(asPanicking); bug != "" {
		viewPanic(t, bug)
		return
	}
	for _, bug := range []string{"command", "update", "view"} {
		t.Run(bug, func(t *testing.T) {
			p := newPTY(t, 100, 30)
			before := p.settings()
			c := exec.Command(os.Args[0], "-test.run", "^TestViewerPanics$", "-test.v")
			// Without asProgram this is the test and not the program.
			c.Env = append(os.Environ(), "TERM=xterm-256color", asPanicking+"="+bug, asProgram+"=")
			var out bytes.Buffer
			c.Stdin, c.Stdout, c.Stderr = p.slave, &out, &out
			c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			err := c.Run()
			if err != nil || !strings.Contains(out.String(), "PASS") {
				t.Errorf("%v: %s", err, out.String())
			}
			p.wantRestored(before)
		})
	}
}

// viewPanic runs a viewer with a bug on the terminal that is standard input.
func viewPanic(t *testing.T, bug string) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	src := newSceneSource(parseScene(t, "host A 10.0.0.1\nA client connect(c, B:8080) 0..1 = 0\n"))
	first, err := src.record(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	v := newViewer(ctx, src, first, timeline.LadderOptions{}, drawOptions{})
	switch bug {
	case "command":
		v.src = panicking{src}
	case "update":
		v.afterList = append(v.afterList, nil)
	case "view":
		v.panel = &viewPanel{first: -1}
	}
	a := &app{Streams: Streams{In: tty, Out: tty, Err: os.Stderr}}
	err = a.runViewer(ctx, cancel, v)
	var told *bugMsg
	if !errors.As(err, &told) || !strings.Contains(err.Error(), "view_") {
		t.Errorf("a viewer with a bug in its %s ends with: %v", bug, err)
	}
}

// TestViewerLeavesNothingRunning: what was asked for ends with the viewer.
func TestViewerLeavesNothingRunning(t *testing.T) {
	p := newPTY(t, 100, 30)
	t.Setenv("TERM", "xterm-256color")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	src := &waiting{sceneSource: newSceneSource(parseScene(t, "host A 10.0.0.1\nA client connect(c, B:8080) 0..1 = 0\n")), asked: make(chan struct{})}
	first, err := src.record(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	v := newViewer(ctx, src, first, timeline.LadderOptions{}, drawOptions{})
	a := &app{Streams: Streams{In: p.slave, Out: p.slave, Err: os.Stderr}}
	done := make(chan error, 1)
	go func() { done <- a.runViewer(ctx, cancel, v) }()
	<-src.asked
	p.await(0, "row 1 of")
	p.send("q")
	if err := <-done; err != nil {
		t.Error(err)
	}
	select {
	case <-src.ended():
	default:
		t.Error("the viewer has returned, and what it asked for goes on")
	}
}

// waiting is a source that lists repetitions until it is told to stop.
type waiting struct {
	*sceneSource
	asked chan struct{}
	mu    sync.Mutex
	done  chan struct{}
}

func (w *waiting) ended() chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done == nil {
		w.done = make(chan struct{})
	}
	return w.done
}

func (w *waiting) repetitions(ctx context.Context) ([]viewRepetition, error) {
	defer close(w.ended())
	close(w.asked)
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestInteractiveWantsATerminal: without one, an error says what to do instead.
func TestInteractiveWantsATerminal(t *testing.T) {
	p := newPTY(t, 100, 30)
	for _, c := range []struct {
		name string
		a    app
		opts ladderOptions
		term string
		want string
	}{
		{"input", app{Streams: Streams{In: strings.NewReader(""), Out: p.slave}}, ladderOptions{output: "text"}, "xterm", "standard input is none"},
		{"output", app{Streams: Streams{In: p.slave, Out: new(bytes.Buffer)}}, ladderOptions{output: "text"}, "xterm", "standard output is none"},
		{"file", app{Streams: Streams{In: p.slave, Out: mustCreate(t)}}, ladderOptions{output: "text"}, "xterm", "standard output is none"},
		{"dumb", app{Streams: Streams{In: p.slave, Out: p.slave}}, ladderOptions{output: "text"}, "dumb", "TERM"},
		{"json", app{Streams: Streams{In: p.slave, Out: p.slave}}, ladderOptions{output: "json"}, "xterm", "-o json"},
		{"width", app{Streams: Streams{In: p.slave, Out: p.slave}}, ladderOptions{output: "text", width: 100}, "xterm", "--width"},
		{"fine", app{Streams: Streams{In: p.slave, Out: p.slave}}, ladderOptions{output: "text"}, "xterm", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("TERM", c.term)
			err := c.a.checkInteractive(c.opts)
			var e *exitError
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (!errors.As(err, &e) || e.code != exitUsage || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %q with exit %d", err, c.want, exitUsage)
			}
		})
	}
}

func mustCreate(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
