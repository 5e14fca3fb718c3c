package lane

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// A plan cannot reach around Allow: no netlink, no packet sockets, no data that names
// its own destination, no option that does.
func TestSocketsThatReachFurtherAreRefused(t *testing.T) {
	tcp := &synclinev1.Step{Text: "socket", Makes: "s", Call: &synclinev1.Step_SocketCall{SocketCall: &synclinev1.SocketCall{Domain: unix.AF_INET, Type: unix.SOCK_STREAM}}}
	option := func(level, name int32) []*synclinev1.Step {
		return []*synclinev1.Step{tcp, {Text: "setsockopt", Socket: "s", Call: &synclinev1.Step_Setsockopt{Setsockopt: &synclinev1.SetSockOptCall{Level: level, Name: name, Value: make([]byte, 4)}}}}
	}
	socket := func(domain, typ, protocol uint32) []*synclinev1.Step {
		return []*synclinev1.Step{{Text: "socket", Makes: "s", Call: &synclinev1.Step_SocketCall{SocketCall: &synclinev1.SocketCall{Domain: domain, Type: typ, Protocol: protocol}}}}
	}
	for name, steps := range map[string][]*synclinev1.Step{
		"netlink":      socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE),
		"packet":       socket(unix.AF_PACKET, unix.SOCK_RAW, 0),
		"raw":          socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW),
		"raw6":         socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_RAW),
		"hdrincl":      option(unix.SOL_IP, unix.IP_HDRINCL),
		"source route": option(unix.SOL_IP, unix.IP_OPTIONS),
		"routing":      option(unix.SOL_IPV6, unix.IPV6_RTHDR),
		"iptables":     option(unix.SOL_IP, 64),
		"ip6tables":    option(unix.SOL_IPV6, 64),
	} {
		if _, err := newPlan(&synclinev1.Lane{Name: "lane", Steps: steps}, nil); err == nil || !strings.Contains(err.Error(), "not for experiments") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, steps := range map[string][]*synclinev1.Step{
		"traffic class": option(unix.SOL_IPV6, unix.IPV6_TCLASS), "ttl": option(unix.SOL_IP, unix.IP_TTL), "mark": option(unix.SOL_SOCKET, unix.SO_MARK),
	} {
		if _, err := newPlan(&synclinev1.Lane{Name: "lane", Steps: steps}, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
