package timeline

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"syncline/controller/clock"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzBuild makes events of arbitrary bytes. Whatever they say, building ends
// without a panic, what must hold of any timeline holds, and another order of the
// same events makes no difference. It can be judged, and all but a pass has a reason.
func FuzzBuild(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("SYN SYN+ACK ACK and a little more, so that there are some events to build from."))
	for _, sc := range scenarios[:9] {
		f.Add(seedOf(sc.play(3).run))
	}
	f.Add(seedOf(clockScenes[2].play(3).run))
	for _, name := range []string{"traced_client_closes", "traced_loss", "traced_orphan", "traced_port_reused"} {
		archive, err := txtar.ParseFile("testdata/states/" + name + ".txtar")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seedOf(newScript(f, section(archive, "events")).run))
	}
	exp := expectations(f, wholePackets, synOrder, "never any RST",
		"order enter(client.connect) < sent(A, packet) < received(B, packet) < return(server.accept) < sent(B, packet)")
	f.Fuzz(func(t *testing.T, data []byte) {
		run := &Run{ID: "r-1", Hosts: []Host{
			{Name: "A", Address: netip.MustParseAddr("10.0.0.1")},
			{Name: "B", Address: netip.MustParseAddr("10.0.0.2")},
			{Name: "C", ClockID: "k"},
		}}
		for len(data) >= eventSize && len(run.Events) < 200 {
			run.Events = append(run.Events, eventOf(data[:eventSize], uint64(len(run.Events)+1)))
			data = data[eventSize:]
		}
		backwards := *run
		backwards.Events = make([]Event, 0, len(run.Events))
		for i := range run.Events {
			backwards.Events = append(backwards.Events, run.Events[len(run.Events)-1-i])
		}
		one, other := NewBuilder(run), NewBuilder(&backwards)
		for repetition := 1; repetition <= 3; repetition++ {
			tl, err := one.Build(repetition)
			again, errAgain := other.Build(repetition)
			if (err == nil) != (errAgain == nil) {
				t.Fatalf("built with %v one way and %v the other", err, errAgain)
			}
			if err != nil {
				continue
			}
			checkInvariants(t, tl)
			opts := cmp.Options{cmpopts.IgnoreUnexported(Timeline{}), cmp.Comparer(sameAddr), cmp.Comparer(sameAddrPort)}
			if d := cmp.Diff(tl, again, opts); d != "" {
				t.Fatal(d)
			}
			for h := range run.Hosts {
				checkOtherReference(t, one, h, repetition)
			}
			if n := len(tl.Moments); n > 0 {
				tl.Certain(0, n-1)
				tl.Apart(n-1, 0)
			}
			for _, v := range tl.Judge(exp) {
				if v.Ruling == 0 || (v.Ruling == Pass) != (v.Reason == "") {
					t.Fatalf("%s: %s, because %q", v.Expectation, v.Ruling, v.Reason)
				}
			}
		}
	})
}

// checkOtherReference makes sure that a timeline on another host's clock hangs together, and
// a report of the clocks.
func checkOtherReference(t *testing.T, b *Builder, host, repetition int) {
	t.Helper()
	of, err := b.WithReference(b.run.Hosts[host].Name)
	if err != nil {
		t.Fatal(err)
	}
	tl, err := of.Build(repetition)
	if err != nil {
		t.Fatal(err)
	}
	checkInvariants(t, tl)
	report, err := of.ClockReport(3)
	if err != nil {
		t.Fatal(err)
	}
	for h := range report.Hosts {
		for _, p := range report.Hosts[h].Points {
			for _, bound := range []ClockBound{p.All, p.Probes, p.Segments} {
				if bound.Known() && (bound.Lo > bound.Hi || bound.Estimate < bound.Lo || bound.Estimate > bound.Hi) {
					t.Fatalf("host %d when its clock reads %d: %+v", h, p.Local, bound)
				}
			}
		}
	}
}

const eventSize = 24

