package trace

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	synclinev1 "syncline/proto/syncline/v1"
)

// Sizes of the records of bpf/trace.bpf.c.
const (
	recordSize        = 56
	segmentRecordSize = 88
)

// ends says what the addresses of a record are.
type ends uint8

const (
	ofSocket ends = iota
	ofSent
	ofReceived
	ofPacket
)

// record is one record of the ring, as it stands there.
type record struct {
	timeNs, cookie  uint64
	local, peer     netip.AddrPort
	kind            synclinev1.TraceKind
	ends            ends
	oldState, state uint8
	place           uint64
	sequence, ack   uint32
	payload, reason uint32
	flags, protocol uint16
	hasSegment      bool
}

// parse reads a record. Its bytes are of the machine's order, which is little-endian
// wherever the programs are built for.
func (r *record) parse(b []byte) error {
	if len(b) != recordSize && len(b) != segmentRecordSize {
		return fmt.Errorf("trace: a record of %d bytes in the ring; this agent's programs make none of that size", len(b))
	}
	le := binary.LittleEndian
	*r = record{
		timeNs: le.Uint64(b), cookie: le.Uint64(b[8:]),
		local: addrPort(b[16:32], le.Uint16(b[48:])), peer: addrPort(b[32:48], le.Uint16(b[50:])),
		kind: synclinev1.TraceKind(b[52]), ends: ends(b[53]), oldState: b[54], state: b[55],
	}
	if _, known := synclinev1.TraceKind_name[int32(r.kind)]; !known || r.kind == 0 || r.ends > ofPacket {
		return fmt.Errorf("trace: a record of kind %d and ends %d in the ring; this agent's programs make no such", r.kind, r.ends)
	}
	if len(b) == segmentRecordSize {
		r.hasSegment = true
		r.place = le.Uint64(b[56:])
		r.sequence, r.ack, r.payload, r.reason = le.Uint32(b[64:]), le.Uint32(b[68:]), le.Uint32(b[72:]), le.Uint32(b[76:])
		r.flags, r.protocol = le.Uint16(b[80:]), le.Uint16(b[82:])
	}
	return nil
}

func addrPort(address []byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(address)).Unmap(), port)
}

// orient makes local the host's own end, and says whether the host had sent or received
// the packet that the record is about. Of a packet between two addresses of the host
// itself, which nothing tells apart, local is the sender's.
func (r *record) orient(own map[netip.Addr]bool) synclinev1.Direction {
	from, to := own[r.local.Addr()], own[r.peer.Addr()]
	switch {
	case r.ends == ofReceived, r.ends == ofPacket && to && !from:
		r.local, r.peer = r.peer, r.local
		return synclinev1.Direction_DIRECTION_IN
	case r.ends == ofSent, r.ends == ofPacket && from && !to:
		return synclinev1.Direction_DIRECTION_OUT
	}
	return synclinev1.Direction_DIRECTION_UNSPECIFIED
}

// decoder makes events of records.
type decoder struct {
	// own addresses and others are those of the run.
	own, others map[netip.Addr]bool
	// drops and resets are the kernel's names of reasons.
	drops, resets map[uint32]string
	// place names the function of an address of the kernel, "" if it is not told.
	place func(uint64) string

	texts map[netip.AddrPort]string
	block []traced
}

// sides tells the host's own addresses from those of the other hosts.
func sides(cfg *Config) (own, others map[netip.Addr]bool) {
	own, others = make(map[netip.Addr]bool), make(map[netip.Addr]bool)
	for _, a := range cfg.Own {
		own[a.Unmap().WithZone("")] = true
	}
	for _, a := range cfg.Flows.Addresses {
		if a = a.Unmap().WithZone(""); len(own) > 0 && !own[a] {
			others[a] = true
		}
	}
	return own, others
}

// traced is an event with all that hangs on it: one allocation makes many.
type traced struct {
	event synclinev1.Event
	fact  synclinev1.Event_Trace
	trace synclinev1.Trace
}

const (
	// blockSize is how many events are allocated at once; all live as long as one.
	blockSize = 64
	// maxTexts bounds the addresses whose text is kept: a loop of connections uses the
	// same ports again and again.
	maxTexts = 1 << 16
)

// event makes the event of a record, or nil if it is none of the run's.
func (d *decoder) event(r *record) *synclinev1.Event {
	direction := r.orient(d.own)
	if d.others[r.local.Addr()] {
		return nil
	}
	if len(d.block) == 0 {
		d.block = make([]traced, blockSize)
	}
	t := &d.block[0]
	t.trace.Kind, t.trace.Cookie = r.kind, r.cookie
	t.trace.OldState, t.trace.State = uint32(r.oldState), uint32(r.state)
	if r.hasSegment && !d.detail(&t.trace, r) {
		t.trace.Reset()
		return nil
	}
	d.block = d.block[1:]
	if r.kind == synclinev1.TraceKind_TRACE_KIND_DROP {
		t.trace.Direction = direction
	}
	t.trace.LocalAddress, t.trace.PeerAddress = d.text(r.local), d.text(r.peer)
	t.fact.Trace = &t.trace
	t.event.TimeNs, t.event.Fact = int64(r.timeNs), &t.fact
	return &t.event
}

// detail fills in what the longer form has, and reports whether that is an event.
func (d *decoder) detail(t *synclinev1.Trace, r *record) bool {
	switch r.kind {
	case synclinev1.TraceKind_TRACE_KIND_ERROR:
		t.Errno = r.reason
		return true
	case synclinev1.TraceKind_TRACE_KIND_RESET_SENT:
		t.Reason = reasonName(d.resets, r.reason)
	case synclinev1.TraceKind_TRACE_KIND_DROP:
		t.Reason = reasonName(d.drops, r.reason)
		t.Place = d.place(r.place)
		if !dropped(t.Reason, t.Place) {
			return false
		}
		t.Protocol = uint32(r.protocol)
	}
	t.Sequence, t.Acknowledgment = r.sequence, r.ack
	t.Flags, t.PayloadLength = uint32(r.flags), r.payload
	return true
}

func reasonName(names map[uint32]string, number uint32) string {
	if name, ok := names[number]; ok {
		return name
	}
	if len(names) == 0 && number == 0 {
		return ""
	}
	return fmt.Sprintf("reason %d", number)
}

// text is the address as events have it.
func (d *decoder) text(a netip.AddrPort) string {
	if s, ok := d.texts[a]; ok {
		return s
	}
	if d.texts == nil || len(d.texts) >= maxTexts {
		d.texts = make(map[netip.AddrPort]string, 256)
	}
	s := a.String()
	d.texts[a] = s
	return s
}
