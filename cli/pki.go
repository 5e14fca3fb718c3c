package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) pkiCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "pki",
		Short: "Make and show the certificates by which controllers, agents and operators know each other",
		Long: `Make the certificates of a lab. Everybody has one, and who it is of stands in it: a
role, a name and the cluster.

  controller  serves agents and operators
  agent       runs lanes on its host; its name is the host's in the lab
  operator    runs experiments
  viewer      looks, and changes nothing

The authority is a directory that need be on no machine of the lab. Whoever has its
ca.key can be anybody; ca.crt is for everybody.`,
		Example: `  syncline pki init pki
  syncline pki issue controller ctl1
  syncline pki issue agent vm1         copy vm1.crt, vm1.key and ca.crt to that host
  syncline pki issue operator alice
  syncline pki show pki/*.crt`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return &exitError{code: exitUsage, err: errors.New("try: syncline pki init, issue or show")}
		},
	}
	c.AddCommand(a.pkiInitCommand(), a.pkiIssueCommand(), a.pkiShowCommand())
	return c
}

// defaultPKI is the directory of the authority if nobody names another.
const defaultPKI = "pki"

func pkiFlag(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "pki", envOr("SYNCLINE_PKI", defaultPKI), "directory of the authority (SYNCLINE_PKI)")
}

// lifetime is a duration that may be given in days.
type lifetime time.Duration

func (l *lifetime) String() string {
	if *l == 0 {
		return ""
	}
	return time.Duration(*l).String()
}

func (l *lifetime) Type() string { return "DURATION" }

func (l *lifetime) Set(text string) error {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 1 || n > 36500 {
			return fmt.Errorf("%q: write a whole number of days from 1 to 36500, as in 90d", text)
		}
		*l = lifetime(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Minute {
		return fmt.Errorf("%q: write 90d or 12h, a minute at least", text)
	}
	*l = lifetime(d)
	return nil
}

// inUTC is a wall-clock time of a certificate.
func inUTC(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }
