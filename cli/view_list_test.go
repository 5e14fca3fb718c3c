package cli

import (
	"context"
	"errors"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/timeline"
)

// unansweredViewer is a viewer whose list of repetitions has not come yet, and what brings it.
func unansweredViewer(t *testing.T, src viewSource) (d *driver, list tea.Cmd) {
	t.Helper()
	first, err := src.record(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	d = &driver{v: newViewer(t.Context(), src, first, timeline.LadderOptions{}, drawOptions{})}
	list = d.v.Init()
	d.send(tea.WindowSizeMsg{Width: 100, Height: 30})
	return d, list
}

// TestLateListInterruptsNobody: what a key asked of the list is done when that comes, unless
// whoever pressed it has gone on meanwhile.
func TestLateListInterruptsNobody(t *testing.T) {
	for _, test := range []struct {
		name, keys string
		asks       bool
	}{
		{"nothing else is pressed", "d", true},
		{"and a row is moved", "d j", false},
		{"and it is given up", "d esc", false},
		{"and help is asked for", "d ?", false},
		{"and it is asked again", "d j d", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			scene := parseScene(t, filterScene)
			d, list := unansweredViewer(t, newSceneSource(scene, parseScene(t, filterScene)))
			d.press(t, test.keys)
			if waits := strings.Contains(d.screen(), "listing the repetitions"); waits != test.asks {
				t.Errorf("says that it waits: %v, want %v\n%s", waits, test.asks, d.screen())
			}
			panel := d.v.panel
			d.do(list)
			checkScreen(t, d)
			if asks := d.v.prompt != nil; asks != test.asks {
				t.Errorf("asks: %v, want %v\n%s", asks, test.asks, d.screen())
			}
			if !test.asks && d.v.panel != panel {
				t.Error("the panel is another one")
			}
			if len(d.v.list) != 2 {
				t.Errorf("%d repetitions are listed", len(d.v.list))
			}
		})
	}
}

// failingSource is a run whose repetitions cannot be listed.
type failingSource struct {
	*sceneSource
	err error
}

func (s failingSource) repetitions(context.Context) ([]viewRepetition, error) { return nil, s.err }

// TestListOfARunThatGoesOn: that a run is not over is no trouble, and anything else that keeps
// the list from coming is.
func TestListOfARunThatGoesOn(t *testing.T) {
	const text = "run r-1 is running"
	for _, test := range []struct {
		err     error
		trouble bool
	}{
		{unlisted(status.Error(codes.FailedPrecondition, text)), false},
		{unlisted(status.Error(codes.Internal, text)), true},
		{errors.New(text), true},
	} {
		d := newDriver(t, failingSource{newSceneSource(parseScene(t, filterScene)), test.err}, true, drawOptions{}, 100, 30)
		for _, keys := range []string{"", "p", "]"} {
			d.press(t, keys)
			if d.v.trouble != test.trouble || !strings.Contains(d.screen(), text) {
				t.Errorf("%q, %v: in red: %v, want %v\n%s", keys, test.err, d.v.trouble, test.trouble, d.screen())
			}
		}
	}
}

// TestPanelsFitTheirScreen: on a screen that has become another one a panel is what it is when
// it is opened there.
func TestPanelsFitTheirScreen(t *testing.T) {
	for _, key := range []string{"?", "i", "enter", "c", "p"} {
		for _, size := range []struct{ from, to string }{{"size=140x40", "size=72x20"}, {"size=72x20", "size=140x40"}, {"size=100x20", "size=100x40"}} {
			src := newSceneSource(parseScene(t, filterScene), parseScene(t, filterScene))
			src.odd[2] = strings.Repeat("what is odd about it takes more room than a narrow screen has, ", 3)
			before := newDriver(t, src, true, drawOptions{}, 80, 24)
			before.press(t, size.to+" "+key)
			after := newDriver(t, src, true, drawOptions{}, 80, 24)
			after.press(t, size.from+" "+key+" "+size.to)
			checkScreen(t, after)
			if want, got := before.screen(), after.screen(); want != got {
				t.Errorf("%s: %s, then %s, shows\n%s\nnot\n%s", key, size.from, size.to, got, want)
			}
		}
	}
}

// TestPanelsKeepTheirPlace: what is selected in a list, and what is read of a text, is still on
// the screen when that has become another one.
func TestPanelsKeepTheirPlace(t *testing.T) {
	var scenes []*timeline.Timeline
	for range 40 {
		scenes = append(scenes, parseScene(t, filterScene))
	}
	d := newDriver(t, newSceneSource(scenes...), true, drawOptions{}, 100, 40)
	d.press(t, "p G k size=72x20")
	checkScreen(t, d)
	if !strings.Contains(d.screen(), "> 39") {
		t.Errorf("repetition 39 is not selected:\n%s", d.screen())
	}
	d.press(t, "size=100x60")
	if !strings.Contains(d.screen(), "> 39") {
		t.Errorf("repetition 39 is not selected:\n%s", d.screen())
	}
	d.press(t, "esc size=140x20 ? G size=72x20")
	checkScreen(t, d)
	if !strings.Contains(d.screen(), "leaves at once") {
		t.Errorf("the end of the help is not shown:\n%s", d.screen())
	}
}
