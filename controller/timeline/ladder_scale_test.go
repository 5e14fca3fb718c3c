package timeline

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// simulated is the timeline of a world whose truth is known.
func simulated(t rapid.TB, scenario int, seed uint64) *Timeline {
	t.Helper()
	tl, err := Build(scenarios[scenario].play(seed).run, 1)
	if err != nil {
		t.Fatal(err)
	}
	return tl
}

// TestLaddersOfWorlds: whatever happened, and however it is laid out, each moment that is
// shown has one row, arrows and brackets join the rows of their own moments, rows are in
// order of time, and a scale moves nothing but apart.
func TestLaddersOfWorlds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		opts := LadderOptions{
			HideLab: rapid.Bool().Draw(rt, "hide"), LocalTimes: rapid.Bool().Draw(rt, "local"),
			Zero: LadderZero(rapid.IntRange(0, 2).Draw(rt, "zero")), Notes: rapid.Bool().Draw(rt, "notes"),
			Connections: rapid.SliceOfN(rapid.IntRange(1, 2), 0, 1).Draw(rt, "connections"),
		}
		tl := simulated(rt, rapid.IntRange(0, len(scenarios)-1).Draw(rt, "world"), rapid.Uint64Range(1, 40).Draw(rt, "seed"))
		plain := tl.Ladder(opts)
		checkLadder(rt, tl, plain)
		for s := ScaleLinear; s <= ScaleLog; s++ {
			opts.Scale = s
			l := tl.Ladder(opts)
			checkLadder(rt, tl, l)
			if diff := cmp.Diff(withoutSpaces(plain), withoutSpaces(l)); diff != "" {
				rt.Fatalf("%s moves more than apart (-row +%s):\n%s", s, s, diff)
			}
			if s == ScaleLinear && len(l.Rows) > len(plain.Rows)+max(len(plain.Rows), 20) {
				rt.Fatalf("%d rows became %d", len(plain.Rows), len(l.Rows))
			}
		}
	})
}

// checkLadder holds a ladder against its timeline.
func checkLadder(t rapid.TB, tl *Timeline, l *Ladder) {
	t.Helper()
	seen := make(map[int]bool)
	for i := range l.Rows {
		r := &l.Rows[i]
		if i > 0 && r.Lab < l.Rows[i-1].Lab {
			t.Fatalf("row %d is of %d, the one above of %d", i, r.Lab, l.Rows[i-1].Lab)
		}
		if r.Moment < 0 {
			continue
		}
		if seen[r.Moment] {
			t.Fatalf("moment %d has two rows", r.Moment)
		}
		seen[r.Moment] = true
		if want := int64(tl.Moments[r.Moment].Stamp.At - tl.Zero); r.Lab != want {
			t.Fatalf("row %d is of lab time %d, its moment of %d", i, r.Lab, want)
		}
		if l.Lanes[r.Lane].Host != tl.Moments[r.Moment].Event.Host {
			t.Fatalf("row %d stands in the lane of another host", i)
		}
	}
	for i := range l.Arrows {
		a := &l.Arrows[i]
		s := &Segment{}
		if a.Other >= 0 {
			s = &tl.Others[a.Other].Segment
		} else {
			s = &tl.Connections[a.Connection].Segments[a.Segment]
		}
		for moment, row := range map[int]int{s.Departure: a.Departure, s.Arrival: a.Arrival} {
			if row >= 0 && l.Rows[row].Moment != moment {
				t.Fatalf("arrow %d ends at row %d of moment %d, its packet at %d", i, row, l.Rows[row].Moment, moment)
			}
			if row < 0 && moment >= 0 && seen[moment] {
				t.Fatalf("arrow %d has no end at moment %d, which is shown", i, moment)
			}
		}
		if a.Label >= 0 && (l.Rows[a.Label].Kind != RowLabel || l.Rows[a.Label].Arrow != i) {
			t.Fatalf("arrow %d has its label at row %d, which is %+v", i, a.Label, l.Rows[a.Label])
		}
	}
	for i := range l.Brackets {
		b := &l.Brackets[i]
		for _, row := range []int{b.Enter, b.Return} {
			if m := l.Rows[row].Moment; m < 0 || tl.Moments[m].Event.Call == nil || l.Rows[row].Lane != b.Lane {
				t.Fatalf("bracket %s has an end at row %d, which is no call's of its lane", b.Call, row)
			}
		}
		if b.Return < b.Enter || b.Column >= l.Lanes[b.Lane].Depth {
			t.Fatalf("bracket %s: rows %d to %d, column %d of %d", b.Call, b.Enter, b.Return, b.Column, l.Lanes[b.Lane].Depth)
		}
	}
	for i := range l.Spans {
		s := &l.Spans[i]
		if s.First < 0 || s.Last < s.First || s.Last >= len(l.Rows) || l.Rows[s.First].Kind != RowState {
			t.Fatalf("span %+v of %d rows", *s, len(l.Rows))
		}
	}
	for i := range l.Notes {
		if n := &l.Notes[i]; n.Number != i+1 || n.Row < -1 || n.Row >= len(l.Rows) || n.Text == "" || i > 0 && n.Row < l.Notes[i-1].Row {
			t.Fatalf("note %+v", *n)
		}
	}
	for s := ScaleRow; s <= ScaleLog; s++ {
		checkAxis(t, l, l.Axis(s))
	}
}

