package packet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"syncline/agent/clock"
)

// Drain waits, while Run reads, until the last packet is an event: no packet of the
// flows was seen for a silence (in the kernel's own stamps), and every frame that the
// kernel had counted when the silence was over has been emitted or reported lost. It
// fails when ctx is done before, or when Run is.
func (c *Capture) Drain(ctx context.Context, silence time.Duration) error {
	c.hurry.Add(1)
	defer c.hurry.Add(-1)
	start := clock.Now()
	for {
		c.mu.Lock()
		next := c.passed
		unread, at, last := c.unread(), c.at, c.last
		c.mu.Unlock()
		rest := silence - time.Duration(at-last)
		if at >= start && unread == 0 && rest <= 0 {
			return nil
		}
		if at >= start && unread == 0 {
			if err := sleep(ctx, rest); err != nil {
				return c.undrained(err)
			}
		}
		// With unread frames the next pass comes by itself, when the kernel hands
		// over their block; the kick is for all other cases.
		if at < start || unread == 0 {
			c.kick()
		}
		select {
		case <-next:
		case <-ctx.Done():
			return c.undrained(context.Cause(ctx))
		case <-c.ended:
			return errors.New("packet: drain: Run has ended")
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *Capture) undrained(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	quiet := time.Duration(clock.Now() - c.last)
	return fmt.Errorf("packet: drain: %d frames unread, last packet %v ago: %w", c.unread(), quiet, err)
}
