package experiment

import (
	"slices"
	"time"
)

// option is one row of the table of socket options: its numbers are those of Linux
// (asm-generic), its form says what its value is.
type option struct {
	name          string
	level, number int
	optionForm
}

// optionForm is the type of an option's value.
type optionForm struct {
	kind OptionKind
	// size is how many bytes getsockopt makes room for; 0: it cannot be read.
	size int
	// unit is what the int counts, 0 if it is a plain number.
	unit time.Duration
	// read turns the author's value into the bytes the kernel takes; nil: it cannot be
	// set.
	read func(*reading, phrase) ([]byte, bool)
	// peer is set if the value begins with the address of a host.
	peer bool
	// example is a value, empty if it is a plain number.
	example string
}

// isNumber reports whether getsockopt gives a number that an outcome can be.
func (f optionForm) isNumber() bool { return f.kind == OptionInt || f.kind == OptionErrno }

// isBytes reports whether getsockopt gives bytes that an outcome can be.
func (o *option) isBytes() bool { return o != nil && (o.kind == OptionName || o.kind == OptionBytes) }

// outcomeHint says what the outcome of reading an option that is no number can be.
func (o *option) outcomeHint() string {
	if o.isBytes() {
		return `write ok, or the bytes: "cubic"`
	}
	return "write ok"
}

// Levels of socket options, Linux.
const (
	solSocket = 1
	solIP     = 0
	solIPv6   = 41
	solICMPv6 = 58
	solTCP    = ipprotoTCP
	solUDP    = ipprotoUDP
	solRaw    = 255
	solMPTCP  = 284
)

// Options of level solTCP that a host needs a part of the kernel for.
const (
	tcpMD5Sig    = 14
	tcpMD5SigExt = 32
)

// Forms of values. Options of time take a number of their unit too.
var (
	numberForm       = optionForm{kind: OptionInt, size: 4, read: (*reading).optionInt}
	readNumberForm   = optionForm{kind: OptionInt, size: 4}
	readErrnoForm    = optionForm{kind: OptionErrno, size: 4}
	secondsForm      = optionForm{kind: OptionInt, size: 4, unit: time.Second, read: optionTime(time.Second), example: "10s"}
	millisecondsForm = optionForm{kind: OptionInt, size: 4, unit: time.Millisecond, read: optionTime(time.Millisecond), example: "2s"}
	microsecondsForm = optionForm{kind: OptionInt, size: 4, unit: time.Microsecond, read: optionTime(time.Microsecond), example: "10ms"}
	lingerForm       = optionForm{kind: OptionLinger, size: 8, read: (*reading).optionPair, example: "{1, 0}"}
	pairForm         = optionForm{kind: OptionBytes, size: 8, read: (*reading).optionPair, example: "{11, 0}"}
	timevalForm      = optionForm{kind: OptionTimeval, size: 16, read: (*reading).optionTimeval, example: "100ms"}
	algorithmForm    = optionForm{kind: OptionName, size: 16, read: (*reading).optionName, example: "cubic"}
	deviceForm       = optionForm{kind: OptionName, size: 16, read: (*reading).optionDevice, example: "eth0"}
	portRangeForm    = optionForm{kind: OptionInt, size: 4, read: (*reading).optionPortRange, example: "{40000, 40010}"}
	pmtuForm         = optionForm{kind: OptionInt, size: 4, read: (*reading).optionPMTU, example: "DO"}
	address4Form     = optionForm{kind: OptionBytes, size: 4, read: optionAddresses(1, 1), example: "10.0.0.1"}
	member4Form      = optionForm{read: optionAddresses(2, 2), example: "{224.0.0.251, 0.0.0.0}"}
	source4Form      = optionForm{read: optionAddresses(3, 3), example: "{232.1.1.1, 0.0.0.0, 10.0.0.1}"}
	member6Form      = optionForm{read: (*reading).optionAddress6, example: "{ff02::fb, 0}"}
	packetInfo6Form  = optionForm{kind: OptionBytes, size: 20, read: (*reading).optionAddress6, example: "{fd00::1, 0}"}
	signatureForm    = optionForm{read: (*reading).optionSignature, peer: true, example: `{B, "secret"}`}
	signatureExtForm = optionForm{read: (*reading).optionSignatureExt, peer: true, example: `{B, 32, "secret"}`}
)

