package cli

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"syncline/controller/statistics"
	"syncline/controller/timeline"
)

type diffOptions struct {
	output    string
	phases    []string
	threshold string
	ascii     bool
	// share is the threshold as a share of A's median.
	share float64
}

var diffFormats = []string{"table", "json"}

func (a *app) diffCommand() *cobra.Command {
	var opts diffOptions
	c := &cobra.Command{
		Use:   "diff A B",
		Short: "Say whether two runs differ: in what happened, and in how long it took",
		Long: `Say whether two runs differ: first in what their repetitions came to and in the
order of events, then in how long each phase took.

The order of events is compared as far as it is sure: what each lane called, and what
each end of a connection sent and received. Phases are compared as benchstat does: by
the U-test of Mann and Whitney, which assumes nothing of how times are distributed.
The shift is by how much a time of B is typically longer than one of A, with an
interval that holds it with a probability of 95 %; P(B>A) is the probability that a
time of B is the longer one, 50 % being no difference. p is corrected for how many
phases are compared (Holm). Of a phase that a repetition has several times at the
same end the median is taken; the two ends are told apart. A shift that is not
greater than ± of both runs' clocks is told as one that nobody can know, however many
repetitions there are.

Variants are compared with those of the same name. A and B are runs of the controller
or paths of bundles.

Exit code: 0 no difference was found, 1 they differ, 3 it cannot be told (too few
repetitions, events missing, a shift within ±), others as everywhere.`,
		Example: `  syncline diff r-7f3c2a10 r-81aa77c2
  syncline diff before.syncline after.syncline --threshold 10%
  syncline diff r-7f3c2a10 r-81aa77c2 --phase connect.blocked -o json`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if err := opts.check(); err != nil {
				return err
			}
			return a.showDiff(c.Context(), args[0], args[1], opts)
		},
	}
	formatFlag(c, &opts.output, diffFormats...)
	c.Flags().StringSliceVar(&opts.phases, "phase", nil, "only this phase; may be given several times (default: all)")
	c.Flags().StringVar(&opts.threshold, "threshold", "2%", "a shift of less than this share of A's median is no difference")
	c.Flags().BoolVar(&opts.ascii, "ascii", false, "write ASCII only")
	return c
}

func (o *diffOptions) check() error {
	if !slices.Contains(diffFormats, o.output) {
		return unknownFormat(o.output, diffFormats...)
	}
	text, isShare := strings.CutSuffix(strings.TrimSpace(o.threshold), "%")
	share, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || !isShare || !(share >= 0 && share <= 1e6) {
		return usage("--threshold %q: give a share, as 2%%", o.threshold)
	}
	o.share = share / 100
	return checkPhases(o.phases)
}

func (a *app) showDiff(ctx context.Context, nameA, nameB string, opts diffOptions) error {
	var runs [2]*summarized
	for i, arg := range []string{nameA, nameB} {
		err := a.lookWhole(ctx, arg, func(s *subject) (err error) {
			runs[i], err = s.summarize(ctx)
			return err
		})
		if err != nil {
			return err
		}
	}
	d := diffOf(runs[0], runs[1], opts)
	switch opts.output {
	case "json":
		out := json.NewEncoder(a.Out)
		out.SetIndent("", "  ")
		out.SetEscapeHTML(false)
		if err := out.Encode(d); err != nil {
			return err
		}
	default:
		if err := drawDiff(a.Out, d, a.drawing(a.Out, ladderOptions{ascii: opts.ascii})); err != nil {
			return err
		}
	}
	switch d.Answer {
	case answerDifferent:
		return &exitError{code: exitFailed}
	case answerUnknown:
		return &exitError{code: exitInconclusive}
	}
	return nil
}

// What a comparison comes to, in words.
const (
	answerSame      = "no difference found"
	answerDifferent = "different"
	answerUnknown   = "cannot tell"
)

const diffSchema = "syncline.diff/1"

// runDiff is how two runs differ, as it is told.
type runDiff struct {
	Schema string `json:"schema"`
	// Answer is "no difference found", "different" or "cannot tell", and Because the parts
	// that make it so.
	Answer  string   `json:"answer"`
	Because []string `json:"because"`
	A       diffRun  `json:"a"`
	B       diffRun  `json:"b"`
	// Variants that both have, and those that one alone has.
	Variants []variantDiff `json:"variants"`
	OnlyA    []string      `json:"variants_only_a,omitempty"`
	OnlyB    []string      `json:"variants_only_b,omitempty"`
	// asked is set if somebody asked for phases by their names.
	asked bool
}

