//go:build !unix

package spool

import (
	"errors"
	"os"
)

var errUnsupported = errors.New("a spool needs flock(2) and fstatfs(2): run the agent on Linux")

func flock(*os.File) error { return errUnsupported }

func free(*os.Root) (int64, error) { return 0, errUnsupported }

func noRoom(error) bool { return false }
