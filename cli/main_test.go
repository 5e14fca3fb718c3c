package cli

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"syncline/agent/lane"
	"syncline/controller/experiment"
)

// asProgram makes the test binary behave as the program syncline, so that tests
// start real controllers and agents, built with the same race detector.
const asProgram = "SYNCLINE_TEST_AS_PROGRAM"

// atOnce lets a program with the race detector end without the second it waits by
// default.
const atOnce = "atexit_sleep_ms=0"

func TestMain(m *testing.M) {
	if lane.Child() {
		return
	}
	// The workers of the fuzzer are started by this process too.
	if os.Getenv(asProgram) != "" && !slices.Contains(os.Args, "-test.fuzzworker") {
		program()
	}
	// Scenarios of the library stand in a queue of their own.
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(2*len(experiment.Library()))); err != nil {
		panic(err)
	}
	// What the tests start of themselves is the program.
	os.Setenv(asProgram, "1")
	os.Setenv("GORACE", atOnce)
	testscript.Main(leakCheck{m}, map[string]func(){"syncline": program})
}

func program() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	os.Exit(Main(ctx, os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}

// leakCheck fails a run of all tests that leaves goroutines behind.
type leakCheck struct{ *testing.M }

func (c leakCheck) Run() int {
	code := c.M.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// mustParse reads an experiment that the test itself has written.
func mustParse(t testing.TB, source []byte) *experiment.Experiment {
	t.Helper()
	exp, err := experiment.Parse(source, experiment.Options{FileName: "test.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	return exp
}

func library(t testing.TB, name string) []byte {
	t.Helper()
	source, ok := experiment.Open(name)
	if !ok {
		t.Fatalf("no scenario %s in the library", name)
	}
	return source
}
