package cli

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"syncline/agent/environment"
	synclinev1 "syncline/proto/syncline/v1"
)

func (a *app) describeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "describe run RUN",
		Short:   "Tell all that is kept of a run but its events",
		Example: `  syncline describe run r-7f3c2a10`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return &exitError{code: exitUsage, err: errors.New("describe what? There is: run RUN")}
		},
	}
	c.AddCommand(a.describeRunCommand())
	return c
}

func (a *app) describeRunCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "run RUN",
		Short: "Tell all that is kept of a run but its events",
		Long: `Tell all that is kept of a run but its events: its hosts, what could be seen on each
and what not, what is missing, and what each host was like when the run was
prepared. Where the hosts differ is told first.`,
		Example: `  syncline describe run r-7f3c2a10
  syncline describe run r-7f3c2a10 -o json`,
		Args: oneArgument("RUN"),
		RunE: func(c *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return unknownFormat(output, "text", "json")
			}
			return a.lookWhole(c.Context(), args[0], func(s *subject) error {
				answer, err := s.runs.GetRun(c.Context(), &synclinev1.GetRunRequest{Id: s.id})
				if err != nil {
					return answered(err)
				}
				if output == "json" {
					return writeJSON(a.Out, answer.Run, true)
				}
				sheet := newSheet(a.Out)
				describeRun(sheet, answer.Run)
				return sheet.to(a.Out)
			})
		},
	}
	formatFlag(c, &output, "text", "json")
	return c
}

// describeRun writes a run: what it is, who took part, how the hosts differ, and what
// they were like.
func describeRun(s *sheet, r *synclinev1.Run) {
	s.line("run %s  %s  %s", r.Id, r.Experiment, runWord(r))
	const at = 14
	if r.Reason != "" {
		s.item("  reason", at, r.Reason)
	}
	s.item("  repetitions", at, fmt.Sprintf("%d of %d", r.RepetitionsDone, r.Repetitions))
	s.item("  began", at, moment(r.CreatedNs))
	if r.EndedNs != 0 {
		took := time.Duration(r.EndedNs - r.CreatedNs).Round(time.Millisecond)
		s.item("  ended", at, fmt.Sprintf("%s, after %v", moment(r.EndedNs), took))
	}
	s.item("  stored", at, fmt.Sprintf("%d events in %d chunks, %d bytes", r.Events, r.Chunks, r.Bytes))
	if x := r.Archive; x != nil {
		s.item("  archived", at, fmt.Sprintf("%s in %s, by the manifest %s", moment(x.ArchivedNs), x.Url, x.Manifest))
		s.item("", at, "SHA-256 of the manifest "+hex.EncodeToString(x.Sha256))
	}
	if x := r.Removal; x != nil {
		s.item("  removed", at, fmt.Sprintf("%s: %s", moment(x.RemovedNs), x.Reason))
	}
	if p := r.Probing; p != nil {
		s.item("  probes", at, probingText(p))
	}
	if len(r.Seal) > 0 {
		s.item("  seal", at, hex.EncodeToString(r.Seal))
	}
	if len(r.Incomplete) == 0 && r.Seal != nil {
		s.item("  missing", at, "nothing that is known of")
	}
	for i, what := range r.Incomplete {
		s.item(titled(i, "  missing"), at, what)
	}
	for i, what := range r.Warnings {
		s.item(titled(i, "  to know"), at, what)
	}
	if len(r.Variants) > 1 {
		s.blank()
		s.line("variants")
		for _, v := range r.Variants {
			s.item("  "+v.Name, at, repetitionsOf(v))
		}
	}
	s.blank()
	s.line("hosts")
	for _, h := range r.Hosts {
		describeHost(s, h)
	}
	describeClocks(s, r.Hosts)
	if r.Overhead != nil {
		s.blank()
		// Its table is laid out for 80 columns by itself.
		if err := drawOverhead(&s.b, r); err != nil {
			panic(err) // A strings.Builder takes everything.
		}
	}
	describeEnvironments(s, r.Hosts)
}

// probingText is how the clocks of a run's hosts are probed.
func probingText(p *synclinev1.Probing) string {
	if p.Off {
		return "none, as was asked"
	}
	text := numbered(int(p.Rate), "exchange", "exchanges") + " a second with each peer"
	if p.AllPairs {
		return text + ", between all pairs of hosts"
	}
	return text + ", between as many pairs of hosts as are needed"
}

// titled is a title for the first of several lines, and blanks for the others.
func titled(i int, title string) string {
	if i == 0 {
		return title
	}
	return ""
}

// moment is CLOCK_REALTIME of the controller, in UTC.
func moment(ns int64) string {
	return time.Unix(0, ns).UTC().Format("2006-01-02 15:04:05.000 UTC")
}

func repetitionsOf(v *synclinev1.RunVariant) string {
	switch {
	case v.Last == 0:
		return "none was begun"
	case v.First == v.Last:
		return fmt.Sprintf("repetition %d", v.First)
	}
	return fmt.Sprintf("repetitions %d to %d", v.First, v.Last)
}

