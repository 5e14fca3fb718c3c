// Package setup changes the host for a run and takes every change back: at the end
// of the run, after an error in the middle, and after kill -9.
//
// What a change will replace is read first and written to a journal on disk, and only
// then is the change made. Whoever opens the journal next undoes what it still holds.
// DESIGN.md says why this is enough.
//
// All changes are of one network namespace, that of the thread that calls Open; every
// method is to be called in it. Changing needs CAP_NET_ADMIN there; opening an empty
// journal and Check need nothing.
package setup

import (
	"errors"
	"net/netip"
)

var (
	// ErrInUse is returned by Open if another living process holds the journal.
	ErrInUse = errors.New("the journal of changes is held by another process")
	// ErrUnsupported is wrapped by errors that say what this kernel cannot do.
	ErrUnsupported = errors.New("not possible on this host")
	// ErrApplied is returned by Apply for a named setup that is applied already.
	ErrApplied = errors.New("already applied")
	// ErrNotApplied is returned by Undo for a named setup that is not applied.
	ErrNotApplied = errors.New("not applied")
	// ErrUnmet is wrapped by Check's errors that say that the host is not as required,
	// unlike those that say that it could not be found out.
	ErrUnmet = errors.New("requirement not met")
	// ErrClosed is returned by the methods of a closed Host.
	ErrClosed = errors.New("the journal of changes is closed")
)

// Target is what changes are about: this host's place in a run.
type Target struct {
	// Own is this host's address in the run. The interface that has it is the one that
	// link, neighbour, address and direct route changes are about.
	Own netip.Addr
	// Peers are the run's other addresses, those of a second family included.
	Peers []netip.Addr
	// Control is this host's end of the agent's connection to its controller. The
	// interface that has it is not taken down and keeps this address. Zero: none.
	Control netip.AddrPort
	// Controller is the other end: no rule of the firewall touches packets from and to
	// it, and no route may change the way to its address. Zero: none.
	Controller netip.AddrPort
	// RunID names the run in the journal, for the log of whoever undoes it.
	RunID string
}
