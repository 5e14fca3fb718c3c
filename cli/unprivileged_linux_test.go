package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"syncline/agent"
	"syncline/controller/experiment"
)

// nobody is a user without any capability: uid and gid of Debian's nobody.
const nobody = 65534

// TestUnprivilegedLibrary runs every scenario of the library as an ordinary user, without
// any capability, on addresses of the loopback interface. No such run may fail, since as
// root none does: it passes, or cannot tell, or is refused when it is planned, for every
// host by name of what that lacks, and every one of class P runs that needs nothing by
// name. Each has a network namespace of its own, made for it by root, so that the ports
// of one lab are not those of another.
func TestUnprivilegedLibrary(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become somebody who is not: run the tests as root")
	}
	program := readable(t)
	q, ran := newQueue(), 0
	for _, s := range longestFirst() {
		lacks := lacksOfNobody(t, s.Name)
		if len(lacks) == 0 {
			ran++
		}
		t.Run(s.Name, func(t *testing.T) {
			enter, leave := q.join()
			t.Parallel()
			enter()
			t.Cleanup(leave)
			code, stdout, stderr := asNobody(t, program, "demo", s.Name, "--repeat", "1")
			for _, want := range []string{"missing: hosts with a network of their own", "missing: packets", "CAP_NET_RAW"} {
				if !strings.Contains(stderr, want) {
					t.Errorf("the demo does not say %q:\n%s", want, stderr)
				}
			}
			if strings.Contains(stdout, "\n  ✗ ") || strings.Contains(stderr, "DATA RACE") {
				t.Errorf("something failed:\n%s\n%s", stdout, stderr)
			}
			if len(lacks) > 0 {
				if code != exitRefused || stdout != "" {
					t.Errorf("exit %d, want %d before anything runs, for want of %q\n%s\n%s", code, exitRefused, lacks, stdout, stderr)
				}
				for _, want := range lacks {
					if !strings.Contains(stderr, want) {
						t.Errorf("the refusal does not say %q:\n%s", want, stderr)
					}
				}
				return
			}
			if code != 0 && (code != exitInconclusive || !strings.Contains(stdout, "cannot tell")) {
				t.Errorf("exit %d: neither passes nor cannot tell\n%s\n%s", code, stdout, stderr)
			}
		})
	}
	if ran < 39 {
		t.Errorf("%d scenarios run as an ordinary user: the library is not what it was", ran)
	}
}

// lacksOfNobody are the needs of a scenario that nobody has on addresses 127.0.0.x, with
// the role of each, as the refusal names them. What takes no capability is as this kernel
// has it.
func lacksOfNobody(t *testing.T, name string) []string {
	t.Helper()
	exp := mustParse(t, library(t, name))
	needs, err := exp.HostNeeds()
	if err != nil {
		t.Fatal(err)
	}
	features, err := agent.Features()
	if err != nil {
		t.Fatal(err)
	}
	without := map[string]bool{}
	for _, f := range features {
		without[f.Name] = !f.Available
	}
	var all []string
	for _, h := range exp.Hosts {
		for _, n := range needs[h.Name] {
			switch n.Name {
			case experiment.NeedMPTCP, experiment.NeedTCPMD5:
				if without[n.Name] {
					all = append(all, fmt.Sprintf("host %s needs %s", h.Name, n.Name))
				}
			case experiment.NeedRoot, experiment.NeedRaw, experiment.NeedNftables, experiment.NeedIPv6:
				all = append(all, fmt.Sprintf("host %s needs %s", h.Name, n.Name))
			}
		}
	}
	return all
}

// readable is a copy of this program where everybody may read and run it.
func readable(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "syncline-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(dir, "syncline")
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// asNobody runs the program as nobody, in a network namespace that goes with it and has
// the loopback interface alone.
func asNobody(t *testing.T, program string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return asNobodyWith(t, nil, program, args...)
}

// asNobodyWith is asNobody for a process that has some capabilities all the same.
func asNobodyWith(t *testing.T, capabilities []uintptr, program string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", &out, &errs
	cmd.Env = []string{asProgram + "=1", "GORACE=" + atOnce, "HOME=/nonexistent", "TMPDIR=" + os.TempDir(), "PATH=" + os.Getenv("PATH")}
	// Changing from root to another user drops every capability (capabilities(7)).
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, AmbientCaps: capabilities, Setpgid: true}
	done := make(chan error, 1)
	go func() {
		// The thread is in the namespace for good: it ends with the goroutine.
		runtime.LockOSThread()
		if err := alone(); err != nil {
			done <- err
			return
		}
		err := cmd.Run()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			done <- fmt.Errorf("run %s: %w", program, err)
			return
		}
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// alone moves the calling thread into a network namespace of its own.
func alone() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare(CLONE_NEWNET): %w", err)
	}
	link, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("take lo up: %w", err)
	}
	return nil
}
