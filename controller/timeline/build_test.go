package timeline

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// scenario is a script of a world of two hosts or more, and what its first
// repetition must look like.
type scenario struct {
	name  string
	hosts int
	// before changes the world before anything happens in it; may be nil.
	before func(w *world)
	script func(w *world, t int64) int64
	// connections and the segments of the first, as shape tells them.
	connections int
	shape       string
}

var scenarios = []scenario{
	{
		name: "open and close",
		script: func(w *world, t int64) int64 {
			k := w.talk(0, 1, 40312, 1000)
			return k.close(k.open(t), 0)
		},
		connections: 1, shape: ">S <SA >A >FA <A <FA >A",
	},
	{
		name: "lost SYN",
		script: func(w *world, t int64) int64 {
			k := w.talk(0, 1, 40312, 1000)
			k.up(t, SYN, 0, 0, 0, fate{lost: true})
			return k.handshake(t + 1_000_000_000)
		},
		connections: 1, shape: ">S! >S1 <SA >A",
	},
	{
		name: "retransmission of data, both copies arrive",
		script: func(w *world, t int64) int64 {
			k := w.talk(0, 1, 40312, 1000)
			t = k.handshake(t)
			k.up(t, PSH|ACK, 1, 1, 100, fate{delay: 900_000})
			return k.up(t+200_000, PSH|ACK, 1, 1, 100, fate{delay: 50_000}) + 700_000
		},
		connections: 1, shape: ">S <SA >A >A >A1",
	},
	{
		name: "duplicate by the network",
		script: func(w *world, t int64) int64 {
			k := w.talk(0, 1, 40312, 1000)
			return k.up(k.handshake(t), PSH|ACK, 1, 1, 100, fate{twice: true})
		},
		connections: 1, shape: ">S <SA >A >A >A=",
	},
	{
		name: "reordered data",
		script: func(w *world, t int64) int64 {
			k := w.talk(0, 1, 40312, 1000)
			t = k.handshake(t)
			k.up(t, ACK, 1, 1, 100, fate{delay: 500_000})
			k.up(t+1_000, ACK, 101, 1, 100, fate{delay: 40_000})
			return t + 600_000
		},
		connections: 1, shape: ">S <SA >A >A >A",
	},
	{
		name: "refused",
		script: func(w *world, t int64) int64 {
			k := w.talk(0, 1, 40312, 1000)
			back := k.up(t+9_000, SYN, 0, 0, 0, fate{})
			p := k.packet(false, RST|ACK, 0, 1, 0)
			p.Seq = 0
			back = w.send(back+3_000, 1, 0, p, fate{})
			// The failed connect lost its own address.
			k.call(0, t, back+20_000, Call{
				Lane: "client", Name: "connect", Socket: "c", Arguments: "10.0.0.2:8080", Result: -1, Errno: 111,
			})
			return back + 20_000
		},
		connections: 1, shape: ">S <RA",
	},
	{
		name: "ports used again at once",
		script: func(w *world, t int64) int64 {
			first := w.talk(0, 1, 40312, 1000)
			t = first.close(first.open(t), 0)
			second := w.talk(0, 1, 40312, 900_000)
			t = second.open(t + 10_000)
			// A late copy of the first connection's last acknowledgment.
			first.up(t+1_000, ACK, 2, 2, 0, fate{})
			return second.close(t+10_000, 0)
		},
		connections: 2, shape: ">S <SA >A >FA <A <FA >A >A",
	},
	{
		name: "two connections at once",
		script: func(w *world, t int64) int64 {
			a, b := w.talk(0, 1, 40312, 1000), w.talk(0, 1, 40313, 70_000)
			a.name, b.name = "1", "2"
			return max(a.close(a.open(t), 0), b.close(b.open(t+7_000), 0))
		},
		connections: 2, shape: ">S <SA >A >FA <A <FA >A",
	},
	{
		name: "simultaneous open",
		script: func(w *world, t int64) int64 {
			k := w.talk(0, 1, 9000, 1000)
			there := k.up(t+200_000, SYN, 0, 0, 0, fate{delay: 300_000})
			back := k.down(t+210_000, SYN, 0, 0, 0, fate{delay: 300_000})
			end := max(k.up(back+2_000, SYN|ACK, 0, 1, 0, fate{delay: 90_000}), k.down(there+60_000, SYN|ACK, 0, 1, 0, fate{delay: 90_000}))
			k.call(0, t, end, Call{Lane: "client", Name: "connect", Socket: "c", Local: k.a, Peer: k.b})
			k.call(1, t, end, Call{Lane: "server", Name: "connect", Socket: "d", Local: k.b, Peer: k.a})
			return end
		},
		connections: 1, shape: ">S <S >SA <SA",
	},
	{
		name: "joined on arrival (GRO)",
		script: func(w *world, t int64) int64 {
			k := w.talk(0, 1, 40312, 1000)
			t = k.handshake(t)
			var parts []simID
			for i := range int64(3) {
				parts = append(parts, w.tap(t+i*2_000, 0, Out, k.packet(true, ACK, uint32(1+i*1000), 1, 1000)))
			}
			w.arrive(t+90_000, 1, k.packet(true, PSH|ACK, 1, 1, 3000), parts...)
			return t + 90_000
		},
		connections: 1, shape: ">S <SA >A >A >A >A",
	},
	{
		name: "cut on the way (TSO)",
		script: func(w *world, t int64) int64 {
			k := w.talk(0, 1, 40312, 1000)
			t = k.handshake(t)
			whole := w.tap(t, 0, Out, k.packet(true, PSH|ACK, 1, 1, 3000))
			for i := range int64(3) {
				w.arrive(t+90_000+i*2_000, 1, k.packet(true, ACK, uint32(1+i*1000), 1, 1000), whole)
			}
			return t + 100_000
		},
		connections: 1, shape: ">S <SA >A >A >A >A",
	},
	{
		name: "reset",
		script: func(w *world, t int64) int64 {
			k := w.talk(0, 1, 40312, 1000)
			return k.up(k.open(t), RST|ACK, 1, 1, 0, fate{})
		},
		connections: 1, shape: ">S <SA >A >RA",
	},
	{
		name: "no tap at the server",
		script: func(w *world, t int64) int64 {
			w.blind[1] = true
			w.run.Hosts[1].Missing = map[Source]string{Packets: "no CAP_NET_RAW"}
			k := w.talk(0, 1, 40312, 1000)
			return k.close(k.open(t), 0)
		},
		connections: 1, shape: ">S <SA >A >FA <A <FA >A",
	},
	{
		name: "no taps at all",
		script: func(w *world, t int64) int64 {
			for h := range w.run.Hosts {
				w.blind[h] = true
				w.run.Hosts[h].Missing = map[Source]string{Packets: "no CAP_NET_RAW"}
			}
			k := w.talk(0, 1, 40312, 1000)
			return k.close(k.open(t), 0)
		},
		connections: 1, shape: "",
	},
	{
		name: "SYN not captured",
		script: func(w *world, t int64) int64 {
			k := w.talk(0, 1, 40312, 1000)
			t = k.up(t, PSH|ACK, 1, 1, 10, fate{})
			return k.down(t, ACK, 1, 11, 0, fate{})
		},
		connections: 1, shape: ">A <A",
	},
	{
		name: "three hosts", hosts: 3,
		script: func(w *world, t int64) int64 {
			a, b := w.talk(0, 1, 40312, 1000), w.talk(1, 2, 40400, 70_000)
			return b.close(b.open(a.close(a.open(t), 0)), 0)
		},
		connections: 2, shape: ">S <SA >A >FA <A <FA >A",
	},
	{
		name:   "one kernel, two taps that see all",
		before: oneKernel,
		script: func(w *world, t int64) int64 {
			k := w.talk(0, 1, 40312, 1000)
			return k.close(k.open(t), 0)
		},
		connections: 1, shape: ">S <SA >A >FA <A <FA >A",
	},
	{
		name: "one kernel, one address, two roles",
		before: func(w *world) {
			oneKernel(w)
			w.run.Hosts[1].Address = w.address(0)
		},
		script: func(w *world, t int64) int64 {
			k := w.talk(0, 1, 40312, 1000)
			k.b = netip.AddrPortFrom(w.address(0), 8080)
			return k.close(k.open(t), 0)
		},
		connections: 1, shape: ">S <SA >A >FA <A <FA >A",
	},
	{
		name: "a host between the two", hosts: 3,
		script: func(w *world, t int64) int64 {
			w.forwarder = 2
			k := w.talk(0, 1, 40312, 1000)
			return k.close(k.open(t), 0)
		},
		connections: 1, shape: ">S <SA >A >FA <A <FA >A",
	},
	{
		name: "copies that look alike",
		script: func(w *world, t int64) int64 {
			w.alike = true
			k := w.talk(0, 1, 40312, 1000)
			k.up(t, SYN, 0, 0, 0, fate{lost: true})
			return k.close(k.openSince(t-9_000, t+1_000_000), 0)
		},
		connections: 1, shape: ">S! >S1? <SA >A >FA <A <FA >A",
	},
}