// describeHost writes who played a role, and what could be seen there.
func describeHost(s *sheet, h *synclinev1.RunHost) {
	const at = 14
	s.item("  "+h.Name, at, strings.Join(nonEmpty("agent "+h.Agent, h.Address, h.Address6), "  "))
	s.item("", at, "kernel "+orUnknown(h.Kernel))
	s.item("", at, "clock "+orUnknown(h.ClockId))
	if h.TestClock != "" {
		s.item("", at, "test clock "+h.TestClock+": its times are of no clock that exists")
	}
	describeSources(s, h.Capabilities, at)
}

func orUnknown(s string) string {
	if s == "" {
		return "not known"
	}
	return s
}

// describeSources writes what is seen in one line, and for each source that is not why,
// and what to do about it.
func describeSources(s *sheet, all []*synclinev1.Capability, at int) {
	var seen []string
	for _, c := range all {
		if c.Available {
			seen = append(seen, sourceName(c.Source))
		}
	}
	if len(all) == 0 {
		s.item("", at, "its agent was not asked what it sees")
		return
	}
	if len(seen) > 0 {
		s.item("", at, "sees "+strings.Join(seen, ", "))
	}
	for i, c := range all {
		same := func(x *synclinev1.Capability) bool {
			return !x.Available && x.Reason == c.Reason && x.Remedy == c.Remedy
		}
		if c.Available || slices.IndexFunc(all, same) < i {
			continue
		}
		// Several sources often lack the same: it is said once.
		var names []string
		for _, x := range all {
			if same(x) {
				names = append(names, sourceName(x.Source))
			}
		}
		s.item("", at, "does not see "+strings.Join(names, ", ")+": "+orUnknown(c.Reason))
		if c.Remedy != "" {
			s.item("", at+2, "→ "+c.Remedy)
		}
	}
}

// sourceName is a source as observe names it.
func sourceName(s synclinev1.Source) string {
	return strings.ReplaceAll(enumWord(s.String(), "SOURCE_"), "_", "-")
}

// describeClocks says which hosts read the very same clock.
func describeClocks(s *sheet, hosts []*synclinev1.RunHost) {
	same := map[string][]string{}
	var order []string
	for _, h := range hosts {
		if h.ClockId == "" {
			continue
		}
		if same[h.ClockId] == nil {
			order = append(order, h.ClockId)
		}
		same[h.ClockId] = append(same[h.ClockId], h.Name)
	}
	for _, id := range order {
		if names := same[id]; len(names) > 1 {
			s.line("  %s read the very same clock: their true offset is 0", strings.Join(names, " and "))
		}
	}
}

// describeEnvironments writes where the hosts differ, then what each is like.
func describeEnvironments(s *sheet, hosts []*synclinev1.RunHost) {
	var told []*synclinev1.Environment
	var names, silent []string
	for _, h := range hosts {
		told = append(told, h.Environment)
		names = append(names, h.Name)
		if h.Environment == nil {
			silent = append(silent, h.Name)
		}
	}
	s.blank()
	if len(silent) > 0 {
		s.line("what %s was like is not known: the run never got as far as asking, or the agent is older than this controller", strings.Join(silent, ", "))
	}
	if len(silent) == len(hosts) {
		return
	}
	tables := environment.Compare(told)
	if len(hosts)-len(silent) > 1 {
		describeDifferences(s, names, tables)
		s.blank()
	}
	s.line("environment, when the run was prepared")
	for _, t := range tables {
		s.line("  %s", t.Name)
		for _, row := range t.Rows {
			describeRow(s, names, row)
		}
	}
}

// describeDifferences writes the settings that are not the same on all hosts.
func describeDifferences(s *sheet, names []string, tables []environment.Table) {
	found := false
	for _, t := range tables {
		var rows []environment.Row
		for _, row := range t.Rows {
			if row.Differs {
				rows = append(rows, row)
			}
		}
		if len(rows) == 0 {
			continue
		}
		if !found {
			s.line("differences between the hosts")
			found = true
		}
		s.line("  %s", t.Name)
		for _, row := range rows {
			describeRow(s, names, row)
		}
	}
	if !found {
		s.line("differences between the hosts: none")
	}
}

// Columns of a setting's value, and of what each host says where they differ.
const (
	settingColumn = 36
	hostColumn    = 10
)

// describeRow writes one setting: once if all hosts say the same, else for each.
func describeRow(s *sheet, names []string, row environment.Row) {
	alike := !slices.ContainsFunc(row.Settings, func(x *synclinev1.Environment_Setting) bool {
		return settingText(x) != settingText(row.Settings[0])
	})
	if alike {
		s.item("    "+row.Name, settingColumn, settingText(row.Settings[0]))
		return
	}
	s.line("    %s", row.Name)
	for i, x := range row.Settings {
		s.item("      "+names[i], hostColumn, settingText(x))
	}
}

func settingText(x *synclinev1.Environment_Setting) string {
	switch {
	case x == nil:
		return "(not told)"
	case x.Failure != "":
		return "cannot be read: " + x.Failure
	}
	return x.Value
}
