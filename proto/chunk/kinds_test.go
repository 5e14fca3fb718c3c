package chunk

import synclinev1 "syncline/proto/syncline/v1"

// everyKind is what a host with every source reports in n repetitions: a change of
// its own, a datagram that nobody takes and the ICMP that says so, the neighbour's
// address, a listener's queue, a lane that dies, the kernel's counters, its traces, and
// tcp_info at each call.
func everyKind(n int) []*synclinev1.Event {
	l := newLab(42, true)
	l.inside = true
	l.add(&synclinev1.Event{TimeNs: l.now, Fact: &synclinev1.Event_ClockSample{ClockSample: &synclinev1.ClockSample{
		RealtimeNs: l.now + l.ahead, ErrorNs: 37, RawNs: l.now - 4_000_000, RawErrorNs: 41}}})
	p := newProber(l.r, l.now, l.ahead)
	for rep := uint32(1); rep <= uint32(n); rep++ {
		l.refused(rep)
		l.repetition(rep)
		l.events = append(l.events, p.period()...)
	}
	l.add(&synclinev1.Event{TimeNs: l.now, Fact: &synclinev1.Event_Loss{Loss: &synclinev1.Loss{
		Source: synclinev1.Source_SOURCE_ICMP, Count: 3, SinceNs: l.now - 10_000_000, Where: "capture ring of eth0"}}})
	l.add(&synclinev1.Event{TimeNs: l.now, Fact: &synclinev1.Event_ClockStep{ClockStep: &synclinev1.ClockStep{
		StepNs: -1_000_000_000, SinceNs: l.now - 5_000_000, Change: synclinev1.ClockChange_CLOCK_CHANGE_LEAP}}})
	l.add(&synclinev1.Event{TimeNs: l.now, Fact: &synclinev1.Event_ClockStep{ClockStep: &synclinev1.ClockStep{
		SinceNs: l.now - 5_000_000, Change: synclinev1.ClockChange_CLOCK_CHANGE_SLEW, RatePpb: -12_000, RateBeforePpb: 500_000}}})
	l.add(&synclinev1.Event{TimeNs: l.now, Fact: &synclinev1.Event_ClockSample{ClockSample: &synclinev1.ClockSample{
		RealtimeNs: l.now + l.ahead, ErrorNs: 38, RawNs: l.now - 4_000_100, RawErrorNs: 40, SteadyPpb: 1_750}}})
	for i, ev := range l.events {
		ev.Number = uint64(i) + 1
	}
	return l.events
}

// fact adds a fact of a repetition, a moment after the one before.
func (l *lab) fact(rep uint32, ev *synclinev1.Event) {
	l.now += l.after(1_000, 10_000)
	ev.TimeNs, ev.Repetition = l.now, rep
	l.add(ev)
}

