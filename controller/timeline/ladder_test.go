package timeline

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLadderRows: every shown moment has exactly one row, arrows and brackets end at
// the rows of their own moments, and brackets that are open at once stand apart.
func TestLadderRows(t *testing.T) {
	tl := parseScene(t, handshake)
	l := tl.Ladder(LadderOptions{})
	seen := make(map[int]int)
	for i, r := range l.Rows {
		if r.Kind == RowMoment {
			seen[r.Moment]++
		}
		if r.Kind == RowLabel && l.Arrows[r.Arrow].Label != i {
			t.Errorf("row %d is the label of arrow %d, which has it at %d", i, r.Arrow, l.Arrows[r.Arrow].Label)
		}
	}
	for m := range tl.Moments {
		want := 1
		if tl.Moments[m].Event.Mark != nil {
			want = 0
		}
		if seen[m] != want {
			t.Errorf("moment %d has %d rows, want %d", m, seen[m], want)
		}
	}
	for i, a := range l.Arrows {
		s := tl.Connections[a.Connection].Segments[a.Segment]
		if l.Rows[a.Departure].Moment != s.Departure || l.Rows[a.Arrival].Moment != s.Arrival {
			t.Errorf("arrow %d from row %d to row %d is not its segment's", i, a.Departure, a.Arrival)
		}
	}
	checkBrackets(t, l)
}

func checkBrackets(t *testing.T, l *Ladder) {
	t.Helper()
	for i, a := range l.Brackets {
		if a.Enter < 0 || a.Return < a.Enter || a.Column >= l.Lanes[a.Lane].Depth {
			t.Errorf("bracket %s: rows %d to %d, column %d of %d", a.Call, a.Enter, a.Return, a.Column, l.Lanes[a.Lane].Depth)
		}
		for _, b := range l.Brackets[:i] {
			if a.Lane == b.Lane && a.Column == b.Column && a.Enter <= b.Return && b.Enter <= a.Return {
				t.Errorf("%s and %s stand in one column at once", a.Call, b.Call)
			}
		}
	}
}

func TestLadderOfOneConnection(t *testing.T) {
	tl := parseScene(t, handshake+"host C 10.0.0.3\nC>B SYN 0..1\nB>C RST+ACK 2..3")
	for connection, want := range map[int]int{0: 9, 1: 7, 2: 2} {
		l := tl.Ladder(connectionOnly(connection))
		if len(l.Arrows) != want {
			t.Errorf("connection %d has %d arrows, want %d", connection, len(l.Arrows), want)
		}
		for _, c := range l.Connections {
			if connection != 0 && c.Number != connection {
				t.Errorf("connection %d shows connection %d", connection, c.Number)
			}
		}
	}
}

func TestLadderHidesTheLab(t *testing.T) {
	tl := parseScene(t, handshake+"A client sleep(50ms) 41..89 = 0\nA client signal(go) 89.1..89.2 = 0")
	for _, b := range tl.Ladder(LadderOptions{HideLab: true}).Brackets {
		if b.Lab {
			t.Errorf("%s is shown", b.Call)
		}
	}
	lab := 0
	for _, b := range tl.Ladder(LadderOptions{}).Brackets {
		if b.Lab && b.Enter == b.Return {
			lab++
		}
	}
	if lab != 2 {
		t.Errorf("%d of the lab's own steps have a row of their own, want 2", lab)
	}
}

