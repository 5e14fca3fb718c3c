package cli

import (
	"flag"
	"slices"
	"strings"
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

// TestLargeRunsScroll: in a large run every key leads to where it leads in a short one. It
// prints how long each takes; -view.events 100000 shows it of as many, and
// BenchmarkViewerScroll measures.
func TestLargeRunsScroll(t *testing.T) {
	tl := largeTimeline(t, *viewEvents)
	begun := time.Now()
	d := newDriver(t, newSceneSource(tl), true, drawOptions{}, 120, 40)
	t.Logf("opened after %v, %d rows", time.Since(begun), len(d.v.shown.l.Rows))
	v := d.v
	atLast := func() bool { return v.at >= v.bodyLength()-3 && v.first == v.bodyLength()-v.room() }
	for _, step := range []struct {
		keys string
		is   func() bool
	}{
		{"j", func() bool { return v.at > 0 && v.first == 0 }},
		{"G", atLast},
		{"pgup", func() bool { return !atLast() && v.first > v.bodyLength()-3*v.room() }},
		{"g", func() bool { return v.first == 0 }},
		{"wheel-down", func() bool { return v.first == wheelLines }},
		{"/ `flags:=syn` enter", func() bool { return len(v.hits) == 2*len(tl.Connections) }},
		{"n", func() bool { return v.isHit(v.rowAt(v.at)) }},
		{"f", func() bool { return len(v.body) > len(tl.Connections) && len(v.body) < len(v.shown.l.Rows) }},
		{"s", func() bool { return v.look.Scale == timeline.ScaleLinear }},
		{"d", func() bool { return strings.Contains(d.screen(), "the run has no other repetition") }},
		{"2", func() bool { return len(v.hits) == 0 && v.body == nil }},
		{"enter", func() bool { return v.panel != nil }},
	} {
		begun := time.Now()
		d.press(t, step.keys)
		v.View()
		t.Logf("%-24s %v", step.keys, time.Since(begun))
		if !step.is() {
			t.Errorf("after %s: line %d of %d, the screen from %d, %d hits\n%s", step.keys, v.at, v.bodyLength(), v.first, len(v.hits), d.screen())
		}
		checkScreen(t, d)
	}
}
