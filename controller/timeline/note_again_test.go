package timeline

import (
	"slices"
	"strings"
	"testing"
)

// What is said of a packet that was sent again is said of the cause that it has: a time-out is
// named only where the time is one.
func TestNotesOfWhatIsSentAgain(t *testing.T) {
	for _, test := range []struct {
		name, events, rule, says, not string
		sources                       []string
	}{
		{
			// A RST of the second SYN's address pair, which the connection before has.
			"a challenge ACK is reset", `open
A client close c 200..210 = 0
A client connect d 1000..13000 = 0
B server accept s->b 900..13100 = 9
A>B SYN 1005..1025 seq 900000
B>A ACK 1040..1050 seq 1 ack 1
A>B RST 1060..1080 seq 1
A>B SYN 12500..12520 seq 900000 again
B>A SYN+ACK 12530..12550 seq 960000 ack 900001
A>B ACK 12555..12575 seq 900001 ack 960001
`, "syn-again-after-reset", "an ACK of something else had come to A, which answered it with a RST", "in time",
			[]string{"RFC 9293 3.5.1", "RFC 9293 3.10.7.3"},
		},
		{
			"a SYN again at once", `A client connect c 0..12000 = 0
A>B SYN 5..25
A>B SYN 11500..11520 again
B>A SYN+ACK 11530..11550
A>B ACK 11555..11575
`, "", "The SYN was sent twice, 11.49 ms apart: the first came to B.", "in time", nil,
		},
		{
			"a SYN after its time-out", `A client connect c 0..1000060 = 0
A>B SYN 5..25
A>B SYN 1000005..1000025 again
B>A SYN+ACK 1000030..1000050
A>B ACK 1000055..1000075
`, "syn-timer", "the first came to B, and no acknowledgment came back in time.", "", []string{"RFC 6298 5", "tcp(7) tcp_syn_retries"},
		},
		{
			"a tail loss probe", `open
A client send c 100..105 = 5
A>B PSH+ACK 103..123 data 5
A>B PSH+ACK 6103..6123 data 5 again
B>A ACK 6126..6146
`, "tail-loss-probe", "the first came to B, and the second was a tail loss probe", "in time", []string{"RFC 8985 7"},
		},
		{
			"a time-out of data", `open
A client send c 100..105 = 5
A>B PSH+ACK 103..123 data 5
A>B PSH+ACK 210103..210123 data 5 again
B>A ACK 210126..210146
`, "retransmission-timer", "and no acknowledgment came back in time.", "probe", []string{"RFC 6298 5"},
		},
		{
			"a FIN as a probe", `open
A client close c 200..210 = 0
A>B FIN+ACK 205..225
A>B FIN+ACK 6205..6225 again
B>A ACK 6228..6248
`, "tail-loss-probe", "the second was a tail loss probe", "in time", []string{"RFC 8985 7"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			tl, err := Build(story(t, test.events), 1)
			if err != nil {
				t.Fatal(err)
			}
			c := tl.Causes()
			rule, packets := "", 0
			for _, p := range c.Packets {
				if m := tl.Moments[p.First()].Event.Packet; p.Copy == 0 || sequenceLength(m) == 0 {
					continue
				}
				packets++
				if p.Rule != nil {
					rule = p.Rule.Name
				}
			}
			if packets != 1 || rule != test.rule {
				t.Errorf("%d packets were sent again, the last by %q; want 1 by %q", packets, rule, test.rule)
			}
			var said []Note
			for _, n := range c.Notes() {
				if strings.HasSuffix(string(n.Kind), "-repeated") {
					said = append(said, n)
				}
			}
			if len(said) != 1 {
				t.Fatalf("the notes are %+v", said)
			}
			if n := said[0]; !strings.Contains(n.Text, test.says) || test.not != "" && strings.Contains(n.Text, test.not) || !slices.Equal(n.Sources, test.sources) {
				t.Errorf("%q by %q", n.Text, n.Sources)
			}
		})
	}
}
