package controller

import (
	"errors"
	"log/slog"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// TestCancelOutlivesTheLeader: a cancel that was answered is in the log, whether or not the goroutine of
// the run came to hear of it, and asking again is no error.
func TestCancelOutlivesTheLeader(t *testing.T) {
	ctx := t.Context()
	st, err := store.Open(store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := st.WaitLeader(ctx); err != nil {
		t.Fatal(err)
	}
	run, err := st.CreateRun(ctx, "request", store.Run{Experiment: "basic"})
	if err != nil {
		t.Fatal(err)
	}
	c := &Controller{store: st, cfg: Config{Log: slog.New(slog.DiscardHandler)}}
	// Nobody runs it: so it is with a leader that dies after its answer.
	c.runners = map[string]*runner{run.ID: newRunner(c, run, nil)}
	service := &runService{runReader: runReader{records: newRecords(st, "test")}, controller: c}
	if _, err := service.CancelRun(ctx, &synclinev1.CancelRunRequest{Id: run.ID, Reason: "lunch"}); err != nil {
		t.Fatal(err)
	}

	taken, err := st.TakeRun(ctx, run.ID)
	if err != nil {
		t.Fatal(err)
	}
	var cancelled *cancelledError
	if cause := left(taken); !errors.As(cause, &cancelled) || cancelled.reason != "lunch" {
		t.Errorf("who takes the run over is to end it because of %v", cause)
	}
	if _, err := service.CancelRun(ctx, &synclinev1.CancelRunRequest{Id: run.ID}); status.Code(err) != codes.Unavailable {
		t.Errorf("who had the run before cancels it with %v, want to ask the leader", err)
	}
	if _, err := st.Seal(ctx, run.ID, store.Sealing{Epoch: taken.Epoch, State: store.Cancelled, Reason: "lunch"}); err != nil {
		t.Fatal(err)
	}
	if again, err := service.CancelRun(ctx, &synclinev1.CancelRunRequest{Id: run.ID}); err != nil || again.Run.State != synclinev1.RunState_RUN_STATE_CANCELLED {
		t.Errorf("cancelling again answers %v, %v", again, err)
	}
}
