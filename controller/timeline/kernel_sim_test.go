package timeline

import (
	"net/netip"
	"slices"
)

// simKernels are the TCP of two hosts, as far as states go, with the truth of each socket
// written down: what its kernel traces, what taps hear and what calls are made are reported
// to the world. Packets come to the tap before TCP, several at once if they come together,
// and may be dropped on the way or behind the tap.
type simKernels struct {
	*world
	queue  []simWork
	now    int64
	order  int
	cookie uint64
	// drop is how likely a packet is lost, of 100.
	drop    int
	secrets map[[2]uint16]uint32
	socks   []*simSock
}

// simWork is something to do at a time.
type simWork struct {
	at    int64
	order int
	do    func()
}

// simTurn is a state that a socket truly came to.
type simTurn struct {
	name string
	at   int64
}

// simSock is one end of a connection, from its opening to its end.
type simSock struct {
	k          *simKernels
	host       int
	lane, name string
	cookie     uint64
	own, peer  netip.AddrPort
	other      *simSock
	server     bool
	listening  bool
	// state is what it truly is in, small whether a small socket is, traced what the
	// tracepoint last said.
	state, traced string
	small         bool
	turns         []simTurn
	// passed are states that it was in for a moment only, within one segment.
	passed []simTurn
	orphan bool
	// iss and irs are initial numbers; una, next and received count from them.
	iss, irs             uint32
	una, next, received  uint32
	data                 uint32
	finAt                uint32
	hasFIN, ackDue, late bool
	tries                int
	timer                int
	// dealt is when it is to deal with the last packet that it heard, and busy until when
	// somebody has its lock.
	dealt, busy int64
	// onEstablished and onFIN are what its lane does then.
	onOpening, onEstablished, onFIN, onClosed func()
}

func newSimKernels(seed uint64, drop int) *simKernels {
	w := newWorld(seed, simClock{}, simClock{offset: 7_000_000_000})
	return &simKernels{world: w, drop: drop, cookie: 100, secrets: make(map[[2]uint16]uint32)}
}

func (k *simKernels) after(d int64, do func()) {
	k.order++
	k.queue = append(k.queue, simWork{k.now + d, k.order, do})
}

// play does all that is to be done.
func (k *simKernels) play() {
	for len(k.queue) > 0 {
		first := 0
		for i, w := range k.queue {
			if f := k.queue[first]; w.at < f.at || w.at == f.at && w.order < f.order {
				first = i
			}
		}
		w := k.queue[first]
		k.queue = slices.Delete(k.queue, first, first+1)
		k.now = w.at
		w.do()
	}
}

// lock does something to a socket, as soon as nobody else does.
func (s *simSock) lock(do func()) {
	if s.k.now < s.busy {
		s.k.after(s.busy-s.k.now, func() { s.lock(do) })
		return
	}
	do()
	s.busy = s.k.now + 100
}

func (k *simKernels) chance(of100 int) bool { return k.random.IntN(100) < of100 }

func (k *simKernels) between(lo, hi int64) int64 { return lo + k.random.Int64N(hi-lo) }

// pair makes the two ends of a connection that is to be opened.
func (k *simKernels) pair(lane string, port uint16, listening bool) (client, server *simSock) {
	k.cookie += 2
	client = &simSock{
		k: k, host: 0, lane: "client" + lane, name: "c", cookie: k.cookie, state: stateClosed, traced: stateClosed,
		own: netip.AddrPortFrom(k.address(0), port), peer: netip.AddrPortFrom(k.address(1), 8080), iss: k.initial(port, 0),
	}
	server = &simSock{
		k: k, host: 1, lane: "server" + lane, name: "a", cookie: k.cookie + 1, traced: stateListen, server: true, listening: listening,
		own: client.peer, peer: client.own, iss: k.initial(port, 1),
	}
	client.other, server.other = server, client
	k.socks = append(k.socks, client, server)
	return client, server
}

// initial is an initial sequence number of RFC 6528: a clock, and a number of each pair of
// addresses and direction.
func (k *simKernels) initial(port uint16, direction int) uint32 {
	of := [2]uint16{port, uint16(direction)}
	if _, ok := k.secrets[of]; !ok {
		k.secrets[of] = k.random.Uint32()
	}
	return k.secrets[of] + uint32(k.now/64)
}

func (s *simSock) trace(tr Trace) {
	tr.Cookie, tr.Local, tr.Peer = s.cookie, s.own, s.peer
	s.k.emit(s.host, s.k.now, Event{Trace: &tr})
}

