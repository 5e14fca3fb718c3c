package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"syncline/agent/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

// Flags of SO_TIMESTAMPING, Documentation/networking/timestamping.rst.
const (
	// stampArrivals has every datagram that comes in carry its stamp.
	stampArrivals = unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE
	// stampDepartures has the kernel put a stamp of every datagram that leaves on the
	// socket's error queue: with a number (OPT_ID) and without the datagram (OPT_TSONLY),
	// which would take CAP_NET_RAW where net.core.tstamp_allow_data is 0.
	stampDepartures = stampArrivals | unix.SOF_TIMESTAMPING_TX_SOFTWARE | numbered
	numbered        = unix.SOF_TIMESTAMPING_OPT_ID | unix.SOF_TIMESTAMPING_OPT_TSONLY
)

// straggling is how long a stamp that was given up may still be on its way.
const straggling = 10 * time.Second

// avoidTries is how many ports the kernel may offer before one suits.
const avoidTries = 64

// socket is this host's end of one path. One goroutine uses it.
type socket struct {
	fd    int
	path  synclinev1.ProbePath
	local netip.AddrPort
	// arrivals and departures are stamped by the kernel.
	arrivals, departures bool
	// explicit has each datagram carry the number of its stamp (SCM_TS_OPT_ID, since Linux
	// 6.13). Otherwise the kernel counts.
	explicit bool
	// next is the number of the next stamp; waiting are the departures without one yet.
	next    uint32
	waiting map[uint32]departure
	// unsure is set where the kernel counts and a send has failed: it may have counted
	// that one or not. No stamps are asked for until none is awaited any more, and then the
	// kernel begins anew.
	unsure bool
	// gaveUp is when a stamp was given up last, by CLOCK_MONOTONIC: it may come still, with a
	// number that is used again once the kernel counts anew.
	gaveUp int64
	// ever is set when a departure was stamped. Some drivers never do.
	ever bool
	// stamped is set when there is something on the error queue.
	stamped bool
	// empty is a moment of CLOCK_MONOTONIC at which nothing waited to be received.
	empty int64

	// oob has room for every control message that there is.
	oob []byte
}

// departure is a datagram that was sent.
type departure struct {
	sight
	// before and after are moments of CLOCK_MONOTONIC around the call that sent it.
	before, after int64
}

// openSocket binds a socket to an endpoint, in the network namespace of the calling thread.
func openSocket(e Endpoint, avoid func(uint16) bool) (*socket, error) {
	var unsuited []int
	defer func() {
		for _, fd := range unsuited {
			unix.Close(fd)
		}
	}()
	for range avoidTries {
		s, err := bindSocket(e)
		if err != nil {
			return nil, err
		}
		if avoid == nil || e.Address.Port() != 0 || !avoid(s.local.Port()) {
			return s, nil
		}
		// Held until another one is found, so that the kernel does not offer it again.
		unsuited = append(unsuited, s.fd)
	}
	return nil, fmt.Errorf("probe: the kernel offered %d ports of %v one after the other that are of the run's flows; use other ports in the experiment, or widen net.ipv4.ip_local_port_range", avoidTries, e.Address.Addr())
}

func bindSocket(e Endpoint) (s *socket, err error) {
	family := unix.AF_INET
	if e.Address.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, refused(err)
	}
	s = &socket{fd: fd, path: e.Path, explicit: true, waiting: map[uint32]departure{}, oob: make([]byte, 256)}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if err := unix.Bind(fd, sockaddr(e.Address)); err != nil {
		return nil, fmt.Errorf("probe: bind a UDP socket to %v for the %s path: %w", e.Address, PathName(e.Path), os.NewSyscallError("bind", err))
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return nil, fmt.Errorf("probe: ask for the port of a socket of %v: %w", e.Address.Addr(), os.NewSyscallError("getsockname", err))
	}
	s.local = addrPort(bound)
	s.arrivals = s.stamp(stampArrivals) == nil
	s.departures = s.arrivals && s.stamp(stampDepartures) == nil
	s.empty = clock.Now()
	return s, nil
}

