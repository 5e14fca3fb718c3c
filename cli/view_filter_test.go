package cli

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"syncline/controller/timeline"
)

var testVocabulary = vocabulary{hosts: []string{"A", "vm1", "B", "vm2"}, lanes: []string{"client", "server"}, connections: 2}

const filterScene = `host A 10.0.0.1
host B 10.0.0.2 ±0.038
B server socket(AF_INET) -3..-2.99 = 3 makes s
B server bind(s, 0.0.0.0:8080) -2.9..-2.89 = 0
B server accept(s) -1..60.22 = 7 makes a
A client connect(c, B:8080) 0..40.14 = ECONNREFUSED fails expected ok
state A SYN_SENT traced 0.02
A>B SYN 0.031..? lost
A>B SYN 1000..1020.02 again
B>A SYN+ACK 1020.1..1040.1
A>B RST 1041..1061
A client sleep(50ms) 1070..1120 = 0
loss B packets 3 1100..1130
`

// TestFilter: each filter selects the rows whose texts are listed.
func TestFilter(t *testing.T) {
	tl := parseScene(t, filterScene)
	l := tl.Ladder(timeline.LadderOptions{})
	known := vocabularyOf(tl, l)
	for _, c := range []struct {
		filter string
		want   []string
	}{
		{"call:connect", []string{"connect B:8080", "connect B:8080: ✗ ECONNREFUSED in 40.14 ms"}},
		{"CALL:Bind", []string{"socket, bind"}},
		{"is:failed result:econn", []string{"connect B:8080", "connect B:8080: ✗ ECONNREFUSED in 40.14 ms"}},
		{"flags:syn is:lost", []string{"──╳ B SYN s0 mss1460 sack ts ws7, lost"}},
		{"flags:=syn host:b", []string{"◀── A SYN after 20.02 ms ±38 µs"}},
		{"flags:rst,syn+ack host:vm1", []string{"◀── B SYN+ACK after 20 ms ±38 µs", "──▶ B RST s1"}},
		{"is:retransmitted", []string{"──▶ B SYN R1 s0 mss1460 sack ts ws7", "◀── A SYN after 20.02 ms ±38 µs"}},
		{"kind:packet -flags:syn,rst", nil},
		{"state:syn-sent", []string{"◆ …→ SYN_SENT"}},
		{"kind:loss", []string{"░ 3 packets lost here (capture ring of eth0)"}},
		{"lane:client -call:connect", []string{"(sleep 50ms)"}},
		{"is:lab", []string{"(sleep 50ms)"}},
		{"time:<0ms kind:call", []string{"socket, bind", "accept s"}},
		{"took:>50ms kind:call", []string{"accept s", "accept s: fd 7, waited 61.22 ms"}},
		{"took:20ms..20.01ms", []string{"──▶ A SYN+ACK s0 a1 mss1460 sack ts ws7", "◀── B SYN+ACK after 20 ms ±38 µs", "──▶ B RST s1", "◀── A RST after 20 ms ±38 µs"}},
		{"conn:1 time:..0.5ms kind:packet", []string{"──╳ B SYN s0 mss1460 sack ts ws7, lost"}},
		{`"fd 7"`, []string{"accept s: fd 7, waited 61.22 ms"}},
		{`-host:a,b`, []string{"939.78 ms quiet"}},
	} {
		f, err := parseFilter(c.filter, known)
		if err != nil {
			t.Errorf("%s: %v", c.filter, err)
			continue
		}
		var got []string
		for row := range l.Rows {
			if tells(&l.Rows[row]) && f.selects(factsOf(tl, l, row)) {
				got = append(got, strings.Join(strings.Fields(strings.TrimLeft(rowSentence(l, row), "├┬┴ ")), " "))
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.filter, diff)
		}
	}
}

// TestFilterErrors: what cannot be understood is told with its place, and never guessed at.
func TestFilterErrors(t *testing.T) {
	for filter, want := range map[string]string{
		"host:C":                             `unknown host "c"; known: A, vm1, B, vm2`,
		"call:connect hots:A":                `unknown key "hots"; did you mean host? Text with a colon needs quotes.`,
		"kind:packets":                       `unknown kind "packets"; did you mean packet?`,
		"is:late":                            `unknown word for is: "late"`,
		"flags:sin":                          `unknown flag "sin"; did you mean`,
		"flags:=":                            "flags: has no flag",
		"conn:3":                             "there is no connection 3; they go from 1 to 2",
		"conn:0":                             "conn:0 is no number of a connection",
		`"SYN`:                               "a quote is not closed",
		`""`:                                 "there is nothing between the quotes",
		"host:":                              "host: has no value",
		"time:10":                            "time: wants a range",
		"time:10..20ms":                      "10 has no unit; write 10ms",
		"took:>3parsecs":                     `"parsecs" is no unit of time`,
		"took:2s..1s":                        "took: 2s is after 1s",
		"around:3":                           "around: says how much is shown beside",
		"SYN around:many":                    "around: wants how many rows",
		strings.Repeat("a", longestFilter+1): "at most 2000 are read",
	} {
		_, err := parseFilter(filter, testVocabulary)
		var e *filterError
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %s", filter, err, want)
		} else if e.at < 0 || e.length < 1 || e.at+e.length > len(filter) {
			t.Errorf("%.40s: at %d, %d long", filter, e.at, e.length)
		}
	}
	for _, nothing := range []string{"", "   "} {
		if f, err := parseFilter(nothing, testVocabulary); f != nil || err != nil {
			t.Errorf("%q: %v, %v", nothing, f, err)
		}
	}
}

