package setup

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// flowsWith selects what connection tracking holds of a run: flows with its peers.
// Those of others are not the lab's to forget.
type flowsWith []netip.Addr

// MatchConntrackFlow is asked for every flow of the table.
func (peers flowsWith) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	for _, ip := range []net.IP{flow.Forward.SrcIP, flow.Forward.DstIP} {
		if a, ok := netip.AddrFromSlice(ip); ok && slices.Contains(peers, a.Unmap()) {
			return true
		}
	}
	return false
}

// forgetFlows removes the run's flows from the table of connection tracking. A kernel
// without it in netlink lets them expire.
func (h *Host) forgetFlows(e *entry) error {
	if len(e.Peers) == 0 {
		return nil
	}
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, flowsWith(e.Peers))
		switch {
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
			h.log.Info("this kernel does not let connection tracking forget (module nf_conntrack_netlink): its entries expire", "change", e.Text)
			return nil
		case err != nil && !errors.Is(err, netlink.ErrDumpInterrupted):
			return fmt.Errorf("let connection tracking forget the run's connections: %w", err)
		}
	}
	return nil
}