func (s *socket) stamp(flags int) error {
	return os.NewSyscallError("setsockopt(SO_TIMESTAMPING)", unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, flags))
}

func (s *socket) close() error { return os.NewSyscallError("close", unix.Close(s.fd)) }

// mute lets nothing in any more. The port stays taken, so that what still comes is not
// answered with an ICMP error, which would be in the record of a run.
func (s *socket) mute() error {
	raw, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err != nil {
		return fmt.Errorf("probe: assemble a filter: %w", err)
	}
	// bpf.RawInstruction has the layout of struct sock_filter.
	code := unix.SockFprog{Len: uint16(len(raw)), Filter: (*unix.SockFilter)(unsafe.Pointer(&raw[0]))}
	if err := unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &code); err != nil {
		return fmt.Errorf("probe: close the socket %v to all: %w", s.local, os.NewSyscallError("setsockopt(SO_ATTACH_FILTER)", err))
	}
	return nil
}

// send sends one datagram. The sight waits for its stamp, or is complete where there are none,
// and then ok is set.
func (s *socket) send(b *[Size]byte, to unix.Sockaddr, what sight) (done departure, ok bool, err error) {
	if err := s.trust(); err != nil {
		return done, false, err
	}
	stamped := s.departures && !s.unsure
	d := departure{sight: what}
	d.before = clock.Now()
	err = s.transmit(b, to, stamped)
	d.after = clock.Now()
	switch {
	case err != nil:
		s.unsure = s.departures && !s.explicit
		return done, false, err
	case !s.departures:
		return d, true, nil
	case !stamped:
		// It is a departure whose stamp nobody asked for.
		d.origin = synclinev1.StampOrigin_STAMP_ORIGIN_AGENT
		return d, true, nil
	}
	s.waiting[s.next] = d
	s.next++
	return done, false, nil
}

// trust has the kernel begin to count anew, once it may be out of step and no stamp of
// before is on its way.
func (s *socket) trust() error {
	if !s.unsure {
		return nil
	}
	if len(s.waiting) > 0 || s.gaveUp != 0 && clock.Now()-s.gaveUp < int64(straggling) {
		// Those who are on their way need their number still.
		return s.stamp(stampArrivals | numbered)
	}
	// The counter is set to 0 when OPT_ID is set that was not.
	if err := errors.Join(s.stamp(stampArrivals), s.stamp(stampDepartures)); err != nil {
		return err
	}
	s.next, s.unsure = 0, false
	return nil
}