// withoutSpaces is a ladder as if it had been laid out by rows.
func withoutSpaces(l *Ladder) *Ladder {
	all := *l
	at := make([]int, len(l.Rows)+1)
	all.Rows = nil
	for i := range l.Rows {
		at[i] = len(all.Rows)
		if l.Rows[i].Kind != RowSpace {
			all.Rows = append(all.Rows, l.Rows[i])
		}
	}
	at[len(l.Rows)] = len(all.Rows)
	all.Scale, all.Step = ScaleRow, 0
	all.Arrows, all.Brackets, all.States = slices.Clone(l.Arrows), slices.Clone(l.Brackets), slices.Clone(l.States)
	all.Drops, all.Bands, all.Spans = slices.Clone(l.Drops), slices.Clone(l.Bands), slices.Clone(l.Spans)
	all.Notes = slices.Clone(l.Notes)
	for i := range all.Notes {
		all.Notes[i].Rows = slices.Clone(all.Notes[i].Rows)
	}
	all.renumber(at)
	return &all
}

// TestScaleLog: a time has a row more for each ten times that it is longer.
func TestScaleLog(t *testing.T) {
	tl := parseScene(t, "host A 10.0.0.1\nA a one(s) 0..0 = 0\nA a two(s) 0.02..0.02 = 0\nA a three(s) 1.5..1.5 = 0\nA a four(s) 1.501..1.501 = 0")
	l := tl.Ladder(LadderOptions{Scale: ScaleLog})
	var got []string
	spaces := 0
	for i := range l.Rows {
		switch l.Rows[i].Kind {
		case RowSpace:
			spaces++
		case RowMoment:
			got = append(got, fmt.Sprintf("%d %s", spaces, l.Brackets[l.Rows[i].Bracket].Call))
			spaces = 0
		}
	}
	want := []string{"0 one s", "1 two s", "2 three s", "0 four s"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestScaleLinear: rows of time are in proportion, and the step is a round one.
func TestScaleLinear(t *testing.T) {
	tl := parseScene(t, "host A 10.0.0.1\nA a one(s) 0..0 = 0\nA a two(s) 0.02..0.02 = 0\nA a three(s) 0.1..0.1 = 0\nA a four(s) 0.5..0.5 = 0")
	l := tl.Ladder(LadderOptions{Scale: ScaleLinear})
	var got []string
	for i := range l.Rows {
		if l.Rows[i].Kind == RowMoment {
			got = append(got, fmt.Sprintf("%d %s", i, l.Brackets[l.Rows[i].Bracket].Call))
		}
	}
	want := []string{"0 one s", "1 two s", "3 three s", "11 four s"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if l.Step != 50_000 {
		t.Errorf("a row is %d ns", l.Step)
	}
}
