package clock

import "testing"

// What is made of a mean rate leaves room for all that is assumed: whole nanoseconds, the
// wander to the far end of the window, and the step.
func TestRatesLeaveRoom(t *testing.T) {
	const second = 1_000_000_000
	s := steadiness{drift: rateOf(200_000), wander: rateOf(1_000), step: rateOf(1_500)}
	places := []place{{at: 0}, {at: second}}
	within := func(name string, got, least, most rate) {
		t.Helper()
		if got < least || got > most {
			t.Errorf("%s: %d, want %d to %d", name, got, least, most)
		}
	}
	for _, window := range []span{{5 * second, 6 * second}, {-5 * second, -4 * second}} {
		tight := &tightening{steadiness: s}
		most, least := s.drift, -s.drift
		tight.narrowWindow(window, places, 0, &most, &least)
		// 5.5 seconds from the middle; two readings cut by up to a nanosecond each, both ends.
		want := rateOf(5_500) + rateOf(1_500) + rateOf(2)
		within("most", most, want-3, want+3)
		within("least", least, -want-3, -want+3)
	}
	// The first window's rate is known, and the others' by it.
	tight := &tightening{steadiness: s}
	most, least := []rate{0, s.drift, s.drift}, []rate{0, -s.drift, -s.drift}
	tight.growth = newGrowth([]Local{0, second, 2 * second, 3 * second}, append(most, 0), append(least, 0))
	tight.spread(0, 3, most, least)
	for k, seconds := range []uint64{0, 1, 2} {
		want := rate(0)
		if k > 0 {
			want = rateOf(seconds*1_000 + 1_500)
		}
		within("most of a neighbour", most[k], want-3, want+3)
		within("least of a neighbour", least[k], -want-3, -want+3)
	}
}