// step traces a transition of the socket itself.
func (s *simSock) step(to string) {
	tr := Trace{Kind: TraceState, Cookie: s.cookie, Local: s.own, Peer: s.peer, OldState: stateNumber(s.traced), State: stateNumber(to)}
	if s.traced == stateListen {
		tr.Peer = netip.AddrPort{}
	}
	if s.traced == stateClosed {
		tr.Local = addressOnly(tr.Local)
	}
	s.traced = to
	s.k.emit(s.host, s.k.now, Event{Trace: &tr})
	s.k.now += 150
}

// turn is a state that the socket truly comes to.
func (s *simSock) turn(to string) {
	if s.state != to {
		s.state = to
		s.turns = append(s.turns, simTurn{to, s.k.now})
	}
}

// come is both.
func (s *simSock) come(to string) {
	s.turn(to)
	s.step(to)
}

func (s *simSock) segment(flags Flags, seq uint32, length int) {
	p := Packet{
		Source: s.own, Destination: s.peer, Seq: s.iss + seq, Flags: flags, Window: 64240, PayloadLength: length, TTL: 64, DontFragment: true,
	}
	if flags&ACK != 0 {
		p.Ack = s.irs + s.received
		s.ackDue = false
	}
	k, other := s.k, s.other
	k.ipid++
	p.IPID = k.ipid
	k.now += k.between(200, 3_000)
	k.tap(k.now, s.host, Out, p)
	if k.chance(k.drop) {
		return
	}
	k.after(k.between(20_000, 60_000), func() { other.hear(p) })
}

// hear is a packet at the tap; TCP deals with it a little later, if nothing drops it.
func (s *simSock) hear(p Packet) {
	k := s.k
	k.tap(k.now, s.host, In, p)
	if k.chance(k.drop / 2) {
		return
	}
	wait := k.between(500, 4_000)
	if k.chance(10) {
		wait += k.between(0, 60_000)
	}
	s.dealt = max(s.dealt+300, k.now+wait)
	k.after(s.dealt-k.now, func() { s.lock(func() { s.deal(p) }) })
}

// call reports a call of the end's lane that takes a moment.
func (s *simSock) call(name, arguments string, takes int64) {
	enter := s.k.now
	s.k.world.call(s.host, enter, enter+takes, Call{
		Lane: s.lane, Step: 1 + len(s.turns), Name: name, Socket: s.name, Arguments: arguments, EndedBy: EndedByKernel, Local: s.own, Peer: s.peer,
	})
	s.k.now += 1_000
}

func (s *simSock) connect() {
	k := s.k
	enter := k.now
	s.turns = append(s.turns, simTurn{stateClosed, enter - 1})
	k.now += k.between(500, 3_000)
	done := func(errno uint32) {
		result := int64(0)
		if errno != 0 {
			result = -1
		}
		k.world.call(s.host, enter, k.now+k.between(2_000, 20_000), Call{
			Lane: s.lane, Name: "connect", Socket: s.name, Result: result, Errno: errno, EndedBy: EndedByKernel, Local: s.own, Peer: s.peer,
		})
	}
	established := s.onEstablished
	s.onEstablished = func() {
		done(0)
		k.after(k.between(30_000, 300_000), established)
	}
	s.onClosed = func() {
		if s.turns[len(s.turns)-2].name == stateSynSent {
			done(map[bool]uint32{true: 111, false: 110}[s.tries < simTries])
		}
	}
	s.come(stateSynSent)
	s.next = 1
	s.transmit()
}

// simTries is how often anything is sent.
const simTries = 5

// transmit sends what is not acknowledged, and again until it is.
func (s *simSock) transmit() {
	if s.tries >= simTries {
		s.giveUp()
		return
	}
	s.tries++
	switch {
	case s.state == stateSynSent:
		s.segment(SYN, 0, 0)
	case s.state == stateSynRecv:
		s.segment(SYN|ACK, 0, 0)
	default:
		if end := 1 + s.data; s.una < end && s.data > 0 {
			s.segment(ACK|PSH, s.una, int(end-s.una))
		}
		if s.hasFIN {
			s.segment(FIN|ACK, s.finAt, 0)
		}
	}
	s.timer++
	timer := s.timer
	s.k.after(200_000_000<<s.tries, func() { s.lock(func() { s.expire(timer) }) })
}

// expire is the end of a timer; only the one that was set last counts.
func (s *simSock) expire(timer int) {
	if s.timer == timer && s.una < s.next && !s.small && s.state != stateClosed {
		s.transmit()
	}
}

// giveUp ends what was sent too often; a request has no socket to trace.
func (s *simSock) giveUp() {
	if s.state == stateSynRecv {
		s.turn(stateClosed)
		return
	}
	s.trace(Trace{Kind: TraceError, State: stateNumber(s.state), Errno: 110})
	s.k.now += 200
	s.come(stateClosed)
	if s.onClosed != nil {
		s.onClosed()
	}
}

