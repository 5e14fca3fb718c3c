package controller

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// digests are the repetitions of a run in short, made when they are first asked for and kept
// with the builder that they are of. They are always seen from the reference that the run has
// by itself, whoever asks first: from another clock the errors are others.
type digests struct {
	// turn holds one token: that of whoever reads or makes what follows.
	turn chan struct{}
	all  []*timeline.Digest
	done bool
}

func newDigests() *digests { return &digests{turn: make(chan struct{}, 1)} }

// digests are those of all repetitions that came to their end, in order, but for those of a
// warm-up. Do not write to them. Somebody who does not wait any longer takes nothing from
// others who do.
func (b *builder) digests(ctx context.Context) ([]*timeline.Digest, error) {
	select {
	case b.short.turn <- struct{}{}:
		defer func() { <-b.short.turn }()
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if b.short.done {
		return b.short.all, nil
	}
	of := b
	if b.usual != nil {
		of = b.usual
	}
	all, err := digest(ctx, of)
	if err != nil {
		return nil, err
	}
	b.short.settle(all)
	return all, nil
}

// digest makes the digests of a run, on as many processors as there are.
func digest(ctx context.Context, b *builder) ([]*timeline.Digest, error) {
	var repetitions []int
	for n := 1; n <= b.run.RepetitionsDone; n++ {
		if !b.plans.warmup(n) {
			repetitions = append(repetitions, n)
		}
	}
	all, errs := make([]*timeline.Digest, len(repetitions)), make([]error, len(repetitions))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(repetitions)) {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(repetitions) || ctx.Err() != nil {
					return
				}
				if all[i], errs[i] = digestOf(b, repetitions[i]); errs[i] != nil {
					return
				}
			}
		})
	}
	workers.Wait()
	if err := ctx.Err(); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	if err := errors.Join(errs...); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return all, nil
}

// digestOf is one repetition in short. One that was begun and of which nothing is on record
// is not left out: nobody can tell what it was like.
func digestOf(b *builder, n int) (*timeline.Digest, error) {
	t, err := b.Build(n)
	if errors.Is(err, timeline.ErrNoEvents) {
		exp, err := b.plans.at(n)
		if err != nil {
			return nil, err
		}
		return nothingOf(n, exp.Variants[exp.Variant].Name), nil
	}
	if err != nil {
		return nil, fmt.Errorf("timeline of run %s, repetition %d: %w", b.run.ID, n, err)
	}
	return t.Digest(), nil
}

// nothingOf is a repetition of which nothing is on record.
func nothingOf(n int, variant string) *timeline.Digest {
	d := (&timeline.Timeline{Repetition: n, Variant: variant}).Digest()
	d.Ruling, d.Reason, d.StoryDoubt = timeline.CannotTell, timeline.ErrNoEvents.Error(), timeline.ErrNoEvents.Error()
	return d
}

// offer takes digests that somebody has made on the way, unless they are there or being made.
func (s *digests) offer(all []*timeline.Digest) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	default:
		return
	}
	if !s.done {
		s.settle(all)
	}
}

// settle keeps digests. Whoever calls it has the turn.
func (s *digests) settle(all []*timeline.Digest) {
	shareStories(all)
	timeline.CompareDigests(all)
	s.all, s.done = all, true
}

// shareStories keeps one of those that are the same: of a thousand repetitions few differ.
func shareStories(all []*timeline.Digest) {
	known := make(map[string]*timeline.Story)
	for _, d := range all {
		if same := known[d.Story.ID]; same != nil {
			d.Story = same
		} else {
			known[d.Story.ID] = d.Story
		}
	}
}

