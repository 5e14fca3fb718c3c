package chunk

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	synclinev1 "syncline/proto/syncline/v1"
)

// lab makes the events that one host of a two-host run of connect, send, shutdown,
// recv and close reports, in the order in which an agent learns of them: calls as
// they return, packets in blocks. Initial sequence numbers, ports, timestamp
// offsets and every delay are random; delays are spread as measured on a veth pair.
type lab struct {
	r *rand.Rand
	// client says which end this host is.
	client bool
	// inside adds traces and tcp_info.
	inside  bool
	cookie  uint64
	now     int64
	ahead   int64
	pending []*synclinev1.Event
	events  []*synclinev1.Event
}

func newLab(seed uint64, client bool) *lab {
	return &lab{
		r:      rand.New(rand.NewPCG(seed, 7)),
		client: client,
		now:    81_234_567_890_123,
		ahead:  1_760_000_000_000_000_000,
	}
}

// run returns the events of n repetitions.
func (l *lab) run(n int) []*synclinev1.Event {
	l.add(&synclinev1.Event{TimeNs: l.now, Fact: &synclinev1.Event_Mark{Mark: &synclinev1.Mark{
		Kind: synclinev1.MarkKind_MARK_KIND_ARMED, Detail: "eth0"}}})
	for rep := 1; rep <= n; rep++ {
		l.repetition(uint32(rep))
	}
	for i, ev := range l.events {
		ev.Number = uint64(i) + 1
	}
	return l.events
}

func (l *lab) add(ev *synclinev1.Event) { l.events = append(l.events, ev) }

// after is a delay with a long tail: at least low, half of them below mid.
func (l *lab) after(low, mid int64) int64 {
	return low + int64(float64(mid-low)*l.r.ExpFloat64()*1.4)
}

type end struct {
	address []byte
	port    uint32
	next    uint32
	tsBase  uint32
	tsLast  uint32
	ipID    uint32
}

func (l *lab) repetition(rep uint32) {
	l.now += l.after(3_000_000, 6_000_000)
	l.ahead += int64(l.r.IntN(7)) - 3
	l.mark(rep, synclinev1.MarkKind_MARK_KIND_REPETITION_BEGIN)
	c := &end{address: []byte{10, 0, 0, 1}, port: 32768 + uint32(l.r.IntN(28232)), next: l.r.Uint32(), tsBase: l.r.Uint32(), ipID: uint32(l.r.IntN(65536))}
	s := &end{address: []byte{10, 0, 0, 2}, port: 8080, next: l.r.Uint32(), tsBase: l.r.Uint32(), ipID: uint32(l.r.IntN(65536))}
	local, peer := fmt.Sprintf("10.0.0.1:%d", c.port), "10.0.0.2:8080"

	if l.client {
		l.call(rep, "client", 0, "socket", "c", "", 3, 3, 2_000)
	} else {
		l.call(rep, "server", 0, "socket", "s", "", 3, 3, 2_000)
		l.call(rep, "server", 1, "setsockopt", "s", "SO_REUSEADDR, 1", 3, 0, 1_000)
		l.call(rep, "server", 2, "bind", "s", "0.0.0.0:8080", 3, 0, 1_500)
		l.call(rep, "server", 3, "listen", "s", "128", 3, 0, 5_000)
	}
	first := l.now
	begin := l.now
	l.packet(rep, c, s, 0x02, nil)
	l.packet(rep, s, c, 0x12, nil)
	l.packet(rep, c, s, 0x10, nil)
	if l.client {
		l.callAt(begin, rep, "client", 1, "connect", "c", peer, 3, 0, local, peer)
	} else {
		l.callAt(begin, rep, "server", 4, "accept", "s", "", 4, 4, "10.0.0.2:8080", local)
	}
	begin = l.now
	if l.client {
		l.call(rep, "client", 2, "send", "c", "5 bytes", 3, 5, 12_000)
	}
	l.packet(rep, c, s, 0x18, []byte("hello"))
	l.packet(rep, s, c, 0x10, nil)
	if l.client {
		l.call(rep, "client", 3, "shutdown", "c", "SHUT_WR", 3, 0, 9_000)
	} else {
		l.callAt(begin, rep, "server", 5, "recv", "a", "4096", 4, 5, "", "")
	}
	begin = l.now
	l.packet(rep, c, s, 0x11, nil)
	l.packet(rep, s, c, 0x10, nil)
	if !l.client {
		l.callAt(begin, rep, "server", 6, "recv", "a", "4096", 4, 0, "", "")
		l.call(rep, "server", 7, "close", "a", "", 4, 0, 9_000)
	}
	l.packet(rep, s, c, 0x11, nil)
	l.packet(rep, c, s, 0x10, nil)
	if l.client {
		l.callAt(begin, rep, "client", 4, "recv", "c", "4096", 3, 0, "", "")
		l.call(rep, "client", 5, "close", "c", "", 3, 0, 4_000)
	} else {
		l.call(rep, "server", 8, "close", "s", "", 3, 0, 6_000)
	}
	l.flush()
	if l.inside {
		l.traces(rep, first, c.port)
	}
	l.mark(rep, synclinev1.MarkKind_MARK_KIND_REPETITION_END)
}

