package experiment

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestErrnosAreLinux compares the table with the names of this kernel's headers.
func TestErrnosAreLinux(t *testing.T) {
	alias := map[string]string{"EWOULDBLOCK": "EAGAIN", "EDEADLOCK": "EDEADLK", "EOPNOTSUPP": "ENOTSUP", "EUCLEAN": "EFSCORRUPTED"}
	for name, number := range errnos {
		got := unix.ErrnoName(unix.Errno(number))
		if got != name && got != alias[name] && alias[got] != name {
			t.Errorf("errno %d is %s, the table says %s", number, got, name)
		}
	}
	for n := unix.Errno(1); n < 134; n++ {
		if name := unix.ErrnoName(n); name != "" && errnos[name] != uint32(n) && name != "EFSCORRUPTED" {
			t.Errorf("errno %s is %d, the table says %d", name, n, errnos[name])
		}
	}
}

// TestOptionsAreLinux compares the table of socket options with the kernel's headers.
func TestOptionsAreLinux(t *testing.T) {
	want := map[string][2]int{
		"SO_DEBUG":                 {unix.SOL_SOCKET, unix.SO_DEBUG},
		"SO_REUSEADDR":             {unix.SOL_SOCKET, unix.SO_REUSEADDR},
		"SO_DONTROUTE":             {unix.SOL_SOCKET, unix.SO_DONTROUTE},
		"SO_BROADCAST":             {unix.SOL_SOCKET, unix.SO_BROADCAST},
		"SO_SNDBUF":                {unix.SOL_SOCKET, unix.SO_SNDBUF},
		"SO_RCVBUF":                {unix.SOL_SOCKET, unix.SO_RCVBUF},
		"SO_KEEPALIVE":             {unix.SOL_SOCKET, unix.SO_KEEPALIVE},
		"SO_OOBINLINE":             {unix.SOL_SOCKET, unix.SO_OOBINLINE},
		"SO_PRIORITY":              {unix.SOL_SOCKET, unix.SO_PRIORITY},
		"SO_LINGER":                {unix.SOL_SOCKET, unix.SO_LINGER},
		"SO_REUSEPORT":             {unix.SOL_SOCKET, unix.SO_REUSEPORT},
		"SO_RCVLOWAT":              {unix.SOL_SOCKET, unix.SO_RCVLOWAT},
		"SO_RCVTIMEO":              {unix.SOL_SOCKET, unix.SO_RCVTIMEO},
		"SO_SNDTIMEO":              {unix.SOL_SOCKET, unix.SO_SNDTIMEO},
		"SO_SNDBUFFORCE":           {unix.SOL_SOCKET, unix.SO_SNDBUFFORCE},
		"SO_RCVBUFFORCE":           {unix.SOL_SOCKET, unix.SO_RCVBUFFORCE},
		"SO_MARK":                  {unix.SOL_SOCKET, unix.SO_MARK},
		"SO_BUSY_POLL":             {unix.SOL_SOCKET, unix.SO_BUSY_POLL},
		"SO_INCOMING_CPU":          {unix.SOL_SOCKET, unix.SO_INCOMING_CPU},
		"SO_MAX_PACING_RATE":       {unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE},
		"SO_ZEROCOPY":              {unix.SOL_SOCKET, unix.SO_ZEROCOPY},
		"IP_TOS":                   {unix.IPPROTO_IP, unix.IP_TOS},
		"IP_TTL":                   {unix.IPPROTO_IP, unix.IP_TTL},
		"IP_MTU_DISCOVER":          {unix.IPPROTO_IP, unix.IP_MTU_DISCOVER},
		"IP_RECVERR":               {unix.IPPROTO_IP, unix.IP_RECVERR},
		"IP_FREEBIND":              {unix.IPPROTO_IP, unix.IP_FREEBIND},
		"IP_TRANSPARENT":           {unix.IPPROTO_IP, unix.IP_TRANSPARENT},
		"IP_MINTTL":                {unix.IPPROTO_IP, unix.IP_MINTTL},
		"IP_BIND_ADDRESS_NO_PORT":  {unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT},
		"IP_LOCAL_PORT_RANGE":      {unix.IPPROTO_IP, unix.IP_LOCAL_PORT_RANGE},
		"IPV6_UNICAST_HOPS":        {unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS},
		"IPV6_MTU_DISCOVER":        {unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER},
		"IPV6_RECVERR":             {unix.IPPROTO_IPV6, unix.IPV6_RECVERR},
		"IPV6_V6ONLY":              {unix.IPPROTO_IPV6, unix.IPV6_V6ONLY},
		"IPV6_DONTFRAG":            {unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG},
		"IPV6_TCLASS":              {unix.IPPROTO_IPV6, unix.IPV6_TCLASS},
		"IPV6_MINHOPCOUNT":         {unix.IPPROTO_IPV6, unix.IPV6_MINHOPCOUNT},
		"TCP_NODELAY":              {unix.IPPROTO_TCP, unix.TCP_NODELAY},
		"TCP_MAXSEG":               {unix.IPPROTO_TCP, unix.TCP_MAXSEG},
		"TCP_CORK":                 {unix.IPPROTO_TCP, unix.TCP_CORK},
		"TCP_KEEPIDLE":             {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
		"TCP_KEEPINTVL":            {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
		"TCP_KEEPCNT":              {unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
		"TCP_SYNCNT":               {unix.IPPROTO_TCP, unix.TCP_SYNCNT},
		"TCP_LINGER2":              {unix.IPPROTO_TCP, unix.TCP_LINGER2},
		"TCP_DEFER_ACCEPT":         {unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT},
		"TCP_WINDOW_CLAMP":         {unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP},
		"TCP_QUICKACK":             {unix.IPPROTO_TCP, unix.TCP_QUICKACK},
		"TCP_CONGESTION":           {unix.IPPROTO_TCP, unix.TCP_CONGESTION},
		"TCP_THIN_LINEAR_TIMEOUTS": {unix.IPPROTO_TCP, unix.TCP_THIN_LINEAR_TIMEOUTS},
		"TCP_USER_TIMEOUT":         {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
		"TCP_FASTOPEN":             {unix.IPPROTO_TCP, unix.TCP_FASTOPEN},
		"TCP_TIMESTAMP":            {unix.IPPROTO_TCP, unix.TCP_TIMESTAMP},
		"TCP_NOTSENT_LOWAT":        {unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT},
		"TCP_SAVE_SYN":             {unix.IPPROTO_TCP, unix.TCP_SAVE_SYN},
		"TCP_FASTOPEN_CONNECT":     {unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT},
		"TCP_FASTOPEN_NO_COOKIE":   {unix.IPPROTO_TCP, unix.TCP_FASTOPEN_NO_COOKIE},
		"TCP_TX_DELAY":             {unix.IPPROTO_TCP, unix.TCP_TX_DELAY},
	}
	for _, o := range options {
		if got := [2]int{o.level, o.number}; got != want[o.name] {
			t.Errorf("%s has level and number %v, the table says %v", o.name, want[o.name], got)
		}
	}
	if len(options) != len(want) {
		t.Errorf("the table has %d options, %d are compared", len(options), len(want))
	}
}