// ListSummaries tells every repetition that came to its end in short, but for those of a
// warm-up.
func (s *timelineReader) ListSummaries(q *synclinev1.ListSummariesRequest, stream grpc.ServerStreamingServer[synclinev1.ListSummariesResponse]) error {
	run, err := s.records.find(q.RunId)
	if err != nil {
		return err
	}
	if !run.State.Final() {
		return status.Errorf(codes.FailedPrecondition, "run %s is %s; what its repetitions have in common can be told when it is over", run.ID, run.State)
	}
	b, err := s.records.cache.builder(stream.Context(), run)
	if err != nil {
		return readStatus(err)
	}
	all, err := b.digests(stream.Context())
	if err != nil {
		return err
	}
	told := make(map[string]bool)
	for _, d := range all {
		answer := &synclinev1.ListSummariesResponse{Summary: summaryToProto(d)}
		if !told[d.Story.ID] {
			told[d.Story.ID] = true
			answer.Story = storyToProto(d.Story)
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
	return nil
}

func summaryToProto(d *timeline.Digest) *synclinev1.Summary {
	m := &synclinev1.Summary{
		Repetition: uint32(d.Repetition), Variant: d.Variant, Ruling: synclinev1.Ruling(d.Ruling), Reason: d.Reason,
		Events: uint64(d.Events), Moments: uint64(d.Moments), Connections: d.Connections,
		Story: d.Story.ID, StoryDoubt: d.StoryDoubt,
		StoryAlike: uint32(d.Oddness.Alike), StoryAll: uint32(d.Oddness.All), StoryUnusual: d.Oddness.Unusual,
		Oddness: d.Oddness.Score, OddBecause: d.Oddness.Because,
	}
	for i := range d.Phases {
		p := &d.Phases[i]
		m.Phases = append(m.Phases, &synclinev1.SummaryPhase{
			Name: p.Name, Connection: indexToProto(p.Connection), End: indexToProto(p.End),
			Nanoseconds: p.Nanoseconds, ErrorNs: bounded(p.Err), Whole: p.Whole,
		})
	}
	return m
}

func storyToProto(s *timeline.Story) *synclinev1.Story {
	m := &synclinev1.Story{Id: s.ID}
	for _, l := range s.Lines {
		m.Lines = append(m.Lines, &synclinev1.StoryLine{Of: l.Of, Steps: l.Steps})
	}
	return m
}

// Summaries puts the answers of ListSummaries together, whoever sends them. The zero value
// has none.
type Summaries struct {
	// Digests in the order of the repetitions. Two with the same story share it.
	Digests []*timeline.Digest
	stories map[string]*timeline.Story
}

// Add takes one answer. An error says that it does not hang together.
func (s *Summaries) Add(m *synclinev1.ListSummariesResponse) error {
	if m.Summary == nil {
		return errors.New("the controller sent a summary without a repetition")
	}
	if s.stories == nil {
		s.stories = make(map[string]*timeline.Story)
	}
	if m.Story != nil {
		story := &timeline.Story{ID: m.Story.Id}
		for _, l := range m.Story.Lines {
			story.Lines = append(story.Lines, timeline.StoryLine{Of: l.Of, Steps: l.Steps})
		}
		s.stories[story.ID] = story
	}
	d, err := summaryFromProto(m.Summary, s.stories[m.Summary.Story])
	if err == nil {
		s.Digests = append(s.Digests, d)
	}
	return err
}

func summaryFromProto(m *synclinev1.Summary, story *timeline.Story) (*timeline.Digest, error) {
	if story == nil {
		return nil, fmt.Errorf("the summary of repetition %d names a story that was not sent", m.Repetition)
	}
	d := &timeline.Digest{
		Repetition: int(m.Repetition), Variant: m.Variant, Ruling: timeline.Ruling(m.Ruling), Reason: m.Reason,
		Events: int(m.Events), Moments: int(m.Moments), Connections: m.Connections, Story: story, StoryDoubt: m.StoryDoubt,
		Oddness: timeline.Oddness{
			Alike: int(m.StoryAlike), All: int(m.StoryAll), Unusual: m.StoryUnusual, Score: m.Oddness, Because: m.OddBecause,
		},
	}
	for _, p := range m.Phases {
		phase := timeline.DigestPhase{
			Name: p.Name, Connection: indexFromProto(p.Connection), End: indexFromProto(p.End),
			Nanoseconds: p.Nanoseconds, Err: orUnbounded(p.ErrorNs), Whole: p.Whole,
		}
		if phase.Connection >= len(d.Connections) || phase.End > timeline.ServerEnd || phase.Err < 0 {
			return nil, fmt.Errorf("the summary of repetition %d has a phase %s that cannot be", m.Repetition, p.Name)
		}
		d.Phases = append(d.Phases, phase)
	}
	return d, nil
}