// refused is a repetition in which a datagram is refused.
func (l *lab) refused(rep uint32) {
	begin := l.now
	l.fact(rep, &synclinev1.Event{Fact: &synclinev1.Event_Change{Change: &synclinev1.ChangeMade{Text: "firewall reject udp/9000", Name: "cut"}}})
	l.fact(rep, &synclinev1.Event{Fact: &synclinev1.Event_LaneProcess{LaneProcess: &synclinev1.LaneProcess{Lane: "victim", Process: 4711 + rep}}})
	l.other(rep, &synclinev1.Packet{ArpOperation: 1})
	l.other(rep, &synclinev1.Packet{ArpOperation: 2})
	l.other(rep, &synclinev1.Packet{Protocol: 17, SourcePort: 40000 + rep, DestinationPort: 9000, Ttl: 64, IpId: 7, PayloadLength: 5, Payload: []byte("hello")})
	l.other(rep, &synclinev1.Packet{Protocol: 1, IcmpType: 3, IcmpCode: 4, IcmpRest: 1400, Ttl: 64, IpId: 8, TrafficClass: 0xc0, PayloadLength: 28, Payload: make([]byte, 28)})
	l.flush()
	l.fact(rep, &synclinev1.Event{Fact: &synclinev1.Event_Call{Call: &synclinev1.Call{
		Lane: "client", Name: "getsockopt", Socket: "c", Arguments: "SO_ERROR", Thread: 4711, Fd: 3, ReturnNs: l.now + 4_000,
		EndedBy: synclinev1.EndedBy_ENDED_BY_KERNEL, Result: 111, Data: []byte{111, 0, 0, 0}, Shown: "ECONNREFUSED",
	}}})
	l.fact(rep, &synclinev1.Event{Fact: &synclinev1.Event_Call{Call: &synclinev1.Call{
		Lane: "victim", Name: "accept", Socket: "s", Thread: 4720, Fd: 3, ReturnNs: l.now + 90_000,
		EndedBy: synclinev1.EndedBy_ENDED_BY_DEATH, Result: -1, Process: 4711 + rep,
	}}})
	l.fact(rep, &synclinev1.Event{Fact: &synclinev1.Event_LaneProcess{LaneProcess: &synclinev1.LaneProcess{Lane: "victim", Process: 4711 + rep, Gone: true, Signal: 9}}})
	l.fact(rep, &synclinev1.Event{Fact: &synclinev1.Event_Signal{Signal: &synclinev1.Signal{Lane: "client", Name: "settled", Sent: true}}})
	l.fact(rep, &synclinev1.Event{Fact: &synclinev1.Event_Queue{Queue: &synclinev1.Queue{Address: "10.0.0.1:9000", Length: rep, Limit: 1, Requests: 2}}})
	l.fact(rep, &synclinev1.Event{Fact: &synclinev1.Event_SocketState{SocketState: &synclinev1.SocketState{
		LocalAddress: "10.0.0.1:40000", PeerAddress: "10.0.0.2:8080", State: 6, Final: true}}})
	l.refusals(rep)
	l.fact(rep, &synclinev1.Event{Fact: &synclinev1.Event_Change{Change: &synclinev1.ChangeMade{Text: "firewall reject udp/9000", Name: "cut", Undone: true}}})
	l.fact(rep, &synclinev1.Event{Fact: &synclinev1.Event_Counters{Counters: &synclinev1.Counters{SinceNs: begin, Counters: []*synclinev1.Counter{
		{Name: "Udp.NoPorts", Delta: 1}, {Name: "TcpExt.ListenOverflows", Delta: int64(rep)}}}}})
}

// refusals are the traces of what the kernel refused, dropped, sent again and gave up.
func (l *lab) refusals(rep uint32) {
	const local, peer = "10.0.0.1:40000", "10.0.0.2:8080"
	for _, t := range []*synclinev1.Trace{
		{Kind: synclinev1.TraceKind_TRACE_KIND_RETRANSMIT, Cookie: 9, State: 2, Sequence: 1000, Flags: 2},
		{Kind: synclinev1.TraceKind_TRACE_KIND_RETRANSMIT_SYNACK, Cookie: 10, State: 3},
		{Kind: synclinev1.TraceKind_TRACE_KIND_RESET_SENT, Reason: "NO_SOCKET", Sequence: 7000 + rep, Flags: 2},
		{Kind: synclinev1.TraceKind_TRACE_KIND_RESET_RECEIVED, Cookie: 9, State: 1},
		{Kind: synclinev1.TraceKind_TRACE_KIND_ERROR, Cookie: 9, State: 7, Errno: 104},
		{Kind: synclinev1.TraceKind_TRACE_KIND_DROP, Reason: "NO_SOCKET", Place: "udp_unicast_rcv_skb", Protocol: 17, PayloadLength: 5, Direction: synclinev1.Direction_DIRECTION_IN},
	} {
		t.LocalAddress, t.PeerAddress = local, peer
		l.fact(rep, &synclinev1.Event{Fact: &synclinev1.Event_Trace{Trace: t}})
	}
}

// other is a packet that is not TCP: requests go out, answers come in.
func (l *lab) other(rep uint32, p *synclinev1.Packet) {
	l.now += l.after(900, 6_000)
	own, peer := []byte{10, 0, 0, 1}, []byte{10, 0, 0, 2}
	p.Interface, p.Direction, p.RealtimeNs, p.ErrorNs, p.Segments = "eth0", synclinev1.Direction_DIRECTION_OUT, l.now+l.ahead, 61, 1
	p.Source, p.Destination, p.WireLength = own, peer, 42+p.PayloadLength
	if p.ArpOperation == 2 || p.Protocol == 1 {
		p.Direction, p.Source, p.Destination = synclinev1.Direction_DIRECTION_IN, peer, own
	}
	l.pending = append(l.pending, &synclinev1.Event{TimeNs: l.now, Repetition: rep, Fact: &synclinev1.Event_Packet{Packet: p}})
}
