package cli

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"syncline/controller/export"
	"syncline/proto/chunk"
	synclinev1 "syncline/proto/syncline/v1"
)

// recordedLanes makes more of what was recorded: the events of one repetition of a run, once for
// each of several lanes at a time and over and over again. What an agent could not predict is new
// each time (ports, sequence numbers, cookies, moments, round-trip times), so that the chunks
// compress no better than those of real runs.
type recordedLanes struct {
	random *rand.Rand
	// base are the events of one repetition, in the order in which the agent numbered them.
	base []*synclinev1.Event
	// first is when the repetition began, period how long it took, in nanoseconds.
	first, period int64
	lanes         int

	number     uint64
	repetition uint32
	cookies    uint64
	waiting    []*synclinev1.Event
}

// recordedSource is the scenario that is copied: calls with tcp_info, packets, traces, signals.
const recordedSource = "../controller/export/testdata/library/handshake-and-teardown.syncline"

// newRecordedLanes copies what one host of a recorded run saw.
func newRecordedLanes(tb testing.TB, agent string, lanes int, seed uint64) *recordedLanes {
	tb.Helper()
	f, err := os.Open(recordedSource)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		tb.Fatal(err)
	}
	bundle, err := export.OpenBundle(f, info.Size())
	if err != nil {
		tb.Fatal(err)
	}
	r := &recordedLanes{random: rand.New(rand.NewPCG(seed, 5)), lanes: lanes, cookies: 1 << 20}
	var last int64
	err = bundle.Chunks(func(c export.Chunk) error {
		if c.Agent != agent {
			return nil
		}
		events, err := chunk.Decode(c.Data)
		for _, e := range events {
			if e.Repetition != 1 {
				continue
			}
			if len(r.base) == 0 {
				r.first = e.TimeNs
			}
			last = max(last, e.TimeNs, e.GetCall().GetReturnNs())
			r.base = append(r.base, e)
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	if len(r.base) < 20 {
		tb.Fatalf("%s has %d events of agent %s in its first repetition", recordedSource, len(r.base), agent)
	}
	r.period = last - r.first
	return r
}

// chunks are the first n chunks of a stream, as full as an agent makes them. Whose stream it is they
// do not say.
func (r *recordedLanes) chunks(tb testing.TB, n int) (all []*synclinev1.Chunk) {
	tb.Helper()
	var b chunk.Builder
	first := uint64(1)
	for len(all) < n {
		e := r.next()
		e.Number = r.number
		if b.Add(e) {
			continue
		}
		events := b.Len()
		data := b.Encode()
		all = append(all, &synclinev1.Chunk{
			Sequence: uint64(len(all)) + 1, FirstEvent: first, Events: uint32(events),
			Data: data, Crc32C: crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)),
		})
		first += uint64(events)
		if !b.Add(e) {
			tb.Fatal("an event is larger than a chunk")
		}
	}
	return all
}

// next is the next event of the stream.
func (r *recordedLanes) next() *synclinev1.Event {
	if len(r.waiting) == 0 {
		r.repeat()
	}
	e := r.waiting[0]
	r.waiting = r.waiting[1:]
	r.number++
	return e
}

// repeat makes the events of the next repetition: the lanes take turns.
func (r *recordedLanes) repeat() {
	r.repetition++
	copies := make([]*laneCopy, r.lanes)
	for i := range copies {
		copies[i] = r.newLaneCopy(i)
	}
	for _, e := range r.base {
		for _, c := range copies {
			r.waiting = append(r.waiting, c.of(e))
		}
	}
}

// laneCopy is one lane's repetition.
type laneCopy struct {
	*recordedLanes
	name string
	// shift is how much later everything happens, and grows.
	shift  int64
	port   uint32
	thread uint32
	ipID   uint32
	rtt    uint32
	// sequence and stamp are what is added to sequence numbers, and to the values of the timestamps
	// option, of either direction.
	sequence, stamp map[uint32]uint32
	cookies         map[uint64]uint64
}

func (r *recordedLanes) newLaneCopy(lane int) *laneCopy {
	return &laneCopy{
		recordedLanes: r, name: fmt.Sprintf("-%d", lane), thread: uint32(lane),
		shift: int64(r.repetition)*(r.period+5_000_000) + r.random.Int64N(1_000_000),
		port:  32768 + r.random.Uint32N(28232), ipID: r.random.Uint32N(1 << 15), rtt: r.random.Uint32N(60),
		sequence: map[uint32]uint32{}, stamp: map[uint32]uint32{}, cookies: map[uint64]uint64{},
	}
}

