package clock

import "testing"

// talkOf are exchanges between two hosts, every 50 ms for five seconds. Where boxed, the
// clock that takes the stamps at the peer is so far ahead of the peer's.
func talkOf(clocks []truth, method Methods, asker, peer int, boxed Local) []Message {
	var messages []Message
	pair := []truth{clocks[asker], clocks[peer]}
	for i := range 100 {
		for _, m := range exchange(pair, method, float64(i)*5e7+float64(method)*1e7, 1_000, 1_200) {
			if m.From == 0 {
				m.Received += boxed
			} else {
				m.Sent += boxed
			}
			m.From, m.To = []int{asker, peer}[m.From], []int{asker, peer}[m.To]
			messages = append(messages, m)
		}
	}
	return messages
}

func fourClocks() []truth {
	return []truth{
		{period: 1}, {offset: 7e9, rate: 30e-6, period: 1}, {offset: -3e9, rate: -40e-6, period: 1}, {offset: 1e9, rate: 10e-6, period: 1},
	}
}

// half takes the messages of one direction only.
func half(messages []Message, from int) []Message {
	var some []Message
	for _, m := range messages {
		if m.From == from {
			some = append(some, m)
		}
	}
	return some
}

// Whatever is wrong, and whoever is the reference: no answer is turned round, none that knows
// anything excludes the truth.
func TestDisputesHoldTheTruth(t *testing.T) {
	clocks := fourClocks()
	probes := func(a, b int, boxed Local) []Message { return talkOf(clocks, Probes, a, b, boxed) }
	segments := func(a, b int, boxed Local) []Message { return talkOf(clocks, Segments, a, b, boxed) }
	lie := func(messages []Message, by Local) []Message {
		messages[101].Received += by
		return messages
	}
	tests := []struct {
		name     string
		messages [][]Message
		disagree int
		broken   [][2]int
		known    [][2]int
		unknown  [][2]int
		narrowTo [][2]int
	}{
		{name: "a third host behind a disputed one by probes alone",
			messages: [][]Message{probes(0, 1, 7e6), segments(0, 1, 0), probes(1, 2, 0)}, disagree: 1,
			known: [][2]int{{0, 1}, {0, 2}, {1, 2}}},
		{name: "a box before all probes of a host",
			messages: [][]Message{probes(1, 0, 7e6), probes(2, 0, 7e6), probes(1, 2, 0), segments(0, 1, 0)}, disagree: 1,
			known: [][2]int{{0, 1}, {0, 2}, {1, 2}}},
		{name: "each method on one side only",
			messages: [][]Message{half(probes(0, 1, -7e6), 0), half(segments(0, 1, 0), 1), probes(1, 2, 0)}, disagree: 1,
			known: [][2]int{{1, 2}}, unknown: [][2]int{{0, 1}, {0, 2}}},
		{name: "a box on one way among four hosts",
			messages: [][]Message{probes(0, 1, 7e6), segments(0, 1, 0), probes(0, 2, 0), probes(1, 2, 0), probes(0, 3, 0), probes(1, 3, 0), probes(2, 3, 0)},
			disagree: 1, known: [][2]int{{0, 1}, {0, 2}, {1, 3}}, narrowTo: [][2]int{{2, 3}}},
		{name: "boxes on two ways, of one method each",
			messages: [][]Message{probes(0, 1, 7e6), segments(0, 1, 0), probes(1, 2, 0), segments(1, 2, 7e6)}, disagree: 2,
			known: [][2]int{{0, 1}, {0, 2}, {1, 2}}},
		{name: "only a circle shows it",
			messages: [][]Message{probes(0, 1, 7e6), probes(1, 2, 0), segments(0, 2, 0)}, disagree: 1,
			known: [][2]int{{0, 1}, {0, 2}, {1, 2}}},
		{name: "one method contradicts itself",
			messages: [][]Message{lie(probes(0, 1, 0), -20e6), probes(1, 2, 0), probes(2, 3, 0)}, broken: [][2]int{{0, 1}},
			unknown: [][2]int{{0, 1}, {0, 2}, {1, 2}, {0, 3}}, narrowTo: [][2]int{{2, 3}}},
		{name: "lies to three hosts accuse no others",
			messages: [][]Message{lie(probes(0, 1, 0), -20e6), lie(probes(0, 2, 0), -30e6), lie(probes(0, 3, 0), -40e6), probes(1, 2, 0), probes(2, 3, 0)},
			broken:   [][2]int{{0, 1}, {0, 2}, {0, 3}}},
		{name: "a circle of one method",
			messages: [][]Message{probes(0, 1, 7e6), probes(1, 2, 0), probes(0, 2, 0)}, broken: [][2]int{{0, 1}, {0, 2}, {1, 2}},
			unknown: [][2]int{{0, 1}, {0, 2}, {1, 2}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var messages []Message
			for _, some := range tt.messages {
				messages = append(messages, some...)
			}
			m := NewModel(Config{Hosts: len(clocks)}, messages)
			if got := m.Disagreements(); len(got) != tt.disagree {
				t.Errorf("disagreements %+v, want %d", got, tt.disagree)
			}
			var broken [][2]int
			for _, c := range m.Inconsistent() {
				broken = append(broken, [2]int{c.A, c.B})
			}
			if len(broken) != len(tt.broken) {
				t.Errorf("contradictions of %v, want %v", broken, tt.broken)
			}
			for i := range min(len(broken), len(tt.broken)) {
				if broken[i] != tt.broken[i] {
					t.Errorf("contradictions of %v, want %v", broken, tt.broken)
				}
			}
			for reference := range clocks {
				checkDispute(t, clocks, m.WithReference(reference))
			}
			mid := func(pair [2]int) (int64, bool) {
				b := m.WithReference(pair[0]).Bound(pair[1], clocks[pair[1]].read(2.5e9))
				return b.Err(), b.Known()
			}
			for _, pair := range tt.known {
				if _, ok := mid(pair); !ok {
					t.Errorf("nothing is known of %v", pair)
				}
			}
			for _, pair := range tt.unknown {
				if err, ok := mid(pair); ok {
					t.Errorf("%v are known to ±%d ns", pair, err)
				}
			}
			for _, pair := range tt.narrowTo {
				if err, ok := mid(pair); !ok || err > 10_000 {
					t.Errorf("%v are known to ±%d ns only (%v), which nothing speaks against", pair, err, ok)
				}
			}
		})
	}
}

