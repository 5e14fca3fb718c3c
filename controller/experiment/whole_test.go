package experiment

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWhole parses every file of testdata/whole and compares what it plans to with the
// text beside it.
func TestWhole(t *testing.T) {
	files, err := filepath.Glob("testdata/whole/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in testdata/whole: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			exp, err := Parse(source, Options{FileName: file})
			if err != nil {
				t.Fatal(err)
			}
			checkSound(t, exp)
			got := planText(exp)
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the plan differs (-want +got):\n%s", diff)
			}
		})
	}
}

// planText is what an experiment plans to, for people. The steps of a second copy are
// those of the first.
func planText(exp *Experiment) string {
	var b strings.Builder
	ports, ranges := exp.Ports()
	fmt.Fprintf(&b, "ports %v %v\n", ports, ranges)
	for _, r := range exp.Require {
		fmt.Fprintf(&b, "%s requires %s\n", r.Host, r.Text)
	}
	for _, s := range append(exp.Setups, exp.Changes...) {
		for _, c := range s.Changes {
			fmt.Fprintf(&b, "%s %s %s\n", s.Host, strings.TrimSpace("sets up "+s.Name), c.Text)
		}
	}
	for _, m := range exp.Meetings {
		fmt.Fprintf(&b, "meeting %s: lead %v, max_spread %v, %s\n", m.Name, m.Lead, m.MaxSpread, strings.Join(m.Lanes, " "))
	}
	for _, w := range exp.Watches {
		fmt.Fprintf(&b, "watch %s on %s: %s\n", w.ID, w.Host, w.Text)
	}
	for _, l := range exp.Lanes {
		fmt.Fprintf(&b, "\n%s on %s after %v%s\n", l.Name, l.Host, l.Delay, processText(l))
		for _, s := range l.Steps {
			if l.Copy <= 1 {
				fmt.Fprintln(&b, "  "+stepText(s))
			}
		}
	}
	return b.String()
}

func processText(l Lane) string {
	text := ""
	if l.OwnProcess {
		text = ", in a process of its own"
	}
	if l.ForkedBy != "" {
		text += ", forked by " + l.ForkedBy
	}
	for _, limit := range l.Limits {
		text += fmt.Sprintf(", %s (%d) at most %d", limit.Name, limit.Resource, limit.Value)
	}
	return text
}

// stepText is a step with its round, and what it says only together with the rest of
// the file.
func stepText(s Step) string {
	text := s.Text
	if s.Round > 0 {
		text = fmt.Sprintf("%d: %s", s.Round, text)
	}
	six := false
	switch args := s.Args.(type) {
	case ListenArgs:
		text += fmt.Sprintf("  => backlog %d", args.Backlog)
	case WaitArgs:
		if all := strings.TrimSpace(strings.Join(append(slices.Clone(args.Lanes), args.Watch), " ")); all != "" {
			text += "  => " + all
		}
	case ConnectArgs:
		six = args.Address.Six
	case SendToArgs:
		six = args.Address.Six
	}
	if six {
		text += "  => by IPv6"
	}
	if s.Outcome != nil {
		text += "  accepts " + acceptsText(*s.Outcome)
	}
	return text
}

func acceptsText(o Outcome) string {
	var parts []string
	if o.OK {
		parts = append(parts, "ok")
	}
	for _, v := range o.Values {
		parts = append(parts, fmt.Sprint(v))
	}
	for _, d := range o.Data {
		parts = append(parts, fmt.Sprintf("%q", d))
	}
	if len(o.Errnos) == len(allErrnos) {
		parts = append(parts, "any errno")
	} else {
		for _, n := range o.Errnos {
			parts = append(parts, ErrnoName(n))
		}
	}
	if o.Timeout {
		parts = append(parts, "timeout")
	}
	return strings.Join(parts, " | ")
}

// checkLanes fails if an experiment that was taken has a lane that cannot run.
func checkLanes(t *testing.T, exp *Experiment) {
	t.Helper()
	lanes := make(map[string]Lane)
	for _, l := range exp.Lanes {
		if _, ok := lanes[l.Name]; ok {
			t.Errorf("two lanes are named %s", l.Name)
		}
		lanes[l.Name] = l
	}
	watches := make(map[string]bool)
	for _, w := range exp.Watches {
		watches[w.ID] = true
		if (w.Packet == nil) == (w.Lane == "") || w.Host == "" {
			t.Errorf("watch %+v looks for nothing, or for two things", w)
		}
	}
	for _, l := range exp.Lanes {
		if l.ForkedBy != "" && (!l.OwnProcess || lanes[l.ForkedBy].Host != l.Host) {
			t.Errorf("lane %+v is forked on another host", l)
		}
		for _, s := range l.Steps {
			checkLaneArgs(t, lanes, watches, l, s)
		}
	}
	for _, m := range exp.Meetings {
		for _, name := range m.Lanes {
			if _, ok := lanes[name]; !ok {
				t.Errorf("meeting %+v has a lane that is not there", m)
			}
		}
	}
}

func checkLaneArgs(t *testing.T, lanes map[string]Lane, watches map[string]bool, l Lane, s Step) {
	t.Helper()
	switch args := s.Args.(type) {
	case WaitArgs:
		names := args.Lanes
		if len(names) == 0 && args.Watch == "" {
			names = []string{args.Lane}
		}
		for _, name := range names {
			if _, ok := lanes[name]; !ok || args.Signal == "" {
				t.Errorf("%s waits for nothing: %+v", s.Text, args)
			}
		}
		if (args.Watch != "") != watches[args.Watch] || args.Watch == "" && len(names) == 0 {
			t.Errorf("%s waits for no watch: %+v", s.Text, args)
		}
	case ForkArgs:
		if lanes[args.Lane].ForkedBy != l.Name {
			t.Errorf("%s forks what is not forked by %s", s.Text, l.Name)
		}
	case KillArgs:
		if victim := lanes[args.Lane]; !victim.OwnProcess || victim.Host != l.Host || args.Signal <= 0 {
			t.Errorf("%s kills %+v", s.Text, victim)
		}
	}
}
