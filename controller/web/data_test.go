package web

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"syncline/controller/timeline"
)

// contract are the types of data.ts that have a type of the same name here. Axis is
// another one there: its packed form is what goes over.
var contract = map[string]reflect.Type{
	"Page": reflect.TypeFor[Page](), "Opening": reflect.TypeFor[Opening](), "Run": reflect.TypeFor[Run](),
	"Host": reflect.TypeFor[Host](), "Expectation": reflect.TypeFor[Expectation](), "Overview": reflect.TypeFor[Overview](),
	"PhaseStatistics": reflect.TypeFor[PhaseStatistics](), "PhaseValue": reflect.TypeFor[PhaseValue](),
	"Clock": reflect.TypeFor[Clock](), "HostClock": reflect.TypeFor[HostClock](), "ClockPoint": reflect.TypeFor[ClockPoint](),
	"ClockSample": reflect.TypeFor[ClockSample](), "ClockChange": reflect.TypeFor[ClockChange](), "ClockPair": reflect.TypeFor[ClockPair](),
	"Repetition": reflect.TypeFor[Repetition](), "RepetitionClock": reflect.TypeFor[RepetitionClock](), "Verdict": reflect.TypeFor[Verdict](),
	"Moment": reflect.TypeFor[Moment](), "Connection": reflect.TypeFor[Connection](), "End": reflect.TypeFor[End](),
	"State": reflect.TypeFor[State](), "Phase": reflect.TypeFor[Phase](), "Cause": reflect.TypeFor[Cause](), "Note": reflect.TypeFor[Note](),
	"Layout": reflect.TypeFor[Layout](), "Lane": reflect.TypeFor[Lane](), "Row": reflect.TypeFor[Row](), "Arrow": reflect.TypeFor[Arrow](),
	"Bracket": reflect.TypeFor[Bracket](), "StateMark": reflect.TypeFor[StateMark](), "Drop": reflect.TypeFor[Drop](),
	"Band": reflect.TypeFor[Band](), "StateSpan": reflect.TypeFor[StateSpan](), "PackedAxis": reflect.TypeFor[Axis](),
}

// TestContract: what the page is told is what the page reads, field by field. What data.ts
// calls a list may go over as a Table; the functions beside the types turn it back.
func TestContract(t *testing.T) {
	text, err := os.ReadFile("page/src/data.ts")
	if err != nil {
		t.Fatal(err)
	}
	read := typesOf(string(text))
	for name, native := range contract {
		want := make(map[string]string)
		for i := range native.NumField() {
			if f := native.Field(i); f.IsExported() && f.Tag.Get("json") != "-" {
				want[f.Tag.Get("json")] = scriptType(f.Type)
			}
		}
		if diff := cmp.Diff(want, read[name]); diff != "" {
			t.Errorf("%s (-data.go +data.ts):\n%s", name, diff)
		}
	}
	for name := range read {
		if contract[name] == nil && name != "Axis" && name != "Table" {
			t.Errorf("data.ts has a type %s that data.go does not have", name)
		}
	}
	if want := `schema = "` + Schema + `"`; !strings.Contains(string(text), want) {
		t.Errorf("data.ts does not read %s", want)
	}
}

var (
	declaration = regexp.MustCompile(`(?s)(?:export interface (\w+)|type (\w+) =) \{(.*?)\n?\}`)
	field       = regexp.MustCompile(`(\w+): ([^;]+);`)
	comment     = regexp.MustCompile(`(?s)/\*.*?\*/`)
	literals    = regexp.MustCompile(`^"[^"]*"( \| "[^"]*")*$`)
	// named are types of data.ts that are strings with some values only.
	named = map[string]bool{"Ruling": true, "MomentKind": true, "RowKind": true, `Axis["name"]`: true}
)

// typesOf reads the types of a script whose fields are of simple types.
func typesOf(text string) map[string]map[string]string {
	types := make(map[string]map[string]string)
	for _, d := range declaration.FindAllStringSubmatch(comment.ReplaceAllString(text, ""), -1) {
		fields := make(map[string]string)
		for _, f := range field.FindAllStringSubmatch(d[3]+";", -1) {
			f[2] = strings.TrimSpace(f[2])
			if named[f[2]] || literals.MatchString(f[2]) {
				f[2] = "string"
			}
			fields[f[1]] = f[2]
		}
		types[d[1]+d[2]] = fields
	}
	return types
}

// scriptType is what data.ts is to call a type.
func scriptType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int, reflect.Int64, reflect.Uint64, reflect.Float64:
		return "number"
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Slice:
		return scriptType(t.Elem()) + "[]"
	case reflect.Pointer:
		return scriptType(t.Elem()) + " | null"
	}
	return t.Name()
}

