package cli

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncline/controller/timeline"
)

var update = flag.Bool("update", false, "rewrite the golden files of this test")

// section is a part of a golden file: "-- 80 ascii --" and what follows.
type section struct{ name, body string }

// readSections reads a golden file: a sentence, the scene, and the pictures of it.
func readSections(t *testing.T, path string) (sentence string, sections []section) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sentence, sections = splitSections(string(data))
	if strings.TrimSpace(sentence) == "" || len(sections) == 0 || sections[0].name != "scene" {
		t.Fatalf("%s: wants a sentence that says what it shows, then a section \"scene\"", path)
	}
	return sentence, sections
}

func splitSections(data string) (sentence string, sections []section) {
	for _, line := range strings.SplitAfter(data, "\n") {
		name, isHead := strings.CutPrefix(strings.TrimSuffix(line, " --\n"), "-- ")
		switch {
		case isHead && strings.HasSuffix(line, " --\n"):
			sections = append(sections, section{name: name})
		case len(sections) == 0:
			sentence += line
		default:
			sections[len(sections)-1].body += line
		}
	}
	return sentence, sections
}

// optionsOf reads the name of a section: a width, then "ascii", "colour", "local",
// "short" (the lab's own steps left out), "notes", "conn=N" (several times, if wanted),
// "scale=linear", "t0=first_SYN".
func optionsOf(t *testing.T, name string) (drawOptions, timeline.LadderOptions) {
	t.Helper()
	var draw drawOptions
	ladder := timeline.LadderOptions{Choosing: (&ladderOptions{}).layout().Choosing}
	for i, word := range strings.Fields(name) {
		var err error
		number, isConn := strings.CutPrefix(word, "conn=")
		scale, isScale := strings.CutPrefix(word, "scale=")
		zero, isZero := strings.CutPrefix(word, "t0=")
		switch {
		case i == 0:
			draw.Width, err = strconv.Atoi(word)
		case word == "ascii":
			draw.ASCII = true
		case word == "colour":
			draw.Colour = true
		case word == "local":
			ladder.LocalTimes = true
		case word == "short":
			ladder.HideLab = true
		case word == "notes":
			ladder.Notes = true
		case isScale:
			var known bool
			if ladder.Scale, known = timeline.ParseScale(scale); !known {
				err = fmt.Errorf("no scale %q", scale)
			}
		case isZero:
			var known bool
			if ladder.Zero, known = timeline.ParseLadderZero(strings.ReplaceAll(zero, "_", " ")); !known {
				err = fmt.Errorf("no zero %q", zero)
			}
		case isConn:
			var connection int
			connection, err = strconv.Atoi(number)
			ladder.Connections = append(ladder.Connections, connection)
		default:
			t.Fatalf("section %q: what is %q?", name, word)
		}
		if err != nil {
			t.Fatalf("section %q: %v", name, err)
		}
	}
	return draw, ladder
}

// TestLadder draws every scene of testdata/ladder in every way its file has a
// section for. Run with -update to write them anew, then look at what changed.
func TestLadder(t *testing.T) {
	files, err := filepath.Glob("testdata/ladder/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenes: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			sentence, sections := readSections(t, file)
			tl := parseScene(t, sections[0].body)
			for i := range sections[1:] {
				s := &sections[i+1]
				got := drawn(t, tl, s.name)
				if *update {
					s.body = got
				} else if diff := cmp.Diff(s.body, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", s.name, diff)
				}
			}
			if *update {
				writeSections(t, file, sentence, sections)
			}
		})
	}
}

func drawn(t *testing.T, tl *timeline.Timeline, name string) string {
	t.Helper()
	draw, ladder := optionsOf(t, name)
	var b bytes.Buffer
	if err := drawLadder(&b, tl.Ladder(ladder), draw); err != nil {
		t.Fatal(err)
	}
	checkWidth(t, b.String(), draw)
	return b.String()
}

// checkWidth wants every line to fit, and nothing but ASCII where that was asked for.
func checkWidth(t *testing.T, picture string, o drawOptions) {
	t.Helper()
	for _, what := range misfits(picture, o) {
		t.Error(what)
	}
}

// misfits are the lines that do not, each with what is wrong with it.
func misfits(picture string, o drawOptions) (wrong []string) {
	for line := range strings.Lines(picture) {
		line = strings.TrimSuffix(line, "\n")
		for _, sequence := range append(ansi[1:], ansiReset) {
			line = strings.ReplaceAll(line, sequence, "")
		}
		if w := columns.StringWidth(line); w > o.Width {
			wrong = append(wrong, fmt.Sprintf("%d columns in a picture of %d: %q", w, o.Width, line))
		}
		if strings.TrimRight(line, " ") != line {
			wrong = append(wrong, fmt.Sprintf("blanks at the end of %q", line))
		}
		if o.ASCII && strings.ContainsFunc(line, func(r rune) bool { return r > 126 }) {
			wrong = append(wrong, fmt.Sprintf("not ASCII: %q", line))
		}
	}
	return wrong
}

func writeSections(t *testing.T, path, sentence string, sections []section) {
	t.Helper()
	var b strings.Builder
	b.WriteString(sentence)
	for _, s := range sections {
		b.WriteString("-- " + s.name + " --\n" + s.body)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
