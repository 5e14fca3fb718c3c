package timeline

import (
	"strings"
	"testing"
)

// A RST before the other's FIN ended the connection, and so did a socket that gave up and told
// nobody; every view says the same.
func TestRSTBeforeFIN(t *testing.T) {
	for name, test := range map[string]struct{ events, summary, gist string }{
		"a RST": {
			"A>B RST+ACK 300..320 data 0\nB server close a 500..510 = 0\nB>A FIN+ACK 505..525\nA>B RST 528..548\n",
			"A, the client, ended it first: its RST left at 300.0 µs, B's FIN left at 505.0 ±20.1 µs", "client on A ended it first, with a RST.",
		},
		"a FIN": {
			"B server close a 200..210 = 0\nB>A FIN+ACK 205..225\nA>B RST 500..520\n",
			"B, the server, closed first", "server on B closed first.",
		},
	} {
		tl, err := Build(story(t, "open\n"+test.events), 1)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(tl.Ladder(LadderOptions{Notes: true}).Summary, "\n"); !strings.HasPrefix(got, test.summary) {
			t.Errorf("%s: the summary is %q, want %q", name, got, test.summary)
		}
		found := false
		for _, n := range tl.Gist() {
			if n.Kind == GistCloser {
				if found = true; !strings.EqualFold(n.Text, test.gist) {
					t.Errorf("%s: in short %q, want %q", name, n.Text, test.gist)
				}
			}
		}
		if !found {
			t.Errorf("%s: nothing in short", name)
		}
	}
}
