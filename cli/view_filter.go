package cli

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"syncline/controller/experiment"
)

// The language of filters is that of the page: terms with blanks between them, and all must
// hold. key:value asks for a fact, a bare word or "words in quotes" for text. Values with
// commas between them are alternatives. A minus before a term turns it round. Case counts
// nowhere.
//
//	host:A call:connect,accept -is:lab time:10ms..40ms "SYN,ACK" around:3
//
// around:3 selects nothing by itself: where all but the hits are folded away, it keeps the
// three rows on either side of each.

// longestFilter is how many bytes of a filter are read. Nobody types more.
const longestFilter = 2000

// mostAround is the largest number that around: takes.
const mostAround = 1000

var (
	filterKeys  = []string{"host", "lane", "call", "flags", "conn", "kind", "result", "state", "is", "time", "took", "around", "text"}
	filterKinds = []string{"call", "packet", "state", "trace", "loss", "clock", "change", "process", "queue", "mark"}
	// filterQualities are what may be said of a row beside its kind; see facts.is.
	filterQualities = []string{
		"lost", "retransmitted", "duplicate", "impossible", "ambiguous", "reset", "dropped", "failed", "waits", "lab", "unordered", "untied",
	}
	// filterFlags are the flags of TCP by their bits, as RFC 9293 3.1 and RFC 9768 name them.
	filterFlags = []string{"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ae"}
)

// facts are what the terms of a filter ask of a row. Names and texts are in lower case.
type facts struct {
	// hosts are the names by which its host is known: the role and the agent.
	hosts []string
	// lane of the experiment; "" if it is of none.
	lane string
	// calls that the row has, as the man page spells them.
	calls []string
	kind  string
	// flags of a TCP packet; -1 if it is none.
	flags int
	// connection counts from 1; 0 if it belongs to none.
	connection int
	// result is what a call gave: "0", "econnrefused".
	result string
	// state is the TCP state that an end came to here.
	state string
	// is has the qualities.
	is []string
	// at is nanoseconds since the ladder's zero, and took how long a call took or a packet
	// was on its way; NaN if there is no such time.
	at, took float64
	// text is all that is shown of it.
	text string
}

// vocabulary is what the data at hand have, so that a value that can match nothing is told.
type vocabulary struct {
	hosts, lanes []string
	connections  int
}

// filter is a query that was read.
type filter struct {
	source string
	terms  []filterTerm
	// around is how many neighbours of a hit are shown with it.
	around int
}

type filterTerm struct {
	negated bool
	accepts func(*facts) bool
}

// filterError is what is wrong with a filter, and where: bytes of its text.
type filterError struct {
	at, length int
	message    string
}

func (e *filterError) Error() string { return e.message }

// selects reports whether all terms hold.
func (f *filter) selects(x *facts) bool {
	for _, t := range f.terms {
		if t.accepts(x) == t.negated {
			return false
		}
	}
	return true
}

// filterWord has blanks in quotes only. A quote that is not closed goes on to the end.
var filterWord = regexp.MustCompile(`(?:[^\s"]|"[^"]*"?)+`)

// parseFilter reads a filter; nil, without an error, is one that asks for nothing. The error
// is a *filterError, about the first term that cannot be understood.
func parseFilter(text string, known vocabulary) (*filter, error) {
	if len(text) > longestFilter {
		return nil, &filterError{0, len(text), fmt.Sprintf("the filter has %d bytes; at most %d are read", len(text), longestFilter)}
	}
	f := &filter{source: strings.TrimSpace(text)}
	for _, at := range filterWord.FindAllStringIndex(text, -1) {
		if err := f.parseTerm(text[at[0]:at[1]], known); err != nil {
			return nil, &filterError{at[0], at[1] - at[0], err.Error()}
		}
	}
	if len(f.terms) == 0 {
		if f.around > 0 {
			return nil, &filterError{0, len(text), "around: says how much is shown beside what another term selects; there is none"}
		}
		return nil, nil
	}
	return f, nil
}

var filterKey = regexp.MustCompile(`^([A-Za-z]+):`)

