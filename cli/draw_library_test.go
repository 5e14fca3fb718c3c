package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncline/controller"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// drawnScenarios are the recorded runs of the library whose ladders are kept, each in a
// file of testdata/library. Between them they have every mark that a ladder has.
var drawnScenarios = []string{
	"arp-before-syn", "backlog-overflow", "basic-open-close", "blocking-accept", "close-listener", "close-with-unread-data",
	"connect-before-accept", "connect-filtered", "connect-refused", "connect-unreachable", "data-before-accept", "delayed-ack",
	"dropped-by-firewall", "fast-open", "fork-shared-socket", "frag-needed", "half-close", "handshake-ipv6", "icmp-soft-error",
	"keepalive", "linger-zero", "nat-ports", "nobody-listens", "peer-killed", "reset-before-accept", "retransmission-until-death",
	"server-closes-first", "simultaneous-close", "simultaneous-open", "syn-in-time-wait", "three-packet-teardown", "udp-refused",
	"zero-window",
}

// drawnAs are the ways in which each of them is drawn: from the narrowest picture to a wide
// terminal.
var drawnAs = []string{"72", "72 ascii", "100", "100 ascii", "140", "140 ascii"}

// alsoDrawn are further ways of some.
var alsoDrawn = map[string][]string{
	"basic-open-close":           {"80", "80 scale=linear"},
	"nobody-listens":             {"80 scale=log", "80 t0=first_SYN", "80 t0=wall"},
	"retransmission-until-death": {"80 scale=linear", "80 scale=log"},
	"nat-ports":                  {"60"},
}

// recorded is the first repetition of a recorded run of the library.
func recorded(t testing.TB, name string) *timeline.Timeline {
	t.Helper()
	a := &app{}
	s, err := a.subject(t.Context(), filepath.Join("../controller/export/testdata/library", name+".syncline"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	answer, err := s.timelines.GetTimeline(t.Context(), &synclinev1.GetTimelineRequest{RunId: s.id, Repetition: 1})
	if err != nil {
		t.Fatal(err)
	}
	tl, err := controller.TimelineFromProto(answer.Timeline)
	if err != nil {
		t.Fatal(err)
	}
	return tl
}

// TestLibraryLadders draws recorded runs of the library. Run with -update to write the
// pictures anew, then look at what changed.
func TestLibraryLadders(t *testing.T) {
	for _, name := range drawnScenarios {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata/library", name+".txt")
			tl := recorded(t, name)
			var sections []section
			for _, way := range append(drawnAs[:len(drawnAs):len(drawnAs)], alsoDrawn[name]...) {
				sections = append(sections, section{way, drawn(t, tl, way+" notes")})
			}
			got := joinSections(sections)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("%v: write it with -update", err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func joinSections(sections []section) string {
	var b bytes.Buffer
	for _, s := range sections {
		b.WriteString("-- " + s.name + " --\n" + s.body)
	}
	return b.String()
}

// TestReadmePictureIsARecordedOne: the README's picture is that of a recorded run at 80
// columns, but for what it leaves out where it says […].
func TestReadmePictureIsARecordedOne(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "```\n")
	shown, _, found := strings.Cut(rest, "\nrun r-")
	if !found {
		t.Fatal("README.md has no picture with its verdicts below")
	}
	golden, err := os.ReadFile("testdata/library/basic-open-close.txt")
	if err != nil {
		t.Fatal(err)
	}
	picture := ""
	_, sections := splitSections(string(golden))
	for _, s := range sections {
		if s.name == "80" {
			picture = s.body
		}
	}
	left := picture
	for part := range strings.SplitSeq(shown, "[…]\n") {
		part = strings.TrimRight(part, " ")
		before, after, found := strings.Cut(left, part)
		if !found || left == picture && before != "" {
			t.Fatalf("README.md shows what testdata/library/basic-open-close.txt does not have at 80 columns, or not there:\n%s\nthe recorded picture:\n%s", part, picture)
		}
		left = after
	}
	if strings.TrimSpace(left) != "" {
		t.Errorf("README.md leaves out without […]:\n%s", left)
	}
}