func oneKernel(w *world) {
	w.kernel = true
	w.clocks[1], w.wrong[1] = w.clocks[0], w.wrong[0]
	w.run.Hosts[0].ClockID, w.run.Hosts[1].ClockID = "boot", "boot"
}

// handshake is open without its calls.
func (k *talk) handshake(t int64) int64 {
	t = k.up(t, SYN, 0, 0, 0, fate{})
	t = k.down(t+5_000, SYN|ACK, 0, 1, 0, fate{})
	return k.up(t+2_000, ACK, 1, 1, 0, fate{}) + 1_000
}

// shape spells the segments of a connection: direction, flags, the copy's number,
// "!" if lost, "=" if duplicate, "?" if ambiguous.
func shape(tl *Timeline, connection int) string {
	var words []string
	for _, s := range tl.Connections[connection].Segments {
		way, at := "<", max(s.Departure, s.Arrival)
		if s.FromClient {
			way = ">"
		}
		word := way
		for _, f := range []struct {
			flag Flags
			name string
		}{{SYN, "S"}, {FIN, "F"}, {RST, "R"}, {ACK, "A"}} {
			if tl.Moments[at].Event.Packet.Flags&f.flag != 0 {
				word += f.name
			}
		}
		if s.Copy > 0 {
			word += fmt.Sprint(s.Copy)
		}
		for _, mark := range []struct {
			set  bool
			name string
		}{{s.Lost, "!"}, {s.Duplicate, "="}, {s.Ambiguous && s.OneWayErr >= 0 && tl.Moments[at].Event.Packet.PayloadLength == 0, "?"}} {
			if mark.set {
				word += mark.name
			}
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func randomClocks(seed uint64, hosts int) []simClock {
	r := rand.New(rand.NewPCG(seed, 2))
	clocks := make([]simClock, hosts)
	for h := range clocks {
		clocks[h] = simClock{offset: r.Int64N(20e9) - 10e9 + 1e12, ppm: r.Float64()*199 - 99.5}
	}
	return clocks
}

func (sc *scenario) play(seed uint64) *world {
	w := newWorld(seed, randomClocks(seed, max(sc.hosts, 2))...)
	if sc.before != nil {
		sc.before(w)
	}
	w.repeat(1, 0, func(at int64) int64 { return sc.script(w, at) })
	return w
}

func (sc *scenario) build(t testing.TB, seed uint64) (*world, *Timeline) {
	t.Helper()
	w := sc.play(seed)
	tl, err := Build(w.run, 1)
	if err != nil {
		t.Fatal(err)
	}
	return w, tl
}

func TestScenarios(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			for seed := range uint64(60) {
				w, tl := sc.build(t, seed)
				w.check(t, tl)
				if len(tl.Connections) != sc.connections {
					t.Fatalf("seed %d: %d connections, want %d: %+v", seed, len(tl.Connections), sc.connections, tl.Connections)
				}
				if got := shape(tl, 0); got != sc.shape {
					t.Fatalf("seed %d: segments %q, want %q", seed, got, sc.shape)
				}
			}
		})
	}
}

