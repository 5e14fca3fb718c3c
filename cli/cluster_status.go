package cli

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	synclinev1 "syncline/proto/syncline/v1"
)

func (a *app) clusterStatusCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the controllers, who leads, and who lags",
		Long: `Show the controllers, who leads, and who lags. Any controller answers, also one that has
lost the others; it says what it knows.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkFormat(output, "table", "json"); err != nil {
				return err
			}
			return a.ask(c.Context(), func(cl *client) error {
				cluster, err := cl.cluster.GetCluster(c.Context(), &synclinev1.GetClusterRequest{})
				if err != nil {
					return answered(err)
				}
				if output == "json" {
					return writeJSON(a.Out, cluster, true)
				}
				if err := writeCluster(a.Out, cluster); err != nil {
					return err
				}
				for _, w := range cluster.Warnings {
					fmt.Fprintln(a.Err, "syncline: warning: "+onTerminal(w))
				}
				return nil
			})
		},
	}
	formatFlag(c, &output, "table", "json")
	return c
}

// writeCluster draws a line a controller, and one for each that is not well.
func writeCluster(w io.Writer, cluster *synclinev1.GetClusterResponse) error {
	leader := "nobody leads"
	if cluster.Leader != "" {
		leader = "leader " + onTerminal(cluster.Leader)
	}
	fmt.Fprintf(w, "cluster %s, term %d, %s (asked %s)\n\n", onTerminal(cluster.ClusterId), cluster.Term, leader, onTerminal(cluster.Asked))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tADDRESS\tSTATE\tVOTE\tAPPLIED\tCHUNKS\tHEARD")
	for _, m := range cluster.Members {
		vote, chunks, state := "yes", "all", m.State
		if !m.Voter {
			vote = "not yet"
		}
		if !m.Complete {
			chunks = "fetching"
		}
		if m.Failure != "" {
			state = "failed"
		}
		applied := fmt.Sprint(m.AppliedIndex)
		if m.Error != "" {
			state, chunks, applied = "silent", "-", "-"
		}
		heard := "-"
		if m.ContactNs >= 0 {
			heard = time.Duration(m.ContactNs).Round(time.Millisecond).String()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", onTerminal(m.Id), onTerminal(m.Address), state, vote, applied, chunks, heard)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, m := range cluster.Members {
		for _, why := range []string{m.Error, m.Failure} {
			if why != "" {
				fmt.Fprintf(w, "\n%s: %s\n", onTerminal(m.Id), onTerminal(why))
			}
		}
	}
	return nil
}
