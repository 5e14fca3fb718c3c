package spool

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkAppend measures appends of chunks of 16 KiB to a real disk, with so many
// goroutines that append one at a time: they share fsyncs. It prints how many chunks
// a second that makes, and how many share one fsync.
func BenchmarkAppend(b *testing.B) {
	for _, appenders := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("appenders=%d", appenders), func(b *testing.B) {
			dir := b.TempDir()
			system, err := OpenDir(dir)
			if err != nil {
				b.Fatal(err)
			}
			fs := &counting{FS: system}
			s := mustOpen(b, Config{Dir: dir, FS: fs, Quota: 64 << 30})
			st := mustBegin(b, s, vm1)
			var next atomic.Uint64
			b.SetParallelism(appenders)
			b.SetBytes(16 << 10)
			fs.syncs.Store(0)
			began := time.Now()
			b.ResetTimer()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					n := next.Add(1)
					if err := st.Append(chunkOf(n, 16<<10)); err != nil {
						b.Error(err)
						return
					}
					if n%256 == 0 {
						st.Acknowledge(n-255, (n-255)*10)
						if err := st.Reclaim(); err != nil {
							b.Error(err)
						}
					}
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "chunks/s")
			b.ReportMetric(float64(b.N)/float64(fs.syncs.Load()), "chunks/fsync")
			must(b, s.Close())
		})
	}
}

// counting counts what is synced.
type counting struct {
	FS
	syncs atomic.Int64
}

func (c *counting) Create(name string) (File, error) {
	f, err := c.FS.Create(name)
	return &countingFile{f, c}, err
}

type countingFile struct {
	File
	fs *counting
}

func (f *countingFile) Sync() error { f.fs.syncs.Add(1); return f.File.Sync() }

// BenchmarkOpen measures the start with 256 MiB that wait: every byte is read and
// verified.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	s := mustOpen(b, Config{Dir: dir})
	st := mustBegin(b, s, vm1)
	const chunks = 1024
	for n := uint64(1); n <= chunks; n += 64 {
		var all []Chunk
		for i := n; i < n+64; i++ {
			all = append(all, chunkOf(i, 256<<10))
		}
		must(b, st.Append(all...))
	}
	must(b, s.Close())
	b.SetBytes(chunks * 256 << 10)
	for b.Loop() {
		s := mustOpen(b, Config{Dir: dir})
		if got := len(sequences(s.Streams()[0])); got != chunks {
			b.Fatalf("%d chunks", got)
		}
		must(b, s.Close())
	}
}