func (s *simSock) deal(p Packet) {
	switch {
	case s.state == "" && p.Flags&(SYN|ACK|RST) == SYN && s.listening:
		s.onOpening()
		s.irs, s.received = p.Seq, 1
		s.turn(stateSynRecv)
		s.next = 1
		s.transmit()
	case s.state == "" || s.state == stateClosed:
		s.reject(p)
	case p.Flags&RST != 0:
		s.hearReset(p)
	case s.state == stateSynSent:
		if p.Flags&(SYN|ACK) == SYN|ACK {
			s.irs, s.received, s.una = p.Seq, 1, 1
			s.tries = 0
			s.come(stateEstablished)
			s.segment(ACK, 1, 0)
			s.onEstablished()
		}
	case p.Flags&SYN != 0:
		if s.state == stateSynRecv {
			s.segment(SYN|ACK, 0, 0)
		} else {
			s.segment(ACK, s.next, 0)
		}
	default:
		s.dealMore(p)
	}
}

// reject answers a packet for which there is no socket.
func (s *simSock) reject(p Packet) {
	if p.Flags&RST != 0 {
		return
	}
	s.k.emit(s.host, s.k.now, Event{Trace: &Trace{
		Kind: TraceResetSent, Local: s.own, Peer: s.peer, Reason: "NO_SOCKET", Seq: p.Seq, Ack: p.Ack, Flags: p.Flags, PayloadLength: p.PayloadLength,
	}})
	if p.Flags&ACK != 0 {
		s.segment(RST, p.Ack-s.iss, 0)
		return
	}
	s.irs, s.received = p.Seq, sequenceLength(&p)
	s.segment(RST|ACK, 0-s.iss, 0)
}

// hearReset takes a RST with the number that is next, RFC 5961; another one is challenged
// if it is ahead.
func (s *simSock) hearReset(p Packet) {
	ahead := p.Seq - s.irs - s.received
	switch {
	case ahead == 0, s.state == stateSynSent && p.Ack == s.iss+1, s.state == stateSynRecv && ahead < 64_240,
		s.small && s.state == stateFinWait2 && ahead < 64_240:
		s.reset()
	case ahead < 64_240 && !s.small && s.state != stateSynSent:
		s.segment(ACK, s.next, 0)
	}
}

// reset is a RST that TCP takes.
func (s *simSock) reset() {
	switch {
	case s.small, s.state == stateSynRecv:
		s.turn(stateClosed)
		return
	}
	s.trace(Trace{Kind: TraceResetReceived, State: stateNumber(s.state)})
	s.k.now += 200
	s.come(stateClosed)
	s.trace(Trace{Kind: TraceError, State: stateNumber(stateClosed), Errno: 104})
	if s.onClosed != nil {
		s.onClosed()
	}
}

func (s *simSock) dealMore(p Packet) {
	acked, seq := p.Ack-s.iss, p.Seq-s.irs
	if s.state == stateSynRecv {
		s.tries = 0
		s.step(stateSynRecv)
		s.come(stateEstablished)
		s.onEstablished()
	}
	if acked > s.una && acked <= s.next {
		s.una, s.tries = acked, 0
	}
	ours := s.hasFIN && s.una > s.finAt
	length := sequenceLength(&p)
	fresh := length > 0 && seq <= s.received && seq+length > s.received
	if fresh {
		s.received = seq + length
	}
	theirs := fresh && p.Flags&FIN != 0
	s.advance(ours, theirs)
	switch {
	case theirs && s.onFIN != nil:
		s.onFIN()
	case length > 0 && !(theirs && s.late):
		s.segment(ACK, s.next, 0)
	}
	if theirs && s.late {
		s.ackDue = true
		s.k.after(40_000_000, func() {
			s.lock(func() {
				if s.ackDue {
					s.segment(ACK, s.next, 0)
				}
			})
		})
	}
}

// advance is figure 5 of RFC 9293 as Linux has it, with its small sockets.
func (s *simSock) advance(ours, theirs bool) {
	if s.state == stateFinWait1 && ours {
		if theirs {
			// Note 2: one segment has both.
			s.passed = append(s.passed, simTurn{stateFinWait2, s.k.now})
			s.step(stateFinWait2)
			s.wait()
			return
		}
		s.come(stateFinWait2)
		if s.orphan {
			s.handOver()
		}
	}
	switch {
	case s.state == stateClosing && ours:
		s.wait()
	case s.state == stateLastAck && ours:
		s.come(stateClosed)
	}
	if !theirs {
		return
	}
	switch s.state {
	case stateEstablished:
		s.come(stateCloseWait)
	case stateFinWait1:
		s.come(stateClosing)
	case stateFinWait2:
		s.wait()
	}
}

// wait takes the socket to TIME_WAIT.
func (s *simSock) wait() {
	if s.small {
		s.turn(stateTimeWait)
		return
	}
	s.turn(stateTimeWait)
	s.handOver()
}

