package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// sceneSource is a run whose repetitions are scenes.
type sceneSource struct {
	scenes []*timeline.Timeline
	// odd are the numbers of repetitions that are, by why.
	odd map[int]string
}

func newSceneSource(scenes ...*timeline.Timeline) *sceneSource {
	for i, t := range scenes {
		t.Repetition = i + 1
	}
	return &sceneSource{scenes: scenes, odd: make(map[int]string)}
}

func (s *sceneSource) record(_ context.Context, repetition int) (*viewRecord, error) {
	if repetition < 1 || repetition > len(s.scenes) {
		return nil, fmt.Errorf("the run has no repetition %d", repetition)
	}
	return &viewRecord{t: s.scenes[repetition-1], raw: new(synclinev1.Timeline)}, nil
}

func (s *sceneSource) repetitions(context.Context) ([]viewRepetition, error) {
	var list []viewRepetition
	for i := range s.scenes {
		list = append(list, viewRepetition{number: i + 1, why: s.odd[i+1]})
	}
	return list, nil
}

// driver presses the keys of a viewer and does what it asks for at once.
type driver struct {
	v    *viewer
	quit bool
}

func newDriver(t testing.TB, src viewSource, notes bool, o drawOptions, width, height int) *driver {
	t.Helper()
	first, err := src.record(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	d := &driver{v: newViewer(t.Context(), src, first, timeline.LadderOptions{Notes: notes}, o)}
	d.do(d.v.Init())
	d.send(tea.WindowSizeMsg{Width: width, Height: height})
	return d
}

func (d *driver) send(msg tea.Msg) {
	_, cmd := d.v.Update(msg)
	d.do(cmd)
}

func (d *driver) do(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case nil:
	case tea.QuitMsg:
		d.quit = true
	case tea.BatchMsg:
		for _, cmd := range msg {
			d.do(cmd)
		}
	default:
		d.send(msg)
	}
}

var namedKeys = map[string]rune{
	"enter": tea.KeyEnter, "esc": tea.KeyEscape, "up": tea.KeyUp, "down": tea.KeyDown, "pgup": tea.KeyPgUp, "pgdown": tea.KeyPgDown,
	"home": tea.KeyHome, "end": tea.KeyEnd, "tab": tea.KeyTab, "backspace": tea.KeyBackspace, "left": tea.KeyLeft, "right": tea.KeyRight, "delete": tea.KeyDelete,
}

// keyOf is a key by the name that bubbletea gives it.
func keyOf(name string) tea.KeyPressMsg {
	rest, ctrl := strings.CutPrefix(name, "ctrl+")
	rest, shift := strings.CutPrefix(rest, "shift+")
	var k tea.Key
	switch code, ok := namedKeys[rest]; {
	case ok:
		k.Code = code
	case rest == "space":
		k.Code, k.Text = ' ', " "
	default:
		k.Code = []rune(rest)[0]
		if !ctrl {
			k.Text = rest
		}
	}
	if ctrl {
		k.Mod |= tea.ModCtrl
	}
	if shift {
		k.Mod |= tea.ModShift
	}
	return tea.KeyPressMsg(k)
}

var viewWord = regexp.MustCompile("`[^`]*`|\\S+")

// press presses keys with blanks between them; what is in backquotes is typed. wheel-down,
// wheel-up, click=X,Y and size=WxH are done.
func (d *driver) press(t testing.TB, keys string) {
	t.Helper()
	for _, word := range viewWord.FindAllString(keys, -1) {
		var x, y int
		switch {
		case strings.HasPrefix(word, "`"):
			for _, r := range strings.Trim(word, "`") {
				name := string(r)
				if r == ' ' {
					name = "space"
				}
				d.send(keyOf(name))
			}
		case word == "wheel-down":
			d.send(tea.MouseWheelMsg{Button: tea.MouseWheelDown})
		case word == "wheel-up":
			d.send(tea.MouseWheelMsg{Button: tea.MouseWheelUp})
		case scanned(word, "click=%d,%d", &x, &y):
			d.send(tea.MouseClickMsg{Button: tea.MouseLeft, X: x, Y: y})
		case scanned(word, "size=%dx%d", &x, &y):
			d.send(tea.WindowSizeMsg{Width: x, Height: y})
		default:
			d.send(keyOf(word))
		}
	}
}

func scanned(word, format string, to ...any) bool {
	n, err := fmt.Sscanf(word, format, to...)
	return err == nil && n == len(to)
}

var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

// screen is what a terminal shows, without styles and blanks at the ends of lines.
func (d *driver) screen() string {
	var b strings.Builder
	for _, line := range d.v.screen() {
		b.WriteString(strings.TrimRight(sgr.ReplaceAllString(line, ""), " ") + "\n")
	}
	return b.String()
}