type diffRun struct {
	Run         string         `json:"run"`
	Experiment  string         `json:"experiment"`
	Repetitions int            `json:"repetitions"`
	Rulings     map[string]int `json:"rulings"`
	counted     string
}

// variantDiff is how the repetitions of one variant differ.
type variantDiff struct {
	Variant string        `json:"variant,omitempty"`
	Rulings []rulingShare `json:"rulings"`
	Order   orderDiff     `json:"order"`
	Phases  []phaseDiff   `json:"phases"`
	// NotCompared are phases that one of the two has not on record.
	NotCompared []lonePhase `json:"phases_not_compared,omitempty"`
}

// rulingShare is how many repetitions of each came to a ruling, and P the probability of
// shares that differ so much by chance.
type rulingShare struct {
	Ruling    string  `json:"ruling"`
	A         int     `json:"a"`
	B         int     `json:"b"`
	P         float64 `json:"p"`
	Different bool    `json:"different"`
	// tooFew is set if all of one run and none of the other came to it, and they are so few
	// that this may be chance.
	tooFew bool
}

// phaseDiff is how a phase of one end differs: NA and NB repetitions have it, each with the
// median of its lengths. All times are nanoseconds.
type phaseDiff struct {
	Phase   string `json:"phase"`
	End     string `json:"end,omitempty"`
	Part    string `json:"part_of,omitempty"`
	NA      int    `json:"n_a"`
	NB      int    `json:"n_b"`
	MedianA int64  `json:"median_a_ns"`
	MedianB int64  `json:"median_b_ns"`
	Shift   int64  `json:"shift_ns"`
	Low     *int64 `json:"shift_low_ns,omitempty"`
	High    *int64 `json:"shift_high_ns,omitempty"`
	Err     int64  `json:"error_ns"`
	// P is corrected for how many phases are compared.
	P      float64 `json:"p"`
	Longer float64 `json:"probability_b_longer"`
	// Ruling is "alike", "changed", "within error" or "too few".
	Ruling   string   `json:"ruling"`
	Warnings []string `json:"warnings,omitempty"`
	label    string
}

type lonePhase struct {
	Phase string `json:"phase"`
	End   string `json:"end,omitempty"`
	NA    int    `json:"n_a"`
	NB    int    `json:"n_b"`
	label string
}

// shiftRulings are the words of statistics.Ruling.
var shiftRulings = map[statistics.Ruling]string{
	statistics.Alike: "alike", statistics.Changed: "changed", statistics.WithinError: "within error", statistics.TooFew: "too few",
}

// diffOf compares two runs.
func diffOf(a, b *summarized, opts diffOptions) *runDiff {
	d := &runDiff{Schema: diffSchema, A: diffRunOf(a), B: diffRunOf(b), Because: []string{}, Variants: []variantDiff{}, asked: len(opts.phases) > 0}
	inA, inB := variantsOf(a.digests), variantsOf(b.digests)
	for _, v := range inA {
		if !slices.Contains(inB, v) {
			d.OnlyA = append(d.OnlyA, v)
			continue
		}
		d.Variants = append(d.Variants, variantDiffOf(v, ofVariant(a.digests, v), ofVariant(b.digests, v), opts))
	}
	for _, v := range inB {
		if !slices.Contains(inA, v) {
			d.OnlyB = append(d.OnlyB, v)
		}
	}
	d.settle()
	return d
}

func diffRunOf(r *summarized) diffRun {
	out := diffRun{Run: r.run.Id, Experiment: r.run.Experiment, Repetitions: len(r.digests), Rulings: make(map[string]int), counted: rulingsText(r.digests)}
	for _, d := range r.digests {
		out.Rulings[rulingOf(d)]++
	}
	return out
}

func ofVariant(all []*timeline.Digest, variant string) []*timeline.Digest {
	var of []*timeline.Digest
	for _, d := range all {
		if d.Variant == variant {
			of = append(of, d)
		}
	}
	return of
}

func variantDiffOf(variant string, a, b []*timeline.Digest, opts diffOptions) variantDiff {
	v := variantDiff{Variant: variant, Rulings: rulingShares(a, b), Order: orderDiffOf(a, b)}
	v.Phases, v.NotCompared = phaseDiffs(comparable(a), comparable(b), opts)
	return v
}

