package trace

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"syncline/agent/kernel"
	synclinev1 "syncline/proto/syncline/v1"
)

// reject drops TCP segments with a flag set, and others of the flags not, on the way in or
// out of the host, until the answer is called.
func (h *host) reject(hook *nftables.ChainHook, mask, flags byte) (stop func()) {
	h.t.Helper()
	conn := must(nftables.New(nftables.WithNetNSFd(int(h.ns.Fd()))))
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "reject"})
	chain := conn.AddChain(&nftables.Chain{
		Name: "reject", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: hook, Priority: nftables.ChainPriorityFilter,
	})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{mask}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{flags}},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}})
	check(conn.Flush())
	return func() {
		conn.DelTable(table)
		check(conn.Flush())
	}
}

const fin, syn, psh, ack = 1, 2, 8, 16

func ofKind(events []*synclinev1.Event, kind synclinev1.TraceKind) (all []*synclinev1.Trace) {
	for _, e := range events {
		if tr := e.GetTrace(); tr.GetKind() == kind {
			all = append(all, tr)
		}
	}
	return all
}

// A SYN+ACK that a firewall keeps from the client is sent again by the request socket,
// whose cookie is the connection's; so is the SYN.
func TestFilteredHandshake(t *testing.T) {
	p := newPair(t)
	client, server := p.client.watch(t, Config{Flows: p.flows()}), p.server.watch(t, Config{Flows: p.flows()})
	stop := p.client.reject(nftables.ChainHookInput, syn|ack, syn|ack)
	l := p.server.listen(p.server4, port)
	wait := p.client.alongside(func() error {
		fd := tcp(unix.AF_INET)
		err := unix.Connect(fd, sockaddr(p.server4, port))
		check(unix.Close(fd))
		return err
	})
	has := func(kind synclinev1.TraceKind, n int) func([]*synclinev1.Event) bool {
		return func(all []*synclinev1.Event) bool { return len(ofKind(all, kind)) >= n }
	}
	client.wait("SYN sent again", has(synclinev1.TraceKind_TRACE_KIND_RETRANSMIT, 1))
	client.wait("two SYN+ACKs dropped", has(synclinev1.TraceKind_TRACE_KIND_DROP, 2))
	server.wait("SYN+ACK sent again", has(synclinev1.TraceKind_TRACE_KIND_RETRANSMIT_SYNACK, 1))
	stop()
	check(wait())
	a := accept(l)
	cookie := must(unix.GetsockoptUint64(a, unix.SOL_SOCKET, unix.SO_COOKIE))
	check(unix.Close(a))
	check(unix.Close(l))

	told := client.flush()
	again := ofKind(told, synclinev1.TraceKind_TRACE_KIND_RETRANSMIT)[0]
	if again.Flags != syn || again.State != uint32(kernel.SynSent) || again.PayloadLength != 0 || again.Acknowledgment != 0 {
		t.Errorf("the SYN that was sent again: %v", again)
	}
	for _, drop := range ofKind(told, synclinev1.TraceKind_TRACE_KIND_DROP) {
		if drop.State == uint32(kernel.TimeWait) && drop.Flags&fin != 0 {
			continue // on a busy machine the server's FIN is sent again, and answered
		}
		if drop.Flags != syn|ack || drop.Acknowledgment != again.Sequence+1 || drop.Reason != "NETFILTER_DROP" || drop.Protocol != unix.IPPROTO_TCP ||
			drop.Direction != synclinev1.Direction_DIRECTION_IN {
			t.Errorf("the SYN+ACK that was dropped: %v", drop)
		}
	}
	for _, again := range ofKind(server.flush(), synclinev1.TraceKind_TRACE_KIND_RETRANSMIT_SYNACK) {
		if again.Cookie != cookie || role(again.LocalAddress) != "10.9.0.2:port" || role(again.PeerAddress) != "10.9.0.1:any" {
			t.Errorf("the SYN+ACK that was sent again: %v; the connection has cookie %d", again, cookie)
		}
	}
}

