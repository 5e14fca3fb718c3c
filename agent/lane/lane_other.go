//go:build !linux

package lane

import "context"

// Run returns ErrUnsupported: a lane is made of Linux's system calls.
func Run(context.Context, Config) error { return ErrUnsupported }
