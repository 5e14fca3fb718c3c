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
and each is then started with --advertise; on every host with its own certificate
(--tls-cert, or SYNCLINE_TLS_CERT) and directory (--data):

  ctl1$ syncline cluster init
  ctl1$ syncline controller serve --listen :7443 --advertise ctl1:7443

  ctl2$ syncline cluster join ctl1:7443 --advertise ctl2:7443
  ctl2$ syncline controller serve --listen :7443 --advertise ctl2:7443`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return &exitError{code: exitUsage, err: errors.New("try: syncline cluster status")}
		},
	}
	c.AddCommand(a.clusterInitCommand(), a.clusterJoinCommand(), a.clusterStatusCommand(), a.clusterRemoveCommand(), a.clusterTransferCommand(),
		a.clusterSnapshotCommand(), a.clusterRestoreCommand())
	return c
}
