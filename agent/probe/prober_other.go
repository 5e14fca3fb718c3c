//go:build !linux

package probe

import (
	"context"
	"errors"
)

var errLinuxOnly = &Unavailable{errors.New("stamps of the kernel are Linux only"), "run the agent on Linux"}

// Prober probes on Linux only.
type Prober struct{}

// Available fails with ErrUnavailable.
func Available() (err, stamps error) { return errLinuxOnly, nil }

// Open fails with ErrUnavailable.
func Open(Config) (*Prober, error) { return nil, errLinuxOnly }

// Endpoints are none.
func (*Prober) Endpoints() []Endpoint { return nil }

// Run fails with ErrUnavailable.
func (*Prober) Run(context.Context, Plan) error { return errLinuxOnly }

// Stop has nothing to stop.
func (*Prober) Stop() {}

// Counts are none.
func (*Prober) Counts() Counts { return Counts{} }

// Troubles are none.
func (*Prober) Troubles() []string { return nil }

// Close has nothing to close.
func (*Prober) Close() error { return nil }
