package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"syncline/controller/authority"
	"syncline/proto/identity"
)

// issue makes the lab's authority and a certificate for each of its processes, in the
// lab's own directory: they end with it. Where the hosts are addresses of one machine,
// everybody meets on the lab's socket instead, which nobody else can open.
func (l *lab) issue() error {
	if l.local {
		return nil
	}
	from, err := authority.Create(l.pki(), "demo")
	if err != nil {
		return fmt.Errorf("make the lab's authority: %w", err)
	}
	write := func(role identity.Role, name string) error {
		issued, err := from.Issue(authority.Request{Role: role, Name: name})
		if err == nil {
			_, err = issued.Write(l.pki())
		}
		if err != nil {
			return fmt.Errorf("make the certificate of %v %s: %w", role, name, err)
		}
		return nil
	}
	if err := write(identity.Controller, controllerHost); err != nil {
		return err
	}
	for _, h := range l.exp.Hosts {
		if err := write(identity.Agent, l.bindings[h.Name]); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) pki() string { return filepath.Join(l.Dir(), "pki") }

// whoArgs are the flags by which a process of the lab shows who it is.
func (l *lab) whoArgs(name string) []string {
	if l.local {
		return []string{"--dev"}
	}
	return []string{"--tls-cert", filepath.Join(l.pki(), name+".crt")}
}

// labEnvironment is this process's, without what says who its user is elsewhere.
func labEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "SYNCLINE_TLS_") || strings.HasPrefix(v, "SYNCLINE_DEV=")
	})
}