// handOver puts a small socket in the place of the traced one.
func (s *simSock) handOver() {
	s.small = true
	s.step(stateClosed)
}

// send sends data.
func (s *simSock) send(n uint32) {
	if s.state == stateEstablished || s.state == stateCloseWait {
		s.data = n
		s.next += n
		s.transmit()
	}
}

// finish sends a FIN: by close(2), which leaves an orphan, or by shutdown(2).
func (s *simSock) finish(closes bool) {
	name, arguments := "close", ""
	if !closes {
		name, arguments = "shutdown", "SHUT_WR"
	}
	s.call(name, arguments, s.k.between(3_000, 9_000))
	s.orphan = s.orphan || closes
	switch s.state {
	case stateEstablished:
		s.come(stateFinWait1)
	case stateCloseWait:
		s.come(stateLastAck)
	case stateFinWait2:
		if closes && !s.small {
			s.handOver()
		}
		return
	default:
		return
	}
	s.hasFIN, s.finAt = true, s.next
	s.next++
	s.segment(FIN|ACK, s.finAt, 0)
	s.tries = 1
	s.timer++
	timer := s.timer
	s.k.after(400_000_000, func() { s.lock(func() { s.expire(timer) }) })
}

// abort closes with SO_LINGER 0.
func (s *simSock) abort() {
	s.call("close", "", s.k.between(6_000, 9_000))
	if s.state != stateEstablished && s.state != stateCloseWait {
		return
	}
	s.come(stateClosed)
	s.segment(RST|ACK, s.next, 0)
}

// accepted reports the accept(2) of a server's end.
func (s *simSock) accepted(enter int64) {
	s.k.world.call(s.host, enter, s.k.now+s.k.between(2_000, 30_000), Call{
		Lane: s.lane, Name: "accept", Socket: "s", Makes: s.name, Local: s.own, Peer: s.peer, Result: 8, FD: 8, EndedBy: EndedByKernel,
	})
}

// dump reports what sock_diag(7) shows in the end.
func (k *simKernels) dump() {
	for _, s := range k.socks {
		if s.state == "" || s.state == stateClosed {
			continue
		}
		k.emit(s.host, k.now, Event{Socket: &SocketState{Local: s.own, Peer: s.peer, State: stateNumber(s.state), Final: true}})
		k.now += 1_000
	}
}

// replace ends the TIME_WAIT between the addresses of a new socket.
func (k *simKernels) replace(by *simSock) {
	for _, s := range k.socks {
		if s != by && s.own == by.own && s.peer == by.peer && s.state == stateTimeWait {
			s.turn(stateClosed)
		}
	}
}

// isFree reports whether a port may be used again.
func (k *simKernels) isFree(port uint16) bool {
	return !slices.ContainsFunc(k.socks, func(s *simSock) bool {
		inUse := s.state != "" && s.state != stateClosed && s.state != stateTimeWait
		return inUse && (s.own.Port() == port || s.peer.Port() == port)
	})
}

// script is what the lanes of a connection do, drawn by lot.
func (k *simKernels) script(lane string, port uint16) {
	client, server := k.pair(lane, port, !k.chance(8))
	k.replace(client)
	if server.listening {
		// Its listener takes the SYN for a new connection.
		server.onOpening = func() { k.replace(server) }
	}
	entered := k.now - 50_000
	first, second := client, server
	if k.chance(40) {
		first, second = server, client
	}
	second.late = k.chance(30)
	data := uint32(0)
	if k.chance(40) {
		data = uint32(k.random.IntN(3000) + 1)
	}
	how := k.random.IntN(8)
	begin := func(s *simSock) {
		if s == server {
			server.accepted(entered)
		}
		if s == client && data > 0 {
			s.send(data)
		}
		pause := k.between(10_000, 900_000)
		switch {
		case s != first && how != 3:
			return
		case how == 0:
			k.after(pause, func() { s.lock(s.abort) })
		case how == 1:
			k.after(pause, func() { s.lock(func() { s.finish(false) }) })
			k.after(pause+k.between(10_000, 400_000_000), func() { s.lock(func() { s.finish(true) }) })
		default:
			// 3 is both ends at about the same time.
			k.after(pause, func() { s.lock(func() { s.finish(true) }) })
		}
	}
	client.onEstablished = func() { begin(client) }
	server.onEstablished = func() { begin(server) }
	second.onFIN = func() {
		if !second.late {
			second.segment(ACK, second.next, 0)
		}
		switch how {
		case 2: // It never closes.
		case 3:
		case 4:
			k.after(k.between(1_000, 300_000), func() { second.lock(second.abort) })
		default:
			k.after(k.between(1_000, 3_000_000), func() { second.lock(func() { second.finish(true) }) })
		}
	}
	client.connect()
}
