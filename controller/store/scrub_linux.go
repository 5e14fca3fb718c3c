package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// beIdle gives the calling thread idle I/O priority and the lowest CPU priority. It is
// a courtesy: a system that refuses is read at the same rate.
func beIdle() {
	const (
		whoProcess = 1 // IOPRIO_WHO_PROCESS, ioprio_set(2); 0 is the calling thread
		classIdle  = 3 << 13
	)
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, whoProcess, 0, classIdle)
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 19)
}

// dropCached drops clean pages of a file, so that the next read is one of the disk.
func dropCached(f file, offset, n int64) {
	if f, ok := f.(*os.File); ok {
		// An advice; nothing depends on it.
		_ = unix.Fadvise(int(f.Fd()), offset, n, unix.FADV_DONTNEED)
	}
}
