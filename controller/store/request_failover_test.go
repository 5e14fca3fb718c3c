package store

import "testing"

// TestRequestIsRememberedAfterFailover repeats requests at the next leader, whose answers may have
// been lost with the first one.
func TestRequestIsRememberedAfterFailover(t *testing.T) {
	c := newCluster(t, 3)
	first := c.leader()
	made := must[Run](t)(c.nodes[first].CreateRun(t.Context(), "make it", Run{Experiment: "x"}))
	prepare := WithRequest(t.Context(), Request{Client: "controller", ID: "prepare it"})
	change := RunChange{State: Prepared, Epoch: made.Epoch}
	must[Run](t)(c.nodes[first].ChangeRun(prepare, made.ID, change))
	// What has happened since must not be undone by the request that comes again.
	must[Run](t)(c.nodes[first].ChangeRun(t.Context(), made.ID, RunChange{State: Running, Epoch: made.Epoch}))

	c.kill(first)
	second := c.leader()
	again := must[Run](t)(c.nodes[second].CreateRun(t.Context(), "make it", Run{Experiment: "x"}))
	if again.ID != made.ID {
		t.Errorf("the same request made run %s at the first leader and %s at the second", made.ID, again.ID)
	}
	once, err := c.nodes[second].ChangeRun(prepare, made.ID, change)
	if err != nil || once.State != Running {
		t.Errorf("the same request again, at the second leader: run is %v, %v; want it as it is by now, %v", once.State, err, Running)
	}
	if runs := c.nodes[second].Runs(); len(runs) != 1 {
		t.Errorf("%d runs were made by one request", len(runs))
	}
}
