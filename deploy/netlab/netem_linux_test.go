package netlab

import (
	"testing"
	"time"
)

// What netem is told of a delay is never less than the delay, in ticks too, and little more.
func TestNetemIsNeverEarly(t *testing.T) {
	for _, d := range []time.Duration{0, 1, 999, time.Microsecond, 1_001, 1_500, 8_000, 8_001, 333_333, 5 * time.Millisecond, 5*time.Millisecond + 1, MaxDelay} {
		q := netemQdisc(1, Direction{Delay: d, Jitter: d}, DefaultMTU)
		// Of NewNetem: latency and jitter are in ticks.
		const tick = 64 * time.Nanosecond
		if got := time.Duration(q.Latency) * tick; got < d || got > d+3*time.Microsecond {
			t.Errorf("a delay of %v is %v", d, got)
		}
		if got := time.Duration(q.Jitter) * tick; got > d {
			t.Errorf("a jitter of %v is %v", d, got)
		}
	}
}
