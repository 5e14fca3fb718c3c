package cli

import (
	"bytes"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"syncline/controller/authority"
	"syncline/proto/identity"
	synclinev1 "syncline/proto/syncline/v1"
)

// renew issues a process of the lab a new certificate for its key.
func (l *testLab) renew(role identity.Role, name string) {
	l.t.Helper()
	from, err := authority.Open(l.pki())
	if err != nil {
		l.t.Fatal(err)
	}
	key, err := authority.PublicKeyOf(l.pki(), name)
	if err != nil {
		l.t.Fatal(err)
	}
	issued, err := from.Issue(authority.Request{Role: role, Name: name, PublicKey: key})
	if err != nil {
		l.t.Fatal(err)
	}
	if _, err := issued.Renew(l.pki()); err != nil {
		l.t.Fatal(err)
	}
}

// refused runs a command on a host of the lab that is to fail, and returns what it says.
func (l *testLab) refused(host string, args ...string) string {
	l.t.Helper()
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command(self, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = labEnvironment(), &out, &out
	p, err := l.Host(host).Start(cmd)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := p.Wait(); err == nil {
		l.t.Errorf("on %s, %v succeeds: %s", host, args, out.String())
	}
	return out.String()
}

// TestRenewedDuringARun renews every certificate of a lab while a run goes on. The run
// does not notice; when it is over the agents connect again.
func TestRenewedDuringARun(t *testing.T) {
	source := library(t, demoExperiment)
	l := newTestLab(t, mustParse(t, source))
	created, err := l.client.runs.CreateRun(t.Context(), &synclinev1.CreateRunRequest{
		RequestId: t.Name(), FileName: "test.yaml", Source: source, Repetitions: 200, Bindings: l.bindings,
	})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "events of both hosts stored", func() bool { return len(l.stored(created.Run.Id)) == 2 })
	l.renew(identity.Controller, controllerHost)
	for _, agent := range l.bindings {
		l.renew(identity.Agent, agent)
	}
	run, err := l.operator.follow(t.Context(), l.client, created.Run.Id)
	if err != nil {
		t.Fatal(err)
	}
	wantAllPass(t, run, l.verdicts(run), 200)
	for _, agent := range l.bindings {
		await(t, agent+" connects again", func() bool {
			text, err := os.ReadFile(l.log(agent))
			return err == nil && strings.Contains(string(text), "connecting again with the new certificate")
		})
	}
	await(t, "the controller takes its new certificate", func() bool {
		text, err := os.ReadFile(l.log(controllerHost))
		return err == nil && strings.Contains(string(text), "read a new certificate")
	})
	if err := l.await(t.Context(), l.client); err != nil {
		t.Fatal(err)
	}
	next := l.run(source, 2)
	wantAllPass(t, next, l.verdicts(next), 2)
}

// TestTheLabLetsNobodyIn tries the controller's port from a host of the lab.
func TestTheLabLetsNobodyIn(t *testing.T) {
	l := newTestLab(t, mustParse(t, library(t, demoExperiment)))
	address := netip.AddrPortFrom(l.Host(controllerHost).Control, 7443).String()
	other, err := authority.Create(filepath.Join(l.Dir(), "other"), "demo")
	if err != nil {
		t.Fatal(err)
	}
	issued, err := other.Issue(authority.Request{Role: identity.Operator, Name: "eve"})
	if err != nil {
		t.Fatal(err)
	}
	eve, err := issued.Write(filepath.Join(l.Dir(), "other"))
	if err != nil {
		t.Fatal(err)
	}
	agent := filepath.Join(l.pki(), "vm1.crt")
	for _, try := range []struct {
		args []string
		text string
	}{
		{[]string{"get", "agents", "--controller", address}, "no certificate to show"},
		{[]string{"get", "agents", "--controller", address, "--dev"}, "for loopback addresses and Unix sockets only"},
		{[]string{"get", "agents", "--controller", address, "--tls-cert", eve.Cert}, "not signed by the authority"},
		{[]string{"get", "agents", "--controller", address, "--tls-cert", agent}, "agent vm1 of cluster demo may not call"},
		{[]string{"agent", "serve", "--controller", address, "--tls-cert", agent, "--name", "vm2", "--state", t.TempDir()}, "the agent is to be called vm2"},
		{[]string{"agent", "serve", "--controller", address, "--tls-cert", filepath.Join(l.pki(), "controller.crt"), "--state", t.TempDir()}, "of the role agent"},
	} {
		if said := l.refused("vm2", try.args...); !strings.Contains(said, try.text) {
			t.Errorf("%v: it says %q, want %q in it", try.args, said, try.text)
		}
	}
}
