package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Lengths of linux/netlink.h and linux/inet_diag.h.
const (
	messageHeader = 16 // struct nlmsghdr
	diagMessage   = 72 // struct inet_diag_msg
	diagRequest   = 56 // struct inet_diag_req_v2
)

// protocolTCP is IPPROTO_TCP.
const protocolTCP = 6

// Types of netlink messages, netlink(7).
const (
	messageError = 2
	messageDone  = 3
)

// Address families, sys/socket.h of Linux.
const (
	familyIPv4 = 2
	familyIPv6 = 10
)

// stateSet has a bit for each state, as struct inet_diag_req wants it.
type stateSet uint32

func states(all ...State) (set stateSet) {
	for _, s := range all {
		set |= 1 << s
	}
	return set
}

var (
	// busyStates are those in which a socket may yet send. A mini socket in TIME_WAIT's
	// stead that still waits for the peer's FIN counts as FIN_WAIT2.
	busyStates = states(Established, SynSent, SynRecv, newSynRecv, FinWait1, FinWait2, CloseWait, LastAck, Closing)
	// listenStates alone spare the kernel the walk over the table of connections.
	listenStates  = states(Listen)
	requestStates = states(SynRecv, newSynRecv)
	// orphanStates are those that a connection is in after its process has closed it.
	orphanStates = states(FinWait1, FinWait2, Closing, LastAck)
)

// allStates are all of them, with the ones a later kernel may add left out.
const allStates = 1<<(newSynRecv+1) - 2

var errMalformed = errors.New("malformed answer of sock_diag")

// errnoError is the errno of a netlink error message, which package unix can name.
type errnoError int32

func (e errnoError) Error() string { return fmt.Sprintf("errno %d", int32(e)) }

// answer reads one datagram of a dump, adding its sockets that keep wants. It is done
// when the dump is.
func answer(datagram []byte, to []Socket, keep func(Socket) bool) (sockets []Socket, done bool, err error) {
	for len(datagram) > 0 {
		if len(datagram) < messageHeader {
			return to, false, errMalformed
		}
		length := int(binary.NativeEndian.Uint32(datagram))
		if length < messageHeader || length > len(datagram) {
			return to, false, errMalformed
		}
		kind, body := binary.NativeEndian.Uint16(datagram[4:]), datagram[messageHeader:length]
		switch kind {
		case messageDone, messageError:
			return to, true, ending(body)
		}
		s, err := parse(body)
		if err != nil {
			return to, false, err
		}
		if keep(s) {
			to = append(to, s)
		}
		// Messages are aligned to four bytes, the last one's padding may be missing.
		datagram = datagram[min((length+3)&^3, len(datagram)):]
	}
	return to, false, nil
}

// ending is the errno that both an error and the end of a dump begin with.
func ending(body []byte) error {
	if len(body) < 4 {
		return errMalformed
	}
	if code := int32(binary.NativeEndian.Uint32(body)); code != 0 {
		return errnoError(-code)
	}
	return nil
}

// parse reads a struct inet_diag_msg: family, state, timer, retrans; then ports and
// addresses in network order, interface and cookie; then expires, rqueue, wqueue, uid
// and inode. Attributes behind it are not looked at.
func parse(m []byte) (Socket, error) {
	if len(m) < diagMessage {
		return Socket{}, errMalformed
	}
	local, err := address(m[0], m[8:24])
	if err != nil {
		return Socket{}, err
	}
	remote, err := address(m[0], m[24:40])
	if err != nil {
		return Socket{}, err
	}
	return Socket{
		State:     State(m[1]),
		Local:     netip.AddrPortFrom(local, binary.BigEndian.Uint16(m[4:])),
		Remote:    netip.AddrPortFrom(remote, binary.BigEndian.Uint16(m[6:])),
		Interface: binary.NativeEndian.Uint32(m[40:]),
		// Two words, the lower one first whatever the machine's byte order.
		Cookie:    uint64(binary.NativeEndian.Uint32(m[44:])) | uint64(binary.NativeEndian.Uint32(m[48:]))<<32,
		RecvQueue: binary.NativeEndian.Uint32(m[56:]),
		SendQueue: binary.NativeEndian.Uint32(m[60:]),
		Inode:     binary.NativeEndian.Uint32(m[68:]),
	}, nil
}

// exact writes the struct inet_diag_req_v2 that asks for the one socket with these
// addresses: family, protocol, extensions, states; then the socket's id, which is
// ports and addresses in network order, interface, and a cookie that matches any.
func exact(local, remote netip.AddrPort, link uint32) [diagRequest]byte {
	var m [diagRequest]byte
	m[0], m[1] = familyIPv6, protocolTCP
	if local.Addr().Is4() {
		m[0] = familyIPv4
	}
	binary.NativeEndian.PutUint32(m[4:], allStates)
	binary.BigEndian.PutUint16(m[8:], local.Port())
	binary.BigEndian.PutUint16(m[10:], remote.Port())
	copy(m[12:28], local.Addr().AsSlice())
	copy(m[28:44], remote.Addr().AsSlice())
	binary.NativeEndian.PutUint32(m[44:], link)
	binary.NativeEndian.PutUint64(m[48:], ^uint64(0)) // INET_DIAG_NOCOOKIE twice
	return m
}

func address(family byte, b []byte) (netip.Addr, error) {
	switch family {
	case familyIPv4:
		return netip.AddrFrom4([4]byte(b[:4])), nil
	case familyIPv6:
		return netip.AddrFrom16([16]byte(b)).Unmap(), nil
	}
	return netip.Addr{}, fmt.Errorf("address family %d: %w", family, errMalformed)
}
