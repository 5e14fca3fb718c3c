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

func picture(t *testing.T, tl *timeline.Timeline, s timeline.Scale) []byte {
	t.Helper()
	var b bytes.Buffer
	l := tl.Ladder(timeline.LadderOptions{Notes: true})
	if err := web.Picture(&b, tl, l, web.PictureOptions{Scale: s, Tool: "syncline", Command: "syncline ladder " + tl.RunID}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestPictures holds pictures against files that a browser shows.
func TestPictures(t *testing.T) {
	for _, test := range []struct {
		name  string
		scale timeline.Scale
	}{
		{"basic-open-close", timeline.ScaleLinear},
		{"close-with-unread-data", timeline.ScaleRow},
		{"connect-filtered", timeline.ScaleLog},
	} {
		golden(t, filepath.Join("testdata", test.name+"-"+test.scale.String()+".svg"), picture(t, recorded(t, test.name, 1), test.scale))
	}
}

// TestEveryPictureIsWhole: of every recorded run and on every scale a picture is well-formed
// XML, nothing in it stands outside it, all text is text, and each arrow of the layout is there.
func TestEveryPictureIsWhole(t *testing.T) {
	for _, name := range library(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tl := recorded(t, name, 1)
			l := tl.Ladder(timeline.LadderOptions{Notes: true})
			for _, s := range []timeline.Scale{timeline.ScaleRow, timeline.ScaleLinear, timeline.ScaleLog} {
				text := picture(t, tl, s)
				arrows := 0
				d := xml.NewDecoder(bytes.NewReader(text))
				for {
					token, err := d.Token()
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						t.Fatalf("%s: %v", s, err)
					}
					start, ok := token.(xml.StartElement)
					if !ok {
						continue
					}
					for _, a := range start.Attr {
						if a.Name.Local == "class" && strings.HasPrefix(a.Value, "arrow") {
							arrows++
						}
						if strings.HasPrefix(a.Value, "-") && (a.Name.Local == "x" || a.Name.Local == "y" || a.Name.Local == "height") {
							t.Errorf("%s: %s has %s %s", s, start.Name.Local, a.Name.Local, a.Value)
						}
						if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
							t.Errorf("%s: %s has %s %s", s, start.Name.Local, a.Name.Local, a.Value)
						}
					}
				}
				if arrows != len(l.Arrows) {
					t.Errorf("%s: %d arrows, want %d", s, arrows, len(l.Arrows))
				}
			}
		})
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
