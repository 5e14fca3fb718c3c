package clock

import (
	"runtime"
	"testing"
)

// BenchmarkMillion learns a million messages of six hosts, by both methods, and concludes
// from them: all pairs, a minute.
func BenchmarkMillion(b *testing.B) {
	l := newLab(3)
	l.span = 60e9
	l.clocks = nil
	for i := range 6 {
		l.clocks = append(l.clocks, truth{
			offset: float64(i) * 1e12, rate: float64(i-3) * 20e-6, swing: 1e-6, period: 20e9, phase: float64(i),
		})
	}
	messages := make([]Message, 1_000_000)
	for i := range messages {
		from := l.random.IntN(6)
		to := (from + 1 + l.random.IntN(5)) % 6
		sent := float64(i) * l.span / float64(len(messages))
		received := sent + 5_000 + l.random.ExpFloat64()*20_000
		messages[i] = Message{
			From: from, Sent: l.clocks[from].read(sent), To: to, Received: l.clocks[to].read(received), Method: Probes,
		}
		if i%10 != 0 {
			messages[i].Method = Segments
		}
	}
	b.ResetTimer()
	var before, after runtime.MemStats
	var m *Model
	runtime.GC()
	runtime.ReadMemStats(&before)
	for b.Loop() {
		m = NewModel(Config{Hosts: 6}, messages)
		if len(m.Inconsistent())+len(m.WanderBroken())+len(m.Disagreements()) > 0 {
			b.Fatal(m.Inconsistent(), m.WanderBroken(), m.Disagreements())
		}
	}
	runtime.ReadMemStats(&after)
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/million")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(b.N)/1e6, "MB-allocated/million")
	// All that the process has of the system, the messages and the runtime's own included.
	b.ReportMetric(float64(after.Sys)/1e6, "MB-of-the-system")
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/1e6, "MB-kept")
	runtime.KeepAlive(messages)
	b.ReportMetric(float64(m.Stamp(5, l.clocks[5].read(30e9), 0).Err), "ε-ns")
}
