package timeline

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTracesThatTell: what a kernel said has a row where nothing else shows it, and none
// where a packet, a state or a call does.
func TestTracesThatTell(t *testing.T) {
	const opened = `
A client connect c 0..60 = 0
B server accept s->a -20..95 = 8
A>B SYN 5..25
B>A SYN+ACK 30..50
A>B ACK 55..75
`
	for _, test := range []struct {
		name, events string
		want         []string
	}{
		{"a retransmission that no tap saw", "A>B ACK 100..120 data 5\nA trace 1 300 retransmit A>B ACK in ESTABLISHED\n", []string{"sent again in ESTABLISHED, no tap saw it leave"}},
		{"one that its tap saw", "A>B ACK 100..120 data 5\nA>B ACK 300..320 again\nA trace 1 301 retransmit A>B ACK in ESTABLISHED\n", nil},
		{"a SYN+ACK that no tap saw", "B trace - 300 retransmit-synack\n", []string{"SYN+ACK sent again, no tap saw it leave"}},
		{"a reset that counted", "B>A RST 200..220\nA trace 1 222 reset-received in ESTABLISHED\n", []string{"RST accepted"}},
		{
			"a reset that closed the socket, as the kernel traced",
			"A trace 1 53 SYN_SENT>ESTABLISHED\nB>A RST 200..220\nA trace 1 222 reset-received in ESTABLISHED\nA trace 1 223 ESTABLISHED>CLOSED\n", nil,
		},
		{"a reset that no tap saw", "B trace 2 200 reset-sent NO_SOCKET\n", []string{"RST sent, no tap saw it leave: NO_SOCKET"}},
		{"an error that waits for a call", "A trace 1 3 CLOSED>SYN_SENT noport\nA trace 1 53 SYN_SENT>ESTABLISHED\nA trace 1 300 error errno 104\nA client recv c 400..410 = -1 errno 104\n", []string{"socket error ECONNRESET"}},
		{"an error that ends a call", "A trace 1 3 CLOSED>SYN_SENT noport\nA trace 1 53 SYN_SENT>ESTABLISHED\nA client recv c 100..310 = -1 errno 104\nA trace 1 300 error errno 104\n", nil},
		{"an error that is none", "A trace 1 300 error errno 0\n", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			tl, err := Build(newScript(t, opened+test.events).run, 1)
			if err != nil {
				t.Fatal(err)
			}
			l := tl.Ladder(LadderOptions{})
			checkLadder(t, tl, l)
			var got []string
			for i := range l.Rows {
				if l.Rows[i].Kind == RowTrace {
					got = append(got, l.Rows[i].Text)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// segments makes a connection of packets, one a line: "> seq 1 ack 1 len 0 win 100", with
// its flags in front of the numbers.
func segments(t *testing.T, lines string) (*Timeline, *Connection) {
	t.Helper()
	tl := &Timeline{Connections: make([]Connection, 1)}
	c := &tl.Connections[0]
	for _, line := range strings.Split(strings.TrimSpace(lines), "\n") {
		var way, flags string
		p := &Packet{}
		if _, err := fmt.Sscanf(strings.TrimSpace(line), "%s %s seq %d ack %d len %d win %d", &way, &flags, &p.Seq, &p.Ack, &p.PayloadLength, &p.Window); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for _, name := range strings.Split(flags, "+") {
			p.Flags |= sceneFlags[name]
		}
		c.Segments = append(c.Segments, Segment{FromClient: way == ">", Departure: len(tl.Moments), Arrival: -1})
		tl.Moments = append(tl.Moments, Moment{Event: &Event{Packet: p}})
	}
	return tl, c
}

// TestDuplicateACKs: as RFC 5681, section 2, has them.
func TestDuplicateACKs(t *testing.T) {
	for _, test := range []struct {
		name, packets string
		want          []int
	}{
		{"three say that something is missing", `
			> ACK seq 1 ack 1 len 10 win 100
			< ACK seq 1 ack 11 len 0 win 100
			> ACK seq 11 ack 1 len 10 win 100
			> ACK seq 21 ack 1 len 10 win 100
			< ACK seq 1 ack 11 len 0 win 100
			> ACK seq 31 ack 1 len 10 win 100
			< ACK seq 1 ack 11 len 0 win 100
			< ACK seq 1 ack 11 len 0 win 100
			> ACK seq 11 ack 1 len 10 win 100
			< ACK seq 1 ack 41 len 0 win 100`, []int{0, 0, 0, 0, 1, 0, 2, 3, 0, 0}},
		{"nothing is on the way: an answer to a keepalive", `
			> ACK seq 1 ack 1 len 10 win 100
			< ACK seq 1 ack 11 len 0 win 100
			> ACK seq 10 ack 1 len 0 win 100
			< ACK seq 1 ack 11 len 0 win 100`, []int{0, 0, 0, 0}},
		{"another window: an update", `
			> ACK seq 1 ack 1 len 10 win 100
			< ACK seq 1 ack 11 len 0 win 100
			> ACK seq 11 ack 1 len 10 win 100
			< ACK seq 1 ack 11 len 0 win 200`, []int{0, 0, 0, 0}},
		{"it carries data, or a FIN", `
			> ACK seq 1 ack 1 len 10 win 100
			< ACK seq 1 ack 11 len 0 win 100
			> ACK seq 11 ack 1 len 10 win 100
			< ACK seq 1 ack 11 len 5 win 100
			< FIN+ACK seq 6 ack 11 len 0 win 100`, []int{0, 0, 0, 0, 0}},
		{"numbers that wrap", `
			> ACK seq 4294967290 ack 1 len 10 win 100
			< ACK seq 1 ack 4 len 0 win 100
			> ACK seq 4 ack 1 len 10 win 100
			< ACK seq 1 ack 4 len 0 win 100`, []int{0, 0, 0, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			tl, c := segments(t, test.packets)
			if got := tl.duplicateACKs(c); !slices.Equal(got, test.want) {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func TestSACKWord(t *testing.T) {
	of := &End{ISN: 1000, HasISN: true}
	for _, test := range []struct {
		options []byte
		want    string
	}{
		{nil, ""},
		{[]byte{1, 1, 5, 10, 0, 0, 4, 0, 0, 0, 4, 8}, "S24–32"},
		{[]byte{5, 18, 0, 0, 4, 0, 0, 0, 4, 8, 0, 0, 4, 16, 0, 0, 4, 24}, "S24–32,40–48"},
		{[]byte{5, 18, 0, 0, 3, 240, 0, 0, 3, 242, 0, 0, 4, 16, 0, 0, 4, 24}, "DS8–10,40–48"},
		{[]byte{5, 9, 0, 0, 4, 0, 0, 0, 4}, ""},
		{[]byte{5, 10, 0}, ""},
		{[]byte{0, 5, 10, 0, 0, 4, 0, 0, 0, 4, 8}, ""},
	} {
		if got := sackWord(test.options, 1010, of); got != test.want {
			t.Errorf("%v: %q, want %q", test.options, got, test.want)
		}
	}
}

// FuzzSACKWord: options come from the wire; whatever they are, reading them ends.
func FuzzSACKWord(f *testing.F) {
	f.Add([]byte{1, 1, 5, 10, 0, 0, 4, 0, 0, 0, 4, 8})
	f.Add([]byte{5, 0})
	f.Fuzz(func(t *testing.T, options []byte) {
		if word := sackWord(options, 0, &End{}); len(word) > 2+8*len(options) {
			t.Errorf("%q from %d bytes", word, len(options))
		}
	})
}

// TestHostsBetween: hosts that packets pass stand between the ends, in the order in which
// the packets pass them, whoever of the ends the experiment names first.
func TestHostsBetween(t *testing.T) {
	for _, test := range []struct {
		client, server int
		hops           map[int]int
		want           string
	}{
		{0, 1, nil, "ABCD"},
		{0, 1, map[int]int{2: 1}, "ACBD"},
		{0, 1, map[int]int{2: 1, 3: 2}, "ACDB"},
		{0, 1, map[int]int{2: 2, 3: 1}, "ADCB"},
		{1, 0, map[int]int{2: 1, 3: 2}, "ADCB"},
		{0, 3, map[int]int{1: 2, 2: 1}, "ACBD"},
		{2, 3, map[int]int{0: 1}, "BCAD"},
	} {
		tl := &Timeline{Connections: make([]Connection, 1)}
		for h := range 4 {
			tl.Hosts = append(tl.Hosts, Host{Name: string(rune('A' + h)), Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(h + 1)})})
		}
		c := &tl.Connections[0]
		c.Client = End{Host: test.client, Address: netip.AddrPortFrom(tl.Hosts[test.client].Address, 40312)}
		c.Server = End{Host: test.server, Address: netip.AddrPortFrom(tl.Hosts[test.server].Address, 8080)}
		for h, hops := range test.hops {
			there := &Packet{Flags: SYN, Source: c.Client.Address, Destination: c.Server.Address, TTL: 64 - hops}
			back := &Packet{Flags: SYN | ACK, Source: c.Server.Address, Destination: c.Client.Address, TTL: 60 + hops}
			for _, p := range []*Packet{there, back} {
				tl.Moments = append(tl.Moments, Moment{Event: &Event{Host: h, Packet: p}, Segment: -1})
			}
		}
		got := ""
		for _, lane := range tl.Ladder(LadderOptions{}).Lanes {
			got += lane.Name
		}
		if got != test.want {
			t.Errorf("%d to %d past %v: %s, want %s", test.client, test.server, test.hops, got, test.want)
		}
	}
}
