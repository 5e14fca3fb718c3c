package timeline

import (
	"strconv"
	"strings"
	"time"

	"syncline/controller/clock"
)

// TimeUnit is the unit of a time column: how many nanoseconds it has.
type TimeUnit int64

// Units of a time column.
const (
	Microseconds TimeUnit = 1_000
	Milliseconds TimeUnit = 1_000_000
	Seconds      TimeUnit = 1_000_000_000
)

// String is the unit's symbol.
func (u TimeUnit) String() string {
	switch u {
	case Microseconds:
		return "µs"
	case Milliseconds:
		return "ms"
	}
	return "s"
}

// chooseUnit takes the unit in which the longest time of the ladder is still short,
// and shows ± where that unit can.
func (b *ladderer) chooseUnit() {
	var longest int64
	for i := range b.l.Rows {
		if r := &b.l.Rows[i]; r.Timed() && r.Kind != RowNote {
			longest = max(longest, magnitude(r.At))
		}
	}
	switch {
	case b.opts.LocalTimes, b.l.Zero == ZeroWall:
		b.l.Unit, b.l.Decimals = Seconds, 6
	case longest < int64(Milliseconds):
		b.l.Unit, b.l.Decimals = Microseconds, 1
	case longest < 100*int64(Seconds):
		b.l.Unit, b.l.Decimals = Milliseconds, 3
	default:
		b.l.Unit, b.l.Decimals = Seconds, 3
	}
	for i := range b.l.Rows {
		r := &b.l.Rows[i]
		r.ShowErr = r.Timed() && r.Kind != RowNote && b.showsErr(r.Lane, r.Err)
	}
}

// showsErr reports whether the ± of a time of a lane is to be shown: two clocks meet in it, and
// the time column can tell it from zero.
func (b *ladderer) showsErr(lane int, err int64) bool {
	return !b.opts.LocalTimes && !b.l.Lanes[lane].Reference && err >= b.l.resolution()
}

// resolution is the smallest time that the time column can tell from zero.
func (l *Ladder) resolution() int64 {
	n := int64(l.Unit)
	for range l.Decimals {
		n /= 10
	}
	return n
}

// Time is a row's time as the time column shows it, and its ±, empty if none is to
// be shown: "20.050", "±.038". With ZeroWall it is the time of the day, UTC, and ± are
// seconds: "14:03:07.020050", "±.000038".
func (l *Ladder) Time(r *Row) (at, err string) {
	at = l.text(r.At)
	if !r.ShowErr {
		return at, ""
	}
	if r.Err >= clock.Unbounded {
		return at, "±?"
	}
	return at, "±" + strings.TrimPrefix(l.number(l.roundUp(r.Err)), "0")
}

// roundUp is an error as the time column can show it. It is never less than it was: what is
// shown holds the truth as well.
func (l *Ladder) roundUp(err int64) int64 {
	return (err + l.resolution() - 1) / l.resolution() * l.resolution()
}

// text writes a time as the time column has it: a number, or a time of the day.
func (l *Ladder) text(ns int64) string {
	if l.Zero == ZeroWall && !l.LocalTimes {
		step := l.resolution()
		return time.Unix(0, l.Wall).Add(time.Duration(ns)).Round(time.Duration(step)).UTC().Format("15:04:05.000000")
	}
	return l.number(ns)
}

// number writes a time in the column's unit, rounded to its decimals.
func (l *Ladder) number(ns int64) string {
	step := l.resolution()
	sign := ""
	if ns < 0 {
		sign, ns = "-", -ns
	}
	n := (ns + step/2) / step
	digits := strconv.FormatInt(n, 10)
	if short := l.Decimals + 1 - len(digits); short > 0 {
		digits = strings.Repeat("0", short) + digits
	}
	return sign + digits[:len(digits)-l.Decimals] + "." + digits[len(digits)-l.Decimals:]
}

// Span is a length of time as people say it: "380 ns", "3.1 µs", "40.14 ms".
func Span(ns int64) string { return spanText(ns) }
