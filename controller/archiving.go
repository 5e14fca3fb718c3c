package controller

import (
	"context"
	"errors"
	"fmt"
	"io"

	"syncline/controller/archive"
	"syncline/controller/export"
	"syncline/controller/store"
	"syncline/controller/table"
	"syncline/proto/chunk"
	synclinev1 "syncline/proto/syncline/v1"
)

// maxVerdictEvents is how many events a run may have for its verdicts to be in the archive:
// they take all events at once into memory, some 500 bytes each. The bundle has what they
// are made of.
const maxVerdictEvents = 1_000_000

// errNoArchive: the controller was started without an archive.
var errNoArchive = errors.New("this controller has no archive: start it with --archive URL")

// archiveRun puts a sealed run into the archive, opens it from there as any reader will,
// and then commits that it is there. One run is archived at a time.
func (c *Controller) archiveRun(ctx context.Context, id string) (store.Run, error) {
	if c.cfg.Archive == "" {
		return store.Run{}, errNoArchive
	}
	select {
	case c.archiving <- struct{}{}:
		defer func() { <-c.archiving }()
	case <-ctx.Done():
		return store.Run{}, context.Cause(ctx)
	}
	run, ok := c.store.Run(id)
	switch {
	case !ok:
		return store.Run{}, fmt.Errorf("archive run: %w: %s", store.ErrUnknownRun, id)
	case run.Seal == nil:
		return run, fmt.Errorf("archive run %s: %w: it is %s and not sealed", id, store.ErrTransition, run.State)
	case !run.Here():
		return run, nil
	}
	b, err := c.shelf.bucket(ctx, c.cfg.Archive)
	if err != nil {
		return run, err
	}
	ref, err := b.Put(ctx, archive.Run{ID: id, Seal: run.Seal, WrittenBy: "syncline " + c.cfg.Version, Contents: c.contents(ctx, run)})
	if err != nil {
		return run, err
	}
	where := store.Archive{URL: b.URL(), Manifest: ref.Key, SHA256: ref.SHA256[:]}
	if err := c.readBack(ctx, run, where); err != nil {
		return run, fmt.Errorf("read run %s back from the archive before it is forgotten here: %w", id, err)
	}
	left, err := c.store.ArchiveRun(ctx, id, run.Seal, where)
	if err == nil {
		c.metrics.archived.Inc()
	}
	return left, err
}

// readBack opens a run from the archive, which holds its events against its seal.
func (c *Controller) readBack(ctx context.Context, run store.Run, where store.Archive) error {
	run.Archive = where
	at, err := c.shelf.fetchFrom(ctx, where.URL, run)
	if err != nil {
		return err
	}
	return at.file.Close()
}

// contents are the parts of a run in an archive: the bundle, from which it is looked at
// again, and the tables, for other programs. The table of runs is the last: a run that is
// in it has its rows in all others.
func (c *Controller) contents(ctx context.Context, run store.Run) []archive.Content {
	k := c.store
	tables := func(name string, write func(io.Writer) error) archive.Content {
		return archive.Content{Name: name, Suffix: table.Suffix, Write: write}
	}
	verdicts := tables(table.VerdictsTable, func(w io.Writer) error { return c.writeVerdicts(ctx, w, run) })
	if run.Events > maxVerdictEvents {
		verdicts.Omitted = fmt.Sprintf("the run has %d events, and verdicts of at most %d are archived; syncline explain and stats compute them", run.Events, maxVerdictEvents)
	}
	return []archive.Content{
		{Name: bundlePart, Suffix: export.BundleSuffix, Exact: true, Write: func(w io.Writer) error { return writeBundle(w, k, run, c.cfg.Version) }},
		tables(table.EventsTable, func(w io.Writer) error { return writeEvents(w, k, run) }),
		tables(table.CountersTable, func(w io.Writer) error { return writeCounters(w, k, run) }),
		verdicts,
		tables(table.HostsTable, func(w io.Writer) error { return table.WriteHosts(w, run.ID, tableHosts(run)) }),
		tables(table.RunsTable, func(w io.Writer) error { return table.WriteRun(w, tableRun(run)) }),
	}
}

// rows is a table that events are added to.
type rows interface {
	Add(*table.Place, []*synclinev1.Event) error
	Close() error
}

func writeEvents(w io.Writer, k keeper, run store.Run) error {
	return writeRows(table.Events(w), k, run)
}

func writeCounters(w io.Writer, k keeper, run store.Run) error {
	return writeRows(table.Counters(w), k, run)
}

// writeRows adds every event of a run, in the order of (agent, incarnation, number).
func writeRows(t rows, k keeper, run store.Run) error {
	roles := map[string]string{}
	for _, h := range run.Hosts {
		roles[h.Agent] = h.Name
	}
	err := k.Chunks(run.ID, func(c store.Chunk) error {
		events, err := chunk.Decode(c.Data)
		if err != nil {
			return fmt.Errorf("chunk %d of agent %s: %w", c.Sequence, c.Agent, err)
		}
		return t.Add(&table.Place{Run: run.ID, Host: roles[c.Agent], Agent: c.Agent, Incarnation: c.Incarnation, Variant: variantNames(run)}, events)
	})
	if err != nil {
		return err
	}
	return t.Close()
}

// variantNames says which variant a repetition was of.
func variantNames(run store.Run) func(uint32) string {
	return func(n uint32) string {
		for _, v := range run.Variants {
			if int(n) >= v.First && int(n) <= v.Last {
				return v.Name
			}
		}
		return ""
	}
}

func (c *Controller) writeVerdicts(ctx context.Context, w io.Writer, run store.Run) error {
	return table.WriteVerdicts(w, run.ID, func(yield func(table.Verdict) error) error {
		b, err := newBuilder(ctx, c.store, run)
		if err != nil {
			return err
		}
		for n := 1; n <= run.RepetitionsDone; n++ {
			if b.plans.warmup(n) {
				continue
			}
			answer, _, err := judge(b, n)
			if err != nil {
				return err
			}
			for _, v := range answer.Verdicts {
				native := VerdictFromProto(v)
				if err := yield(table.Verdict{Repetition: n, Variant: answer.Variant, Expectation: native.Expectation, Ruling: native.Ruling.String(), Reason: native.Reason}); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func tableRun(r store.Run) table.Run {
	return table.Run{
		ID: r.ID, Experiment: r.Experiment, State: r.State.String(), Reason: r.Reason, CreatedNs: r.CreatedNs, EndedNs: r.EndedNs,
		Repetitions: r.Repetitions, RepetitionsDone: r.RepetitionsDone, Events: r.Events, Chunks: r.Chunks, Bytes: r.Bytes,
		Incomplete: r.Incomplete, Warnings: r.Warnings, Seal: r.Seal,
	}
}

func tableHosts(r store.Run) []table.Host {
	var all []table.Host
	for _, h := range r.Hosts {
		all = append(all, table.Host{
			Name: h.Name, Agent: h.Agent, Address: h.Address, Address6: h.Address6, Kernel: h.Kernel, ClockID: h.ClockID, TestClock: h.TestClock,
		})
	}
	return all
}
