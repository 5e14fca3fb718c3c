package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"syncline/controller/authority"
	"syncline/proto/identity"
)

// issueOptions say how a certificate is made, and where its files go.
type issueOptions struct {
	pki, to   string
	life      lifetime
	publicKey string
	renew     bool
}

func (a *app) pkiIssueCommand() *cobra.Command {
	var opts issueOptions
	c := &cobra.Command{
		Use:   "issue ROLE NAME",
		Short: "Make a certificate",
		Long: `Make a certificate: NAME.crt, and NAME.key, which only its owner may read, beside
ca.crt. The role is controller, agent, operator or viewer. No file is replaced,
but for a certificate that is renewed: that has the same key, and whoever uses the
files goes on with the new one by himself.

A certificate is valid from an hour ago: a host whose clock is behind would refuse
one that has just been made.`,
		Example: `  syncline pki issue controller ctl1
  syncline pki issue agent vm1 --for 90d
  syncline pki issue agent vm1 --renew
  syncline pki issue viewer wall --public-key wall.pub --to out`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage("%s takes ROLE NAME, got %d words\nTry: %[1]s --help", c.CommandPath(), len(args))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			return a.pkiIssue(args[0], args[1], opts)
		},
	}
	pkiFlag(c, &opts.pki)
	c.Flags().StringVar(&opts.to, "to", "", "directory to write to (default: that of the authority)")
	c.Flags().Var(&opts.life, "for", "how long it is valid, as in 90d or 12h (default: 365d for controllers and agents, 90d for people)")
	c.Flags().StringVar(&opts.publicKey, "public-key", "", "the owner's public key, PEM, if the key was made elsewhere; no NAME.key is written then")
	c.Flags().BoolVar(&opts.renew, "renew", false, "replace the certificate NAME.crt by a new one for the same key")
	return c
}

func (a *app) pkiIssue(role, name string, opts issueOptions) error {
	if opts.to == "" {
		opts.to = opts.pki
	}
	request := authority.Request{Name: name, Lifetime: time.Duration(opts.life)}
	var err error
	if request.Role, err = identity.ParseRole(role); err != nil {
		return usage("%w", err)
	}
	from, err := authority.Open(opts.pki)
	if err != nil {
		return usage("open the authority: %w", err)
	}
	switch {
	case opts.renew && opts.publicKey != "":
		return usage("--renew keeps the key that the certificate has; leave out --public-key")
	case opts.renew:
		if request.PublicKey, err = authority.PublicKeyOf(opts.to, name); err != nil {
			return usage("renew: %w", err)
		}
	case opts.publicKey != "":
		if request.PublicKey, err = authority.ReadPublicKey(opts.publicKey); err != nil {
			return usage("--public-key: %w", err)
		}
	}
	issued, err := from.Issue(request)
	if err != nil {
		return usage("issue: %w", err)
	}
	write := issued.Write
	if opts.renew {
		write = issued.Renew
	}
	files, err := write(opts.to)
	if err != nil {
		return usage("issue: %w", err)
	}
	fmt.Fprintf(a.Out, "%v, valid until %s\n%s\n", issued.Identity, inUTC(issued.Certificate.NotAfter), files.Cert)
	if issued.Key != nil {
		fmt.Fprintln(a.Out, files.Key)
	}
	fmt.Fprintln(a.Out, files.CA)
	if !opts.renew {
		fmt.Fprintf(a.Err, "Copy these to where they are used, into one directory; there: %s\n", useOf(issued.Identity, files))
	}
	return nil
}

// useOf is the command that a certificate is for.
func useOf(who identity.Identity, files identity.Files) string {
	switch who.Role {
	case identity.Controller:
		return "syncline controller serve --listen HOST:PORT --tls-cert " + files.Cert
	case identity.Agent:
		return "syncline agent serve --controller HOST:PORT --tls-cert " + files.Cert
	}
	return "export SYNCLINE_CONTROLLER=HOST:PORT SYNCLINE_TLS_CERT=" + files.Cert
}
