package chaos

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var stream = StreamID{"r-1", "gen1", 1}

// kept is a run in which everything is as it should be: two chunks of ten events.
func kept(t testing.TB) (*History, Run) {
	t.Helper()
	h := NewHistory()
	sum := hex.EncodeToString(make([]byte, 32))
	for _, r := range []Record{
		{Verb: Started, Repetition: 1, Lane: "g"},
		{Verb: Wrote, Sequence: 1, FirstEvent: 1, Events: 10, SHA256: sum},
		{Verb: Wrote, Sequence: 2, FirstEvent: 11, Events: 10, SHA256: sum},
		{Verb: Acked, Sequence: 1},
		{Verb: Finished, Sequence: 2, LastEvent: 20},
	} {
		r.Run, r.Agent, r.Incarnation = stream.Run, stream.Agent, stream.Incarnation
		if err := h.Take(r); err != nil {
			t.Fatal(err)
		}
	}
	return h, Run{ID: stream.Run, Sealed: true, Contents: []*Content{contentOf(1, 20)}}
}

func contentOf(first, last uint64) *Content {
	c := NewContent(stream)
	for n := first; n <= last; n++ {
		take(c, n)
	}
	return c
}

func take(c *Content, number uint64) {
	var payload [PayloadBytes]byte
	Payload(c.Stream.Key(), number, &payload)
	c.Take(number, payload[:])
}

