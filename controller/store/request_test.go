package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	logv1 "syncline/proto/syncline/log/v1"
)

func TestRequestTakesEffectOnce(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	run := createRun(t, s)
	ctx := WithRequest(t.Context(), Request{Client: "operator/ann", ID: "req-7"})
	taken := must[Run](t)(s.TakeRun(ctx, run.ID))
	if taken.Epoch != run.Epoch+1 {
		t.Fatalf("epoch %d after %d", taken.Epoch, run.Epoch)
	}
	again := func(when string) {
		t.Helper()
		if got := must[Run](t)(s.TakeRun(ctx, run.ID)); got.Epoch != taken.Epoch {
			t.Errorf("%s, a retry made epoch %d, the first made %d", when, got.Epoch, taken.Epoch)
		}
	}
	again("at once")
	s = reopen(t, s, dir)
	again("after a restart")
	if err := s.Snapshot(); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s, dir)
	again("after a snapshot")

	if _, err := s.TakeRun(ctx, createRun(t, s).ID); !errors.Is(err, ErrReused) {
		t.Errorf("the same request for another run: %v, want ErrReused", err)
	}
	if err := s.PutAgent(ctx, Agent{Name: "vm1"}); !errors.Is(err, ErrReused) {
		t.Errorf("the same request for another command: %v, want ErrReused", err)
	}
	other := WithRequest(t.Context(), Request{Client: "operator/bob", ID: "req-7"})
	if got := must[Run](t)(s.TakeRun(other, run.ID)); got.Epoch != taken.Epoch+1 {
		t.Errorf("the request of another client made epoch %d", got.Epoch)
	}
	if _, err := s.TakeRun(ctx, run.ID); !errors.Is(err, ErrEpoch) {
		t.Errorf("a retry after somebody else took the run: %v, want ErrEpoch", err)
	}
	long := WithRequest(t.Context(), Request{Client: "x", ID: string(make([]byte, maxRequestBytes+1))})
	if err := s.PutAgent(long, Agent{Name: "vm1"}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a request id that is too long: %v, want ErrInvalid", err)
	}
}

// TestRefusedRequestMayBeRepeated: what was refused changed nothing, and may be right later.
func TestRefusedRequestMayBeRepeated(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := WithRequest(t.Context(), Request{Client: "c", ID: "r"})
	if _, err := s.TakeRun(ctx, "r-1"); !errors.Is(err, ErrUnknownRun) {
		t.Fatal(err)
	}
	must[Run](t)(s.CreateRun(t.Context(), "make", Run{ID: "r-1", Experiment: "x"}))
	if _, err := s.TakeRun(ctx, "r-1"); err != nil {
		t.Error(err)
	}
}

func takeEntry(client, id, run string, at time.Duration) *logv1.Entry {
	return &logv1.Entry{
		Version: 2, IssuedAtNs: int64(at), ClientId: client, RequestId: id, CommandDigest: []byte(run),
		Command: &logv1.Entry_TakeRun{TakeRun: &logv1.TakeRun{RunId: run}},
	}
}

func TestRequestsAreForgottenByTheTimeOfTheLog(t *testing.T) {
	m := machineIn(t, t.TempDir())
	index := uint64(0)
	apply := func(e *logv1.Entry) result {
		index++
		return m.Apply(logOf(t, index, e)).(result)
	}
	apply(&logv1.Entry{Version: 1, IssuedAtNs: 1, RequestId: "make", Command: &logv1.Entry_CreateRun{CreateRun: &logv1.CreateRun{Run: &logv1.Run{Id: "r-1"}}}})
	epoch := func(id string, at time.Duration) uint64 {
		res := apply(takeEntry("c", id, "r-1", at))
		if res.err != nil {
			t.Fatal(res.err)
		}
		return res.run.Epoch
	}
	first := epoch("a", time.Hour)
	if got := epoch("a", 24*time.Hour); got != first {
		t.Errorf("after 23 hours it was done again")
	}
	// The clock of a proposer that is behind does not bring anything back, nor forward.
	if got := epoch("a", 0); got != first {
		t.Errorf("an earlier time: done again")
	}
	if got := epoch("a", 25*time.Hour); got != first+1 {
		t.Errorf("after 24 hours it was not done again: epoch %d", got)
	}
	if n := len(m.answers.queue); n != 1 || len(m.answers.by) != 1 {
		t.Errorf("%d answers are remembered, %d in the map; want the last alone", n, len(m.answers.by))
	}
}

func TestRequestsAreBounded(t *testing.T) {
	a := newAnswers()
	if a.most != maxRequests {
		t.Errorf("%d are remembered, want %d", a.most, maxRequests)
	}
	a.most = 100
	var last setSum
	for i := range a.most + 3 {
		if i == 3 {
			last = a.sum
		}
		a.add(answer{Request: Request{ID: fmt.Sprint(i)}, time: int64(i)})
	}
	if len(a.by) != a.most || len(a.queue) != a.most {
		t.Fatalf("%d are remembered, at most %d should be", len(a.by), a.most)
	}
	if _, ok := a.by[Request{ID: "2"}]; ok {
		t.Error("an old one was kept")
	}
	if _, ok := a.by[Request{ID: "3"}]; !ok {
		t.Error("the oldest that should be kept was not")
	}
	for len(a.queue) > 0 {
		a.drop()
	}
	if a.sum != (setSum{}) || last == (setSum{}) {
		t.Errorf("the sum of nothing is %v", a.sum)
	}
}

func TestAnswersGoThroughSnapshots(t *testing.T) {
	dir := t.TempDir()
	m := machineIn(t, dir)
	m.Apply(logOf(t, 1, &logv1.Entry{Version: 1, IssuedAtNs: 5, RequestId: "make", Command: &logv1.Entry_CreateRun{CreateRun: &logv1.CreateRun{Run: &logv1.Run{Id: "r-1"}}}}))
	m.Apply(logOf(t, 2, takeEntry("c", "a", "r-1", 7)))
	m.Apply(logOf(t, 3, takeEntry("d", "a", "r-1", 8)))
	next := throughSnapshot(t, m, dir)
	if diff := cmp.Diff(m.answers.all(), next.answers.all(), cmp.AllowUnexported(answer{})); diff != "" || len(next.answers.all()) != 3 {
		t.Errorf("answers (-before +after):\n%s", diff)
	}
}
