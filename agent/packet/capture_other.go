//go:build !linux

package packet

import (
	"context"
	"errors"
	"net/netip"
	"time"

	synclinev1 "syncline/proto/syncline/v1"
)

var errLinuxOnly = &Unavailable{errors.New("AF_PACKET is Linux only"), "run the agent on Linux"}

// Capture hears packets on Linux only.
type Capture struct{}

// Open fails with ErrUnavailable.
func Open(Config) (*Capture, error) { return nil, errLinuxOnly }

// Available fails with ErrUnavailable.
func Available() error { return errLinuxOnly }

// Interfaces fails with ErrUnavailable.
func Interfaces(netip.Addr, []netip.Addr) ([]string, error) { return nil, errLinuxOnly }

// Run fails with ErrUnavailable.
func (*Capture) Run(context.Context, func([]*synclinev1.Event)) error { return errLinuxOnly }

// Drain fails with ErrUnavailable.
func (*Capture) Drain(context.Context, time.Duration) error { return errLinuxOnly }

// ExpectDown does nothing.
func (*Capture) ExpectDown() {}

// Frames is nothing.
func (*Capture) Frames() (passed, lost uint64) { return 0, 0 }

// Close has nothing to close.
func (*Capture) Close() error { return nil }
