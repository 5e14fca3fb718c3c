package table

import (
	"encoding/hex"
	"io"
	"strings"

	"github.com/parquet-go/parquet-go"
)

// Run is a run as a row.
type Run struct {
	ID, Experiment, State, Reason string
	// CreatedNs and EndedNs are CLOCK_REALTIME of the controller, nanoseconds since 1970.
	CreatedNs, EndedNs           int64
	Repetitions, RepetitionsDone int
	Events, Chunks, Bytes        uint64
	// Incomplete is what is known to be missing, Warnings what a reader should know.
	Incomplete, Warnings []string
	// Seal is the SHA-256 over its chunks.
	Seal []byte
}

var runColumns = []column{
	textColumn("run"), textColumn("experiment"), textColumn("state"), textColumn("reason"), int64Column("created_ns"), int64Column("ended_ns"),
	momentColumn("created"), momentColumn("ended"), int64Column("repetitions"), int64Column("repetitions_done"), int64Column("events"), int64Column("chunks"),
	int64Column("bytes"), textColumn("incomplete"), textColumn("warnings"), textColumn("seal"),
}

// WriteRun writes the table of runs of one run. Lists are texts with a line for each entry.
func WriteRun(w io.Writer, run Run) error {
	t := newWriter(w, RunsTable, runColumns)
	r := t.row()
	for i, v := range []parquet.Value{
		text(run.ID), text(run.Experiment), text(run.State), text(run.Reason), parquet.Int64Value(run.CreatedNs), parquet.Int64Value(run.EndedNs),
		parquet.Int64Value(run.CreatedNs), parquet.Int64Value(run.EndedNs), parquet.Int64Value(int64(run.Repetitions)), parquet.Int64Value(int64(run.RepetitionsDone)),
		parquet.Int64Value(int64(run.Events)), parquet.Int64Value(int64(run.Chunks)), parquet.Int64Value(int64(run.Bytes)),
		text(strings.Join(run.Incomplete, "\n")), text(strings.Join(run.Warnings, "\n")), text(hex.EncodeToString(run.Seal)),
	} {
		r.set(i, v)
	}
	if err := t.end(); err != nil {
		return err
	}
	return t.close()
}

// Host is a host of a run as a row.
type Host struct {
	// Name is the role.
	Name, Agent, Address, Address6, Kernel, ClockID, TestClock string
}

var hostColumns = []column{
	textColumn("run"), textColumn("host"), textColumn("agent"), textColumn("address"), textColumn("address6").orNull(), textColumn("kernel"),
	textColumn("clock_id"), textColumn("test_clock").orNull(),
}

// WriteHosts writes the table of hosts of one run.
func WriteHosts(w io.Writer, run string, hosts []Host) error {
	t := newWriter(w, HostsTable, hostColumns)
	for _, h := range hosts {
		r := t.row()
		for i, s := range []string{run, h.Name, h.Agent, h.Address, h.Address6, h.Kernel, h.ClockID, h.TestClock} {
			if s != "" || !hostColumns[i].optional {
				r.set(i, text(s))
			}
		}
		if err := t.end(); err != nil {
			return err
		}
	}
	return t.close()
}

// Verdict is an expectation of a repetition and what became of it, as a row.
type Verdict struct {
	Repetition                   int
	Variant, Expectation, Ruling string
	// Reason is empty for a plain pass.
	Reason string
}

var verdictColumns = []column{
	textColumn("run"), risingColumn("repetition"), textColumn("variant").orNull(), textColumn("expectation"), textColumn("ruling"), textColumn("reason").orNull(),
}

// WriteVerdicts writes the table of verdicts of one run. Each yields them until yield
// returns an error, which it returns.
func WriteVerdicts(w io.Writer, run string, each func(yield func(Verdict) error) error) error {
	t := newWriter(w, VerdictsTable, verdictColumns)
	err := each(func(v Verdict) error {
		r := t.row()
		r.set(0, text(run))
		r.set(1, parquet.Int64Value(int64(v.Repetition)))
		r.set(3, text(v.Expectation))
		r.set(4, text(v.Ruling))
		if v.Variant != "" {
			r.set(2, text(v.Variant))
		}
		if v.Reason != "" {
			r.set(5, text(v.Reason))
		}
		return t.end()
	})
	if err != nil {
		return err
	}
	return t.close()
}
