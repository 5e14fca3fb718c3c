package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"syncline/controller/store"
	"syncline/proto/identity"
)

func (a *app) clusterInitCommand() *cobra.Command {
	var dir, id, output string
	c := &cobra.Command{
		Use:   "init",
		Short: "Begin a cluster in an empty directory",
		Long: `Begin a cluster in an empty directory, which is its first controller then. Its name and
that of the cluster are those of its certificate. Do it once: the other controllers join.`,
		Example: `  syncline cluster init --tls-cert ctl1.crt --data /var/lib/syncline`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := checkFormat(output, doneFormats...); err != nil {
				return err
			}
			node, cluster, err := a.nodeName(id)
			if err != nil {
				return err
			}
			begun, err := store.BeginCluster(dir, node, cluster)
			if err != nil {
				return &exitError{code: exitRefused, err: err}
			}
			line := fmt.Sprintf("cluster %s begins with node %s in %s", begun.Cluster, begun.Node, dir)
			if err := writeDone(a.Out, output, line, clusterBegun{Cluster: begun.Cluster, Node: begun.Node, Data: dir}); err != nil {
				return err
			}
			a.sayServe(dir, "HOST:PORT")
			return nil
		},
	}
	nodeFlags(c, &dir, &id)
	formatFlag(c, &output, doneFormats...)
	return c
}

// sayServe says how the controller of a directory is started, as it was made.
func (a *app) sayServe(dir, advertise string) {
	words := []string{"syncline", "controller", "serve", "--listen", advertise, "--advertise", advertise}
	if files, ok, err := a.who.files(); err == nil && ok {
		words = append(words, "--tls-cert", files.Cert)
	} else {
		words = append(words, "--dev")
	}
	fmt.Fprintf(a.Err, "next: %s\n", shellCommand(append(words, "--data", dir)...))
}

func nodeFlags(c *cobra.Command, dir, id *string) {
	c.Flags().StringVar(dir, "data", defaultData(), "directory for all that the controller keeps")
	c.Flags().StringVar(id, "id", "", "name of the controller in the cluster (default: that of the certificate; with --dev one is made up)")
}

// nodeName is how a controller is called, and its cluster, by its certificate; with --dev
// what was asked for, and a cluster without a name.
func (a *app) nodeName(id string) (node, cluster string, err error) {
	creds, err := a.who.own(identity.Controller, logger(a.Err))
	if err != nil {
		return "", "", err
	}
	if creds == nil {
		return id, "", nil
	}
	who := creds.Identity()
	if id != "" && id != who.Name {
		return "", "", usage("--id %s, and the certificate is of %v: leave out --id, or issue a certificate for it (syncline pki issue controller %[1]s)", id, who)
	}
	if !store.ValidNodeID(who.Name) || !store.ValidNodeID(who.Cluster) {
		return "", "", usage("the certificate is of %v: the nodes of a cluster, and the cluster, have names of lower-case letters, digits, '-' and '.'; issue one for such a name", who)
	}
	return who.Name, who.Cluster, nil
}
