package lane

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// levelNames are the levels of setsockopt(2).
var levelNames = map[int32]string{
	unix.SOL_SOCKET: "SOL_SOCKET", unix.IPPROTO_TCP: "IPPROTO_TCP", unix.IPPROTO_UDP: "IPPROTO_UDP",
	unix.IPPROTO_IP: "IPPROTO_IP", unix.IPPROTO_IPV6: "IPPROTO_IPV6", unix.IPPROTO_ICMPV6: "IPPROTO_ICMPV6",
	unix.SOL_RAW: "SOL_RAW", unix.SOL_MPTCP: "SOL_MPTCP",
}

// optionNames by level: socket(7), tcp(7), ip(7), ipv6(7), udp(7).
var optionNames = map[int32]map[int32]string{
	unix.SOL_SOCKET: {
		unix.SO_ACCEPTCONN: "SO_ACCEPTCONN", unix.SO_ATTACH_BPF: "SO_ATTACH_BPF",
		unix.SO_ATTACH_FILTER: "SO_ATTACH_FILTER", unix.SO_ATTACH_REUSEPORT_CBPF: "SO_ATTACH_REUSEPORT_CBPF",
		unix.SO_ATTACH_REUSEPORT_EBPF: "SO_ATTACH_REUSEPORT_EBPF", unix.SO_BINDTODEVICE: "SO_BINDTODEVICE",
		unix.SO_BINDTOIFINDEX: "SO_BINDTOIFINDEX", unix.SO_BPF_EXTENSIONS: "SO_BPF_EXTENSIONS",
		unix.SO_BROADCAST: "SO_BROADCAST", unix.SO_BSDCOMPAT: "SO_BSDCOMPAT", unix.SO_BUF_LOCK: "SO_BUF_LOCK",
		unix.SO_BUSY_POLL: "SO_BUSY_POLL", unix.SO_BUSY_POLL_BUDGET: "SO_BUSY_POLL_BUDGET",
		unix.SO_CNX_ADVICE: "SO_CNX_ADVICE", unix.SO_COOKIE: "SO_COOKIE", unix.SO_DEBUG: "SO_DEBUG",
		unix.SO_DETACH_REUSEPORT_BPF: "SO_DETACH_REUSEPORT_BPF", unix.SO_DOMAIN: "SO_DOMAIN",
		unix.SO_DONTROUTE: "SO_DONTROUTE", unix.SO_ERROR: "SO_ERROR", unix.SO_INCOMING_CPU: "SO_INCOMING_CPU",
		unix.SO_INCOMING_NAPI_ID: "SO_INCOMING_NAPI_ID", unix.SO_KEEPALIVE: "SO_KEEPALIVE",
		unix.SO_LINGER: "SO_LINGER", unix.SO_LOCK_FILTER: "SO_LOCK_FILTER", unix.SO_MARK: "SO_MARK",
		unix.SO_MAX_PACING_RATE: "SO_MAX_PACING_RATE", unix.SO_MEMINFO: "SO_MEMINFO",
		unix.SO_NETNS_COOKIE: "SO_NETNS_COOKIE", unix.SO_NOFCS: "SO_NOFCS", unix.SO_NO_CHECK: "SO_NO_CHECK",
		unix.SO_OOBINLINE: "SO_OOBINLINE", unix.SO_PASSCRED: "SO_PASSCRED", unix.SO_PASSPIDFD: "SO_PASSPIDFD",
		unix.SO_PASSSEC: "SO_PASSSEC", unix.SO_PEEK_OFF: "SO_PEEK_OFF", unix.SO_PEERCRED: "SO_PEERCRED",
		unix.SO_PEERGROUPS: "SO_PEERGROUPS", unix.SO_PEERNAME: "SO_PEERNAME", unix.SO_PEERPIDFD: "SO_PEERPIDFD",
		unix.SO_PEERSEC: "SO_PEERSEC", unix.SO_PREFER_BUSY_POLL: "SO_PREFER_BUSY_POLL",
		unix.SO_PRIORITY: "SO_PRIORITY", unix.SO_PROTOCOL: "SO_PROTOCOL", unix.SO_RCVBUF: "SO_RCVBUF",
		unix.SO_RCVBUFFORCE: "SO_RCVBUFFORCE", unix.SO_RCVLOWAT: "SO_RCVLOWAT", unix.SO_RCVMARK: "SO_RCVMARK",
		unix.SO_RCVPRIORITY: "SO_RCVPRIORITY", unix.SO_RCVTIMEO: "SO_RCVTIMEO", unix.SO_REUSEADDR: "SO_REUSEADDR",
		unix.SO_REUSEPORT: "SO_REUSEPORT", unix.SO_RESERVE_MEM: "SO_RESERVE_MEM", unix.SO_RXQ_OVFL: "SO_RXQ_OVFL",
		unix.SO_SELECT_ERR_QUEUE: "SO_SELECT_ERR_QUEUE", unix.SO_SNDBUF: "SO_SNDBUF",
		unix.SO_SNDBUFFORCE: "SO_SNDBUFFORCE", unix.SO_SNDLOWAT: "SO_SNDLOWAT", unix.SO_SNDTIMEO: "SO_SNDTIMEO",
		unix.SO_TIMESTAMP: "SO_TIMESTAMP", unix.SO_TIMESTAMPING: "SO_TIMESTAMPING",
		unix.SO_TIMESTAMPNS: "SO_TIMESTAMPNS", unix.SO_TXREHASH: "SO_TXREHASH", unix.SO_TXTIME: "SO_TXTIME",
		unix.SO_TYPE: "SO_TYPE", unix.SO_WIFI_STATUS: "SO_WIFI_STATUS", unix.SO_ZEROCOPY: "SO_ZEROCOPY",
	},
	unix.IPPROTO_TCP: {
		unix.TCP_CC_INFO: "TCP_CC_INFO", unix.TCP_CM_INQ: "TCP_CM_INQ", unix.TCP_CONGESTION: "TCP_CONGESTION",
		unix.TCP_COOKIE_TRANSACTIONS: "TCP_COOKIE_TRANSACTIONS", unix.TCP_CORK: "TCP_CORK",
		unix.TCP_DEFER_ACCEPT: "TCP_DEFER_ACCEPT", unix.TCP_DELACK_MAX_US: "TCP_DELACK_MAX_US",
		unix.TCP_FASTOPEN: "TCP_FASTOPEN", unix.TCP_FASTOPEN_CONNECT: "TCP_FASTOPEN_CONNECT",
		unix.TCP_FASTOPEN_KEY: "TCP_FASTOPEN_KEY", unix.TCP_FASTOPEN_NO_COOKIE: "TCP_FASTOPEN_NO_COOKIE",
		unix.TCP_INFO: "TCP_INFO", unix.TCP_KEEPCNT: "TCP_KEEPCNT", unix.TCP_KEEPIDLE: "TCP_KEEPIDLE",
		unix.TCP_KEEPINTVL: "TCP_KEEPINTVL", unix.TCP_LINGER2: "TCP_LINGER2", unix.TCP_MAXSEG: "TCP_MAXSEG",
		unix.TCP_MD5SIG: "TCP_MD5SIG", unix.TCP_MD5SIG_EXT: "TCP_MD5SIG_EXT", unix.TCP_NODELAY: "TCP_NODELAY",
		unix.TCP_NOTSENT_LOWAT: "TCP_NOTSENT_LOWAT", unix.TCP_QUEUE_SEQ: "TCP_QUEUE_SEQ",
		unix.TCP_QUICKACK: "TCP_QUICKACK", unix.TCP_REPAIR: "TCP_REPAIR",
		unix.TCP_REPAIR_OPTIONS: "TCP_REPAIR_OPTIONS", unix.TCP_REPAIR_QUEUE: "TCP_REPAIR_QUEUE",
		unix.TCP_REPAIR_WINDOW: "TCP_REPAIR_WINDOW", unix.TCP_RTO_MAX_MS: "TCP_RTO_MAX_MS",
		unix.TCP_RTO_MIN_US: "TCP_RTO_MIN_US", unix.TCP_SAVED_SYN: "TCP_SAVED_SYN",
		unix.TCP_SAVE_SYN: "TCP_SAVE_SYN", unix.TCP_SYNCNT: "TCP_SYNCNT", unix.TCP_THIN_DUPACK: "TCP_THIN_DUPACK",
		unix.TCP_THIN_LINEAR_TIMEOUTS: "TCP_THIN_LINEAR_TIMEOUTS", unix.TCP_TIMESTAMP: "TCP_TIMESTAMP",
		unix.TCP_TX_DELAY: "TCP_TX_DELAY", unix.TCP_ULP: "TCP_ULP", unix.TCP_USER_TIMEOUT: "TCP_USER_TIMEOUT",
		unix.TCP_WINDOW_CLAMP: "TCP_WINDOW_CLAMP", unix.TCP_ZEROCOPY_RECEIVE: "TCP_ZEROCOPY_RECEIVE",
	},
	unix.IPPROTO_IP: {
		unix.IP_ADD_MEMBERSHIP: "IP_ADD_MEMBERSHIP", unix.IP_ADD_SOURCE_MEMBERSHIP: "IP_ADD_SOURCE_MEMBERSHIP",
		unix.IP_BIND_ADDRESS_NO_PORT: "IP_BIND_ADDRESS_NO_PORT", unix.IP_BLOCK_SOURCE: "IP_BLOCK_SOURCE",
		unix.IP_CHECKSUM: "IP_CHECKSUM", unix.IP_DROP_MEMBERSHIP: "IP_DROP_MEMBERSHIP",
		unix.IP_DROP_SOURCE_MEMBERSHIP: "IP_DROP_SOURCE_MEMBERSHIP", unix.IP_FREEBIND: "IP_FREEBIND",
		unix.IP_HDRINCL: "IP_HDRINCL", unix.IP_LOCAL_PORT_RANGE: "IP_LOCAL_PORT_RANGE",
		unix.IP_MINTTL: "IP_MINTTL", unix.IP_MSFILTER: "IP_MSFILTER", unix.IP_MTU: "IP_MTU",
		unix.IP_MTU_DISCOVER: "IP_MTU_DISCOVER", unix.IP_MULTICAST_ALL: "IP_MULTICAST_ALL",
		unix.IP_MULTICAST_IF: "IP_MULTICAST_IF", unix.IP_MULTICAST_LOOP: "IP_MULTICAST_LOOP",
		unix.IP_MULTICAST_TTL: "IP_MULTICAST_TTL", unix.IP_NODEFRAG: "IP_NODEFRAG", unix.IP_OPTIONS: "IP_OPTIONS",
		unix.IP_PASSSEC: "IP_PASSSEC", unix.IP_PKTINFO: "IP_PKTINFO", unix.IP_PKTOPTIONS: "IP_PKTOPTIONS",
		unix.IP_PROTOCOL: "IP_PROTOCOL", unix.IP_RECVERR: "IP_RECVERR",
		unix.IP_RECVERR_RFC4884: "IP_RECVERR_RFC4884", unix.IP_RECVFRAGSIZE: "IP_RECVFRAGSIZE",
		unix.IP_RECVOPTS: "IP_RECVOPTS", unix.IP_RECVORIGDSTADDR: "IP_RECVORIGDSTADDR",
		unix.IP_RECVTOS: "IP_RECVTOS", unix.IP_RECVTTL: "IP_RECVTTL", unix.IP_RETOPTS: "IP_RETOPTS",
		unix.IP_ROUTER_ALERT: "IP_ROUTER_ALERT", unix.IP_TOS: "IP_TOS", unix.IP_TRANSPARENT: "IP_TRANSPARENT",
		unix.IP_TTL: "IP_TTL", unix.IP_UNBLOCK_SOURCE: "IP_UNBLOCK_SOURCE", unix.IP_UNICAST_IF: "IP_UNICAST_IF",
	},
	unix.IPPROTO_IPV6: {
		unix.IPV6_ADDRFORM: "IPV6_ADDRFORM", unix.IPV6_ADDR_PREFERENCES: "IPV6_ADDR_PREFERENCES",
		unix.IPV6_ADD_MEMBERSHIP: "IPV6_ADD_MEMBERSHIP", unix.IPV6_AUTHHDR: "IPV6_AUTHHDR",
		unix.IPV6_AUTOFLOWLABEL: "IPV6_AUTOFLOWLABEL", unix.IPV6_CHECKSUM: "IPV6_CHECKSUM",
		unix.IPV6_DONTFRAG: "IPV6_DONTFRAG", unix.IPV6_DROP_MEMBERSHIP: "IPV6_DROP_MEMBERSHIP",
		unix.IPV6_DSTOPTS: "IPV6_DSTOPTS", unix.IPV6_FREEBIND: "IPV6_FREEBIND", unix.IPV6_HDRINCL: "IPV6_HDRINCL",
		unix.IPV6_HOPLIMIT: "IPV6_HOPLIMIT", unix.IPV6_HOPOPTS: "IPV6_HOPOPTS",
		unix.IPV6_JOIN_ANYCAST: "IPV6_JOIN_ANYCAST", unix.IPV6_LEAVE_ANYCAST: "IPV6_LEAVE_ANYCAST",
		unix.IPV6_MINHOPCOUNT: "IPV6_MINHOPCOUNT", unix.IPV6_MTU: "IPV6_MTU",
		unix.IPV6_MTU_DISCOVER: "IPV6_MTU_DISCOVER", unix.IPV6_MULTICAST_ALL: "IPV6_MULTICAST_ALL",
		unix.IPV6_MULTICAST_HOPS: "IPV6_MULTICAST_HOPS", unix.IPV6_MULTICAST_IF: "IPV6_MULTICAST_IF",
		unix.IPV6_MULTICAST_LOOP: "IPV6_MULTICAST_LOOP", unix.IPV6_NEXTHOP: "IPV6_NEXTHOP",
		unix.IPV6_PATHMTU: "IPV6_PATHMTU", unix.IPV6_PKTINFO: "IPV6_PKTINFO",
		unix.IPV6_RECVDSTOPTS: "IPV6_RECVDSTOPTS", unix.IPV6_RECVERR: "IPV6_RECVERR",
		unix.IPV6_RECVERR_RFC4884: "IPV6_RECVERR_RFC4884", unix.IPV6_RECVFRAGSIZE: "IPV6_RECVFRAGSIZE",
		unix.IPV6_RECVHOPLIMIT: "IPV6_RECVHOPLIMIT", unix.IPV6_RECVHOPOPTS: "IPV6_RECVHOPOPTS",
		unix.IPV6_RECVORIGDSTADDR: "IPV6_RECVORIGDSTADDR", unix.IPV6_RECVPATHMTU: "IPV6_RECVPATHMTU",
		unix.IPV6_RECVPKTINFO: "IPV6_RECVPKTINFO", unix.IPV6_RECVRTHDR: "IPV6_RECVRTHDR",
		unix.IPV6_RECVTCLASS: "IPV6_RECVTCLASS", unix.IPV6_ROUTER_ALERT: "IPV6_ROUTER_ALERT",
		unix.IPV6_RTHDR: "IPV6_RTHDR", unix.IPV6_RTHDRDSTOPTS: "IPV6_RTHDRDSTOPTS",
		unix.IPV6_TCLASS: "IPV6_TCLASS", unix.IPV6_TRANSPARENT: "IPV6_TRANSPARENT",
		unix.IPV6_UNICAST_HOPS: "IPV6_UNICAST_HOPS", unix.IPV6_UNICAST_IF: "IPV6_UNICAST_IF",
		unix.IPV6_V6ONLY: "IPV6_V6ONLY",
	},
	unix.IPPROTO_UDP: {
		unix.UDP_CORK: "UDP_CORK", unix.UDP_ENCAP: "UDP_ENCAP", unix.UDP_GRO: "UDP_GRO",
		unix.UDP_NO_CHECK6_RX: "UDP_NO_CHECK6_RX", unix.UDP_NO_CHECK6_TX: "UDP_NO_CHECK6_TX",
		unix.UDP_SEGMENT: "UDP_SEGMENT",
	},
}