// TestLayoutIsWhole: what a ladder tells, a page has; what it leaves out is named here, with
// the reason.
func TestLayoutIsWhole(t *testing.T) {
	for _, test := range []struct {
		of, as reflect.Type
		// elsewhere are fields that a page has under another name, or in another place.
		elsewhere []string
	}{
		{reflect.TypeFor[timeline.Row](), reflect.TypeFor[Row](), []string{"Lab"}},
		// The transmission that an arrow is of can be found by its moments.
		{reflect.TypeFor[timeline.Arrow](), reflect.TypeFor[Arrow](), []string{"Segment", "Other", "DuplicateACK"}},
		{reflect.TypeFor[timeline.Bracket](), reflect.TypeFor[Bracket](), nil},
		// Whose doubt it is its lane and connection tell.
		{reflect.TypeFor[timeline.StateMark](), reflect.TypeFor[StateMark](), []string{"Whose"}},
		{reflect.TypeFor[timeline.LadderDrop](), reflect.TypeFor[Drop](), nil},
		{reflect.TypeFor[timeline.Band](), reflect.TypeFor[Band](), nil},
		{reflect.TypeFor[timeline.StateSpan](), reflect.TypeFor[StateSpan](), nil},
		// Clocks are the repetition's and the run's.
		{reflect.TypeFor[timeline.LadderLane](), reflect.TypeFor[Lane](), []string{"Clock", "SameKernel"}},
	} {
		for i := range test.of.NumField() {
			name := test.of.Field(i).Name
			if _, ok := test.as.FieldByName(name); !ok && !slices.Contains(test.elsewhere, name) {
				t.Errorf("%s.%s does not reach the page", test.of, name)
			}
		}
	}
	for k := timeline.RowMoment; k <= timeline.RowTrace; k++ {
		if rowKinds[k] == "" && k != timeline.RowSpace {
			t.Errorf("the page has no name for rows of kind %d", k)
		}
	}
}

// TestContractBites: a field too few, too many or of another type is seen.
func TestContractBites(t *testing.T) {
	got := typesOf("/** said */ export interface A {\n  /** a; b: c */\n  x: number;\n  y: \"a\" | \"b\";\n  z: B[] | null;\n}\ntype B = { n: Ruling };")
	want := map[string]map[string]string{"A": {"x": "number", "y": "string", "z": "B[] | null"}, "B": {"n": "string"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// sampleRow has a field of every type that a Table takes.
type sampleRow struct {
	N     int          `json:"n"`
	At    int64        `json:"at"`
	Share float64      `json:"share"`
	Yes   bool         `json:"yes"`
	Text  string       `json:"text"`
	Err   *int64       `json:"err"`
	Words List[string] `json:"words"`
}

// TestTableKeepsAll: what a table was made of can be read from it, if a column that is not
// there is zero throughout; and one that is there is not.
func TestTableKeepsAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		row := rapid.Custom(func(t *rapid.T) sampleRow {
			r := sampleRow{
				N: rapid.Int().Draw(t, "n"), At: rapid.Int64().Draw(t, "at"), Share: rapid.Float64Range(-1e12, 1e12).Draw(t, "share"),
				Yes: rapid.Bool().Draw(t, "yes"), Text: rapid.String().Draw(t, "text"),
				Words: rapid.SliceOfN(rapid.String(), 0, 3).Draw(t, "words"),
			}
			if rapid.Bool().Draw(t, "bounded") {
				r.Err = &r.At
			}
			return rapid.SampledFrom([]sampleRow{r, {}}).Draw(t, "row")
		})
		table := Table[sampleRow](rapid.SliceOfN(row, 0, 5).Draw(t, "rows"))
		text, err := json.Marshal(table)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			N       int
			Columns map[string][]json.RawMessage
		}
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if got.N != len(table) {
			t.Fatalf("%d rows, want %d", got.N, len(table))
		}
		for i := range reflect.TypeFor[sampleRow]().NumField() {
			f := reflect.TypeFor[sampleRow]().Field(i)
			column, ok := got.Columns[f.Tag.Get("json")]
			if ok && len(column) != len(table) {
				t.Fatalf("%s has %d of %d rows", f.Name, len(column), len(table))
			}
			for n := range table {
				v := reflect.ValueOf(table[n]).Field(i)
				if !ok {
					if !v.IsZero() && (v.Kind() != reflect.Slice || v.Len() > 0) {
						t.Fatalf("%s of row %d is left out: %v", f.Name, n, v)
					}
					continue
				}
				want, err := json.Marshal(v.Interface())
				if err != nil {
					t.Fatal(err)
				}
				if string(column[n]) != string(want) {
					t.Fatalf("%s of row %d: %s, want %s", f.Name, n, column[n], want)
				}
			}
		}
	})
}

func TestListIsNeverNull(t *testing.T) {
	for _, l := range []List[int]{nil, {}, {1, 2}} {
		text, err := json.Marshal(l)
		if err != nil || !strings.HasPrefix(string(text), "[") {
			t.Errorf("%v: %s, %v", l, text, err)
		}
	}
}
