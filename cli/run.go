package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller"
	"syncline/controller/experiment"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// progressEvery is how often a run that nobody watches on a terminal says how far
// it is.
const progressEvery = 5 * time.Second

// cancelLimit bounds the wait for a run that was cancelled to be sealed.
const cancelLimit = 30 * time.Second

// runOptions say how an experiment is run.
type runOptions struct {
	repeat   int
	bindings map[string]string
	timeout  time.Duration
	// sets are as they were given; set is what check read of them.
	sets  []string
	set   map[string]string
	cases []string
	// rounds measure what watching costs; 0: none.
	rounds int
	probes probeOptions
}

func (o *runOptions) flags(c *cobra.Command) {
	c.Flags().IntVar(&o.repeat, "repeat", 0, "repetitions (default: what the file says)")
	c.Flags().DurationVar(&o.timeout, "timeout", 0, "cancel the run after this long (exit 124)")
	c.Flags().StringArrayVar(&o.sets, "set", nil, "NAME=VALUE, another value for a variable of the file; may be repeated")
	c.Flags().IntVar(&o.rounds, "measure-overhead", 0, fmt.Sprintf("measure what watching costs: repeat the lanes in ROUNDS of their own, bare, with all sources and with each (without =ROUNDS: %d)", defaultRounds))
	c.Flags().Lookup("measure-overhead").NoOptDefVal = strconv.Itoa(defaultRounds)
	c.Flags().StringArrayVar(&o.cases, "case", nil, "run this case of the file only; may be repeated")
	o.probes.flags(c)
}

func (o *runOptions) check(c *cobra.Command) error {
	if c.Flags().Changed("repeat") && o.repeat < 1 {
		return &exitError{code: exitUsage, err: fmt.Errorf("--repeat %d: give a number from 1", o.repeat)}
	}
	if c.Flags().Changed("timeout") && o.timeout <= 0 {
		return &exitError{code: exitUsage, err: fmt.Errorf("--timeout %v: give a time above 0, as in 30s", o.timeout)}
	}
	if c.Flags().Changed("measure-overhead") && o.rounds < 1 {
		return &exitError{code: exitUsage, err: fmt.Errorf("--measure-overhead=%d: give a number of rounds from 1; six are the fewest that make an interval of 95 %%", o.rounds)}
	}
	if err := o.probes.check(c, "probe-rate"); err != nil {
		return err
	}
	o.set = map[string]string{}
	for _, s := range o.sets {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return &exitError{code: exitUsage, err: fmt.Errorf("--set %s: write NAME=VALUE, as in port=9000", s)}
		}
		o.set[name] = value
	}
	return nil
}

// plan is what the options change of a file.
func (o *runOptions) plan() experiment.Options {
	return experiment.Options{Runs: o.repeat, Set: o.set, Cases: o.cases}
}

func (a *app) runCommand() *cobra.Command {
	var opts runOptions
	var hosts []string
	var output string
	c := &cobra.Command{
		Use:   "run FILE",
		Short: "Run an experiment on the agents of a controller",
		Long: `Run an experiment on the agents of a controller, and judge it. FILE is an
experiment file, - for standard input, or the name of a scenario of the library.

Exit: 0 all expectations hold, 1 one does not, 2 the file or the command line is
wrong, 3 cannot tell, 4 no controller, 5 refused, 124 timeout, 130 interrupted.`,
		Example: `  syncline run basic-open-close
  syncline run handshake.yaml --repeat 50
  syncline run handshake.yaml --host A=vm1 --host B=vm7
  syncline run handshake.yaml --measure-overhead=50`,
		Args: oneArgument("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return unknownFormat(output, "table", "json")
			}
			var err error
			if opts.bindings, err = parseBindings(hosts); err != nil {
				return err
			}
			if err := opts.check(c); err != nil {
				return err
			}
			return a.runFile(c.Context(), args[0], opts, output)
		},
	}
	opts.flags(c)
	c.Flags().StringArrayVar(&hosts, "host", nil, "ROLE=AGENT, where labels should not decide; may be repeated")
	formatFlag(c, &output, "table", "json")
	return c
}