// checkScreen wants a screen to fit its terminal, and nothing on it that is not to be there.
func checkScreen(t interface{ Errorf(string, ...any) }, d *driver) {
	lines := d.v.screen()
	if len(lines) > d.v.height || d.v.roomy() && len(lines) != d.v.height {
		t.Errorf("%d lines on a screen of %d", len(lines), d.v.height)
	}
	for _, line := range lines {
		bare := sgr.ReplaceAllString(line, "")
		if w := columns.StringWidth(bare); w > d.v.o.Width {
			t.Errorf("%d columns on a screen of %d: %q", w, d.v.o.Width, bare)
		}
		for _, r := range bare {
			if r < ' ' || r == 0x7f || d.v.o.ASCII && r > 126 {
				t.Errorf("%q has %q", bare, r)
				break
			}
		}
	}
	if view := d.v.View(); view.Cursor != nil && (view.Cursor.X >= d.v.o.Width || view.Cursor.Y >= d.v.height) {
		t.Errorf("the cursor is at %v of %d by %d", view.Cursor.Position, d.v.o.Width, d.v.height)
	}
}

// TestViewer shows the screens of testdata/view: each file has the scenes of a run's
// repetitions, then sections "WIDTHxHEIGHT [ascii] [odd=N]: keys" with the screen that those
// keys lead to. Notes are off until t switches
// them on. Run with -update to write them anew, then look at what changed.
func TestViewer(t *testing.T) {
	files, err := filepath.Glob("testdata/view/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenes: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			sentence, sections := readSections(t, file)
			var scenes []string
			for i := range sections {
				s := &sections[i]
				if strings.HasPrefix(s.name, "scene") {
					scenes = append(scenes, s.body)
					continue
				}
				got := viewed(t, scenes, s.name)
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

// viewed is the screen of a section.
func viewed(t *testing.T, scenes []string, name string) string {
	t.Helper()
	how, keys, ok := strings.Cut(name, ": ")
	if !ok {
		t.Fatalf("section %q has no keys", name)
	}
	var parsed []*timeline.Timeline
	for _, scene := range scenes {
		parsed = append(parsed, parseScene(t, scene))
	}
	src := newSceneSource(parsed...)
	var o drawOptions
	var width, height, odd int
	for i, word := range strings.Fields(how) {
		switch {
		case i == 0 && scanned(word, "%dx%d", &width, &height):
		case word == "ascii":
			o.ASCII = true
		case scanned(word, "odd=%d", &odd):
			src.odd[odd] = "fail: the client closes first"
		default:
			t.Fatalf("section %q: what is %q?", name, word)
		}
	}
	d := newDriver(t, src, false, o, width, height)
	d.press(t, keys)
	checkScreen(t, d)
	return d.screen()
}

// TestAnyKeysAreTaken: whatever is shown and whatever is pressed, the screen fits the
// terminal, a row that can be selected is, and it is on the screen.
func TestAnyKeysAreTaken(t *testing.T) {
	keys := []string{
		"j", "k", "pgdown", "pgup", "ctrl+d", "ctrl+u", "g", "G", "'", "enter", "m", "i", "n", "N", "f", "c", "[", "]", "o", "O", "p", "d", "x",
		"s", "r", "z", "t", "l", "1", "2", "3", "?", "esc", "tab", "shift+tab", "u", "wheel-down", "wheel-up", "click=10,7", "click=3,9", "/ `host:a` enter", "/ `-kind:packet around:1` enter f",
		"/ ctrl+u enter", "d enter", "size=72x20", "size=120x40", "size=30x9", "size=80x24", "/ `no \"such` esc", "q",
	}
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		scenes := []*timeline.Timeline{parseScene(t, drawScene(rt)), parseScene(t, drawScene(rt))}
		src := newSceneSource(scenes...)
		src.odd[rapid.IntRange(1, 3).Draw(rt, "odd")] = "fail: something"
		o := drawOptions{ASCII: rapid.Bool().Draw(rt, "ascii"), Colour: rapid.Bool().Draw(rt, "colour")}
		d := newDriver(t, src, true, o, rapid.IntRange(35, 140).Draw(rt, "width"), rapid.IntRange(5, 50).Draw(rt, "height"))
		checkScreen(rt, d)
		for _, key := range rapid.SliceOfN(rapid.SampledFrom(keys), 1, 20).Draw(rt, "keys") {
			d.press(t, key)
			checkScreen(rt, d)
			checkSelected(rt, d.v, key)
		}
		d.press(t, "esc esc size=80x24 S ctrl+u `"+filepath.Join(dir, "x.txt")+"` enter y enter")
		checkScreen(rt, d)
	})
}

func checkSelected(t *rapid.T, v *viewer, key string) {
	if !v.roomy() || v.shown.d.empty() {
		return
	}
	any := false
	for i := range v.bodyLength() {
		any = any || v.selectable(i)
	}
	if any && !v.selectable(v.at) {
		t.Errorf("after %q line %d of %d is selected, which cannot be", key, v.at, v.bodyLength())
	}
	if v.at < v.first || v.at >= v.first+v.room() {
		t.Errorf("after %q line %d is selected, and the screen has %d from %d on", key, v.at, v.room(), v.first)
	}
	if v.first > 0 && v.first+v.room() > v.bodyLength() {
		t.Errorf("after %q the screen has %d lines from %d on, of %d", key, v.room(), v.first, v.bodyLength())
	}
}