func (s *socket) transmit(b *[Size]byte, to unix.Sockaddr, stamped bool) error {
	if stamped && s.explicit {
		err := retry(func() error {
			return unix.Sendmsg(s.fd, b[:], s.numberOf(s.next), to, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		})
		if !errors.Is(err, unix.EINVAL) || len(s.waiting) > 0 || s.next > 0 {
			return os.NewSyscallError("sendmsg", err)
		}
		// A kernel before 6.13 knows no such message, looks at it first, and so has
		// counted nothing.
		s.explicit = false
	}
	return os.NewSyscallError("sendmsg", retry(func() error {
		return unix.Sendmsg(s.fd, b[:], nil, to, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	}))
}

// retry repeats what a signal of Go's scheduler has interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// numberOf is the control message that gives a stamp its number.
func (s *socket) numberOf(id uint32) []byte {
	b := s.oob[:unix.CmsgSpace(4)]
	clear(b)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = unix.SOL_SOCKET, unix.SCM_TS_OPT_ID
	h.SetLen(unix.CmsgLen(4))
	binary.NativeEndian.PutUint32(b[unix.CmsgLen(0):], id)
	return b
}

// arrival is a datagram that came in.
type arrival struct {
	n    int
	from netip.AddrPort
	// stamp is of CLOCK_REALTIME, 0 where the kernel gave none; it came between after
	// and before, of CLOCK_MONOTONIC.
	stamp         int64
	after, before int64
}

// receive takes the next datagram into b; ok is false if there is none.
func (s *socket) receive(b []byte) (a arrival, ok bool, err error) {
	a.after = s.empty
	asked := clock.Now()
	n, oobn, flags, from, err := s.take(b, 0)
	a.before = clock.Now()
	if errors.Is(err, unix.EAGAIN) {
		s.empty = asked
		return a, false, nil
	}
	if err != nil {
		return a, false, fmt.Errorf("probe: receive at %v: %w", s.local, os.NewSyscallError("recvmsg", err))
	}
	a.n, a.from = n, addrPort(from)
	if flags&unix.MSG_TRUNC != 0 {
		a.n = len(b) + 1
	}
	a.stamp, _, _ = stampOf(s.oob[:oobn])
	return a, true, nil
}

func (s *socket) take(b []byte, flags int) (n, oobn, got int, from unix.Sockaddr, err error) {
	err = retry(func() error {
		n, oobn, got, from, err = unix.Recvmsg(s.fd, b, s.oob, unix.MSG_DONTWAIT|flags)
		return err
	})
	return n, oobn, got, from, err
}

// departed takes the next stamp of a departure; ok is false if there is none.
func (s *socket) departed() (d departure, stamp int64, ok bool, err error) {
	for s.stamped || len(s.waiting) > 0 {
		_, oobn, _, _, err := s.take(nil, unix.MSG_ERRQUEUE)
		if errors.Is(err, unix.EAGAIN) {
			s.stamped = false
			return d, 0, false, nil
		}
		if err != nil {
			return d, 0, false, fmt.Errorf("probe: read the error queue of %v: %w", s.local, os.NewSyscallError("recvmsg", err))
		}
		stamp, id, numbered := stampOf(s.oob[:oobn])
		if !numbered || stamp == 0 {
			continue
		}
		if d, ok := s.waiting[id]; ok {
			delete(s.waiting, id)
			s.ever = true
			return d, stamp, true, nil
		}
	}
	return d, 0, false, nil
}

// overflowed is how many datagrams the kernel has thrown away at this socket so far, for want
// of room.
func (s *socket) overflowed() (uint32, error) {
	var info [unix.SK_MEMINFO_VARS]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, fmt.Errorf("probe: read the counters of %v: %w", s.local, os.NewSyscallError("getsockopt(SO_MEMINFO)", errno))
	}
	return info[unix.SK_MEMINFO_DROPS], nil
}

// stampOf finds the kernel's stamp in control messages, and the number it is of; 0 and false
// if there is none.
func stampOf(oob []byte) (stamp int64, id uint32, numbered bool) {
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return stamp, id, numbered
		}
		oob = rest
		switch {
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPING && len(data) >= int(unsafe.Sizeof(unix.ScmTimestamping{})):
			// The first of the three is the one in software.
			t := (*unix.ScmTimestamping)(unsafe.Pointer(&data[0])).Ts[0]
			stamp = t.Nano()
		case (h.Level == unix.SOL_IP && h.Type == unix.IP_RECVERR || h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_RECVERR) &&
			len(data) >= int(unsafe.Sizeof(unix.SockExtendedErr{})):
			e := (*unix.SockExtendedErr)(unsafe.Pointer(&data[0]))
			// ee_info 0 is SCM_TSTAMP_SND: as the driver got it.
			if e.Origin == unix.SO_EE_ORIGIN_TIMESTAMPING && unix.Errno(e.Errno) == unix.ENOMSG && e.Info == 0 {
				id, numbered = e.Data, true
			}
		}
	}
	return stamp, id, numbered
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func addrPort(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// refused says what to do about an errno of socket(2).
func refused(err error) error {
	reason := os.NewSyscallError("socket(SOCK_DGRAM)", err)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return &Unavailable{reason, "let the agent open sockets (RestrictAddressFamilies= and SystemCallFilter= in its unit, or the sandbox it runs in)"}
	case errors.Is(err, unix.EAFNOSUPPORT):
		return &Unavailable{reason, "run the agent on a kernel with that family of addresses"}
	}
	return fmt.Errorf("probe: %w", reason)
}
