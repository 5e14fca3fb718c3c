package cli

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"syncline/controller/experiment"
	synclinev1 "syncline/proto/syncline/v1"
)

func (a *app) planCommand() *cobra.Command {
	var opts runOptions
	var hosts []string
	var output string
	c := &cobra.Command{
		Use:   "plan FILE",
		Short: "Say what a run would be, and start none",
		Long: `Say what a run would be with the agents that are connected now, and start none:
who plays which role, what each can see, how well their clocks will be known, which
verdicts rest on what nobody will see or the clocks cannot decide, how many repetitions
there are and how long they take. The agents probe each other's clocks for a moment;
else they hear nothing of it.

Exit: 0 the run could start now, 2 the file or the command line is wrong, 4 no
controller, 5 something keeps the run from starting.`,
		Example: `  syncline plan basic-open-close
  syncline plan handshake.yaml --repeat 50 --host A=vm1
  syncline plan handshake.yaml -o json`,
		Args: oneArgument("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return unknownFormat(output, "text", "json")
			}
			var err error
			if opts.bindings, err = parseBindings(hosts); err != nil {
				return err
			}
			if err := opts.check(c); err != nil {
				return err
			}
			return a.planFile(c.Context(), args[0], opts, output)
		},
	}
	c.Flags().IntVar(&opts.repeat, "repeat", 0, "repetitions (default: what the file says)")
	c.Flags().StringArrayVar(&opts.sets, "set", nil, "NAME=VALUE, another value for a variable of the file; may be repeated")
	c.Flags().StringArrayVar(&opts.cases, "case", nil, "plan this case of the file only; may be repeated")
	c.Flags().StringArrayVar(&hosts, "host", nil, "ROLE=AGENT, where labels should not decide; may be repeated")
	opts.probes.flags(c)
	formatFlag(c, &output, "text", "json")
	return c
}

func (a *app) planFile(ctx context.Context, file string, opts runOptions, output string) error {
	_, source, err := a.readExperiment(file, opts.plan())
	if err != nil {
		return err
	}
	return a.ask(ctx, func(cl *client) error {
		answer, err := cl.runs.PlanExperiment(ctx, &synclinev1.PlanExperimentRequest{
			FileName: file, Source: source, Repetitions: uint32(opts.repeat), Bindings: opts.bindings, Set: opts.set, Cases: opts.cases,
			Probing: opts.probes.message(),
		})
		if err != nil {
			return answered(err)
		}
		if output == "json" {
			err = writeJSON(a.Out, answer.Plan, true)
		} else {
			s := newSheet(a.Out)
			describePlan(s, answer.Plan)
			err = s.to(a.Out)
		}
		if err == nil && len(answer.Plan.GetUnmet()) > 0 {
			return &exitError{code: exitRefused}
		}
		return err
	})
}

// describePlan writes a plan: who, what is seen, what is asked, what that leaves of the
// verdicts, and how long it takes.
func describePlan(s *sheet, p *synclinev1.Plan) {
	s.line("plan of %s", p.Experiment)
	const at = 14
	s.item("  repetitions", at, planRepetitions(p))
	s.item("  time", at, planTime(p))
	if len(p.Needs) > 0 {
		s.item("  needs", at, planNeeds(p.Needs))
	}
	for i, need := range p.UnknownNeeds {
		s.item(titled(i, "  unknown"), at, "not known of "+need)
	}
	for i, r := range p.Requirements {
		s.item(titled(i, "  requires"), at, r+", which the agent checks when the run starts")
	}
	for i, why := range p.Unmet {
		s.item(titled(i, "  cannot start"), at+2, why)
	}
	s.blank()
	s.line("hosts")
	for _, h := range p.Hosts {
		if h.Agent == "" {
			s.item("  "+h.Name, at, "no agent")
			continue
		}
		s.item("  "+h.Name, at, strings.Join(nonEmpty("agent "+h.Agent, h.Address, h.Address6), "  "))
		s.item("", at, "kernel "+orUnknown(h.Kernel))
		if h.TestClock != "" {
			s.item("", at, "test clock "+h.TestClock+": its times are of no clock that exists")
		}
		describeSources(s, h.Capabilities, at)
	}
	describePlannedClocks(s, p)
	s.blank()
	if slices.ContainsFunc(p.Hosts, func(h *synclinev1.RunHost) bool { return h.Agent == "" }) {
		s.line("of a host without an agent nobody knows what it will see; the verdicts are told as if it saw everything")
	}
	for i, v := range p.Variants {
		if i > 0 && sameDoubts(p.Variants[0], v) {
			s.line("verdicts of %s: as of %s", v.Name, orOnly(p.Variants[0].Name))
			continue
		}
		describePlannedVerdicts(s, v)
	}
}