func checkDispute(t *testing.T, clocks []truth, m *Model) {
	t.Helper()
	reference := clocks[m.Reference()]
	for i := range 20 {
		when := float64(i) * 2.5e8
		for a := range clocks {
			at := clocks[a].read(when)
			b := m.Bound(a, at)
			if offset := int64(at - reference.read(when)); b.Lo > b.Hi || offset < b.Lo-grain || offset > b.Hi+grain {
				t.Fatalf("reference %d: offset of %d is %d, bound %+v", m.Reference(), a, offset, b)
			}
			if s := m.Stamp(a, at, 0); s.Err < 0 || s.Err < Unbounded && max(int64(s.At-Lab(reference.read(when))), -int64(s.At-Lab(reference.read(when)))) > s.Err+grain {
				t.Fatalf("reference %d: stamp of %d is %+v, truth %d", m.Reference(), a, s, reference.read(when))
			}
			for b := range clocks {
				if a == b {
					continue
				}
				later := clocks[b].read(when + 3e6)
				apart := int64(reference.read(when+3e6) - reference.read(when))
				if lo, hi := m.Between(a, at, b, later); lo > hi || apart < lo-grain || apart > hi+grain {
					t.Fatalf("reference %d: moments of %d and %d are %d apart, between %d and %d", m.Reference(), a, b, apart, lo, hi)
				}
			}
		}
	}
}

// A clock that goes wrong beyond the bound, unreported, leaves nothing to be said of it.
func TestNothingIsSaidOfARunawayClock(t *testing.T) {
	clocks := fourClocks()
	clocks[1].rate = 1000e-6
	m := NewModel(Config{Hosts: 4}, append(talkOf(clocks, Probes, 0, 1, 0), talkOf(clocks, Probes, 0, 2, 0)...))
	if len(m.Inconsistent()) != 1 {
		t.Fatalf("contradictions %+v, want one", m.Inconsistent())
	}
	for reference := range clocks {
		checkDispute(t, clocks, m.WithReference(reference))
	}
	if b := m.Bound(1, clocks[1].read(1e9)); b.Known() {
		t.Errorf("bound %+v", b)
	}
}
