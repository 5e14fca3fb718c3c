package web_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"syncline/controller/timeline"
	"syncline/controller/web"
)

func picture(t *testing.T, tl *timeline.Timeline, s timeline.Scale, opts timeline.LadderOptions) []byte {
	t.Helper()
	var b bytes.Buffer
	l := tl.Ladder(opts)
	if err := web.Picture(&b, tl, l, web.PictureOptions{Scale: s, Tool: "syncline", Command: "syncline ladder " + tl.RunID}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestPictures holds pictures against files that a browser shows. They are without notes,
// whose words are tested elsewhere.
func TestPictures(t *testing.T) {
	for _, test := range []struct {
		name  string
		scale timeline.Scale
	}{
		{"basic-open-close", timeline.ScaleLinear},
		{"close-with-unread-data", timeline.ScaleRow},
		{"connect-filtered", timeline.ScaleLog},
	} {
		golden(t, filepath.Join("testdata", test.name+"-"+test.scale.String()+".svg"), picture(t, recorded(t, test.name), test.scale, timeline.LadderOptions{}))
	}
}

// TestEveryPictureIsWhole: of every recorded run a picture is well-formed XML, nothing in it
// stands outside it, and each arrow of the layout is there. The scales take turns.
func TestEveryPictureIsWhole(t *testing.T) {
	for i, name := range library(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tl := recorded(t, name)
			s := timeline.Scale(i % 3)
			arrows := checkElements(t, picture(t, tl, s, timeline.LadderOptions{Notes: true}))
			if want := len(tl.Ladder(timeline.LadderOptions{}).Arrows); arrows != want {
				t.Errorf("%s: %d arrows, want %d", s, arrows, want)
			}
		})
	}
}

// checkElements reads a picture to its end, and counts its arrows.
func checkElements(t *testing.T, text []byte) (arrows int) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(text))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return arrows
		}
		if err != nil {
			t.Fatal(err)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		for _, a := range start.Attr {
			switch name := a.Name.Local; {
			case name == "class" && strings.HasPrefix(a.Value, "arrow"):
				arrows++
			case strings.HasPrefix(a.Value, "-") && (name == "x" || name == "y" || name == "height"),
				strings.Contains(a.Value, "NaN"), strings.Contains(a.Value, "Inf"):
				t.Errorf("%s has %s %s", start.Name.Local, name, a.Value)
			}
		}
	}
}

// TestPictureOfTooMuch: a ladder that is no picture any more is an error that says what
// to do.
func TestPictureOfTooMuch(t *testing.T) {
	err := web.Picture(io.Discard, &timeline.Timeline{}, &timeline.Ladder{Rows: make([]timeline.Row, 5001)}, web.PictureOptions{})
	if err == nil || !strings.Contains(err.Error(), "--conn") {
		t.Errorf("5,001 rows: %v", err)
	}
}