func (f *filter) parseTerm(word string, known vocabulary) error {
	body, negated := strings.CutPrefix(word, "-")
	if body == "" {
		body, negated = word, false
	}
	key, value := "text", body
	// What is before a colon is a key if it could be one.
	if m := filterKey.FindStringSubmatch(body); m != nil {
		key, value = strings.ToLower(m[1]), body[len(m[0]):]
		if !slices.Contains(filterKeys, key) {
			return unknownWord("key", m[1], filterKeys, " Text with a colon needs quotes.")
		}
	}
	if key == "around" {
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 || n > mostAround || negated {
			return fmt.Errorf("around: wants how many rows to show on either side of a hit, up to %d", mostAround)
		}
		f.around = n
		return nil
	}
	accepts, err := testOf(key, value, known)
	if err != nil {
		return err
	}
	f.terms = append(f.terms, filterTerm{negated, accepts})
	return nil
}

// testOf is the test of one term, for any of its alternatives.
func testOf(key, value string, known vocabulary) (func(*facts) bool, error) {
	switch key {
	case "time":
		return rangeTest(key, value, func(x *facts) float64 { return x.at })
	case "took":
		return rangeTest(key, value, func(x *facts) float64 { return x.took })
	}
	asked := alternatives(value)
	if key == "text" {
		// In bare text a comma is a comma: "SYN,ACK" is how a tap writes it.
		asked = []string{value}
	}
	if len(asked) == 0 {
		return nil, fmt.Errorf("%s: has no value", key)
	}
	var tests []func(*facts) bool
	for _, one := range asked {
		bare, err := unquoted(one)
		if err != nil {
			return nil, err
		}
		test, err := testOne(key, bare, known)
		if err != nil {
			return nil, err
		}
		tests = append(tests, test)
	}
	return func(x *facts) bool {
		return slices.ContainsFunc(tests, func(test func(*facts) bool) bool { return test(x) })
	}, nil
}

var filterValue = regexp.MustCompile(`(?:[^,"]|"[^"]*"?)+`)

func alternatives(value string) []string { return filterValue.FindAllString(value, -1) }

func unquoted(value string) (string, error) {
	if strings.Count(value, `"`)%2 == 1 {
		return "", fmt.Errorf("a quote is not closed")
	}
	bare := strings.ToLower(strings.ReplaceAll(value, `"`, ""))
	if bare == "" {
		return "", fmt.Errorf("there is nothing between the quotes")
	}
	return bare, nil
}

func testOne(key, asked string, known vocabulary) (func(*facts) bool, error) {
	switch key {
	case "host":
		return func(x *facts) bool { return slices.Contains(x.hosts, asked) }, mustBe("host", asked, known.hosts)
	case "lane":
		return func(x *facts) bool { return x.lane == asked }, mustBe("lane", asked, known.lanes)
	case "call":
		return func(x *facts) bool { return slices.Contains(x.calls, asked) }, nil
	case "flags":
		return flagsTest(asked)
	case "conn":
		return connectionTest(asked, known.connections)
	case "kind":
		return func(x *facts) bool { return x.kind == asked }, mustBe("kind", asked, filterKinds)
	case "result":
		return func(x *facts) bool { return strings.Contains(x.result, asked) }, nil
	case "state":
		name := strings.ReplaceAll(asked, "-", "_")
		return func(x *facts) bool { return x.state == name }, nil
	case "is":
		return func(x *facts) bool { return slices.Contains(x.is, asked) }, mustBe("word for is:", asked, filterQualities)
	}
	return func(x *facts) bool { return strings.Contains(x.text, asked) }, nil
}

// flagsTest: syn has SYN among its flags; =syn has SYN and nothing else; syn+ack has both.
func flagsTest(asked string) (func(*facts) bool, error) {
	names, only := strings.CutPrefix(asked, "=")
	bits := 0
	for _, name := range strings.FieldsFunc(names, func(r rune) bool { return strings.ContainsRune("+|/", r) }) {
		bit := slices.Index(filterFlags, name)
		if bit < 0 {
			return nil, unknownWord("flag", name, filterFlags, "")
		}
		bits |= 1 << bit
	}
	switch {
	case bits == 0:
		return nil, fmt.Errorf("flags: has no flag; known: %s", strings.Join(filterFlags, ", "))
	case only:
		return func(x *facts) bool { return x.flags == bits }, nil
	}
	return func(x *facts) bool { return x.flags >= 0 && x.flags&bits == bits }, nil
}

