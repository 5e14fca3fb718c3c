package cli

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The README's picture is what the demo prints: every call, label and verdict of it
// is in a picture drawn now. Times, ports and the order of rows differ from run to run.
func TestReadmePictureIsWhatTheDemoPrints(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs network namespaces: run the tests as root")
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "```\n")
	picture, _, found := strings.Cut(rest, "```\n")
	if !found {
		t.Fatal("README.md has no picture between ```")
	}
	demo, out := startDemo(t, t.TempDir(), nil, "COLUMNS=80")
	if err := demo.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	drawn := words(out.String())
	seen := 0
	for word := range words(picture) {
		if !drawn[word] {
			t.Errorf("README.md shows %q, the demo does not", word)
		}
		seen++
	}
	if seen < 20 {
		t.Errorf("README.md's picture has %d different words only", seen)
	}
}

var (
	changing = regexp.MustCompile(`[-+±−]?\.?[0-9]+(\.[0-9]+)?( ?(ns|µs|ms|s))?`)
	drawing  = regexp.MustCompile(`[─│┬┴┤├●╮╯╰╭╲╱▶◀▷◁⋮┊┃┋]+`)
)

// passing are the words that come and go: the unit follows the run's length and takes
// room from the labels, a message may be faster than the clocks are sure of, and how surely
// the beginning of a state is known depends on what else came near it.
var passing = wordSet(`ns µs ms s mss# sack ts ±# at most waited in by after quiet
	▷ took less time than the clocks are sure of; only that it arrived after it left is known`)

func wordSet(text string) map[string]bool {
	set := map[string]bool{}
	for _, word := range strings.Fields(text) {
		set[word] = true
	}
	return set
}

// words are the words of a picture that do not change from run to run. What is said in
// words of one repetition is not of every other.
func words(picture string) map[string]bool {
	found := map[string]bool{}
	told := false
	for line := range strings.Lines(picture) {
		told = strings.HasPrefix(line, "» ") || told && !isLegend(line)
		if told {
			continue
		}
		if strings.Contains(line, "[…]") || strings.Contains(line, "run r-") {
			continue
		}
		for _, word := range strings.Fields(drawing.ReplaceAllString(changing.ReplaceAllString(line, "#"), " ")) {
			if word != "#" && !passing[word] && !strings.Contains(word, "…") {
				found[word] = true
			}
		}
	}
	return found
}

// isLegend reports whether a line explains a mark.
func isLegend(line string) bool {
	return slices.ContainsFunc(legends, func(g legend) bool { return strings.HasPrefix(line, g.mark+" ") })
}
