package kernel

import (
	"context"
	"time"

	"syncline/agent/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

// Run looks until ctx is done, once more then, and returns nil. emit gets an event
// when a listener of the flows appears and whenever its queue was seen to have
// changed, stamped right after the look; it is called from Run's goroutine. The
// network namespace is that of the thread that calls Run.
func (w *QueueWatch) Run(ctx context.Context, emit func(*synclinev1.Event)) error {
	look, err := openQueueLook(w.Flows)
	if err != nil {
		return err
	}
	defer look.diag.close()
	tick := time.NewTicker(queuePause)
	defer tick.Stop()
	for next := time.Now(); ; {
		ended, begun := ctx.Err() != nil, time.Now()
		requests := ended || !begun.Before(next)
		if err := look.once(requests, emit); err != nil || ended {
			return err
		}
		if requests {
			next = time.Now().Add(restAfter(time.Since(begun)))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// Sample is one look at every listener of the flows, changed or not.
func (w *QueueWatch) Sample() ([]*synclinev1.Event, error) {
	look, err := openQueueLook(w.Flows)
	if err != nil {
		return nil, err
	}
	defer look.diag.close()
	var all []*synclinev1.Event
	err = look.once(true, func(e *synclinev1.Event) { all = append(all, e) })
	return all, err
}

// queueLook looks at listeners, and says what changed since it last did.
type queueLook struct {
	diag     *diag
	flows    Flows
	queues   queues
	requests map[uint64]uint32
}

func openQueueLook(f Flows) (*queueLook, error) {
	d, err := openDiag()
	if err != nil {
		return nil, err
	}
	return &queueLook{diag: d, flows: f.plain()}, nil
}

// once takes the request sockets as they were at the last look that asked for them.
func (l *queueLook) once(requests bool, emit func(*synclinev1.Event)) error {
	listeners, err := l.diag.dump(listenStates, l.flows.listening)
	if err != nil {
		return err
	}
	if requests && len(listeners) > 0 {
		found, err := l.diag.dump(requestStates, l.flows.connected)
		if err != nil {
			return err
		}
		l.requests = requestsOf(listeners, found)
	}
	now := clock.Now()
	for _, s := range l.queues.changed(listeners, l.requests) {
		emit(&synclinev1.Event{TimeNs: now, Fact: &synclinev1.Event_Queue{Queue: &synclinev1.Queue{
			Address: s.Local.String(), Length: s.RecvQueue, Limit: s.SendQueue, Requests: l.requests[s.Cookie],
		}}})
	}
	return nil
}
