package lane

import (
	"context"
	"errors"
	"testing"
	"time"

	synclinev1 "syncline/proto/syncline/v1"
)

const (
	byKernel  = synclinev1.EndedBy_ENDED_BY_KERNEL
	byTimeout = synclinev1.EndedBy_ENDED_BY_TIMEOUT
	byCancel  = synclinev1.EndedBy_ENDED_BY_CANCEL
)

func TestWaitForAll(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*Board)
		want synclinev1.EndedBy
		err  string
	}{
		{"all have signalled", func(b *Board) { b.Post("a", "x"); b.Post("b", "x"); b.Post("b", "x") }, byKernel, ""},
		{"signalled and ended", func(b *Board) { b.Post("a", "x"); b.Post("b", "x"); b.End("a", ""); b.End("b", "wrong") }, byKernel, ""},
		{"one has not", func(b *Board) { b.Post("a", "x"); b.Post("b", "y") }, byTimeout, ""},
		{"one ended before", func(b *Board) { b.End("b", "wrong") }, byKernel, "lane b ended before it signalled x: wrong"},
		{"one ended, then the other signalled", func(b *Board) { b.End("b", ""); b.Post("a", "x") }, byKernel, "lane b ended before it signalled x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			check := func(by synclinev1.EndedBy, err error) {
				t.Helper()
				text := ""
				if err != nil {
					text = err.Error()
				}
				if by != c.want || text != c.err {
					t.Errorf("ended by %v with %q, want %v with %q", by, text, c.want, c.err)
				}
			}
			before := NewBoard([]string{"a", "b"})
			c.do(before)
			check(before.wait(t.Context(), []string{"a", "b"}, "x", time.Millisecond))

			during := NewBoard([]string{"a", "b"})
			w := &waiter{missing: 2, done: make(chan struct{})}
			if err := during.register(w, []string{"a", "b"}, "x"); err != nil {
				t.Fatal(err)
			}
			c.do(during)
			by := until(t.Context(), w.done, time.Millisecond)
			check(by, w.err)
		})
	}
}

func TestWaitThatIsGivenUpIsForgotten(t *testing.T) {
	b := NewBoard([]string{"a"})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("over"))
	for range 100 {
		if by, err := b.wait(t.Context(), []string{"a"}, "x", 1); by != byTimeout || err != nil {
			t.Fatalf("ended by %v, error %v", by, err)
		}
		if by, err := b.wait(ctx, []string{"a"}, "x", 0); by != byCancel || err != nil {
			t.Fatalf("ended by %v, error %v", by, err)
		}
	}
	if left := b.lanes["a"].waiting["x"]; len(left) != 0 {
		t.Errorf("%d waiters are left", len(left))
	}
}

func TestWatchesNeverEnd(t *testing.T) {
	b := NewBoard(nil)
	b.End("", "nonsense")
	if by, err := b.wait(t.Context(), []string{""}, "seen", time.Millisecond); by != byTimeout || err != nil {
		t.Errorf("ended by %v, error %v", by, err)
	}
	b.Post("", "seen")
	if by, err := b.wait(t.Context(), []string{""}, "seen", 0); by != byKernel || err != nil {
		t.Errorf("ended by %v, error %v", by, err)
	}
}

func TestBoardKnowsItsLanes(t *testing.T) {
	b := NewBoard([]string{"a"})
	b.Post("stranger", "x")
	b.End("stranger", "x")
	if _, err := b.wait(t.Context(), []string{"a", "stranger"}, "x", time.Millisecond); err == nil ||
		err.Error() != "no lane stranger takes part in this repetition" {
		t.Errorf("error %v", err)
	}
}
