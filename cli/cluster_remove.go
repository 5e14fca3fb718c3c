package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	synclinev1 "syncline/proto/syncline/v1"
)

func (a *app) clusterRemoveCommand() *cobra.Command {
	var force bool
	var output string
	c := &cobra.Command{
		Use:   "remove NODE",
		Short: "Take a controller out of the cluster",
		Long: `Take a controller out of the cluster. What is on its disk stays there. It is refused if the
others could decide nothing then, or if the controller leads (syncline cluster transfer).`,
		Args: oneArgument("NODE"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkFormat(output, doneFormats...); err != nil {
				return err
			}
			return a.ask(c.Context(), func(cl *client) error {
				if _, err := cl.cluster.RemoveNode(c.Context(), &synclinev1.RemoveNodeRequest{Id: args[0], Force: force}); err != nil {
					return answered(err)
				}
				return writeDone(a.Out, output, fmt.Sprintf("node %s is removed", args[0]), nodeRemoved{Removed: args[0]})
			})
		},
	}
	c.Flags().BoolVar(&force, "force", false, "also if nothing could be decided then; never the last that votes")
	formatFlag(c, &output, doneFormats...)
	return c
}