// optionName shows "SOL_SOCKET, SO_REUSEADDR".
func optionName(level, name int32) string {
	return nameOf(levelNames, level) + ", " + nameOf(optionNames[level], name)
}

// optionArguments shows "SOL_SOCKET, SO_REUSEADDR, 1".
func optionArguments(c *synclinev1.SetSockOptCall) string {
	return optionName(c.GetLevel(), c.GetName()) + ", " + optionValue(c)
}

// optionValue shows the value that is set, by its option and size.
func optionValue(c *synclinev1.SetSockOptCall) string {
	value := c.GetValue()
	switch c.GetLevel() {
	case unix.SOL_SOCKET:
		switch c.GetName() {
		case unix.SO_BINDTODEVICE:
			return strconv.Quote(string(value))
		case unix.SO_LINGER:
			return formatOption(synclinev1.OptionKind_OPTION_KIND_LINGER, value)
		case unix.SO_RCVTIMEO, unix.SO_SNDTIMEO:
			return formatOption(synclinev1.OptionKind_OPTION_KIND_TIMEVAL, value)
		}
	case unix.IPPROTO_TCP:
		if c.GetName() == unix.TCP_CONGESTION || c.GetName() == unix.TCP_ULP {
			return strconv.Quote(string(value))
		}
	}
	return formatOption(synclinev1.OptionKind_OPTION_KIND_INT, value)
}

