//go:build !unix

package controller

import "errors"

// diskFree is known on Unix systems only.
func diskFree(string) (uint64, error) {
	return 0, errors.New("how much of a disk is free is not known on this system")
}
