package clock

import (
	"testing"
	"time"
)

func TestReadBracketsBothClocks(t *testing.T) {
	for range 1000 {
		monotonic, realtime := Now(), time.Now().UnixNano()
		s := Read()
		monotonicAfter, realtimeAfter := Now(), time.Now().UnixNano()
		if s.Monotonic+s.Err < monotonic || monotonicAfter < s.Monotonic-s.Err {
			t.Fatalf("monotonic %d ± %d is outside of [%d, %d]", s.Monotonic, s.Err, monotonic, monotonicAfter)
		}
		if s.Realtime < realtime || realtimeAfter < s.Realtime {
			t.Fatalf("realtime %d is outside of [%d, %d]", s.Realtime, realtime, realtimeAfter)
		}
		if s.Err <= 0 {
			t.Fatalf("error %d of a reading that took time", s.Err)
		}
	}
}

func TestMapOfTheHostsOwnClocks(t *testing.T) {
	var m Map
	m.Add(Read())
	type pair struct{ before, realtime, after int64 }
	var stamps []pair
	for range 1000 {
		before := Now()
		realtime := time.Now().UnixNano()
		stamps = append(stamps, pair{before, realtime, Now()})
	}
	if step := m.Add(Read()); step != nil {
		t.Skipf("the host's clock was stepped during the test: %+v", *step)
	}
	for _, s := range stamps {
		at, err, ok := m.Monotonic(s.realtime)
		if !ok {
			t.Fatalf("stamp %d between two samples was not mapped", s.realtime)
		}
		if at+err < s.before || s.after < at-err {
			t.Fatalf("%d ± %d misses [%d, %d], when the stamp was taken", at, err, s.before, s.after)
		}
	}
}

func BenchmarkNow(b *testing.B) {
	for b.Loop() {
		Now()
	}
}

// BenchmarkRead also reports the error of its samples, the figure that matters.
func BenchmarkRead(b *testing.B) {
	var err int64
	for b.Loop() {
		err += Read().Err
	}
	b.ReportMetric(float64(err)/float64(b.N), "ns-err/op")
}
