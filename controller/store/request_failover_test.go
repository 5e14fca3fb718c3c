package store

import "testing"

// TestRequestIsRememberedAfterFailover repeats requests at the next leader, whose answers may have
// been lost with the first one.
func TestRequestIsRememberedAfterFailover(t *testing.T) {
	c := newCluster(t, 3)
	first := c.leader()
	made := must[Run](t)(c.nodes[first].CreateRun(t.Context(), "make it", Run{Experiment: "x"}))
	take := WithRequest(t.Context(), Request{Client: "controller", ID: "take it"})
	taken := must[Run](t)(c.nodes[first].TakeRun(take, made.ID))

	c.kill(first)
	second := c.leader()
	again := must[Run](t)(c.nodes[second].CreateRun(t.Context(), "make it", Run{Experiment: "x"}))
	if again.ID != made.ID {
		t.Errorf("the same request made run %s at the first leader and %s at the second", made.ID, again.ID)
	}
	once := must[Run](t)(c.nodes[second].TakeRun(take, made.ID))
	if once.Epoch != taken.Epoch {
		t.Errorf("the same request made the epoch %d at the first leader and %d at the second", taken.Epoch, once.Epoch)
	}
	if runs := c.nodes[second].Runs(); len(runs) != 1 {
		t.Errorf("%d runs were made by one request", len(runs))
	}
}
