package clock

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func mustTest(t interface{ Fatal(...any) }, text string) *Test {
	c, err := ParseTest(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// uptime is a moment of CLOCK_MONOTONIC: up to three years.
func uptime(t *rapid.T) int64 { return rapid.Int64Range(0, 1e17).Draw(t, "uptime") }

// drawTest draws a test clock, of any rate that is allowed.
func drawTest(t *rapid.T) *Test {
	c := &Test{
		offset: rapid.Int64Range(-int64(MaxTestOffset), int64(MaxTestOffset)).Draw(t, "offset"),
		rate:   rapid.Int64Range(-MaxTestRate*perPPM, MaxTestRate*perPPM).Draw(t, "rate"),
	}
	if rapid.Bool().Draw(t, "wanders") {
		c.period = rapid.Int64Range(int64(MinTestPeriod), int64(MaxTestPeriod)).Draw(t, "period")
		// As much as its slope allows.
		left := min(MaxTestRate*perPPM, MaxTestRates*perPPM-abs(c.rate), int64(float64(c.period)/1e9*perPPM/(2*math.Pi)))
		c.wander = rapid.Int64Range(-left, left).Draw(t, "wander")
	}
	return c
}

func TestTestClockAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, host := drawTest(t), uptime(t)
		shown := c.Monotonic(host)
		if back := c.HostMonotonic(shown); abs(back-host) > 1 {
			t.Fatalf("%v: %d became %d, and back %d", c, host, shown, back)
		}
		if back := c.HostMonotonic(host); abs(c.Monotonic(back)-host) > 1 {
			t.Fatalf("%v: %d is shown at %d, which is %d", c, host, back, c.Monotonic(back))
		}
	})
}

func TestTestClockNeverGoesBackwards(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, host := drawTest(t), uptime(t)
		last := c.Monotonic(host)
		for i := range int64(200) {
			at := c.Monotonic(host + i)
			if at < last {
				t.Fatalf("%v: %d after %d, within a nanosecond", c, at, last)
			}
			last = at
		}
	})
}

func TestTestClockGoesAtItsRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, host := drawTest(t), uptime(t)
		elapsed := rapid.Int64Range(1e6, 1e12).Draw(t, "elapsed")
		gained := c.Monotonic(host+elapsed) - c.Monotonic(host) - elapsed
		straight := float64(c.rate) / 1e12 * float64(elapsed)
		// The most that a wander can bring: its amplitude all the time, and half a turn.
		most := math.Abs(float64(c.wander)) / 1e12 * min(float64(elapsed), float64(c.period)/math.Pi)
		if math.Abs(float64(gained)-straight) > most+2 {
			t.Fatalf("%v: gained %d ns in %d, want %.1f ± %.1f", c, gained, elapsed, straight, most)
		}
	})
}

func TestTestClockWanders(t *testing.T) {
	c := mustTest(t, "wander=1ppm/20s")
	for _, w := range []struct{ host, shown int64 }{
		{0, 0},
		// A quarter of a turn, A·P/2π; half of it, twice that; all of it, nothing.
		{5e9, 5e9 + 3183},
		{10e9, 10e9 + 6366},
		{20e9, 20e9},
		{1000e9 + 10e9, 1000e9 + 10e9 + 6366},
	} {
		if got := c.Monotonic(w.host); got != w.shown {
			t.Errorf("at %d the clock shows %d, want %d", w.host, got, w.shown)
		}
	}
}

func TestTestClockOfAnyNumber(t *testing.T) {
	for _, text := range []string{"offset=100000h,ppm=100", "offset=-100000h,ppm=-100", "wander=100ppm/24h,ppm=5", "ppm=0.000001"} {
		c := mustTest(t, text)
		for _, n := range []int64{math.MinInt64, -farthest, -1, 0, 1, farthest, math.MaxInt64} {
			// A number from outside must not make it hang or panic.
			c.Monotonic(n)
			c.HostMonotonic(n)
		}
	}
}

func TestNoTestClock(t *testing.T) {
	var c *Test
	if c.Monotonic(7) != 7 || c.HostMonotonic(7) != 7 || c.Realtime(7) != 7 || c.String() != "" || c.Started(7) != nil {
		t.Error("a nil test clock is not the host's own")
	}
	before := Now()
	if s := c.Read(); s.Monotonic+s.Err < before {
		t.Errorf("read %+v after %d", s, before)
	}
}

