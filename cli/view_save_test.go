package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	synclinev1 "syncline/proto/syncline/v1"
)

// TestViewerSaves: what is saved is the text ladder as wide as the screen, without the signs
// of the viewer, and a file that is there is written over only if that is wanted.
func TestViewerSaves(t *testing.T) {
	d := newDriver(t, newSceneSource(parseScene(t, filterScene)), true, drawOptions{Colour: true}, 100, 30)
	path := filepath.Join(t.TempDir(), "ladder.txt")
	save := func(then string) string {
		d.press(t, "S ctrl+u `"+path+"` enter "+then)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	drawnNow := func() string {
		var b bytes.Buffer
		if err := drawLadder(&b, d.v.shown.t.Ladder(d.v.look), drawOptions{Width: 100}); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if got := save(""); got != drawnNow() {
		t.Errorf("saved:\n%s\nwant:\n%s", got, drawnNow())
	}
	before := drawnNow()
	d.press(t, "2")
	if got := save("n enter"); got != before || !strings.Contains(d.screen(), "not saved") {
		t.Errorf("written over without being asked:\n%s", got)
	}
	if got := save("y enter"); got != drawnNow() || got == before {
		t.Errorf("not written over:\n%s", got)
	}
	d.press(t, "2 / `kind:packet` enter f")
	if got := save("y enter"); !strings.Contains(got, "⋮ ") || strings.Contains(got, "(sleep 50ms)") || !strings.Contains(got, "RST") {
		t.Errorf("folded rows are saved, or hits are not:\n%s", got)
	}
	path = filepath.Join(t.TempDir(), "no", "such", "directory")
	d.press(t, "S ctrl+u `"+path+"` enter")
	if !strings.Contains(d.screen(), "no such file or directory") {
		t.Errorf("an error is not told:\n%s", d.screen())
	}
}

// TestOddity: a verdict that is not a pass comes first, then what the others are unlike.
func TestOddity(t *testing.T) {
	for want, s := range map[string]*synclinev1.Summary{
		"":                        {Ruling: synclinev1.Ruling_RULING_PASS},
		"another order of events": {Ruling: synclinev1.Ruling_RULING_PASS, OddBecause: "another order of events"},
		"fail: no RST: A sent one; connect.blocked": {Ruling: synclinev1.Ruling_RULING_FAIL, Reason: "no RST: A sent one", OddBecause: "connect.blocked"},
		"cannot tell: handshake":                    {Ruling: synclinev1.Ruling_RULING_CANNOT_TELL, Reason: "handshake"},
	} {
		if got := oddity(s); got != want {
			t.Errorf("%v: %q, want %q", s, got, want)
		}
	}
	if got := oddity(&synclinev1.Summary{}); got != "" {
		t.Errorf("without expectations: %q", got)
	}
}

// TestViewerWithoutColours: without colours only reverse video stands out, which is none.
func TestViewerWithoutColours(t *testing.T) {
	d := newDriver(t, newSceneSource(parseScene(t, filterScene)), true, drawOptions{}, 100, 30)
	d.press(t, "m j / `flags:syn` enter")
	for _, line := range d.v.screen() {
		for _, sequence := range sgr.FindAllString(line, -1) {
			if sequence != reverse && sequence != ansiReset {
				t.Errorf("%q in %q", sequence, line)
			}
		}
	}
}
