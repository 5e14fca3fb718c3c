package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	synclinev1 "syncline/proto/syncline/v1"
)

// Limits of the contract, told here before anything is sent.
const (
	mostPoints    = 10_000
	mostProbeRate = 100
	mostProbeTime = time.Minute
)

func (a *app) clockCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "clock",
		Short: "Say how the clocks of hosts differ, and how surely that is known",
		Long: `Say how the clocks of hosts differ, and how surely that is known: over a run, or
now. Each answer is an interval that holds the truth, by probes and by the run's
own packets alone and by both together.`,
		Example: `  syncline clock show r-7f3c2a10         over a run: offset, rate, ± of each host
  syncline clock probe vm1 vm2           now, without a run
  syncline clock show r-7f3c2a10 --raw   what each host's clocks said, no model`,
		SuggestionsMinimumDistance: 2,
		Args:                       unknownCommand,
		RunE:                       func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.clockShowCommand(), a.clockProbeCommand())
	return c
}

// clockOptions say what is asked of clocks and how it is shown.
type clockOptions struct {
	output    string
	reference string
	plot      string
	points    int
	width     int
	ascii     bool
}

func (o *clockOptions) flags(c *cobra.Command) {
	formatFlag(c, &o.output, "text", "json")
	c.Flags().StringVar(&o.reference, "reference", "", "the host whose clock is the lab's (default: the one that makes the largest ± least)")
	c.Flags().IntVar(&o.points, "points", 0, "how many moments, evenly spread (default: 60)")
	c.Flags().StringVar(&o.plot, "plot", plotOffset, "draw each host's "+plotOffset+" less a straight line, its "+plotError+", or "+plotNothing)
	c.Flags().BoolVar(&o.ascii, "ascii", false, "draw with ASCII only")
	c.Flags().IntVar(&o.width, "width", 0, "columns (default: the terminal's)")
}

func (o *clockOptions) check(c *cobra.Command) error {
	if o.output != "text" && o.output != "json" {
		return unknownFormat(o.output, "text", "json")
	}
	if c.Flags().Changed("points") && (o.points < 1 || o.points > mostPoints) {
		return usage("--points %d: give a number from 1 to %d", o.points, mostPoints)
	}
	if c.Flags().Changed("width") && o.width < minWidth {
		return usage("--width %d: give at least %d columns", o.width, minWidth)
	}
	if kinds := []string{plotOffset, plotError, plotNothing}; !slices.Contains(kinds, o.plot) {
		return usage("--plot %s: there are: %s", o.plot, strings.Join(kinds, ", "))
	}
	return nil
}

// usage is an error of the command line; nothing was sent.
func usage(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

func (a *app) clockShowCommand() *cobra.Command {
	var opts clockOptions
	var raw bool
	c := &cobra.Command{
		Use:   "show RUN [HOST...]",
		Short: "Say how the clocks of a run's hosts differed, at any moment of it",
		Long: `Say how the clocks of a run's hosts differed, at any moment of it: offset and rate
against the reference, with ± that surely holds, by probes alone, by the run's own
packets alone, and by both; what the pairs told each other; what happened to clocks.
With HOSTs, of these only; -o json has all, times in nanoseconds.

Exit: 0 every clock is known, 2 the command line is wrong, 3 a clock is not known or
the two methods contradict each other, 4 no controller, 5 refused.`,
		Example: `  syncline clock show r-7f3c2a10
  syncline clock show r-7f3c2a10 B --plot error
  syncline clock show r-7f3c2a10 --reference B --points 1000 -o json
  syncline clock show r-7f3c2a10 --raw`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("%s takes a RUN.\nTry: syncline get runs, then: %s", c.CommandPath(), strings.TrimSpace(c.Example[:strings.Index(c.Example, "\n")]))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := opts.check(c); err != nil {
				return err
			}
			return a.lookWhole(c.Context(), args[0], func(s *subject) error {
				if raw {
					return a.showRawClocks(c.Context(), s.client, s.id, args[1:], opts)
				}
				return a.showClock(c.Context(), s.client, s.id, args[1:], opts)
			})
		},
	}
	opts.flags(c)
	c.Flags().BoolVar(&raw, "raw", false, "what each host's own clocks said, not put on one clock")
	c.MarkFlagsMutuallyExclusive("raw", "reference")
	c.MarkFlagsMutuallyExclusive("raw", "points")
	return c
}

func (a *app) showClock(ctx context.Context, cl *client, run string, hosts []string, opts clockOptions) error {
	answer, err := cl.timelines.GetClock(ctx, &synclinev1.GetClockRequest{RunId: run, Reference: opts.reference, Points: uint32(opts.points)})
	if err != nil {
		return answered(err)
	}
	return a.writeClock(answer.Report, hosts, opts)
}

// writeClock writes a report, and says by its exit code if it leaves anything open.
func (a *app) writeClock(r *synclinev1.ClockReport, hosts []string, opts clockOptions) error {
	if r == nil || len(r.Hosts) == 0 || int(r.Reference) >= len(r.Hosts) {
		return &exitError{code: exitInconclusive, err: errors.New("the controller's report on clocks has no hosts")}
	}
	shown, err := hostsOf(r, hosts)
	if err != nil {
		return err
	}
	if opts.output == "json" {
		err = writeJSON(a.Out, r, true)
	} else {
		err = drawClock(a.Out, r, shown, opts.plot, a.drawing(a.Out, ladderOptions{ascii: opts.ascii, width: opts.width}))
	}
	if err == nil && openQuestions(r, shown) {
		return &exitError{code: exitInconclusive}
	}
	return err
}

