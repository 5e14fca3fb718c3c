package controller

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/store"
	"syncline/controller/timeline"
	"syncline/proto/chunk"
	synclinev1 "syncline/proto/syncline/v1"
)

// timelinesKept is how many runs' decoded events stay in memory, for someone who
// pages through the repetitions of a run, and how many runs are put together at a time.
const timelinesKept = 2

// timelines computes the timelines of runs, and keeps the newest few builders, each for as
// long as its run is as it was: the events of a final run never change, those of another
// do with every chunk that arrives. What is asked for twice at once is computed once.
type timelines struct {
	// load reads a run and puts it together. It gives up when its context ends.
	load func(context.Context, store.Run) (*builder, error)
	// turns holds one token for each builder that is being made.
	turns chan struct{}

	mu sync.Mutex
	// kept are done, the newest first; making are not.
	kept   []*builder
	making []*making
}

// making is a builder that somebody makes and others may wait for. builder, err and abandoned
// are set once done is closed, by the maker.
type making struct {
	run     store.Run
	done    chan struct{}
	builder *builder
	err     error
	// abandoned: the maker's own request was cancelled, which is nothing to those who wait.
	abandoned bool
}

type builder struct {
	run   store.Run
	plans *plans
	hosts []timeline.Host
	short *digests
	// usual is the builder with the reference that the run has by itself, nil if this is it.
	usual *builder
	*timeline.Builder
}

// withReference is the same builder with the clock of another host as the lab's.
func (b *builder) withReference(host string) (*builder, error) {
	inner, err := b.Builder.WithReference(host)
	if err != nil {
		return nil, err
	}
	other := *b
	other.Builder = inner
	if b.usual == nil {
		other.usual = b
	}
	return &other, nil
}

func newTimelines(k keeper) *timelines {
	return &timelines{
		load:  func(ctx context.Context, run store.Run) (*builder, error) { return newBuilder(ctx, k, run) },
		turns: make(chan struct{}, timelinesKept),
	}
}

func newBuilder(ctx context.Context, k keeper, run store.Run) (*builder, error) {
	input, plans, err := loadRun(ctx, k, run)
	if err != nil {
		return nil, err
	}
	return &builder{run: run, plans: plans, hosts: input.Hosts, short: newDigests(), Builder: timeline.NewBuilder(input)}, nil
}

// builder returns the builder of a run as it is. It waits for whoever makes the same one
// already, and for its turn to make it, until ctx ends; the error has ctx's own in its chain
// then.
func (ts *timelines) builder(ctx context.Context, run store.Run) (*builder, error) {
	for {
		b, m, isMaker := ts.find(run)
		switch {
		case b != nil:
			return b, nil
		case isMaker:
			ts.make(ctx, m)
			return m.builder, m.err
		}
		select {
		case <-m.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the events of run %s: %w", run.ID, ctx.Err())
		}
		if !m.abandoned {
			return m.builder, m.err
		}
	}
}

// find is the builder of a run if it is kept, else the one that is in the making: by the
// caller, if nobody else makes it.
func (ts *timelines) find(run store.Run) (b *builder, m *making, isMaker bool) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, b := range ts.kept {
		if reflect.DeepEqual(b.run, run) {
			return b, nil, false
		}
	}
	for _, m := range ts.making {
		if reflect.DeepEqual(m.run, run) {
			return nil, m, false
		}
	}
	m = &making{run: run, done: make(chan struct{}), err: fmt.Errorf("the events of run %s were not read to their end", run.ID)}
	ts.making = append(ts.making, m)
	return nil, m, true
}

// make waits for its turn and makes a builder, or leaves it to somebody else if ctx ends
// before it is made.
func (ts *timelines) make(ctx context.Context, m *making) {
	defer ts.made(m)
	select {
	case ts.turns <- struct{}{}:
		defer func() { <-ts.turns }()
	case <-ctx.Done():
		m.err, m.abandoned = fmt.Errorf("wait for a turn to read run %s: %w", m.run.ID, ctx.Err()), true
		return
	}
	m.builder, m.err = ts.load(ctx, m.run)
	m.abandoned = m.err != nil && ctx.Err() != nil
}