// later moves a moment: a little more with each event, as no two repetitions take as long.
func (c *laneCopy) later(ns *int64) {
	c.shift += int64(c.random.ExpFloat64() * 2000)
	*ns += c.shift
}

func (c *laneCopy) of(base *synclinev1.Event) *synclinev1.Event {
	e := proto.CloneOf(base)
	e.Repetition = c.repetition
	before := c.shift
	c.later(&e.TimeNs)
	switch {
	case e.GetCall() != nil:
		c.call(e.GetCall())
	case e.GetPacket() != nil:
		c.packet(e.GetPacket(), c.shift)
	case e.GetTrace() != nil:
		c.trace(e.GetTrace())
	case e.GetSignal() != nil:
		if s := e.GetSignal(); s.Lane != "" {
			s.Lane += c.name
		}
	case e.GetSocketState() != nil:
		s := e.GetSocketState()
		s.LocalAddress, s.PeerAddress = c.address(s.LocalAddress), c.address(s.PeerAddress)
	}
	if e.TimeNs < base.TimeNs+before {
		panic("an event was moved to before another one")
	}
	return e
}

func (c *laneCopy) call(call *synclinev1.Call) {
	call.Lane += c.name
	call.Thread += c.thread
	c.later(&call.ReturnNs)
	call.LocalAddress, call.PeerAddress = c.address(call.LocalAddress), c.address(call.PeerAddress)
	// The fields of struct tcp_info that differ from one connection to the next: rtt and rttvar.
	for _, info := range [][]byte{call.TcpInfo, call.Data} {
		for _, at := range []int{68, 72} {
			if len(info) >= at+4 {
				binary.LittleEndian.PutUint32(info[at:], binary.LittleEndian.Uint32(info[at:])+c.rtt)
			}
		}
	}
}

// address puts the lane's ephemeral port into an address of the client.
func (c *laneCopy) address(s string) string {
	host, port, ok := strings.Cut(s, ":")
	if !ok || port == "8080" || port == "0" {
		return s
	}
	return fmt.Sprintf("%s:%d", host, c.port)
}

func (c *laneCopy) packet(p *synclinev1.Packet, shift int64) {
	p.RealtimeNs += shift
	from, to := p.SourcePort, p.DestinationPort
	for _, port := range []uint32{from, to} {
		if _, ok := c.sequence[port]; !ok {
			c.sequence[port], c.stamp[port] = c.random.Uint32(), c.random.Uint32()
		}
	}
	p.Sequence += c.sequence[from]
	if p.Acknowledgment != 0 {
		p.Acknowledgment += c.sequence[to]
	}
	if p.IpId != 0 {
		p.IpId = (p.IpId + c.ipID) & 0xffff
	}
	c.stamps(p.Options, c.stamp[from], c.stamp[to])
	for _, port := range []*uint32{&p.SourcePort, &p.DestinationPort} {
		if *port != 8080 {
			*port = c.port
		}
	}
}

// stamps changes the timestamps option (kind 8, RFC 7323 3.2).
func (c *laneCopy) stamps(options []byte, mine, theirs uint32) {
	for i := 0; i+10 <= len(options); {
		switch kind := options[i]; {
		case kind == 1:
			i++
		case kind == 8:
			put := func(at int, add uint32) {
				if v := binary.BigEndian.Uint32(options[at:]); v != 0 {
					binary.BigEndian.PutUint32(options[at:], v+add)
				}
			}
			put(i+2, mine)
			put(i+6, theirs)
			return
		case kind == 0 || options[i+1] < 2:
			return
		default:
			i += int(options[i+1])
		}
	}
}

func (c *laneCopy) trace(t *synclinev1.Trace) {
	if _, ok := c.cookies[t.Cookie]; !ok {
		c.recordedLanes.cookies++
		c.cookies[t.Cookie] = c.recordedLanes.cookies
	}
	t.Cookie = c.cookies[t.Cookie]
	t.LocalAddress, t.PeerAddress = c.address(t.LocalAddress), c.address(t.PeerAddress)
}
