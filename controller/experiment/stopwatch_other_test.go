//go:build !linux

package experiment

import "time"

// stopwatch measures time until the returned function stops it.
func stopwatch() (stop func() time.Duration) {
	began := time.Now()
	return func() time.Duration { return time.Since(began) }
}
