package cli

import (
	"context"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
)

// unlistedSource is a run that was ended before any repetition was done.
type unlistedSource struct{ *sceneSource }

func (unlistedSource) repetitions(context.Context) ([]viewRepetition, error) { return nil, nil }

// TestEmptyLists: nothing can be chosen where there is nothing, and the viewer says so.
func TestEmptyLists(t *testing.T) {
	d := newDriver(t, unlistedSource{newSceneSource(parseScene(t, filterScene))}, true, drawOptions{}, 100, 30)
	d.press(t, "p")
	if !strings.Contains(d.screen(), "no repetition of the run was done to its end") {
		t.Errorf("p says nothing:\n%s", d.screen())
	}
	d.press(t, "enter esc ] [ o O d")
	checkScreen(t, d)
	d.v.pick("Nothing", nil, 0, func(*viewer, int) tea.Cmd {
		t.Error("a line was chosen of none")
		return nil
	})
	for _, key := range []string{"j", "G", "pgdown", "g", "wheel-down", "enter"} {
		d.press(t, key)
		checkScreen(t, d)
	}
}