// made lets those go on that wait for a builder, and keeps it in the place of the one that
// its run had before. What failed is tried again by who asks next.
func (ts *timelines) made(m *making) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	close(m.done)
	ts.making = slices.DeleteFunc(ts.making, func(other *making) bool { return other == m })
	if m.err != nil {
		return
	}
	others := slices.DeleteFunc(ts.kept, func(b *builder) bool { return b.run.ID == m.run.ID })
	ts.kept = slices.Concat([]*builder{m.builder}, others)
	ts.kept = ts.kept[:min(len(ts.kept), timelinesKept)]
}

// loadRun reads all that a timeline is computed from. It gives up between two chunks.
func loadRun(ctx context.Context, k keeper, run store.Run) (*timeline.Run, *plans, error) {
	plans, err := newPlans(run, run.Source)
	if err != nil {
		return nil, nil, err
	}
	exp := plans.first
	input := &timeline.Run{ID: run.ID, Experiment: exp, Plan: plans.at, Incomplete: run.Incomplete, Notes: run.Warnings}
	if !run.State.Final() {
		input.Incomplete = append(slices.Clip(input.Incomplete), fmt.Sprintf("the run is %s, events still arrive", run.State))
	}
	index := map[string]int{}
	for i, h := range run.Hosts {
		host, err := timelineHost(h, exp.Observe)
		if err != nil {
			return nil, nil, fmt.Errorf("host %s of run %s: %w", h.Name, run.ID, err)
		}
		input.Hosts = append(input.Hosts, host)
		index[h.Agent] = i
	}
	measured := measuredFrom(run)
	err = decodeChunks(k, run.ID, func(c store.Chunk, events []*synclinev1.Event) error {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read run %s: %w", run.ID, err)
		}
		host, ok := index[c.Agent]
		if !ok {
			return fmt.Errorf("run %s holds events of agent %s, which has no part in it", run.ID, c.Agent)
		}
		for _, e := range events {
			if measured > 0 && int(e.Repetition) >= measured {
				continue
			}
			native, err := eventFromProto(e)
			if err != nil {
				return fmt.Errorf("event %d of agent %s: %w", e.Number, c.Agent, err)
			}
			if native == nil {
				continue
			}
			native.Host, native.Incarnation = host, c.Incarnation
			input.Events = append(input.Events, *native)
		}
		return nil
	})
	return input, plans, err
}

// decodeChunks yields the events of a run, chunk by chunk.
func decodeChunks(k keeper, id string, yield func(store.Chunk, []*synclinev1.Event) error) error {
	return k.Chunks(id, func(c store.Chunk) error {
		events, err := chunk.Decode(c.Data)
		if err != nil {
			return fmt.Errorf("chunk %d of agent %s: %w", c.Sequence, c.Agent, err)
		}
		return yield(c, events)
	})
}

// timelineService answers operators about runs as they are looked at.
type timelineService struct {
	timelineReader
	controller *Controller
}

// GetTimeline computes one repetition.
func (s *timelineReader) GetTimeline(ctx context.Context, q *synclinev1.GetTimelineRequest) (*synclinev1.GetTimelineResponse, error) {
	run, err := s.records.find(q.RunId)
	if err != nil {
		return nil, err
	}
	if err := hasRepetition(run, q.Repetition); err != nil {
		return nil, err
	}
	b, err := s.records.cache.builder(ctx, run)
	if err != nil {
		return nil, readStatus(err)
	}
	if b, err = b.withReference(q.Reference); err != nil {
		return nil, clockError(err)
	}
	t, because, err := pick(ctx, b, int(q.Repetition))
	if err != nil {
		return nil, err
	}
	return &synclinev1.GetTimelineResponse{Timeline: timelineToProto(t, run), Because: because}, nil
}

