package kernel

import (
	"net/netip"
	"slices"
)

// Flows say which sockets are a run's: those with both addresses among its hosts and
// a port among its ports on either side; and listeners on such a port.
type Flows struct {
	// Addresses of all hosts of the run, of both families.
	Addresses []netip.Addr
	Ports     []uint16
	// Ranges are ports too, taken one after the other.
	Ranges []PortRange
}

// PortRange is Low to High, both included.
type PortRange struct{ Low, High uint16 }

// plain is a copy whose addresses are as sockets have them.
func (f Flows) plain() Flows {
	addresses := make([]netip.Addr, len(f.Addresses))
	for i, a := range f.Addresses {
		addresses[i] = a.Unmap().WithZone("")
	}
	f.Addresses = addresses
	return f
}

func (f *Flows) port(p uint16) bool {
	return slices.Contains(f.Ports, p) ||
		slices.ContainsFunc(f.Ranges, func(r PortRange) bool { return r.Low <= p && p <= r.High })
}

// connected reports whether the socket is an end of a connection of the run.
func (f *Flows) connected(s Socket) bool {
	return (f.port(s.Local.Port()) || f.port(s.Remote.Port())) &&
		slices.Contains(f.Addresses, s.Local.Addr()) && slices.Contains(f.Addresses, s.Remote.Addr())
}

// listening reports whether the socket takes connections of the run.
func (f *Flows) listening(s Socket) bool {
	return s.State == Listen && f.port(s.Local.Port()) &&
		(s.Local.Addr().IsUnspecified() || slices.Contains(f.Addresses, s.Local.Addr()))
}

// hold reports whether the socket is the run's at all.
func (f *Flows) hold(s Socket) bool { return f.connected(s) || f.listening(s) }
