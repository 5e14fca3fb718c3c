package cli

import (
	"context"
	"errors"
	"io"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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
	stream, err := s.cl.timelines.ListSummaries(ctx, &synclinev1.ListSummariesRequest{RunId: s.id})
	if err != nil {
		return nil, unlisted(err)
	}
	var list []viewRepetition
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, unlisted(err)
		}
		if r.Summary == nil {
			return nil, &exitError{code: exitRefused, err: errors.New("the controller sent a summary without a repetition")}
		}
		list = append(list, viewRepetition{number: int(r.Summary.Repetition), variant: r.Summary.Variant, why: oddity(r.Summary)})
	}
}

// goesOnError says that a run is not over: what its repetitions have in common, and which of
// them is odd, is told when it is. That is no failure of the viewer's.
type goesOnError struct{ error }

func (e *goesOnError) Unwrap() error { return e.error }

// unlisted is the error of a list that was not to be had.
func unlisted(err error) error {
	if status.Code(err) == codes.FailedPrecondition {
		return &goesOnError{answered(err)}
	}
	return answered(err)
}

// oddity says what is odd about a repetition: a verdict that is not a pass, else the order
// of events or a length that is unlike the others'. It is "" if nothing is.
func oddity(s *synclinev1.Summary) string {
	switch ruling := timeline.Ruling(s.Ruling); ruling {
	case 0, timeline.Pass:
		return s.OddBecause
	default:
		return strings.Join(nonEmpty(ruling.String()+": "+s.Reason, s.OddBecause), "; ")
	}
}
