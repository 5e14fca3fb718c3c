package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	synclinev1 "syncline/proto/syncline/v1"
)

func (a *app) clusterTransferCommand() *cobra.Command {
	var force bool
	var output string
	c := &cobra.Command{
		Use:   "transfer [NODE]",
		Short: "Let another controller lead",
		Long: `Let another controller lead: NODE, or the one that is furthest. Agents go to it by
themselves. Runs that are at work fail, so it is refused if there are any.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkFormat(output, doneFormats...); err != nil {
				return err
			}
			q := &synclinev1.TransferLeadershipRequest{Force: force}
			if len(args) > 0 {
				q.To = args[0]
			}
			return a.ask(c.Context(), func(cl *client) error {
				r, err := cl.cluster.TransferLeadership(c.Context(), q)
				if err != nil {
					return answered(err)
				}
				line := fmt.Sprintf("node %s leads no more", r.From)
				if r.From == "" {
					line = fmt.Sprintf("node %s leads already", q.To)
				}
				return writeDone(a.Out, output, line, leadershipMoved{From: r.From, To: q.To})
			})
		},
	}
	c.Flags().BoolVar(&force, "force", false, "also if runs are at work; they fail")
	formatFlag(c, &output, doneFormats...)
	return c
}
