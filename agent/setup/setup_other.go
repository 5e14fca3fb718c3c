//go:build !linux

package setup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	synclinev1 "syncline/proto/syncline/v1"
)

var errLinuxOnly = fmt.Errorf("changing a host is Linux only, run the agent on Linux: %w", errors.Join(ErrUnsupported, errors.ErrUnsupported))

// Host is Linux only; no value of it is ever made here.
type Host struct{}

// Open is Linux only.
func Open(string, *slog.Logger) (*Host, error) { return nil, errLinuxOnly }

// Recovered is Linux only.
func (h *Host) Recovered() []string { return nil }

// Apply is Linux only.
func (h *Host) Apply(context.Context, Target, *synclinev1.Setup, func(*synclinev1.ChangeMade)) error {
	return errLinuxOnly
}

// Undo is Linux only.
func (h *Host) Undo(context.Context, string, func(*synclinev1.ChangeMade)) error { return errLinuxOnly }

// UndoAll is Linux only.
func (h *Host) UndoAll(context.Context, func(*synclinev1.ChangeMade)) error { return errLinuxOnly }

// Close is Linux only.
func (h *Host) Close() error { return errLinuxOnly }

// Check is Linux only.
func Check(*synclinev1.Requirement) error { return errLinuxOnly }
