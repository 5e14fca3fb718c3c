// Package table writes runs as tables for engines that read columns: Parquet files, which
// DuckDB, ClickHouse, Trino, Spark and pandas open as they are.
//
// The tables are for looking, not for keeping: a bundle (package export) is what a run is
// restored from. So nothing reads them here but tests. What is written depends on the run
// and on this version of the program alone: the same run gives the same bytes.
//
// Times are those of the hosts' own clocks, as they were recorded; nothing here puts hosts
// on one clock. An interval between two times of one host is right as it stands; a
// difference between two hosts means nothing.
package table

import (
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// Version is of the names, types and meaning of the columns. It grows when a query written
// for the old ones would misread the new ones; a column more leaves it. Every file has it
// in its metadata, as syncline.tables.
const Version = 1

// Names of the tables. Each is a directory of an archive, with one file of every run.
const (
	// Events has one row for each event, all kinds in one table; see Events.
	EventsTable = "events"
	// CountersTable has one row for each counter of the kernel that moved in a repetition.
	CountersTable = "counters"
	// HostsTable has one row for each host of a run.
	HostsTable = "hosts"
	// RunsTable has one row for each run.
	RunsTable = "runs"
	// VerdictsTable has one row for each expectation of each repetition.
	VerdictsTable = "verdicts"
)

// Suffix is what the names of tables' files end in.
const Suffix = ".parquet"

// rowGroup is how many rows lie together, and how many a writer holds in memory: some
// 40 MB of events.
const rowGroup = 64 << 10

// batch is how many rows are handed to the encoder at once.
const batch = 256

// writer writes the rows of one table. Each row has a value for every column, in their
// order.
type writer struct {
	columns []column
	// nulls is a row with nothing in it.
	nulls parquet.Row
	out   *parquet.GenericWriter[any]
	rows  []parquet.Row
	count int64
}

func newWriter(w io.Writer, name string, columns []column) *writer {
	out := &writer{columns: columns, nulls: make(parquet.Row, len(columns)), rows: make([]parquet.Row, 0, batch)}
	for i := range columns {
		out.nulls[i] = parquet.NullValue().Level(0, 0, i)
	}
	out.out = parquet.NewGenericWriter[any](w, parquet.NewSchema(name, rootOf(columns)),
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedDefault, Concurrency: 1}),
		// The name of the program would do, but the version of the library changes what is
		// read back nowhere, and the bytes everywhere.
		parquet.CreatedBy("syncline", "1", "parquet-go"),
		parquet.KeyValueMetadata("syncline.tables", fmt.Sprint(Version)),
		parquet.MaxRowsPerRowGroup(rowGroup),
	)
	return out
}

// row begins a row, with nothing in it yet. What is not set is null.
func (w *writer) row() row {
	// The rows of the batch before are filled again.
	w.rows = w.rows[:len(w.rows)+1]
	last := &w.rows[len(w.rows)-1]
	if *last == nil {
		*last = make(parquet.Row, len(w.columns))
	}
	copy(*last, w.nulls)
	return row{columns: w.columns, values: *last}
}

// end ends the row that row began.
func (w *writer) end() error {
	w.count++
	if len(w.rows) < batch {
		return nil
	}
	return w.flush()
}

func (w *writer) flush() error {
	if len(w.rows) == 0 {
		return nil
	}
	_, err := w.out.WriteRows(w.rows)
	w.rows = w.rows[:0]
	return err
}

// close writes what is left and the file's footer. It does not close the file.
func (w *writer) close() error {
	if err := w.flush(); err != nil {
		return err
	}
	return w.out.Close()
}

// row is one row while it is filled.
type row struct {
	columns []column
	values  parquet.Row
}

// set gives the column with index i its value.
func (r row) set(i int, v parquet.Value) {
	level := 0
	if r.columns[i].optional {
		level = 1
	}
	r.values[i] = v.Level(0, level, i)
}
