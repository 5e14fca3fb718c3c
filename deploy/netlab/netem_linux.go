package netlab

import (
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Netem delays on the way out of a link, after the taps there. On the host's own link it
// would make every departure look late, so a wire of netem is one cable more with a bridge of
// its own: the host's frames leave the inner end of the second cable through one netem (Out), those
// for the host leave the first cable's port through the other (In).
//
//	eth0 ═ portN [bridge wireN] innerN ═ outerN [bridge switch]
//	       ◀─ In                Out ─▶

// netemQdisc is the qdisc of one direction. mtu turns a rate into frames.
func netemQdisc(index int, d Direction, mtu int) *netlink.Netem {
	limit := d.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	rate := d.Rate / 8
	if d.Rate == 0 {
		// Without a rate, frames under way are all that there are.
		limit = MaxBytesInFlight / mtu
		if d.Jitter > 0 {
			// netem keeps order only behind a rate: each frame then counts its delay
			// from the one before it. At this one the longest frame takes microseconds.
			rate = MaxRate / 8
		}
	} else {
		// netem counts what is under way as waiting.
		limit += int(math.Ceil((d.Delay + d.Jitter).Seconds() * float64(rate) / float64(mtu)))
	}
	return netlink.NewNetem(netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		netlink.NetemQdiscAttrs{
			Latency: latency(d.Delay), Jitter: uint32(d.Jitter.Microseconds()),
			Loss: float32(100 * d.Loss), ReorderProb: float32(100 * d.Reorder),
			Rate64: rate, Limit: uint32(limit),
		})
}

// latency is a delay as netem is told it, in microseconds. No frame is to arrive sooner than
// it should, so it is rounded up, and jitter down. The kernel is told ticks of 64 ns, to which
// netlink rounds down again: only every eighth microsecond is whole in them.
func latency(d time.Duration) uint32 {
	us := uint32((d + time.Microsecond - 1) / time.Microsecond)
	if us%8 != 0 {
		us++
	}
	return us
}

// hasNetem finds out by trying, on a bridge that carries nothing yet.
func (f *fabric) hasNetem() (bool, error) {
	q := netemQdisc(f.bridges[0].Attrs().Index, Direction{}, DefaultMTU)
	switch err := f.links.QdiscAdd(q); {
	// The kernel has no such qdisc, and no module of it.
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("netlab: try netem on the switch: %w", err)
	}
	if err := f.links.QdiscDel(q); err != nil {
		return false, fmt.Errorf("netlab: take netem off the switch again: %w", err)
	}
	return true, nil
}

// netemNames are those of a wire's links besides the host's port.
func netemNames(s seat) (bridge, inner, outer string) {
	number := s.cables[0].hardware[5]
	return fmt.Sprintf("wire%d", number), fmt.Sprintf("inner%d", number), fmt.Sprintf("outer%d", number)
}

// plugNetem joins a host's first link to the switch by a wire of netem.
func (f *fabric) plugNetem(host *os.File, s seat, p *plan) error {
	bridgeName, inner, outer := netemNames(s)
	bridge, err := f.addBridge(bridgeName, p.MTU)
	if err != nil {
		return err
	}
	if err := f.cable(host, s, 0, bridge, p); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = inner, p.MTU, bridge.Attrs().Index
	if err := f.links.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: outer, PeerMTU: uint32(p.MTU)}); err != nil {
		return privileged("add the veth pair of the wire of host "+s.name, kernelLacks(err, "veth"))
	}
	f.own[inner], f.own[outer] = true, true
	end, err := f.links.LinkByName(outer)
	if err != nil {
		return fmt.Errorf("netlab: find %s of the switch: %w", outer, err)
	}
	if err := f.links.LinkSetMaster(end, f.bridges[0]); err != nil {
		return fmt.Errorf("netlab: make %s a port of the switch: %w", outer, err)
	}
	w := p.Wires[s.name]
	for _, way := range []struct {
		link string
		Direction
	}{{inner, w.Out}, {s.cables[0].port, w.In}} {
		link, err := f.links.LinkByName(way.link)
		if err != nil {
			return fmt.Errorf("netlab: find %s of the switch: %w", way.link, err)
		}
		if err := f.links.QdiscAdd(netemQdisc(link.Attrs().Index, way.Direction, p.MTU)); err != nil {
			return fmt.Errorf("netlab: put netem on %s of the wire of host %s: %w", way.link, s.name, err)
		}
		if err := f.up(link); err != nil {
			return err
		}
	}
	return f.up(end)
}

// netemCounts are what netem on a link has counted.
func (f *fabric) netemCounts(name string) (Counts, error) {
	link, err := f.links.LinkByName(name)
	var gone netlink.LinkNotFoundError
	if errors.As(err, &gone) {
		// The host has removed its end, and its counts with it.
		return Counts{}, nil
	}
	if err != nil {
		return Counts{}, fmt.Errorf("netlab: find %s of the switch: %w", name, err)
	}
	all, err := f.links.QdiscList(link)
	if err != nil {
		return Counts{}, fmt.Errorf("netlab: read the counters of netem on %s: %w", name, err)
	}
	for _, q := range all {
		s := q.Attrs().Statistics
		if q.Type() != "netem" || s == nil || s.Basic == nil || s.Queue == nil {
			continue
		}
		c := Counts{Delivered: uint64(s.Basic.Packets), Lost: uint64(s.Queue.Drops), InFlight: uint64(s.Queue.Qlen)}
		c.Taken = c.Delivered + c.Lost + c.InFlight
		return c, nil
	}
	return Counts{}, fmt.Errorf("netlab: %s has no netem any more; somebody took it off", name)
}
