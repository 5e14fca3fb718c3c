package experiment

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func hosts(picks ...map[string]string) *Experiment {
	exp := &Experiment{Name: "x"}
	for i, pick := range picks {
		exp.Hosts = append(exp.Hosts, Host{Name: string(rune('A' + i)), Pick: pick})
	}
	return exp
}

func label(pairs ...string) map[string]string {
	labels := make(map[string]string)
	for _, p := range pairs {
		k, v, _ := strings.Cut(p, "=")
		labels[k] = v
	}
	return labels
}

func TestBind(t *testing.T) {
	vm1 := Candidate{Name: "vm1", Labels: label("role=client"), Address: netip.MustParseAddr("10.0.0.1")}
	vm2 := Candidate{Name: "vm2", Labels: label("role=server", "site=x")}
	vm3 := Candidate{Name: "vm3", Labels: label("role=server")}
	all := []Candidate{vm3, vm2, vm1}
	clientServer := hosts(label("role=client"), label("role=server"))
	tests := []struct {
		name   string
		exp    *Experiment
		agents []Candidate
		chosen map[string]string
		want   map[string]string
		err    string
	}{
		{name: "labels decide, the first name wins", exp: clientServer, agents: all,
			want: map[string]string{"A": "vm1", "B": "vm2"}},
		{name: "a choice overrules labels", exp: clientServer, agents: all, chosen: map[string]string{"B": "vm1", "A": "vm3"},
			want: map[string]string{"A": "vm3", "B": "vm1"}},
		{name: "a choice leaves the others to labels", exp: clientServer, agents: all, chosen: map[string]string{"B": "vm3"},
			want: map[string]string{"A": "vm1", "B": "vm3"}},
		{name: "the undemanding host makes room", exp: hosts(nil, label("role=client")), agents: []Candidate{vm1, vm2},
			want: map[string]string{"A": "vm2", "B": "vm1"}},
		{name: "nobody fits", exp: clientServer, agents: []Candidate{vm1},
			err: "no agent is left for host B, which wants role=server; agents: vm1 (role=client, plays A)"},
		{name: "nobody is there", exp: hosts(nil), err: "no agent is left for host A, which wants no labels; agents: none"},
		{name: "an unknown agent is chosen", exp: clientServer, agents: all, chosen: map[string]string{"A": "vm_1"},
			err: `host A is bound to agent "vm_1", which is not there; did you mean "vm1"? known agents: vm1, vm2, vm3`},
		{name: "an unknown host is chosen", exp: clientServer, agents: all, chosen: map[string]string{"C": "vm1"},
			err: `no host "C" in experiment x to bind an agent to; known hosts: A, B`},
		{name: "one agent is chosen twice", exp: clientServer, agents: all, chosen: map[string]string{"A": "vm1", "B": "vm1"},
			err: "hosts A and B are both bound to agent vm1; one agent plays one host"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bound, err := test.exp.Bind(test.agents, test.chosen)
			if test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Errorf("error\n%v, want\n%s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := make(map[string]string)
			for role, c := range bound {
				got[role] = c.Name
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("binding (-want +got):\n%s", diff)
			}
		})
	}
}

// TestBindFindsWhatThereIs compares Bind with trying every assignment, and with itself
// on the agents in another order.
func TestBindFindsWhatThereIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		labels := rapid.MapOfN(rapid.SampledFrom([]string{"role", "site"}), rapid.SampledFrom([]string{"1", "2"}), 0, 2)
		exp := hosts(rapid.SliceOfN(labels, 1, 4).Draw(t, "hosts")...)
		var agents []Candidate
		for i, l := range rapid.SliceOfN(labels, 0, 5).Draw(t, "agents") {
			agents = append(agents, Candidate{Name: string(rune('a' + i)), Labels: l})
		}
		bound, err := exp.Bind(agents, nil)
		if possible := assignable(exp.Hosts, agents, 0); possible != (err == nil) {
			t.Fatalf("an assignment exists: %v; Bind says: %v", possible, err)
		}
		if err == nil {
			checkBinding(t, exp, bound)
		}
		again, err2 := exp.Bind(rapid.Permutation(agents).Draw(t, "order"), nil)
		if !cmp.Equal(bound, again, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) || (err == nil) != (err2 == nil) {
			t.Fatalf("another order of agents gave %v, %v after %v, %v", again, err2, bound, err)
		}
	})
}

func checkBinding(t *rapid.T, exp *Experiment, bound map[string]Candidate) {
	taken := make(map[string]bool)
	for _, h := range exp.Hosts {
		c, ok := bound[h.Name]
		if !ok || !c.has(h.Pick) || taken[c.Name] {
			t.Fatalf("host %+v is bound to %+v in %v", h, c, bound)
		}
		taken[c.Name] = true
	}
}

// assignable tries every agent for every host; used has a bit for each agent.
func assignable(hosts []Host, agents []Candidate, used uint) bool {
	if len(hosts) == 0 {
		return true
	}
	for i, c := range agents {
		if used&(1<<i) == 0 && c.has(hosts[0].Pick) && assignable(hosts[1:], agents, used|1<<i) {
			return true
		}
	}
	return false
}
