package timeline

import (
	"math/rand/v2"
	"net/netip"

	"syncline/controller/clock"
)

// world is a simulated lab whose truth is known: it moves packets between hosts
// with clocks of their own and writes down what their taps and lanes would report.
type world struct {
	run    *Run
	clocks []simClock
	random *rand.Rand
	// truth is the true time of each moment, and cause the departure of each arrival.
	truth map[simMoment]int64
	cause map[simID][]simID
	lost  map[simID]bool
	next  []uint64
	wrong []int64
	// repetition that events are reported with.
	repetition int
	// blind hosts have no tap.
	blind map[int]bool
	// alike packets all have IP identification 0, as with DF set.
	alike bool
	// kernel is true where all hosts are on one, so that each tap sees all packets,
	// on their way out and in.
	kernel bool
	// forwarder is a host that all packets pass, 0 if none.
	forwarder int
	ipid      uint32
	// asked counts the exchanges of clock probes that each host asked for.
	asked map[int]uint64
}

type simID struct {
	host   int
	number uint64
}

type simMoment struct {
	simID
	edge Edge
}

func newWorld(seed uint64, clocks ...simClock) *world {
	w := &world{
		run: &Run{ID: "r-1"}, clocks: clocks, random: rand.New(rand.NewPCG(seed, 1)),
		truth: make(map[simMoment]int64), cause: make(map[simID][]simID), lost: make(map[simID]bool),
		next: make([]uint64, len(clocks)), wrong: make([]int64, len(clocks)), repetition: 1, blind: make(map[int]bool), asked: make(map[int]uint64),
	}
	for h := range clocks {
		w.run.Hosts = append(w.run.Hosts, Host{Name: string(rune('A' + h)), Address: w.address(h)})
		w.wrong[h] = w.random.Int64N(101) - 50
	}
	w.run.Events = watched(len(clocks))
	return w
}

// seen is what agents of worlds and of golden files see of a change of rate.
const seen = 750

// watched are samples of so many clocks that were watched from before all time to after it.
func watched(hosts int) []Event {
	var all []Event
	for h := range hosts {
		for i, at := range []clock.Local{-clock.Local(clock.Unbounded), clock.Local(clock.Unbounded)} {
			all = append(all, Event{Host: h, Number: uint64(i) + 1<<62, Incarnation: 1, At: at, Sample: &ClockSample{Steady: seen}})
		}
	}
	return all
}

func (w *world) address(host int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, 0, byte(host + 1)})
}

func (w *world) emit(host int, t int64, e Event) simID {
	w.next[host]++
	e.Host, e.Number, e.Incarnation, e.Repetition = host, w.next[host], 1, w.repetition
	e.At = w.clocks[host].at(t)
	id := simID{host, e.Number}
	edge := At
	if e.Call != nil {
		edge = Enter
	}
	w.truth[simMoment{id, edge}] = t
	w.run.Events = append(w.run.Events, e)
	return id
}

func (w *world) mark(t int64, kind MarkKind) {
	for h := range w.clocks {
		w.emit(h, t, Event{Mark: &Mark{Kind: kind}})
	}
}

// call reports a call that ran from enter to leave.
func (w *world) call(host int, enter, leave int64, c Call) {
	c.Return = w.clocks[host].at(leave)
	id := w.emit(host, enter, Event{Call: &c})
	w.truth[simMoment{id, Return}] = leave
}

// fate is what the network does to a packet; the zero value takes a delay of the
// world's choice.
type fate struct {
	delay int64
	lost  bool
	twice bool
}

// send moves a packet and returns when it arrived.
func (w *world) send(t int64, from, to int, p Packet, f fate) int64 {
	if f.delay == 0 {
		f.delay = 20_000 + w.random.Int64N(80_000)
	}
	w.ipid++
	if !w.alike {
		p.IPID = w.ipid
	}
	departure := w.tap(t, from, Out, p)
	if w.kernel {
		w.tap(t, to, Out, p)
	}
	if w.forwarder > 0 {
		w.tap(t+f.delay/3, w.forwarder, In, p)
		w.tap(t+f.delay/2, w.forwarder, Out, p)
	}
	if f.lost {
		w.lost[departure] = true
		return t
	}
	w.arrive(t+f.delay, to, p, departure)
	if w.kernel {
		w.tap(t+f.delay, from, In, p)
	}
	if f.twice {
		w.arrive(t+f.delay+3_000, to, p)
	}
	return t + f.delay
}

