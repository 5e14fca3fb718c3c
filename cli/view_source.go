package cli

import (
	"context"
	"errors"
	"io"
	"slices"

	"syncline/controller"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// viewRecord is one repetition as it was read: put together, and as it came.
type viewRecord struct {
	t   *timeline.Timeline
	raw *synclinev1.Timeline
}

func newViewRecord(raw *synclinev1.Timeline) (*viewRecord, error) {
	t, err := controller.TimelineFromProto(raw)
	if err != nil {
		return nil, err
	}
	return &viewRecord{t, raw}, nil
}

// runSource is a run of a controller, or of a bundle.
type runSource struct {
	cl            *client
	id, reference string
}

func (s *runSource) record(ctx context.Context, repetition int) (*viewRecord, error) {
	answer, err := s.cl.timelines.GetTimeline(ctx, &synclinev1.GetTimelineRequest{RunId: s.id, Repetition: uint32(repetition), Reference: s.reference})
	if err != nil {
		return nil, answered(err)
	}
	return newViewRecord(answer.Timeline)
}

func (s *runSource) repetitions(ctx context.Context) ([]viewRepetition, error) {
	stream, err := s.cl.timelines.ListVerdicts(ctx, &synclinev1.ListVerdictsRequest{RunId: s.id})
	if err != nil {
		return nil, answered(err)
	}
	var list []viewRepetition
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			slices.SortFunc(list, func(a, b viewRepetition) int { return a.number - b.number })
			return list, nil
		}
		if err != nil {
			return nil, answered(err)
		}
		list = append(list, viewRepetition{number: int(r.Repetition), why: worstVerdict(r.Verdicts)})
	}
}

// worstVerdict says what is odd about a repetition by its verdicts: "" if all are a pass.
func worstVerdict(all []*synclinev1.Verdict) string {
	worst, text := timeline.Pass, ""
	for _, v := range all {
		ruling := timeline.Ruling(v.Ruling)
		if after := timeline.Worst([]timeline.Verdict{{Ruling: worst}, {Ruling: ruling}}); after != worst {
			worst, text = after, ruling.String()+": "+v.Expectation
		}
	}
	return text
}
