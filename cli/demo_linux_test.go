package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A demo leaves no process, no namespace and no file, however it ends.
func TestDemoLeavesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs network namespaces: run the tests as root")
	}
	failing := filepath.Join(t.TempDir(), "failing.yaml")
	if err := os.WriteFile(failing, []byte(`experiment: failing
hosts: { A: {}, B: {} }
observe: [syscalls, packets]
lanes:
  client: { host: A, do: ["c = socket(tcp)", "connect(c, B:4711) -> ok"] }
`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		// signal is sent when lanes run, 0 for none.
		signal syscall.Signal
		code   int
	}{
		{name: "done", args: []string{"--repeat", "2"}},
		{name: "failing", args: []string{failing}, code: exitFailed},
		{name: "interrupted", args: []string{"--repeat", "10000"}, signal: syscall.SIGINT, code: exitInterrupted},
		{name: "terminated", args: []string{"--repeat", "10000"}, signal: syscall.SIGTERM, code: exitInterrupted},
		{name: "hung up", args: []string{"--repeat", "10000"}, signal: syscall.SIGHUP, code: exitInterrupted},
		{name: "interrupted over a wire", args: []string{"--delay", "20ms", "--repeat", "10000"}, signal: syscall.SIGINT, code: exitInterrupted},
		{name: "kept and interrupted", args: []string{"--keep", "--repeat", "10000"}, signal: syscall.SIGINT, code: exitInterrupted},
		{name: "killed", args: []string{"--repeat", "10000"}, signal: syscall.SIGKILL, code: -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			namespaces := networkNamespaces(t)
			demo, out := startDemo(t, dir, test.args)
			if test.signal != 0 {
				await(t, "lanes run", func() bool { return labProcesses(t, dir) == 3 && len(chunkFiles(dir)) > 0 })
				if err := demo.Process.Signal(test.signal); err != nil {
					t.Fatal(err)
				}
			}
			_ = demo.Wait() // the code is looked at below
			if code := demo.ProcessState.ExitCode(); code != test.code {
				t.Errorf("exit code %d, want %d\n%s", code, test.code, out)
			}
			await(t, "no process of the lab", func() bool { return labProcesses(t, dir) == 0 })
			await(t, "no namespace of the lab", func() bool { return len(networkNamespaces(t)) <= len(namespaces) })
			if test.signal == syscall.SIGKILL {
				// Nobody could remove the directory; the next demo does.
				next, out := startDemo(t, dir, []string{"--repeat", "1"})
				if err := next.Wait(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) > 0 {
				t.Errorf("left in the temporary directory: %v, %v", left, err)
			}
		})
	}
}

// startDemo starts the program as a user would, its temporary files in dir.
func startDemo(t *testing.T, dir string, args []string, env ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{"demo"}, args...)...)
	cmd.Env = append(os.Environ(), asProgram+"=1", "GORACE="+atOnce, "TMPDIR="+dir)
	cmd.Env = append(cmd.Env, env...)
	out := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out
}

// labProcesses counts the controllers and agents whose temporary files are in dir.
func labProcesses(t *testing.T, dir string) int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, path := range all {
		environ, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(environ, []byte("TMPDIR="+dir+"\x00")) {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if err == nil && bytes.Contains(cmdline, []byte("\x00serve\x00")) {
			n++
		}
	}
	return n
}

func chunkFiles(dir string) []string {
	// A pattern without a malformed part gives no error.
	files, _ := filepath.Glob(filepath.Join(dir, "syncline-lab-*", "data", "runs", "*", "*"))
	return files
}

// networkNamespaces are those that some process is in.
func networkNamespaces(t *testing.T) map[string]bool {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/task/[0-9]*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, path := range all {
		if ns, err := os.Readlink(path); err == nil && strings.HasPrefix(ns, "net:") {
			found[ns] = true
		}
	}
	return found
}

// An ordinary user gets the demo on 127.0.0.x, with calls only, and is told what
// that lacks and how to get it.
func TestDemoOfAnOrdinaryUser(t *testing.T) {
	cmd, out, errs := ordinaryDemo(t, "--repeat", "2")
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != exitInconclusive {
		t.Fatalf("%v, want exit code %d\n%s\n%s", err, exitInconclusive, out, errs)
	}
	for _, want := range []string{"missing: ", "run as root", "CAP_NET_RAW"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("standard error lacks %q:\n%s", want, errs)
		}
	}
	for _, want := range []string{"connect", "accept", "127.0.0.3:8080", "cannot tell"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("standard output lacks %q:\n%s", want, out)
		}
	}
}

// Hosts that are addresses of one machine have nothing between them.
func TestWireOfAnOrdinaryUser(t *testing.T) {
	cmd, _, errs := ordinaryDemo(t, "--delay", "20ms")
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != exitRefused {
		t.Fatalf("%v, want exit code %d\n%s", err, exitRefused, errs)
	}
	for _, want := range []string{"a wire lies between network namespaces", "run as root"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("standard error lacks %q:\n%s", want, errs)
		}
	}
}

// ordinaryDemo is a demo of a user without privileges, who can read nothing of this
// test but the program.
func ordinaryDemo(t *testing.T, args ...string) (cmd *exec.Cmd, out, errs *bytes.Buffer) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("changes its user: run the tests as root")
	}
	dir := t.TempDir()
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "syncline.test")
	copyFile(t, os.Args[0], program)
	cmd = exec.Command(program, append([]string{"demo"}, args...)...)
	cmd.Dir = dir
	cmd.Env = []string{asProgram + "=1", "GORACE=" + atOnce, "TMPDIR=" + dir, "HOME=" + dir, "PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, errs = new(bytes.Buffer), new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, errs
	return cmd, out, errs
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}
