//go:build !linux

package agent

import "syncline/agent/clock"

// bootNow is CLOCK_MONOTONIC where there are no agents but in tests.
func bootNow() int64 { return clock.Now() }
