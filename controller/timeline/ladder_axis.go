package timeline

import (
	"math"
	"sort"
)

// Scale says how the time of a ladder becomes a place on it.
type Scale int

// Scales.
const (
	// ScaleRow gives each row the same height, whatever the time between them.
	ScaleRow Scale = iota
	// ScaleLinear gives equal times equal lengths; quiet times are folded.
	ScaleLinear
	// ScaleLog gives the time between two rows the logarithm of its length, so that
	// microseconds and seconds are both seen. Nothing is folded.
	ScaleLog
)

// String is the scale as a person asks for it: "row", "linear", "log".
func (s Scale) String() string {
	switch s {
	case ScaleLinear:
		return "linear"
	case ScaleLog:
		return "log"
	}
	return "row"
}

// ParseScale is the scale of a name that String gives; ok is false for any other.
func ParseScale(name string) (s Scale, ok bool) {
	for s := ScaleRow; s <= ScaleLog; s++ {
		if s.String() == name {
			return s, true
		}
	}
	return ScaleRow, false
}

// Axis maps the lab's time to a place along a ladder and back. A place is a length from
// its top, in heights of a row: on every scale a ladder of n rows is about n high, so
// that a renderer needs one factor. It is monotone: what is later is never above.
//
// Between two knots the place grows evenly with time. Several moments of one time may have
// different places (ScaleRow always gives them), so two knots may be of one time; no two
// with different times are of one place.
type Axis struct {
	Scale Scale
	// Knots in order of time and of place; empty if no row has a time.
	Knots []Knot
	// Places are those of Ladder.Rows. A row without a time of its own stands where its
	// neighbour does, but on ScaleRow, where each has its own.
	Places []float64
	// Length is the place of the end.
	Length float64
}

// Knot is a time and its place.
type Knot struct {
	// At is nanoseconds of lab time since the timeline's Zero, as Row.Lab.
	At int64
	// Place is in heights of a row.
	Place float64
	// Folded is true if the time up to the next knot is longer than its place shows: a
	// break mark belongs there.
	Folded bool
}

// foldHeight is the place of a time that is folded, in heights of a row.
const foldHeight = 2

// logFrom is the time, in nanoseconds, up to which ScaleLog is about linear: nothing
// that a lab measures is much shorter.
const logFrom = 100

// Axis lays the ladder's time out on a scale, whatever scale the ladder itself was laid
// out for. It only reads the ladder.
func (l *Ladder) Axis(s Scale) *Axis {
	a := &Axis{Scale: s, Places: make([]float64, len(l.Rows))}
	steps := l.steps(s)
	before, quiet := -1, false
	for i := range l.Rows {
		r := &l.Rows[i]
		if i > 0 {
			a.Places[i] = a.Places[i-1] + steps[i]
		}
		if r.Kind == RowQuiet {
			quiet = true
			continue
		}
		if before >= 0 && quiet && s != ScaleLog && r.Lab > l.Rows[before].Lab {
			a.Knots[len(a.Knots)-1].Folded = true
		}
		a.add(Knot{At: r.Lab, Place: a.Places[i]})
		before, quiet = i, false
	}
	if n := len(a.Places); n > 0 {
		a.Length = a.Places[n-1]
	}
	return a
}

// add puts a knot behind the others. Of several of one time the first and the last are
// enough.
func (a *Axis) add(k Knot) {
	n := len(a.Knots)
	switch {
	case n > 0 && a.Knots[n-1].At == k.At && a.Knots[n-1].Place == k.Place:
	case n > 1 && a.Knots[n-1].At == k.At && a.Knots[n-2].At == k.At:
		a.Knots[n-1] = k
	default:
		a.Knots = append(a.Knots, k)
	}
}

// steps are how far each row is below the one above it.
func (l *Ladder) steps(s Scale) []float64 {
	steps := make([]float64, len(l.Rows))
	if s == ScaleRow {
		for i := 1; i < len(steps); i++ {
			steps[i] = 1
		}
		return steps
	}
	total, before := 0.0, -1
	for i := range l.Rows {
		if l.Rows[i].Kind == RowQuiet {
			continue
		}
		if before >= 0 {
			steps[i] = weight(s, l.Rows[i].Lab-l.Rows[before].Lab)
			if i-before > 1 && s == ScaleLinear {
				// It is folded.
				steps[i] = 0
			}
		}
		total += steps[i]
		before = i
	}
	unit := 1.0
	if total > 0 {
		unit = float64(len(l.Rows)) / total
	}
	before = -1
	for i := range l.Rows {
		if l.Rows[i].Kind == RowQuiet {
			continue
		}
		if before >= 0 && i-before > 1 && s == ScaleLinear && l.Rows[i].Lab > l.Rows[before].Lab {
			steps[before+1], steps[i] = foldHeight/2.0, foldHeight/2.0
		} else {
			steps[i] *= unit
			halve(steps, before, i)
		}
		before = i
	}
	return steps
}

// halve puts what stands between two rows in the middle of them.
func halve(steps []float64, before, i int) {
	if n := i - before; before >= 0 && n > 1 {
		steps[before+1], steps[i] = steps[i]/2, steps[i]/2
	}
}

// weight is the length of a time on a scale, in a unit of its own.
func weight(s Scale, ns int64) float64 {
	if s == ScaleLog {
		return math.Log10(1 + float64(ns)/logFrom)
	}
	return float64(ns)
}

// Place is where a lab time stands, in heights of a row; of a time with several places it
// is the first. What is before the first knot or after the last stands there.
func (a *Axis) Place(at int64) float64 {
	n := sort.Search(len(a.Knots), func(i int) bool { return a.Knots[i].At >= at })
	switch {
	case len(a.Knots) == 0:
		return 0
	case n == 0:
		return a.Knots[0].Place
	case n == len(a.Knots):
		return a.Knots[n-1].Place
	}
	p, q := &a.Knots[n-1], &a.Knots[n]
	if q.At == at {
		return q.Place
	}
	return p.Place + (q.Place-p.Place)*float64(at-p.At)/float64(q.At-p.At)
}

// Time is the lab time at a place, to the nanosecond nearest to it.
func (a *Axis) Time(place float64) int64 {
	n := sort.Search(len(a.Knots), func(i int) bool { return a.Knots[i].Place >= place })
	switch {
	case len(a.Knots) == 0:
		return 0
	case n == 0:
		return a.Knots[0].At
	case n == len(a.Knots):
		return a.Knots[n-1].At
	}
	p, q := &a.Knots[n-1], &a.Knots[n]
	if q.Place == place {
		return q.At
	}
	part := (place - p.Place) / (q.Place - p.Place)
	return p.At + int64(math.Round(part*float64(q.At-p.At)))
}