// rawForm is an option whose value is size bytes that have no form of their own.
func rawForm(size int) optionForm {
	return optionForm{kind: OptionBytes, size: size, read: (*reading).optionBytes, example: "hex(0000)"}
}

// readRawForm is one that can only be read.
func readRawForm(size int) optionForm { return optionForm{kind: OptionBytes, size: size} }

// options are those of socket(7), ip(7), ipv6(7), tcp(7), udp(7) and raw(7). Those that
// take a program or hand out a descriptor are left out.
var options = []option{
	{"SO_DEBUG", solSocket, 1, numberForm},
	{"SO_REUSEADDR", solSocket, 2, numberForm},
	{"SO_TYPE", solSocket, 3, readNumberForm},
	{"SO_ERROR", solSocket, 4, readErrnoForm},
	{"SO_DONTROUTE", solSocket, 5, numberForm},
	{"SO_BROADCAST", solSocket, 6, numberForm},
	{"SO_SNDBUF", solSocket, 7, numberForm},
	{"SO_RCVBUF", solSocket, 8, numberForm},
	{"SO_KEEPALIVE", solSocket, 9, numberForm},
	{"SO_OOBINLINE", solSocket, 10, numberForm},
	{"SO_NO_CHECK", solSocket, 11, numberForm},
	{"SO_PRIORITY", solSocket, 12, numberForm},
	{"SO_LINGER", solSocket, 13, lingerForm},
	{"SO_REUSEPORT", solSocket, 15, numberForm},
	{"SO_PASSCRED", solSocket, 16, numberForm},
	{"SO_PEERCRED", solSocket, 17, readRawForm(12)},
	{"SO_RCVLOWAT", solSocket, 18, numberForm},
	{"SO_SNDLOWAT", solSocket, 19, numberForm},
	{"SO_RCVTIMEO", solSocket, 20, timevalForm},
	{"SO_SNDTIMEO", solSocket, 21, timevalForm},
	{"SO_BINDTODEVICE", solSocket, 25, deviceForm},
	{"SO_DETACH_FILTER", solSocket, 27, optionForm{read: (*reading).optionInt}},
	{"SO_TIMESTAMP", solSocket, 29, numberForm},
	{"SO_ACCEPTCONN", solSocket, 30, readNumberForm},
	{"SO_SNDBUFFORCE", solSocket, 32, numberForm},
	{"SO_RCVBUFFORCE", solSocket, 33, numberForm},
	{"SO_PASSSEC", solSocket, 34, numberForm},
	{"SO_TIMESTAMPNS", solSocket, 35, numberForm},
	{"SO_MARK", solSocket, 36, numberForm},
	{"SO_TIMESTAMPING", solSocket, 37, numberForm},
	{"SO_PROTOCOL", solSocket, 38, readNumberForm},
	{"SO_DOMAIN", solSocket, 39, readNumberForm},
	{"SO_RXQ_OVFL", solSocket, 40, numberForm},
	{"SO_WIFI_STATUS", solSocket, 41, numberForm},
	{"SO_PEEK_OFF", solSocket, 42, numberForm},
	{"SO_NOFCS", solSocket, 43, numberForm},
	{"SO_LOCK_FILTER", solSocket, 44, numberForm},
	{"SO_SELECT_ERR_QUEUE", solSocket, 45, numberForm},
	{"SO_BUSY_POLL", solSocket, 46, microsecondsForm},
	{"SO_MAX_PACING_RATE", solSocket, 47, numberForm},
	{"SO_INCOMING_CPU", solSocket, 49, numberForm},
	{"SO_CNX_ADVICE", solSocket, 53, optionForm{read: (*reading).optionInt}},
	{"SO_MEMINFO", solSocket, 55, readRawForm(36)},
	{"SO_INCOMING_NAPI_ID", solSocket, 56, readNumberForm},
	{"SO_COOKIE", solSocket, 57, readRawForm(8)},
	{"SO_PEERGROUPS", solSocket, 59, readRawForm(256)},
	{"SO_ZEROCOPY", solSocket, 60, numberForm},
	{"SO_TXTIME", solSocket, 61, pairForm},
	{"SO_BINDTOIFINDEX", solSocket, 62, numberForm},
	{"SO_PREFER_BUSY_POLL", solSocket, 69, numberForm},
	{"SO_BUSY_POLL_BUDGET", solSocket, 70, numberForm},
	{"SO_NETNS_COOKIE", solSocket, 71, readRawForm(8)},
	{"SO_BUF_LOCK", solSocket, 72, numberForm},
	{"SO_RESERVE_MEM", solSocket, 73, numberForm},
	{"SO_TXREHASH", solSocket, 74, numberForm},
	{"SO_RCVMARK", solSocket, 75, numberForm},
	{"SO_RCVPRIORITY", solSocket, 82, numberForm},

	{"IP_TOS", solIP, 1, numberForm},
	{"IP_TTL", solIP, 2, numberForm},
	{"IP_HDRINCL", solIP, 3, numberForm},
	{"IP_OPTIONS", solIP, 4, rawForm(40)},
	{"IP_ROUTER_ALERT", solIP, 5, numberForm},
	{"IP_RECVOPTS", solIP, 6, numberForm},
	{"IP_RETOPTS", solIP, 7, numberForm},
	{"IP_PKTINFO", solIP, 8, numberForm},
	{"IP_MTU_DISCOVER", solIP, 10, pmtuForm},
	{"IP_RECVERR", solIP, 11, numberForm},
	{"IP_RECVTTL", solIP, 12, numberForm},
	{"IP_RECVTOS", solIP, 13, numberForm},
	{"IP_MTU", solIP, 14, readNumberForm},
	{"IP_FREEBIND", solIP, 15, numberForm},
	{"IP_PASSSEC", solIP, 18, numberForm},
	{"IP_TRANSPARENT", solIP, 19, numberForm},
	{"IP_RECVORIGDSTADDR", solIP, 20, numberForm},
	{"IP_MINTTL", solIP, 21, numberForm},
	{"IP_NODEFRAG", solIP, 22, numberForm},
	{"IP_CHECKSUM", solIP, 23, numberForm},
	{"IP_BIND_ADDRESS_NO_PORT", solIP, 24, numberForm},
	{"IP_RECVFRAGSIZE", solIP, 25, numberForm},
	{"IP_RECVERR_RFC4884", solIP, 26, numberForm},
	{"IP_MULTICAST_IF", solIP, 32, address4Form},
	{"IP_MULTICAST_TTL", solIP, 33, numberForm},
	{"IP_MULTICAST_LOOP", solIP, 34, numberForm},
	{"IP_ADD_MEMBERSHIP", solIP, 35, member4Form},
	{"IP_DROP_MEMBERSHIP", solIP, 36, member4Form},
	{"IP_UNBLOCK_SOURCE", solIP, 37, source4Form},
	{"IP_BLOCK_SOURCE", solIP, 38, source4Form},
	{"IP_ADD_SOURCE_MEMBERSHIP", solIP, 39, source4Form},
	{"IP_DROP_SOURCE_MEMBERSHIP", solIP, 40, source4Form},
	{"IP_MSFILTER", solIP, 41, optionForm{read: (*reading).optionBytes, example: "hex(0000)"}},
	{"IP_MULTICAST_ALL", solIP, 49, numberForm},
	{"IP_UNICAST_IF", solIP, 50, numberForm},
	{"IP_LOCAL_PORT_RANGE", solIP, 51, portRangeForm},
	{"IP_PROTOCOL", solIP, 52, readNumberForm},

	{"IPV6_ADDRFORM", solIPv6, 1, numberForm},
	{"IPV6_CHECKSUM", solIPv6, 7, numberForm},
	{"IPV6_FLOWINFO", solIPv6, 11, numberForm},
	{"IPV6_UNICAST_HOPS", solIPv6, 16, numberForm},
	{"IPV6_MULTICAST_IF", solIPv6, 17, numberForm},
	{"IPV6_MULTICAST_HOPS", solIPv6, 18, numberForm},
	{"IPV6_MULTICAST_LOOP", solIPv6, 19, numberForm},
	{"IPV6_ADD_MEMBERSHIP", solIPv6, 20, member6Form},
	{"IPV6_DROP_MEMBERSHIP", solIPv6, 21, member6Form},
	{"IPV6_ROUTER_ALERT", solIPv6, 22, numberForm},
	{"IPV6_MTU_DISCOVER", solIPv6, 23, pmtuForm},
	{"IPV6_MTU", solIPv6, 24, numberForm},
	{"IPV6_RECVERR", solIPv6, 25, numberForm},
	{"IPV6_V6ONLY", solIPv6, 26, numberForm},
	{"IPV6_JOIN_ANYCAST", solIPv6, 27, member6Form},
	{"IPV6_LEAVE_ANYCAST", solIPv6, 28, member6Form},
	{"IPV6_MULTICAST_ALL", solIPv6, 29, numberForm},
	{"IPV6_ROUTER_ALERT_ISOLATE", solIPv6, 30, numberForm},
	{"IPV6_RECVERR_RFC4884", solIPv6, 31, numberForm},
	{"IPV6_FLOWLABEL_MGR", solIPv6, 32, rawForm(32)},
	{"IPV6_FLOWINFO_SEND", solIPv6, 33, numberForm},
	{"IPV6_HDRINCL", solIPv6, 36, numberForm},
	{"IPV6_RECVPKTINFO", solIPv6, 49, numberForm},
	{"IPV6_PKTINFO", solIPv6, 50, packetInfo6Form},
	{"IPV6_RECVHOPLIMIT", solIPv6, 51, numberForm},
	{"IPV6_RECVHOPOPTS", solIPv6, 53, numberForm},
	{"IPV6_HOPOPTS", solIPv6, 54, rawForm(256)},
	{"IPV6_RTHDRDSTOPTS", solIPv6, 55, rawForm(256)},
	{"IPV6_RECVRTHDR", solIPv6, 56, numberForm},
	{"IPV6_RTHDR", solIPv6, 57, rawForm(256)},
	{"IPV6_RECVDSTOPTS", solIPv6, 58, numberForm},
	{"IPV6_DSTOPTS", solIPv6, 59, rawForm(256)},
	{"IPV6_RECVPATHMTU", solIPv6, 60, numberForm},
	{"IPV6_PATHMTU", solIPv6, 61, readRawForm(32)},
	{"IPV6_DONTFRAG", solIPv6, 62, numberForm},
	{"IPV6_RECVTCLASS", solIPv6, 66, numberForm},
	{"IPV6_TCLASS", solIPv6, 67, numberForm},
	{"IPV6_AUTOFLOWLABEL", solIPv6, 70, numberForm},
	{"IPV6_ADDR_PREFERENCES", solIPv6, 72, numberForm},
	{"IPV6_MINHOPCOUNT", solIPv6, 73, numberForm},
	{"IPV6_RECVORIGDSTADDR", solIPv6, 74, numberForm},
	{"IPV6_TRANSPARENT", solIPv6, 75, numberForm},
	{"IPV6_UNICAST_IF", solIPv6, 76, numberForm},
	{"IPV6_RECVFRAGSIZE", solIPv6, 77, numberForm},
	{"IPV6_FREEBIND", solIPv6, 78, numberForm},

	{"TCP_NODELAY", solTCP, 1, numberForm},
	{"TCP_MAXSEG", solTCP, 2, numberForm},
	{"TCP_CORK", solTCP, 3, numberForm},
	{"TCP_KEEPIDLE", solTCP, 4, secondsForm},
	{"TCP_KEEPINTVL", solTCP, 5, secondsForm},
	{"TCP_KEEPCNT", solTCP, 6, numberForm},
	{"TCP_SYNCNT", solTCP, 7, numberForm},
	{"TCP_LINGER2", solTCP, 8, secondsForm},
	{"TCP_DEFER_ACCEPT", solTCP, 9, secondsForm},
	{"TCP_WINDOW_CLAMP", solTCP, 10, numberForm},
	{"TCP_INFO", solTCP, 11, readRawForm(512)},
	{"TCP_QUICKACK", solTCP, 12, numberForm},
	{"TCP_CONGESTION", solTCP, 13, algorithmForm},
	{"TCP_MD5SIG", solTCP, tcpMD5Sig, signatureForm},
	{"TCP_THIN_LINEAR_TIMEOUTS", solTCP, 16, numberForm},
	{"TCP_THIN_DUPACK", solTCP, 17, numberForm},
	{"TCP_USER_TIMEOUT", solTCP, 18, millisecondsForm},
	{"TCP_REPAIR", solTCP, 19, numberForm},
	{"TCP_REPAIR_QUEUE", solTCP, 20, numberForm},
	{"TCP_QUEUE_SEQ", solTCP, 21, numberForm},
	{"TCP_REPAIR_OPTIONS", solTCP, 22, optionForm{read: (*reading).optionBytes, example: "hex(0000)"}},
	{"TCP_FASTOPEN", solTCP, 23, numberForm},
	{"TCP_TIMESTAMP", solTCP, 24, numberForm},
	{"TCP_NOTSENT_LOWAT", solTCP, 25, numberForm},
	{"TCP_CC_INFO", solTCP, 26, readRawForm(64)},
	{"TCP_SAVE_SYN", solTCP, 27, numberForm},
	{"TCP_SAVED_SYN", solTCP, 28, readRawForm(512)},
	{"TCP_REPAIR_WINDOW", solTCP, 29, rawForm(20)},
	{"TCP_FASTOPEN_CONNECT", solTCP, 30, numberForm},
	{"TCP_ULP", solTCP, 31, algorithmForm},
	{"TCP_MD5SIG_EXT", solTCP, tcpMD5SigExt, signatureExtForm},
	{"TCP_FASTOPEN_KEY", solTCP, 33, rawForm(32)},
	{"TCP_FASTOPEN_NO_COOKIE", solTCP, 34, numberForm},
	{"TCP_INQ", solTCP, 36, numberForm},
	{"TCP_TX_DELAY", solTCP, 37, microsecondsForm},
	{"TCP_IS_MPTCP", solTCP, 43, readNumberForm},
	{"TCP_RTO_MAX_MS", solTCP, 44, millisecondsForm},
	{"TCP_RTO_MIN_US", solTCP, 45, microsecondsForm},
	{"TCP_DELACK_MAX_US", solTCP, 46, microsecondsForm},

	{"UDP_CORK", solUDP, 1, numberForm},
	{"UDP_ENCAP", solUDP, 100, numberForm},
	{"UDP_NO_CHECK6_TX", solUDP, 101, numberForm},
	{"UDP_NO_CHECK6_RX", solUDP, 102, numberForm},
	{"UDP_SEGMENT", solUDP, 103, numberForm},
	{"UDP_GRO", solUDP, 104, numberForm},

	{"ICMP_FILTER", solRaw, 1, numberForm},
	{"ICMPV6_FILTER", solICMPv6, 1, rawForm(32)},
	{"MPTCP_INFO", solMPTCP, 1, readRawForm(128)},
}

