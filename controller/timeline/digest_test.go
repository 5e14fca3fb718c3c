package timeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// storyOf is the story of a script of testdata/states.
func storyOf(t *testing.T, events string) *Story {
	t.Helper()
	tl, err := Build(newScript(t, events).run, 1)
	if err != nil {
		t.Fatal(err)
	}
	return tl.Story()
}

const openScript = `A client connect c 0..60 = 0
B server accept s->a -20..95 = 8
A>B SYN 5..25
B>A SYN+ACK 30..50
A>B ACK 55..75
`

// TestStories makes sure that a story has what happened in it, and no times.
func TestStories(t *testing.T) {
	story := storyOf(t, openScript)
	slower := storyOf(t, `A client connect c 0..600 = 0
B server accept s->a -20..950 = 9
A>B SYN 50..250
B>A SYN+ACK 300..500
A>B ACK 550..750
`)
	if story.ID != slower.ID {
		t.Errorf("the same, slower, is another story:\n%v\n%v", story.Lines, slower.Lines)
	}
	lost := storyOf(t, `A client connect c 0..1000060 = 0
B server accept s->a -20..1000095 = 8
A>B SYN 5..-
A>B SYN 1000005..1000025 again
B>A SYN+ACK 1000030..1000050
A>B ACK 1000055..1000075
`)
	if story.ID == lost.ID {
		t.Error("a SYN that was lost is the same story")
	}
	want := "client.c at A: → SYN, lost; → SYN, sent again; ← SYN+ACK; → ACK"
	if got := lineOf(lost, "client.c at A"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := lineOf(story, "lane client on A"), "lane client on A: connect c → ok"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	refused := storyOf(t, `A client connect c 0..60 = -1 errno 111
A>B SYN 5..25
B>A RST+ACK 28..48 zero
`)
	if got, want := lineOf(refused, "lane client on A"), "lane client on A: connect c → ECONNREFUSED"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func lineOf(s *Story, of string) string {
	for _, l := range s.Lines {
		if l.Of == of {
			return l.Of + ": " + strings.Join(l.Steps, "; ")
		}
	}
	return "no line of " + of
}

// TestStoryCountsNoLongStreams makes sure that how a stream of bytes was cut is no story.
func TestStoryCountsNoLongStreams(t *testing.T) {
	stream := func(segments int) *Story {
		var b strings.Builder
		b.WriteString(openScript)
		for i := range segments {
			fmt.Fprintf(&b, "A>B PSH+ACK %d..%d data 7\n", 100+10*i, 120+10*i)
		}
		return storyOf(t, b.String())
	}
	if short, long := stream(2), stream(3); short.ID == long.ID {
		t.Error("two segments of data and three are the same story")
	}
	if one, other := stream(20), stream(30); one.ID != other.ID {
		t.Errorf("20 segments of data and 30 are two stories:\n%v\n%v", one.Lines, other.Lines)
	}
}

func digestWith(repetition int, ruling Ruling, story string, ns int64) *Digest {
	return &Digest{
		Repetition: repetition, Ruling: ruling, Moments: 1, Story: &Story{ID: story}, Connections: []string{"c to s"},
		Phases: []DigestPhase{{Name: "connect.blocked", Nanoseconds: ns}},
	}
}

// TestWorstOf shows which repetition of several is looked at first.
func TestWorstOf(t *testing.T) {
	usual := func() []*Digest {
		var all []*Digest
		for i := range 20 {
			all = append(all, digestWith(i+1, Pass, "x", 100_000+int64(i)*100))
		}
		return all
	}
	for _, test := range []struct {
		name    string
		change  func([]*Digest)
		want    int
		because string
	}{
		{"nothing odd", func([]*Digest) {}, 0, ""},
		{"one is slow", func(all []*Digest) { all[7].Phases[0].Nanoseconds = 900_000 }, 7, "connect.blocked took 900 µs, typically 101 µs"},
		{"one has another order", func(all []*Digest) {
			all[7].Phases[0].Nanoseconds = 900_000
			all[9].Story = &Story{ID: "y"}
		}, 9, "its order of events is that of 1 in 20 repetitions"},
		{"one failed", func(all []*Digest) {
			all[9].Story = &Story{ID: "y"}
			all[12].Ruling = CannotTell
			all[15].Ruling, all[16].Ruling = Fail, Fail
		}, 15, "its ruling is fail"},
		{"nothing was expected", func(all []*Digest) {
			for _, d := range all {
				d.Ruling = 0
			}
			all[7].Phases[0].Nanoseconds = 900_000
		}, 7, "connect.blocked took 900 µs, typically 101 µs"},
		{"a microsecond is not odd", func(all []*Digest) {
			for _, d := range all {
				d.Phases[0].Nanoseconds = 2_000
			}
			all[7].Phases[0].Nanoseconds = 3_000
		}, 0, ""},
		{"what is within ± is not odd", func(all []*Digest) {
			for _, d := range all {
				d.Phases[0].Nanoseconds, d.Phases[0].Err = 2_000, 50_000
			}
			all[7].Phases[0].Nanoseconds = 60_000
		}, 0, ""},
	} {
		all := usual()
		test.change(all)
		CompareDigests(all)
		if got, because := WorstOf(all); got != test.want || because != test.because {
			t.Errorf("%s: the worst is %d because %q, want %d because %q", test.name, got, because, test.want, test.because)
		}
		if order := Oddest(all); len(order) != len(all) || test.because != "" && order[0] != test.want {
			t.Errorf("%s: in order of oddness %v, want %d first", test.name, order, test.want)
		}
		slices.Reverse(all)
		CompareDigests(all)
		if got, because := WorstOf(all); because != test.because && !strings.HasPrefix(test.because, "its ruling") {
			t.Errorf("%s: in another order the worst is %d because %q", test.name, got, because)
		}
	}
	if got, because := WorstOf(nil); got != -1 || because != "" {
		t.Errorf("of none the worst is %d because %q", got, because)
	}
}

// TestOddnessIsOfItsVariant makes sure that a variant is not odd for being another one.
func TestOddnessIsOfItsVariant(t *testing.T) {
	var all []*Digest
	for i := range 12 {
		d := digestWith(i+1, Pass, "x", 100_000)
		if i >= 8 {
			d.Variant, d.Story, d.Phases[0].Nanoseconds = "slow", &Story{ID: "y"}, 5_000_000
		}
		all = append(all, d)
	}
	CompareDigests(all)
	for _, d := range all {
		if d.Oddness.Unusual || d.Oddness.Score >= OddScore || d.Oddness.Because != "" {
			t.Errorf("repetition %d is odd: %+v", d.Repetition, d.Oddness)
		}
	}
}
