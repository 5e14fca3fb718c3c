package cli

import (
	"bytes"
	"strings"
	"testing"
)

// recording is a recorded run of the library as an argument RUN.
func recording(name string) string {
	return "../controller/export/testdata/library/" + name + ".syncline"
}

// TestLadderFlags: each flag changes the picture as it says, and what cannot be had is an
// error that says what can.
func TestLadderFlags(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		code int
		// wants and unwanted are parts of what is written, to stdout or, of an error, to stderr.
		wants, unwanted []string
	}{
		{"alone", nil, 0, []string{"basic-open-close", "┃", "closed first", "\n1 accept()"}, []string{"scale ", "time  "}},
		{"--notes=false", []string{"--notes=false"}, 0, []string{"┃"}, []string{"closed first", "\n1 accept()"}},
		{"--scale linear", []string{"--scale", "linear"}, 0, []string{"scale   linear: a line for each"}, nil},
		{"--scale log", []string{"--scale", "log"}, 0, []string{"scale   log: a line more"}, nil},
		{"--scale of no name", []string{"--scale", "time"}, 2, []string{"--scale time: give row, linear or log"}, nil},
		{"--t0 first SYN", []string{"--t0", "first SYN"}, 0, []string{"counted from the first SYN", " 0.000 "}, nil},
		{"--t0 wall", []string{"--t0", "wall"}, 0, []string{"2026-11-23, UTC, as A's CLOCK_REALTIME had it, ±", "07:03:4"}, nil},
		{"--t0 of no name", []string{"--t0", "now"}, 2, []string{`--t0 "now": give connect, 'first SYN' or wall`}, nil},
		{"--conn", []string{"--conn", "1"}, 0, []string{"conn 1"}, nil},
		{"--conn beyond the last", []string{"--conn", "1,3"}, 2, []string{"--conn 3: repetition 1 has 1 connections"}, nil},
		{"--conn before the first", []string{"--conn", "0"}, 2, []string{"--conn 0: connections are counted from 1"}, nil},
		{"--ascii", []string{"--ascii"}, 0, []string{">> A, the client", " # "}, []string{"┃", "»"}},
		{"--width", []string{"--width", "72"}, 0, []string{"┃"}, nil},
		{"--width below all", []string{"--width", "39"}, 2, []string{"--width 39: give at least 40 columns"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out, talk bytes.Buffer
			args := append([]string{"ladder", recording("basic-open-close") + "@1"}, test.args...)
			code := Main(t.Context(), args, Streams{Out: &out, Err: &talk})
			if code != test.code {
				t.Fatalf("exit code %d, want %d: %s", code, test.code, talk.String())
			}
			said := out.String()
			if test.code != 0 {
				said = talk.String()
			}
			for _, want := range test.wants {
				if !strings.Contains(said, want) {
					t.Errorf("does not say %q:\n%s", want, said)
				}
			}
			for _, unwanted := range test.unwanted {
				if strings.Contains(said, unwanted) {
					t.Errorf("says %q:\n%s", unwanted, said)
				}
			}
		})
	}
}

// TestZeroThatCannotBeHad: a zero that nothing on record tells is an error, not another
// zero.
func TestZeroThatCannotBeHad(t *testing.T) {
	tl := parseScene(t, "host A 10.0.0.1\nA client connect(c, B:8080) 0..1 = ECONNREFUSED")
	for zero, want := range map[string]string{
		"first SYN": "no SYN of repetition 3 is on record", "wall": "only packets carry CLOCK_REALTIME",
	} {
		if l, err := layLadder(tl, ladderOptions{zero: zero}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--t0 %q of a run without packets: a ladder from %v, %v", zero, l, err)
		}
	}
}

// TestSeveralConnections: --conn 1,3 shows those two and not the others.
func TestSeveralConnections(t *testing.T) {
	var out, talk bytes.Buffer
	code := Main(t.Context(), []string{"ladder", recording("backlog-overflow") + "@1", "--conn", "1,3", "--width", "100"}, Streams{Out: &out, Err: &talk})
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, talk.String())
	}
	for _, want := range []string{"conn 1 ", "conn 3 ", "#1 SYN", "#3 SYN"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q", want)
		}
	}
	for _, unwanted := range []string{"conn 2 ", "#2 SYN", "#4 SYN"} {
		if strings.Contains(out.String(), unwanted) {
			t.Errorf("there is %q", unwanted)
		}
	}
}
