package timeline

import (
	"encoding/binary"
	"slices"

	"syncline/controller/clock"
)

// path infers the states of one end, RFC 9293 figure 5, from what it sent, received
// and was called for.
//
// A tap hears a packet before the kernel has dealt with it, and a firewall, a full
// queue or a number out of place may keep TCP from ever hearing of it. So what came in
// counts only if what the end did afterwards does not speak against it: a server that
// sends its SYN+ACK again has not taken the ACK that had come, an end that goes on
// sending has not taken the reset, and a FIN that is never acknowledged was not read.
type path struct {
	t         *Timeline
	own, peer *End
	clues     []clue
	passive   bool
	// deferred: the listener waits for data (TCP_DEFER_ACCEPT).
	deferred bool
	// blind is why clues may be missing; what they prove by their absence counts for
	// nothing then.
	blind string
	// deaf: calls may be missing.
	deaf   bool
	states []State
	// supposed is a state that a packet brought about of which nobody knows whether it came to
	// TCP, since a reset came so soon after it that its sender would not have sent it again.
	supposed string
	// outlived: nothing but the time that passed says that a reset was not taken.
	outlived bool
	// proven: the trace alone proves the states.
	proven bool
	// final is the last dump at the end of the repetition, nil if none shows the end.
	final *clue

	// iss and sent bound what this end has sent, acked what the peer has acknowledged.
	iss, sent, acked sequence
	// irs is the peer's initial number; next the one that is expected.
	irs, next sequence
	// told is the number in this end's last ACK: what TCP really expected then, whatever
	// the tap had heard.
	told sequence
	// early are stretches that came before what lies before them.
	early []stretch
	// fin and peerFIN are the numbers after a FIN.
	fin, peerFIN sequence
	// synacks counts the SYN+ACKs that were sent.
	synacks int
	// fastOpen: data on the SYN were taken (RFC 7413), so the end may send before the
	// handshake is over.
	fastOpen bool
	// entered is the moment of the connect that is under way, or last was.
	entered int
}

// sequence is a sequence number that may not be known.
type sequence struct {
	n     uint32
	known bool
}

func numbered(n uint32) sequence { return sequence{n, true} }

// atLeast reports whether s is known and not before n, modulo 2^32 (RFC 9293 3.4).
func (s sequence) atLeast(n uint32) bool { return s.known && int32(s.n-n) >= 0 }

// raise moves s on to n, if that is further.
func (s *sequence) raise(n uint32) {
	if !s.known || int32(n-s.n) > 0 {
		*s = numbered(n)
	}
}

// stretch is what a segment holds: numbers from first up to, but without, end.
type stretch struct{ first, end uint32 }

func (p *path) walk() {
	p.entered = -1
	if p.own.HasISN {
		p.iss = numbered(p.own.ISN)
		p.sent, p.acked = p.iss, p.iss
	}
	if p.peer.HasISN {
		p.irs, p.next = numbered(p.peer.ISN), numbered(p.peer.ISN+1)
	}
	for i := range p.clues {
		switch f := &p.clues[i]; {
		case f.dump != nil:
			p.dumped(f)
		case f.call != nil && f.edge == Enter:
			p.called(f)
		case f.call != nil:
			p.returned(i, f)
		case f.packet.isICMPError():
			p.refused(i, f)
		case f.out:
			p.send(i, f)
		default:
			p.receive(i, f)
		}
	}
}

// now is the state so far, "" before the first.
func (p *path) now() string {
	if len(p.states) == 0 {
		return ""
	}
	return p.states[len(p.states)-1].Name
}

func (p *path) enter(state string, moment int, known string) {
	p.states = append(p.states, inferred(state, moment, known))
}

// gone reports whether there is nothing left that a packet could change.
func (p *path) gone() bool { return p.now() == stateClosed && len(p.states) > 1 }

// later reports whether a clue after i is a packet that this end sent and that fits.
func (p *path) later(i int, fits func(*Packet) bool) bool {
	for _, f := range p.clues[i+1:] {
		if f.out && fits(f.packet) {
			return true
		}
	}
	return false
}

// alive reports whether the end sent anything but resets after clue i.
func (p *path) alive(i int) bool {
	return p.later(i, func(k *Packet) bool { return k.Flags&RST == 0 })
}

