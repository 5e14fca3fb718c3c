package clock

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A few false stamps among honest messages are found, no honest message is called
// a lie, and without the liars the model is consistent.
func TestLiars(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLab(rapid.Uint64().Draw(t, "seed"))
		l.clocks = l.clocks[:2]
		n := rapid.IntRange(12, 60).Draw(t, "messages")
		for i := range n {
			from := i % 2
			sent := l.random.Float64() * l.span
			received := sent + 1_000 + l.random.ExpFloat64()*10_000
			l.messages = append(l.messages, Message{
				From: from, Sent: l.clocks[from].read(sent), To: 1 - from, Received: l.clocks[1-from].read(received),
			})
		}
		want := rapid.SliceOfNDistinct(rapid.IntRange(0, n-1), 0, 2, rapid.ID[int]).Draw(t, "liars")
		slices.Sort(want)
		for _, i := range want {
			// More than two clocks can part by in the run, so that it shows.
			l.messages[i].Received -= Local(3*l.span*DefaultDriftPPM/1e6 + 10_000_000)
		}
		got := Liars(Config{Hosts: 2}, l.messages)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("liars are %v, want %v", got, want)
		}
		honest := slices.Clone(l.messages)
		for _, i := range slices.Backward(got) {
			honest = slices.Delete(honest, i, i+1)
		}
		if broken := NewModel(Config{Hosts: 2}, honest).Inconsistent(); len(broken) > 0 {
			t.Fatalf("without the liars: %+v", broken)
		}
	})
}

func TestLiarsOfTwo(t *testing.T) {
	messages := []Message{
		{From: 0, To: 1, Sent: 1000, Received: 600},
		{From: 1, To: 0, Sent: 700, Received: 900},
	}
	if got := Liars(Config{Hosts: 2}, messages); len(got) != 2 {
		t.Errorf("liars are %v; nobody can tell which of the two lies, so both must go", got)
	}
}

// Over a suspend nobody lies, although every message after it contradicts all before.
func TestNobodyLiesOverASuspend(t *testing.T) {
	clocks := []truth{{period: 1}, {offset: 5e9, period: 1, stops: []stop{{8e9, 1e9}}}}
	var messages []Message
	for i := range 100 {
		if at := float64(i) * 1e8; !clocks[1].stands(at) && !clocks[1].stands(at+1e5) {
			messages = append(messages, exchange(clocks, Probes, at, 2_000, 3_000)...)
		}
	}
	cfg := Config{Hosts: 2, Changes: []Change{{Host: 1, Since: 12_950_000_000, At: 13_050_000_000, Stopped: true}}}
	if got := Liars(cfg, messages); len(got) > 0 {
		t.Errorf("%d of %d messages are called lies", len(got), len(messages))
	}
	if broken := NewModel(cfg, messages).Inconsistent(); len(broken) > 0 {
		t.Errorf("inconsistent: %+v", broken)
	}
	if got := Liars(Config{Hosts: 2}, messages); len(got) == 0 {
		t.Error("nobody reported the suspend, and it contradicts nothing: this test proves little")
	}
	messages[0].Received -= 10_000_000
	if got := Liars(cfg, messages); len(got) != 1 || got[0] != 0 {
		t.Errorf("liars are %v, want the first message", got)
	}
}

// A lie in the middle of a long run is found as one at its ends, and alone.
func TestLiarsInALongRun(t *testing.T) {
	q := quiet{ppm: 20, delay: 400, jitter: 300, rate: 20, seconds: 600}
	_, messages := q.simulate(3)
	want := len(messages) / 2
	messages[want].Received -= 20_000_000
	if messages[want].From == 1 {
		t.Fatal("the lie is on the other way than meant")
	}
	if got := Liars(Config{Hosts: 2}, messages); !slices.Equal(got, []int{want}) {
		t.Errorf("liars are %v, want %d alone", got, want)
	}
}

// With more lies than can be taken one by one, in a long run, all go and no honest message does.
func TestManyLiars(t *testing.T) {
	q := quiet{ppm: 20, delay: 400, jitter: 300, rate: 20, seconds: 900}
	_, messages := q.simulate(4)
	var want []int
	for i := range messages {
		if messages[i].From == 0 && i%5 == 0 {
			messages[i].Received -= Local(1_000_000_000 + i*1_000)
			want = append(want, i)
		}
	}
	got := Liars(Config{Hosts: 2}, messages)
	slices.Sort(got)
	if len(want) < 1_000 || !slices.Equal(got, want) {
		t.Errorf("%d liars, want %d others", len(got), len(want))
	}
}

// Counting finds exactly what comparing each with each does.
func TestContradictionsAreCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLab(rapid.Uint64().Draw(t, "seed"))
		l.clocks = l.clocks[:2]
		c := court{rate: rateOf(200_000), near: []span{{5e8, 5e8}}, far: []span{{2e8, 3e8}}}
		for i := range rapid.IntRange(0, 80).Draw(t, "messages") {
			sent := Local(l.random.Int64N(1e9))
			c.hear(i%2, i, Message{
				Sent: sent, Received: sent + Local(l.random.Int64N(400_000)-200_000),
				SentErr: l.random.Int64N(2_000), ReceivedErr: l.random.Int64N(2_000),
			})
		}
		c.count()
		for side := range c.sides {
			for i := range c.sides[side] {
				want := 0
				for k := range c.sides[1-side] {
					if c.sides[side][i].contradicts(&c.sides[1-side][k]) {
						want++
					}
				}
				if got := c.sides[side][i].against; got != want {
					t.Fatalf("a message contradicts %d others, want %d", got, want)
				}
			}
		}
	})
}

// What a court calls a contradiction is one: of two messages that contradict each other a
// model is inconsistent, of two that do not it is not.
func TestContradictionIsThatOfTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string, most int64) int64 { return rapid.Int64Range(-most, most).Draw(t, name) }
		there := Message{From: 0, To: 1, SentErr: rapid.Int64Range(0, 500).Draw(t, "error")}
		there.Received = there.Sent + Local(draw("there", 3_000))
		back := Message{From: 1, To: 0, Sent: Local(draw("at", 1e7))}
		back.Received = back.Sent + Local(draw("back", 3_000))
		c := court{rate: rateOf(DefaultDriftPPM * 1000)}
		c.hear(0, 0, there)
		c.hear(1, 1, back)
		broken := len(NewModel(Config{Hosts: 2}, []Message{there, back}).Inconsistent()) > 0
		if got := c.sides[0][0].contradicts(&c.sides[1][0]); got && !broken {
			t.Fatalf("%+v and %+v contradict each other, and the model is consistent", there, back)
		}
	})
}
