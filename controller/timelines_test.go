package controller

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/store"
)

// TestTimelinesOfOneStateAreMadeOnce: whoever asks for a run while it is being read waits
// for that, and as long as nothing more arrived it is not read again.
func TestTimelinesOfOneStateAreMadeOnce(t *testing.T) {
	var loads atomic.Int32
	entered, release := make(chan struct{}), make(chan struct{})
	ts := &timelines{turns: make(chan struct{}, timelinesKept)}
	ts.load = func(_ context.Context, run store.Run) (*builder, error) {
		if loads.Add(1) == 1 {
			close(entered)
			<-release
		}
		return &builder{run: run}, nil
	}
	running := store.Run{ID: "r-1", State: store.Running, Chunks: 3}
	got := make([]*builder, 8)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() { got[i], _ = ts.builder(t.Context(), running) })
	}
	<-entered
	close(release)
	wg.Wait()
	for _, b := range got {
		if b == nil || b != got[0] {
			t.Fatalf("callers at once got %p and %p", got[0], b)
		}
	}
	if n := loads.Load(); n != 1 {
		t.Fatalf("%d callers at once had the run read %d times", len(got), n)
	}
	for _, step := range []struct {
		name string
		run  store.Run
		want int32
	}{
		{"the same", running, 1},
		{"a chunk more", store.Run{ID: "r-1", State: store.Running, Chunks: 4}, 2},
		{"the same again", store.Run{ID: "r-1", State: store.Running, Chunks: 4}, 2},
		{"another run", store.Run{ID: "r-2", State: store.Sealed, Chunks: 4}, 3},
		{"the first again", store.Run{ID: "r-1", State: store.Running, Chunks: 4}, 3},
		{"a warning more", store.Run{ID: "r-1", State: store.Running, Chunks: 4, Warnings: []string{"w"}}, 4},
		{"the second again", store.Run{ID: "r-2", State: store.Sealed, Chunks: 4}, 4},
		{"a third", store.Run{ID: "r-3", State: store.Sealed, Chunks: 4}, 5},
		{"the first at its end", store.Run{ID: "r-1", State: store.Sealed, Chunks: 9}, 6},
	} {
		if _, err := ts.builder(t.Context(), step.run); err != nil {
			t.Fatal(err)
		}
		if n := loads.Load(); n != step.want {
			t.Errorf("%s: runs were read %d times, want %d", step.name, n, step.want)
		}
	}
	if len(ts.kept) != timelinesKept || len(ts.making) != 0 {
		t.Errorf("%d are kept and %d in the making", len(ts.kept), len(ts.making))
	}
}

// TestTimelinesThatFailAreTriedAgain: nobody is told of an old failure, and all who waited
// are told of theirs.
func TestTimelinesThatFailAreTriedAgain(t *testing.T) {
	broken := errors.New("the disk is gone")
	fail := true
	ts := &timelines{turns: make(chan struct{}, timelinesKept)}
	ts.load = func(_ context.Context, run store.Run) (*builder, error) {
		if fail {
			return nil, broken
		}
		return &builder{run: run}, nil
	}
	if _, err := ts.builder(t.Context(), store.Run{ID: "r-1"}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	fail = false
	if b, err := ts.builder(t.Context(), store.Run{ID: "r-1"}); err != nil || b == nil {
		t.Errorf("got %v, %v", b, err)
	}
}

// TestCancelledRequestsDoNotWait: a request that was cancelled leaves at once, whether it waits
// for its turn or for somebody else who makes the same, and takes nothing from those who still
// want what it was to make.
func TestCancelledRequestsDoNotWait(t *testing.T) {
	entered, release := make(chan string), make(chan struct{})
	ts := &timelines{turns: make(chan struct{}, 1)}
	ts.load = func(ctx context.Context, run store.Run) (*builder, error) {
		entered <- run.ID
		select {
		case <-release:
			return &builder{run: run}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	type answer struct {
		b   *builder
		err error
	}
	ask := func(ctx context.Context, id string) chan answer {
		got := make(chan answer, 1)
		go func() {
			b, err := ts.builder(ctx, store.Run{ID: id})
			got <- answer{b, err}
		}()
		return got
	}
	cancelled := func(name string, got chan answer) {
		t.Helper()
		if a := <-got; a.b != nil || status.Code(readStatus(a.err)) != codes.Canceled {
			t.Errorf("%s got %v, %v", name, a.b, a.err)
		}
	}
	await := func(id string) {
		t.Helper()
		if got := <-entered; got != id {
			t.Fatalf("run %s is read, want %s", got, id)
		}
	}

	reading := ask(t.Context(), "r-1")
	await("r-1")
	turn, giveUp := context.WithCancel(t.Context())
	waiting := ask(turn, "r-2")
	for !ts.isMaking("r-2") {
		runtime.Gosched()
	}
	giveUp()
	cancelled("who waits for a turn", waiting)

	same, giveUpSame := context.WithCancel(t.Context())
	giveUpSame()
	cancelled("who waits for somebody else", ask(same, "r-1"))

	close(release)
	if a := <-reading; a.err != nil || a.b == nil {
		t.Errorf("whose turn it was got %v, %v", a.b, a.err)
	}

	// The one that reads gives up; whoever waited reads itself.
	release = make(chan struct{})
	reader, giveUpReading := context.WithCancel(t.Context())
	abandoned := ask(reader, "r-3")
	await("r-3")
	heir := ask(t.Context(), "r-3")
	giveUpReading()
	cancelled("who reads", abandoned)
	await("r-3")
	close(release)
	if a := <-heir; a.err != nil || a.b == nil || a.b.run.ID != "r-3" {
		t.Errorf("who waited for it got %v, %v", a.b, a.err)
	}
	if len(ts.making) != 0 || len(ts.turns) != 0 {
		t.Errorf("%d are left in the making and %d turns taken", len(ts.making), len(ts.turns))
	}
}

// isMaking reports whether somebody makes the builder of a run, or waits for the turn to.
func (ts *timelines) isMaking(id string) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return slices.ContainsFunc(ts.making, func(m *making) bool { return m.run.ID == id })
}