// outlives is alive, of an end that most likely had the time to deal with what came at clue i:
// what it sends right after it may have been under way already.
func (p *path) outlives(i int) bool {
	heard := p.t.Moments[p.clues[i].moment].Local
	return slices.ContainsFunc(p.clues[i+1:], func(f clue) bool {
		return f.out && f.packet.Flags&RST == 0 && p.t.Moments[f.moment].Local-heard >= readsWithin
	})
}

// hearsAfter reports whether the end acknowledged after clue i what had not come before it, as
// no end does that was reset.
func (p *path) hearsAfter(i int) bool {
	return p.next.known && p.later(i, func(k *Packet) bool {
		return k.Flags&(ACK|RST) == ACK && int32(k.Ack-p.next.n) > 0
	})
}

func (p *path) send(i int, f *clue) {
	k := f.packet
	if k.Flags&RST != 0 {
		p.sendReset(i, f)
		return
	}
	first := k.Seq
	if k.Flags&SYN != 0 && !p.iss.known {
		p.iss = numbered(k.Seq)
	}
	p.sent.raise(first + sequenceLength(k))
	if k.Flags&ACK != 0 {
		p.told = numbered(k.Ack)
	}
	if !p.acked.known {
		p.acked = numbered(first)
	}
	switch {
	case k.Flags&(SYN|ACK) == SYN:
		if p.now() == "" {
			p.enter(stateClosed, -1, KnownOrder)
		}
		if p.now() == stateClosed && len(p.states) == 1 {
			p.enter(stateSynSent, f.moment, KnownPacket)
		}
	case k.Flags&SYN != 0:
		p.sendSYNACK(f)
	default:
		p.sendMore(f)
	}
}

func (p *path) sendSYNACK(f *clue) {
	p.synacks++
	if p.irs.known && int32(f.packet.Ack-p.irs.n) > 1 {
		p.fastOpen = true
	}
	if now := p.now(); now == "" || now == stateSynSent || now == stateClosed && len(p.states) == 1 {
		p.enter(stateSynRecv, f.moment, KnownPacket)
	}
}

// sendMore is about a segment after the handshake.
func (p *path) sendMore(f *clue) {
	k := f.packet
	own := k.PayloadLength > 0 || k.Flags&FIN != 0
	switch now := p.now(); {
	case now == "":
		p.enter(stateEstablished, -1, KnownOrder)
	case now == stateClosed && len(p.states) == 1, now == stateSynSent:
		if now == stateClosed {
			p.enter(stateSynSent, -1, KnownOrder)
		}
		p.enter(stateEstablished, f.moment, KnownOrder)
	case now == stateSynRecv && own && !p.fastOpen:
		p.enter(stateEstablished, f.moment, KnownOrder)
	}
	if k.Flags&FIN == 0 {
		return
	}
	p.fin = numbered(k.Seq + sequenceLength(k))
	crossed := k.Flags&ACK != 0 && p.peerFIN.known && int32(k.Ack-p.peerFIN.n) < 0
	if n := len(p.states); crossed && n > 1 && p.states[n-1].Known == KnownCall && p.now() == stateLastAck {
		// close(2) had returned before the FIN that it sent came to the tap.
		p.states = p.states[:n-1]
	}
	switch p.now() {
	case stateEstablished, stateSynRecv:
		p.enter(stateFinWait1, f.moment, KnownPacket)
	case stateCloseWait:
		if crossed {
			p.cross(f)
			return
		}
		p.enter(stateLastAck, f.moment, KnownPacket)
	}
}

// cross is about a FIN that left without acknowledging the peer's, which the tap had heard
// before: TCP had not, so this one was first, and the two crossed.
func (p *path) cross(f *clue) {
	p.states[len(p.states)-1] = inferred(stateFinWait1, f.moment, KnownPacket)
	p.enter(stateClosing, f.moment, KnownOrder)
}

// sendReset is about a reset that left. It ends the connection, unless the end goes on
// afterwards: then a firewall answered in its place, or it rejected what came while it
// was in SYN_SENT (RFC 9293 3.10.7.3).
func (p *path) sendReset(i int, f *clue) {
	now := p.now()
	if now == "" || now == stateClosed || p.alive(i) || now == stateSynSent && f.packet.Flags&ACK == 0 {
		return
	}
	p.enter(stateClosed, f.moment, KnownPacket)
}

