package experiment

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// topics are those of the library, so that its list keeps to few headings.
var topics = []string{
	"handshake", "teardown", "reset", "queue", "timeout", "time-wait", "options", "udp", "unix", "firewall", "ports",
	"process", "flow-control", "retransmission", "nonblocking", "fast-open", "path-mtu", "congestion", "address", "info", "raw",
}

// reference is a standard or a page of a manual.
var reference = regexp.MustCompile(`^(RFC [0-9]+( .+)?|[a-zA-Z0-9_.-]+\([1-9]\)( .+)?|Linux .+)$`)

// TestLibrary holds every shipped file to its form: what it shows, the standard or
// manual page that says so, and the sentence to remember, above it as a comment and
// in it as keys.
func TestLibrary(t *testing.T) {
	names := libraryNames()
	if len(names) == 0 {
		t.Fatal("the library is empty")
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			source, ok := Open(name)
			if !ok {
				t.Fatal("cannot be opened")
			}
			exp, err := Parse(source, Options{FileName: name + ".yaml"})
			if err != nil {
				t.Fatal(err)
			}
			if exp.Name != name {
				t.Errorf("the experiment is called %q, its file %q", exp.Name, name)
			}
			if exp.About == "" || exp.Remember == "" || exp.Class == "" || len(exp.Expect) == 0 {
				t.Errorf("about, remember, class and expect are given in every shipped file")
			}
			if !slices.Contains(topics, exp.Topic) {
				t.Errorf("the topic is %q; known topics: %v", exp.Topic, topics)
			}
			if len(exp.Refs) == 0 {
				t.Errorf("no refs")
			}
			for _, r := range exp.Refs {
				if !reference.MatchString(r) {
					t.Errorf("%q is no standard, as RFC 9293 3.6, and no manual page, as close(2)", r)
				}
			}
			checkComment(t, string(source), exp)
		})
	}
}

// checkComment holds the comment that opens a file to what its keys say.
func checkComment(t *testing.T, source string, exp *Experiment) {
	t.Helper()
	var words []string
	for _, line := range strings.Split(source, "\n") {
		text, ok := strings.CutPrefix(line, "#")
		if !ok {
			break
		}
		words = append(words, strings.Fields(text)...)
	}
	comment := strings.Join(words, " ")
	if want := "Remember: " + strings.Join(strings.Fields(exp.Remember), " "); !strings.Contains(comment, want) {
		t.Errorf("the comment above the file does not say %q", want)
	}
	if !slices.ContainsFunc(exp.Refs, func(r string) bool { return strings.Contains(comment, r) }) {
		t.Errorf("the comment above the file names none of %q", exp.Refs)
	}
}

func TestScenarios(t *testing.T) {
	all := Library()
	i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == "half-close" })
	if i < 0 {
		t.Fatal("half-close is not among them")
	}
	s := all[i]
	if s.Topic != "teardown" || s.Class != "P" || s.About == "" || !strings.HasPrefix(s.Remember, "A FIN ends one direction") || len(s.Refs) != 2 {
		t.Errorf("half-close is listed as %+v", s)
	}
}

func TestOpenNothing(t *testing.T) {
	for _, name := range []string{"", "no-such", "../library", "basic-open-close.yaml"} {
		if _, ok := Open(name); ok {
			t.Errorf("Open(%q) found a file", name)
		}
	}
}
