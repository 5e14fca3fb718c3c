package environment

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"syncline/agent/packet"
	synclinev1 "syncline/proto/syncline/v1"
)

// OfRun reads what this host is like for its part of a run: its interfaces are those
// of the run's path.
func OfRun(plan *synclinev1.Prepare, cfg Config) *synclinev1.Environment {
	var err error
	if cfg.Interfaces, err = pathOf(plan); err != nil {
		cfg.InterfacesFailure = err.Error()
	}
	return Read(cfg)
}

// pathOf are the interfaces between this host and the others of a run, in the order
// of their indices.
func pathOf(plan *synclinev1.Prepare) ([]string, error) {
	var own, peers []netip.Addr
	for _, h := range plan.GetHosts() {
		for _, text := range []string{h.Address, h.Address6} {
			if text == "" {
				continue
			}
			address, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("address of host %s: %w", h.Host, err)
			}
			if h.Host == plan.Host {
				own = append(own, address)
			} else {
				peers = append(peers, address)
			}
		}
	}
	if len(own) == 0 {
		return nil, fmt.Errorf("the plan names no address for host %s", plan.Host)
	}
	var names []string
	for _, address := range own {
		same := slices.DeleteFunc(slices.Clone(peers), func(peer netip.Addr) bool { return peer.Unmap().Is4() != address.Unmap().Is4() })
		found, err := packet.Interfaces(address, same)
		if err != nil {
			return nil, err
		}
		for _, name := range found {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// Interfaces are all interfaces of the calling thread's network namespace that are
// up, in the order of their indices; the loopback only if there is no other.
func Interfaces() ([]string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list the interfaces: %w", err)
	}
	var names, loopback []string
	for _, i := range all {
		switch {
		case i.Flags&net.FlagUp == 0:
		case i.Flags&net.FlagLoopback != 0:
			loopback = append(loopback, i.Name)
		default:
			names = append(names, i.Name)
		}
	}
	if len(names) == 0 {
		return loopback, nil
	}
	return names, nil
}

// interfaces puts one section an interface.
func (p *page) interfaces(cfg Config) {
	if cfg.InterfacesFailure != "" {
		p.section("interfaces")
		p.fail("names", errors.New(cfg.InterfacesFailure))
		return
	}
	for i, name := range cfg.Interfaces {
		if i == MaxInterfaces {
			p.section("interfaces")
			p.fail("more", fmt.Errorf("%d interfaces are not described: at most %d are", len(cfg.Interfaces)-i, MaxInterfaces))
			return
		}
		p.section(sectionInterface + name)
		p.device(name)
	}
}

func (p *page) device(name string) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		p.fail("link", fmt.Errorf("find interface %s: %w", name, err))
		return
	}
	a := link.Attrs()
	p.set("kind", link.Type())
	p.set("state", a.OperState.String())
	p.set("flags", a.Flags.String())
	p.set("MTU", strconv.Itoa(a.MTU))
	p.set("queue length", strconv.Itoa(a.TxQLen))
	p.set("queues", fmt.Sprintf("%d to send, %d to receive", a.NumTxQueues, a.NumRxQueues))
	p.set("GSO at most", fmt.Sprintf("%d bytes, %d segments", a.GSOMaxSize, a.GSOMaxSegs))
	p.set("GRO at most", fmt.Sprintf("%d bytes", a.GROMaxSize))
	xdp := "none"
	if a.Xdp != nil && a.Xdp.Attached {
		xdp = "attached"
	}
	p.set("XDP", xdp)
	disciplines, err := qdiscs(link)
	p.put("qdisc", disciplines, err)
	p.ethtool(name)
	flush, err := groFlush(a.Index)
	p.put("GRO flush", flush, err)
	p.deviceSysctls(name, func(dir, s string) string {
		return "sysctl " + strings.ReplaceAll(strings.TrimPrefix(dir, "net/"), "/", ".") + "." + s
	})
}

// qdiscs are the queueing disciplines of an interface, the root first.
func qdiscs(link netlink.Link) (string, error) {
	all, err := netlink.QdiscList(link)
	if err != nil {
		return "", fmt.Errorf("list the queueing disciplines of %s: %w", link.Attrs().Name, err)
	}
	var names []string
	for _, q := range all {
		a := q.Attrs()
		where := "parent " + netlink.HandleStr(a.Parent)
		if a.Parent == netlink.HANDLE_ROOT {
			where = "root"
		}
		names = append(names, q.Type()+" "+where)
	}
	if len(names) == 0 {
		return "none", nil
	}
	return strings.Join(names, ", "), nil
}

// isUnsupported reports whether a driver does not know what it was asked.
func isUnsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY)
}
