//go:build !linux

package store

// beIdle does nothing here: the system has no I/O priorities that a thread can set.
func beIdle() {}

// dropCached does nothing here: reads may come from the cache.
func dropCached(file, int64, int64) {}