func TestEveryBrokenPromiseIsFound(t *testing.T) {
	type found map[Invariant]uint64
	for _, row := range []struct {
		name  string
		spoil func(*History, *Run)
		want  found
	}{
		{"nothing", func(*History, *Run) {}, found{}},
		{"an acknowledged event lost", func(_ *History, r *Run) { r.Contents[0] = contentOf(2, 20) }, found{NoneLost: 10, HonestGaps: 1}},
		{"a stream lost", func(_ *History, r *Run) { r.Contents = nil }, found{NoneLost: 10, HonestGaps: 1}},
		{"an event that was not acknowledged lost in silence", func(_ *History, r *Run) { r.Contents[0] = contentOf(1, 19) }, found{HonestGaps: 1}},
		{"the same, and told", func(_ *History, r *Run) {
			r.Contents[0], r.Incomplete = contentOf(1, 10), []string{"10 events did not arrive"}
		}, found{}},
		{"the same, in a run that failed", func(_ *History, r *Run) { r.Contents[0], r.Sealed = contentOf(1, 10), false }, found{}},
		{"an event twice", func(_ *History, r *Run) { take(r.Contents[0], 7) }, found{NoneRepeated: 1}},
		{"an event altered", func(_ *History, r *Run) {
			r.Contents[0] = contentOf(1, 19)
			r.Contents[0].Take(20, []byte("12345678"))
		}, found{NoneAltered: 1}},
		{"an event of another number", func(_ *History, r *Run) {
			r.Contents[0] = contentOf(1, 19)
			var payload [PayloadBytes]byte
			Payload(stream.Key(), 21, &payload)
			r.Contents[0].Take(20, payload[:])
		}, found{NoneAltered: 1}},
		{"an event that nobody wrote", func(_ *History, r *Run) { take(r.Contents[0], 21) }, found{NoneInvented: 21, HonestGaps: 1}},
		{"a lane started twice", func(h *History, _ *Run) { h.Started[LaneStart{"r-1", "gen1", 1, "g"}]++ }, found{StartedOnce: 1}},
		{"of another run", func(h *History, _ *Run) { h.Started[LaneStart{"r-2", "gen1", 1, "g"}] = 2 }, found{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			h, r := kept(t)
			row.spoil(h, &r)
			got := found{}
			for _, v := range h.CheckRun(r) {
				got[v.Invariant] += v.Count
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestJournalsThatContradictThemselves(t *testing.T) {
	h, _ := kept(t)
	for _, r := range []Record{
		{Verb: Wrote, Run: "r-1", Agent: "gen1", Incarnation: 1, Sequence: 1, FirstEvent: 1, Events: 1, SHA256: hex.EncodeToString(make([]byte, 32))},
		{Verb: Acked, Run: "r-1", Agent: "gen1", Incarnation: 1, Sequence: 3},
		{Verb: "forgot", Run: "r-1", Agent: "gen1", Incarnation: 1},
	} {
		if err := h.Take(r); err == nil {
			t.Errorf("%+v is taken", r)
		}
	}
}

func TestSeals(t *testing.T) {
	s := Seals{}
	s.Hear("r-1", "c1", "aa")
	s.Hear("r-1", "c2", "aa")
	s.Hear("r-2", "c1", "bb")
	if all := s.Check(); len(all) > 0 {
		t.Error(all)
	}
	s.Hear("r-1", "c2", "ab") // it has changed
	s.Hear("r-2", "c3", "")
	if all := s.Check(); len(all) != 2 {
		t.Error(all)
	}
}

func TestCalls(t *testing.T) {
	c := Calls{{"r-1", "vm1", 1, "client", 1}: 1, {"r-1", "vm1", 2, "client", 1}: 1}
	if all := c.Check(); len(all) > 0 {
		t.Error(all)
	}
	c[CallID{"r-1", "vm1", 2, "client", 1}]++
	if all := c.Check(); len(all) != 1 || all[0].Invariant != StartedOnce {
		t.Error(all)
	}
}

// TestContentKnowsWhatIsThere holds ranges against a set, in any order of events.
func TestContentKnowsWhatIsThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.SliceOfN(rapid.Uint64Range(1, 40), 0, 80).Draw(t, "numbers")
		c, set, repeated := NewContent(stream), map[uint64]bool{}, uint64(0)
		for _, n := range numbers {
			if set[n] {
				repeated++
			}
			set[n] = true
			take(c, n)
		}
		if c.Repeated != repeated || c.Altered != 0 || c.Events != uint64(len(numbers)) {
			t.Fatalf("%+v, want %d repeated", c, repeated)
		}
		for n := uint64(1); n <= 41; n++ {
			if c.Covers(Range{n, n}) != set[n] {
				t.Fatalf("event %d: %v in %v", n, !set[n], c.Ranges())
			}
		}
		for i, r := range c.Ranges() {
			if r.First > r.Last || i > 0 && c.Ranges()[i-1].Last+1 >= r.First {
				t.Fatalf("ranges %v", c.Ranges())
			}
		}
	})
}

func TestControlHistories(t *testing.T) {
	const s = time.Second
	type call struct {
		ask      Ask
		from, to time.Duration
		heard    Answer
	}
	create, get, cancel := Ask{"q", Create}, Ask{"q", Get}, Ask{"q", Cancel}
	for _, row := range []struct {
		name  string
		calls []call
		fails bool
	}{
		{"a run goes on", []call{{create, 0, 1 * s, Answer{Run: "r"}}, {get, 2 * s, 3 * s, Answer{Phase: 1}}, {cancel, 3 * s, 4 * s, Answer{}}, {get, 4 * s, 5 * s, Answer{Phase: 5}}}, false},
		{"one request, two runs", []call{{create, 0, 1 * s, Answer{Run: "r"}}, {create, 0, 1 * s, Answer{Run: "s"}}}, true},
		{"a run that was made is not there", []call{{create, 0, 1 * s, Answer{Run: "r"}}, {get, 2 * s, 3 * s, Answer{}}}, true},
		{"a run goes back", []call{{get, 0, 1 * s, Answer{Phase: 3}}, {get, 2 * s, 3 * s, Answer{Phase: 2}}}, true},
		{"at the same time, any order will do", []call{{get, 0, 3 * s, Answer{Phase: 3}}, {get, 2 * s, 3 * s, Answer{Phase: 2}}}, false},
		{"an unknown end excuses nobody else", []call{{create, 0, 1 * s, Answer{Unknown: true}}, {get, 2 * s, 3 * s, Answer{Phase: 3}}, {get, 4 * s, 5 * s, Answer{Phase: 1}}}, true},
		{"what was refused did nothing", []call{{create, 0, 1 * s, Answer{Refused: true}}, {get, 2 * s, 3 * s, Answer{}}}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			var c Controls
			for i, call := range row.calls {
				c.Add(i, call.ask, call.from, call.to, call.heard)
			}
			if all := c.Check(time.Minute); (len(all) > 0) != row.fails {
				t.Errorf("found %v", all)
			}
		})
	}
}