// formatOption shows the value of an option as a person reads it. Bytes that do not fit
// the kind are shown one by one.
func formatOption(k synclinev1.OptionKind, value []byte) string {
	switch {
	case k == synclinev1.OptionKind_OPTION_KIND_INT && len(value) == 4:
		return strconv.Itoa(nativeInt(value))
	case k == synclinev1.OptionKind_OPTION_KIND_ERRNO && len(value) == 4:
		if n := nativeInt(value); n > 0 {
			return errnoName(uint32(n))
		}
		return strconv.Itoa(nativeInt(value))
	case k == synclinev1.OptionKind_OPTION_KIND_LINGER && len(value) == unix.SizeofLinger:
		return fmt.Sprintf("{l_onoff=%d, l_linger=%d}", nativeInt(value), nativeInt(value[4:]))
	case k == synclinev1.OptionKind_OPTION_KIND_TIMEVAL && len(value) == int(unsafe.Sizeof(unix.Timeval{})):
		t := *(*unix.Timeval)(unsafe.Pointer(unsafe.SliceData(bytes.Clone(value))))
		return time.Duration(t.Nano()).String()
	case k == synclinev1.OptionKind_OPTION_KIND_NAME:
		return string(bytes.ToValidUTF8(optionText(value), []byte("\uFFFD")))
	case len(value) > shownBytes:
		return fmt.Sprintf("[% x … %d bytes]", value[:shownBytes], len(value))
	}
	return fmt.Sprintf("[% x]", value)
}

// shownBytes is how many bytes without a form of their own are shown.
const shownBytes = 32

// optionText is a text as the kernel gives it, without the zeros that end it.
func optionText(value []byte) []byte {
	text, _, _ := bytes.Cut(value, []byte{0})
	return text
}

// tcpInfoSize is what info asks for: more than any struct tcp_info so far has.
const tcpInfoSize = 512

// formatTCPInfo shows what a person looks at first in a struct tcp_info. Older kernels
// give a shorter one; what is not there is not shown.
func formatTCPInfo(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	s := nameOf(tcpStates, uint32(b[0]))
	if offset := unsafe.Offsetof(unix.TCPInfo{}.Rtt); len(b) >= int(offset)+4 {
		rtt := time.Duration(binary.NativeEndian.Uint32(b[offset:])) * time.Microsecond
		s += " rtt " + rtt.String()
	}
	if offset := unsafe.Offsetof(unix.TCPInfo{}.Total_retrans); len(b) >= int(offset)+4 {
		s += fmt.Sprintf(" retransmits %d", binary.NativeEndian.Uint32(b[offset:]))
	}
	return s
}

func nativeInt(b []byte) int { return int(int32(binary.NativeEndian.Uint32(b))) }
