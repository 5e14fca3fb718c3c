//go:build !linux || !(386 || amd64 || arm || arm64 || loong64 || mips64le || mipsle || ppc64le || riscv64)

package trace

import (
	"context"
	"errors"

	synclinev1 "syncline/proto/syncline/v1"
)

var errElsewhere = &Unavailable{errors.New("the programs are for Linux on little-endian processors"), "run the agent there"}

// Tracer listens on Linux only.
type Tracer struct{}

// Open fails with ErrUnavailable.
func Open(Config) (*Tracer, error) { return nil, errElsewhere }

// Probe fails with ErrUnavailable.
func Probe() ([]Missing, error) { return nil, errElsewhere }

// Missing is nothing.
func (*Tracer) Missing() []Missing { return nil }

// Run fails with ErrUnavailable.
func (*Tracer) Run(context.Context, func(...*synclinev1.Event)) error { return errElsewhere }

// Flush fails with ErrUnavailable.
func (*Tracer) Flush(context.Context) error { return errElsewhere }

// Counts are nothing.
func (*Tracer) Counts() (Counts, error) { return Counts{}, nil }

// Close has nothing to close.
func (*Tracer) Close() error { return nil }