func (p *path) receive(i int, f *clue) {
	k := f.packet
	if p.gone() {
		return
	}
	switch {
	case k.Flags&RST != 0:
		p.receiveReset(i, f)
	case k.Flags&(SYN|ACK) == SYN:
		p.receiveSYN(i, f)
	case k.Flags&SYN != 0:
		p.receiveSYNACK(i, f)
	case k.Flags&ACK != 0:
		p.receiveMore(i, f)
	}
}

func (p *path) receiveSYN(i int, f *clue) {
	if !p.irs.known {
		p.irs = numbered(f.packet.Seq)
	}
	p.next.raise(f.packet.Seq + 1)
	answers := p.later(i, func(k *Packet) bool { return k.Flags&(SYN|ACK) == SYN|ACK })
	if p.now() == stateSynSent && answers {
		// Both ends opened: RFC 9293 3.5, figure 7.
		p.enter(stateSynRecv, f.moment, KnownPacket)
	}
}

func (p *path) receiveSYNACK(i int, f *clue) {
	k := f.packet
	if !p.coversSYN(k) {
		return
	}
	switch p.now() {
	case stateSynSent:
		if !p.took(i) {
			return
		}
	case stateSynRecv:
	default:
		return
	}
	p.irs = numbered(k.Seq)
	p.next.raise(k.Seq + 1)
	p.acked.raise(k.Ack)
	p.enter(stateEstablished, f.moment, KnownPacket)
}

// coversSYN reports whether a segment acknowledges this end's SYN, and nothing that was
// never sent.
func (p *path) coversSYN(k *Packet) bool {
	if k.Flags&ACK == 0 {
		return false
	}
	return !p.iss.known || int32(k.Ack-p.iss.n) >= 1 && (!p.sent.known || int32(p.sent.n-k.Ack) >= 0 || p.blind != "")
}

// took reports whether the SYN+ACK of clue i reached TCP: the end went on with
// something else than its SYN.
func (p *path) took(i int) bool {
	if p.later(i, func(k *Packet) bool { return k.Flags&(SYN|ACK) == SYN }) {
		return false
	}
	if p.blind != "" || p.alive(i) {
		return true
	}
	connects := false
	for _, f := range p.clues {
		if f.call != nil && f.call.Name == "connect" && f.edge == Return {
			connects = true
			if f.call.Result == 0 && f.call.Errno == 0 {
				return true
			}
		}
	}
	return !connects
}

func (p *path) receiveMore(i int, f *clue) {
	k := f.packet
	if p.now() == stateSynRecv && p.completes(i, k) {
		p.enter(stateEstablished, f.moment, KnownPacket)
	}
	switch p.now() {
	case "", stateClosed, stateSynSent:
		return
	case stateSynRecv:
		if !p.fastOpen {
			return
		}
	}
	if !p.sent.known || int32(p.sent.n-k.Ack) >= 0 {
		p.acked.raise(k.Ack)
	}
	ours := p.finAcked(i)
	theirs := p.readsFIN(i, f)
	p.advance(ours, theirs, f.moment)
}

// completes reports whether the ACK of clue i completes the handshake of a server.
func (p *path) completes(i int, k *Packet) bool {
	bare := sequenceLength(k) == 0
	if !p.coversSYN(k) || p.deferred && bare && p.synacks < 2 || p.turnsAway(i) {
		return false
	}
	return !p.later(i, func(k *Packet) bool { return k.Flags&(SYN|ACK) == SYN|ACK })
}

// turnsAway reports whether all that answers clue i is a reset without ACK, and nobody
// accepted the connection: that is how a segment is answered that no socket is there for
// (RFC 9293 3.10.7.1), and a request for which the accept queue had no room
// (tcp_abort_on_overflow of tcp(7)). A socket that is aborted sends RST and ACK.
func (p *path) turnsAway(i int) bool {
	reset := false
	for _, f := range p.clues[i+1:] {
		switch {
		case f.out && f.packet.Flags&(RST|ACK) == RST:
			reset = true
		case f.out, f.call != nil && isAccept(f.call) && f.call.Result >= 0:
			return false
		}
	}
	return reset && p.blind == ""
}