// FuzzFilter: whatever is typed is read or refused with its place; what is read can be asked
// of any row, each term with a minus turns it round, and a filter holds if all its terms do.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{
		`host:A call:connect,accept -is:lab time:10ms..40ms "SYN,ACK" around:3`, "flags:=syn+ack", "-conn:none took:>1.5µs", `text:"a b"`, `"`, "-", "a:", ":", "time:..", "kind:\"call\"",
	} {
		f.Add(seed)
	}
	rows := []*facts{
		{kind: "call", calls: []string{"connect"}, hosts: []string{"a", "vm1"}, lane: "client", flags: -1, connection: 1, result: "0", at: 1e6, took: 2e6, text: "a client connect: 0"},
		{kind: "packet", hosts: []string{"b"}, flags: 2, is: []string{"lost"}, at: math.NaN(), took: math.NaN(), text: "syn"},
		{flags: -1, at: math.NaN(), took: math.NaN()},
	}
	f.Fuzz(func(t *testing.T, text string) {
		read, err := parseFilter(text, testVocabulary)
		if err != nil {
			var e *filterError
			if !errors.As(err, &e) || e.at < 0 || e.at+e.length > len(text) || e.message == "" {
				t.Fatalf("%q: %#v", text, err)
			}
			return
		}
		if read == nil {
			return
		}
		words := filterWord.FindAllString(text, -1)
		for _, x := range rows {
			all := true
			for _, word := range words {
				one, err := parseFilter(word, testVocabulary)
				if err != nil || one == nil {
					// around: means nothing alone.
					continue
				}
				all = all && one.selects(x)
				if !strings.HasPrefix(word, "-") {
					if turned, err := parseFilter("-"+word, testVocabulary); err == nil && turned != nil && turned.selects(x) == one.selects(x) {
						t.Fatalf("%q and its opposite agree on %+v", word, x)
					}
				}
			}
			if read.selects(x) != all {
				t.Fatalf("%q: %v, and its terms %v", text, read.selects(x), all)
			}
		}
	})
}

// TestPromptLine: a line is edited as a shell does it.
func TestPromptLine(t *testing.T) {
	for _, c := range []struct{ keys, want string }{
		{"`one two` ctrl+w `three`", "one three|"},
		{"`one two` ctrl+a ctrl+k", "|"},
		{"`one two` left left backspace", "one |wo"},
		{"`one` home delete `x`", "x|ne"},
		{"`one two` ctrl+u", "|"},
		{"`漢字` left backspace", "|字"},
		{"`a` ctrl+g ctrl+x `b`", "ab|"},
	} {
		var p promptLine
		for _, word := range viewWord.FindAllString(c.keys, -1) {
			if typed, ok := strings.CutPrefix(word, "`"); ok {
				for _, r := range strings.TrimSuffix(typed, "`") {
					name := string(r)
					if r == ' ' {
						name = "space"
					}
					p.key(keyOf(name))
				}
				continue
			}
			p.key(keyOf(word))
		}
		if got := string(p.text[:p.at]) + "|" + string(p.text[p.at:]); got != c.want {
			t.Errorf("%s: %s, want %s", c.keys, got, c.want)
		}
	}
	var p promptLine
	p.insert("a\x1b[31mb\x00\xff" + strings.Repeat("x", 2*longestPrompt))
	if text := p.String(); !utf8.ValidString(text) || strings.ContainsAny(text, "\x1b\x00") || len(p.text) != longestPrompt {
		t.Errorf("%d characters: %.20q", len(p.text), text)
	}
	if text, cursor := p.show(drawOptions{}, 10); columns.StringWidth(text) > 10 || cursor > 9 {
		t.Errorf("%q with the cursor at %d, in 10 columns", text, cursor)
	}
}

// FuzzAlign: what is aligned is the same, in order, and as much as can be.
func FuzzAlign(f *testing.F) {
	f.Add("abcde", "acxe")
	f.Add("", "a")
	f.Add("aaaa", "aa")
	f.Fuzz(func(t *testing.T, x, y string) {
		a, b := strings.Split(x, ""), strings.Split(y, "")
		if len(a) > 200 || len(b) > 200 {
			return
		}
		pairs, whole := align(a, b)
		if !whole || len(pairs) != len(a) {
			t.Fatalf("%d pairs of %d, %v", len(pairs), len(a), whole)
		}
		last, n := -1, 0
		for i, j := range pairs {
			if j == nowhere {
				continue
			}
			if j <= last || j >= len(b) || a[i] != b[j] {
				t.Fatalf("%q and %q: %v", x, y, pairs)
			}
			last = j
			n++
		}
		if want := commonLength(a, b); n != want {
			t.Fatalf("%q and %q: %d in common, want %d", x, y, n, want)
		}
	})
}

// commonLength is how long a longest common subsequence is, row by row.
func commonLength(a, b []string) int {
	row := make([]int, len(b)+1)
	for _, x := range a {
		before := slices.Clone(row)
		for j, y := range b {
			if x == y {
				row[j+1] = before[j] + 1
			} else {
				row[j+1] = max(row[j], before[j+1])
			}
		}
	}
	return row[len(b)]
}