// rulingShares compares what the repetitions came to.
func rulingShares(a, b []*timeline.Digest) []rulingShare {
	var all []rulingShare
	var ps []float64
	for _, word := range rulings {
		is := func(d *timeline.Digest) bool { return rulingOf(d) == word }
		s := rulingShare{Ruling: word, A: countDigests(a, is), B: countDigests(b, is)}
		if s.A+s.B > 0 {
			s.P = statistics.Fisher(s.A, len(a), s.B, len(b))
			all, ps = append(all, s), append(ps, s.P)
		}
	}
	for i, p := range sharesAdjusted(ps) {
		s := &all[i]
		s.P, s.Different = p, p < statistics.Alpha
		s.tooFew = !s.Different && (s.A == len(a) && s.B == 0 || s.B == len(b) && s.A == 0)
	}
	return all
}

func countDigests(all []*timeline.Digest, is func(*timeline.Digest) bool) int {
	n := 0
	for _, d := range all {
		if is(d) {
			n++
		}
	}
	return n
}

// comparable are the repetitions whose phases are compared: those that passed, or all if
// none did.
func comparable(all []*timeline.Digest) []*timeline.Digest {
	var passed []*timeline.Digest
	for _, d := range all {
		if rulingOf(d) == timeline.Pass.String() {
			passed = append(passed, d)
		}
	}
	if len(passed) == 0 {
		return all
	}
	return passed
}

// phaseDiffs compares each phase that both have.
func phaseDiffs(a, b []*timeline.Digest, opts diffOptions) (all []phaseDiff, lone []lonePhase) {
	samplesA, samplesB := samplesOf(a), samplesOf(b)
	var made []*statistics.Comparison
	all = []phaseDiff{}
	for _, e := range endPhases(samplesA, samplesB) {
		x, y := samplesA[e], samplesB[e]
		label := e.label(samplesA, samplesB)
		switch {
		case !isWanted(opts.phases, e.name):
		case x.size() == 0 || y.size() == 0:
			lone = append(lone, lonePhase{Phase: e.name, End: e.endName(), NA: x.size(), NB: y.size(), label: label})
		default:
			c := statistics.Compare(x.lengths(), y.lengths())
			made = append(made, &c)
			part := x.part
			if part != y.part {
				part = ""
			}
			all = append(all, phaseDiff{
				Phase: e.name, End: e.endName(), Part: part, NA: c.A.N, NB: c.B.N, MedianA: c.A.Median, MedianB: c.B.Median, label: label,
			})
		}
	}
	statistics.Adjust(made)
	for i, c := range made {
		p := &all[i]
		p.Shift, p.Err, p.P, p.Longer, p.Warnings = c.Shift, c.Err, c.P, c.Longer, c.Warnings
		if c.HasInterval {
			p.Low, p.High = &c.ShiftLow, &c.ShiftHigh
		}
		p.Ruling = shiftRulings[c.Ruling(opts.share)]
	}
	return all, lone
}

// settle finds what all of it comes to.
func (d *runDiff) settle() {
	var different, unknown []string
	if len(d.OnlyA)+len(d.OnlyB) > 0 {
		different = append(different, "variants that one run alone has")
	}
	compared, few, lone := 0, 0, 0
	for i := range d.Variants {
		v := &d.Variants[i]
		of := ""
		if v.Variant != "" {
			of = " of " + v.Variant
		}
		for _, r := range v.Rulings {
			switch {
			case r.Different:
				different = append(different, "how many repetitions"+of+" came to "+r.Ruling)
			case r.tooFew:
				unknown = append(unknown, "how many repetitions"+of+" came to "+r.Ruling)
			}
		}
		switch v.Order.Answer {
		case answerDifferent:
			different = append(different, "the order of events"+of)
		case answerUnknown:
			unknown = append(unknown, "the order of events"+of)
		}
		lone += len(v.NotCompared)
		for _, p := range v.Phases {
			switch compared++; p.Ruling {
			case "too few":
				few++
			case "changed":
				different = append(different, p.label+of)
			case "within error":
				unknown = append(unknown, p.label+of)
			}
		}
	}
	switch {
	case compared == 0 && (lone > 0 || d.asked):
		unknown = append(unknown, "phases: none of them is on record in both")
	case compared > 0 && 2*few >= compared:
		unknown = append(unknown, "most phases: there are too few repetitions to tell any difference from chance")
	}
	switch {
	case len(different) > 0:
		d.Answer, d.Because = answerDifferent, different
	case len(unknown) > 0:
		d.Answer, d.Because = answerUnknown, unknown
	default:
		d.Answer = answerSame
	}
}