// finAcked reports whether all up to this end's FIN is acknowledged, and it is not sent
// again after clue i.
func (p *path) finAcked(i int) bool {
	if !p.fin.known || !p.acked.atLeast(p.fin.n) {
		return false
	}
	return !p.later(i, func(k *Packet) bool { return k.Flags&(FIN|RST) == FIN })
}

// readsFIN takes in what a segment holds and reports whether the peer's FIN is read
// with it: all before it has come, and it is acknowledged later, or recv(2) returned 0.
func (p *path) readsFIN(i int, f *clue) bool {
	k := f.packet
	length := sequenceLength(k)
	if !p.next.known {
		p.next = numbered(k.Seq)
	}
	if k.Flags&FIN != 0 && p.blind == "" && p.isUnread(i, k.Seq+length) {
		return false
	}
	if k.Flags&FIN != 0 {
		p.peerFIN = numbered(k.Seq + length)
	}
	if n := len(p.early); n > 0 && p.early[n-1].end == k.Seq {
		p.early[n-1].end += length
	} else if length > 0 {
		p.early = append(p.early, stretch{k.Seq, k.Seq + length})
	}
	for again := true; again; {
		again = false
		for _, e := range p.early {
			if p.next.atLeast(e.first) && !p.next.atLeast(e.end) {
				p.next = numbered(e.end)
				again = true
			}
		}
	}
	kept := p.early[:0]
	for _, e := range p.early {
		if !p.next.atLeast(e.end) {
			kept = append(kept, e)
		}
	}
	p.early = kept
	return p.peerFIN.known && p.next.atLeast(p.peerFIN.n) && p.acknowledges(i, p.peerFIN.n)
}

const (
	// readsWithin is longer than TCP mostly takes, in nanoseconds, to read what its tap has
	// heard: what an end sends after that and does not acknowledge a number has most likely not
	// read it. It proves nothing: a tap hears in the soft interrupt, and TCP may come to it much
	// later, after a call that holds the socket or when its processor was away.
	readsWithin = clock.Local(1_000_000)
	// acknowledgesWithin is how long it may keep an acknowledgment back (TCP_DELACK_MAX).
	acknowledgesWithin = clock.Local(200_000_000)
)

// isUnread reports whether the FIN of clue i, up to number n, did not come to TCP: it came
// again before anything acknowledged it, though the end had sent something else or had had
// the time to.
func (p *path) isUnread(i int, n uint32) bool {
	heard, stale := p.t.Moments[p.clues[i].moment].Local, false
	for _, f := range p.clues[i+1:] {
		switch {
		case f.packet == nil || !f.packet.TCP() || f.packet.Flags&ACK == 0:
		case f.out && int32(f.packet.Ack-n) >= 0:
			return false
		case f.out:
			stale = stale || p.t.Moments[f.moment].Local-heard >= readsWithin
		case f.packet.Flags&FIN != 0 && f.packet.Seq+sequenceLength(f.packet) == n:
			if stale || p.t.Moments[f.moment].Local-heard >= acknowledgesWithin {
				return true
			}
		}
	}
	return false
}

// acknowledges reports whether the end, after clue i, let anyone know that it had read
// up to a number.
func (p *path) acknowledges(i int, n uint32) bool {
	if p.blind != "" {
		return true
	}
	for _, f := range p.clues[i+1:] {
		if f.out && f.packet.Flags&ACK != 0 && int32(f.packet.Ack-n) >= 0 {
			return true
		}
		if f.call != nil && f.edge == Return && f.call.Name == "recv" && f.call.Result == 0 && f.call.Errno == 0 && f.call.EndedBy <= EndedByKernel {
			return true
		}
	}
	return false
}

