package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	synclinev1 "syncline/proto/syncline/v1"
)

func (a *app) cancelCommand() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:     "cancel RUN",
		Short:   "End a run early; what it recorded is kept",
		Example: `  syncline cancel r-7f3c2a10 --reason "wrong port"`,
		Args:    oneArgument("RUN"),
		RunE: func(c *cobra.Command, args []string) error {
			if isBundle(args[0]) {
				return &exitError{code: exitRefused, err: fmt.Errorf("%s is a path, and bundles are of runs that are over: there is nothing to cancel", args[0])}
			}
			return a.ask(c.Context(), func(cl *client) error {
				if _, err := cl.runs.CancelRun(c.Context(), &synclinev1.CancelRunRequest{Id: args[0], Reason: reason}); err != nil {
					return answered(err)
				}
				run, err := a.follow(c.Context(), cl, args[0])
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.Out, "run %s is %s after %d of %d repetitions\n", run.Id, enumWord(run.State.String(), "RUN_STATE_"), run.RepetitionsDone, run.Repetitions)
				return err
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, kept with the run")
	return c
}

// oneArgument wants exactly one argument, and says which.
func oneArgument(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 1 {
			return nil
		}
		return &exitError{code: exitUsage, err: fmt.Errorf("%s takes one %s, got %d\nTry: %s --help", c.CommandPath(), what, len(args), c.CommandPath())}
	}
}
