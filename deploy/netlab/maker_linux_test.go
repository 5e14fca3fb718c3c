package netlab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// maker makes a lab with a process on each host and waits to be killed.
func maker() error { return labUntil(Config{Hosts: []string{"A", "B"}}, func() { select {} }) }

// wiredMaker makes one with wires and waits to be killed.
func wiredMaker() error {
	slow := Wire{Out: Direction{Delay: time.Second}}
	cfg := Config{Hosts: []string{"A", "B"}, Wires: map[string]Wire{"A": slow, "B": slow}, Mechanism: UserSpace}
	return labUntil(cfg, func() { select {} })
}

// keeper makes a lab that outlives it.
func keeper() error {
	return labUntil(Config{Hosts: []string{"A", "B"}, Keep: true}, func() {})
}

// labUntil makes a lab with two sleepers, reports, and closes it when rest returns.
func labUntil(cfg Config, rest func()) error {
	l, err := New(cfg)
	if err != nil {
		return err
	}
	r := report{Dir: l.Dir()}
	for _, h := range l.Hosts() {
		cmd := ourselves("sleeper")
		// The sleeper is ready when it has spoken; its words go nowhere else.
		out, in, err := os.Pipe()
		if err != nil {
			return err
		}
		cmd.Stdout = in
		p, err := h.Start(cmd)
		if err != nil {
			return err
		}
		if _, err := out.Read(make([]byte, 1)); err != nil {
			return err
		}
		r.PIDs = append(r.PIDs, p.PID())
	}
	if err := r.send(); err != nil {
		return err
	}
	rest()
	return l.Close()
}

func TestKilledMakerLeavesNothing(t *testing.T) {
	w := newWitness(t)
	cmd := ourselves("maker")
	r := outcome(t, cmd, (*exec.Cmd).Start)
	if n := w.watchAllOf(t, cmd.Process.Pid); n != 3 {
		t.Fatalf("the maker holds %d namespaces, want the two hosts and the switch", n)
	}
	for _, pid := range r.PIDs {
		if !alive(pid) {
			t.Fatalf("process %d does not run", pid)
		}
	}
	if removed, err := Sweep(); err != nil || slices.Contains(removed, r.Dir) {
		t.Fatalf("a sweep removed the directory of a living maker: %v, %v", removed, err)
	}

	killed := time.Now()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range r.PIDs {
		await(t, fmt.Sprintf("process %d is gone", pid), func() bool { return !alive(pid) })
	}
	await(t, "every namespace is gone", func() bool { return w.remaining(t) == 0 })
	t.Logf("all gone %v after SIGKILL", time.Since(killed))
	if err := cmd.Wait(); err == nil {
		t.Error("the maker ended well, it should have been killed")
	}

	removed, err := Sweep()
	if err != nil || !slices.Contains(removed, r.Dir) {
		t.Errorf("sweep: %v, %v; want %s removed", removed, err, r.Dir)
	}
	if _, err := os.Stat(r.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
}

func TestKeptLabLastsAsLongAsItsProcesses(t *testing.T) {
	w := newWitness(t)
	cmd := ourselves("keeper")
	r := outcome(t, cmd, (*exec.Cmd).Start)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, pid := range r.PIDs {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
				t.Error(err)
			}
		}
	}()
	for _, pid := range r.PIDs {
		if !alive(pid) {
			t.Fatalf("process %d did not outlive its maker", pid)
		}
		w.watch(t, fmt.Sprintf("/proc/%d/ns/net", pid))
	}
	if n := w.watchAllOf(t, r.PIDs[0]); n != 1 {
		t.Fatalf("a kept process holds %d namespaces by descriptor, want the switch", n)
	}
	if removed, err := Sweep(); err != nil || slices.Contains(removed, r.Dir) {
		t.Fatalf("a sweep removed the directory of a kept lab: %v, %v", removed, err)
	}
	for _, pid := range r.PIDs {
		if err := unix.Kill(pid, unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "every namespace is gone", func() bool { return w.remaining(t) == 0 })
	await(t, "the directory is swept", func() bool {
		removed, err := Sweep()
		return err == nil && slices.Contains(removed, r.Dir)
	})
}

// nobody is an ordinary user with the conventional numbers.
var nobody = &syscall.Credential{Uid: 65534, Gid: 65534}

// asNobody runs a role without any privilege, in the machine's own namespace.
func asNobody(t *testing.T, role string) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		return ourselves(role)
	}
	cmd := ourselves(role)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: nobody}
	return cmd
}

// loopbackUser makes a loopback lab and lets host A greet host B.
func loopbackUser() error {
	l, err := NewLoopback(Config{Hosts: []string{"A", "B"}, Grace: 5 * time.Second})
	if err != nil {
		return err
	}
	r := report{Dir: l.Dir()}
	for _, m := range l.Missing() {
		r.Missing = append(r.Missing, m.String())
	}
	if r.Greeting, err = exchange(l); err != nil {
		return errors.Join(err, l.Close())
	}
	p, err := l.Host("A").Start(exec.Command("sleep", "1000"))
	if err != nil {
		return errors.Join(err, l.Close())
	}
	r.PIDs = []int{p.PID()}
	if err := l.Close(); err != nil {
		return err
	}
	return r.send()
}