// findOption faults a name that no option has.
func (p *reading) findOption(t phrase) (*option, bool) {
	if i := slices.IndexFunc(options, func(o option) bool { return o.name == t.text }); i >= 0 {
		return &options[i], true
	}
	hint := "write its name as in tcp(7), socket(7), ip(7), ipv6(7) or udp(7)"
	if p.hints() {
		known := make([]string, len(options))
		for i, o := range options {
			known[i] = o.name
		}
		hint = suggest(t.text, "options", known)
	}
	p.fault(t.pos(), hint, "unknown option %q", shorten(t.text))
	return nil, false
}

func (p *reading) setSockOptArgs(args []phrase) any {
	o, ok := p.findOption(args[0])
	if !ok {
		return nil
	}
	if o.read == nil {
		p.fault(args[0].pos(), "read it with getsockopt", "%s cannot be set", o.name)
		return nil
	}
	value, ok := o.read(p, args[1])
	if !ok {
		return nil
	}
	set := SetSockOptArgs{Level: o.level, Name: o.number, Value: value}
	if o.peer {
		set.Peer, ok = p.signaturePeer(args[1])
	}
	if !ok {
		return nil
	}
	return set
}

func (p *reading) getSockOptArgs(args []phrase) any {
	o, ok := p.findOption(args[0])
	if !ok {
		return nil
	}
	if o.size == 0 {
		p.fault(args[0].pos(), "set it with setsockopt", "%s cannot be read", o.name)
		return nil
	}
	return GetSockOptArgs{Level: o.level, Name: o.number, Size: o.size, Kind: o.kind}
}

// optionOf is the option that a getsockopt asks for, nil for another call.
func optionOf(args any) *option {
	get, ok := args.(GetSockOptArgs)
	if !ok {
		return nil
	}
	i := slices.IndexFunc(options, func(o option) bool { return o.level == get.Level && o.number == get.Name })
	return &options[i]
}
