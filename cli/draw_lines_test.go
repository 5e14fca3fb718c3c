package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"syncline/controller/timeline"
)

// TestPartsAreDrawnAsTheWhole: any part of a drawing is the same as in a drawing of all
// of it, and each row has a line of its own.
func TestPartsAreDrawnAsTheWhole(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		scene := drawScene(rt)
		o := drawOptions{Width: rapid.IntRange(40, 160).Draw(rt, "width"), ASCII: rapid.Bool().Draw(rt, "ascii")}
		l := parseScene(t, scene).Ladder(timeline.LadderOptions{Scale: timeline.Scale(rapid.IntRange(0, 2).Draw(rt, "scale")), Notes: rapid.Bool().Draw(rt, "notes")})
		d := newRendering(l, o)
		whole := d.lines(0, d.height())
		first := rapid.IntRange(0, d.height()).Draw(rt, "first")
		end := rapid.IntRange(first, d.height()).Draw(rt, "end")
		want := whole[first:end]
		if len(want) == 0 {
			want = nil
		}
		if diff := cmp.Diff(want, d.lines(first, end), cmp.AllowUnexported(run{})); diff != "" {
			rt.Fatalf("lines %d to %d (-of the whole +alone):\n%s\nscene:\n%s", first, end, diff, scene)
		}
		if d.empty() {
			return
		}
		for y := d.top(); y < d.height(); y++ {
			if signed := whole[y].sign(d.signColumn(), "@", plain); cmp.Equal(signed, whole[y], cmp.AllowUnexported(run{})) {
				rt.Fatalf("line %d has something in column %d: %q\nscene:\n%s", y, d.signColumn(), whole[y].paint(o), scene)
			}
		}
		for y := d.top(); y < d.height(); y++ {
			if got := d.lineOf(d.rowOf(y)); got != y {
				rt.Fatalf("line %d has row %d, which is on line %d", y, d.rowOf(y), got)
			}
		}
		for row := range l.Rows {
			y := d.lineOf(row)
			if got := d.rowOf(y); got != row && (d.drawn() || isListed(&l.Rows[row])) {
				rt.Fatalf("row %d is on line %d, which has row %d", row, y, got)
			}
		}
	})
}