func TestPreparingCallsShareARow(t *testing.T) {
	tl := parseScene(t, `
host A 10.0.0.1
A server socket(AF_INET) 0..0.01 = 3 makes s
A server bind(s, 0.0.0.0:8080) 0.02..0.03 = 0
A server listen(s, 128) 0.04..0.05 = 0
A server accept(s) 0.06..5 = 7 makes a
A server close(a) 5.1..5.2 = EBADF fails expected ok, got EBADF
`)
	var got []string
	for _, b := range tl.Ladder(LadderOptions{}).Brackets {
		got = append(got, b.Call+" = "+b.Result)
	}
	want := []string{"socket, bind, listen = ", "accept s = fd 7", "close a = EBADF"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestBlockingCallKeepsItsBracket: a call is one row only if it was over at once;
// however much of nothing is folded while it is open, it is open above and below.
func TestBlockingCallKeepsItsBracket(t *testing.T) {
	tl := parseScene(t, `
host A 10.0.0.1
A server socket(AF_INET) 0..0.01 = 3 makes s
A server bind(s, 0.0.0.0:8080) 0.02..3 = 0
A server listen(s, 128) 3.1..3.2 = 0
A server recv(a, 10) 3.3..203.3 = timeout
A server recv(a, 10) 203.4..203.5 = timeout
A server close(a) 203.6..210 = 0
`)
	for _, m := range tl.Moments {
		if c := m.Event.Call; c != nil {
			c.ByLab = c.Name == "close"
		}
	}
	l := tl.Ladder(LadderOptions{})
	quiet := make([]bool, len(l.Brackets))
	var got []string
	for i, b := range l.Brackets {
		for _, r := range l.Rows[b.Enter:b.Return] {
			quiet[i] = quiet[i] || r.Kind == RowQuiet
		}
		got = append(got, fmt.Sprintf("%s: rows %d, quiet %v, tidy %v", b.Call, b.Return-b.Enter+1, quiet[i], b.Tidy))
	}
	want := []string{
		"socket: rows 1, quiet false, tidy false",
		"bind 0.0.0.0:8080: rows 2, quiet false, tidy false",
		"listen 128: rows 1, quiet false, tidy false",
		"recv 10: rows 3, quiet true, tidy false",
		"recv 10: rows 1, quiet false, tidy false",
		"close a: rows 2, quiet false, tidy true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	checkBrackets(t, l)
}

// TestSameKernel: a host whose clock is known to be the reference's says so, however
// its bound came about; what nobody named is not the same.
func TestSameKernel(t *testing.T) {
	tl := parseScene(t, handshake+"host C 10.0.0.3\nhost D 10.0.0.4")
	tl.Hosts[0].ClockID, tl.Hosts[1].ClockID, tl.Hosts[2].ClockID = "x", "x", "y"
	for id, want := range map[string][]bool{"x": {false, true, false, false}, "": {false, false, false, false}} {
		tl.Hosts[0].ClockID = id
		var got []bool
		for _, lane := range tl.Ladder(LadderOptions{}).Lanes {
			got = append(got, lane.SameKernel)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("reference reads clock %q: %s", id, diff)
		}
	}
}

func TestTimeColumn(t *testing.T) {
	for _, test := range []struct {
		ladder      Ladder
		row         Row
		at, wantErr string
	}{
		{Ladder{Unit: Milliseconds, Decimals: 3}, Row{At: 20_050_400, Err: 38_000, ShowErr: true}, "20.050", "±.038"},
		{Ladder{Unit: Milliseconds, Decimals: 3}, Row{At: -1_500, Err: 1, ShowErr: true}, "-0.002", "±.001"},
		{Ladder{Unit: Milliseconds, Decimals: 3}, Row{At: 0, Err: 38_000}, "0.000", ""},
		{Ladder{Unit: Milliseconds, Decimals: 3}, Row{At: 1, Err: 2_000_001, ShowErr: true}, "0.000", "±2.001"},
		{Ladder{Unit: Microseconds, Decimals: 1}, Row{At: 16_149}, "16.1", ""},
		{Ladder{Unit: Seconds, Decimals: 3}, Row{At: 127_000_600_000}, "127.001", ""},
	} {
		if at, err := test.ladder.Time(&test.row); at != test.at || err != test.wantErr {
			t.Errorf("%d ±%d ns in %s: %q %q, want %q %q", test.row.At, test.row.Err, test.ladder.Unit, at, err, test.at, test.wantErr)
		}
	}
}

func TestSpan(t *testing.T) {
	for ns, want := range map[int64]string{
		math.MinInt64: "−9223372036.855 s", 0: "0 ns", 380: "380 ns", 999: "999 ns", 1_000: "1 µs", 3_140: "3.1 µs", 9_960: "10 µs", 46_400: "46 µs",
		999_400: "999 µs", 999_600: "1 ms", 40_140_000: "40.14 ms", 999_996_000: "1 s", 1_003_000_000: "1.003 s", -2_500: "−2.5 µs",
	} {
		if got := Span(ns); got != want {
			t.Errorf("%d ns: %q, want %q", ns, got, want)
		}
	}
}

func TestOptionWords(t *testing.T) {
	for _, test := range []struct {
		options []byte
		want    []string
	}{
		{nil, nil},
		{synOptions, []string{"mss1460", "sack", "ts", "ws7"}},
		{[]byte{1, 1, 0, 9, 9}, nil},
		{[]byte{34, 2, 30, 4, 0, 0}, []string{"tfo", "mptcp"}},
		{[]byte{2, 4, 5}, []string{"?"}},
		{[]byte{2, 1}, []string{"?"}},
		{[]byte{3}, []string{"?"}},
		{[]byte{253, 4, 1, 2, 4, 2}, []string{"sack"}},
	} {
		if diff := cmp.Diff(test.want, optionWords(test.options)); diff != "" {
			t.Errorf("%v: %s", test.options, diff)
		}
	}
}

// FuzzOptionWords: options come from the wire; whatever they are, reading them ends,
// and each option gives one word at most.
func FuzzOptionWords(f *testing.F) {
	f.Add(synOptions)
	f.Add([]byte{2, 0})
	f.Add([]byte{1, 1, 253, 255})
	f.Fuzz(func(t *testing.T, options []byte) {
		if words := optionWords(options); len(words) > len(options) {
			t.Errorf("%d words from %d bytes", len(words), len(options))
		}
	})
}

// A window of 0 stops the peer, so it is shown; a reset and a SYN have none to speak of.
func TestZeroWindow(t *testing.T) {
	for _, c := range []struct {
		flags  Flags
		window int
		want   bool
	}{{ACK, 0, true}, {ACK | FIN, 0, true}, {ACK, 1, false}, {RST | ACK, 0, false}, {RST, 0, false}, {SYN | ACK, 0, false}} {
		words := packetWords(&Packet{Flags: c.flags, Window: c.window}, &Connection{}, &Segment{})
		if got := slices.Contains(words, "win0"); got != c.want {
			t.Errorf("%v with window %d: %v", c.flags, c.window, words)
		}
	}
}

// connectionOnly shows one connection, all if it is 0.
func connectionOnly(connection int) LadderOptions {
	if connection == 0 {
		return LadderOptions{}
	}
	return LadderOptions{Connections: []int{connection}}
}

// TestLayersAreLeftOut: nothing of a layer that is left out is shown, and all of the others
// is as it was.
func TestLayersAreLeftOut(t *testing.T) {
	for seed := range uint64(20) {
		tl, err := Build(simulate(seed).run, 1)
		if err != nil {
			t.Fatal(err)
		}
		all := tl.Ladder(LadderOptions{})
		for layers := range 8 {
			opts := LadderOptions{HideCalls: layers&1 != 0, HidePackets: layers&2 != 0, HideStates: layers&4 != 0}
			l := tl.Ladder(opts)
			for _, layer := range []struct {
				name     string
				hidden   bool
				got, all int
			}{
				{"arrows", opts.HidePackets, len(l.Arrows), len(all.Arrows)},
				{"drops", opts.HidePackets, len(l.Drops), len(all.Drops)},
				{"states", opts.HideStates, len(l.States), len(all.States)},
				{"calls", opts.HideCalls, callsOf(l), callsOf(all)},
			} {
				want := layer.all
				if layer.hidden {
					want = 0
				}
				// Without a row of anything else a state has nothing to stand beside.
				if layer.got != want && !(layer.name == "states" && len(l.Rows) == 0) {
					t.Errorf("seed %d, %+v: %d %s, want %d", seed, opts, layer.got, layer.name, want)
				}
			}
		}
	}
}

// callsOf counts the calls of a ladder, however many share a row.
func callsOf(l *Ladder) int {
	n := 0
	for i := range l.Brackets {
		n += l.Brackets[i].Calls
	}
	return n
}
