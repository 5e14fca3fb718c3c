package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	synclinev1 "syncline/proto/syncline/v1"
)

// A file that needs of a host what its agent has not is refused, for every such host by
// name, before an agent hears of it. What an agent does not speak of keeps nothing from
// starting.
func TestLacking(t *testing.T) {
	c := newTestController(t)
	c.pair(func(client, server *fakeAgent) {
		client.hello.Features = []*synclinev1.Feature{{Name: "root", Available: true}, {Name: "mptcp"}}
		server.hello.Features = []*synclinev1.Feature{
			{Name: "root", Reason: "no CAP_NET_ADMIN", Remedy: "run the agent as root"}, {Name: "mptcp", Available: true},
		}
	})
	for name, test := range map[string]struct {
		needs, require string
		want, unknown  []string
	}{
		"changes B": {"[]", "sysctl: { net.ipv4.tcp_sack: 0 }", []string{
			"host B needs root, for sysctl: net.ipv4.tcp_sack = 0, and agent server has it not: no CAP_NET_ADMIN; run the agent as root",
		}, nil},
		"says so": {"[root, mptcp, a minute]", "require: nothing listens on tcp/8080", []string{
			"host A needs mptcp, says the file, and agent client has it not: it does not say why",
			"host B needs root, says the file, and agent server has it not: no CAP_NET_ADMIN; run the agent as root",
		}, nil},
		"nobody knows": {"[conntrack, a minute]", "require: nothing listens on tcp/8080", nil, []string{"host A: conntrack", "host B: conntrack"}},
	} {
		source := strings.NewReplacer("needs: [root]", "needs: "+test.needs, "require: nothing listens on tcp/8080", test.require).Replace(plannedSource)
		if plan := c.plan(source); !slices.Equal(plan.Unmet, test.want) || !slices.Equal(plan.UnknownNeeds, test.unknown) {
			t.Errorf("%s: the plan says %q and does not know %q, want %q and %q", name, plan.Unmet, plan.UnknownNeeds, test.want, test.unknown)
		}
		if test.want == nil {
			continue
		}
		before, err := c.runs.ListRuns(t.Context(), &synclinev1.ListRunsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.runs.CreateRun(t.Context(), &synclinev1.CreateRunRequest{RequestId: fmt.Sprint("lacking ", name), FileName: "x", Source: []byte(source)})
		if status.Code(err) != codes.FailedPrecondition || status.Convert(err).Message() != strings.Join(test.want, "\n") {
			t.Errorf("%s: a run of it: %v", name, err)
		}
		after, err := c.runs.ListRuns(t.Context(), &synclinev1.ListRunsRequest{})
		if err != nil || len(after.Runs) != len(before.Runs) {
			t.Errorf("%s: %d runs before, %d after it was refused: %v", name, len(before.Runs), len(after.GetRuns()), err)
		}
	}
}