func parseBindings(all []string) (map[string]string, error) {
	bindings := map[string]string{}
	for _, b := range all {
		role, agent, ok := strings.Cut(b, "=")
		if !ok || role == "" || agent == "" {
			return nil, &exitError{code: exitUsage, err: fmt.Errorf("--host %s: write ROLE=AGENT, as in A=vm1", b)}
		}
		if other, twice := bindings[role]; twice {
			return nil, &exitError{code: exitUsage, err: fmt.Errorf("--host %s: role %s is played by %s already", b, role, other)}
		}
		bindings[role] = agent
	}
	return bindings, nil
}

func (a *app) runFile(ctx context.Context, file string, opts runOptions, output string) error {
	exp, source, err := a.readExperiment(file, opts.plan())
	if err != nil {
		return err
	}
	cl, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	run, err := a.execute(ctx, cl, file, source, opts)
	if run == nil {
		return err
	}
	if output == "json" {
		if werr := writeJSON(a.Out, run, true); werr != nil {
			return werr
		}
	}
	if err != nil {
		return err
	}
	summary, err := collectVerdicts(ctx, cl, run)
	if err != nil {
		return err
	}
	if output == "table" {
		if err := a.drawRun(a.Out, run, summary, ladderOptions{}); err != nil {
			return err
		}
	}
	if summary.tally.Repetitions > 0 {
		fmt.Fprintf(a.Err, "next: %s\n", shellCommand("syncline", "ladder", ladderRef(run.Id, summary)))
	}
	return outcome(exp, run, summary)
}

// execute starts a run and follows it to its final state. Interrupted or timed out,
// it cancels the run and waits for what was recorded.
func (a *app) execute(ctx context.Context, cl *client, file string, source []byte, opts runOptions) (*synclinev1.Run, error) {
	created, err := cl.runs.CreateRun(ctx, &synclinev1.CreateRunRequest{
		RequestId: rand.Text(), FileName: file, Source: source,
		Repetitions: uint32(opts.repeat), Bindings: opts.bindings, Set: opts.set, Cases: opts.cases,
		OverheadRounds: uint32(opts.rounds), Probing: opts.probes.message(),
	})
	if err != nil {
		return nil, answered(err)
	}
	id := created.Run.Id
	// No deadline: gRPC would tell it to the controller, whose clock may be the first
	// to reach it, and whose answer says less than we know.
	watching, stop := context.WithCancel(ctx)
	defer stop()
	if opts.timeout > 0 {
		defer time.AfterFunc(opts.timeout, stop).Stop()
	}
	run, err := a.follow(watching, cl, id)
	if err == nil || watching.Err() == nil {
		return run, err
	}
	cause, code := "interrupted by its operator", exitInterrupted
	if ctx.Err() == nil {
		cause, code = fmt.Sprintf("took longer than --timeout %v", opts.timeout), exitTimeout
	}
	fmt.Fprintf(a.Err, "cancelling run %s; once more to leave at once\n", id)
	rest, stopRest := context.WithTimeout(context.WithoutCancel(ctx), cancelLimit)
	defer stopRest()
	_, err = cl.runs.CancelRun(rest, &synclinev1.CancelRunRequest{Id: id, Reason: cause})
	if err != nil && status.Code(err) != codes.FailedPrecondition { // which says that it is over
		return nil, answered(err)
	}
	run, err = a.follow(rest, cl, id)
	if err != nil {
		return nil, err
	}
	if run.State != synclinev1.RunState_RUN_STATE_CANCELLED {
		return run, nil
	}
	return run, &exitError{code: code, err: fmt.Errorf("run %s was cancelled in repetition %d of %d: %s", id, run.RepetitionsDone+1, run.Repetitions, cause)}
}

// follow watches a run to its final state and says how far it is.
func (a *app) follow(ctx context.Context, cl *client, id string) (*synclinev1.Run, error) {
	live, _ := terminal(a.Err)
	p := &progress{w: a.Err, live: live}
	defer p.end()
	var last *synclinev1.Run
	err := cl.again.do(ctx, func() (heard bool, err error) {
		stream, err := cl.runs.WatchRun(ctx, &synclinev1.WatchRunRequest{Id: id})
		if err != nil {
			return false, err
		}
		for {
			m, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return true, nil
			}
			if err != nil {
				return heard, err
			}
			heard, last = true, m.Run
			p.show(last)
		}
	})
	if err != nil {
		return last, lostTrack(id, last, err)
	}
	return last, nil
}