// hostsOf are the indices of the hosts that were named, all if none was.
func hostsOf(r *synclinev1.ClockReport, names []string) ([]int, error) {
	var all []string
	for _, h := range r.Hosts {
		all = append(all, h.Host)
	}
	var shown []int
	for i, h := range r.Hosts {
		if len(names) == 0 || slices.Contains(names, h.Host) || slices.Contains(names, h.Agent) {
			shown = append(shown, i)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(r.Hosts, func(h *synclinev1.ClockHost) bool { return h.Host == name || h.Agent == name }) {
			return nil, usage("no host %q; there are: %s", name, strings.Join(all, ", "))
		}
	}
	return shown, nil
}

// openQuestions reports whether the clock of a shown host is not known at some point, or
// two methods contradict each other about it.
func openQuestions(r *synclinev1.ClockReport, shown []int) bool {
	for _, i := range shown {
		if i == int(r.Reference) {
			continue
		}
		h := r.Hosts[i]
		if h.Method == "unknown" || slices.ContainsFunc(h.Points, func(p *synclinev1.ClockPoint) bool { return !bounded(p.All) }) {
			return true
		}
	}
	return slices.ContainsFunc(r.Pairs, func(p *synclinev1.ClockPair) bool { return p.Disagree && pairShown(r, p, shown) })
}

func (a *app) clockProbeCommand() *cobra.Command {
	var opts clockOptions
	var probing probeOptions
	var length time.Duration
	c := &cobra.Command{
		Use:   "probe AGENT AGENT...",
		Short: "Measure now how the clocks of agents differ, without a run",
		Long: `Measure now how the clocks of agents differ, without a run: the agents exchange small
datagrams that their kernels stamp, from the addresses from which they would play.
What is printed is as of syncline clock show.

Exit: 0 every clock is known, 2 the command line is wrong, 3 a clock is not known,
4 no controller, 5 refused.`,
		Example: `  syncline clock probe vm1 vm2
  syncline clock probe vm1 vm2 vm3 --for 10s --rate 50 --all-pairs`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usage("%s takes two AGENTs or more, as in: %s vm1 vm2.\nTry: syncline get agents", c.CommandPath(), c.CommandPath())
			}
			for i, name := range args {
				if slices.Contains(args[:i], name) {
					return usage("agent %s is named twice", name)
				}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := opts.check(c); err != nil {
				return err
			}
			if err := probing.check(c, "rate"); err != nil {
				return err
			}
			if length <= 0 || length > mostProbeTime {
				return usage("--for %v: give a time above 0, and at most %v", length, mostProbeTime)
			}
			return a.ask(c.Context(), func(cl *client) error {
				if length > progressEvery {
					fmt.Fprintf(a.Err, "probing %s for %v\n", strings.Join(args, ", "), length)
				}
				answer, err := cl.timelines.ProbeClocks(c.Context(), &synclinev1.ProbeClocksRequest{
					Agents: args, Reference: opts.reference, DurationNs: int64(length),
					Rate: uint32(probing.rate), AllPairs: probing.allPairs, Points: uint32(opts.points),
				})
				if err != nil {
					return answered(err)
				}
				return a.writeClock(answer.Report, nil, opts)
			})
		},
	}
	opts.flags(c)
	c.Flags().DurationVar(&length, "for", 2*time.Second, "how long")
	c.Flags().IntVar(&probing.rate, "rate", 0, "exchanges a second with each peer (default: 10)")
	c.Flags().BoolVar(&probing.allPairs, "all-pairs", false, "probe every pair of agents, and not only as many as are needed")
	return c
}

// probeOptions say how the clocks of a run's hosts are probed.
type probeOptions struct {
	off, allPairs bool
	rate          int
}

// flags are those of a run; `clock probe` has shorter ones.
func (o *probeOptions) flags(c *cobra.Command) {
	c.Flags().BoolVar(&o.off, "no-probes", false, "do not probe the clocks of the hosts; the run's own packets then have to tell them")
	c.Flags().IntVar(&o.rate, "probe-rate", 0, "exchanges of clock probes a second with each peer (default: 10)")
	c.Flags().BoolVar(&o.allPairs, "probe-all-pairs", false, "probe the clocks of every pair of hosts, and not only as many as are needed")
	c.MarkFlagsMutuallyExclusive("no-probes", "probe-rate")
	c.MarkFlagsMutuallyExclusive("no-probes", "probe-all-pairs")
}

// check looks at the rate, which the command's flag of that name has set: another
// command's --rate may mean something else.
func (o *probeOptions) check(c *cobra.Command, rate string) error {
	if c.Flags().Changed(rate) && (o.rate < 1 || o.rate > mostProbeRate) {
		return usage("--%s %d: give a number from 1 to %d", rate, o.rate, mostProbeRate)
	}
	return nil
}

// message is what a run is asked for; nil leaves all to the controller.
func (o *probeOptions) message() *synclinev1.Probing {
	if *o == (probeOptions{}) {
		return nil
	}
	return &synclinev1.Probing{Off: o.off, Rate: uint32(o.rate), AllPairs: o.allPairs}
}
