package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"syncline/controller/authority"
	"syncline/controller/experiment"
	"syncline/deploy/netlab"
	"syncline/proto/identity"
	synclinev1 "syncline/proto/syncline/v1"
)

// clusterLab is a lab with three controllers, in a network namespace each.
type clusterLab struct {
	*testLab
	controllers []string
}

func newClusterLab(t *testing.T, exp *experiment.Experiment) *clusterLab {
	t.Helper()
	a := &app{Streams: Streams{Out: new(bytes.Buffer), Err: new(bytes.Buffer)}}
	c := &clusterLab{testLab: &testLab{lab: &lab{app: a, exp: exp, bindings: map[string]string{}}, t: t}}
	var cfg netlab.Config
	for i, h := range exp.Hosts {
		c.bindings[h.Name] = fmt.Sprintf("vm%d", i+1)
		cfg.Hosts = append(cfg.Hosts, c.bindings[h.Name])
	}
	for i := range 3 {
		c.controllers = append(c.controllers, fmt.Sprintf("ctl%d", i+1))
	}
	cfg.Hosts = append(cfg.Hosts, c.controllers...)
	made, err := netlab.New(cfg)
	if errors.Is(err, netlab.ErrPrivilege) {
		t.Skip("needs network namespaces: run the tests as root")
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Lab = made
	t.Cleanup(c.end)
	c.certify()
	c.begin()
	for _, h := range exp.Hosts {
		host := c.Host(c.bindings[h.Name])
		c.command(host.Name, "agent", "serve", "--controller", c.addresses(), "--name", host.Name, "--address", host.Address.String(), "--state", filepath.Join(c.Dir(), "agent-"+host.Name))
	}
	return c
}

func (c *clusterLab) end() {
	for _, m := range c.processes {
		b, err := os.ReadFile(c.log(m.name))
		if err != nil || bytes.Contains(b, []byte("DATA RACE")) || bytes.Contains(b, []byte("panic:")) {
			c.t.Errorf("%s: %v\n%s", m.name, err, b)
		} else if c.t.Failed() {
			c.t.Logf("%s:\n%s", m.name, b[max(0, len(b)-6000):])
		}
	}
	if err := c.Close(); err != nil {
		c.t.Error(err)
	}
}

// certify makes everybody's certificate.
func (c *clusterLab) certify() {
	c.t.Helper()
	from, err := authority.Create(c.pki(), "demo")
	if err != nil {
		c.t.Fatal(err)
	}
	roles := map[identity.Role][]string{identity.Controller: c.controllers}
	for _, name := range c.bindings {
		roles[identity.Agent] = append(roles[identity.Agent], name)
	}
	for role, names := range roles {
		for _, name := range names {
			issued, err := from.Issue(authority.Request{Role: role, Name: name})
			if err == nil {
				_, err = issued.Write(c.pki())
			}
			if err != nil {
				c.t.Fatal(err)
			}
		}
	}
}

// address is where a controller is reached.
func (c *clusterLab) address(name string) string {
	return netip.AddrPortFrom(c.Host(name).Control, 7443).String()
}

func (c *clusterLab) addresses() string {
	var all []string
	for _, name := range c.controllers {
		all = append(all, c.address(name))
	}
	return strings.Join(all, ",")
}

func (c *clusterLab) data(name string) string { return filepath.Join(c.Dir(), "data-"+name) }

func (c *clusterLab) socketOf(name string) string {
	return "unix:" + filepath.Join(c.Dir(), name+".sock")
}

// command starts a process in the namespace of a host.
func (c *clusterLab) command(host string, args ...string) {
	c.t.Helper()
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.launch(c.Host(host), exec.Command(self, append(args, c.whoArgs(host)...)...)); err != nil {
		c.t.Fatal(err)
	}
}

// finish runs a command in the namespace of a host to its end.
func (c *clusterLab) finish(host string, args ...string) {
	c.t.Helper()
	c.command(host, args...)
	last := c.processes[len(c.processes)-1]
	c.processes = c.processes[:len(c.processes)-1]
	if err := last.Wait(); err != nil {
		b, _ := os.ReadFile(c.log(host))
		c.t.Fatalf("syncline %s: %v\n%s", strings.Join(args, " "), err, b)
	}
}

func (c *clusterLab) serve(name string) {
	c.t.Helper()
	if err := os.Remove(strings.TrimPrefix(c.socketOf(name), "unix:")); err != nil && !errors.Is(err, os.ErrNotExist) {
		c.t.Fatal(err)
	}
	c.command(name, "controller", "serve", "--listen", c.address(name), "--advertise", c.address(name),
		"--socket", strings.TrimPrefix(c.socketOf(name), "unix:"), "--data", c.data(name))
}

// begin starts the first controller and lets the others join.
func (c *clusterLab) begin() {
	c.t.Helper()
	first := c.controllers[0]
	c.finish(first, "cluster", "init", "--data", c.data(first))
	c.serve(first)
	c.leader(first)
	for _, name := range c.controllers[1:] {
		c.finish(name, "cluster", "join", c.address(first), "--advertise", c.address(name), "--data", c.data(name))
		c.serve(name)
	}
	c.until("all three vote", func() bool {
		s, err := c.status(first)
		if err != nil {
			return false
		}
		voters := 0
		for _, m := range s.Members {
			if m.Voter && m.Error == "" {
				voters++
			}
		}
		return voters == 3 && s.Leader != ""
	})
}

// clusterPatience is how long a test waits for what takes a promotion, or an election.
const clusterPatience = 90 * time.Second

func (c *clusterLab) until(what string, holds func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(clusterPatience)
	for !holds() {
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: still not so after %v", what, clusterPatience)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// by is a client of one controller.
func (c *clusterLab) by(name string) (*app, *client, error) {
	a := &app{Streams: Streams{Out: new(bytes.Buffer), Err: new(bytes.Buffer)}, controller: c.socketOf(name)}
	cl, err := a.dial(c.t.Context())
	return a, cl, err
}

func (c *clusterLab) status(of string) (*synclinev1.GetClusterResponse, error) {
	_, cl, err := c.by(of)
	if err != nil {
		return nil, err
	}
	defer cl.close()
	return cl.cluster.GetCluster(c.t.Context(), &synclinev1.GetClusterRequest{})
}

// leader is who leads, as one controller that is up knows it.
func (c *clusterLab) leader(asked string) (leader string) {
	c.t.Helper()
	c.until("somebody leads", func() bool {
		s, err := c.status(asked)
		if err != nil {
			return false
		}
		leader = s.Leader
		return leader != ""
	})
	return leader
}

// another is a controller that is not of those named.
func (c *clusterLab) another(not ...string) string {
	return c.controllers[slices.IndexFunc(c.controllers, func(name string) bool { return !slices.Contains(not, name) })]
}

func (c *clusterLab) process(name string) int {
	return slices.IndexFunc(c.processes, func(m member) bool { return m.name == name })
}

// kill is kill -9 of a controller.
func (c *clusterLab) kill(name string) {
	c.t.Helper()
	m := c.processes[c.process(name)]
	if err := m.Signal(syscall.SIGKILL); err != nil {
		c.t.Fatal(err)
	}
	<-m.Done()
}

func (c *clusterLab) restart(name string) {
	c.t.Helper()
	i := c.process(name)
	c.processes = slices.Delete(c.processes, i, i+1)
	c.serve(name)
}

// through uses a controller for what follows.
func (c *clusterLab) through(name string) {
	c.t.Helper()
	a, cl, err := c.by(name)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(cl.close)
	c.operator, c.client = a, cl
	if err := c.await(c.t.Context(), cl); err != nil {
		c.t.Fatal(err)
	}
}

// TestCluster has three controllers and two agents: runs through a follower, the death of the
// leader in the middle of a run, its return, and a transfer.
func TestCluster(t *testing.T) {
	t.Parallel()
	source := library(t, demoExperiment)
	c := newClusterLab(t, mustParse(t, source))
	lead := c.leader(c.controllers[0])
	asked := c.another(lead)
	c.through(asked)
	run := c.run(source, 3)
	wantAllPass(t, run, c.verdicts(run), 3)
	t.Run("killed leader", func(t *testing.T) { c.in(t).killedLeader(source, lead, asked) })
	if t.Failed() {
		return
	}
	c.restart(lead)
	c.until("the killed controller is back", func() bool {
		s, err := c.status(asked)
		return err == nil && !slices.ContainsFunc(s.Members, func(m *synclinev1.ClusterMember) bool { return m.Error != "" || !m.Voter || !m.Complete })
	})
	t.Run("transfer", func(t *testing.T) { c.in(t).transfer(c.another(c.leader(asked))) })
	c.through(asked)
	run = c.run(source, 2)
	wantAllPass(t, run, c.verdicts(run), 2)
}

func (c *clusterLab) in(t *testing.T) *clusterLab {
	part := *c
	part.testLab = c.testLab.in(t)
	return &part
}

// killedLeader: the run is brought to an honest end by the next leader within 30 s, with all
// that was acknowledged.
func (c *clusterLab) killedLeader(source []byte, lead, asked string) {
	id := c.startLong(source)
	before := c.stored(id)
	c.kill(lead)
	killed := time.Now()
	run, err := c.operator.follow(c.t.Context(), c.client, id)
	took := time.Since(killed)
	if err != nil {
		c.t.Fatal(err)
	}
	if run.State != synclinev1.RunState_RUN_STATE_FAILED || !strings.Contains(run.Reason, "its controller was lost") || len(run.Incomplete) == 0 || run.Epoch < 2 {
		c.t.Errorf("the run ended as %v in epoch %d, reason %q, incomplete %q; want it failed, with the reason", run.State, run.Epoch, run.Reason, run.Incomplete)
	}
	if took > 30*time.Second {
		c.t.Errorf("the run was over %v after the leader was killed, want 30 s at most", took)
	}
	after := c.stored(id)
	for agent, events := range before {
		for number, event := range events {
			if got := after[agent][number]; got != event {
				c.t.Fatalf("event %d of agent %s was acknowledged before the kill and is %q now, was %q", number, agent, got, event)
			}
		}
	}
	c.noLaneTwice(id)
	next := c.leader(asked)
	if next == lead {
		c.t.Errorf("%s leads, and is dead", lead)
	}
	c.t.Logf("over %v after the kill: %s", took.Round(time.Millisecond), run.Reason)
}

// noLaneTwice is lanesOnce of a run that came to start lanes.
func (c *clusterLab) noLaneTwice(id string) {
	c.t.Helper()
	if c.lanesOnce(id) == 0 {
		c.t.Error("no lane was ever started")
	}
}

// lanesOnce: the first step of each lane, which the experiment has once, was called at most
// once in a repetition; and no number of an event is missing. It returns how many were called.
func (c *clusterLab) lanesOnce(id string) int {
	c.t.Helper()
	began, numbers := map[string]int{}, map[string]uint64{}
	c.eachEvent(id, func(agent string, e *synclinev1.Event) {
		if numbers[agent]++; e.Number != numbers[agent] {
			c.t.Fatalf("agent %s: event %d stands where %d should", agent, e.Number, numbers[agent])
		}
		if call := e.GetCall(); call != nil && call.Step == 0 && !call.ByLab {
			began[fmt.Sprintf("agent %s, lane %s, repetition %d", agent, call.Lane, e.Repetition)]++
		}
	})
	for lane, times := range began {
		if times != 1 {
			c.t.Errorf("%s: started %d times", lane, times)
		}
	}
	return len(began)
}

func (c *clusterLab) transfer(to string) {
	began := time.Now()
	if _, err := c.client.cluster.TransferLeadership(c.t.Context(), &synclinev1.TransferLeadershipRequest{To: to}); err != nil {
		c.t.Fatal(err)
	}
	took := c.accepted(began)
	if got := c.leader(to); got != to {
		c.t.Errorf("%s leads after a transfer to %s", got, to)
	}
	c.t.Logf("transfer: something is accepted %v after it was asked for", took.Round(time.Millisecond))
}

// accepted waits until something is committed again, and says how long that took.
func (c *clusterLab) accepted(since time.Time) time.Duration {
	c.t.Helper()
	c.until("something is accepted", func() bool {
		ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
		defer cancel()
		// It takes the leader to say that there is no such run: one that has applied everything.
		_, err := c.client.runs.CancelRun(ctx, &synclinev1.CancelRunRequest{Id: "r-none"})
		return err != nil && strings.Contains(err.Error(), "r-none")
	})
	return time.Since(since)
}