// The same events in another order give the same timeline, to the last field.
func TestOrderOfEventsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sc := rapid.SampledFrom(scenarios).Draw(t, "scenario")
		w := sc.play(rapid.Uint64().Draw(t, "seed"))
		want, err := Build(w.run, 1)
		if err != nil {
			t.Fatal(err)
		}
		shuffled := *w.run
		shuffled.Events = rapid.Permutation(w.run.Events).Draw(t, "events")
		got, err := Build(&shuffled, 1)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Timeline{}), cmp.Comparer(sameAddr), cmp.Comparer(sameAddrPort)); d != "" {
			t.Fatal(d)
		}
		if !slices.EqualFunc(want.certain.known, got.certain.known, slices.Equal) {
			t.Fatal("what is certain depends on the order of the events")
		}
	})
}

// Two builds at once share a builder; the race detector looks on.
func TestBuildAtOnce(t *testing.T) {
	w, builder := manyRepetitions(8)
	done := make(chan error)
	for repetition := 1; repetition <= 8; repetition++ {
		go func() {
			_, err := builder.Build(repetition)
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if _, err := builder.Build(9); err == nil {
		t.Errorf("repetition 9 of %d events was built", len(w.run.Events))
	}
}

// The clocks learn from all repetitions: one alone bounds them less.
func TestRepetitionsTightenTheClocks(t *testing.T) {
	w, builder := manyRepetitions(50)
	all, err := builder.Build(25)
	if err != nil {
		t.Fatal(err)
	}
	w.check(t, all)
	alone := *w.run
	alone.Events = slices.DeleteFunc(slices.Clone(w.run.Events), func(e Event) bool { return e.Repetition != 25 })
	one, err := Build(&alone, 25)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := all.Clocks[1].Bound.Err(), one.Clocks[1].Bound.Err(); a >= b {
		t.Errorf("50 repetitions bound the offset to ±%d ns, one to ±%d ns", a, b)
	}
}

func manyRepetitions(n int) (*world, *Builder) {
	w := newWorld(9, randomClocks(9, 2)...)
	at := int64(0)
	for repetition := 1; repetition <= n; repetition++ {
		at = w.repeat(repetition, at, func(at int64) int64 {
			k := w.talk(0, 1, uint16(40000+repetition%500), uint32(repetition)*100_000)
			return k.close(k.open(at), 0)
		})
	}
	return w, NewBuilder(w.run)
}

func BenchmarkBuild1000(b *testing.B) {
	w, _ := manyRepetitions(1000)
	for b.Loop() {
		builder := NewBuilder(w.run)
		for repetition := 1; repetition <= 1000; repetition++ {
			if _, err := builder.Build(repetition); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(len(w.run.Events))*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// One repetition that moves much: a long transfer and many connections.
func BenchmarkBuildBusyRepetition(b *testing.B) {
	w := newWorld(11, randomClocks(11, 2)...)
	w.repeat(1, 0, func(at int64) int64 {
		k := w.talk(0, 1, 30000, 500)
		k.name = "bulk"
		at = k.open(at)
		for i := range int64(50_000) {
			k.up(at+i*1_000, ACK, uint32(1+i*1448), 1, 1448, fate{})
		}
		for i := range 2_000 {
			k := w.talk(0, 1, uint16(32000+i), uint32(i)*70_000)
			k.name = fmt.Sprint(i)
			at = k.close(k.open(at), 0)
		}
		return at
	})
	b.ResetTimer()
	for b.Loop() {
		if _, err := Build(w.run, 1); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(w.run.Events))*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
