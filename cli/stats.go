package cli

import (
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"syncline/controller/experiment"
	"syncline/controller/statistics"
	"syncline/controller/timeline"
)

type statsOptions struct {
	output string
	phases []string
	by     string
	ascii  bool
}

var statsFormats = []string{"table", "json", "csv", "ndjson"}

func (a *app) statsCommand() *cobra.Command {
	var opts statsOptions
	c := &cobra.Command{
		Use:   "stats RUN...",
		Short: "Say how the phases of a run are distributed over its repetitions",
		Long: `Say how the phases of a run are distributed over its repetitions: how many of them
have each on record (n), its least, median, 90th and 99th percentile and greatest
length, and an interval that holds the median with a probability of 95 %.

A repetition counts once: of a phase that it has several times at the same end, as
with several connections, the median is taken. The two ends are told apart.

± is what is not known of one length. Phases between two hosts have the error of
their clocks; it is the same in every repetition, so that more of them do not make
it smaller. syncline help language says what each phase is from and to.

Repetitions that did not pass are told apart, and so are variants. A RUN is a run of
the controller or the path of a bundle.`,
		Example: `  syncline stats r-7f3c2a10
  syncline stats r-7f3c2a10 --phase connect.blocked --by conn
  syncline stats before.syncline after.syncline -o csv`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := opts.check(); err != nil {
				return err
			}
			return a.showStats(c.Context(), args, opts)
		},
	}
	formatFlag(c, &opts.output, statsFormats...)
	c.Flags().StringSliceVar(&opts.phases, "phase", nil, "only this phase; may be given several times (default: all)")
	c.Flags().StringVar(&opts.by, "by", "", "tell apart by end (client, server), conn (the connection), or variant (always done)")
	c.Flags().BoolVar(&opts.ascii, "ascii", false, "write ASCII only")
	return c
}

func (o *statsOptions) check() error {
	if !slices.Contains(statsFormats, o.output) {
		return unknownFormat(o.output, statsFormats...)
	}
	if o.by != "" && o.by != "end" && o.by != "conn" && o.by != "variant" {
		return usage("--by %s: there are end, conn, variant", o.by)
	}
	return checkPhases(o.phases)
}

