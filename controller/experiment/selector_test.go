package experiment

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// selected is a selector as one of TCP, or of another protocol, without more.
func selected(protocol int, change func(*PacketSelector)) PacketSelector {
	s := PacketSelector{Protocol: protocol, ICMPType: -1, ICMPCode: -1, Length: -1, Window: -1}
	change(&s)
	return s
}

func TestSelectors(t *testing.T) {
	yes, no := true, false
	type selector = PacketSelector
	tests := map[string]PacketSelector{
		"SYN":                  selected(6, func(s *selector) { s.Flags = syn }),
		"A>B SYN+ACK":          selected(6, func(s *selector) { s.From, s.To, s.Flags = "A", "B", syn|ack }),
		"ACK":                  selected(6, func(s *selector) { s.Flags = ack }),
		"third ACK":            selected(6, func(s *selector) { s.Flags, s.Third = ack, true }),
		"FIN":                  selected(6, func(s *selector) { s.Flags, s.Contains = fin, true }),
		"FIN+ACK":              selected(6, func(s *selector) { s.Flags = fin | ack }),
		"ACK+FIN B>A":          selected(6, func(s *selector) { s.From, s.To, s.Flags = "B", "A", fin|ack }),
		"any FIN+ACK":          selected(6, func(s *selector) { s.Flags, s.Contains = fin|ack, true }),
		"B>A RST":              selected(6, func(s *selector) { s.From, s.To, s.Flags, s.Contains = "B", "A", rst, true }),
		"any RST":              selected(6, func(s *selector) { s.Flags, s.Contains = rst, true }),
		"any packet B>A":       selected(6, func(s *selector) { s.From, s.To, s.AnyFlags = "B", "A", true }),
		"data":                 selected(6, func(s *selector) { s.AnyFlags, s.Data = true, &yes }),
		"A>B ACK no data":      selected(6, func(s *selector) { s.From, s.To, s.Flags, s.Data = "A", "B", ack, &no }),
		"A>B packet no data":   selected(6, func(s *selector) { s.From, s.To, s.AnyFlags, s.Data = "A", "B", true, &no }),
		"SYN+ECE+CWR":          selected(6, func(s *selector) { s.Flags = syn | ece | cwr }),
		"PSH":                  selected(6, func(s *selector) { s.Flags, s.Contains = psh, true }),
		"SYN without ECE":      selected(6, func(s *selector) { s.Flags, s.Without = syn, ece }),
		"retransmitted SYN":    selected(6, func(s *selector) { s.Flags, s.Copy = syn, true }),
		"A>B packet length 5":  selected(6, func(s *selector) { s.From, s.To, s.AnyFlags, s.Length = "A", "B", true, 5 }),
		"ACK window 0":         selected(6, func(s *selector) { s.Flags, s.Window = ack, 0 }),
		"SYN with MSS=1460":    selected(6, func(s *selector) { s.Flags, s.Options = syn, []TCPOption{{"MSS", 1460}} }),
		"SYN with WS=7+TS":     selected(6, func(s *selector) { s.Flags, s.Options = syn, []TCPOption{{"WS", 7}, {"TS", -1}} }),
		"SYN with WS, SACK":    selected(6, func(s *selector) { s.Flags, s.Options = syn, []TCPOption{{"WS", -1}, {"SACK", -1}} }),
		"SYN without TS+MPTCP": selected(6, func(s *selector) { s.Flags, s.NoOptions = syn, []string{"TS", "MPTCP"} }),
		"SYN with TFO data":    selected(6, func(s *selector) { s.Flags, s.Data, s.Options = syn, &yes, []TCPOption{{"TFO", -1}} }),
		"A>B UDP length 5":     selected(17, func(s *selector) { s.From, s.To, s.AnyFlags, s.Length = "A", "B", true, 5 }),
		"ICMP":                 selected(1, func(s *selector) { s.AnyFlags = true }),
		"B>A ICMP 3/3":         selected(1, func(s *selector) { s.From, s.To, s.AnyFlags, s.ICMPType, s.ICMPCode = "B", "A", true, 3, 3 }),
		"ICMP 8":               selected(1, func(s *selector) { s.AnyFlags, s.ICMPType = true, 8 }),
		"ICMPv6 1/4":           selected(58, func(s *selector) { s.AnyFlags, s.ICMPType, s.ICMPCode = true, 1, 4 }),
		"A>B ARP request":      selected(0, func(s *selector) { s.From, s.To, s.AnyFlags, s.ARP = "A", "B", true, 1 }),
		"ARP reply":            selected(0, func(s *selector) { s.AnyFlags, s.ARP = true, 2 }),
	}
	for text, want := range tests {
		t.Run(text, func(t *testing.T) {
			exp := mustParse(t, "experiment: x\nhosts: { A: , B: }\nobserve: [packets, icmp, arp]\nlanes: { l: { host: A, do: [c = socket(tcp), connect(c, B:80)] } }\nexpect:\n  - never: "+text+"\n")
			want.Text = text
			if diff := cmp.Diff(want, exp.Expect[0].Never.Packet); diff != "" {
				t.Errorf("selector (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSelectorFaults(t *testing.T) {
	tests := map[string]string{
		"SYN SYN":                `"SYN" comes after the flags; join flags by +: SYN+ACK`,
		"SYN+SYN":                "the flag SYN is named twice",
		"A>B B>A":                `"direction" stands there twice`,
		"third SYN":              "only the ACK that completes the handshake is the third; write third ACK",
		"no SYN":                 "`no` is of data; write `no data`",
		"length":                 "the number is missing; write `length 100`",
		"window 65536":           `window is a number from 0 to 65535, found "65536"`,
		"SYN without SYN":        `"SYN without SYN" asks for a flag and for its absence`,
		"SYN with TS without TS": `"SYN with TS without TS" asks for an option and for its absence`,
		"SYN with TS=5":          "the option TS has no value to compare",
		"SYN with MMS":           `unknown TCP option "MMS"; did you mean "MSS"? known options: MSS, WS, SACK, TS, TFO, MD5, MPTCP`,
		"SYN with":               "the name of an option is missing; write `with TS`; known options: MSS, WS, SACK, TS, TFO, MD5, MPTCP",
		"ICMP SYN":               `flags, options, the window and retransmissions are those of TCP, and "ICMP SYN" is another protocol`,
		"ICMP 256":               `the type of ICMP is a number from 0 to 255, found "256"`,
		"ARP":                    "ARP of what kind?; write ARP request or ARP reply",
		"ARP reqest":             `unknown kind of ARP "reqest"; did you mean "request"? known kinds: request, reply`,
		"no data length 4":       "the length 4 contradicts whether there is data",
	}
	for text, want := range tests {
		t.Run(text, func(t *testing.T) {
			_, err := Parse([]byte("experiment: x\nhosts: { A: , B: }\nobserve: [packets, icmp, arp]\nlanes: { l: { host: A, do: [c = socket(tcp), connect(c, B:80)] } }\nexpect:\n  - never: "+text+"\n"), Options{})
			faults, ok := err.(Errors)
			if !ok || len(faults) != 1 {
				t.Fatalf("got %v", err)
			}
			got := faults[0].Message
			if faults[0].Hint != "" {
				got += "; " + faults[0].Hint
			}
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}
