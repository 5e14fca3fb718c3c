package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestNotes(t *testing.T) {
	for _, test := range []struct {
		name    string
		groups  [][]string
		causes  []string
		want    []string
		wantAll []string
	}{
		{
			name:   "what one expectation says in many repetitions is not shared",
			groups: [][]string{{"x; A lost 3 packets", "y; A lost 3 packets"}, {"z"}},
			want:   []string{"x; A lost 3 packets", "y; A lost 3 packets", "z"},
		},
		{
			name:    "a cause of two expectations is told once",
			groups:  [][]string{{"x; A lost 3 packets"}, {"y, but A lost 3 packets"}, {"A lost 3 packets"}},
			want:    []string{"x (1)", "y, but (1)", "see (1)"},
			wantAll: []string{"(1) A lost 3 packets"},
		},
		{
			name:   "what a reason begins with is no cause",
			groups: [][]string{{"nothing speaks against it, but A was lost"}, {"nothing speaks against it, but B was lost"}},
			want:   []string{"nothing speaks against it, but A was lost", "nothing speaks against it, but B was lost"},
		},
		{
			name:    "hosts that lack the same share a note",
			groups:  [][]string{{"x; A has no packets: no right; ask for it; B has no packets: no right; ask for it"}, {"y; B has no packets: no right; ask for it"}, {"z; A has no packets: no right; ask for it"}},
			want:    []string{"x (1)", "y (1)", "z (1)"},
			wantAll: []string{"(1) A and B have no packets: no right; ask for it"},
		},
		{
			name:    "causes for different reasons do not",
			groups:  [][]string{{"x; A has no packets: no right; B has no packets: no kernel"}, {"y; B has no packets: no kernel"}, {"z; A has no packets: no right"}},
			want:    []string{"x (1), (2)", "y (2)", "z (1)"},
			wantAll: []string{"(1) A has no packets: no right", "(2) B has no packets: no kernel"},
		},
		{
			name:    "what goes on with another cause in one place stands for itself in another",
			groups:  [][]string{{"x; A ended early; B was lost; the end"}, {"y; A ended early; B was lost; the end"}, {"z; B was lost; the end"}},
			want:    []string{"x (1), (2)", "y (1), (2)", "z (2)"},
			wantAll: []string{"(1) A ended early", "(2) B was lost; the end"},
		},
		{
			name:    "a warning counts as one that says so too",
			groups:  [][]string{{"x; A was lost"}},
			causes:  []string{"A was lost", "B was lost"},
			want:    []string{"x (1)"},
			wantAll: []string{"(1) A was lost"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNotes(test.groups, test.causes)
			var got []string
			for _, reasons := range test.groups {
				for _, reason := range reasons {
					got = append(got, n.refer(reason))
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.wantAll, n.lines("", drawOptions{Width: 200})); diff != "" {
				t.Errorf("notes (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNotesLoseNothing: whatever verdicts have for reasons, every part of each is
// still said, where it was or in a note that is referred to there, and reading the
// same reason again adds no note.
func TestNotesLoseNothing(t *testing.T) {
	part := rapid.SampledFrom([]string{"x", "y", "z", "A lost 3 packets", "A was lost", "B was lost", "A has no calls"})
	rapid.Check(t, func(t *rapid.T) {
		var groups [][]string
		for range rapid.IntRange(1, 5).Draw(t, "groups") {
			var reasons []string
			for range rapid.IntRange(0, 3).Draw(t, "reasons") {
				reason := part.Draw(t, "part")
				for range rapid.IntRange(0, 3).Draw(t, "more") {
					reason += rapid.SampledFrom([]string{"; ", ", but "}).Draw(t, "joint") + part.Draw(t, "part")
				}
				reasons = append(reasons, reason)
			}
			groups = append(groups, reasons)
		}
		n := newNotes(groups, rapid.SliceOfN(part, 0, 3).Draw(t, "causes"))
		all := n.lines("", drawOptions{Width: 1000})
		for _, reasons := range groups {
			for _, reason := range reasons {
				said := n.refer(reason)
				for _, note := range all {
					number, text, _ := strings.Cut(note, " ")
					said = strings.ReplaceAll(said, number, text)
				}
				for _, c := range clausesOf(reason) {
					if !strings.Contains(said, c.text) {
						t.Errorf("%q lost %q: %q", reason, c.text, said)
					}
				}
			}
		}
		if diff := cmp.Diff(all, n.lines("", drawOptions{Width: 1000})); diff != "" {
			t.Errorf("notes changed (-before +after):\n%s", diff)
		}
	})
}