func (a *app) showStats(ctx context.Context, args []string, opts statsOptions) error {
	var all []runStats
	for _, arg := range args {
		err := a.lookWhole(ctx, arg, func(s *subject) error {
			run, err := s.summarize(ctx)
			if err == nil {
				all = append(all, statsOf(run, opts))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if len(opts.phases) > 0 && !slices.ContainsFunc(all, func(r runStats) bool { return len(r.Groups) > 0 }) {
		return &exitError{code: exitInconclusive, err: fmt.Errorf("no repetition has a phase %s on record", strings.Join(opts.phases, " or "))}
	}
	switch opts.output {
	case "json":
		out := json.NewEncoder(a.Out)
		out.SetIndent("", "  ")
		out.SetEscapeHTML(false)
		return out.Encode(struct {
			Schema string     `json:"schema"`
			Runs   []runStats `json:"runs"`
		}{statsSchema, all})
	case "ndjson":
		return writeStatsLines(a.Out, all)
	case "csv":
		return writeStatsCSV(a.Out, all)
	}
	return drawStats(a.Out, all, a.drawing(a.Out, ladderOptions{ascii: opts.ascii}))
}

const statsSchema = "syncline.stats/1"

// runStats are the phases of one run over its repetitions, as they are told.
type runStats struct {
	Run        string `json:"run"`
	Experiment string `json:"experiment"`
	// Repetitions counts those that came to their end, but for a warm-up's, and Rulings them
	// by what they came to.
	Repetitions int            `json:"repetitions"`
	Rulings     map[string]int `json:"rulings"`
	Groups      []statsGroup   `json:"groups"`
	counted     string
	several     bool
}

// statsGroup are the phases of repetitions that are told together: of one variant and one
// ruling, and with --by of one end or one connection.
type statsGroup struct {
	Variant     string     `json:"variant,omitempty"`
	Ruling      string     `json:"ruling"`
	Repetitions int        `json:"repetitions"`
	By          string     `json:"by,omitempty"`
	Of          string     `json:"of,omitempty"`
	Phases      []statsRow `json:"phases"`
	of          []*timeline.Digest
}

// statsRow is one phase of one end over repetitions: N of them have it, each with the median of
// its lengths. All times are nanoseconds; the interval is absent where there are too few for one.
type statsRow struct {
	Phase string `json:"phase"`
	// End is whose it is, "client" or "server"; empty if it is of no end.
	End     string `json:"end,omitempty"`
	Part    string `json:"part_of,omitempty"`
	From    string `json:"from"`
	To      string `json:"to"`
	N       int    `json:"n"`
	Min     int64  `json:"min_ns"`
	Median  int64  `json:"median_ns"`
	P90     int64  `json:"p90_ns"`
	P99     int64  `json:"p99_ns"`
	Max     int64  `json:"max_ns"`
	Low     *int64 `json:"median_low_ns,omitempty"`
	High    *int64 `json:"median_high_ns,omitempty"`
	Err     int64  `json:"error_ns"`
	LeftOut int    `json:"left_out,omitempty"`
	// Warnings are sentences that a reader should know.
	Warnings []string `json:"warnings,omitempty"`
	label    string
}

// statsOf puts the phases of a run's repetitions together.
func statsOf(run *summarized, opts statsOptions) runStats {
	r := runStats{
		Run: run.run.Id, Experiment: run.run.Experiment, Repetitions: len(run.digests),
		Rulings: make(map[string]int), counted: rulingsText(run.digests), Groups: []statsGroup{},
	}
	for _, d := range run.digests {
		r.Rulings[rulingOf(d)]++
	}
	variants := variantsOf(run.digests)
	r.several = len(variants) > 1 || len(r.Rulings) > 1
	for _, variant := range variants {
		for _, ruling := range rulings {
			var of []*timeline.Digest
			for _, d := range run.digests {
				if d.Variant == variant && rulingOf(d) == ruling {
					of = append(of, d)
				}
			}
			for _, g := range groupsOf(of, opts) {
				g.Variant, g.Ruling, g.Repetitions, g.of = variant, ruling, len(of), of
				r.Groups = append(r.Groups, g)
			}
		}
	}
	return r
}

// groupsOf are the phases of some repetitions, told apart as is asked for.
func groupsOf(of []*timeline.Digest, opts statsOptions) []statsGroup {
	byKey := make(map[string]samples)
	for _, d := range of {
		for i := range d.Phases {
			p := &d.Phases[i]
			if !isWanted(opts.phases, p.Name) {
				continue
			}
			key := byOf(d, p, opts.by)
			if byKey[key] == nil {
				byKey[key] = newSamples()
			}
			byKey[key].add(d.Repetition, p)
		}
	}
	keys := make([]string, 0, len(byKey))
	for key := range byKey {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, compareNatural)
	var all []statsGroup
	for _, key := range keys {
		g := statsGroup{By: opts.by, Of: key}
		if opts.by == "variant" {
			g.By = ""
		}
		for _, e := range endPhases(byKey[key]) {
			row := byKey[key][e].row(e.name)
			row.End, row.label = e.endName(), e.label(byKey[key])
			g.Phases = append(g.Phases, row)
		}
		all = append(all, g)
	}
	return all
}

// compareNatural puts client[2] before client[10].
func compareNatural(a, b string) int {
	digits := func(s string) int { return len(s) - len(strings.TrimLeft(s, "0123456789")) }
	for a != "" && b != "" {
		if n, m := digits(a), digits(b); n > 0 && m > 0 {
			x, y := strings.TrimLeft(a[:n], "0"), strings.TrimLeft(b[:m], "0")
			if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
				return c
			}
			a, b = a[n:], b[m:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

// byOf is what a phase is told apart by.
func byOf(d *timeline.Digest, p *timeline.DigestPhase, by string) string {
	switch {
	case by == "end" && p.End == timeline.ClientEnd:
		return "client"
	case by == "end" && p.End == timeline.ServerEnd:
		return "server"
	case by == "conn" && p.Connection >= 0:
		return d.Connections[p.Connection]
	case by == "end" || by == "conn":
		return "no connection"
	}
	return ""
}

func (s *sample) row(name string) statsRow {
	from, to, _, _ := experiment.PhaseDefinition(name)
	of := statistics.Summarize(s.lengths())
	row := statsRow{
		Phase: name, Part: s.part, From: from, To: to, N: of.N, Min: of.Min, Median: of.Median, P90: of.P90, P99: of.P99, Max: of.Max,
		Err: of.Err, LeftOut: s.leftOut, Warnings: of.Warnings,
	}
	if of.HasInterval {
		row.Low, row.High = &of.MedianLow, &of.MedianHigh
	}
	if s.leftOut > 0 {
		row.Warnings = append(row.Warnings, fmt.Sprintf("%d lengths are left out: nothing ties the clocks of the two hosts that they are between", s.leftOut))
	}
	return row
}

// eachRow goes through all rows with what they are of.
func eachRow(all []runStats, do func(*runStats, *statsGroup, *statsRow) error) error {
	for i := range all {
		for j := range all[i].Groups {
			g := &all[i].Groups[j]
			for k := range g.Phases {
				if err := do(&all[i], g, &g.Phases[k]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func writeStatsLines(w io.Writer, all []runStats) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	return eachRow(all, func(r *runStats, g *statsGroup, row *statsRow) error {
		return out.Encode(struct {
			Schema      string `json:"schema"`
			Run         string `json:"run"`
			Variant     string `json:"variant,omitempty"`
			Ruling      string `json:"ruling"`
			Repetitions int    `json:"repetitions"`
			By          string `json:"by,omitempty"`
			Of          string `json:"of,omitempty"`
			statsRow
		}{statsSchema, r.Run, g.Variant, g.Ruling, g.Repetitions, g.By, g.Of, *row})
	})
}

func writeStatsCSV(w io.Writer, all []runStats) error {
	out := csv.NewWriter(w)
	head := []string{
		"run", "variant", "ruling", "repetitions", "by", "of", "phase", "end", "part_of", "n", "min_ns", "median_ns", "p90_ns", "p99_ns", "max_ns",
		"median_low_ns", "median_high_ns", "error_ns", "left_out",
	}
	if err := out.Write(head); err != nil {
		return err
	}
	number := func(v int64) string { return strconv.FormatInt(v, 10) }
	perhaps := func(v *int64) string {
		if v == nil {
			return ""
		}
		return number(*v)
	}
	err := eachRow(all, func(r *runStats, g *statsGroup, row *statsRow) error {
		return out.Write([]string{
			r.Run, g.Variant, g.Ruling, strconv.Itoa(g.Repetitions), g.By, g.Of, row.Phase, row.End, row.Part, strconv.Itoa(row.N),
			number(row.Min), number(row.Median), number(row.P90), number(row.P99), number(row.Max), perhaps(row.Low), perhaps(row.High),
			number(row.Err), strconv.Itoa(row.LeftOut),
		})
	})
	if err != nil {
		return err
	}
	out.Flush()
	return out.Error()
}
