package timeline

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"syncline/controller/experiment"
)

var rewriteVerdicts = flag.Bool("rewrite-verdicts", false, "rewrite testdata/verdicts from what Judge says now")

// drama is a file of testdata/verdicts: an experiment, a scene, and what becomes of the
// verdicts when the scene is another one.
type drama struct {
	exp    *experiment.Experiment
	scenes []namedScene
}

type namedScene struct{ name, text string }

func parseDrama(t *testing.T, a *txtar.Archive) drama {
	t.Helper()
	if len(strings.TrimSpace(string(a.Comment))) == 0 {
		t.Error("the file does not say what it shows")
	}
	exp, err := experiment.Parse([]byte(section(a, "experiment")), experiment.Options{FileName: "experiment"})
	if err != nil {
		t.Fatal(err)
	}
	d := drama{exp: exp, scenes: []namedScene{{"as it should be", section(a, "scene")}}}
	for _, f := range a.Files {
		name, ok := strings.CutPrefix(f.Name, "but ")
		if !ok {
			continue
		}
		d.scenes = append(d.scenes, namedScene{name, altered(t, section(a, "scene"), string(f.Data))})
	}
	return d
}

// altered is a scene in which "- " lines are not there, and "+ " lines are where the
// line before them was taken out, or else at the end.
func altered(t *testing.T, text, changes string) string {
	t.Helper()
	at := len(text)
	for line := range strings.Lines(changes) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case strings.HasPrefix(line, "- "):
			old := line[2:] + "\n"
			if strings.Count(text, old) != 1 {
				t.Fatalf("%d lines %q in the scene", strings.Count(text, old), line[2:])
			}
			at = strings.Index(text, old)
			text = text[:at] + text[at+len(old):]
		case strings.HasPrefix(line, "+ "):
			text = text[:at] + line[2:] + "\n" + text[at:]
			at += len(line) - 1
		default:
			t.Fatalf("%q is no change", line)
		}
	}
	return text
}

// text is all verdicts of the first scene, a ruling and an expectation a line, and what
// is otherwise in each of the rest.
func (d *drama) text(t *testing.T) string {
	var b strings.Builder
	var first []Verdict
	for n, s := range d.scenes {
		fmt.Fprintf(&b, "%s\n", s.name)
		verdicts := parseScene(t, s.text).Judge(d.exp)
		if n == 0 {
			first = verdicts
		}
		for i, v := range verdicts {
			if n > 0 && v.Ruling == first[i].Ruling && v.Reason == first[i].Reason {
				continue
			}
			fmt.Fprintf(&b, "  %-15s %s\n", v.Ruling, v.Expectation)
			if v.Reason != "" {
				fmt.Fprintf(&b, "                  %s\n", v.Reason)
			}
		}
	}
	return b.String()
}

func dramas(t *testing.T, do func(t *testing.T, name string, a *txtar.Archive)) {
	files, err := filepath.Glob("testdata/verdicts/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			do(t, name, a)
		})
	}
}

func TestVerdictsGolden(t *testing.T) {
	dramas(t, func(t *testing.T, name string, a *txtar.Archive) {
		d := parseDrama(t, a)
		got := d.text(t)
		if !*rewriteVerdicts {
			if diff := cmp.Diff(section(a, "verdicts"), got); diff != "" {
				t.Error(diff)
			}
			return
		}
		if n := len(a.Files); a.Files[n-1].Name == "verdicts" {
			a.Files = a.Files[:n-1]
		}
		a.Files = append(a.Files, txtar.File{Name: "verdicts", Data: []byte(got)})
		if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
	})
}

// TestWhatIsMissingNeverPasses takes each fact of each scene away, with the loss that a
// host reports of it. No verdict becomes a pass by that, and none that rests on the fact
// becomes definite the other way.
func TestWhatIsMissingNeverPasses(t *testing.T) {
	tried := 0
	dramas(t, func(t *testing.T, _ string, a *txtar.Archive) {
		d := parseDrama(t, a)
		for _, s := range d.scenes {
			whole := parseScene(t, s.text).Judge(d.exp)
			for _, holed := range holes(s.text) {
				tried++
				got := parseScene(t, holed.text).Judge(d.exp)
				for i, v := range got {
					if v.Ruling == Pass && whole[i].Ruling != Pass {
						t.Errorf("%s, without %q: %s\n was %s (%s)\n is a pass", s.name, holed.name, v.Expectation, whole[i].Ruling, whole[i].Reason)
					}
					if v.Ruling == Fail && whole[i].Ruling == Pass {
						t.Errorf("%s, without %q: %s\n was a pass\n fails: %s", s.name, holed.name, v.Expectation, v.Reason)
					}
				}
			}
		}
	})
	if tried < 100 {
		t.Errorf("%d facts were taken away, want at least 100", tried)
	}
}

// holes are the scenes in which one fact is not on record.
func holes(scene string) []namedScene {
	var all []namedScene
	lines := strings.Split(scene, "\n")
	without := func(i int, instead ...string) {
		rest := append(append([]string{}, lines[:i]...), instead...)
		all = append(all, namedScene{lines[i], strings.Join(append(rest, lines[i+1:]...), "\n")})
	}
	const lost = "loss %s %s 1 -100..100000"
	for i, line := range lines {
		switch {
		case packetForm.MatchString(line):
			m := packetForm.FindStringSubmatch(line)
			left, came := fmt.Sprintf(lost, m[1], "packets"), fmt.Sprintf(lost, m[2], "packets")
			text, tail, _ := strings.Cut(line, m[5]+".."+m[6])
			if m[5] != "?" && m[6] != "?" {
				without(i, text+"?.."+m[6]+tail, left)
				without(i, text+m[5]+"..?"+strings.ReplaceAll(tail, " lost", ""), came)
			}
			// The first packet tells the scene who is the client.
			if m[3] != "SYN" {
				without(i, left, came)
			}
		case callForm.MatchString(line):
			m := callForm.FindStringSubmatch(line)
			without(i, fmt.Sprintf(lost, m[1], "syscalls"))
		case factForm.MatchString(line):
			m := factForm.FindStringSubmatch(line)
			source := map[string]Source{"counters": CounterData, "queue": AcceptQueue, "final": TCPStates, "died": Syscalls}[m[1]]
			if source != "" {
				without(i, fmt.Sprintf(lost, m[2], source))
			}
		}
	}
	return all
}
