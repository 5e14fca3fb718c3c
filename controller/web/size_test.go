package web_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"

	"syncline/controller/clock"
	"syncline/controller/timeline"
	"syncline/controller/web"
)

// repeated makes a page of many repetitions out of one: each with times of its own, since
// what is the same each time would pack better than any run does.
func repeated(t testing.TB, name string, repetitions int) (page []byte, moments int) {
	t.Helper()
	tl := *recorded(t, name)
	own := tl.Moments
	random := rand.New(rand.NewPCG(1, 2))
	p := web.New("", "", "", make([]web.Run, 1))
	for n := range repetitions {
		tl.Repetition = n + 1
		tl.Moments = make([]timeline.Moment, len(own))
		shift := clock.Local(0)
		for i, m := range own {
			shift += clock.Local(random.IntN(20_000))
			m.Local += shift
			m.Stamp.At += clock.Lab(shift)
			m.Stamp.Err += int64(random.IntN(500))
			tl.Moments[i] = m
		}
		r := web.NewRepetition(&tl)
		events := make([]json.RawMessage, len(own))
		for i, m := range tl.Moments {
			text, err := json.Marshal(map[string]any{"number": n*len(own) + i, "time_ns": int64(m.Local), "event": m.Event.Number})
			if err != nil {
				t.Fatal(err)
			}
			events[i] = text
		}
		if err := p.Add(0, web.Overview{N: n + 1, Ruling: r.Ruling, Moments: len(own)}, r, events); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := web.Write(&b, p); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), repetitions * len(own)
}

// TestPageIsSmall: a page of 200 repetitions of an ordinary connection can be sent by mail.
func TestPageIsSmall(t *testing.T) {
	const most = 3_000_000
	if page, moments := repeated(t, "basic-open-close", 200); len(page) > most {
		t.Errorf("%d bytes for 200 repetitions with %d moments, want %d at most", len(page), moments, most)
	}
}

// BenchmarkPage makes pages of runs of 200 and 1,000 repetitions, and of 100,000 moments.
func BenchmarkPage(b *testing.B) {
	for name, repetitions := range map[string]int{"200 repetitions": 200, "1000 repetitions": 1000, "100000 moments": 1600} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				page, moments := repeated(b, "basic-open-close", repetitions)
				b.ReportMetric(float64(len(page))/1e6, "MB")
				b.ReportMetric(float64(moments), "moments")
			}
		})
	}
}
