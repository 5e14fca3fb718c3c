package lane

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

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
	// messageFlags are those of send(2) and recv(2), in the order of their numbers.
	messageFlags = []bitName{
		{unix.MSG_OOB, "MSG_OOB"}, {unix.MSG_PEEK, "MSG_PEEK"}, {unix.MSG_DONTROUTE, "MSG_DONTROUTE"},
		{unix.MSG_TRUNC, "MSG_TRUNC"}, {unix.MSG_DONTWAIT, "MSG_DONTWAIT"}, {unix.MSG_EOR, "MSG_EOR"},
		{unix.MSG_WAITALL, "MSG_WAITALL"}, {unix.MSG_CONFIRM, "MSG_CONFIRM"}, {unix.MSG_ERRQUEUE, "MSG_ERRQUEUE"},
		{unix.MSG_NOSIGNAL, "MSG_NOSIGNAL"}, {unix.MSG_MORE, "MSG_MORE"}, {unix.MSG_ZEROCOPY, "MSG_ZEROCOPY"},
		{unix.MSG_FASTOPEN, "MSG_FASTOPEN"},
	}
	// pollEvents are those of poll(2), spelled as experiments spell them, in the order in
	// which people read them.
	pollEvents = []bitName{
		{unix.POLLIN, "IN"}, {unix.POLLPRI, "PRI"}, {unix.POLLOUT, "OUT"}, {unix.POLLERR, "ERR"},
		{unix.POLLHUP, "HUP"}, {unix.POLLRDHUP, "RDHUP"}, {unix.POLLNVAL, "NVAL"},
	}
	// tcpStates are those of include/net/tcp_states.h.
	tcpStates = map[uint32]string{
		unix.BPF_TCP_ESTABLISHED: "ESTABLISHED", unix.BPF_TCP_SYN_SENT: "SYN_SENT", unix.BPF_TCP_SYN_RECV: "SYN_RECV",
		unix.BPF_TCP_FIN_WAIT1: "FIN_WAIT1", unix.BPF_TCP_FIN_WAIT2: "FIN_WAIT2", unix.BPF_TCP_TIME_WAIT: "TIME_WAIT",
		unix.BPF_TCP_CLOSE: "CLOSED", unix.BPF_TCP_CLOSE_WAIT: "CLOSE_WAIT", unix.BPF_TCP_LAST_ACK: "LAST_ACK",
		unix.BPF_TCP_LISTEN: "LISTEN", unix.BPF_TCP_CLOSING: "CLOSING", unix.BPF_TCP_NEW_SYN_RECV: "NEW_SYN_RECV",
	}
)

// bitName is one bit of a mask.
type bitName struct {
	bit  uint32
	name string
}

// maskNames shows a mask as "IN|HUP", with what has no name as a number; "0" if it is
// empty.
func maskNames(names []bitName, mask uint32) string {
	var parts []string
	for _, n := range names {
		if mask&n.bit != 0 {
			parts = append(parts, n.name)
			mask &^= n.bit
		}
	}
	if mask != 0 {
		parts = append(parts, fmt.Sprintf("%#x", mask))
	}
	if parts == nil {
		return "0"
	}
	return strings.Join(parts, "|")
}

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

// dataArguments shows "5 bytes, MSG_PEEK"; MSG_NOSIGNAL, which the lab adds, is not
// shown.
func dataArguments(size int, flags uint32) string {
	s := strconv.Itoa(size) + " bytes"
	if flags != 0 {
		s += ", " + maskNames(messageFlags, flags)
	}
	return s
}

// pollArguments shows "IN|OUT, 100ms".
func pollArguments(c *synclinev1.PollCall) string {
	s := maskNames(pollEvents, c.GetEvents())
	if c.GetTimeoutNs() >= 0 {
		s += ", " + time.Duration(c.GetTimeoutNs()).String()
	}
	return s
}

// waitArguments shows "server.ready", "all client.ready" of copies, or the watch.
func waitArguments(c *synclinev1.WaitCall) string {
	switch base, _, copies := strings.Cut(c.GetLane(), "["); {
	case c.GetWatch() != "":
		return c.GetWatch()
	case len(c.GetMoreLanes()) > 0 && copies:
		return "all " + base + "." + c.GetSignal()
	default:
		lanes := append([]string{c.GetLane()}, c.GetMoreLanes()...)
		return strings.Join(lanes, "+") + "." + c.GetSignal()
	}
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func signalName(n uint32) string {
	if s := unix.SignalName(syscall.Signal(n)); s != "" {
		return s
	}
	return fmt.Sprintf("signal %d", n)
}

func errnoName(e uint32) string {
	if e == uint32(unix.EOPNOTSUPP) {
		return "EOPNOTSUPP" // ENOTSUP is the same number, and no man page of a socket call has it
	}
	if name := unix.ErrnoName(syscall.Errno(e)); name != "" {
		return name
	}
	return fmt.Sprintf("errno %d", e)
}
