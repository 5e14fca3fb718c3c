package cli

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"syncline/controller/authority"
)

func (a *app) pkiInitCommand() *cobra.Command {
	var cluster string
	c := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Make the authority of a new cluster",
		Long: `Make the authority of a new cluster in DIR (pki, if none is named): ca.crt, which
everybody gets, and ca.key, which nobody gets. What is there already is never replaced.`,
		Example: `  syncline pki init
  syncline pki init ~/lab/pki --cluster lab-3`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := envOr("SYNCLINE_PKI", defaultPKI)
			if len(args) == 1 {
				dir = args[0]
			}
			return a.pkiInit(dir, cluster)
		},
	}
	c.Flags().StringVar(&cluster, "cluster", "", "id of the cluster, which is in every certificate (default: lab- and 8 random digits, so that no two are alike)")
	return c
}

func (a *app) pkiInit(dir, cluster string) error {
	if cluster == "" {
		digits := make([]byte, 4)
		// It never fails (package crypto/rand).
		rand.Read(digits)
		cluster = "lab-" + hex.EncodeToString(digits)
	}
	made, err := authority.Create(dir, cluster)
	if err != nil {
		return usage("make an authority: %w", err)
	}
	fmt.Fprintf(a.Out, "authority of cluster %s in %s, valid until %s\n", cluster, dir, inUTC(made.Certificate().NotAfter))
	fmt.Fprintf(a.Err, "Keep %s off the machines of the lab: whoever has it can be anybody.\nnext: syncline pki issue controller NAME%s\n",
		filepath.Join(dir, "ca.key"), pkiHint(dir))
	return nil
}

// pkiHint is the flag by which the next command finds the same authority.
func pkiHint(dir string) string {
	if dir == envOr("SYNCLINE_PKI", defaultPKI) {
		return ""
	}
	return " --pki " + dir
}
