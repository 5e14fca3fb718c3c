//go:build !linux

package netlab

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
)

var errLinuxOnly = errors.New("netlab: the local lab is Linux only")

// Lab is a set of hosts on one machine; there is none on this system.
type Lab struct{}

// Host is one host of a lab; there is none on this system.
type Host struct {
	Name              string
	Address, Address6 netip.Addr
	Control           netip.Addr
	Interface         string
}

// Process is a process on a host; there is none on this system.
type Process struct{}

// New returns an error: Linux only.
func New(Config) (*Lab, error) { return nil, errLinuxOnly }

// NewLoopback returns an error: Linux only.
func NewLoopback(Config) (*Lab, error) { return nil, errLinuxOnly }

// Sweep finds nothing: no lab was ever here.
func Sweep() ([]string, error) { return nil, nil }

// Host returns nil.
func (*Lab) Host(string) *Host { return nil }

// Hosts returns nil.
func (*Lab) Hosts() []*Host { return nil }

// Dir returns nothing.
func (*Lab) Dir() string { return "" }

// Missing returns nil.
func (*Lab) Missing() []Missing { return nil }

// Wires returns nothing.
func (*Lab) Wires() ([]WireReport, error) { return nil, nil }

// Close has nothing to close.
func (*Lab) Close() error { return nil }

// Do returns an error: Linux only.
func (*Host) Do(func() error) error { return errLinuxOnly }

// Listen returns an error: Linux only.
func (*Host) Listen(_, _ string) (net.Listener, error) { return nil, errLinuxOnly }

// Dial returns an error: Linux only.
func (*Host) Dial(context.Context, string, string) (net.Conn, error) { return nil, errLinuxOnly }

// Start returns an error: Linux only.
func (*Host) Start(*exec.Cmd) (*Process, error) { return nil, errLinuxOnly }

// PID returns 0.
func (*Process) PID() int { return 0 }

// Done returns a nil channel.
func (*Process) Done() <-chan struct{} { return nil }

// Wait returns an error: Linux only.
func (*Process) Wait() error { return errLinuxOnly }

// Signal returns an error: Linux only.
func (*Process) Signal(os.Signal) error { return errLinuxOnly }

// Stop returns an error: Linux only.
func (*Process) Stop(context.Context) error { return errLinuxOnly }
