package statistics

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func lengths(ns ...int64) []Length {
	all := make([]Length, len(ns))
	for i, n := range ns {
		all[i].Nanoseconds = n
	}
	return all
}

func upTo(n int64) []Length {
	var all []Length
	for i := range n {
		all = append(all, Length{Nanoseconds: i + 1})
	}
	return all
}

func TestSummarize(t *testing.T) {
	s := Summarize(upTo(100))
	want := Summary{N: 100, Min: 1, Max: 100, Median: 50, P90: 90, P99: 99, MedianLow: 40, MedianHigh: 60, HasInterval: true}
	if s.MedianLow < 39 || s.MedianLow > 41 || s.MedianHigh < 59 || s.MedianHigh > 62 {
		t.Errorf("the median of 1 to 100 is said to be in %d to %d", s.MedianLow, s.MedianHigh)
	}
	want.MedianLow, want.MedianHigh = s.MedianLow, s.MedianHigh
	if s.N != want.N || s.Min != want.Min || s.Max != want.Max || s.Median != want.Median || s.P90 != want.P90 || s.P99 != want.P99 || !s.HasInterval {
		t.Errorf("got %+v, want %+v", s, want)
	}
	if s := Summarize(nil); s.N != 0 || s.HasInterval {
		t.Errorf("nothing is summarized as %+v", s)
	}
	s = Summarize([]Length{{5, 2}, {7, 9}})
	if s.HasInterval || len(s.Warnings) != 1 || s.Err != 9 || s.Median != 6 || s.P90 != 7 {
		t.Errorf("two lengths are summarized as %+v", s)
	}
}

// TestMedianIntervalHolds draws samples of a distribution whose median is known.
func TestMedianIntervalHolds(t *testing.T) {
	missed := 0
	const draws = 400
	for seed := range draws {
		var all []Length
		x := uint64(seed)*7919 + 1
		for range 25 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			all = append(all, Length{Nanoseconds: int64(x % 1_000_000)})
		}
		if s := Summarize(all); s.MedianLow > 500_000 || s.MedianHigh < 500_000 {
			missed++
		}
	}
	if missed > draws*8/100 || missed == 0 {
		t.Errorf("the interval missed the median in %d of %d samples, want about 5 %%", missed, draws)
	}
}

func TestCompare(t *testing.T) {
	base := upTo(50)
	moved := make([]Length, len(base))
	for i, l := range base {
		moved[i].Nanoseconds = l.Nanoseconds + 30
	}
	c := Compare(base, moved)
	if c.Shift != 30 || c.P > 1e-6 || !c.HasInterval || c.ShiftLow > 30 || c.ShiftHigh < 30 || c.Longer < 0.9 || c.Ruling(0) != Changed {
		t.Errorf("a shift of 30 is told as %+v, ruling %d", c, c.Ruling(0))
	}
	if got := c.Ruling(2); got != Alike {
		t.Errorf("a shift below the threshold is ruled %d", got)
	}
	c.Err = 30
	if got := c.Ruling(0); got != WithinError {
		t.Errorf("a shift within ± is ruled %d", got)
	}
	if c := Compare(base, base); c.Shift != 0 || c.P < 0.9 || c.Longer != 0.5 || c.Ruling(0) != Alike {
		t.Errorf("a sample differs from itself: %+v", c)
	}
	c = Compare(lengths(1, 1, 1, 1), lengths(1, 1, 1, 1))
	if c.P != 1 || c.Ruling(0) != Alike || len(c.Warnings) == 0 {
		t.Errorf("equal samples are told as %+v", c)
	}
	if c := Compare(lengths(1, 2, 3), lengths(100, 200, 300)); c.Ruling(0) != TooFew || c.HasInterval || len(c.Warnings) == 0 {
		t.Errorf("three against three are told as %+v", c)
	}
	if c := Compare(lengths(1, 2, 3, 4), lengths(100, 200, 300, 400)); c.Ruling(0) != Changed {
		t.Errorf("four against four, all apart, are told as %+v", c)
	}
}

// TestBound holds the ranks against tables of the Mann-Whitney distribution: the critical
// values of U at 0.05, two-sided, of Mann and Whitney's table, plus one.
func TestBound(t *testing.T) {
	for _, w := range []struct{ n, m, u int }{{4, 4, 0}, {5, 5, 2}, {6, 6, 5}, {8, 8, 13}, {10, 10, 23}, {15, 15, 64}, {20, 20, 127}, {5, 20, 20}} {
		d := differences{make([]int64, w.n), make([]int64, w.m)}
		if got := d.bound(); got != w.u+1 {
			t.Errorf("bound of %d and %d is %d, want %d", w.n, w.m, got, w.u+1)
		}
	}
	d := differences{make([]int64, 3), make([]int64, 3)}
	if got := d.bound(); got != 0 {
		t.Errorf("bound of 3 and 3 is %d, want none", got)
	}
	// Where both are counted and approximated they are near each other.
	n, m := 30, 25
	if approx := int(float64(n*m)/2 - 1.959964*math.Sqrt(float64(n*m*(n+m+1))/12)); max(approx-exactBound(n, m), exactBound(n, m)-approx) > 2 {
		t.Errorf("counted %d, approximated %d", exactBound(n, m), approx)
	}
}