// lostTrack says where a run was when its controller was heard of last.
func lostTrack(id string, last *synclinev1.Run, err error) error {
	if status.Code(err) != codes.Unavailable {
		return answered(err)
	}
	where := "run " + id
	if last != nil {
		where = fmt.Sprintf("repetition %d of %d of run %s", min(last.RepetitionsDone+1, last.Repetitions), last.Repetitions, id)
	}
	return &exitError{code: exitUnreachable, err: fmt.Errorf("lost the controller in %s: %s\nWhen it is back: syncline get runs", where, status.Convert(err).Message())}
}

// progress is one line that moves on a terminal, and a line now and then elsewhere.
type progress struct {
	w     io.Writer
	live  bool
	shown bool
	last  time.Time
}

func (p *progress) show(r *synclinev1.Run) {
	line := fmt.Sprintf("run %s  %s  %d/%d  %s", r.Id, r.Experiment, r.RepetitionsDone, r.Repetitions, enumWord(r.State.String(), "RUN_STATE_"))
	if o := r.Overhead; o.GetFirst() > 0 && len(o.Settings) == 0 {
		line += fmt.Sprintf(", measuring: round %d of %d", o.RoundsDone, o.Rounds)
	}
	p.line(line)
}

// line shows how far something is, if it is time to.
func (p *progress) line(line string) {
	switch {
	case p.live:
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
		p.shown = true
	case p.last.IsZero():
		p.last = time.Now()
	case time.Since(p.last) >= progressEvery:
		fmt.Fprintln(p.w, line)
		p.last = time.Now()
	}
}

func (p *progress) end() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// runSummary is what all repetitions of a run came to.
type runSummary struct {
	tally             timeline.Summary
	variants          []*variantSummary
	matched, segments uint64
	// worst is the first repetition that did not pass, 0 if all did; one that was not
	// reproduced only if there is nothing worse, which skipped says.
	worst   uint32
	skipped bool
	// clean is the first repetition in which everything passed, 0 if there was none.
	clean uint32
}

// variantSummary is what the repetitions of one variant came to.
type variantSummary struct {
	name  string
	tally timeline.Summary
	// reproduced counts the repetitions that showed what they were to show.
	reproduced int
}

// of is the summary of a variant; they come in the order in which they ran.
func (s *runSummary) of(variant string) *variantSummary {
	for _, v := range s.variants {
		if v.name == variant {
			return v
		}
	}
	v := &variantSummary{name: variant}
	s.variants = append(s.variants, v)
	return v
}

func (s *runSummary) add(repetition int, variant string, verdicts []timeline.Verdict) {
	s.tally.Add(repetition, verdicts)
	v := s.of(variant)
	v.tally.Add(repetition, verdicts)
	if !slices.ContainsFunc(verdicts, func(v timeline.Verdict) bool { return v.Ruling == timeline.NotReproduced }) {
		v.reproduced++
	}
}

// ruling speaks for the run. Where a file repeats until something was reproduced often
// enough, the repetitions in which it was not are no shortcoming.
func (s *runSummary) ruling(exp *experiment.Experiment) timeline.Ruling {
	ruling := s.tally.Ruling()
	if ruling != timeline.NotReproduced || exp.Repeat.UntilReproduced == 0 {
		return ruling
	}
	for _, v := range s.variants {
		if v.reproduced < exp.Repeat.UntilReproduced {
			return ruling
		}
	}
	return timeline.Pass
}