// Data that the host's own firewall keeps from leaving are dropped with their socket, and
// sent again.
func TestFilteredData(t *testing.T) {
	p := newPair(t)
	l := p.server.listen(p.server4, port)
	c, a := must(p.client.dial(p.server4, port)), accept(l)
	client := p.client.watch(t, Config{Flows: p.flows()})
	stop := p.server.reject(nftables.ChainHookInput, psh, psh)
	server := p.server.watch(t, Config{Flows: p.flows()})
	must(unix.Write(c, []byte("hello")))
	client.wait("data sent again", func(all []*synclinev1.Event) bool {
		return len(ofKind(all, synclinev1.TraceKind_TRACE_KIND_RETRANSMIT)) > 0
	})
	stop()
	var b [8]byte
	if n := must(unix.Read(a, b[:])); n != 5 {
		t.Fatalf("read %d bytes", n)
	}
	again := ofKind(client.flush(), synclinev1.TraceKind_TRACE_KIND_RETRANSMIT)[0]
	drops := ofKind(server.flush(), synclinev1.TraceKind_TRACE_KIND_DROP)
	if len(drops) == 0 {
		t.Fatal("no drop")
	}
	type segment struct{ sequence, ack, flags, length uint32 }
	of := func(tr *synclinev1.Trace) segment {
		return segment{tr.Sequence, tr.Acknowledgment, tr.Flags, tr.PayloadLength}
	}
	if of(again) != of(drops[0]) || again.Flags != psh|ack || again.PayloadLength != 5 {
		t.Errorf("dropped %+v, sent again %+v", of(drops[0]), of(again))
	}
	for _, fd := range []int{c, a, l} {
		check(unix.Close(fd))
	}

	// On the way out the packet has its socket, and so a cookie.
	l = p.server.listen(p.server4, port)
	c, a = must(p.client.dial(p.server4, port)), accept(l)
	client.forget()
	stop = p.client.reject(nftables.ChainHookOutput, fin, fin)
	cookie := must(unix.GetsockoptUint64(c, unix.SOL_SOCKET, unix.SO_COOKIE))
	check(unix.Close(c))
	drop := ofKind(client.flush(), synclinev1.TraceKind_TRACE_KIND_DROP)
	if len(drop) == 0 || drop[0].Cookie != cookie || role(drop[0].LocalAddress) != "10.9.0.1:any" || drop[0].Flags != fin|ack || drop[0].Direction != synclinev1.Direction_DIRECTION_OUT || drop[0].Reason != "NETFILTER_DROP" {
		t.Errorf("a FIN kept from leaving: %v; the socket has cookie %d", drop, cookie)
	}
	stop()
	check(unix.Close(a))
	check(unix.Close(l))
}

// UDP to nobody, and the ICMP error that tells of it.
func TestDroppedDatagram(t *testing.T) {
	p := newPair(t)
	server := p.server.watch(t, Config{
		Flows: p.flows(), Own: []netip.Addr{p.server4, p.server6}, Kinds: []synclinev1.TraceKind{synclinev1.TraceKind_TRACE_KIND_DROP},
	})
	for _, to := range []struct {
		address unix.Sockaddr
		family  int
	}{{sockaddr(p.server4, port), unix.AF_INET}, {sockaddr(p.server6, port), unix.AF_INET6}} {
		p.client.do(func() error {
			fd := must(unix.Socket(to.family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
			defer unix.Close(fd)
			check(unix.Connect(fd, to.address))
			must(unix.Write(fd, []byte("nobody")))
			var b [1]byte
			if _, err := unix.Read(fd, b[:]); err != unix.ECONNREFUSED {
				t.Errorf("read: %v", err)
			}
			return nil
		})
	}
	var got []string
	for _, e := range server.flush() {
		if tr := e.GetTrace(); tr.Protocol != unix.IPPROTO_UDP || tr.PayloadLength != 6 || tr.Direction != synclinev1.Direction_DIRECTION_IN {
			t.Errorf("%v", tr)
		}
		got = append(got, line(e))
	}
	want := []string{"drop 10.9.0.2:port→10.9.0.1:any NO_SOCKET", "drop [fd09::2]:port→[fd09::1]:any NO_SOCKET"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// FuzzRecord: whatever bytes the ring might hold, reading them fails or gives an event.
func FuzzRecord(f *testing.F) {
	b := make([]byte, segmentRecordSize)
	binary.LittleEndian.PutUint64(b, 1)
	b[52] = 8
	f.Add(b)
	f.Add(b[:recordSize])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r record
		if err := r.parse(b); err != nil {
			return
		}
		d := decoder{place: func(uint64) string { return "" }, drops: map[uint32]string{3: "NO_SOCKET"}}
		kind, at := r.kind, r.timeNs
		e := d.event(&r)
		if e == nil {
			t.Fatalf("no event of %v", b)
		}
		if e.GetTrace().Kind != kind || e.TimeNs != int64(at) || e.GetTrace().LocalAddress == "" {
			t.Errorf("%v of %v", e, b)
		}
	})
}
