package lane

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// The names by which man pages call the numbers of Linux. A number without a name is
// shown as a number.
var (
	domainNames = map[uint32]string{
		unix.AF_UNIX: "AF_UNIX", unix.AF_INET: "AF_INET", unix.AF_INET6: "AF_INET6",
	}
	typeNames = map[uint32]string{
		unix.SOCK_STREAM: "SOCK_STREAM", unix.SOCK_DGRAM: "SOCK_DGRAM", unix.SOCK_RAW: "SOCK_RAW",
		unix.SOCK_SEQPACKET: "SOCK_SEQPACKET",
	}
	protocolNames = map[uint32]string{
		unix.IPPROTO_ICMP: "IPPROTO_ICMP", unix.IPPROTO_TCP: "IPPROTO_TCP", unix.IPPROTO_UDP: "IPPROTO_UDP",
		unix.IPPROTO_ICMPV6: "IPPROTO_ICMPV6", unix.IPPROTO_MPTCP: "IPPROTO_MPTCP",
	}
	shutdownNames = map[int32]string{
		unix.SHUT_RD: "SHUT_RD", unix.SHUT_WR: "SHUT_WR", unix.SHUT_RDWR: "SHUT_RDWR",
	}
	levelNames = map[int32]string{
		unix.SOL_SOCKET: "SOL_SOCKET", unix.IPPROTO_TCP: "IPPROTO_TCP",
		unix.IPPROTO_IP: "IPPROTO_IP", unix.IPPROTO_IPV6: "IPPROTO_IPV6",
	}
	// optionNames by level.
	optionNames = map[int32]map[int32]string{
		unix.SOL_SOCKET: {
			unix.SO_REUSEADDR: "SO_REUSEADDR", unix.SO_REUSEPORT: "SO_REUSEPORT", unix.SO_LINGER: "SO_LINGER",
			unix.SO_KEEPALIVE: "SO_KEEPALIVE", unix.SO_RCVBUF: "SO_RCVBUF", unix.SO_SNDBUF: "SO_SNDBUF",
			unix.SO_RCVTIMEO: "SO_RCVTIMEO", unix.SO_SNDTIMEO: "SO_SNDTIMEO", unix.SO_OOBINLINE: "SO_OOBINLINE",
			unix.SO_PRIORITY: "SO_PRIORITY", unix.SO_MARK: "SO_MARK", unix.SO_RCVLOWAT: "SO_RCVLOWAT",
			unix.SO_DONTROUTE: "SO_DONTROUTE", unix.SO_BINDTODEVICE: "SO_BINDTODEVICE",
			unix.SO_ZEROCOPY: "SO_ZEROCOPY", unix.SO_BUSY_POLL: "SO_BUSY_POLL",
		},
		unix.IPPROTO_TCP: {
			unix.TCP_NODELAY: "TCP_NODELAY", unix.TCP_MAXSEG: "TCP_MAXSEG", unix.TCP_CORK: "TCP_CORK",
			unix.TCP_KEEPIDLE: "TCP_KEEPIDLE", unix.TCP_KEEPINTVL: "TCP_KEEPINTVL", unix.TCP_KEEPCNT: "TCP_KEEPCNT",
			unix.TCP_SYNCNT: "TCP_SYNCNT", unix.TCP_LINGER2: "TCP_LINGER2", unix.TCP_DEFER_ACCEPT: "TCP_DEFER_ACCEPT",
			unix.TCP_WINDOW_CLAMP: "TCP_WINDOW_CLAMP", unix.TCP_QUICKACK: "TCP_QUICKACK",
			unix.TCP_CONGESTION: "TCP_CONGESTION", unix.TCP_USER_TIMEOUT: "TCP_USER_TIMEOUT",
			unix.TCP_FASTOPEN: "TCP_FASTOPEN", unix.TCP_FASTOPEN_CONNECT: "TCP_FASTOPEN_CONNECT",
			unix.TCP_NOTSENT_LOWAT: "TCP_NOTSENT_LOWAT",
		},
		unix.IPPROTO_IP: {
			unix.IP_TOS: "IP_TOS", unix.IP_TTL: "IP_TTL", unix.IP_MTU_DISCOVER: "IP_MTU_DISCOVER",
			unix.IP_TRANSPARENT: "IP_TRANSPARENT", unix.IP_FREEBIND: "IP_FREEBIND",
			unix.IP_BIND_ADDRESS_NO_PORT: "IP_BIND_ADDRESS_NO_PORT",
		},
		unix.IPPROTO_IPV6: {
			unix.IPV6_V6ONLY: "IPV6_V6ONLY", unix.IPV6_UNICAST_HOPS: "IPV6_UNICAST_HOPS",
			unix.IPV6_TCLASS: "IPV6_TCLASS", unix.IPV6_MTU_DISCOVER: "IPV6_MTU_DISCOVER",
		},
	}
)

func nameOf[N int32 | uint32](names map[N]string, n N) string {
	if s, ok := names[n]; ok {
		return s
	}
	return strconv.FormatInt(int64(n), 10)
}

func shutdownName(how int32) string { return nameOf(shutdownNames, how) }

// socketArguments shows "AF_INET, SOCK_STREAM, 0"; SOCK_CLOEXEC, which the lab adds,
// is not shown.
func socketArguments(c *synclinev1.SocketCall) string {
	protocol := "0"
	if c.Protocol != 0 {
		protocol = nameOf(protocolNames, c.Protocol)
	}
	return nameOf(domainNames, c.Domain) + ", " + nameOf(typeNames, c.Type) + ", " + protocol
}

// optionArguments shows "SOL_SOCKET, SO_REUSEADDR, 1".
func optionArguments(c *synclinev1.SetSockOptCall) string {
	return nameOf(levelNames, c.Level) + ", " + nameOf(optionNames[c.Level], c.Name) + ", " + optionValue(c)
}

// optionValue shows an int as a number, struct linger by its fields, the options that
// take a name as text, and anything else byte by byte.
func optionValue(c *synclinev1.SetSockOptCall) string {
	isText := c.Level == unix.IPPROTO_TCP && c.Name == unix.TCP_CONGESTION ||
		c.Level == unix.SOL_SOCKET && c.Name == unix.SO_BINDTODEVICE
	isLinger := c.Level == unix.SOL_SOCKET && c.Name == unix.SO_LINGER
	switch {
	case isText:
		return strconv.Quote(string(c.Value))
	case isLinger && len(c.Value) == unix.SizeofLinger:
		onoff, linger := nativeInt(c.Value), nativeInt(c.Value[4:])
		return fmt.Sprintf("{l_onoff=%d, l_linger=%d}", onoff, linger)
	case len(c.Value) == 4:
		return strconv.Itoa(nativeInt(c.Value))
	}
	return fmt.Sprintf("[% x]", c.Value)
}

func nativeInt(b []byte) int { return int(int32(binary.NativeEndian.Uint32(b))) }