func collectVerdicts(ctx context.Context, cl *client, run *synclinev1.Run) (*runSummary, error) {
	stream, err := cl.timelines.ListVerdicts(ctx, &synclinev1.ListVerdictsRequest{RunId: run.Id})
	if err != nil {
		return nil, answered(err)
	}
	s := &runSummary{}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return nil, answered(err)
		}
		var verdicts []timeline.Verdict
		for _, v := range m.Verdicts {
			verdicts = append(verdicts, controller.VerdictFromProto(v))
		}
		s.add(int(m.Repetition), m.Variant, verdicts)
		s.matched += uint64(m.SegmentsMatched)
		s.segments += uint64(m.Segments)
		if s.clean == 0 && timeline.Worst(verdicts) == timeline.Pass {
			s.clean = m.Repetition
		}
		if worst := timeline.Worst(verdicts); worst != timeline.Pass && (s.worst == 0 || s.skipped && worst != timeline.NotReproduced) {
			s.worst, s.skipped = m.Repetition, worst == timeline.NotReproduced
		}
	}
}

// drawRun writes what a run came to: a line on the run, then its verdicts and what
// watching it costs.
func (a *app) drawRun(w io.Writer, run *synclinev1.Run, s *runSummary, look ladderOptions) error {
	took := time.Duration(run.EndedNs - run.CreatedNs).Round(100 * time.Millisecond)
	of := ""
	if run.Overhead.GetLast() > 0 {
		of = ", those that measured included"
	}
	_, err := fmt.Fprintf(w, "run %s  %s  %d/%d %s in %v\n  %d events%s  %d packets, %d seen at both ends\n",
		run.Id, run.Experiment, run.RepetitionsDone, run.Repetitions, enumWord(run.State.String(), "RUN_STATE_"), took,
		run.Events, of, s.segments, s.matched)
	if err != nil {
		return err
	}
	o := a.drawing(w, look)
	for _, text := range run.Warnings {
		for _, line := range o.wrap("  ! ", strings.Fields(text), " ") {
			if _, err := fmt.Fprintln(w, line); err != nil {
				return err
			}
		}
	}
	if err := a.drawVariants(w, s, look); err != nil {
		return err
	}
	_, err = io.WriteString(w, describeOverhead(run, o))
	return err
}

// drawVariants writes the verdicts of a run, by variant if it has several.
func (a *app) drawVariants(w io.Writer, s *runSummary, look ladderOptions) error {
	if len(s.variants) < 2 {
		return drawSummary(w, &s.tally, a.drawing(w, look))
	}
	for _, v := range s.variants {
		if _, err := fmt.Fprintf(w, "%s, %d repetitions\n", v.name, v.tally.Repetitions); err != nil {
			return err
		}
		if err := drawSummary(w, &v.tally, a.drawing(w, look)); err != nil {
			return err
		}
	}
	return nil
}

// drawing is how pictures are drawn on w.
func (a *app) drawing(w io.Writer, look ladderOptions) drawOptions {
	is, width := terminal(w)
	if look.width > 0 {
		width = look.width
	}
	return drawOptions{Width: width, ASCII: look.ascii, Colour: !a.noColor && (is || os.Getenv("FORCE_COLOR") != "")}
}

func ladderRef(id string, s *runSummary) string {
	if n := s.telling(); n > 0 {
		return fmt.Sprintf("%s@%d", id, n)
	}
	return id
}

// telling is the repetition to look at first: one that did not pass, if there is one;
// but rather one that passed than one that was only not reproduced. 0: any.
func (s *runSummary) telling() uint32 {
	if s.skipped && s.clean > 0 {
		return s.clean
	}
	return s.worst
}

// notWhole says what a run that did not come to its own end lacks.
func notWhole(run *synclinev1.Run) error {
	return &exitError{code: exitInconclusive, err: fmt.Errorf("run %s is not whole: %s", run.Id, run.Reason)}
}

// outcome is the exit code of a run: what its worst verdict says, but a run that is
// not whole can say nothing better than that it cannot tell.
func outcome(exp *experiment.Experiment, run *synclinev1.Run, s *runSummary) error {
	ruling := s.ruling(exp)
	switch {
	case ruling == timeline.Fail:
		return &exitError{code: exitFailed}
	case run.State != synclinev1.RunState_RUN_STATE_SEALED:
		return notWhole(run)
	case ruling != timeline.Pass:
		return &exitError{code: exitInconclusive}
	}
	return nil
}
