package web

import (
	"testing"

	"pgregory.net/rapid"
)

// TestLabelsStandApart: no label of a column stands over another, they are in the order of
// their marks, and one that touches no other stands at its mark.
func TestLabelsStandApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		places := rapid.SliceOfN(rapid.Float64Range(0, 50), 1, 30).Draw(t, "places")
		d := &drawing{top: 100}
		var column []*label
		for _, p := range places {
			column = append(column, &label{place: p})
		}
		d.spread(column)
		if column[0].y < d.top {
			t.Fatalf("the first label stands at %v, above the ladder", column[0].y)
		}
		for i, lb := range column {
			if i > 0 && (lb.place < column[i-1].place || lb.y < column[i-1].y+lineHeight-1e-6) {
				t.Fatalf("label %d at %v (%v) stands over the one at %v (%v)", i, lb.y, lb.place, column[i-1].y, column[i-1].place)
			}
			alone := (i == 0 || d.y(lb.place) >= column[i-1].y+lineHeight) && (i == len(column)-1 || d.y(column[i+1].place) >= d.y(lb.place)+lineHeight &&
				column[i+1].y >= d.y(lb.place)+lineHeight)
			if alone && lb.y != d.y(lb.place) {
				t.Fatalf("label %d stands at %v, its mark at %v, and nothing is near", i, lb.y, d.y(lb.place))
			}
		}
	})
}