// advance closes: ours is true if this end's FIN is acknowledged, theirs if the peer's
// is read.
func (p *path) advance(ours, theirs bool, moment int) {
	switch now := p.now(); {
	case now == stateEstablished && theirs:
		p.enter(stateCloseWait, moment, KnownPacket)
	case now == stateFinWait1 && ours && theirs, now == stateFinWait2 && theirs, now == stateClosing && ours:
		p.enter(stateTimeWait, moment, KnownPacket)
	case now == stateFinWait1 && ours:
		p.enter(stateFinWait2, moment, KnownPacket)
	case now == stateFinWait1 && theirs:
		p.enter(stateClosing, moment, KnownPacket)
	case now == stateLastAck && ours:
		p.enter(stateClosed, moment, KnownPacket)
	}
}

// receiveReset ends the connection if the reset is one that the end must take: RFC 9293
// 3.10.7 with the exact numbers of RFC 5961.
func (p *path) receiveReset(i int, f *clue) {
	k := f.packet
	switch p.now() {
	case "":
		return
	case stateClosed:
		return
	case stateSynSent:
		if !p.coversSYN(k) || p.later(i, func(k *Packet) bool { return k.Flags&(SYN|ACK) == SYN }) {
			return
		}
	case stateSynRecv:
		if p.irs.known && int32(k.Seq-p.irs.n) < 1 || p.alive(i) {
			return
		}
	default:
		exact := !p.next.known || k.Seq == p.next.n || p.peerFIN.known && k.Seq == p.next.n-1 || p.told.known && k.Seq == p.told.n
		if !exact && !p.isLax(i, k) && !p.mayBeRequest(i, k) && p.blind == "" {
			return
		}
		if p.outlives(i) {
			p.outlived = p.outlived || !p.hearsAfter(i)
			return
		}
		p.supposes(i)
	}
	p.enter(stateClosed, f.moment, KnownPacket)
}

// resetWindow is what Linux takes for the window of a small socket or a request, at most, where
// it looks at the number of a reset.
const resetWindow = 1 << 16

// isLax reports whether what is there at clue i takes a reset with any number inside the
// window: so does the small socket of an orphan in FIN_WAIT2.
func (p *path) isLax(i int, k *Packet) bool {
	closes := func(f clue) bool { return f.call != nil && f.last && f.edge == Enter }
	return p.now() == stateFinWait2 && p.next.known && k.Seq-p.next.n < resetWindow && slices.ContainsFunc(p.clues[:i], closes)
}

// mayBeRequest reports whether what is there at clue i may still be a request, which takes a
// reset with any number inside the window (RFC 9293 3.10.7.4): nothing shows that the third ACK
// came to TCP, and a socket in ESTABLISHED would have answered such a reset with an ACK (RFC
// 5961 3.2).
func (p *path) mayBeRequest(i int, k *Packet) bool {
	return p.isUnproven(i) && p.next.known && k.Seq-p.next.n < resetWindow
}

// refused is about an ICMP error for a segment of this end. While the connection is
// being opened Linux gives up at once; later it goes on.
func (p *path) refused(i int, f *clue) {
	if !f.packet.endsOpening() {
		return
	}
	opening := p.now() == stateSynSent || p.now() == stateSynRecv
	if opening && !p.later(i, func(k *Packet) bool { return k.Flags&SYN != 0 }) && !p.alive(i) {
		p.enter(stateClosed, f.moment, KnownPacket)
	}
}

// endsOpening reports whether an ICMP error ends a connection that is being opened.
func (p *Packet) endsOpening() bool {
	if p.Protocol == ProtocolICMPv6 {
		return p.ICMPType == icmp6Unreachable || p.ICMPType == icmp6TimeExceeded || p.ICMPType == icmp6Parameter
	}
	switch p.ICMPType {
	case icmpUnreachable:
		return p.ICMPCode != icmpFragmentation
	case icmpTimeExceeded, icmpParameter:
		return true
	}
	return false
}

// waitsAtLeast is what a connect(2) takes that waits for an answer, in nanoseconds. One
// that fails for want of a route or an address returns sooner, and sends nothing.
const waitsAtLeast = clock.Local(1_000_000)

func (p *path) called(f *clue) {
	if f.call.Name != "connect" {
		return
	}
	p.entered = f.moment
	if p.now() == "" {
		p.enter(stateClosed, f.moment, KnownCall)
	}
}

