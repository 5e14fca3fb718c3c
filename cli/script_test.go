package cli

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts are what people type, and what they see. Beside the commands of
// testscript they have:
//
//	exits CODE COMMAND...   run a command and want this exit code
//	until COMMAND...        run a command until it succeeds
//	big FILE KIB            make a file of comments
//
// BUNDLES is the directory of the recorded runs.
func TestScripts(t *testing.T) {
	bundles, err := filepath.Abs(filepath.Join("..", "controller", "export", "testdata"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv(asProgram, "1")
			env.Setenv("GORACE", atOnce)
			env.Setenv("COLUMNS", "80")
			env.Setenv("PORT", freePort(t))
			env.Setenv("BUNDLES", bundles)
			env.Setenv("TMPDIR", env.WorkDir)
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return runtime.GOOS == "linux" && os.Geteuid() == 0, nil
			}
			return false, errors.New("no such condition: " + name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "until": until, "big": big},
	})
}

// freePort is a TCP port of 127.0.0.1 that nobody listened on a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

func until(ts *testscript.TestScript, _ bool, args []string) {
	deadline := time.Now().Add(patience)
	for ts.Exec(args[0], args[1:]...) != nil {
		if time.Now().After(deadline) {
			ts.Fatalf("%v does not succeed", args)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func big(ts *testscript.TestScript, _ bool, args []string) {
	kib, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), bytes.Repeat([]byte("# 32 bytes of comment, no more..\n"), kib*1024/32), 0o600))
}

// patience bounds every wait of these tests. It is a limit, not an expectation.
const patience = 60 * time.Second
