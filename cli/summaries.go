package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"syncline/controller"
	"syncline/controller/experiment"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// summarized is a run as stats and diff look at it.
type summarized struct {
	// name is how to call it in another command.
	name string
	run  *synclinev1.Run
	// digests are those of its repetitions that came to their end, in order.
	digests []*timeline.Digest
}

// summarize asks for the summaries of a run.
func (s *subject) summarize(ctx context.Context) (*summarized, error) {
	answer, err := s.runs.GetRun(ctx, &synclinev1.GetRunRequest{Id: s.id})
	if err != nil {
		return nil, answered(err)
	}
	stream, err := s.timelines.ListSummaries(ctx, &synclinev1.ListSummariesRequest{RunId: s.id})
	if err != nil {
		return nil, answered(err)
	}
	var all controller.Summaries
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return &summarized{name: s.name, run: answer.Run, digests: all.Digests}, nil
		}
		if err != nil {
			return nil, answered(err)
		}
		if err := all.Add(m); err != nil {
			return nil, &exitError{code: exitRefused, err: err}
		}
	}
}

// ruling is the word for what a repetition came to: a pass where nothing was expected.
func rulingOf(d *timeline.Digest) string {
	if d.Ruling == 0 {
		return timeline.Pass.String()
	}
	return d.Ruling.String()
}

// rulings are the words in the order in which they are told.
var rulings = []string{timeline.Pass.String(), timeline.NotReproduced.String(), timeline.CannotTell.String(), timeline.Fail.String()}

// rulingsText counts repetitions by their rulings: "48 pass, 2 fail".
func rulingsText(digests []*timeline.Digest) string {
	var parts []string
	for _, word := range rulings {
		n := 0
		for _, d := range digests {
			if rulingOf(d) == word {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, word))
		}
	}
	if len(parts) == 0 {
		return "none came to its end"
	}
	return strings.Join(parts, ", ")
}

// repetitionsText names repetitions: "3, 17, 31 and 12 more".
func repetitionsText(digests []*timeline.Digest, most int) string {
	var parts []string
	for i, d := range digests {
		if i == most {
			return strings.Join(parts, ", ") + fmt.Sprintf(" and %d more", len(digests)-most)
		}
		parts = append(parts, fmt.Sprint(d.Repetition))
	}
	return strings.Join(parts, ", ")
}

// checkPhases refuses names that are none, so that a misspelt one does not select nothing
// in silence.
func checkPhases(names []string) error {
	known := experiment.PhaseNames()
	for _, name := range names {
		if !slices.Contains(known, name) {
			return usage("no phase %q; there are: %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// isWanted reports whether a phase is asked for: all are if none is named.
func isWanted(names []string, name string) bool {
	return len(names) == 0 || slices.Contains(names, name)
}

// variantsOf are the variants of the repetitions, in order.
func variantsOf(digests []*timeline.Digest) []string {
	var all []string
	for _, d := range digests {
		if !slices.Contains(all, d.Variant) {
			all = append(all, d.Variant)
		}
	}
	return all
}
