package cli

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"syncline/controller/timeline"
)

// Of every recorded run of the library, what the foot of the ladder and the head of an
// explanation say of who closed first agrees with the first FIN or RST, wherever the order of
// those is certain.
func TestLibraryClosers(t *testing.T) {
	bundles, err := filepath.Glob("../controller/export/testdata/library/*.syncline")
	if err != nil || len(bundles) < 25 {
		t.Fatalf("%d recorded runs: %v", len(bundles), err)
	}
	named := 0
	for _, bundle := range bundles {
		eachRepetition(t, bundle, func(tl *timeline.Timeline) {
			if len(tl.Connections) != 1 || tl.Connections[0].Client.Host < 0 || tl.Connections[0].Server.Host < 0 {
				return
			}
			causes := tl.Causes()
			name := fmt.Sprintf("%s@%d", filepath.Base(bundle), tl.Repetition)
			summary := strings.Join(tl.Ladder(timeline.LadderOptions{Notes: true}).Summary, " ")
			gist := ""
			for _, n := range causes.Gist() {
				if n.Kind == timeline.GistCloser {
					gist = n.Text
				}
			}
			sent := firstEndings(tl)
			for end, role := range []string{"client", "server"} {
				host := tl.Hosts[tl.Connections[0].End(end).Host].Name
				silent := "and no FIN and no RST of it told"
				inSummary := strings.HasPrefix(summary, host+", the "+role+", closed first") || strings.HasPrefix(summary, host+", the "+role+", ended it first")
				inGist := strings.Contains(gist, " on "+host+" closed first") || strings.Contains(gist, " on "+host+" ended it first")
				if inGist && !inSummary {
					t.Errorf("%s: in short %q, and the ladder says %q", name, gist, summary)
				}
				if !inSummary || strings.Contains(summary, silent) {
					continue
				}
				named++
				own, other := sent[end], sent[1-end]
				if own < 0 {
					t.Errorf("%s: %q, and %s sent no FIN and no RST", name, summary, host)
				} else if other >= 0 {
					if before, known := causes.Timeline().Certain(other, own); known && before && other != own {
						t.Errorf("%s: %q, and the other end's %s left before", name, summary, tl.Moments[other].Event.Packet.Flags)
					}
				}
			}
		})
	}
	if named < 50 {
		t.Errorf("%d connections have one who closed first, want many more", named)
	}
}

// firstEndings are the moments at which the ends of the only connection sent their first FIN
// or RST, -1 for one that sent none. An end that goes on after its RST had not ended it.
func firstEndings(tl *timeline.Timeline) [2]int {
	first := [2]int{-1, -1}
	for i := range tl.Connections[0].Segments {
		s := &tl.Connections[0].Segments[i]
		end := timeline.ServerEnd
		if s.FromClient {
			end = timeline.ClientEnd
		}
		flags := tl.Packet(&timeline.Transmission{Segment: *s}).Flags
		if first[end] >= 0 && flags&timeline.RST == 0 && tl.Moments[first[end]].Event.Packet.Flags&timeline.RST != 0 {
			// The RST had answered a segment of another connection: the end went on.
			first[end] = -1
		}
		if flags&(timeline.FIN|timeline.RST) != 0 && first[end] < 0 && s.Departure >= 0 {
			first[end] = s.Departure
		}
	}
	return first
}