func TestTestClockSteps(t *testing.T) {
	parsed := mustTest(t, "step=-1h@30s,step=1ms@10s,step=1s@30s")
	const start = 1_700_000_000_000_000_000
	if got := parsed.Realtime(start + 1e12); got != start+1e12 {
		t.Errorf("a clock that was not started stepped by %d", got-start-1e12)
	}
	c := parsed.Started(start)
	for _, w := range []struct{ after, by int64 }{
		{-1, 0},
		{10e9 - 1, 0},
		{10e9, 1e6},
		{30e9 - 1, 1e6},
		{30e9, 1e6 + 1e9 - int64(time.Hour)},
	} {
		if by := c.Realtime(start+w.after) - start - w.after; by != w.by {
			t.Errorf("%d ns after the start the clock had stepped by %d, want %d", w.after, by, w.by)
		}
	}
	if got := c.Monotonic(123); got != 123 {
		t.Errorf("a step of CLOCK_REALTIME moved CLOCK_MONOTONIC to %d", got)
	}
}

func TestTestClockAsText(t *testing.T) {
	for text, want := range map[string]string{
		"offset=1s,ppm=100,wander=1ppm/20s,step=1ms@10s": "offset=1s,ppm=100,wander=1ppm/20s,step=1ms@10s",
		"ppm=+1e2,offset=+1000ms":                        "offset=1s,ppm=100",
		"step=1s@20s,step=-1h@10s":                       "step=-1h@10s,step=1s@20s",
		"offset=-1h30m,wander=-0.5ppm/1m":                "offset=-1h30m,wander=-0.5ppm/1m",
		"offset=90m1s":                                   "offset=1h30m1s",
		"ppm=-0.000001":                                  "ppm=-0.000001",
		"offset=0s":                                      "offset=0s",
		"ppm=0,wander=0ppm/20s":                          "offset=0s",
	} {
		if got := mustTest(t, text).String(); got != want {
			t.Errorf("%s reads %s, want %s", text, got, want)
		}
	}
}

func TestNoSuchTestClock(t *testing.T) {
	for text, want := range map[string]string{
		"":                      `"" is not KEY=VALUE; write it as in offset=1s`,
		"offset":                `"offset" is not KEY=VALUE`,
		"offset=1s,":            `"" is not KEY=VALUE`,
		"offset=1":              `"1" is no duration`,
		"offset=100001h":        "at most 100000h either way",
		"offset=1s,offset=2s":   "offset is there twice",
		"ppm=fast":              `"fast" is no number`,
		"ppm=NaN":               "at most 100 ppm either way",
		"ppm=-Inf":              "at most 100 ppm either way",
		"ppm=99,wander=7ppm/1m": "up to 106 ppm off; at most 105",
		"wander=4ppm/20s":       "changes by up to 1.26 ppm a second; at most 1",
		"wander=1ppm":           "write the amplitude and the period, as in 1ppm/20s",
		"wander=1/20s":          "write the amplitude and the period",
		"wander=1ppm/1ms":       "the period is at least 10ms",
		"wander=1ppm/-20s":      "the period is at least 10ms",
		"wander=1ppm/48h":       "at most 24h either way",
		"step=1ms":              "write how far and when, as in 1ms@10s",
		"step=0s@1s":            "a step of nothing",
		"step=1s@-1s":           "comes after the agent's start",
		"step=1s@721h":          "at most 720h",
		strings.Repeat(",step=-99999h59m59.999999999s@719h59m59.999999999s", 12)[1:]: "written out it has 599 bytes; at most 512",
		"jitter=1ms":                          `no part is called "jitter"; there are offset, ppm, wander and step`,
		strings.Repeat(",step=1s@1s", 17)[1:]: "more than 16 steps",
	} {
		if _, err := ParseTest(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", text, err, want)
		}
	}
}

func FuzzParseTest(f *testing.F) {
	for _, seed := range []string{"offset=1s,ppm=100,wander=1ppm/20s,step=1ms@10s", "step=-1h@0s", "wander=1e-7ppm/10ms", "offset=", "=", "ppm=0x1p3"} {
		f.Add(seed, int64(1e15))
	}
	f.Fuzz(func(t *testing.T, text string, host int64) {
		c, err := ParseTest(text)
		if err != nil {
			return
		}
		again, err := ParseTest(c.String())
		if err != nil || again.String() != c.String() {
			t.Fatalf("%q reads %s, and that reads %v (%v)", text, c, again, err)
		}
		if a, b := c.Monotonic(host), again.Monotonic(host); a != b {
			t.Fatalf("%q shows %d, and as %s it shows %d", text, a, c, b)
		}
		if host = min(max(host, -farthest/2), farthest/2); abs(c.HostMonotonic(c.Monotonic(host))-host) > 1 {
			t.Fatalf("%q: %d came back as %d", text, host, c.HostMonotonic(c.Monotonic(host)))
		}
	})
}

func BenchmarkTestMonotonic(b *testing.B) {
	c := mustTest(b, "offset=1s,ppm=100,wander=1ppm/20s")
	for b.Loop() {
		c.Monotonic(123_456_789_012_345)
	}
}
