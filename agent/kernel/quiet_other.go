//go:build !linux

package kernel

import (
	"context"
	"errors"
	"net/netip"
)

var errLinuxOnly = errors.New("sock_diag is Linux only: run the agent on Linux")

// Busy is Linux only.
func Busy([]netip.Addr, []uint16) ([]Socket, error) { return nil, errLinuxOnly }

// Quiet is Linux only.
func Quiet(context.Context, []netip.Addr, []uint16) ([]Socket, error) { return nil, errLinuxOnly }
