package trace

import (
	"net/netip"
	"testing"

	"syncline/agent/kernel"
	synclinev1 "syncline/proto/syncline/v1"
)

// Addresses tell the direction of a dropped packet where its socket does not; between
// addresses of one host nothing does.
func TestDirectionOfDrops(t *testing.T) {
	a, b := netip.MustParseAddrPort("10.9.0.1:1"), netip.MustParseAddrPort("10.9.0.2:2")
	both := []netip.Addr{a.Addr(), b.Addr()}
	const in, out, neither = synclinev1.Direction_DIRECTION_IN, synclinev1.Direction_DIRECTION_OUT, synclinev1.Direction_DIRECTION_UNSPECIFIED
	for _, c := range []struct {
		name  string
		own   []netip.Addr
		ends  ends
		kind  synclinev1.TraceKind
		local netip.AddrPort
		want  synclinev1.Direction
	}{
		{"sent by a socket", both, ofSent, synclinev1.TraceKind_TRACE_KIND_DROP, a, out},
		{"received by a socket", both, ofReceived, synclinev1.TraceKind_TRACE_KIND_DROP, b, in},
		{"from this host", both[:1], ofPacket, synclinev1.TraceKind_TRACE_KIND_DROP, a, out},
		{"to this host", both[1:], ofPacket, synclinev1.TraceKind_TRACE_KIND_DROP, b, in},
		{"from this host to itself", both, ofPacket, synclinev1.TraceKind_TRACE_KIND_DROP, a, neither},
		{"without addresses of its own", nil, ofPacket, synclinev1.TraceKind_TRACE_KIND_DROP, a, neither},
		{"no drop", both, ofReceived, synclinev1.TraceKind_TRACE_KIND_RESET_SENT, b, neither},
	} {
		own, others := sides(&Config{Own: c.own, Flows: kernel.Flows{Addresses: both}})
		d := decoder{own: own, others: others, place: func(uint64) string { return "" }}
		e := d.event(&record{kind: c.kind, ends: c.ends, local: a, peer: b, hasSegment: true})
		if tr := e.GetTrace(); tr == nil || tr.Direction != c.want || tr.LocalAddress != c.local.String() {
			t.Errorf("%s: %v, want %v at %v", c.name, e, c.want, c.local)
		}
	}
}
