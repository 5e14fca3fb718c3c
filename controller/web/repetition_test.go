package web_test

import (
	"encoding/json"
	"math"
	"slices"
	"testing"

	"syncline/controller/timeline"
	"syncline/controller/web"
)

// TestLibraryRepetitions: of every recorded run, whatever happened in it, each moment is
// told in words and is where the layout shows it, indices lead somewhere, and the axes of
// the page are those of the layout.
func TestLibraryRepetitions(t *testing.T) {
	for _, name := range library(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tl := recorded(t, name)
			r := web.NewRepetition(tl)
			if _, err := json.Marshal(r); err != nil {
				t.Fatal(err)
			}
			checkMoments(t, tl, r)
			checkIndices(t, r)
			checkAxes(t, tl, r)
		})
	}
}

func checkMoments(t *testing.T, tl *timeline.Timeline, r *web.Repetition) {
	t.Helper()
	if len(r.Moments) != len(tl.Moments) {
		t.Fatalf("%d moments, want %d", len(r.Moments), len(tl.Moments))
	}
	for i, m := range r.Moments {
		of := &tl.Moments[i]
		if m.Text == "" {
			t.Errorf("moment %d, a %s of %s, is not told", i, m.Kind, tl.Hosts[m.Host].Name)
		}
		if m.At != int64(of.Stamp.At-tl.Zero) || m.Local < 0 {
			t.Errorf("moment %d is at %d, local %d; want %d", i, m.At, m.Local, int64(of.Stamp.At-tl.Zero))
		}
		if m.Row < 0 {
			if m.Kind == "call" || m.Kind == "packet" && m.Flags != "" && of.Segment >= 0 {
				t.Errorf("moment %d, %s, has no row", i, m.Text)
			}
			continue
		}
		row := r.Layout.Rows[m.Row]
		switch {
		case row.Moment == i:
		case m.Kind != "call":
			t.Errorf("moment %d, %s, has the row of moment %d", i, m.Text, row.Moment)
		case row.Lane >= 0 && r.Layout.Lanes[row.Lane].Host != m.Host:
			t.Errorf("moment %d, %s, has a row of another host", i, m.Text)
		}
		if m.Bracket >= 0 && r.Layout.Brackets[m.Bracket].Role != m.Lane {
			t.Errorf("moment %d, %s of %s, has a bracket of %s", i, m.Text, m.Lane, r.Layout.Brackets[m.Bracket].Role)
		}
	}
}

func checkIndices(t *testing.T, r *web.Repetition) {
	t.Helper()
	moment := func(what string, i int) {
		if i < -1 || i >= len(r.Moments) {
			t.Errorf("%s names moment %d of %d", what, i, len(r.Moments))
		}
	}
	for _, k := range r.Layout.Brackets {
		moment("bracket "+k.Call, k.From)
		moment("bracket "+k.Call, k.To)
		if k.From >= 0 && k.To >= 0 && (k.From > k.To || r.Moments[k.From].Lane != k.Role || r.Moments[k.To].Lane != k.Role) {
			t.Errorf("bracket %s of %s is from %+v to %+v", k.Call, k.Role, r.Moments[k.From], r.Moments[k.To])
		}
		if calls := r.Layout.Brackets; k.Calls < 1 {
			t.Errorf("bracket %s stands for %d of %d calls", k.Call, k.Calls, len(calls))
		}
	}
	for _, a := range r.Layout.Arrows {
		moment(a.Words[0], a.Left)
		moment(a.Words[0], a.Came)
		if a.Left >= 0 && r.Moments[a.Left].Kind != "packet" || a.Came >= 0 && r.Moments[a.Came].Kind != "packet" {
			t.Errorf("arrow %v is no packet's", a.Words)
		}
		if a.Connection < 0 || a.Connection > len(r.Connections) {
			t.Errorf("arrow %v is of connection %d of %d", a.Words, a.Connection, len(r.Connections))
		}
	}
	for _, c := range r.Causes {
		moment(c.Rule, c.Effect)
		moment(c.Rule, c.By)
	}
	for _, n := range r.Notes {
		for _, i := range n.Moments {
			moment(n.Kind, i)
		}
	}
	for _, p := range r.Phases {
		moment(p.Name, p.From)
		moment(p.Name, p.To)
	}
}

// checkAxes reads the axes as readAxis in data.ts does, and holds them against the ladder's.
func checkAxes(t *testing.T, tl *timeline.Timeline, r *web.Repetition) {
	t.Helper()
	l := tl.Ladder(timeline.LadderOptions{Notes: true})
	for i, s := range []timeline.Scale{timeline.ScaleRow, timeline.ScaleLinear, timeline.ScaleLog} {
		packed, want := r.Layout.Axes[i], l.Axis(s)
		if packed.Name != s.String() {
			t.Fatalf("axis %d is %s", i, packed.Name)
		}
		got := places(r, packed)
		for row := range want.Places {
			if r.Layout.Rows[row].Kind == "quiet" {
				continue
			}
			if math.Abs(got[row]-want.Places[row]) > 1e-6*(1+want.Length) {
				t.Fatalf("%s: row %d of %d stands at %v, want %v", s, row, len(got), got[row], want.Places[row])
			}
		}
		folds := 0
		for _, k := range want.Knots {
			if k.Folded {
				folds++
			}
		}
		if len(packed.Folds) != folds {
			t.Errorf("%s: folds at rows %v, want %d", s, packed.Folds, folds)
		}
	}
}

func places(r *web.Repetition, packed web.Axis) []float64 {
	rows := r.Layout.Rows
	at := slices.Clone([]int(packed.Rows))
	if len(at) == 0 {
		for i := range rows {
			if rows[i].Kind != "quiet" {
				at = append(at, i)
			}
		}
	}
	knots := []float64(packed.Places)
	if len(knots) == 0 {
		for _, i := range at {
			knots = append(knots, float64(i))
		}
	}
	got := make([]float64, len(rows))
	k := 0
	for i := range rows {
		for k+1 < len(at) && at[k+1] <= i {
			k++
		}
		got[i] = knots[k]
		if k+1 < len(at) && at[k] != i {
			if span := float64(rows[at[k+1]].At - rows[at[k]].At); span > 0 {
				got[i] += (knots[k+1] - knots[k]) * float64(rows[i].At-rows[at[k]].At) / span
			}
		}
	}
	return got
}