// TestDifferences holds what is counted of differences against their list.
func TestDifferences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.Int64Range(-20, 20)
		d := differences{
			rapid.SliceOfN(value, 1, 12).Draw(t, "from"),
			rapid.SliceOfN(value, 1, 12).Draw(t, "to"),
		}
		slices.Sort(d.from)
		slices.Sort(d.to)
		var all []int64
		above := 0.0
		for _, f := range d.from {
			for _, x := range d.to {
				all = append(all, x-f)
				switch {
				case x > f:
					above++
				case x == f:
					above += 0.5
				}
			}
		}
		slices.Sort(all)
		for i, want := range all {
			if got := d.nth(i + 1); got != want {
				t.Fatalf("difference %d is %d, want %d", i+1, got, want)
			}
		}
		if got, want := d.median(), middle(all); got != want {
			t.Fatalf("median %d, want %d", got, want)
		}
		if got, want := d.longer(), above/float64(len(all)); math.Abs(got-want) > 1e-12 {
			t.Fatalf("longer %v, want %v", got, want)
		}
	})
}

// TestComparisonTurns makes sure that exchanging the samples turns everything around.
func TestComparisonTurns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) []Length {
			return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Length {
				return Length{rapid.Int64Range(0, 1000).Draw(t, "ns"), rapid.Int64Range(0, 50).Draw(t, "err")}
			}), 1, 60).Draw(t, name)
		}
		a, b := draw("a"), draw("b")
		there, back := Compare(a, b), Compare(b, a)
		if there.Shift+back.Shift < -1 || there.Shift+back.Shift > 1 || math.Abs(there.Longer+back.Longer-1) > 1e-9 || there.Err != back.Err || math.Abs(there.P-back.P) > 1e-9 {
			t.Fatalf("there %+v\nback %+v", there, back)
		}
		if there.HasInterval != back.HasInterval || there.HasInterval && (there.ShiftLow != -back.ShiftHigh || there.ShiftHigh != -back.ShiftLow || there.ShiftLow > there.Shift || there.ShiftHigh < there.Shift) {
			t.Fatalf("interval there %+v\nback %+v", there, back)
		}
	})
}

// TestAdjustFindsTooFew compares many at once: four against four, all apart, can tell a
// difference alone and not among 22.
func TestAdjustFindsTooFew(t *testing.T) {
	for _, test := range []struct {
		n, tests int
		want     Ruling
	}{{4, 1, Changed}, {4, 2, TooFew}, {4, 22, TooFew}, {5, 22, TooFew}, {6, 22, Changed}, {20, 22, Changed}} {
		var all []*Comparison
		for range test.tests {
			low, high := upTo(int64(test.n)), upTo(int64(test.n))
			for i := range high {
				high[i].Nanoseconds += 1000
			}
			c := Compare(low, high)
			all = append(all, &c)
		}
		Adjust(all)
		for _, c := range all {
			if got := c.Ruling(0); got != test.want {
				t.Errorf("%d against %d, one of %d: ruling %d, want %d (p %v, least %v)", test.n, test.n, test.tests, got, test.want, c.P, c.Least)
				break
			}
		}
	}
	// What the others leave over is enough: three are told apart by many repetitions each, and
	// the fourth is then the only one in question.
	var all []*Comparison
	for range 3 {
		c := Compare(upTo(50), lengths(1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008))
		all = append(all, &c)
	}
	c := Compare(upTo(4), lengths(100, 200, 300, 400))
	all = append(all, &c)
	if Adjust(all); c.Ruling(0) != Changed {
		t.Errorf("the last in question is told as %+v", c)
	}
}

func TestHolm(t *testing.T) {
	got := Holm([]float64{0.01, 0.04, 0.03, 0.005})
	want := []float64{0.03, 0.06, 0.06, 0.02}
	for i := range want {
		if math.Abs(got[i]-want[i]) > 1e-12 {
			t.Errorf("got %v, want %v", got, want)
			break
		}
	}
	if got := Holm(nil); len(got) != 0 {
		t.Errorf("none adjusted are %v", got)
	}
}

func TestFisher(t *testing.T) {
	// The lady tasting tea, Fisher 1935: 3 of 4 right by chance.
	if got := Fisher(3, 4, 1, 4); math.Abs(got-0.4857142857) > 1e-9 {
		t.Errorf("got %v", got)
	}
	if got := Fisher(50, 50, 48, 50); math.Abs(got-0.4949494949) > 1e-6 {
		t.Errorf("two of fifty: %v", got)
	}
	if got := Fisher(10, 10, 0, 10); got > 1.1e-5 || got < 1.0e-5 {
		t.Errorf("none and all: %v", got)
	}
	if got := Fisher(5, 5, 5, 5); math.Abs(got-1) > 1e-12 {
		t.Errorf("the same: %v", got)
	}
}

func TestSpread(t *testing.T) {
	if median, deviation := Spread([]int64{1, 2, 3, 4, 100}); median != 3 || math.Abs(deviation-1.4826) > 1e-9 {
		t.Errorf("median %d, deviation %v", median, deviation)
	}
	if median, deviation := Spread(nil); median != 0 || deviation != 0 {
		t.Errorf("none: %d, %v", median, deviation)
	}
}

func BenchmarkCompareThousands(b *testing.B) {
	x := uint64(1)
	draw := func() []Length {
		var all []Length
		for range 1000 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			all = append(all, Length{Nanoseconds: int64(x % 1_000_000)})
		}
		return all
	}
	one, other := draw(), draw()
	for b.Loop() {
		Compare(one, other)
	}
}