// exchange connects A to B and returns the two addresses as B sees them.
func exchange(l *Lab) (string, error) {
	listener, err := l.Host("B").Listen("tcp4", ":0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	port := netip.MustParseAddrPort(listener.Addr().String()).Port()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	c, err := l.Host("A").Dial(ctx, "tcp", netip.AddrPortFrom(l.Host("B").Address, port).String())
	if err != nil {
		return "", err
	}
	defer c.Close()
	accepted, err := listener.Accept()
	if err != nil {
		return "", err
	}
	defer accepted.Close()
	from := netip.MustParseAddrPort(accepted.RemoteAddr().String()).Addr()
	to := netip.MustParseAddrPort(accepted.LocalAddr().String()).Addr()
	return fmt.Sprintf("%v to %v", from, to), nil
}

func TestLoopbackAsOrdinaryUser(t *testing.T) {
	r := outcome(t, asNobody(t, "loopback"), (*exec.Cmd).Run)
	if want := "127.0.0.2 to 127.0.0.3"; r.Greeting != want {
		t.Errorf("got a connection from %q, want %q", r.Greeting, want)
	}
	if len(r.Missing) == 0 || !strings.Contains(r.Missing[0], Remedy) {
		t.Errorf("missing is %q, want it to say what to do", r.Missing)
	}
	if alive(r.PIDs[0]) {
		t.Errorf("process %d outlived the lab", r.PIDs[0])
	}
	if _, err := os.Stat(r.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
}

// plainUser tries to make a lab and reports what New says.
func plainUser() error {
	l, err := New(Config{Hosts: []string{"A"}})
	if err == nil {
		return errors.Join(errors.New("New succeeded without privileges"), l.Close())
	}
	if !errors.Is(err, ErrPrivilege) {
		return err
	}
	return report{Greeting: err.Error()}.send()
}

func TestNewWithoutPrivileges(t *testing.T) {
	dirs := labDirs(t)
	r := outcome(t, asNobody(t, "plain"), (*exec.Cmd).Run)
	if !strings.Contains(r.Greeting, Remedy) {
		t.Errorf("the error is %q, want it to say what to do", r.Greeting)
	}
	if now := labDirs(t); !slices.Equal(dirs, now) {
		t.Errorf("directories before %v, after %v", dirs, now)
	}
}

// rootless makes a full lab inside a user namespace.
func rootless() error {
	l, err := New(Config{Hosts: []string{"A", "B"}})
	if err != nil {
		return err
	}
	r := report{}
	if r.Greeting, err = exchange(l); err != nil {
		return errors.Join(err, l.Close())
	}
	if err := errors.Join(noThreadAway(), l.Close()); err != nil {
		return err
	}
	return r.send()
}

// noThreadAway returns when every thread of this process is in the first one's network
// namespace: a thread that cannot come back from a host would hold it.
func noThreadAway() error {
	for end := time.Now().Add(deadline); ; time.Sleep(time.Millisecond) {
		threads, err := filepath.Glob("/proc/self/task/*/ns/net")
		if err != nil {
			return err
		}
		in := map[string]bool{}
		for _, t := range threads {
			// A thread that ends has none.
			if ns, err := os.Readlink(t); err == nil {
				in[ns] = true
			}
		}
		if len(in) == 1 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("the threads of this process are in %d network namespaces", len(in))
		}
	}
}

// TestRemedy holds Remedy to its word: a user namespace is enough for a full lab.
func TestRemedy(t *testing.T) {
	cmd := asNobody(t, "rootless")
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 {
		uid, gid = int(nobody.Uid), int(nobody.Gid)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}},
		Credential:  &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: true},
	}
	r := outcome(t, cmd, func(cmd *exec.Cmd) error {
		err := cmd.Run()
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EINVAL) {
			t.Skipf("this kernel makes no user namespaces for users: %v; see user.max_user_namespaces", err)
		}
		return err
	})
	if want := "10.77.0.1 to 10.77.0.2"; r.Greeting != want {
		t.Errorf("got a connection from %q, want %q", r.Greeting, want)
	}
}

func TestSweepSparesWhatIsNotALabs(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	target := t.TempDir()
	link := os.TempDir() + "/" + dirPrefix + "link"
	file := os.TempDir() + "/" + dirPrefix + "file"
	stale := os.TempDir() + "/" + dirPrefix + "stale"
	if err := errors.Join(
		os.Symlink(target, link),
		os.WriteFile(file, nil, 0o600),
		os.MkdirAll(stale+"/deep", 0o700),
	); err != nil {
		t.Fatal(err)
	}
	d, err := makeDir()
	if err != nil {
		t.Fatal(err)
	}
	removed, err := Sweep()
	if err != nil || !slices.Equal(removed, []string{stale}) {
		t.Errorf("sweep removed %v (%v), want %s alone", removed, err, stale)
	}
	if err := d.remove(); err != nil {
		t.Error(err)
	}
	for _, path := range []string{link, file, target} {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
}
