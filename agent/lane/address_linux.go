package lane

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockaddrSize is sizeof(struct sockaddr_storage).
const sockaddrSize = unix.SizeofSockaddrAny

// encodeAddress makes the sockaddr that a socket of the domain takes: an IPv4 address
// is mapped into IPv6 for an AF_INET6 socket (ipv6(7)). An IPv6 address for an AF_INET
// socket stays what it is; that call is the kernel's to refuse.
func encodeAddress(address netip.AddrPort, domain uint32) ([]byte, error) {
	ip := address.Addr()
	if ip.Is4() && domain != unix.AF_INET6 {
		b := make([]byte, unix.SizeofSockaddrInet4)
		putFamilyAndPort(b, unix.AF_INET, address.Port())
		ip4 := ip.As4()
		copy(b[4:], ip4[:])
		return b, nil
	}
	b := make([]byte, unix.SizeofSockaddrInet6)
	putFamilyAndPort(b, unix.AF_INET6, address.Port())
	ip16 := ip.As16()
	copy(b[8:], ip16[:])
	scope, err := scopeID(ip.Zone())
	if err != nil {
		return nil, err
	}
	binary.NativeEndian.PutUint32(b[24:], scope)
	return b, nil
}

func putFamilyAndPort(b []byte, family, port uint16) {
	binary.NativeEndian.PutUint16(b, family)
	binary.BigEndian.PutUint16(b[2:], port)
}

// scopeID is the index of the interface that a zone names, in the network namespace
// of the calling thread.
func scopeID(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	i, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, fmt.Errorf("zone %q: %w", zone, err)
	}
	return uint32(i.Index), nil
}

// formatAddress shows what getsockname(2) or getpeername(2) gave, "" if it is no IP
// address. A mapped address is shown as the IPv4 address that is in the packets.
func formatAddress(b []byte) string {
	if len(b) < unix.SizeofSockaddrInet4 {
		return ""
	}
	port := binary.BigEndian.Uint16(b[2:])
	switch family := binary.NativeEndian.Uint16(b); {
	case family == unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), port).String()
	case family == unix.AF_INET6 && len(b) >= unix.SizeofSockaddrInet6:
		ip := netip.AddrFrom16([16]byte(b[8:24])).Unmap()
		if scope := binary.NativeEndian.Uint32(b[24:]); scope != 0 {
			ip = ip.WithZone(strconv.FormatUint(uint64(scope), 10))
		}
		return netip.AddrPortFrom(ip, port).String()
	}
	return ""
}

// addressOf asks the kernel for an address of a socket (trap is SYS_GETSOCKNAME or
// SYS_GETPEERNAME), "" if it has none.
func addressOf(trap uintptr, fd int32) string {
	var b [sockaddrSize]byte
	size := uint32(len(b))
	_, _, errno := unix.RawSyscall(trap, uintptr(fd),
		uintptr(unsafe.Pointer(&b)), uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return ""
	}
	return formatAddress(b[:min(size, sockaddrSize)])
}
