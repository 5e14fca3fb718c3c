package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	synclinev1 "syncline/proto/syncline/v1"
)

func (a *app) deleteCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "delete run RUN...",
		Short:   "Remove the events of runs for good",
		Example: `  syncline delete run r-7f3c2a10`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usage("delete what? There is: run RUN...")
		},
	}
	c.AddCommand(a.deleteRunCommand())
	return c
}

func (a *app) deleteRunCommand() *cobra.Command {
	var reason string
	var yes bool
	c := &cobra.Command{
		Use:   "run RUN...",
		Short: "Remove the events of runs for good",
		Long: `Remove the events of runs that are over, for good. The runs stay in the list as removed,
with the reason, until there is a need for their places. What is in an archive or in a
bundle stays there.

It asks first. Where nobody can be asked it wants --yes.`,
		Example: `  syncline delete run r-7f3c2a10
  syncline delete run r-7f3c2a10 r-09aa0e8a --yes --reason "wrong cable"`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("%s takes one RUN or more\nTry: %s --help", c.CommandPath(), c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if !yes {
				if err := a.confirm(fmt.Sprintf("Remove the events of %s for good?", strings.Join(args, ", "))); err != nil {
					return err
				}
			}
			return a.ask(c.Context(), func(cl *client) error {
				for _, id := range args {
					answer, err := cl.runs.DeleteRun(c.Context(), &synclinev1.DeleteRunRequest{Id: id, Reason: reason})
					if err != nil {
						return answered(err)
					}
					if _, err := fmt.Fprintf(a.Out, "run %s is removed: %s\n", answer.Run.Id, howMany(int(answer.Run.Events), "event")); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().StringVar(&reason, "reason", "", "why, kept with the runs")
	return c
}

// confirm asks a question on the terminal and returns an error unless the answer is yes.
func (a *app) confirm(question string) error {
	if f, ok := a.In.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return usage("%s Nobody can be asked, since standard input is no terminal. If so: --yes", question)
	}
	fmt.Fprintf(a.Err, "%s [y/N] ", question)
	line, err := bufio.NewReader(io.LimitReader(a.In, 1<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return &exitError{code: exitRefused, err: errors.New("nothing is removed")}
}
