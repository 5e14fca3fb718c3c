package cli

// side is how many scenarios of the library run at once. They mostly wait, and a program without the
// race detector leaves the processors to the kernel.
var side = 6

// queue lets tests that are parallel begin in the order in which they joined, so that
// what takes long can be first, and no more than side of them at once.
type queue struct {
	slots chan struct{}
	// tail is closed when whoever joined last has begun.
	tail chan struct{}
}

func newQueue() *queue {
	q := &queue{slots: make(chan struct{}, side), tail: make(chan struct{})}
	close(q.tail)
	return q
}

// join takes the next place; not safe for concurrent use. A test joins before it says
// that it is parallel, then calls enter, which waits for its turn, and leave in the end.
// All that have joined must enter.
func (q *queue) join() (enter, leave func()) {
	before, began := q.tail, make(chan struct{})
	q.tail = began
	enter = func() {
		<-before
		q.slots <- struct{}{}
		close(began)
	}
	return enter, func() { <-q.slots }
}
