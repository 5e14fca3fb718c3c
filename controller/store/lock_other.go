//go:build !unix

package store

import (
	"errors"
	"os"
)

func lockDir(string) (*os.File, error) {
	return nil, errors.New("a controller needs a Unix system: its directory is guarded by flock(2)")
}
