package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"syncline/controller/peer"
	"syncline/controller/store"
)

func (a *app) clusterJoinCommand() *cobra.Command {
	var dir, id, advertise, output string
	c := &cobra.Command{
		Use:   "join HOST:PORT",
		Short: "Let a controller with an empty directory join a cluster",
		Long: `Let a controller with an empty directory join a cluster, of which HOST:PORT is any
controller. Start it then: it is sent what the others have, and is given a vote when it
has caught up. It may be repeated. A controller that has lost its disk joins under another
name, after the old one was removed: what it had promised before is lost with the disk.`,
		Example: `  syncline cluster join ctl1:7443 --advertise ctl2:7443 --tls-cert ctl2.crt --data /var/lib/syncline`,
		Args:    oneArgument("HOST:PORT"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkFormat(output, doneFormats...); err != nil {
				return err
			}
			if err := checkTarget(args[0]); err != nil || isSocket(args[0]) {
				return usage("%q: name a controller of the cluster as HOST:PORT", args[0])
			}
			if checkTarget(advertise) != nil || isSocket(advertise) {
				return usage("--advertise %q: where will the others reach this controller? Write HOST:PORT", advertise)
			}
			node, _, err := a.nodeName(id)
			if err != nil {
				return err
			}
			creds, err := a.who.dialling(args[0], logger(a.Err))
			if err != nil {
				return err
			}
			// Before anything is written: a directory has the name of its node for good.
			if err := reach(c.Context(), args[0], creds); err != nil {
				return &exitError{code: exitUnreachable, err: errors.New(failure(args[0], err))}
			}
			own, err := store.Identify(dir, node)
			if err != nil {
				return &exitError{code: exitRefused, err: err}
			}
			others := peer.NewClient(creds)
			defer others.Close()
			cluster, err := others.Join(c.Context(), args[0], store.Node{ID: own.Node, Disk: own.Disk, Address: advertise, EntryVersion: store.EntryVersion, Version: Version})
			if err != nil {
				return answered(err)
			}
			if err := store.JoinCluster(dir, cluster); err != nil {
				return &exitError{code: exitRefused, err: err}
			}
			line := fmt.Sprintf("node %s is of cluster %s", own.Node, cluster)
			if err := writeDone(a.Out, output, line, clusterBegun{Cluster: cluster, Node: own.Node, Data: dir, Advertise: advertise}); err != nil {
				return err
			}
			a.sayServe(dir, advertise)
			return nil
		},
	}
	nodeFlags(c, &dir, &id)
	formatFlag(c, &output, doneFormats...)
	c.Flags().StringVar(&advertise, "advertise", "", "where the other controllers will reach this one, HOST:PORT")
	return c
}
