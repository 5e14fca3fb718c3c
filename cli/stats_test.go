package cli

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncline/controller/experiment"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// fixture is the path of a recorded run of the library.
func fixture(name string) string {
	return "../controller/export/testdata/library/" + name + ".syncline"
}

// TestStatsAndDiff holds what stats and diff say of recorded runs against files of
// testdata/stats. Run with -update to write them; read the difference before it is committed.
func TestStatsAndDiff(t *testing.T) {
	for _, test := range []struct {
		file string
		code int
		args []string
	}{
		{"handshake", 0, []string{"stats", fixture("handshake-and-teardown")}},
		{"simultaneous-by-end", 0, []string{"stats", fixture("simultaneous-open"), "--by", "end", "--phase", "connect.blocked,connect.syn_transit,connect.wakeup"}},
		{"variants-ascii", 0, []string{"stats", fixture("blocking-connect"), "--ascii"}},
		{"several-by-conn", 0, []string{"stats", fixture("backlog-values"), "--by", "conn", "--phase", "connect.blocked"}},
		{"same", 0, []string{"diff", fixture("simultaneous-open"), fixture("simultaneous-open"), "--phase", "connect.blocked,connect.rtt"}},
		{"too-few", 3, []string{"diff", fixture("connect-refused"), fixture("handshake-and-teardown")}},
		{"too-few-of-the-same", 3, []string{"diff", fixture("handshake-and-teardown"), fixture("handshake-and-teardown")}},
	} {
		t.Run(test.file, func(t *testing.T) {
			t.Setenv("COLUMNS", "80")
			var out, errs bytes.Buffer
			if code := Main(t.Context(), test.args, Streams{Out: &out, Err: &errs}); code != test.code {
				t.Errorf("exit code %d, want %d: %s", code, test.code, errs.String())
			}
			for _, line := range strings.Split(out.String(), "\n") {
				if columns.StringWidth(line) > 80 {
					t.Errorf("wider than 80 columns: %s", line)
				}
			}
			if strings.Contains(test.file, "ascii") && strings.ContainsFunc(out.String(), func(r rune) bool { return r > 126 }) {
				t.Errorf("not ASCII:\n%s", out.String())
			}
			name := filepath.Join("testdata", "stats", test.file+".txt")
			if *update {
				if err := os.WriteFile(name, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), out.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestStatsAsData reads what the other formats say, which must be the same in all of them.
func TestStatsAsData(t *testing.T) {
	run := func(format string) []byte {
		var out, errs bytes.Buffer
		if code := Main(t.Context(), []string{"stats", fixture("simultaneous-open"), "-o", format}, Streams{Out: &out, Err: &errs}); code != 0 {
			t.Fatalf("-o %s: exit code %d: %s", format, code, errs.String())
		}
		return out.Bytes()
	}
	var whole struct {
		Schema string
		Runs   []struct {
			Run         string
			Repetitions int
			Rulings     map[string]int
			Groups      []struct {
				Ruling string
				Phases []map[string]any
			}
		}
	}
	if err := json.Unmarshal(run("json"), &whole); err != nil {
		t.Fatal(err)
	}
	if whole.Schema != "syncline.stats/1" || len(whole.Runs) != 1 || len(whole.Runs[0].Groups) != 2 || whole.Runs[0].Repetitions != 22 {
		t.Fatalf("json says %+v", whole)
	}
	var fromJSON []string
	for _, g := range whole.Runs[0].Groups {
		for _, p := range g.Phases {
			fromJSON = append(fromJSON, fmt.Sprintf("%s %s %.0f %.0f", g.Ruling, p["phase"], p["n"], p["median_ns"]))
		}
	}
	var fromLines []string
	for line := range strings.Lines(string(run("ndjson"))) {
		var row map[string]any
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		fromLines = append(fromLines, fmt.Sprintf("%s %s %.0f %.0f", row["ruling"], row["phase"], row["n"], row["median_ns"]))
	}
	rows, err := csv.NewReader(bytes.NewReader(run("csv"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) int { return slices.Index(rows[0], name) }
	var fromCSV []string
	for _, row := range rows[1:] {
		fromCSV = append(fromCSV, strings.Join([]string{row[at("ruling")], row[at("phase")], row[at("n")], row[at("median_ns")]}, " "))
	}
	if diff := cmp.Diff(fromJSON, fromLines); diff != "" || len(fromJSON) < 20 {
		t.Errorf("json and ndjson differ:\n%s", diff)
	}
	if diff := cmp.Diff(fromJSON, fromCSV); diff != "" {
		t.Errorf("json and csv differ:\n%s", diff)
	}
}

func TestStatsUsage(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"stats", fixture("connect-refused"), "--phase", "connect.blokced"}, "no phase \"connect.blokced\"; there are: connect.blocked"},
		{[]string{"stats", fixture("connect-refused"), "--by", "host"}, "there are end, conn, variant"},
		{[]string{"stats", fixture("connect-refused"), "-o", "yaml"}, "no output format"},
		{[]string{"stats", fixture("connect-refused") + "@1"}, "leave out @1"},
		{[]string{"diff", fixture("connect-refused"), fixture("connect-refused"), "--threshold", "2"}, "give a share, as 2%"},
		{[]string{"diff", fixture("connect-refused")}, "accepts 2 arg(s)"},
	} {
		var out, errs bytes.Buffer
		if code := Main(t.Context(), test.args, Streams{Out: &out, Err: &errs}); code != exitUsage || !strings.Contains(errs.String(), test.want) {
			t.Errorf("%v: exit code %d: %s, want %q", test.args, code, errs.String(), test.want)
		}
	}
	var out, errs bytes.Buffer
	code := Main(t.Context(), []string{"stats", fixture("connect-refused"), "--phase", "teardown.whole"}, Streams{Out: &out, Err: &errs})
	if code != exitInconclusive || !strings.Contains(errs.String(), "no repetition has a phase teardown.whole on record") {
		t.Errorf("a phase that is not there: exit code %d: %s", code, errs.String())
	}
}

// digestsOf are so many repetitions that passed, whose connect took what is given, with a
// story each.
func digestsOf(variant string, stories []string, err int64, ns ...int64) []*timeline.Digest {
	var all []*timeline.Digest
	for i, n := range ns {
		id := stories[i%len(stories)]
		all = append(all, &timeline.Digest{
			Repetition: i + 1, Variant: variant, Ruling: timeline.Pass, Moments: 1, Connections: []string{"c to s"},
			Phases: []timeline.DigestPhase{{Name: "connect.blocked", Nanoseconds: n, Err: err}},
			Story:  &timeline.Story{ID: id, Lines: []timeline.StoryLine{{Of: "c at A", Steps: []string{"→ SYN", id}}}},
		})
	}
	return all
}

func summarizedAs(digests []*timeline.Digest) *summarized {
	return &summarized{name: "r", run: &synclinev1.Run{Id: "r"}, digests: digests}
}

func steps(n int, from, step int64) []int64 {
	all := make([]int64, n)
	for i := range all {
		all[i] = from + int64(i)*step
	}
	return all
}

// TestDiffAnswers gives diff runs whose difference is known.
func TestDiffAnswers(t *testing.T) {
	one, two := []string{"x"}, []string{"y"}
	opts := diffOptions{share: 0.02}
	base := digestsOf("", one, 0, steps(20, 100_000, 100)...)
	lost := digestsOf("", one, 0, steps(20, 100_000, 100)...)
	for _, d := range lost {
		d.StoryDoubt = "the tap lost 3 packets"
	}
	failed := digestsOf("", one, 0, steps(20, 100_000, 100)...)
	for _, d := range failed[:10] {
		d.Ruling = timeline.Fail
	}
	varied := make([]string, 20)
	for i := range varied {
		varied[i] = strconv.Itoa(i)
	}
	others := make([]string, 20)
	for i := range others {
		others[i] = strconv.Itoa(100 + i)
	}
	for _, test := range []struct {
		name    string
		a, b    []*timeline.Digest
		want    string
		because string
	}{
		{"itself", base, base, answerSame, ""},
		{"slower", base, digestsOf("", one, 0, steps(20, 150_000, 100)...), answerDifferent, "connect.blocked"},
		{"slower by less than matters", base, digestsOf("", one, 0, steps(20, 101_000, 100)...), answerSame, ""},
		{"slower by less than ±", base, digestsOf("", one, 80_000, steps(20, 150_000, 100)...), answerUnknown, "connect.blocked"},
		{"another order", base, digestsOf("", two, 0, steps(20, 100_000, 100)...), answerDifferent, "the order of events"},
		{"one repetition in another order", base[:1], digestsOf("", two, 0, 100_000), answerUnknown, "the order of events"},
		{"four repetitions in another order", base[:4], digestsOf("", two, 0, steps(4, 100_000, 100)...), answerDifferent, "the order of events"},
		{"one repetition that failed", base[:1], failed[:1], answerUnknown, "came to fail"},
		{"now and then another order", base, digestsOf("", slices.Concat(slices.Repeat(one, 19), two), 0, steps(20, 100_000, 100)...), answerSame, ""},
		{"never the same order twice", digestsOf("", varied, 0, steps(20, 100_000, 100)...), digestsOf("", others, 0, steps(20, 100_000, 100)...), answerUnknown, "the order of events"},
		{"packets lost", base, lost, answerUnknown, "the order of events"},
		{"too few", base[:3], base[:3], answerUnknown, "too few repetitions"},
		{"failures", base, failed, answerDifferent, "came to fail"},
		{"another variant", base, digestsOf("late", one, 0, steps(20, 100_000, 100)...), answerDifferent, "variants"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := diffOf(summarizedAs(test.a), summarizedAs(test.b), opts)
			if d.Answer != test.want || !strings.Contains(strings.Join(d.Because, ", "), test.because) {
				t.Errorf("%s because %v, want %s because %s", d.Answer, d.Because, test.want, test.because)
			}
			var out bytes.Buffer
			for _, width := range []int{40, 60, 80, 140} {
				if err := drawDiff(&out, d, drawOptions{Width: width}); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// manyPhases are so many repetitions of one order that have all phases.
func manyPhases(n int, from int64) []*timeline.Digest {
	all := digestsOf("", []string{"x"}, 0, steps(n, from, 7)...)
	for i, d := range all {
		d.Phases = nil
		for k, name := range experiment.PhaseNames() {
			d.Phases = append(d.Phases, timeline.DigestPhase{Name: name, Connection: -1, End: -1, Nanoseconds: from + int64(i*7+k)})
		}
	}
	return all
}

// TestDiffOfManyPhasesCanTell: four against four tell one phase apart, and none of many.
func TestDiffOfManyPhasesCanTell(t *testing.T) {
	a, b := summarizedAs(manyPhases(4, 1_000)), summarizedAs(manyPhases(4, 1_000_000))
	if d := diffOf(a, b, diffOptions{}); d.Answer != answerUnknown || !strings.Contains(strings.Join(d.Because, ", "), "too few repetitions") {
		t.Errorf("all phases: %s because %v", d.Answer, d.Because)
	}
	if d := diffOf(a, b, diffOptions{phases: []string{"connect.blocked"}}); d.Answer != answerDifferent {
		t.Errorf("one phase: %s because %v", d.Answer, d.Because)
	}
	a, b = summarizedAs(manyPhases(9, 1_000)), summarizedAs(manyPhases(9, 1_000_000))
	if d := diffOf(a, b, diffOptions{}); d.Answer != answerDifferent {
		t.Errorf("nine against nine: %s because %v", d.Answer, d.Because)
	}
}

// TestDiffWithoutPhases: nothing is said of phases that are in neither run, and none are too
// few of nothing.
func TestDiffWithoutPhases(t *testing.T) {
	without := func() *summarized {
		all := manyPhases(9, 1_000)
		for _, d := range all {
			d.Phases = nil
		}
		return summarizedAs(all)
	}
	with := summarizedAs(manyPhases(9, 1_000))
	for _, test := range []struct {
		name    string
		a, b    *summarized
		opts    diffOptions
		want    string
		because []string
	}{
		{"none in either", without(), without(), diffOptions{}, answerSame, []string{}},
		{"none in either that was asked for", without(), without(), diffOptions{phases: []string{"connect.blocked"}}, answerUnknown, []string{"phases: none of them is on record in both"}},
		{"none in one", without(), with, diffOptions{}, answerUnknown, []string{"phases: none of them is on record in both"}},
	} {
		if d := diffOf(test.a, test.b, test.opts); d.Answer != test.want || !slices.Equal(d.Because, test.because) {
			t.Errorf("%s: %s because %q, want %s because %q", test.name, d.Answer, d.Because, test.want, test.because)
		}
	}
}

// TestOrderThatCannotBeTold says why.
func TestOrderThatCannotBeTold(t *testing.T) {
	sure, other := digestsOf("", []string{"x", "y"}, 0, steps(20, 1_000, 1)...), digestsOf("", []string{"z"}, 0, steps(20, 1_000, 1)...)
	lost := digestsOf("", []string{"x"}, 0, steps(20, 1_000, 1)...)
	for _, d := range lost {
		d.StoryDoubt = "the tap lost 3 packets"
	}
	for _, test := range []struct {
		name string
		a, b []*timeline.Digest
		want string
	}{
		{"all of A is left out", lost, sure, "A has no repetition"},
		{"all of B is left out", sure, lost, "B has no repetition"},
		{"all is left out", lost, lost, "neither run has a repetition"},
		{"three of each, the same", sure[:3], sure[:3], "too few repetitions"},
		{"three of each, others", other[:3], sure[:3], "too few repetitions"},
	} {
		d := orderDiffOf(test.a, test.b)
		text := strings.Join(orderText(&d, drawOptions{Width: 200}), "\n")
		if d.Answer != answerUnknown || !strings.Contains(text, test.want) || strings.Contains(text, "no order is in both") {
			t.Errorf("%s: %s, want %q:\n%s", test.name, d.Answer, test.want, text)
		}
	}
}

// TestRepetitionsCountOnce: lengths of one repetition are no repetitions, and the ends are
// told apart.
func TestRepetitionsCountOnce(t *testing.T) {
	var all []*timeline.Digest
	for i := range 3 {
		d := &timeline.Digest{Repetition: i + 1, Ruling: timeline.Pass, Connections: []string{"c to s"}, Story: &timeline.Story{ID: "x"}}
		for k := range int64(5) {
			d.Phases = append(d.Phases,
				timeline.DigestPhase{Name: "recv.blocked", End: timeline.ClientEnd, Nanoseconds: 100*int64(i) + k, Err: k},
				timeline.DigestPhase{Name: "recv.blocked", End: timeline.ServerEnd, Nanoseconds: 1_000_000 + k})
		}
		all = append(all, d)
	}
	r := summarizedAs(all)
	rows := statsOf(r, statsOptions{}).Groups[0].Phases
	if len(rows) != 2 || rows[0].label != "recv.blocked client" || rows[1].label != "recv.blocked server" || rows[1].End != "server" {
		t.Fatalf("got %+v", rows)
	}
	if c := rows[0]; c.N != 3 || c.Min != 2 || c.Median != 102 || c.Max != 202 || c.Err != 4 || c.Low != nil {
		t.Errorf("the client's are %+v", c)
	}
	d := diffOf(r, r, diffOptions{}).Variants[0].Phases
	if len(d) != 2 || d[0].NA != 3 || d[0].End != "client" || d[0].Ruling != "too few" || d[1].MedianA != 1_000_002 {
		t.Errorf("they differ from themselves: %+v", d)
	}
	if one := statsOf(r, statsOptions{by: "end"}).Groups; len(one) != 2 || one[0].Phases[0].label != "recv.blocked" {
		t.Errorf("by end: %+v", one)
	}
}

// TestPartOfOne: a phase that is now a part of one and now of another is told as part of none.
func TestPartOfOne(t *testing.T) {
	with := func(wholes ...string) *summarized {
		all := digestsOf("", []string{"x"}, 0, steps(len(wholes), 1_000, 1)...)
		for i, whole := range wholes {
			all[i].Phases[0].Whole = whole
		}
		return summarizedAs(all)
	}
	for _, test := range []struct {
		a, b  *summarized
		inA   string
		inAll string
	}{
		{with("w", "w"), with("w", "w"), "w", "w"},
		{with("w", "v", "w"), with("w", "w"), "", ""},
		{with("w", "w"), with("v", "v"), "w", ""},
	} {
		if got := statsOf(test.a, statsOptions{}).Groups[0].Phases[0].Part; got != test.inA {
			t.Errorf("a part of %q, want %q", got, test.inA)
		}
		if got := diffOf(test.a, test.b, diffOptions{}).Variants[0].Phases[0].Part; got != test.inAll {
			t.Errorf("in both a part of %q, want %q", got, test.inAll)
		}
	}
}

func TestChangedSteps(t *testing.T) {
	steps, instead := changedSteps([]string{"a", "b", "x", "c", "d"}, []string{"a", "b", "c", "d"})
	if steps != "…; b; x; c; …" || instead != "…; b; c; …" {
		t.Errorf("got %q instead of %q", steps, instead)
	}
	if steps, instead = changedSteps(nil, []string{"a"}); steps != "nothing" || instead != "a" {
		t.Errorf("got %q instead of %q", steps, instead)
	}
}

func TestTimeUnits(t *testing.T) {
	for _, test := range []struct {
		median, ns int64
		want       string
	}{
		{380, 95, "95 ns"}, {40_140_000, 40_140_000, "40.1 ms"}, {40_140_000, 9_996_000, "10.0 ms"}, {40_140_000, 99_960_000, "100 ms"},
		{12_000, 1_200_000_000, "1.2s µs"}, {40_140_000, 35_000, "35µs ms"}, {12_000, 0, "0 µs"}, {12_000, -1_000, "−1.00 µs"}, {2_000_000_000, 1_003_000_000, "1.00 s"},
	} {
		unit := unitOf(test.median)
		if got := unit.digits(test.ns) + " " + unit.name; got != test.want {
			t.Errorf("%d ns beside %d ns is %q, want %q", test.ns, test.median, got, test.want)
		}
	}
	for _, test := range []struct {
		median, err int64
		want        string
	}{{40_140_000, 38, "38ns"}, {40_140_000, 101, "110ns"}, {12_000, 5_801, "5.9"}, {12_000, 0, "0"}, {380, 101, "110"}} {
		if got := unitOf(test.median).within(test.err); got != test.want {
			t.Errorf("± %d ns beside %d ns is %q, want %q", test.err, test.median, got, test.want)
		}
	}
}

func TestCompareNatural(t *testing.T) {
	all := []string{"client[10].c", "client[2].c", "client[1].c", "b", "client"}
	slices.SortFunc(all, compareNatural)
	if diff := cmp.Diff([]string{"b", "client", "client[1].c", "client[2].c", "client[10].c"}, all); diff != "" {
		t.Error(diff)
	}
}

// TestPhaseNamesFit keeps the table of phases in 80 columns.
func TestPhaseNamesFit(t *testing.T) {
	for _, name := range experiment.PhaseNames() {
		if len(name) > statsNames {
			t.Errorf("%s is longer than %d columns", name, statsNames)
		}
	}
}
