package clock

import (
	"flag"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// grain allows for readings that are whole nanoseconds: each of the readings that
// an inequality is made of is cut by less than one.
const grain = 2

// cases is how many simulated labs the truth has to hold in, of each kind.
var cases = flag.Int("clock.cases", 50, "simulated labs, of each kind, in which the truth has to be inside the bounds")

func TestTruthIsInside(t *testing.T) {
	kinds := []struct {
		name string
		lab  func(seed uint64) *lab
	}{
		{"wild", func(seed uint64) *lab {
			l := newLab(seed)
			l.talk(l.random.IntN(50), int64(l.random.IntN(3))*40)
			return l
		}},
		{"wild and disturbed", func(seed uint64) *lab {
			l := newLab(seed)
			l.disturb()
			l.talk(l.random.IntN(100), int64(l.random.IntN(3))*40)
			return l
		}},
		{"quiet", func(seed uint64) *lab {
			l := newQuietLab(seed)
			l.converse(2+18*l.random.Float64(), int64(l.random.IntN(3))*40)
			return l
		}},
		{"quiet and disturbed", func(seed uint64) *lab {
			l := newQuietLab(seed)
			l.disturb()
			l.converse(2+18*l.random.Float64(), int64(l.random.IntN(3))*40)
			return l
		}},
	}
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			known, asked := 0, 0
			for seed := range uint64(*cases) {
				l := kind.lab(seed)
				m := l.model()
				if len(m.Inconsistent())+len(m.WanderBroken())+len(m.Disagreements()) > 0 {
					t.Fatalf("seed %d: honest clocks are called inconsistent %+v, unsteady %+v, their methods disagreeing %+v",
						seed, m.Inconsistent(), m.WanderBroken(), m.Disagreements())
				}
				for _, m := range []*Model{m, m.By(Probes), m.By(Segments)} {
					for range 8 {
						asked++
						if checkTruth(t, seed, l, m) {
							known++
						}
					}
				}
			}
			if known < asked/12 {
				t.Fatalf("only %d of %d bounds were known: the simulation proves little", known, asked)
			}
		})
	}
}

// checkTruth asks for two random moments and compares all answers with the truth.
func checkTruth(t *testing.T, seed uint64, l *lab, m *Model) (known bool) {
	t.Helper()
	a, b := l.random.IntN(len(l.clocks)), l.random.IntN(len(l.clocks))
	trueA, trueB := l.when(), l.when()
	ta, tb := l.clocks[a].read(trueA), l.clocks[b].read(trueB)
	refA, refB := l.clocks[0].read(trueA), l.clocks[0].read(trueB)

	bound := m.Bound(a, ta)
	if offset := int64(ta - refA); offset < bound.Lo-grain || offset > bound.Hi+grain {
		t.Fatalf("seed %d: offset of host %d is %d, bound %+v", seed, a, offset, bound)
	}
	stamp := m.Stamp(a, ta, 0)
	if off := int64(stamp.At) - int64(refA); stamp.Err < Unbounded && (off > stamp.Err+grain || -off > stamp.Err+grain) {
		t.Fatalf("seed %d: host %d is %d off on the lab's clock, stamp %+v", seed, a, off, stamp)
	}
	lo, hi := m.Between(a, ta, b, tb)
	apart := int64(refB - refA)
	slack := int64(grain)
	if a == b {
		// One clock measures in its own nanoseconds, while it runs.
		slack += m.facts.drift.over(apart)
		if len(l.clocks[a].stops)+len(l.clocks[0].stops) > 0 {
			return bound.Known()
		}
	}
	if apart < lo-slack || apart > hi+slack {
		t.Fatalf("seed %d: moments of %d and %d are %d apart, between %d and %d", seed, a, b, apart, lo, hi)
	}
	checkTighter(t, seed, m, stamp, m.Stamp(b, tb, 0), a == b, lo, hi)
	return bound.Known()
}

// checkTighter compares Between with what two stamps alone would give.
func checkTighter(t *testing.T, seed uint64, m *Model, a, b Stamp, same bool, lo, hi int64) {
	t.Helper()
	if same || a.Err >= Unbounded || b.Err >= Unbounded {
		return
	}
	d, err := int64(b.At-a.At), a.Err+b.Err
	if lo < d-err-grain || hi > d+err+grain {
		t.Fatalf("seed %d: between is [%d, %d], the stamps give %d±%d", seed, lo, hi, d, err)
	}
}

