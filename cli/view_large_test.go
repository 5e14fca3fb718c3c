package cli

import (
	"flag"
	"slices"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"syncline/controller/clock"
	"syncline/controller/timeline"
)

// largeTimeline has about so many events: one connection after another.
func largeTimeline(t testing.TB, events int) *timeline.Timeline {
	t.Helper()
	one := parseScene(t, `host A 10.0.0.1
host B 10.0.0.2 ±0.038
A client connect(c, B:8080) 0..0.5 = 0
A>B SYN 0.01..0.2
B>A SYN+ACK 0.21..0.4
A>B ACK 0.45..0.6
`)
	all := *one
	all.Moments, all.Connections = nil, nil
	for n := range events / len(one.Moments) {
		later := int64(n) * int64(timeline.Milliseconds)
		offset := len(all.Moments)
		copies := make(map[*timeline.Event]*timeline.Event)
		for _, m := range one.Moments {
			e := copies[m.Event]
			if e == nil {
				other := *m.Event
				other.At += clock.Local(later)
				if other.Call != nil {
					call := *other.Call
					call.Return += clock.Local(later)
					other.Call = &call
				}
				e = &other
				copies[m.Event] = e
			}
			m.Event, m.Local, m.Stamp.At = e, m.Local+clock.Local(later), m.Stamp.At+clock.Lab(later)
			if m.Connection >= 0 {
				m.Connection = n
			}
			all.Moments = append(all.Moments, m)
		}
		c := one.Connections[0]
		c.Segments = slices.Clone(c.Segments)
		for i := range c.Segments {
			c.Segments[i].Departure += offset
			c.Segments[i].Arrival += offset
		}
		all.Connections = append(all.Connections, c)
	}
	return &all
}

var viewEvents = flag.Int("view.events", 20_000, "how many events the large run of TestLargeRunsScroll has")

// BenchmarkViewerScroll draws the next screen of a large run.
func BenchmarkViewerScroll(b *testing.B) {
	d := newDriver(b, newSceneSource(largeTimeline(b, 100_000)), false, drawOptions{Colour: true}, 120, 40)
	b.ResetTimer()
	for range b.N {
		d.send(tea.MouseWheelMsg{Button: tea.MouseWheelDown})
		d.v.View()
	}
}

// TestLargeRunsScroll: a screen takes about as long as in a short run, and what goes through
// all events takes little. -view.events 100000 shows it of as many.
func TestLargeRunsScroll(t *testing.T) {
	tl := largeTimeline(t, *viewEvents)
	begun := time.Now()
	d := newDriver(t, newSceneSource(tl), true, drawOptions{}, 120, 40)
	t.Logf("opened after %v, %d rows", time.Since(begun), len(d.v.shown.l.Rows))
	for _, step := range []struct {
		keys  string
		limit time.Duration
	}{
		{"j", 50 * time.Millisecond}, {"G", 50 * time.Millisecond}, {"pgup", 50 * time.Millisecond}, {"g", 50 * time.Millisecond},
		{"wheel-down", 50 * time.Millisecond}, {"/ `flags:=syn` enter", 3 * time.Second}, {"n", 50 * time.Millisecond}, {"f", 3 * time.Second},
		{"s", 3 * time.Second}, {"d", time.Second}, {"2", 3 * time.Second}, {"enter", 3 * time.Second},
	} {
		begun := time.Now()
		d.press(t, step.keys)
		d.v.View()
		took := time.Since(begun)
		t.Logf("%-24s %v", step.keys, took)
		if took > step.limit*slowness {
			t.Errorf("%s takes %v, more than %v", step.keys, took, step.limit*slowness)
		}
	}
}

// slowness is how much longer things may take on a busy machine, and with the race detector.
const slowness = 20
