package identity_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"syncline/proto/identity"
)

func TestParse(t *testing.T) {
	for uri, want := range map[string]identity.Identity{
		"spiffe://lab-1/controller/ctl1":    {Cluster: "lab-1", Role: identity.Controller, Name: "ctl1"},
		"spiffe://lab.example/agent/VM_1.a": {Cluster: "lab.example", Role: identity.Agent, Name: "VM_1.a"},
		"spiffe://0/operator/alice":         {Cluster: "0", Role: identity.Operator, Name: "alice"},
		"spiffe://lab/viewer/9":             {Cluster: "lab", Role: identity.Viewer, Name: "9"},
	} {
		got, err := identity.Parse(uri)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %v, %v, want %v", uri, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for uri, why := range map[string]string{
		"":                                              "want spiffe://CLUSTER/ROLE/NAME",
		"spiffe://lab":                                  "want spiffe://CLUSTER/ROLE/NAME",
		"spiffe://lab/agent":                            "want spiffe://CLUSTER/ROLE/NAME",
		"spiffe://lab/agent/vm1/":                       "want spiffe://CLUSTER/ROLE/NAME",
		"https://lab/agent/vm1":                         "want spiffe://CLUSTER/ROLE/NAME",
		"SPIFFE://lab/agent/vm1":                        "want spiffe://CLUSTER/ROLE/NAME",
		"spiffe://lab/admin/vm1":                        `no role "admin"; there are: controller, agent, operator, viewer`,
		"spiffe://lab//vm1":                             `no role ""`,
		"spiffe://lab/role(0)/vm1":                      "no role",
		"spiffe://Lab/agent/vm1":                        "lower-case",
		"spiffe:///agent/vm1":                           "cluster id",
		"spiffe://lab:7443/agent/vm1":                   "cluster id",
		"spiffe://alice@lab/agent/vm1":                  "cluster id",
		"spiffe://lab/agent/":                           "name",
		"spiffe://lab/agent/..":                         "name",
		"spiffe://lab/agent/vm%31":                      "name",
		"spiffe://lab/agent/vm1?role=any":               "name",
		"spiffe://lab/agent/vm1#x":                      "name",
		"spiffe://lab/agent/vm1\n":                      "name",
		"spiffe://lab/agent/" + strings.Repeat("v", 64): "1 to 63",
	} {
		if got, err := identity.Parse(uri); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("Parse(%q) = %v, %v, want an error with %q", uri, got, err, why)
		}
	}
}

func identities() *rapid.Generator[identity.Identity] {
	return rapid.Custom(func(t *rapid.T) identity.Identity {
		return identity.Identity{
			Cluster: rapid.StringMatching(`[a-z0-9][a-z0-9._-]{0,62}`).Draw(t, "cluster"),
			Role:    rapid.SampledFrom(identity.Roles).Draw(t, "role"),
			Name:    rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._-]{0,62}`).Draw(t, "name"),
		}
	})
}

func TestURIRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := identities().Draw(t, "identity")
		if got, err := identity.Parse(want.URI()); err != nil || got != want {
			t.Fatalf("Parse(%q) = %v, %v", want.URI(), got, err)
		}
	})
}

// FuzzParse holds that there is one way to write an identity, and that nothing which
// could mean something to a file system, a shell or a terminal comes through.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"spiffe://lab/agent/vm1", "spiffe://lab/agent/vm1/", "spiffe://l/role(1)/x", "spiffe://lab/agent/..", "spiffe://%6cab/agent/vm1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		i, err := identity.Parse(uri)
		if err != nil {
			return
		}
		if i.URI() != uri {
			t.Errorf("Parse accepts %q, which URI writes as %q", uri, i.URI())
		}
		if err := i.Check(); err != nil {
			t.Error(err)
		}
		if strings.ContainsAny(i.Cluster+i.Name, "/\\%: \t\n\x00\x1b") || strings.HasPrefix(i.Name, ".") || strings.HasPrefix(i.Name, "-") {
			t.Errorf("Parse(%q) lets %q and %q through", uri, i.Cluster, i.Name)
		}
	})
}