// An estimate never reorders two moments of one host, nor an arrival and its
// departure; not over suspends and steering either.
func TestEstimateKeepsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		l := newLab(seed)
		if rapid.Bool().Draw(t, "quiet") {
			l = newQuietLab(seed)
		}
		if rapid.Bool().Draw(t, "disturbed") {
			l.disturb()
		}
		if l.defaults {
			l.converse(5, 0)
		} else {
			l.talk(rapid.IntRange(0, 120).Draw(t, "messages"), 0)
		}
		m := l.model()
		for _, m := range []*Model{m, m.WithReference(1), m.By(Probes)} {
			checkArrivals(t, l, m)
			for host := range l.clocks {
				at := l.clocks[host].read(l.when())
				step := Local(rapid.SampledFrom([]int64{1, 2, 17, 1000, 1e6}).Draw(t, "step"))
				for range 20 {
					before, after := m.Stamp(host, at, 0), m.Stamp(host, at+step, 0)
					if before.Err < Unbounded && after.Err < Unbounded && after.At < before.At {
						t.Fatalf("host %d: %d is at %d, %d at %d", host, at, before.At, at+step, after.At)
					}
					at += step
				}
			}
		}
	})
}

func checkArrivals(t *rapid.T, l *lab, m *Model) {
	for i, at := range l.random.Perm(len(l.messages)) {
		msg := l.messages[at]
		if i == 200 {
			return
		}
		if m.methods == m.facts.of(Probes) && msg.Method != Probes || msg.SentErr+msg.ReceivedErr > 0 {
			continue
		}
		left, came := m.Stamp(msg.From, msg.Sent, 0), m.Stamp(msg.To, msg.Received, 0)
		if left.Err < Unbounded && came.Err < Unbounded && came.At < left.At {
			t.Fatalf("%+v left at %+v and arrived at %+v", msg, left, came)
		}
	}
}

func TestOrderOfMessagesDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLab(rapid.Uint64().Draw(t, "seed"))
		l.talk(60, 10)
		m := l.model()
		shuffled := slices.Clone(l.messages)
		rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		other := NewModel(l.config(), shuffled)
		for host := range l.clocks {
			at := l.clocks[host].read(l.when())
			if d := cmp.Diff(m.Bound(host, at), other.Bound(host, at)); d != "" {
				t.Fatal(d)
			}
		}
	})
}

// The envelope is the lowest of all cones, to the nanosecond.
func TestEnvelopeIsLowestCone(t *testing.T) {
	gen := rapid.Custom(func(t *rapid.T) limit {
		return limit{At: Local(rapid.Int64Range(-1e6, 1e6).Draw(t, "at")), Most: rapid.Int64Range(-300, 300).Draw(t, "most")}
	})
	rapid.Check(t, func(t *rapid.T) {
		rates := rapid.Custom(func(t *rapid.T) rate { return rate(rapid.Int64Range(-1<<32, 1<<32).Draw(t, "rate")) })
		var from []Local
		var most, least []rate
		for i := range rapid.IntRange(1, 6).Draw(t, "windows") {
			from = append(from, Local(i)*Local(rapid.Int64Range(1, 1e5).Draw(t, "window"))-3e5)
			a, b := rates.Draw(t, "most"), rates.Draw(t, "least")
			most, least = append(most, max(a, b)), append(least, min(a, b))
		}
		slices.Sort(from)
		g := newGrowth(from, most, least)
		limits := rapid.SliceOfN(gen, 1, 40).Draw(t, "limits")
		all := slices.Clone(limits)
		sortLimits(limits)
		e := newEnvelope(g, rapid.Bool().Draw(t, "mirrored"), limits)
		var hint cursor
		for _, at := range append(rapid.SliceOfN(rapid.Int64Range(-2e6, 2e6), 10, 10).Draw(t, "times"), int64(all[0].At)) {
			want := Unbounded
			for _, l := range all {
				a, c := e.apex(l, &cursor{}), e.apex(limit{At: Local(at)}, &cursor{})
				want = min(want, a.cone(&c))
			}
			if got := e.most(Local(at), &hint); got != want {
				t.Fatalf("at %d: %d, want %d", at, got, want)
			}
		}
	})
}

