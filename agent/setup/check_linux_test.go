package setup

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

func TestCheck(t *testing.T) {
	p := newPair(t)
	p.a.listen(netip.AddrPortFrom(p.a4, 9))
	p.a.listen(netip.AddrPortFrom(p.a6, 10))
	var u net.PacketConn
	p.a.do(func() (err error) { u, err = net.ListenPacket("udp", "10.9.0.1:9"); return err })
	defer u.Close()
	var u6 net.PacketConn
	p.a.do(func() (err error) { u6, err = net.ListenPacket("udp", "[fd09::1]:11"); return err })
	defer u6.Close()
	// A connection from a port listens to nothing.
	l := p.b.listen(netip.AddrPortFrom(p.b4, 9))
	c, err := p.a.dial(netip.AddrPortFrom(p.b4, 9), patience)
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	connected := uint32(c.LocalAddr().(*net.TCPAddr).Port)

	port := func(protocol, port uint32) *synclinev1.Requirement {
		return &synclinev1.Requirement{What: &synclinev1.Requirement_PortFree{PortFree: &synclinev1.PortFree{Protocol: protocol, Port: port}}}
	}
	kernel := func(comparison, release string) *synclinev1.Requirement {
		return &synclinev1.Requirement{What: &synclinev1.Requirement_Kernel{Kernel: &synclinev1.KernelRange{Comparison: comparison, Release: release}}}
	}
	value := func(name, value string) *synclinev1.Requirement {
		return &synclinev1.Requirement{What: &synclinev1.Requirement_Sysctl{Sysctl: &synclinev1.SysctlIs{Name: name, Value: value}}}
	}
	kind := func(domain, kind, protocol uint32) *synclinev1.Requirement {
		return &synclinev1.Requirement{What: &synclinev1.Requirement_Socket{Socket: &synclinev1.SocketKind{Domain: domain, Type: kind, Protocol: protocol}}}
	}
	for _, row := range []struct {
		name  string
		r     *synclinev1.Requirement
		unmet string
	}{
		{"tcp listener", port(6, 9), "something listens on tcp port 9"},
		{"tcp listener of IPv6", port(6, 10), "something listens on tcp port 10"},
		{"tcp free", port(6, 11), ""},
		{"tcp connected", port(6, connected), ""},
		{"udp", port(17, 9), "something listens on udp port 9"},
		{"udp of IPv6", port(17, 11), "something listens on udp port 11"},
		{"udp free", port(17, 10), ""},
		{"kernel at least", kernel(">=", "4.4"), ""},
		{"kernel before", kernel("<", "4.4"), "this kernel is "},
		{"sysctl is there", value("net.ipv4.tcp_rmem", ""), ""},
		{"sysctl is not there", value("net.ipv4.there_is_none", ""), "has no sysctl"},
		{"sysctl is not there and has no value", value("net.ipv4.there_is_none", "1"), "has no sysctl"},
		{"sysctl has the value, other blanks", value("net.ipv4.ip_local_port_range", "32768 60999"), ""},
		{"sysctl has another value", value("net.ipv4.ip_local_port_range", "1 2"), `is "32768\t60999"`},
		{"write-only sysctl is there", value("net.ipv4.route.flush", ""), ""},
		{"socket", kind(unix.AF_INET, unix.SOCK_STREAM, 0), ""},
		{"no such socket", kind(unix.AF_INET, unix.SOCK_STREAM, 250), "socket(2, 1, 250)"},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.r.Text = row.name
			err := p.a.try(func() error { return Check(row.r) })
			if row.unmet == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, ErrUnmet) || !strings.Contains(err.Error(), row.unmet) || !strings.Contains(err.Error(), row.name) {
				t.Errorf("%v, want %q", err, row.unmet)
			}
		})
	}
	for _, r := range []*synclinev1.Requirement{
		{}, port(1, 9), kernel("~", "6.1"), kernel(">=", "six"), value("kernel.panic", ""),
	} {
		if err := Check(r); err == nil || errors.Is(err, ErrUnmet) {
			t.Errorf("%v: %v, want an error that is not ErrUnmet", r, err)
		}
	}
}

// Nothing that the package opens stays open.
func TestNoDescriptorStays(t *testing.T) {
	p := newPair(t)
	count := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	dir := t.TempDir()
	cycle := func() {
		var o *Host
		p.a.do(func() (err error) { o, err = Open(dir, quiet); return err })
		p.a.apply(o, p.target(), "", everything()...)
		p.a.do(o.Close)
	}
	// The first opens what the runtime keeps.
	cycle()
	before := count()
	cycle()
	if after := count(); after != before {
		t.Errorf("%d descriptors, before %d", after, before)
	}
}
