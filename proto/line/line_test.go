package line

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// However often streams break, and whatever of the receipts is lost with them, every message
// arrives once and in order.
func TestExactlyOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var out Outbox[uint64]
		var in Inbox
		var said, heard []uint64
		cursor, told := uint64(0), uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"say": func(t *rapid.T) {
				if err := out.Push(1, func(n uint64) uint64 { said = append(said, n); return n }); err != nil {
					t.Fatal(err)
				}
			},
			"hear": func(t *rapid.T) {
				m, ok, more := out.After(cursor)
				if ok != (more == nil) {
					t.Fatal("neither a message nor a way to wait")
				}
				if !ok {
					return
				}
				cursor = m
				if fresh, err := in.Take(m); err != nil {
					t.Fatal(err)
				} else if fresh {
					heard = append(heard, m)
				}
			},
			"receipt": func(t *rapid.T) {
				told = rapid.Uint64Range(told, in.Received()).Draw(t, "receipt")
				if err := out.Received(told); err != nil {
					t.Fatal(err)
				}
			},
			"break": func(t *rapid.T) {
				if !out.Holds(in.Received()) {
					t.Fatal("the line cannot go on")
				}
				cursor = in.Received()
				// A message of the old stream may still come in after the new one was opened.
				if m, ok, _ := out.After(cursor); ok && rapid.Bool().Draw(t, "late") {
					if fresh, err := in.Take(m); err != nil || !fresh {
						t.Fatal(fresh, err)
					}
					heard = append(heard, m)
				}
			},
			"": func(t *rapid.T) {
				if len(heard) > len(said) || !slices.Equal(heard, said[:len(heard)]) {
					t.Fatalf("said %v, heard %v", said, heard)
				}
			},
		})
	})
}

func TestLinesHaveLimits(t *testing.T) {
	var out Outbox[int]
	push := func(size int) error { return out.Push(size, func(uint64) int { return 0 }) }
	if err := push(MaxBytes + 1); !errors.Is(err, ErrFull) {
		t.Errorf("a message of more than all: %v", err)
	}
	for range MaxMessages {
		if err := push(1); err != nil {
			t.Fatal(err)
		}
	}
	if err := push(1); !errors.Is(err, ErrFull) {
		t.Errorf("one message more: %v", err)
	}
	if err := out.Received(MaxMessages + 1); err == nil {
		t.Error("a receipt for what was not said")
	}
	if err := out.Received(10); err != nil || out.Holds(9) || !out.Holds(10) || !out.Holds(MaxMessages) || out.Holds(MaxMessages+1) {
		t.Errorf("after a receipt for 10: %v", err)
	}
	if err := push(1); err != nil {
		t.Error(err)
	}
	var in Inbox
	if _, err := in.Take(2); err == nil {
		t.Error("a message after a hole")
	}
}
