package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"
)

// viewPrompt asks for a line at the bottom of the screen.
type viewPrompt struct {
	label string
	line  promptLine
	// check says what is wrong with what is typed so far; nil if nothing can be.
	check func(text string) error
	err   error
	// done takes what was typed.
	done func(v *viewer, text string) tea.Cmd
}

// promptKey edits the line, takes it or gives it up.
func (v *viewer) promptKey(k tea.KeyPressMsg) tea.Cmd {
	p := v.prompt
	switch k.String() {
	case "esc":
		v.prompt = nil
		return nil
	case "enter":
		if p.err != nil {
			return nil
		}
		v.prompt, v.message = nil, ""
		return p.done(v, strings.TrimSpace(p.line.String()))
	}
	if p.line.key(k) {
		v.checkPrompt()
	}
	return nil
}

func (v *viewer) checkPrompt() {
	if p := v.prompt; p.check != nil {
		p.err = p.check(p.line.String())
	}
}

func (v *viewer) ask(label, text string, check func(string) error, done func(*viewer, string) tea.Cmd) {
	v.panel = nil
	v.prompt = &viewPrompt{label: label, line: newPromptLine(text), check: check, done: done}
	v.checkPrompt()
}

// askFilter asks what to look for. An empty line takes the filter away.
func (v *viewer) askFilter() {
	known, text := vocabularyOf(v.shown.t, v.shown.l), ""
	if v.filter != nil {
		text = v.filter.source
	}
	check := func(text string) error {
		_, err := parseFilter(text, known)
		return err
	}
	v.ask("/", text, check, func(v *viewer, text string) tea.Cmd {
		f, err := parseFilter(text, known)
		if err != nil {
			v.fail(err)
			return nil
		}
		v.setFilter(f)
		return nil
	})
}

func (v *viewer) setFilter(f *filter) {
	v.keep()
	v.filter = f
	v.find()
	v.fold()
	v.goTo(v.place())
	switch {
	case f == nil:
		v.onlyHits = false
		v.say("no filter")
	case len(v.hits) == 0:
		v.say("nothing in this repetition is %s", f.source)
	default:
		row := v.rowAt(v.at)
		for i, hit := range v.hits {
			if hit >= row {
				v.goTo(v.bodyOf(hit))
				v.say("hit %d of %d; n and N go to the others, f folds all else away", i+1, len(v.hits))
				return
			}
		}
		v.nextHit(1)
	}
}

// askCompare asks with which repetition to compare, or ends comparing.
func (v *viewer) askCompare() tea.Cmd {
	if v.other != nil {
		v.other, v.diff = nil, nil
		v.say("compared no longer")
		return nil
	}
	return v.listed(func(v *viewer) tea.Cmd {
		if len(v.list) < 2 {
			v.say("the run has no other repetition")
			return nil
		}
		own := v.shown.t.Repetition
		v.ask("compare with repetition ", strconv.Itoa(v.plainRepetition(own)), func(text string) error {
			n, err := strconv.Atoi(strings.TrimSpace(text))
			switch {
			case err != nil:
				return fmt.Errorf("give its number, %d to %d", v.list[0].number, v.list[len(v.list)-1].number)
			case n == own:
				return errors.New("that is the one on the screen")
			}
			for i := range v.list {
				if v.list[i].number == n {
					return nil
				}
			}
			return fmt.Errorf("there is no repetition %d; they go from %d to %d", n, v.list[0].number, v.list[len(v.list)-1].number)
		}, func(v *viewer, text string) tea.Cmd {
			n, err := strconv.Atoi(text)
			if err != nil {
				v.fail(err)
				return nil
			}
			return v.open(n, true)
		})
		return nil
	})
}

// plainRepetition is another repetition to compare with: the first that is not odd, else
// the first.
func (v *viewer) plainRepetition(own int) int {
	first := 0
	for i := range v.list {
		switch r := &v.list[i]; {
		case r.number == own:
		case r.why == "":
			return r.number
		case first == 0:
			first = r.number
		}
	}
	return first
}

// askSave asks for the file to save to.
func (v *viewer) askSave() {
	name := fmt.Sprintf("%s@%d.txt", v.shown.t.RunID, v.shown.t.Repetition)
	v.ask("save as ", name, func(text string) error {
		if strings.TrimSpace(text) == "" {
			return errors.New("give the path of a file")
		}
		return nil
	}, func(v *viewer, path string) tea.Cmd {
		v.saveTo(path)
		return nil
	})
}

// saveTo saves to a new file; one that is there is written over only if that is wanted.
func (v *viewer) saveTo(path string) {
	err := v.save(path, os.O_EXCL)
	switch {
	case errors.Is(err, fs.ErrExist):
		v.ask(fmt.Sprintf("%s is there already; write over it? (y/n) ", path), "", nil, func(v *viewer, answer string) tea.Cmd {
			if !strings.EqualFold(answer, "y") && !strings.EqualFold(answer, "yes") {
				v.say("not saved")
				return nil
			}
			if err := v.save(path, os.O_TRUNC); err != nil {
				v.fail(err)
				return nil
			}
			v.say("saved as %s", path)
			return nil
		})
	case err != nil:
		v.fail(err)
	default:
		v.say("saved as %s", path)
	}
}

// save writes what is shown, with what stands above and below it, into a file.
func (v *viewer) save(path string, how int) (err error) {
	f, err := os.OpenFile(filepath.Clean(path), os.O_WRONLY|os.O_CREATE|how, 0o644)
	if err != nil {
		return fmt.Errorf("save: %w", err)
	}
	defer func() {
		if cause := f.Close(); err == nil && cause != nil {
			err = fmt.Errorf("save: %w", cause)
		}
	}()
	if _, err := f.WriteString(strings.Join(v.savedLines(), "\n") + "\n"); err != nil {
		return fmt.Errorf("save: %w", err)
	}
	return nil
}

func (v *viewer) savedLines() []string {
	o := v.o
	o.Colour = false
	lines := ladderHeader(v.shown.l, o)
	for _, line := range v.shown.d.lines(0, v.shown.d.top()) {
		lines = append(lines, line.paint(o))
	}
	for _, line := range v.bodyLines(0, v.bodyLength()) {
		lines = append(lines, line.paint(o))
	}
	return append(lines, ladderFooter(v.shown.l, o, v.shown.d.drawn())...)
}
