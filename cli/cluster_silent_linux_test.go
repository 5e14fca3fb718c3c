package cli

import (
	"flag"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	synclinev1 "syncline/proto/syncline/v1"
)

var silentLeaders = flag.Int("cluster.silent", 0, "stop the leader, and cut it off, so many times each, and say how long a run in flight took to its end")

// TestSilentLeader has a leader that is lost without a packet that says so, in the middle of a
// run: the agents notice by themselves, and the next leader brings the run to an honest end
// within 30 s, with all that was acknowledged.
func TestSilentLeader(t *testing.T) {
	if *silentLeaders == 0 {
		t.Skip("takes minutes: -cluster.silent 1")
	}
	source := library(t, demoExperiment)
	c := newClusterLab(t, mustParse(t, source))
	for _, fault := range []struct {
		name       string
		lose, find func(c *clusterLab, leader string)
	}{
		{"stopped", (*clusterLab).stop, (*clusterLab).goOn},
		{"cut off", (*clusterLab).cutOff, (*clusterLab).joinUp},
	} {
		t.Run(fault.name, func(t *testing.T) {
			c := c.in(t)
			var took []time.Duration
			for range *silentLeaders {
				took = append(took, c.silentLeader(source, fault.lose, fault.find))
			}
			slices.Sort(took)
			t.Logf("leader %s %d times: the run was over after %v (median %v)", fault.name, len(took), took, took[len(took)/2])
		})
	}
}

// silentLeader is how long a run took from the loss of its leader to its end.
func (c *clusterLab) silentLeader(source []byte, lose, find func(*clusterLab, string)) time.Duration {
	c.t.Helper()
	lead := c.leader(c.controllers[0])
	c.through(c.another(lead))
	id := c.startLongNow(source)
	before := c.stored(id)
	lose(c, lead)
	lost := time.Now()
	run, err := c.operator.follow(c.t.Context(), c.client, id)
	took := time.Since(lost)
	find(c, lead)
	if err != nil {
		c.t.Fatal(err)
	}
	if run.State != synclinev1.RunState_RUN_STATE_FAILED || !strings.Contains(run.Reason, "its controller was lost") || run.Epoch < 2 {
		c.t.Errorf("the run ended as %v in epoch %d, reason %q; want it failed, with the reason", run.State, run.Epoch, run.Reason)
	}
	for _, missing := range run.Incomplete {
		if missing != run.Reason {
			c.t.Errorf("the run lacks what its agents have: %s", missing)
		}
	}
	if took > 30*time.Second {
		c.t.Errorf("the run was over %v after its leader was lost, want 30 s at most", took)
	}
	after := c.stored(id)
	for agent, events := range before {
		for number, event := range events {
			if got := after[agent][number]; got != event {
				c.t.Fatalf("event %d of agent %s was acknowledged before and is %q now, was %q", number, agent, got, event)
			}
		}
	}
	c.noLaneTwice(id)
	c.until("all three are well", func() bool {
		s, err := c.status(lead)
		return err == nil && s.Leader != "" && !slices.ContainsFunc(s.Members, func(m *synclinev1.ClusterMember) bool { return m.Error != "" || !m.Voter })
	})
	return took
}

// startLongNow is startLong with a request of its own each time.
func (c *clusterLab) startLongNow(source []byte) string {
	c.t.Helper()
	created, err := c.client.runs.CreateRun(c.t.Context(), &synclinev1.CreateRunRequest{
		RequestId: c.t.Name() + time.Now().String(), FileName: "test.yaml", Source: source, Repetitions: 5000, Bindings: c.bindings,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.until("events of both hosts stored", func() bool { return len(c.stored(created.Run.Id)) == 2 })
	return created.Run.Id
}

func (c *clusterLab) stop(name string) { c.signal(name, syscall.SIGSTOP) }
func (c *clusterLab) goOn(name string) { c.signal(name, syscall.SIGCONT) }

func (c *clusterLab) signal(name string, s syscall.Signal) {
	c.t.Helper()
	if err := c.processes[c.process(name)].Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// cutOff drops all packets between a controller and the others and the agents.
func (c *clusterLab) cutOff(name string) {
	c.t.Helper()
	if err := c.wallAround(name).rise(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *clusterLab) joinUp(name string) {
	c.t.Helper()
	if err := c.wallAround(name).fall(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *clusterLab) wallAround(name string) *wall {
	var peers []netip.Addr
	for _, other := range c.controllers {
		if other != name {
			peers = append(peers, c.Host(other).Control)
		}
	}
	for _, agent := range c.bindings {
		peers = append(peers, c.Host(agent).Control)
	}
	return &wall{host: c.Host(name), name: "silent", in: true, out: true, peers: peers}
}