func (l *lab) mark(rep uint32, k synclinev1.MarkKind) {
	l.add(&synclinev1.Event{TimeNs: l.now, Repetition: rep, Fact: &synclinev1.Event_Mark{Mark: &synclinev1.Mark{Kind: k}}})
}

func (l *lab) call(rep uint32, lane string, step uint32, name, socket, args string, fd int32, result, mid int64) {
	begin := l.now
	l.now += l.after(mid/4, mid)
	l.callAt(begin, rep, lane, step, name, socket, args, fd, result, "", "")
}

func (l *lab) callAt(begin int64, rep uint32, lane string, step uint32, name, socket, args string, fd int32, result int64, local, peer string) {
	l.now += l.after(5_000, 20_000)
	call := &synclinev1.Call{
		Lane: lane, Step: step, Name: name, Socket: socket, Arguments: args, Thread: 4711, Fd: fd, ReturnNs: l.now,
		Result: result, EndedBy: synclinev1.EndedBy_ENDED_BY_KERNEL, LocalAddress: local, PeerAddress: peer,
	}
	l.add(&synclinev1.Event{TimeNs: begin + l.after(300, 900), Repetition: rep, Fact: &synclinev1.Event_Call{Call: call}})
	if l.inside && name != "close" {
		call.TcpInfo = l.tcpInfo(name, step)
	}
	l.now += l.after(400, 1_200)
}

// packet makes one packet, kept until the ring's block is read.
func (l *lab) packet(rep uint32, from, to *end, flags uint32, payload []byte) {
	l.now += l.after(900, 6_000)
	p := &synclinev1.Packet{
		Interface: "eth0", Direction: synclinev1.Direction_DIRECTION_IN, RealtimeNs: l.now + l.ahead, ErrorNs: 61,
		Segments: 1, Source: from.address, Destination: to.address, Ttl: 64, DontFragment: true,
		SourcePort: from.port, DestinationPort: to.port, Sequence: from.next, Flags: flags, Window: 502,
		PayloadLength: uint32(len(payload)), Payload: payload, IpId: from.ipID,
	}
	if (from.port == 8080) != l.client {
		p.Direction = synclinev1.Direction_DIRECTION_OUT
	}
	from.tsLast = from.tsBase + uint32(l.now/1_000_000)
	from.next += uint32(len(payload))
	from.ipID = (from.ipID + 1) & 0xffff
	if flags&0x10 != 0 {
		p.Acknowledgment = to.next
	}
	if flags&3 != 0 {
		from.next++
	}
	p.Options = options(flags, from.tsLast, to.tsLast)
	if flags&2 != 0 {
		p.Window = 64240
	}
	p.WireLength = 14 + 20 + 20 + uint32(len(p.Options)+len(payload))
	l.pending = append(l.pending, &synclinev1.Event{TimeNs: l.now, Repetition: rep, Fact: &synclinev1.Event_Packet{Packet: p}})
}

func options(flags, val, ecr uint32) []byte {
	o := []byte{1, 1, 8, 10}
	if flags&2 != 0 {
		o = []byte{2, 4, 5, 180, 4, 2, 8, 10}
	}
	o = binary.BigEndian.AppendUint32(o, val)
	o = binary.BigEndian.AppendUint32(o, ecr)
	if flags&2 != 0 {
		o = append(o, 1, 3, 3, 7)
	}
	return o
}

func (l *lab) flush() {
	l.events = append(l.events, l.pending...)
	l.pending = nil
}