// describePlannedClocks writes how well the clocks of each pair of hosts will be known, and
// for which expectations that may not be enough. Of many pairs the worst are told.
func describePlannedClocks(s *sheet, p *synclinev1.Plan) {
	if len(p.Clocks) == 0 && len(p.ClockDoubts) == 0 {
		return
	}
	s.blank()
	s.line("clocks")
	const at = 14
	clocks := slices.Clone(p.Clocks)
	if len(clocks) > headerMost {
		slices.SortStableFunc(clocks, func(a, b *synclinev1.PlanClock) int { return cmp.Compare(clockWorth(b), clockWorth(a)) })
	}
	for i, c := range clocks {
		if i == headerMost {
			s.item("", at, fmt.Sprintf("… %s, none known worse", numbered(len(clocks)-i, "more pair", "more pairs")))
			break
		}
		s.item(fmt.Sprintf("  %s ↔ %s", c.Host, c.Peer), at, planClock(c))
	}
	for _, doubt := range p.ClockDoubts {
		s.item("  ?", 4, doubt)
	}
}

// clockWorth is the error of a pair; what is not known is the worst.
func clockWorth(c *synclinev1.PlanClock) int64 {
	if c.ErrorNs == nil {
		return math.MaxInt64
	}
	return *c.ErrorNs
}

func planClock(c *synclinev1.PlanClock) string {
	by := ""
	if c.By != "" {
		by = " (" + c.By + ")"
	}
	if c.ErrorNs == nil {
		return "how well is not known before the run" + by
	}
	return "will be known to ±" + spanUp(max(*c.ErrorNs, 0)) + by
}

// planNeeds tells what agents were asked for from what is for people to see to.
func planNeeds(all []string) string {
	text := strings.Join(all, ", ") + ", says the file"
	var people []string
	for _, n := range all {
		if experiment.KnownNeed(n) == "" {
			people = append(people, n)
		}
	}
	if len(people) > 0 {
		text += "; no agent was asked for: " + strings.Join(people, ", ")
	}
	return text
}

func planRepetitions(p *synclinev1.Plan) string {
	text := fmt.Sprintf("%d", p.Repetitions)
	if n := len(p.Variants); n > 1 {
		text += fmt.Sprintf(", of %d variants: ", n)
		var each []string
		for _, v := range p.Variants {
			each = append(each, fmt.Sprintf("%s %d", v.Name, v.Repetitions))
		}
		text += strings.Join(each, ", ")
	}
	warmup := uint32(0)
	for _, v := range p.Variants {
		warmup += v.Warmup
	}
	if warmup > 0 {
		text += fmt.Sprintf("; %d of them to warm up, not judged", warmup)
	}
	return text
}

// planTime says how long the run takes, and how that is known.
func planTime(p *synclinev1.Plan) string {
	bounds := fmt.Sprintf("%s at least, by what its lanes sleep; %s if every repetition takes all of its timeout", lasts(p.LeastNs), lasts(p.MostNs))
	if p.LikelyRunId == "" {
		return bounds
	}
	return fmt.Sprintf("about %s, going by run %s; %s", lasts(p.LikelyNs), p.LikelyRunId, bounds)
}

// lasts is a length of time as people read it: three digits at most below a minute.
func lasts(ns int64) string {
	d := time.Duration(ns)
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Millisecond).String()
}

func orOnly(name string) string {
	if name == "" {
		return "the first"
	}
	return name
}

// sameDoubts reports whether two variants expect the same and lack the same.
func sameDoubts(a, b *synclinev1.PlanVariant) bool {
	if len(a.Verdicts) != len(b.Verdicts) {
		return false
	}
	for i := range a.Verdicts {
		if a.Verdicts[i].Expectation != b.Verdicts[i].Expectation || a.Verdicts[i].Doubt != b.Verdicts[i].Doubt {
			return false
		}
	}
	return true
}

// describePlannedVerdicts writes the expectations of a variant: those that can be
// judged, then those of which something will be missing.
func describePlannedVerdicts(s *sheet, v *synclinev1.PlanVariant) {
	of := ""
	if v.Name != "" {
		of = " of " + v.Name
	}
	doubted := 0
	for _, x := range v.Verdicts {
		if x.Doubt != "" {
			doubted++
		}
	}
	if doubted == 0 {
		s.line("verdicts%s: nothing that they rest on will be missing", of)
	} else {
		s.line("verdicts%s: %d of %d are \"cannot tell\", unless the rest of the record decides", of, doubted, len(v.Verdicts))
	}
	for _, x := range v.Verdicts {
		if x.Doubt == "" {
			s.item("  ✓", 4, x.Expectation)
			continue
		}
		s.item("  ?", 4, x.Expectation)
		s.item("", 6, x.Doubt)
	}
}
