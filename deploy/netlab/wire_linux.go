package netlab

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
)

// chooseMechanism decides what moves the frames of all wires of the lab, and gives
// all wires that have none one seed. It makes the hub if that is the choice.
func (l *Lab) chooseMechanism() error {
	if len(l.plan.Wires) == 0 {
		return nil
	}
	if l.plan.Mechanism != UserSpace {
		netem, err := l.netem()
		if err != nil {
			return err
		}
		if netem {
			l.plan.Mechanism = Netem
			return nil
		}
		if l.plan.Mechanism == Netem {
			return fmt.Errorf("netlab: the kernel has no netem; try modprobe sch_netem, or leave the mechanism open")
		}
	}
	if l.plan.Keep {
		return fmt.Errorf("netlab: a lab whose wires are in user space cannot be kept: the process that made it moves their frames, and they end with it")
	}
	l.plan.Mechanism = UserSpace
	// The map is the caller's.
	l.plan.Wires = maps.Clone(l.plan.Wires)
	seed := chance()
	for name, w := range l.plan.Wires {
		if w.Seed == 0 {
			w.Seed = seed
			l.plan.Wires[name] = w
		}
	}
	var err error
	if l.hub, err = newHub(); err != nil {
		return err
	}
	fd, err := l.fabric.uplink(l.plan)
	if err != nil {
		return err
	}
	return l.hub.add("", fd, Wire{}, 0)
}

// chance is a seed of up to nine digits, which a person can type again.
func chance() uint64 {
	var b [8]byte
	rand.Read(b[:]) // it does not fail
	return 1 + binary.NativeEndian.Uint64(b[:])%999_999_999
}

// netem reports whether netem can make every wire of the lab.
func (l *Lab) netem() (bool, error) {
	for _, w := range l.plan.Wires {
		if !netemCan(w) {
			return false, nil
		}
	}
	return l.fabric.hasNetem()
}

// plug joins the i-th host to both networks.
func (l *Lab) plug(h *Host, i int) error {
	s := l.plan.hosts[i]
	var err error
	switch {
	case !l.plan.wired(s):
		err = l.fabric.cable(h.ns, s, 0, l.fabric.bridges[0], l.plan)
	case l.plan.Mechanism == Netem:
		err = l.fabric.plugNetem(h.ns, s, l.plan)
	default:
		var fd int
		if fd, err = l.fabric.movedTAP(h.ns, s, l.plan); err == nil {
			err = l.hub.add(s.name, fd, l.plan.Wires[s.name], i+1)
		}
	}
	if err != nil {
		return err
	}
	return l.fabric.cable(h.ns, s, 1, l.fabric.bridges[1], l.plan)
}

// Wires say what the wires have done so far, in the order of the hosts; empty if the
// lab has none. The two directions of one report are of one moment with UserSpace.
// After Close the error is ErrClosed.
func (l *Lab) Wires() ([]WireReport, error) {
	var all []WireReport
	for i, h := range l.hosts {
		s := l.plan.hosts[i]
		if !l.plan.wired(s) {
			continue
		}
		r := WireReport{Host: s.name, Wire: l.plan.Wires[s.name], Mechanism: l.plan.Mechanism}
		if err := l.report(h, s, &r); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

func (l *Lab) report(h *Host, s seat, r *WireReport) (err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ns == nil {
		return fmt.Errorf("netlab: read the wire of host %s: %w", s.name, ErrClosed)
	}
	if r.Mechanism == Netem {
		_, inner, _ := netemNames(s)
		if r.Out, err = l.fabric.netemCounts(inner); err != nil {
			return err
		}
		r.In, err = l.fabric.netemCounts(s.cables[0].port)
		return err
	}
	if r.Out, r.In, err = l.hub.report(s.name); err != nil {
		return err
	}
	r.Missed, err = missed(h.ns, s.cables[0].name)
	return err
}
