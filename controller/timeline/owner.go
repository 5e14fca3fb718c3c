package timeline

import "net/netip"

// owners tells which host of the run an address belongs to.
type owners struct {
	// calls by repetition and address: what a host's own getsockname(2) said.
	calls map[place]int
	// ports that a host listened on at every address.
	wildcards map[place]int
	// addresses of the hosts in the experiment.
	hosts map[netip.Addr]int
	// taps by the address that packets left a host from.
	taps map[netip.Addr]int
}

// place is an address in one repetition.
type place struct {
	repetition int
	address    netip.AddrPort
}

// shared stands for an owner that is more than one host.
const shared = -2

func newOwners(run *Run, events []*Event) *owners {
	o := &owners{
		calls:     make(map[place]int),
		wildcards: make(map[place]int),
		hosts:     make(map[netip.Addr]int),
		taps:      make(map[netip.Addr]int),
	}
	for h, host := range run.Hosts {
		for _, address := range []netip.Addr{host.Address, host.Address6} {
			if address.IsValid() {
				note(o.hosts, address.Unmap().WithZone(""), h)
			}
		}
	}
	for _, e := range events {
		switch {
		case e.Call != nil && e.Call.Local.Port() != 0:
			o.noteCall(e)
		case e.Packet != nil && e.Packet.Direction == Out:
			note(o.taps, plain(e.Packet.Source).Addr(), e.Host)
		}
	}
	return o
}

func (o *owners) noteCall(e *Event) {
	local := plain(e.Call.Local)
	if local.Addr().IsUnspecified() {
		note(o.wildcards, place{e.Repetition, netip.AddrPortFrom(netip.Addr{}, local.Port())}, e.Host)
		return
	}
	note(o.calls, place{e.Repetition, local}, e.Host)
}

// note records an owner; two different ones make the key shared.
func note[K comparable](m map[K]int, key K, host int) {
	if old, ok := m[key]; ok && old != host {
		host = shared
	}
	m[key] = host
}

// of is the host that an address of a repetition belongs to, -1 if none or not
// known. What a host said of its own socket is worth most, since hosts on one
// kernel may share addresses; then the addresses of the experiment; then the only
// tap that saw packets leave from there.
func (o *owners) of(repetition int, address netip.AddrPort) int {
	if h, ok := o.calls[place{repetition, address}]; ok && h != shared {
		return h
	}
	if h, ok := o.hosts[address.Addr()]; ok && h != shared {
		return h
	}
	if h, ok := o.wildcards[place{repetition, netip.AddrPortFrom(netip.Addr{}, address.Port())}]; ok && h != shared {
		// Linux sends from 127.0.0.1 to any other address of the loopback interface.
		if _, known := o.hosts[address.Addr()]; known || address.Addr().IsLoopback() {
			return h
		}
	}
	if h, ok := o.taps[address.Addr()]; ok && h != shared {
		return h
	}
	return -1
}

// named reports whether a socket of the run said that it has this address.
func (o *owners) named(repetition int, address netip.AddrPort) bool {
	if _, ok := o.calls[place{repetition, address}]; ok {
		return true
	}
	_, ok := o.wildcards[place{repetition, netip.AddrPortFrom(netip.Addr{}, address.Port())}]
	return ok
}
