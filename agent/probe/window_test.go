package probe

import (
	"testing"

	"pgregory.net/rapid"
)

// A number passes once, and not at all when it is too old to tell.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		seen, newest := map[uint64]bool{}, uint64(0)
		at := rapid.Uint64Range(1, 1<<40).Draw(t, "first")
		for range rapid.IntRange(1, 300).Draw(t, "numbers") {
			step := rapid.OneOf(rapid.Int64Range(-8, 8), rapid.Int64Range(-2*windowSize, 2*windowSize)).Draw(t, "step")
			at = uint64(max(int64(at)+step, 1))
			want := !seen[at] && (at > newest || newest-at < windowSize)
			if got := w.take(at); got != want {
				t.Fatalf("%d after %d: %t, want %t", at, newest, got, want)
			}
			seen[at], newest = true, max(newest, at)
		}
	})
}

// A peer gets through what it is to ask, however its clock goes within reason, and a flood
// gets no more than twice that and the burst.
func TestBucket(t *testing.T) {
	const second = int64(1e9)
	for _, rate := range []int{1, 10, MaxRate} {
		b := newBucket(rate, 16)
		now := second
		for i := range 60 * rate {
			if !b.take(now) {
				t.Fatalf("rate %d: exchange %d on the beat is refused", rate, i)
			}
			now += second * 10 / int64(11*rate) // a tenth too fast
		}
		passed := 0
		for range 100_000 {
			now += second / 10_000
			if b.take(now) {
				passed++
			}
		}
		if most := 10*2*rate + 16; passed > most || passed < most-17 {
			t.Errorf("rate %d: %d of a flood of ten seconds pass, want some %d", rate, passed, most)
		}
	}
}
