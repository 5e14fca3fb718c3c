package lane

import (
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	synclinev1 "syncline/proto/syncline/v1"
)

// FuzzPlan takes a lane as it comes from the network. Whatever it is, the plan is
// refused or points at nothing but its own sockets and memory.
func FuzzPlan(f *testing.F) {
	for _, l := range []*synclinev1.Lane{
		listening(v6, accept("a", "s"), recv("a", 100), closeOf("a")),
		dialling(v4, linger("c", 0), send("c", 10), shutdown("c", unix.SHUT_RDWR)),
		newTestLane("x", within(sleep(1), 1), signalOf("a"), wait("x", "a"), recv("x", 1<<31)),
		newTestLane("x", udp("u"), sendto("u", v4, "data", unix.MSG_MORE), recvfrom("u", 9), poll("u", unix.POLLIN, 1), dup("d", "u"),
			nonblock("d", true), info("d"), pending("u"), getsockname("u"), getpeername("d")),
		newTestLane("x", meet("m"), fork("y"), kill("y", unix.SIGKILL), apply("c"), undo("c"), waitAll("z", "x[1]", "x[2]"),
			socketOf("r", unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6), connect("r", "::1"),
			socketOf("l", unix.AF_UNIX, unix.SOCK_STREAM, 0), bind("l", "unix:name")),
	} {
		b, err := proto.Marshal(l)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l := &synclinev1.Lane{}
		if proto.Unmarshal(b, l) != nil {
			return
		}
		p, err := newPlan(l, nil)
		if err != nil {
			return
		}
		for i := range p.ops {
			checkOp(t, p, &p.ops[i])
		}
	})
}

func checkOp(t *testing.T, p *plan, o *op) {
	for _, name := range []int{o.socket, o.makes} {
		if name != none && (name < 0 || name >= len(p.names)) {
			t.Errorf("%s refers to socket %d of %d", o.name, name, len(p.names))
		}
	}
	if o.name == "" {
		t.Error("a call without a name")
	}
	switch o.call.trap {
	case unix.SYS_SENDTO:
		if to := o.step.GetSendto(); to != nil {
			if o.call.a[5] != uintptr(len(o.memory)) || o.call.a[1] != address(to.Data) || o.call.a[2] != uintptr(len(to.Data)) {
				t.Errorf("sendto is told of %d bytes to an address of %d", o.call.a[2], o.call.a[5])
			}
			return
		}
		fallthrough
	case unix.SYS_BIND, unix.SYS_CONNECT, unix.SYS_RECVFROM:
		if o.call.a[2] != uintptr(len(o.memory)) {
			t.Errorf("%s is told of %d bytes, there are %d", o.name, o.call.a[2], len(o.memory))
		}
	case unix.SYS_SETSOCKOPT:
		if o.call.a[4] != uintptr(len(o.memory)) {
			t.Errorf("setsockopt is told of %d bytes, there are %d", o.call.a[4], len(o.memory))
		}
	}
}

// What is given to the kernel is read back the same, IPv4 also from an AF_INET6 socket.
func TestAddressesSurviveTheKernelsForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		port := rapid.Uint16().Draw(t, "port")
		domain := rapid.SampledFrom([]uint32{unix.AF_INET, unix.AF_INET6}).Draw(t, "domain")
		size := rapid.SampledFrom([]int{4, 16}).Draw(t, "size")
		ip, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "ip"))
		if size == 16 && rapid.Bool().Draw(t, "zone") && !ip.Is4In6() {
			ip = ip.WithZone("7")
		}
		b, err := encodeAddress(netip.AddrPortFrom(ip, port), domain)
		if err != nil {
			t.Fatal(err)
		}
		want := netip.AddrPortFrom(ip.Unmap(), port).String()
		if got := formatAddress(b); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func FuzzFormatAddress(f *testing.F) {
	f.Add([]byte{unix.AF_INET, 0, 0, 80, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{unix.AF_UNIX, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := formatAddress(b)
		if strings.HasPrefix(s, unixPrefix) && utf8.ValidString(s) {
			return
		}
		if _, err := netip.ParseAddrPort(s); s != "" && err != nil {
			t.Errorf("%x is shown as %q: %v", b, s, err)
		}
	})
}

func TestOptionsAreShownByName(t *testing.T) {
	for _, c := range []struct {
		level, name int32
		value       []byte
		want        string
	}{
		{unix.SOL_SOCKET, unix.SO_REUSEADDR, []byte{1, 0, 0, 0}, "SOL_SOCKET, SO_REUSEADDR, 1"},
		{unix.SOL_SOCKET, unix.SO_LINGER, []byte{1, 0, 0, 0, 5, 0, 0, 0}, "SOL_SOCKET, SO_LINGER, {l_onoff=1, l_linger=5}"},
		{unix.IPPROTO_TCP, unix.TCP_CONGESTION, []byte("cubic"), `IPPROTO_TCP, TCP_CONGESTION, "cubic"`},
		{unix.SOL_SOCKET, unix.SO_SNDTIMEO, []byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "SOL_SOCKET, SO_SNDTIMEO, 1s"},
		{unix.IPPROTO_UDP, unix.UDP_CORK, []byte{1, 0, 0, 0}, "IPPROTO_UDP, UDP_CORK, 1"},
		{unix.IPPROTO_TCP, unix.TCP_MD5SIG, make([]byte, 216), "IPPROTO_TCP, TCP_MD5SIG, [" + strings.Repeat("00 ", 32) + "… 216 bytes]"},
		{unix.IPPROTO_TCP, 999, []byte{1, 2}, "IPPROTO_TCP, 999, [01 02]"},
		{12345, unix.SO_REUSEADDR, nil, "12345, 2, []"},
	} {
		got := optionArguments(&synclinev1.SetSockOptCall{Level: c.level, Name: c.name, Value: c.value})
		if got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}
