package netlab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The test binary plays the processes of a lab too: the variable says which.
const roleVariable = "NETLAB_TEST_ROLE"

const deadline = 10 * time.Second

func TestMain(m *testing.M) {
	roles := map[string]func() error{
		"sleeper":     sleeper,
		"stubborn":    stubborn,
		"parent":      parent,
		"maker":       maker,
		"wired maker": wiredMaker,
		"keeper":      keeper,
		"loopback":    loopbackUser,
		"plain":       plainUser,
		"rootless":    rootless,
	}
	if role := os.Getenv(roleVariable); role != "" {
		if err := roles[role](); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(leakCheck{m})
}

// leakCheck gives the tests a temporary directory that ordinary users may use and no
// other lab sweeps, and fails the run if they left a descriptor open or a file behind.
type leakCheck struct{ m *testing.M }

func (c leakCheck) Run() int {
	temp, err := os.MkdirTemp("", "netlab-test-")
	if err == nil {
		err = errors.Join(os.Chmod(temp, 0o777|os.ModeSticky), os.Setenv("TMPDIR", temp))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	before := openDescriptors()
	code := c.m.Run()
	for d := range openDescriptors() {
		if code == 0 && !before[d] {
			fmt.Fprintln(os.Stderr, "left open:", d)
			code = 1
		}
	}
	// Remove, not RemoveAll: the directory must be empty.
	if err := os.Remove(temp); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// openDescriptors are this process's, apart from the runtime's own.
func openDescriptors() map[string]bool {
	open := make(map[string]bool)
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && !strings.Contains(target, "anon_inode:") && !strings.HasPrefix(target, "/proc/") {
			open[e.Name()+" "+target] = true
		}
	}
	return open
}

// ourselves is a command that runs this binary in a role.
func ourselves(role string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	// A process built with -race would sleep for a second at its end.
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	return cmd
}

// report is what a role tells the test on its standard output, as one line.
type report struct {
	PIDs       []int
	Interfaces []string
	Namespace  string
	Dir        string
	Missing    []string
	Greeting   string
}

func (r report) send() error { return json.NewEncoder(os.Stdout).Encode(r) }

// outcome starts a role elsewhere and waits for its report.
func outcome(t *testing.T, cmd *exec.Cmd, start func(*exec.Cmd) error) report {
	t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout = in
	err = start(cmd)
	in.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := out.SetReadDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("no report from the %v: %v", cmd.Env[len(cmd.Env)-1], err)
	}
	var r report
	if err := json.Unmarshal(line, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// sleeper says what it sees of the network and sleeps until SIGTERM.
func sleeper() error {
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, unix.SIGTERM)
	if err := look().send(); err != nil {
		return err
	}
	<-terminated
	return nil
}

// stubborn does not hear SIGTERM.
func stubborn() error {
	signal.Ignore(unix.SIGTERM)
	if err := look().send(); err != nil {
		return err
	}
	select {}
}

// parent starts a stubborn child of its own and ends on SIGTERM without ending it.
func parent() error {
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, unix.SIGTERM)
	child := ourselves("stubborn")
	out, err := child.StdoutPipe()
	if err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return err
	}
	if _, err := bufio.NewReader(out).ReadBytes('\n'); err != nil {
		return err
	}
	r := look()
	r.PIDs = append(r.PIDs, child.Process.Pid)
	if err := r.send(); err != nil {
		return err
	}
	<-terminated
	return nil
}

// look reports the process and what it sees of its network.
func look() report {
	r := report{PIDs: []int{os.Getpid()}, Interfaces: interfaces()}
	ns, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		panic(err)
	}
	r.Namespace = ns
	return r
}

// await polls an observable until it holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v still not so: %s", deadline, what)
		}
	}
}

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// makeLab makes a lab or skips the test where it may not.
func makeLab(t testing.TB, cfg Config) *Lab {
	t.Helper()
	l, err := New(cfg)
	if errors.Is(err, ErrPrivilege) {
		t.Skipf("%v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return l
}
