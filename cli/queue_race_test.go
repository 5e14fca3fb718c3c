//go:build race

package cli

// With the race detector more scenarios at once have two processors keep a lane waiting for as long as
// TCP waits before it sends again.
func init() { side = 4 }
