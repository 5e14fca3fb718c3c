package timeline

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// builtStates builds the timeline of a file of testdata/states.
func builtStates(t *testing.T, name string) *Timeline {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join("testdata/states", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	tl, err := Build(newScript(t, section(archive, "events")).run, 1)
	if err != nil {
		t.Fatal(err)
	}
	return tl
}

// TestStatesHaveRows: in every way to lay out every golden file, each state but the
// CLOSED that all begin in has one row, in the order of its path, and that row lies
// within its bounds; a traced one has its own moment.
func TestStatesHaveRows(t *testing.T) {
	files, err := filepath.Glob("testdata/states/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			tl := builtStates(t, name)
			for _, opts := range []LadderOptions{{}, {HideLab: true}, {LocalTimes: true}, {Connections: []int{1}}} {
				checkStateRows(t, tl, opts)
			}
		})
	}
}

func checkStateRows(t *testing.T, tl *Timeline, opts LadderOptions) {
	t.Helper()
	l := tl.Ladder(opts)
	rows := rowsByMoment(tl, l)
	for ci := range tl.Connections {
		if !opts.isShown(ci) {
			continue
		}
		for end := range 2 {
			states := tl.Connections[ci].End(end).States
			if tl.Connections[ci].End(end).Host < 0 {
				states = nil
			}
			if len(states) > 0 && states[0].Name == stateClosed {
				states = states[1:]
			}
			marks := marksOf(l, ci, end)
			if diff := cmp.Diff(pathText(states), marksText(marks)); diff != "" {
				t.Errorf("%+v: connection %d, end %d (-states +rows):\n%s", opts, ci, end, diff)
				continue
			}
			for i := range marks {
				checkStateRow(t, tl, l, rows, &states[i], &marks[i])
			}
		}
	}
	for i := range l.Rows {
		if r := &l.Rows[i]; r.Kind == RowState && (l.States[r.Mark].Row != i || l.States[r.Mark].Lane != r.Lane) {
			t.Errorf("row %d shows state %d, which stands in row %d", i, r.Mark, l.States[r.Mark].Row)
		}
	}
}

func checkStateRow(t *testing.T, tl *Timeline, l *Ladder, rows map[int]int, s *State, m *StateMark) {
	t.Helper()
	r := &l.Rows[m.Row]
	if m.Exact != s.exact() || m.Exact != r.Timed() || m.Exact && r.Moment != s.Moment {
		t.Errorf("%s is exact: %v, its row has moment %d of %d", s.Name, m.Exact, r.Moment, s.Moment)
	}
	after, hasAfter := rows[s.After]
	by, hasBy := rows[s.By]
	// A call in one row begins and ends there: what it did stands beside it.
	if oneCall := hasAfter && hasBy && after == by; !oneCall && (hasAfter && m.Row < after || hasBy && m.Row > by) {
		t.Errorf("%s stands in row %d, not between rows %d and %d", s.Name, m.Row, after, by)
	}
	isShown := func(moment int, hasRow bool) bool {
		return hasRow || moment >= 0 && tl.Moments[moment].Event.Call != nil
	}
	if !m.Exact && !m.Wide && !(isShown(s.After, hasAfter) && isShown(s.By, hasBy)) {
		t.Errorf("%s does not say that the rows around it are not its bounds", s.Name)
	}
	if !m.Wide && (m.After != "" || m.By != "") {
		t.Errorf("%s tells bounds, %q and %q, that the rows show", s.Name, m.After, m.By)
	}
}

// rowsByMoment are the rows of the moments that have one.
func rowsByMoment(tl *Timeline, l *Ladder) map[int]int {
	rows := make(map[int]int)
	for i := range l.Rows {
		if r := &l.Rows[i]; r.Timed() {
			rows[r.Moment] = i
		}
	}
	return rows
}

func marksOf(l *Ladder, connection, end int) []StateMark {
	var marks []StateMark
	for _, m := range l.States {
		if m.Connection == connection && m.End == end && m.Doubt == "" {
			marks = append(marks, m)
		}
	}
	return marks
}

func marksText(marks []StateMark) string {
	states := make([]State, len(marks))
	for i := range marks {
		states[i].Name = marks[i].Name
		if i > 0 && marks[i].Row <= marks[i-1].Row {
			return fmt.Sprintf("%s in row %d before %s in row %d", marks[i].Name, marks[i].Row, marks[i-1].Name, marks[i-1].Row)
		}
	}
	return pathText(states)
}

// TestStateBounds: what the rows around a state show is not said again, and what they
// do not show is.
func TestStateBounds(t *testing.T) {
	for _, test := range []struct {
		file string
		want []string
	}{
		{"open_close", []string{
			"client SYN_SENT", "server SYN_RECV", "client ESTABLISHED", "server ESTABLISHED", "client FIN_WAIT1",
			"server CLOSE_WAIT", "client FIN_WAIT2 by 328.0", "server LAST_ACK", "client TIME_WAIT", "server CLOSED after 348.0",
		}},
		// B's tap lost what would say that the ACK was taken; accept(2) says so later.
		{"tap_lost", []string{
			"client SYN_SENT", "server SYN_RECV", "client ESTABLISHED", "server ESTABLISHED by 95.0", "client FIN_WAIT1",
			"server CLOSE_WAIT", "client FIN_WAIT2 by 328.0", "server LAST_ACK", "client TIME_WAIT", "server CLOSED after 348.0", "server? B lost 2 of its packets",
		}},
		{"traced_refused", []string{"client SYN_SENT exact", "client CLOSED exact"}},
		// Nobody can tell what took over from A's FIN_WAIT2.
		{"traced_packets_lost", []string{
			"client SYN_SENT exact", "server SYN_RECV some time", "client ESTABLISHED exact", "server ESTABLISHED exact", "client FIN_WAIT1 exact",
			"server CLOSE_WAIT exact", "client FIN_WAIT2 exact",
			"client? the kernel let go of its socket in FIN_WAIT2, and what would tell whether for TIME_WAIT is not on record: A has no packets: no CAP_NET_RAW",
			"server LAST_ACK exact", "server CLOSED exact",
		}},
	} {
		var got []string
		for _, m := range builtStates(t, test.file).Ladder(LadderOptions{}).States {
			text := []string{"client", "server"}[m.End]
			if m.Doubt != "" {
				text += "? " + m.Doubt
			} else {
				text += " " + m.Name
			}
			if m.Exact {
				text += " exact"
			}
			if m.Hole {
				text += " hole"
			}
			for word, at := range map[string]string{"after": m.After, "by": m.By} {
				if at != "" {
					text += " " + word + " " + at
				}
			}
			if m.Wide && m.After+m.By == "" {
				text += " some time"
			}
			got = append(got, text)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.file, diff)
		}
	}
}