func (p *path) returned(i int, f *clue) {
	c := f.call
	switch {
	case c.Name == "connect":
		p.connected(i, f)
	case isAccept(c) && c.Result >= 0 && c.Errno == 0:
		p.accepted(f)
	case c.Name == "close" && f.last, c.Name == "shutdown" && c.Errno == 0 && closesOutput(c):
		p.closed(f)
	case fatal(c) && !p.alive(i):
		p.failed(f)
	}
}

// connected is about a connect(2) that returned.
func (p *path) connected(i int, f *clue) {
	c := f.call
	opening := p.now() == stateClosed && len(p.states) == 1
	toSend := p.later(i, func(k *Packet) bool { return k.Flags&SYN != 0 })
	succeeded := c.Result == 0 && c.Errno == 0 && c.EndedBy <= EndedByKernel
	const eisconn = 106
	switch {
	case opening && toSend:
		// The SYN goes with the first data (TCP_FASTOPEN_CONNECT), or when the
		// neighbour's address is known.
		return
	case opening && !succeeded && !goesOnAfter(c) && c.Return-p.t.Moments[p.entered].Local < waitsAtLeast:
		return
	case opening:
		known := KnownCall
		if succeeded {
			known = KnownOrder
		}
		p.enter(stateSynSent, p.entered, known)
	}
	switch now := p.now(); {
	case now != stateSynSent && now != stateSynRecv:
	case succeeded || c.Errno == eisconn:
		p.enter(stateEstablished, f.moment, KnownCall)
	case !goesOnAfter(c) && c.EndedBy <= EndedByKernel:
		p.enter(stateClosed, f.moment, KnownCall)
	}
}

// accepted is about an accept(2) that returned the end.
func (p *path) accepted(f *clue) {
	if p.now() == "" {
		p.enter(stateSynRecv, -1, KnownOrder)
	}
	if p.now() == stateSynRecv && !p.fastOpen {
		p.enter(stateEstablished, f.moment, KnownCall)
	}
}

// closed is about a close of the socket's last name, or a shutdown of its output. The
// FIN that it puts in line may have to wait for the window.
func (p *path) closed(f *clue) {
	switch p.now() {
	case stateSynSent:
		p.enter(stateClosed, f.moment, KnownCall)
	case stateEstablished:
		p.enter(stateFinWait1, f.moment, KnownCall)
	case stateCloseWait:
		p.enter(stateLastAck, f.moment, KnownCall)
	}
}

// closesOutput reports whether a shutdown(2) was one of SHUT_WR or SHUT_RDWR.
func closesOutput(c *Call) bool { return c.Arguments == "SHUT_WR" || c.Arguments == "SHUT_RDWR" }

// fatal reports whether what a call returned says that the connection is over.
func fatal(c *Call) bool {
	const (
		enetunreach  = 101
		econnaborted = 103
		econnreset   = 104
		etimedout    = 110
		econnrefused = 111
		ehostunreach = 113
	)
	errno := c.Errno
	if c.Name == "getsockopt" && c.Errno == 0 && c.Arguments == "SOL_SOCKET, SO_ERROR" && len(c.Data) >= 4 {
		errno = binary.LittleEndian.Uint32(c.Data)
	}
	switch errno {
	case enetunreach, econnaborted, econnreset, etimedout, econnrefused, ehostunreach:
		return true
	}
	return false
}

// failed is about a call that said that the connection is over.
func (p *path) failed(f *clue) {
	switch p.now() {
	case "", stateClosed, stateTimeWait:
		return
	}
	p.enter(stateClosed, f.moment, KnownCall)
}

// dumped is about what sock_diag(7) showed. A dump while lanes run is taken with the
// kernel ahead of the tap or behind it; it counts where it is a step further that
// nothing else on record tells of.
func (p *path) dumped(f *clue) {
	if f.dump.Final {
		p.final = f
		return
	}
	name := StateName(f.dump.State)
	if now := p.now(); name == stateClosed && (now == stateTimeWait || now == stateFinWait2) {
		// What ends by a timer ends without a packet, a call or a trace.
		p.enter(name, f.moment, KnownDump)
		return
	}
	if slices.ContainsFunc(p.states, func(s State) bool { return s.Name == name }) {
		return
	}
	if p.blind != "" && name != "" && (p.now() == "" || leadsTo(p.now(), name)) {
		p.enter(name, f.moment, KnownDump)
	}
}
