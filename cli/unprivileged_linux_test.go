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

	"syncline/controller/experiment"
)

// nobody is a user without any capability: uid and gid of Debian's nobody.
const nobody = 65534

// TestUnprivilegedLibrary runs every scenario of class P of the library as an ordinary
// user, without any capability, on addresses of the loopback interface. No such run may
// fail, since as root none does: it passes, or cannot tell, or is refused by name of what
// the host lacks. Each has a network namespace of its own, made for it by root, so that
// the ports of one lab are not those of another.
func TestUnprivilegedLibrary(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become somebody who is not: run the tests as root")
	}
	program := readable(t)
	scenarios := 0
	for _, s := range experiment.Library() {
		if s.Class != "P" {
			continue
		}
		scenarios++
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := asNobody(t, program, "demo", s.Name, "--repeat", "1")
			switch {
			case code == 0:
			case code != exitInconclusive:
				t.Fatalf("exit %d\n%s\n%s", code, stdout, stderr)
			case strings.Contains(stdout, "cannot tell"):
			case strings.Contains(stderr, "is not whole") && strings.Contains(strings.Join(s.Needs, " "), "ipv6"):
			default:
				t.Fatalf("neither a verdict nor what is missing\n%s\n%s", stdout, stderr)
			}
			for _, want := range []string{"missing: hosts with a network of their own", "missing: packets", "CAP_NET_RAW"} {
				if !strings.Contains(stderr, want) {
					t.Errorf("the demo does not say %q:\n%s", want, stderr)
				}
			}
			if strings.Contains(stdout, "\n  ✗ ") || strings.Contains(stderr, "DATA RACE") {
				t.Errorf("something failed:\n%s\n%s", stdout, stderr)
			}
		})
	}
	if scenarios < 30 {
		t.Errorf("%d scenarios of class P: the library is not what it was", scenarios)
	}
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
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", &out, &errs
	cmd.Env = []string{asProgram + "=1", "GORACE=" + atOnce, "HOME=/nonexistent", "TMPDIR=" + os.TempDir(), "PATH=" + os.Getenv("PATH")}
	// Changing from root to another user drops every capability (capabilities(7)).
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, Setpgid: true}
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
