package lane

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockaddrSize is sizeof(struct sockaddr_storage).
const sockaddrSize = unix.SizeofSockaddrAny

// unixPrefix marks the name of a Unix socket. abstractPrefix is what the lab's names
// begin with in the abstract namespace, unix(7), after its leading zero byte: it keeps
// them apart from those of other programs.
const (
	unixPrefix     = "unix:"
	abstractPrefix = "\x00syncline."
)

// encodeUnix makes the sockaddr of a name in the abstract namespace.
func encodeUnix(name string) ([]byte, error) {
	const limit = unix.SizeofSockaddrUnix - 2 - len(abstractPrefix)
	if name == "" || len(name) > limit {
		return nil, fmt.Errorf("the name of a Unix socket has 1 to %d bytes, found %d", limit, len(name))
	}
	b := binary.NativeEndian.AppendUint16(nil, unix.AF_UNIX)
	return append(append(b, abstractPrefix...), name...), nil
}

// formatUnix shows the address of a Unix socket: "unix:name" for one of the lab's, as
// ss(8) does for others, "" for none.
func formatUnix(path string) string {
	path = strings.ToValidUTF8(path, "\uFFFD")
	if name, own := strings.CutPrefix(path, abstractPrefix); own {
		return unixPrefix + name
	}
	if abstract, is := strings.CutPrefix(path, "\x00"); is {
		return unixPrefix + "@" + abstract
	}
	if path = strings.TrimRight(path, "\x00"); path == "" {
		return ""
	}
	return unixPrefix + path
}

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

// formatAddress shows what getsockname(2) or getpeername(2) gave: "IP:port",
// "unix:name", or "" if it is neither. A mapped address is shown as the IPv4 address that is in the packets.
func formatAddress(b []byte) string {
	if len(b) >= 2 && binary.NativeEndian.Uint16(b) == unix.AF_UNIX {
		return formatUnix(string(b[2:]))
	}
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

// formatFor is formatAddress for a socket of a kind: what a raw socket has where others
// have a port is its protocol, and is not shown.
func formatFor(k kind, b []byte) string {
	shown := formatAddress(b)
	if k.typ != unix.SOCK_RAW {
		return shown
	}
	if at, err := netip.ParseAddrPort(shown); err == nil {
		return at.Addr().String()
	}
	return shown
}

// addressOf asks the kernel for an address of a socket (trap is SYS_GETSOCKNAME or
// SYS_GETPEERNAME), "" if it has none.
func addressOf(trap uintptr, fd int32, k kind) string {
	var b [sockaddrSize]byte
	size := uint32(len(b))
	_, _, errno := unix.RawSyscall(trap, uintptr(fd),
		uintptr(unsafe.Pointer(&b)), uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return ""
	}
	return formatFor(k, b[:min(size, sockaddrSize)])
}
