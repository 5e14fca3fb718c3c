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
	taken := status.Error(codes.AlreadyExists, "an agent named vm1 is connected already")
	lost := status.Error(codes.Unavailable, "the connection was lost")
	c := &controllers{all: []string{"a", "b", "c"}}
	for i, step := range []struct {
		err      error
		want     string
		welcomed bool
		soon     bool
	}{
		{err: down, want: "b"},
		{err: down, want: "c"},
		{err: down, want: "a"},
		{err: notLeader("c"), want: "c", soon: true},
		// The leader has moved on.
		{err: notLeader("x"), want: "x", soon: true},
		// It is gone: back to the list.
		{err: down, want: "a"},
		{err: down, want: "b"},
		// Nobody leads just now.
		{err: notLeader(""), want: "c", soon: true},
		{err: status.Error(codes.Unavailable, "shutting down"), want: "a"},
		// Who leads has refused: the others know nothing of that, and asking them would look
		// like hope.
		{err: notLeader("c"), want: "c", soon: true},
		{err: taken, want: "c"},
		{err: taken, want: "c"},
		// A connection that was good is made anew where it was, unless that one leads no more.
		{err: lost, want: "c", welcomed: true, soon: true},
		{err: notLeader("b"), want: "b", welcomed: true, soon: true},
		// It says nothing any more: back to the list.
		{err: errSilent, want: "a", welcomed: true, soon: true},
		{err: notLeader("a"), want: "a", welcomed: true, soon: true},
		// The same, and it is the next of the list too: it is not asked again at once.
		{err: errSilent, want: "b", welcomed: true, soon: true},
	} {
		if soon := c.ended(step.welcomed, step.err); soon != step.soon || c.current() != step.want {
			t.Errorf("step %d: dial %s, soon %v, want %s, %v", i, c.current(), soon, step.want, step.soon)
		}
	}
}