// eventOf reads an event from a few bytes, with values from small ranges so that
// packets meet.
func eventOf(b []byte, number uint64) Event {
	e := Event{
		Host: int(b[0] % 3), Repetition: int(b[1] % 4), Number: number, Incarnation: 1,
		At: clock.Local(binary.LittleEndian.Uint32(b[2:])),
	}
	address := func(x byte) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, x%4 + 1}), 8080+uint16(x>>6))
	}
	switch b[6] % 15 {
	case 0:
		names := []string{"socket", "connect", "accept", "send", "close", "fork", "dup", "shutdown", "sendto", "recv"}
		sockets := []string{"", "c", "s", "a"}
		e.Call = &Call{
			Lane: sockets[b[7]%4], Name: names[b[8]%10], Socket: sockets[b[9]%4], Makes: sockets[b[10]%4],
			Return: e.At + clock.Local(b[11])*1000, Result: int64(int8(b[12])), Local: address(b[13]), Peer: address(b[14]),
		}
		if b[15]%3 == 0 {
			e.Call.Local, e.Call.Arguments = netip.AddrPort{}, "10.0.0.2:8080"
		}
		if b[16]%4 == 0 {
			e.Call.Errno = uint32(b[17])
		}
	case 1:
		e.Signal = &Signal{Lane: "l", Name: "n", Sent: b[7]%2 == 0}
	case 2:
		e.Mark = &Mark{Kind: MarkKind(b[7]%7 + 1), Detail: "packets"}
	case 3:
		e.Loss = &Loss{Source: []Source{Syscalls, Packets, Tracepoints}[b[7]%3], Count: uint64(b[8]), Since: e.At - clock.Local(b[9])*1000}
	case 4:
		e.Step = &ClockStep{
			Change: ClockChange(b[9] % 5), Step: int64(int8(b[7])) * 1000, Since: e.At - clock.Local(b[8])*1000,
			Rate: int64(int8(b[10])) * 1000, RateBefore: int64(int8(b[11])) * 1000,
		}
	case 5:
		e.Socket = &SocketState{Local: address(b[7]), Peer: address(b[8]), State: int(b[9] % 14), Final: b[10]%2 == 0}
	case 6:
		if b[11] >= 128 {
			e.Probe = &Probe{
				Peer: []string{"A", "B", "C", "stranger"}[b[7]%4], Direction: Direction(b[8]%2 + 1), Exchange: uint64(b[9] % 8),
				Reply: b[10]%2 == 0, Path: ProbePath(b[12]%2 + 1), Err: int64(b[13]),
			}
			break
		}
		e.Queue = &Queue{Address: address(b[7]), Length: int(b[8]), Limit: int(b[9]), Requests: int(b[10])}
	case 7:
		e.Process = &Process{Lane: "c", PID: int(b[7]), Gone: b[8]%2 == 0, Signal: int(b[9] % 32)}
	case 14:
		e.Trace = &Trace{
			Kind: TraceKind(b[7]%10 + 1), Cookie: uint64(b[8]%4) + 1, Local: address(b[9]), Peer: address(b[10]),
			OldState: int(b[11]%13) + 1, State: int(b[12]%13) + 1, Reason: "NO_SOCKET", Flags: Flags(b[13] & 31),
			Seq: uint32(b[14] % 32), Ack: uint32(b[15] % 32), Protocol: []int{0, ProtocolTCP, ProtocolUDP}[b[16]%3],
		}
		if e.Trace.Kind != TraceState && b[17]%2 == 0 {
			e.Trace.Cookie = 0
		}
		if b[18]%3 == 0 {
			e.Trace.Local = netip.AddrPortFrom(e.Trace.Local.Addr(), 0)
		}
	case 8:
		e.Packet = &Packet{
			Direction: Direction(b[7]%2 + 1), Source: address(b[8]), Destination: address(b[9]), PayloadLength: int(b[13] % 16),
			Protocol: []int{ProtocolUDP, ProtocolICMP, ProtocolICMPv6}[b[10]%3], ICMPType: int(b[11] % 16), ICMPCode: int(b[12] % 16),
			IPID: uint32(b[14] % 4), Err: int64(b[15]), ARP: int(b[16] % 3),
		}
		if b[17]%2 == 0 {
			e.Packet.Payload = quoteOf(&Packet{Source: address(b[18]), Destination: address(b[19]), Seq: uint32(b[20] % 32)})
		}
	default:
		e.Packet = &Packet{
			Direction: Direction(b[7]%2 + 1), Source: address(b[8]), Destination: address(b[9]),
			Flags: Flags(b[10] & 31), Seq: uint32(b[11] % 32), Ack: uint32(b[12] % 32), PayloadLength: int(b[13] % 16),
			IPID: uint32(b[14] % 4), Err: int64(b[15]), Options: b[16 : 16+b[17]%8],
		}
	}
	return e
}

// seedOf writes what eventOf reads of a run's packets, roughly.
func seedOf(run *Run) []byte {
	var data []byte
	for _, e := range run.Events {
		b := make([]byte, eventSize)
		b[0], b[1] = byte(e.Host), byte(e.Repetition)
		binary.LittleEndian.PutUint32(b[2:], uint32(e.At))
		b[6] = 2
		if p := e.Packet; p != nil {
			b[6], b[7] = 13, byte(p.Direction-1)
			b[8], b[9] = p.Source.Addr().As4()[3]-1, p.Destination.Addr().As4()[3]-1
			b[10], b[11], b[12], b[13], b[14] = byte(p.Flags), byte(p.Seq), byte(p.Ack), byte(p.PayloadLength), byte(p.IPID)
		}
		if p := e.Probe; p != nil {
			b[6], b[7], b[8], b[9], b[11], b[12] = 6, p.Peer[0]-'A', byte(p.Direction-1), byte(p.Exchange), 128, byte(p.Path-1)
			if !p.Reply {
				b[10] = 1
			}
		}
		if tr := e.Trace; tr != nil {
			b[6], b[7], b[8], b[11], b[12] = 14, byte(tr.Kind-1), byte(tr.Cookie-1), byte(tr.OldState-1), byte(tr.State-1)
			b[9], b[10], b[17], b[18] = 0, 1, 1, 1
		}
		data = append(data, b...)
	}
	return data
}
