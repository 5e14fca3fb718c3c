package cli

import (
	"bytes"
	"testing"
	"time"

	synclinev1 "syncline/proto/syncline/v1"
)

// BenchmarkRepetition measures what a repetition costs beyond the sleeps of its file:
// 100 repetitions of basic-open-close, which sleeps nowhere, with the same port each
// time and with a fresh one, without the file's gap. The two are interleaved; the
// figures are medians, in milliseconds of a repetition and in seconds of 100, from the
// run's creation to its seal.
func BenchmarkRepetition(b *testing.B) {
	const repetitions = 100
	same := bytes.Replace(library(b, demoExperiment), []byte("repeat: { runs: 20, gap: 10ms, timeout: 5s }"), []byte("repeat: { runs: 100 }"), 1)
	fresh := bytes.Replace(same, []byte("repeat: { runs: 100 }"), []byte("repeat: { runs: 100, fresh: [port] }"), 1)
	if bytes.Equal(same, fresh) {
		b.Fatal("the line of repetitions is another one")
	}
	l := newTestLab(b, mustParse(b, same))
	var sames, freshes []float64
	took := func(source []byte) float64 {
		run := l.run(source, repetitions)
		if run.State != synclinev1.RunState_RUN_STATE_SEALED || run.RepetitionsDone != repetitions {
			b.Fatalf("the run ended as %v", run)
		}
		return time.Duration(run.EndedNs - run.CreatedNs).Seconds()
	}
	b.ResetTimer()
	for range max(b.N, 5) {
		sames = append(sames, took(same))
		freshes = append(freshes, took(fresh))
	}
	b.StopTimer()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(sames)*1000/repetitions, "same-ms/repetition")
	b.ReportMetric(median(freshes)*1000/repetitions, "fresh-ms/repetition")
	b.ReportMetric(median(freshes), "fresh-s/100")
}
