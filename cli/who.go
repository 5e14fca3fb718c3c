package cli

import (
	"errors"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/credentials"

	"syncline/proto/identity"
)

// devHelp is what the long help of those who take --dev says of it.
const devHelp = `With --dev there is no certificate and no encryption, and nobody is asked who he is: for
loopback addresses and Unix sockets of one machine, and refused anywhere else.`

// whoOptions say how a process shows who it is.
type whoOptions struct {
	cert, key, ca string
	dev           bool
	// root has the flags, and knows which of them were given.
	root *cobra.Command
}

func (w *whoOptions) flags(root *cobra.Command) {
	w.root = root
	f := root.PersistentFlags()
	f.StringVar(&w.cert, "tls-cert", os.Getenv("SYNCLINE_TLS_CERT"), "who this is: a certificate of syncline pki issue, as in alice.crt (SYNCLINE_TLS_CERT)")
	f.StringVar(&w.key, "tls-key", os.Getenv("SYNCLINE_TLS_KEY"), "its private key (SYNCLINE_TLS_KEY; default: beside it, as in alice.key)")
	f.StringVar(&w.ca, "tls-ca", os.Getenv("SYNCLINE_TLS_CA"), "the cluster's authority (SYNCLINE_TLS_CA; default: ca.crt beside the certificate)")
	dev, _ := strconv.ParseBool(os.Getenv("SYNCLINE_DEV"))
	f.BoolVar(&w.dev, "dev", dev, "plain text, on this machine alone (SYNCLINE_DEV=1)")
}

// files are those of the certificate; ok is false for plain text. What stands on the command
// line goes before the environment.
func (w *whoOptions) files() (files identity.Files, ok bool, err error) {
	given := func(name string) bool { return w.root != nil && w.root.PersistentFlags().Changed(name) }
	if w.dev && w.cert != "" {
		switch dev, cert := given("dev"), given("tls-cert"); {
		case dev == cert:
			return files, false, usage("a certificate (%s) and --dev, which is without: leave out one", w.cert)
		case dev:
			return files, false, nil
		}
	} else if w.dev {
		return files, false, nil
	}
	if w.cert == "" {
		if w.key != "" || w.ca != "" {
			return files, false, usage("--tls-key and --tls-ca go with a certificate: --tls-cert FILE")
		}
		return files, false, errNobody
	}
	files = identity.Beside(w.cert)
	if w.key != "" {
		files.Key = w.key
	}
	if w.ca != "" {
		files.CA = w.ca
	}
	return files, true, nil
}

// errNobody is of somebody without a certificate who does not ask for plain text.
var errNobody = errors.New("no certificate")

// own opens the certificate of a daemon; nil is plain text.
func (w *whoOptions) own(role identity.Role, log *slog.Logger) (*identity.Credentials, error) {
	files, ok, err := w.files()
	if errors.Is(err, errNobody) {
		return nil, usage("the %v has no certificate: give it one with --tls-cert FILE, made by\n  syncline pki init; syncline pki issue %[1]v NAME\nor --dev, which is plain text and stays on this machine", role)
	}
	if err != nil || !ok {
		return nil, err
	}
	creds, err := files.Open(log)
	if err != nil {
		return nil, usage("--tls-cert: %w", err)
	}
	if err := creds.Require(role); err != nil {
		return nil, usage("--tls-cert: %w", err)
	}
	return creds, nil
}

// dialling are the credentials by which an operator dials a controller. A Unix socket takes
// none: who may open its file is an operator.
func (w *whoOptions) dialling(target string, log *slog.Logger) (credentials.TransportCredentials, error) {
	if strings.HasPrefix(target, "unix:") {
		return identity.Socket(), nil
	}
	files, ok, err := w.files()
	if errors.Is(err, errNobody) {
		return nil, usage("no certificate to show to the controller at %s: give yours with --tls-cert FILE or SYNCLINE_TLS_CERT\n(made by syncline pki issue operator NAME; on the controller's host --controller unix:PATH needs none);\nfor a controller of this machine that runs with --dev, use --dev or SYNCLINE_DEV=1", target)
	}
	if err != nil {
		return nil, err
	}
	if !ok {
		return identity.Dev(), nil
	}
	creds, err := files.Open(log)
	if err != nil {
		return nil, usage("--tls-cert: %w", err)
	}
	return creds.Client(), nil
}

// sayWho tells the log who a daemon is.
func sayWho(log *slog.Logger, creds *identity.Credentials) {
	if creds == nil {
		log.Warn("--dev: nothing is encrypted, and whoever can reach this machine's loopback addresses or sockets can do everything; other addresses are refused")
		return
	}
	who, until := creds.Identity(), creds.Expires()
	log.Info("known by certificate", "role", who.Role.String(), "name", who.Name, "cluster", who.Cluster, "valid_until", until)
	if left := time.Until(until); left < 7*24*time.Hour {
		log.Warn("the certificate expires soon; renew it with syncline pki issue "+who.Role.String()+" "+who.Name+" --renew", "left", left.Round(time.Minute).String())
	}
}
