package agent

import (
	"errors"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestControllersAreTriedInTurn(t *testing.T) {
	notLeader := func(leader string) error {
		st, err := status.New(codes.Unavailable, "not the leader").WithDetails(&errdetails.ErrorInfo{
			Reason: "NOT_LEADER", Domain: "syncline", Metadata: map[string]string{"leader": leader, "leader_id": "x"},
		})
		if err != nil {
			t.Fatal(err)
		}
		return st.Err()
	}
	down := errors.New("connection refused")
	c := &controllers{all: []string{"a", "b", "c"}}
	for i, step := range []struct {
		err  error
		want string
	}{
		{down, "b"},
		{down, "c"},
		{down, "a"},
		{notLeader("c"), "c"},
		// The leader has moved on.
		{notLeader("x"), "x"},
		// It is gone: back to the list.
		{down, "a"},
		{down, "b"},
		// Nobody leads just now.
		{notLeader(""), "c"},
		{status.Error(codes.Unavailable, "shutting down"), "a"},
		{notLeader("a"), "a"},
		// It is gone, and the next of the list: it is not asked again at once.
		{errSilent, "b"},
	} {
		if c.failed(step.err); c.current() != step.want {
			t.Errorf("step %d: dial %s, want %s", i, c.current(), step.want)
		}
	}
}