func TestContradictions(t *testing.T) {
	honest := []Message{
		{From: 0, To: 1, Sent: 1000, Received: 1600},
		{From: 1, To: 0, Sent: 1700, Received: 1300},
	}
	tests := []struct {
		name   string
		ids    []string
		extra  []Message
		broken bool
	}{
		{name: "honest"},
		{name: "arrives before it left", extra: []Message{{From: 0, To: 1, Sent: 2000, Received: 2100}}, broken: true},
		{name: "the same within its errors", extra: []Message{{From: 0, To: 1, Sent: 2000, Received: 2100, SentErr: 150, ReceivedErr: 150}}},
		{name: "drifts by 1000 ppm in a second", extra: []Message{
			{From: 0, To: 1, Sent: 1_000_000_000, Received: 999_000_000},
			{From: 1, To: 0, Sent: 999_000_100, Received: 1_000_000_100},
		}, broken: true},
		{name: "the same over ten seconds", extra: []Message{
			{From: 0, To: 1, Sent: 10_000_000_000, Received: 9_999_000_000},
			{From: 1, To: 0, Sent: 9_999_000_100, Received: 10_000_000_100},
		}},
		{name: "one clock, backwards", ids: []string{"k", "k"}, extra: []Message{{From: 0, To: 1, Sent: 5, Received: 4}}, broken: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			messages := tt.extra
			if tt.ids == nil {
				messages = append(slices.Clone(honest), tt.extra...)
			}
			broken := NewModel(Config{Hosts: 2, ClockIDs: tt.ids}, messages).Inconsistent()
			if (len(broken) > 0) != tt.broken {
				t.Fatalf("contradictions %+v, want some: %v", broken, tt.broken)
			}
			for _, c := range broken {
				if c.Lo <= c.Hi {
					t.Errorf("%+v leaves an offset possible", c)
				}
			}
		})
	}
}

// A contradiction between three hosts that no two of them show.
func TestContradictionInACircle(t *testing.T) {
	messages := []Message{
		{From: 0, To: 1, Sent: 0, Received: -100},
		{From: 1, To: 2, Sent: 0, Received: -100},
		{From: 2, To: 0, Sent: 0, Received: -100},
	}
	if broken := NewModel(Config{Hosts: 3}, messages).Inconsistent(); len(broken) == 0 {
		t.Error("every clock is ahead of the next, all the way round, and nothing is reported")
	}
	if broken := NewModel(Config{Hosts: 3}, messages[:2]).Inconsistent(); len(broken) != 0 {
		t.Errorf("two of the three messages contradict each other: %+v", broken)
	}
}

func TestBoundsByHand(t *testing.T) {
	// Host 1 is ahead by between 300 and 500; its messages were exchanged when it
	// read about 10,000. Host 2 reads the clock of host 1, host 3 only sent, host 4
	// is a stranger. Host 5 is tied to host 1 alone.
	m := NewModel(Config{Hosts: 6, ClockIDs: []string{"", "k", "k", "", "", ""}}, []Message{
		{From: 0, To: 1, Sent: 9_600, Received: 10_100},
		{From: 1, To: 0, Sent: 10_100, Received: 9_800},
		{From: 3, To: 0, Sent: 700, Received: 1_000},
		{From: 1, To: 5, Sent: 10_100, Received: 50},
		{From: 5, To: 2, Sent: 50, Received: 10_120},
	})
	tests := []struct {
		host int
		at   Local
		want Bound
	}{
		{0, 123, Bound{0, 0}},
		{1, 10_100, Bound{300, 500}},
		{2, 10_100, Bound{300, 500}},
		// 200 ppm over a second are 200,000 ns.
		{1, 1_000_010_100, Bound{300 - 200_000, 500 + 200_000}},
		{3, 700, Bound{-300, Unbounded}},
		{4, 0, Bound{-Unbounded, Unbounded}},
		// Host 5 read 50 when host 1 read 10,100 to 10,120, so 9,600 to 9,820 here.
		{5, 50, Bound{50 - 9_821, 50 - 9_600}},
	}
	for _, tt := range tests {
		got := m.Bound(tt.host, tt.at)
		// Cones are rounded up by a nanosecond at each step of a path.
		if d := [2]int64{got.Lo - tt.want.Lo, got.Hi - tt.want.Hi}; d[0] < -2 || d[0] > 2 || d[1] < -2 || d[1] > 2 {
			t.Errorf("bound of host %d at %d is %+v, want %+v", tt.host, tt.at, got, tt.want)
		}
	}
	if lo, hi := m.Between(1, 10_000, 2, 10_007); lo != 7 || hi != 7 {
		t.Errorf("two moments of one clock are between %d and %d apart, want 7", lo, hi)
	}
	if lo, hi := m.Between(4, 0, 0, 0); lo != -Unbounded || hi != Unbounded {
		t.Errorf("a stranger's moment is between %d and %d apart, want no bound", lo, hi)
	}
	if got := m.Stamp(4, 77, 5); got.Err != Unbounded {
		t.Errorf("a stranger's stamp is %+v", got)
	}
	if got := m.Messages(1); got != 4 {
		t.Errorf("host 1 is tied by %d messages, want 4", got)
	}
}

