package web_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"syncline/controller/timeline"
	"syncline/controller/web"
)

// TestPictureOfStrangeNames: however long a name is, and whatever is in it, every text of a
// picture has room and says nothing that cannot be seen; the whole name is there as a title.
func TestPictureOfStrangeNames(t *testing.T) {
	for _, name := range []string{
		strings.Repeat("long", 1250), "\u202egnp.exe" + strings.Repeat("x", 5000), "a\x00\x1b[31m" + strings.Repeat(" b", 2500), strings.Repeat("אב", 2500),
	} {
		tl := recorded(t, "connect-refused")
		l := tl.Ladder(timeline.LadderOptions{Notes: true})
		l.Experiment = name
		for i := range l.Lanes {
			l.Lanes[i].Name, l.Lanes[i].Agent = name, name
		}
		for i := range tl.Hosts {
			tl.Hosts[i].Kernel = name
		}
		for i := range l.Brackets {
			l.Brackets[i].Call, l.Brackets[i].Result = name, name
		}
		for i := range l.Arrows {
			l.Arrows[i].Words = []string{name, name}
		}
		var b bytes.Buffer
		if err := web.Picture(&b, tl, l, web.PictureOptions{Scale: timeline.ScaleLinear}); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(b.String(), "\u202e\x00\x1b") {
			t.Errorf("%.20q is in the picture as it is", name)
		}
		longest, texts, titles := 0, 0, 0
		of := xml.NewDecoder(&b)
		for inside := ""; ; {
			token, err := of.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			switch token := token.(type) {
			case xml.StartElement:
				inside = token.Name.Local
			case xml.EndElement:
				inside = ""
			case xml.CharData:
				if inside == "text" {
					texts++
					longest = max(longest, len([]rune(string(token))))
				}
				if inside == "title" && len(token) > 4000 {
					titles++
				}
			}
		}
		if texts < 20 || longest > 250 {
			t.Errorf("%.20q: the longest of %d texts has %d letters", name, texts, longest)
		}
		if titles < 3 {
			t.Errorf("%.20q: %d titles have the whole name", name, titles)
		}
	}
}
