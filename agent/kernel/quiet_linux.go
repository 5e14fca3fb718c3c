package kernel

import (
	"context"
	"time"
)

// Pauses between two looks of Quiet: the first is shorter than a round trip of a lab,
// the last keeps a long wait cheap.
const (
	firstPause = 200 * time.Microsecond
	lastPause  = 20 * time.Millisecond
)

// Busy lists the sockets of a run's flows that may yet send: those in every state but
// LISTEN, TIME_WAIT and CLOSE. That includes request sockets, which will answer the
// SYN again, and FIN_WAIT2, where the peer still has its FIN to send and this end to
// acknowledge it.
func Busy(f Flows) ([]Socket, error) {
	d, err := openDiag()
	if err != nil {
		return nil, err
	}
	defer d.close()
	f = f.plain()
	return d.dump(busyStates, f.connected)
}

// Quiet waits until no socket of a run's flows may send any more. When ctx is done
// before, it answers with the sockets that were busy at the last look and the cause.
// The network namespace is that of the thread that calls it, throughout.
func Quiet(ctx context.Context, f Flows) ([]Socket, error) {
	d, err := openDiag()
	if err != nil {
		return nil, err
	}
	defer d.close()
	f = f.plain()
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		busy, err := d.dump(busyStates, f.connected)
		if err != nil || len(busy) == 0 {
			return nil, err
		}
		timer.Reset(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return busy, context.Cause(ctx)
		}
	}
}