// A path that is slower one way shifts the estimate by half the difference; the
// interval still holds the truth.
func TestAsymmetryShiftsTheMiddle(t *testing.T) {
	m := NewModel(Config{Hosts: 2}, []Message{
		{From: 0, To: 1, Sent: 0, Received: 5_000_000},
		{From: 1, To: 0, Sent: 5_000_000, Received: 6_000_000},
	})
	b := m.Bound(1, 5_000_000)
	if shift := b.Mid(); shift < 1_999_000 || shift > 2_001_000 {
		t.Errorf("5 ms there and 1 ms back shift the middle by %d ns, want 2 ms", shift)
	}
	if b.Lo > 0 || b.Hi < 0 {
		t.Errorf("bound %+v does not hold the true offset 0", b)
	}
}

func TestExtremeTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		message := rapid.Custom(func(t *rapid.T) Message {
			return Message{
				From: rapid.IntRange(0, 2).Draw(t, "from"), To: rapid.IntRange(0, 2).Draw(t, "to"),
				Sent: Local(rapid.Int64().Draw(t, "sent")), Received: Local(rapid.Int64().Draw(t, "received")),
				SentErr: rapid.Int64Min(0).Draw(t, "error"), Method: Methods(rapid.Uint8().Draw(t, "method")),
			}
		})
		change := rapid.Custom(func(t *rapid.T) Change {
			return Change{
				Host: rapid.IntRange(0, 2).Draw(t, "host"), Stopped: rapid.Bool().Draw(t, "stopped"),
				Since: Local(rapid.Int64().Draw(t, "since")), At: Local(rapid.Int64().Draw(t, "at")),
			}
		})
		cfg := Config{Hosts: 3, Changes: rapid.SliceOf(change).Draw(t, "changes")}
		messages := rapid.SliceOf(message).Draw(t, "messages")
		live := NewLive(cfg)
		live.Add(messages...)
		for _, m := range []*Model{NewModel(cfg, messages), live.Model()} {
			host, at := rapid.IntRange(0, 2).Draw(t, "host"), Local(rapid.Int64().Draw(t, "at"))
			if s := m.Stamp(host, at, 0); s.Err < 0 || s.Err > Unbounded {
				t.Fatalf("stamp %+v has no sensible error", s)
			}
			m.By(Probes).Between(host, at, 0, at)
			m.Rate(host, at, at+1)
			m.BestReference([]Moment{{host, at}})
		}
	})
}

func BenchmarkNewModel(b *testing.B) {
	messages := manyMessages(1_000_000)
	b.ResetTimer()
	for b.Loop() {
		NewModel(Config{Hosts: 2}, messages)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e6, "ns/message")
}

func BenchmarkStamp(b *testing.B) {
	messages := manyMessages(1_000_000)
	m := NewModel(Config{Hosts: 2}, messages)
	for i := 0; b.Loop(); i++ {
		m.Stamp(1, messages[i%len(messages)].Received, 50)
	}
	kept := len(m.view.links[0][0].ahead.limits())
	b.ReportMetric(float64(kept), "limits-kept")
}

func manyMessages(n int) []Message {
	l := newLab(3)
	l.clocks = l.clocks[:2]
	l.span = 60e9
	messages := make([]Message, n)
	for i := range messages {
		from := i % 2
		sent := float64(i) * l.span / float64(n)
		received := sent + 30_000 + l.random.ExpFloat64()*20_000
		messages[i] = Message{
			From: from, Sent: l.clocks[from].read(sent), To: 1 - from, Received: l.clocks[1-from].read(received),
		}
	}
	return messages
}
