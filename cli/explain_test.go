package cli

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var updateExplanations = flag.Bool("update-explanations", false, "rewrite testdata/explain from what explain writes now")

// A file of testdata/explain is what `syncline explain` writes at 80 columns of a recorded run of
// the library: how a connection opens and ends; who may be the last to send a RST, and why; what
// the kernel does without the application; what time does; and what a firewall does.
func TestExplain(t *testing.T) {
	for _, name := range []string{
		"three-packet-teardown", "close-with-unread-data", "backlog-overflow@1", "zero-window", "keepalive@1", "connect-before-accept",
	} {
		t.Run(name, func(t *testing.T) {
			golden := filepath.Join("testdata", "explain", strings.ReplaceAll(name, "@", "-")+".txt")
			got := explainLibrary(t, name, "--width", "80")
			for line := range strings.Lines(got) {
				if columns.StringWidth(strings.TrimSuffix(line, "\n")) > 80 {
					t.Errorf("wider than 80 columns: %q", line)
				}
			}
			if *updateExplanations {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Error(d)
			}
		})
	}
}

// explainLibrary runs explain on a recorded run of the library: "keepalive@1".
func explainLibrary(t *testing.T, name string, args ...string) string {
	t.Helper()
	base, repetition, at := strings.Cut(name, "@")
	path := filepath.Join("..", "controller", "export", "testdata", "library", base+".syncline")
	if at {
		path += "@" + repetition
	}
	var out, errs bytes.Buffer
	if code := Main(t.Context(), append([]string{"explain", path}, args...), Streams{Out: &out, Err: &errs}); code != 0 {
		t.Fatalf("explain %s: exit %d: %s", path, code, errs.String())
	}
	return out.String()
}

func TestExplainJSON(t *testing.T) {
	var d explanationData
	if err := json.Unmarshal([]byte(explainLibrary(t, "connect-refused", "-o", "json")), &d); err != nil {
		t.Fatal(err)
	}
	if d.Schema != explanationSchema || d.Experiment != "connect-refused" || d.Repetition != 1 {
		t.Errorf("it is %s of repetition %d of %s", d.Schema, d.Repetition, d.Experiment)
	}
	var rules []string
	for _, p := range d.Packets {
		rules = append(rules, p.Cause.Rule)
	}
	if want := []string{"connect-syn", "closed-port"}; !cmp.Equal(rules, want) {
		t.Errorf("the packets are there by %v, want %v", rules, want)
	}
	if len(d.Blocked) == 0 || d.Unexplained.Packets+d.Unexplained.Blocked+d.Unexplained.States > 0 {
		t.Errorf("%d calls were blocked, and unexplained are %+v", len(d.Blocked), d.Unexplained)
	}
}

// One connection is explained as if there were no other.
func TestExplainOneConnection(t *testing.T) {
	var all, one explanationData
	for flag, into := range map[string]*explanationData{"": &all, "--conn=2": &one} {
		args := []string{"-o", "json"}
		if flag != "" {
			args = append(args, flag)
		}
		if err := json.Unmarshal([]byte(explainLibrary(t, "backlog-overflow@1", args...)), into); err != nil {
			t.Fatal(err)
		}
	}
	var want []packetCauseData
	for _, p := range all.Packets {
		if p.Connection != nil && *p.Connection == 1 {
			want = append(want, p)
		}
	}
	if d := cmp.Diff(want, one.Packets); d != "" || len(want) == 0 {
		t.Errorf("%d packets; %s", len(want), d)
	}
	for _, b := range one.Blocked {
		if b.Connection == nil || *b.Connection != 1 {
			t.Errorf("a call of %s that is none of connection 2", b.Lane)
		}
	}
}

func TestExplainRefuses(t *testing.T) {
	bundle := filepath.Join("..", "controller", "export", "testdata", "library", "connect-refused.syncline")
	for _, test := range []struct {
		want string
		args []string
	}{
		{"repetition 1 has 1 connections", []string{bundle, "--conn", "2"}},
		{"connections are counted from 1", []string{bundle, "--conn", "0"}},
		{"give at least 40 columns", []string{bundle, "--width", "10"}},
		{`no output format "yaml"`, []string{bundle, "-o", "yaml"}},
		{"nothing.syncline", []string{"nothing.syncline"}},
	} {
		var out, errs bytes.Buffer
		if code := Main(t.Context(), append([]string{"explain"}, test.args...), Streams{Out: &out, Err: &errs}); code != exitUsage || !strings.Contains(errs.String(), test.want) {
			t.Errorf("explain %v: exit %d: %s", test.args, code, errs.String())
		}
	}
}
