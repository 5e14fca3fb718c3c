package lane

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// doomed makes the test binary an agent that is going to be killed.
const doomed = "SYNCLINE_TEST_DOOMED_AGENT"

// TestDoomedAgent is no test of its own: it is what TestProcessesDieWithTheAgent starts.
func TestDoomedAgent(t *testing.T) {
	if os.Getenv(doomed) == "" {
		t.Skip("this is the agent of TestProcessesDieWithTheAgent, which starts it")
	}
	lanes := []*synclinev1.Lane{
		own(newTestLane("runs", signalOf("there"), sleep(time.Hour))),
		own(newTestLane("stopped", signalOf("there"), sleep(time.Hour))),
		newTestLane("killer", wait("runs", "there"), waitFor("stopped told"), kill("stopped", unix.SIGSTOP), signalOf("there"), sleep(time.Hour)),
	}
	board := NewBoard([]string{"runs", "stopped", "killer"})
	group := &Group{Lanes: lanes, Config: Config{
		Board: board,
		Emit: func(e *synclinev1.Event) {
			if c := e.GetCall(); c.GetArguments() == "there" {
				fmt.Println("there", c.Process)
				if c.Lane == "stopped" {
					board.Post("", "stopped told")
				}
			}
		},
	}}
	group.Run(context.Background())
}

func TestProcessesDieWithTheAgent(t *testing.T) {
	agent := exec.Command("/proc/self/exe", "-test.run=^TestDoomedAgent$")
	agent.Env = append(os.Environ(), doomed+"=1")
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	var processes []string
	lines := bufio.NewScanner(out)
	for there := 0; there < 3 && lines.Scan(); {
		if process, ok := strings.CutPrefix(lines.Text(), "there "); ok {
			there++
			if process != "0" {
				processes = append(processes, process)
			}
		}
	}
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := agent.Wait(); err == nil {
		t.Error("the agent was not killed")
	}
	if len(processes) != 2 {
		t.Fatalf("the agent told of the processes %q", processes)
	}
	s := &stage{t: t}
	for _, process := range processes {
		s.eventually("process "+process+" is gone", func() bool { return !alive(process) })
	}
}

// alive reports whether a process is there, and not only its exit status.
func alive(process string) bool {
	b, err := os.ReadFile("/proc/" + process + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}
