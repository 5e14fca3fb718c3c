package table

import (
	"io"

	"github.com/parquet-go/parquet-go"

	synclinev1 "syncline/proto/syncline/v1"
)

var counterColumns = []column{
	textColumn("run"), textColumn("host"), textColumn("agent"), risingColumn("incarnation"), risingColumn("number"), risingColumn("repetition"),
	risingColumn("since_ns"), risingColumn("time_ns"), textColumn("name"), int64Column("delta"),
}

// CountersWriter writes the table of counters. Make it with Counters, and close it.
type CountersWriter struct{ w *writer }

// Counters begins the table of counters: the lists that events of the kind counters have,
// one row for each counter. (run, agent, incarnation, number) is the event.
func Counters(w io.Writer) *CountersWriter {
	return &CountersWriter{newWriter(w, CountersTable, counterColumns)}
}

// Add adds the counters of those events that have some.
func (t *CountersWriter) Add(p *Place, events []*synclinev1.Event) error {
	for _, e := range events {
		of := e.GetCounters()
		for _, c := range of.GetCounters() {
			r := t.w.row()
			for i, v := range []parquet.Value{
				text(p.Run), text(p.Host), text(p.Agent), parquet.Int64Value(int64(p.Incarnation)), parquet.Int64Value(int64(e.Number)),
				parquet.Int64Value(int64(e.Repetition)), parquet.Int64Value(of.SinceNs), parquet.Int64Value(e.TimeNs), text(c.Name), parquet.Int64Value(c.Delta),
			} {
				r.set(i, v)
			}
			if err := t.w.end(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close writes what is left. It does not close what the table is written to.
func (t *CountersWriter) Close() error { return t.w.close() }

// Rows counts those that were added.
func (t *CountersWriter) Rows() int64 { return t.w.count }
