package cli

import (
	"errors"

	"github.com/spf13/cobra"
)

func (a *app) clusterCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "cluster",
		Short: "Make several controllers one cluster, and look after it",
		Long: `Make several controllers one cluster, and look after it. Three controllers go on when any
one of them is lost, five when any two are. One begins the cluster, the others join it,
and each is then started with --advertise:

  syncline cluster init --tls-cert ctl1.crt --data /var/lib/syncline
  syncline controller serve --listen :7443 --advertise ctl1:7443 --tls-cert ctl1.crt --data /var/lib/syncline

  syncline cluster join ctl1:7443 --advertise ctl2:7443 --tls-cert ctl2.crt --data /var/lib/syncline
  syncline controller serve --listen :7443 --advertise ctl2:7443 --tls-cert ctl2.crt --data /var/lib/syncline`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return &exitError{code: exitUsage, err: errors.New("try: syncline cluster status")}
		},
	}
	c.AddCommand(a.clusterInitCommand(), a.clusterJoinCommand(), a.clusterStatusCommand(), a.clusterRemoveCommand(), a.clusterTransferCommand(),
		a.clusterSnapshotCommand(), a.clusterRestoreCommand())
	return c
}
