// Package line keeps what one side of a control stream has said until the other side has it,
// so that a stream that breaks takes nothing with it.
//
// A line outlives its streams. Each side numbers its messages from 1, keeps them in an
// Outbox until the other one has said that it acted on them, and sends the rest again on the
// next stream. An Inbox takes each number once, in order. So every message arrives exactly once,
// or the line is given up as a whole: it never goes on with a hole.
package line

import (
	"errors"
	"fmt"
	"sync"
)

// Limits of what an outbox keeps for a side that does not answer.
const (
	MaxMessages = 1 << 16
	MaxBytes    = 64 << 20
)

// ErrFull: the other side has not acted on so much that no more is kept. The line cannot go
// on.
var ErrFull = errors.New("the other side of the line takes no messages")

// Outbox keeps the messages of one direction. The zero Outbox is empty. It is safe for
// concurrent use.
type Outbox[M any] struct {
	mu sync.Mutex
	// kept are the messages from first on; received is how many the other side has.
	kept     []entry[M]
	received uint64
	bytes    int
	changed  chan struct{}
}

type entry[M any] struct {
	message M
	size    int
}

// Push gives the next number to a message of so many bytes and keeps it. ErrFull keeps
// nothing.
func (o *Outbox[M]) Push(size int, with func(number uint64) M) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.kept) >= MaxMessages || o.bytes+size > MaxBytes {
		return fmt.Errorf("%d messages of %d bytes wait: %w", len(o.kept), o.bytes, ErrFull)
	}
	o.kept = append(o.kept, entry[M]{with(o.received + uint64(len(o.kept)) + 1), size})
	o.bytes += size
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return nil
}

// Received forgets the messages up to a number, which the other side has acted on. A number
// that was not given yet is an error.
func (o *Outbox[M]) Received(number uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if last := o.received + uint64(len(o.kept)); number > last {
		return fmt.Errorf("the other side says that it has message %d of %d", number, last)
	}
	for ; o.received < number; o.received++ {
		o.bytes -= o.kept[0].size
		o.kept[0] = entry[M]{}
		o.kept = o.kept[1:]
	}
	return nil
}

// Holds reports whether all messages behind a number are kept, so that a stream can go on
// there.
func (o *Outbox[M]) Holds(number uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.received <= number && number <= o.received+uint64(len(o.kept))
}

// After is the message behind a number. If there is none yet, more is closed when there is.
func (o *Outbox[M]) After(number uint64) (m M, ok bool, more <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	// What was received meanwhile is behind us.
	number = max(number, o.received)
	if i := number - o.received; i < uint64(len(o.kept)) {
		return o.kept[i].message, true, nil
	}
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return m, false, o.changed
}

// Inbox counts the messages of the other direction. The zero Inbox has none. Its user sees to
// it that one goroutine at a time is in it, from Take until the message was acted on.
type Inbox struct{ received uint64 }

// Take says whether a message is the next one. One that came before, on an earlier stream,
// is not fresh; a hole before it is an error.
func (i *Inbox) Take(number uint64) (fresh bool, err error) {
	switch {
	case number <= i.received:
		return false, nil
	case number > i.received+1:
		return false, fmt.Errorf("message %d came after message %d", number, i.received)
	}
	i.received = number
	return true, nil
}

// Received is the number of the last message that was taken.
func (i *Inbox) Received() uint64 { return i.received }