func connectionTest(asked string, count int) (func(*facts) bool, error) {
	if asked == "none" {
		return func(x *facts) bool { return x.connection == 0 }, nil
	}
	n, err := strconv.Atoi(asked)
	switch {
	case err != nil || n < 1:
		return nil, fmt.Errorf("conn:%s is no number of a connection; they count from 1, and conn:none is what belongs to none", asked)
	case n > count && count == 0:
		return nil, fmt.Errorf("there is no connection %d; there are none", n)
	case n > count:
		return nil, fmt.Errorf("there is no connection %d; they go from 1 to %d", n, count)
	}
	return func(x *facts) bool { return x.connection == n }, nil
}

var filterLimit = regexp.MustCompile(`^(<=|>=|<|>)(.+)$`)

func rangeTest(key, value string, of func(*facts) float64) (func(*facts) bool, error) {
	if m := filterLimit.FindStringSubmatch(value); m != nil {
		limit, err := nanoseconds(m[2])
		// Nothing is before, after or at NaN.
		switch m[1] {
		case "<":
			return func(x *facts) bool { return of(x) < limit }, err
		case "<=":
			return func(x *facts) bool { return of(x) <= limit }, err
		case ">":
			return func(x *facts) bool { return of(x) > limit }, err
		}
		return func(x *facts) bool { return of(x) >= limit }, err
	}
	from, to, ok := strings.Cut(value, "..")
	if !ok || from == "" && to == "" {
		return nil, fmt.Errorf("%s: wants a range as 10ms..40ms, 10ms.. or ..40ms, or a limit as >10ms", key)
	}
	low, high := math.Inf(-1), math.Inf(1)
	var err error
	if from != "" {
		if low, err = nanoseconds(from); err != nil {
			return nil, err
		}
	}
	if to != "" {
		if high, err = nanoseconds(to); err != nil {
			return nil, err
		}
	}
	if low > high {
		return nil, fmt.Errorf("%s: %s is after %s", key, from, to)
	}
	return func(x *facts) bool { return of(x) >= low && of(x) <= high }, nil
}

var (
	filterTime  = regexp.MustCompile(`^([-−]?[0-9]+(?:\.[0-9]+)?)([A-Za-zµμ]*)$`)
	filterUnits = map[string]float64{"ns": 1, "us": 1e3, "µs": 1e3, "μs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9}
)

// nanoseconds reads "1.5ms".
func nanoseconds(text string) (float64, error) {
	m := filterTime.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%q is no time; write it as 10ms, 1.5s or 200us", text)
	}
	unit, ok := filterUnits[strings.ToLower(m[2])]
	switch {
	case m[2] == "":
		return 0, fmt.Errorf("%s has no unit; write %sms", text, text)
	case !ok:
		return 0, fmt.Errorf("%q is no unit of time; known: ns, us, ms, s, m, h", m[2])
	}
	n, err := strconv.ParseFloat(strings.ReplaceAll(m[1], "−", "-"), 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no time: %w", text, err)
	}
	return n * unit, nil
}

// mustBe wants one of all, in whatever case.
func mustBe(what, asked string, all []string) error {
	if slices.ContainsFunc(all, func(a string) bool { return strings.ToLower(a) == asked }) {
		return nil
	}
	return unknownWord(what, asked, all, "")
}

func unknownWord(what, asked string, all []string, more string) error {
	hint := "there are none here"
	if near := experiment.Closest(strings.ToLower(asked), all); near != "" {
		hint = "did you mean " + near + "?"
	} else if len(all) > 0 {
		hint = "known: " + strings.Join(all, ", ")
	}
	return fmt.Errorf("unknown %s %q; %s%s", what, asked, hint, more)
}
