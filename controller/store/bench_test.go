package store

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Chunks as agents make them: package chunk needs about 5.6 bytes an event.
var benchChunks = []struct{ events, bytes int }{{1000, 5600}, {8000, 45_000}}

const benchAppenders = 64

func reportRates(b *testing.B, events, bytes int) {
	seconds := b.Elapsed().Seconds()
	b.ReportMetric(float64(b.N)/seconds, "chunks/s")
	b.ReportMetric(float64(b.N)*float64(events)/seconds, "events/s")
	b.ReportMetric(float64(b.N)*float64(bytes)/1e6/seconds, "MB/s")
	b.ReportMetric(0, "ns/op")
}

// benchChunk is chunk n of a stream, its bytes those of data.
func benchChunk(run, agent string, n uint64, events int, data []byte) Chunk {
	return Chunk{RunID: run, Agent: agent, Incarnation: 1, Sequence: n, FirstEvent: (n-1)*uint64(events) + 1, Events: uint32(events), Data: data, CRC32C: Checksum(data)}
}

// BenchmarkAppendChunk appends from many streams at once to one node, which fsyncs.
func BenchmarkAppendChunk(b *testing.B) {
	for _, size := range benchChunks {
		for _, appenders := range []int{1, benchAppenders} {
			b.Run(fmt.Sprintf("events=%d/appenders=%d", size.events, appenders), func(b *testing.B) {
				s := open(b, b.TempDir())
				run := createRun(b, s)
				data := make([]byte, size.bytes)
				b.ResetTimer()
				var wg sync.WaitGroup
				for a := range appenders {
					wg.Go(func() {
						agent := fmt.Sprint("vm", a)
						for n := a; n < b.N; n += appenders {
							c := benchChunk(run.ID, agent, uint64(n/appenders)+1, size.events, data)
							if _, err := s.AppendChunk(b.Context(), c); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				reportRates(b, size.events, size.bytes)
			})
		}
	}
}

// BenchmarkThreeNodes is BenchmarkAppendChunk with three nodes on one disk.
func BenchmarkThreeNodes(b *testing.B) {
	for _, size := range benchChunks {
		b.Run(fmt.Sprintf("events=%d", size.events), func(b *testing.B) {
			c := newCluster(b, 3)
			s := c.nodes[c.leader()]
			run := createRun(b, s)
			data := make([]byte, size.bytes)
			b.ResetTimer()
			var wg sync.WaitGroup
			for a := range benchAppenders {
				wg.Go(func() {
					for n := a; n < b.N; n += benchAppenders {
						ch := benchChunk(run.ID, fmt.Sprint("vm", a), uint64(n/benchAppenders)+1, size.events, data)
						if _, err := s.AppendChunk(b.Context(), ch); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			reportRates(b, size.events, size.bytes)
		})
	}
}

// BenchmarkBareFile is the limit: one file, one fsync a chunk, or one for as many
// chunks as there are appenders.
func BenchmarkBareFile(b *testing.B) {
	for _, size := range benchChunks {
		for _, batch := range []int{1, benchAppenders} {
			b.Run(fmt.Sprintf("events=%d/batch=%d", size.events, batch), func(b *testing.B) {
				f := must[*os.File](b)(os.Create(filepath.Join(b.TempDir(), "bare")))
				defer f.Close()
				data := make([]byte, size.bytes)
				b.ResetTimer()
				for n := range b.N {
					if _, err := f.Write(data); err != nil {
						b.Fatal(err)
					}
					if n%batch == batch-1 || n == b.N-1 {
						if err := f.Sync(); err != nil {
							b.Fatal(err)
						}
					}
				}
				reportRates(b, size.events, size.bytes)
			})
		}
	}
}

// BenchmarkChunks reads back what was appended, checksums included.
func BenchmarkChunks(b *testing.B) {
	s := open(b, b.TempDir())
	run := createRun(b, s)
	data := make([]byte, 45_000)
	const chunks = 100
	for n := uint64(1); n <= chunks; n++ {
		if _, err := s.AppendChunk(b.Context(), benchChunk(run.ID, "vm1", n, 8000, data)); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(chunks * int64(len(data)))
	for b.Loop() {
		if err := s.Chunks(run.ID, func(Chunk) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
