package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	synclinev1 "syncline/proto/syncline/v1"
)

func (a *app) archiveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "archive RUN",
		Short: "Put a run into the archive, and free the controllers' disks of it",
		Long: `Put a run that is over into the archive that the controller was started with
(--archive), and free the disks of the controllers of it. It stays in the list, and every
command looks at it as before; its events come from the archive then.

There it lies as tables for other programs (events/*.parquet, runs, hosts, verdicts,
counters: one file of each for every run, for DuckDB, Spark, pandas) and as a bundle.
All of it is read back before the controllers forget theirs.`,
		Example: `  syncline archive r-7f3c2a10
  duckdb -c "SELECT kind, count(*) FROM '/srv/archive/events/*.parquet' GROUP BY kind"`,
		Args: oneArgument("RUN"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.ask(c.Context(), func(cl *client) error {
				answer, err := cl.runs.ArchiveRun(c.Context(), &synclinev1.ArchiveRunRequest{Id: args[0]})
				if err != nil {
					return answered(err)
				}
				_, err = fmt.Fprintf(a.Out, "run %s is in %s, its manifest %s\n", answer.Run.Id, answer.Run.Archive.GetUrl(), answer.Run.Archive.GetManifest())
				return err
			})
		},
	}
}
