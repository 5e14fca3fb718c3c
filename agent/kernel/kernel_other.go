//go:build !linux

package kernel

import (
	"context"
	"errors"

	synclinev1 "syncline/proto/syncline/v1"
)

var errLinuxOnly = errors.New("what the kernel knows of sockets is read from Linux only: run the agent on Linux")

// Busy is Linux only.
func Busy(Flows) ([]Socket, error) { return nil, errLinuxOnly }

// Quiet is Linux only.
func Quiet(context.Context, Flows) ([]Socket, error) { return nil, errLinuxOnly }

// Dump is Linux only.
func Dump(Flows) ([]Socket, error) { return nil, errLinuxOnly }

// EndOrphans is Linux only.
func EndOrphans(Flows) ([]Socket, error) { return nil, errLinuxOnly }

// ReadCounters is Linux only.
func ReadCounters() (Counters, error) { return Counters{}, errLinuxOnly }

// Run is Linux only.
func (*QueueWatch) Run(context.Context, func(*synclinev1.Event)) error { return errLinuxOnly }

// Sample is Linux only.
func (*QueueWatch) Sample() ([]*synclinev1.Event, error) { return nil, errLinuxOnly }

// SocketCookie is Linux only.
func SocketCookie(int) (uint64, error) { return 0, errLinuxOnly }

// Run is Linux only.
func (*StateWatch) Run(context.Context) (Sighting, error) { return Sighting{}, errLinuxOnly }
