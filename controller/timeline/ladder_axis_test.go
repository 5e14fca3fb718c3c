package timeline

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// drawTimes are rows with any times between them, and folds where a RowQuiet may stand.
func drawTimes(t *rapid.T) *Ladder {
	l := &Ladder{}
	at := rapid.Int64Range(-1e12, 1e12).Draw(t, "begin")
	for range rapid.IntRange(0, 40).Draw(t, "rows") {
		kind := rapid.SampledFrom([]RowKind{RowMoment, RowMoment, RowLabel, RowState, RowQuiet}).Draw(t, "kind")
		after := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(1, 1000), rapid.Int64Range(1, 1e9), rapid.Int64Range(1, 1e13)).Draw(t, "after")
		n := len(l.Rows)
		if kind == RowQuiet && (n == 0 || l.Rows[n-1].Kind == RowQuiet) {
			kind = RowMoment
		}
		if kind == RowMoment {
			at += after
		}
		l.Rows = append(l.Rows, Row{Kind: kind, Lab: at, Lane: -1, Moment: -1, Arrow: -1, Bracket: -1})
	}
	if n := len(l.Rows); n > 0 && l.Rows[n-1].Kind == RowQuiet {
		l.Rows = l.Rows[:n-1]
	}
	return l
}

// TestAxisIsMonotone: on every scale no row is above one of an earlier time, what is later
// is lower, and a place leads back to the time that it is of.
func TestAxisIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawTimes(t)
		for s := ScaleRow; s <= ScaleLog; s++ {
			checkAxis(t, l, l.Axis(s))
		}
	})
}

func checkAxis(t rapid.TB, l *Ladder, a *Axis) {
	t.Helper()
	if len(a.Places) != len(l.Rows) {
		t.Fatalf("%s: %d places for %d rows", a.Scale, len(a.Places), len(l.Rows))
	}
	for i := range a.Places {
		if math.IsNaN(a.Places[i]) || a.Places[i] < 0 || a.Places[i] > a.Length {
			t.Fatalf("%s: row %d is at %v of %v", a.Scale, i, a.Places[i], a.Length)
		}
		if i > 0 && (a.Places[i] < a.Places[i-1] || a.Scale == ScaleRow && a.Places[i] != a.Places[i-1]+1) {
			t.Fatalf("%s: rows %d and %d are at %v and %v", a.Scale, i-1, i, a.Places[i-1], a.Places[i])
		}
	}
	for i := 1; i < len(a.Knots); i++ {
		p, q := &a.Knots[i-1], &a.Knots[i]
		if p.At > q.At || p.Place > q.Place || p.At == q.At && p.Place == q.Place || p.At < q.At && p.Place >= q.Place {
			t.Fatalf("%s: after %+v comes %+v", a.Scale, *p, *q)
		}
	}
	for i := range l.Rows {
		r := &l.Rows[i]
		if r.Kind == RowQuiet {
			continue
		}
		if got := a.Time(a.Places[i]); got != r.Lab {
			t.Fatalf("%s: row %d of time %d stands where it is %d", a.Scale, i, r.Lab, got)
		}
		if got := a.Place(r.Lab); got > a.Places[i] || a.Time(got) != r.Lab {
			t.Fatalf("%s: time %d stands at %v, its row %d at %v", a.Scale, r.Lab, got, i, a.Places[i])
		}
	}
	if n := len(a.Knots); n > 0 {
		first, last := a.Knots[0].At, a.Knots[n-1].At
		before := -1.0
		for k := range int64(50) {
			at := first + int64(float64(last-first)*float64(k)/49)
			place := a.Place(at)
			// A fold, and a logarithm, squeeze much time into little place: doubles have
			// 53 bits.
			if off := a.Time(place) - at; magnitude(off) > 1+(last-first)>>40 {
				t.Fatalf("%s: time %d stands at %v, where it is %d later", a.Scale, at, place, off)
			}
			if place < before {
				t.Fatalf("%s: time %d is above what was before it", a.Scale, at)
			}
			before = place
		}
	}
}

// TestAxisProportions: on the linear scale equal times are equally long, but for folds,
// which all take two rows.
func TestAxisProportions(t *testing.T) {
	l := &Ladder{Rows: []Row{
		{Kind: RowMoment, Lab: 0}, {Kind: RowLabel, Lab: 0}, {Kind: RowMoment, Lab: 100}, {Kind: RowQuiet, Lab: 100},
		{Kind: RowMoment, Lab: 1_000_000}, {Kind: RowMoment, Lab: 1_000_300},
	}}
	for scale, want := range map[Scale]string{
		ScaleRow:    "[0 1 2 3 4 5] 0:0 0:1 100:2… 1000000:4 1000300:5 of 5",
		ScaleLinear: "[0 0 1.5 2.5 3.5 8] 0:0 100:1.5… 1000000:3.5 1000300:8 of 8",
	} {
		a := l.Axis(scale)
		var b strings.Builder
		fmt.Fprint(&b, a.Places)
		for _, k := range a.Knots {
			fmt.Fprintf(&b, " %d:%v", k.At, k.Place)
			if k.Folded {
				b.WriteString("…")
			}
		}
		fmt.Fprintf(&b, " of %v", a.Length)
		if b.String() != want {
			t.Errorf("%s: %s, want %s", scale, b.String(), want)
		}
	}
	a := l.Axis(ScaleLog)
	if slices.ContainsFunc(a.Knots, func(k Knot) bool { return k.Folded }) {
		t.Error("the logarithmic scale folds")
	}
	if near, far := a.Places[2]-a.Places[0], a.Places[4]-a.Places[2]; far <= near || far > 20*near {
		t.Errorf("100 ns are %v long and a millisecond %v", near, far)
	}
}

func TestNamesOfScalesAndZeros(t *testing.T) {
	for s := ScaleRow; s <= ScaleLog; s++ {
		if got, ok := ParseScale(s.String()); got != s || !ok {
			t.Errorf("%q is %v, %v", s, got, ok)
		}
	}
	for z := ZeroConnect; z <= ZeroWall; z++ {
		if got, ok := ParseLadderZero(z.String()); got != z || !ok {
			t.Errorf("%q is %v, %v", z, got, ok)
		}
	}
	if _, ok := ParseScale("time"); ok {
		t.Error("there is no scale called time")
	}
	if _, ok := ParseLadderZero(""); ok {
		t.Error("there is no zero without a name")
	}
}
