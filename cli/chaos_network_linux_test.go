package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"syncline/deploy/netlab"
)

// wall is a table of nftables in the namespace of a host, which drops or resets what comes from
// some hosts or goes to them.
type wall struct {
	host *netlab.Host
	name string
	// in and out say in which directions; reset answers TCP with RST instead of dropping.
	in, out, reset bool
	// except, if valid, is the only address that is let through, instead of those of peers
	// being the only ones that are not.
	peers  []netip.Addr
	except netip.Addr
}

// rise puts the wall up, in one transaction.
func (w *wall) rise() error {
	return w.with("put up", func(c *nftables.Conn) {
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: w.name})
		for _, way := range []struct {
			on     bool
			hook   *nftables.ChainHook
			name   string
			offset uint32
		}{{w.in, nftables.ChainHookInput, "in", 12}, {w.out, nftables.ChainHookOutput, "out", 16}} {
			if !way.on {
				continue
			}
			chain := c.AddChain(&nftables.Chain{Name: way.name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: way.hook, Priority: nftables.ChainPriorityFilter})
			if w.except.IsValid() {
				c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(addressIs(way.offset, expr.CmpOpNeq, w.except), w.verdict()...)})
			}
			for _, peer := range w.peers {
				c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(addressIs(way.offset, expr.CmpOpEq, peer), w.verdict()...)})
			}
		}
	})
}

// addressIs compares the address at an offset of the IPv4 header.
func addressIs(offset uint32, op expr.CmpOp, a netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Cmp{Op: op, Register: 1, Data: a.AsSlice()},
	}
}

func (w *wall) verdict() []expr.Any {
	if !w.reset {
		return []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Counter{},
		&expr.Reject{Type: unix.NFT_REJECT_TCP_RST},
	}
}

// fall takes it down.
func (w *wall) fall() error {
	return w.with("take down", func(c *nftables.Conn) {
		c.DelTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: w.name})
	})
}

// met counts the packets that it stopped.
func (w *wall) met() (packets uint64, err error) {
	err = w.host.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
		for _, chain := range chains {
			if chain.Table.Name != w.name {
				continue
			}
			rules, rulesErr := c.GetRules(chain.Table, chain)
			err = errors.Join(err, rulesErr)
			for _, r := range rules {
				for _, e := range r.Exprs {
					if counter, ok := e.(*expr.Counter); ok {
						packets += counter.Packets
					}
				}
			}
		}
		return err
	})
	return packets, err
}

func (w *wall) with(what string, change func(*nftables.Conn)) error {
	err := w.host.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		change(c)
		return c.Flush()
	})
	if err != nil {
		return fmt.Errorf("%s the wall %s on host %s: %w", what, w.name, w.host.Name, err)
	}
	return nil
}

// narrowed is the link of a host's control network with a token bucket (tc-tbf(8)) on its way out.
type narrowed struct {
	host *netlab.Host
	rate uint64
}

// narrow lets so many bytes a second out of a host.
func narrow(h *netlab.Host, rate uint64) (*narrowed, error) {
	l := &narrowed{h, rate}
	err := h.Do(func() error {
		bucket, err := l.bucket()
		if err != nil {
			return err
		}
		return netlink.QdiscReplace(bucket)
	})
	if err != nil {
		return nil, fmt.Errorf("give host %s a link of %d bytes/s: %w", h.Name, rate, err)
	}
	return l, nil
}

// bucket holds at least one frame, and at most a 16th of a second.
func (l *narrowed) bucket() (*netlink.Tbf, error) {
	link, err := l.link()
	if err != nil {
		return nil, err
	}
	return &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       l.rate, Limit: 64 << 10,
		// In ticks that these bytes take at this rate. A frame that is longer would be dropped.
		Buffer: netlink.Xmittime(l.rate, uint32(max(2<<10, l.rate/16))),
	}, nil
}

func (l *narrowed) link() (netlink.Link, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	for _, link := range links {
		addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.IP.String() == l.host.Control.String() }) {
			return link, nil
		}
	}
	return nil, fmt.Errorf("no link has address %v", l.host.Control)
}

// waited is how often a packet had to wait.
func (l *narrowed) waited() (times uint32, err error) {
	err = l.host.Do(func() error {
		link, err := l.link()
		if err != nil {
			return err
		}
		all, err := netlink.QdiscList(link)
		for _, q := range all {
			if s := q.Attrs().Statistics; q.Type() == "tbf" && s != nil && s.Queue != nil {
				times = s.Queue.Overlimits
			}
		}
		return err
	})
	return times, err
}

// widen takes the bucket away.
func (l *narrowed) widen() error {
	err := l.host.Do(func() error {
		bucket, err := l.bucket()
		if err != nil {
			return err
		}
		return netlink.QdiscDel(bucket)
	})
	if err != nil {
		return fmt.Errorf("take the narrow link of host %s away: %w", l.host.Name, err)
	}
	return nil
}
