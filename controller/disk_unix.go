//go:build unix

package controller

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// diskFree is how many bytes are free for this program on the file system of a directory.
func diskFree(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return uint64(st.Bavail) * uint64(st.Bsize), nil
}
