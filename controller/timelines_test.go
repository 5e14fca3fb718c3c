package controller

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"syncline/controller/store"
)

// TestTimelinesOfOneStateAreMadeOnce: whoever asks for a run while it is being read waits
// for that, and as long as nothing more arrived it is not read again.
func TestTimelinesOfOneStateAreMadeOnce(t *testing.T) {
	var loads atomic.Int32
	entered, release := make(chan struct{}), make(chan struct{})
	ts := &timelines{turns: make(chan struct{}, timelinesKept)}
	ts.load = func(run store.Run) (*builder, error) {
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
		wg.Go(func() { got[i], _ = ts.builder(running) })
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
		if _, err := ts.builder(step.run); err != nil {
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
	ts.load = func(run store.Run) (*builder, error) {
		if fail {
			return nil, broken
		}
		return &builder{run: run}, nil
	}
	if _, err := ts.builder(store.Run{ID: "r-1"}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	fail = false
	if b, err := ts.builder(store.Run{ID: "r-1"}); err != nil || b == nil {
		t.Errorf("got %v, %v", b, err)
	}
}
