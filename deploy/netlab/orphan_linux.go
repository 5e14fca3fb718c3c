package netlab

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// quiet lets nothing of the kernel's own hold a namespace whose processes have
// ended: sockets that still wait for an answer, and their packets, which hold the
// socket while they wait for a neighbour to be resolved. Setting the links down drops
// those.
func quiet(ns *os.File) error {
	links, err := routeHandle(ns)
	if err != nil {
		return err
	}
	defer links.Close()
	err = destroyOrphans(ns)
	for _, name := range []string{hostInterface, controlInterface} {
		link, missing := links.LinkByName(name)
		if missing != nil {
			// The lab was not finished, or somebody inside removed the link.
			continue
		}
		err = errors.Join(err, links.LinkSetDown(link))
	}
	return err
}

// destroyOrphans ends every TCP socket of the namespace that no process has open
// any more, by SOCK_DESTROY of sock_diag(7). A socket in TIME_WAIT holds no
// namespace and is left alone. A kernel without CONFIG_INET_DIAG_DESTROY answers
// EOPNOTSUPP; the sockets then end by themselves, later.
func destroyOrphans(ns *os.File) error {
	err := inNamespace(ns, func() error {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			sockets, err := netlink.SocketDiagTCP(family)
			if err != nil {
				return fmt.Errorf("netlab: list TCP sockets: %w", err)
			}
			for _, s := range sockets {
				if s.INode != 0 || s.State == netlink.TCP_TIME_WAIT {
					continue
				}
				if err := destroy(s); err != nil && !errors.Is(err, unix.ENOENT) {
					return fmt.Errorf("netlab: destroy an orphaned TCP socket: %w", err)
				}
			}
		}
		return nil
	})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// destroyRequest is struct inet_diag_req_v2 of linux/inet_diag.h.
type destroyRequest struct {
	family, protocol, extensions, _ uint8
	states                          uint32
	sourcePort, destinationPort     [2]byte
	source, destination             [16]byte
	link                            uint32
	cookie                          [2]uint32
}

// Len and Serialize make it a payload of a netlink request.
func (r *destroyRequest) Len() int { return int(unsafe.Sizeof(*r)) }

func (r *destroyRequest) Serialize() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(r)), r.Len())
}

// destroy ends one socket, named by its cookie so that no other can be meant.
func destroy(s *netlink.Socket) error {
	r := &destroyRequest{family: s.Family, protocol: unix.IPPROTO_TCP, states: 1 << s.State, link: s.ID.Interface}
	r.cookie = s.ID.Cookie
	r.sourcePort = [2]byte{byte(s.ID.SourcePort >> 8), byte(s.ID.SourcePort)}
	r.destinationPort = [2]byte{byte(s.ID.DestinationPort >> 8), byte(s.ID.DestinationPort)}
	copyAddress(r.source[:], s.ID.Source, s.Family)
	copyAddress(r.destination[:], s.ID.Destination, s.Family)
	request := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
	request.AddData(r)
	_, err := request.Execute(unix.NETLINK_INET_DIAG, 0)
	return err
}

func copyAddress(to []byte, ip []byte, family uint8) {
	if family == unix.AF_INET && len(ip) == 16 {
		ip = ip[12:]
	}
	copy(to, ip)
}