func (w *world) tap(t int64, host int, d Direction, p Packet) simID {
	if w.blind[host] {
		return simID{}
	}
	p.Direction, p.Interface, p.Segments = d, "eth0", 1
	// The stamp was moved between clocks, with an error that all packets of the
	// host share and that is known to be at most 50 ns.
	p.Err = 50
	id := w.emit(host, t, Event{Packet: &p})
	w.run.Events[len(w.run.Events)-1].At += clock.Local(w.wrong[host])
	return id
}

// arrive reports an arrival; without departures it is the network's own doing.
func (w *world) arrive(t int64, host int, p Packet, departures ...simID) {
	id := w.tap(t, host, In, p)
	if id.number > 0 {
		w.cause[id] = departures
	}
}

// talk is one simulated connection: what its packets have in common.
type talk struct {
	*world
	// name tells its lanes from those of other talks.
	name           string
	client, server int
	a, b           netip.AddrPort
	isnA, isnB     uint32
}

func (w *world) talk(client, server int, port uint16, isn uint32) *talk {
	return &talk{
		world: w, client: client, server: server,
		a: netip.AddrPortFrom(w.address(client), port), b: netip.AddrPortFrom(w.address(server), 8080),
		isnA: isn, isnB: isn * 7,
	}
}

// packet is one of the talk with numbers relative to the initial ones.
func (k *talk) packet(fromClient bool, flags Flags, seq, ack uint32, length int) Packet {
	p := Packet{
		Source: k.a, Destination: k.b, Seq: k.isnA + seq, Ack: k.isnB + ack,
		Flags: flags, Window: 64240, PayloadLength: length, TTL: 64, DontFragment: true,
	}
	if !fromClient {
		p.Source, p.Destination, p.Seq, p.Ack = k.b, k.a, k.isnB+seq, k.isnA+ack
	}
	if flags&ACK == 0 {
		p.Ack = 0
	}
	return p
}

func (k *talk) up(t int64, flags Flags, seq, ack uint32, length int, f fate) int64 {
	return k.send(t, k.client, k.server, k.packet(true, flags, seq, ack, length), f)
}

func (k *talk) down(t int64, flags Flags, seq, ack uint32, length int, f fate) int64 {
	return k.send(t, k.server, k.client, k.packet(false, flags, seq, ack, length), f)
}

// open is a handshake with its calls; it returns when both ends are through.
func (k *talk) open(t int64) int64 { return k.openSince(t, t+10_000) }

// openSince is open of a connect that was entered before its SYN left at t.
func (k *talk) openSince(enter, t int64) int64 {
	t = k.up(t, SYN, 0, 0, 0, fate{})
	t = k.down(t+5_000, SYN|ACK, 0, 1, 0, fate{})
	back := t + 25_000
	k.call(k.client, enter, back, Call{Lane: "client" + k.name, Name: "connect", Socket: "c", Local: k.a, Peer: k.b, FD: 7})
	t = k.up(t+2_000, ACK, 1, 1, 0, fate{})
	k.call(k.server, enter-30_000, t+40_000, Call{
		Lane: "server" + k.name, Name: "accept", Socket: "s", Makes: "a", Local: k.b, Peer: k.a, Result: 8, FD: 8,
	})
	return max(back, t+40_000)
}

// close is a graceful close by the client, then by the server, after the client
// sent up bytes.
func (k *talk) close(t int64, sent uint32) int64 {
	k.call(k.client, t, t+9_000, Call{Lane: "client" + k.name, Step: 2, Name: "close", Socket: "c", FD: 7})
	t = k.up(t+3_000, FIN|ACK, 1+sent, 1, 0, fate{})
	t = k.down(t+4_000, ACK, 1, 2+sent, 0, fate{})
	k.call(k.server, t, t+9_000, Call{Lane: "server" + k.name, Step: 1, Name: "close", Socket: "a", FD: 8})
	t = k.down(t+3_000, FIN|ACK, 1, 2+sent, 0, fate{})
	return k.up(t+2_000, ACK, 2+sent, 2, 0, fate{})
}

// repeat runs a script as one repetition.
func (w *world) repeat(repetition int, t int64, script func(t int64) int64) int64 {
	w.repetition = repetition
	w.mark(t, MarkBegin)
	t = script(t + 1_000_000)
	w.mark(t+1_000_000, MarkEnd)
	return t + 2_000_000
}