// pick builds the repetition asked for; for 0, the one to look at first, and says why it is
// that one. As long as a run goes on that is the first one with a verdict that is not pass,
// else the first: what is odd is not settled before the last has come.
func pick(ctx context.Context, b *builder, repetition int) (t *timeline.Timeline, because string, err error) {
	if repetition > 0 {
		t, err = build(b, repetition)
		return t, "", err
	}
	if b.run.State.Final() {
		all, err := b.digests(ctx)
		if err != nil {
			return nil, "", err
		}
		seen := slices.DeleteFunc(slices.Clone(all), func(d *timeline.Digest) bool { return d.Moments == 0 })
		if i, because := timeline.WorstOf(seen); i >= 0 {
			t, err := build(b, seen[i].Repetition)
			return t, because, err
		}
		t, err := build(b, 1)
		return t, "", err
	}
	for n := 1; n <= max(1, b.run.RepetitionsDone); n++ {
		if err := ctx.Err(); err != nil {
			return nil, "", status.FromContextError(err).Err()
		}
		if b.plans.warmup(n) {
			continue
		}
		t, err := build(b, n)
		if err != nil {
			return nil, "", err
		}
		if worst := timeline.Worst(t.Verdicts); worst != timeline.Pass {
			return t, "its ruling is " + worst.String(), nil
		}
	}
	t, err = build(b, 1)
	return t, "", err
}

func build(b *builder, n int) (*timeline.Timeline, error) {
	t, err := b.Build(n)
	if err != nil && !b.run.State.Final() {
		return nil, status.Errorf(codes.FailedPrecondition, "run %s is %s; nothing of repetition %d has arrived yet", b.run.ID, b.run.State, n)
	}
	if err != nil {
		return nil, status.Error(codes.Internal, fmt.Sprintf("timeline of run %s, repetition %d: %v", b.run.ID, n, err))
	}
	return t, nil
}

// ListVerdicts judges every repetition that came to its end, but for those of a warm-up.
func (s *timelineReader) ListVerdicts(q *synclinev1.ListVerdictsRequest, stream grpc.ServerStreamingServer[synclinev1.ListVerdictsResponse]) error {
	run, err := s.records.find(q.RunId)
	if err != nil {
		return err
	}
	if !run.State.Final() {
		return status.Errorf(codes.FailedPrecondition, "run %s is %s; its verdicts come when it is over", run.ID, run.State)
	}
	b, err := s.records.cache.builder(stream.Context(), run)
	if err != nil {
		return readStatus(err)
	}
	var all []*timeline.Digest
	for n := 1; n <= run.RepetitionsDone; n++ {
		if b.plans.warmup(n) {
			continue
		}
		answer, digest, err := judge(b, n)
		if err != nil {
			return err
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
		all = append(all, digest)
	}
	b.short.offer(all)
	return nil
}

// judge rules on one repetition, and has it in short for those who ask next. One that was
// begun and of which nothing is on record is not left out: that is its verdict.
func judge(b *builder, n int) (*synclinev1.ListVerdictsResponse, *timeline.Digest, error) {
	answer := &synclinev1.ListVerdictsResponse{Repetition: uint32(n)}
	exp, err := b.plans.at(n)
	if err != nil {
		return nil, nil, status.Error(codes.Internal, err.Error())
	}
	answer.Variant = exp.Variants[exp.Variant].Name
	t, err := b.Build(n)
	switch {
	case errors.Is(err, timeline.ErrNoEvents):
		for _, expectation := range timeline.Expectations(exp, b.hosts) {
			nothing := timeline.Verdict{Expectation: expectation, Ruling: timeline.CannotTell, Reason: timeline.ErrNoEvents.Error()}
			answer.Verdicts = append(answer.Verdicts, verdictToProto(nothing))
		}
		return answer, nothingOf(n, answer.Variant), nil
	case err != nil:
		return nil, nil, status.Error(codes.Internal, err.Error())
	}
	for _, v := range t.Verdicts {
		answer.Verdicts = append(answer.Verdicts, verdictToProto(v))
	}
	answer.SegmentsMatched, answer.Segments = countSegments(t)
	return answer, t.Digest(), nil
}

func countSegments(t *timeline.Timeline) (matched, all uint32) {
	for _, c := range t.Connections {
		for _, s := range c.Segments {
			all++
			if s.Departure >= 0 && s.Arrival >= 0 {
				matched++
			}
		}
	}
	return matched, all
}
