package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"syncline/controller"
	"syncline/controller/clock"
	"syncline/controller/timeline"
	"syncline/controller/web"
	synclinev1 "syncline/proto/syncline/v1"
)

// tool is who writes a page or a picture.
const tool = "syncline " + Version

// page makes one page of what some subjects name.
func (a *app) page(ctx context.Context, subjects []*subject, command string) (*web.Page, error) {
	var runs []*reported
	var heads []web.Run
	for _, s := range subjects {
		r, err := readRun(ctx, s)
		if err != nil {
			return nil, err
		}
		if r.head.Source == "" {
			fmt.Fprintf(a.Err, "to know: the controller does not say what the experiment's file of run %s was, since it is of an older version: the page goes without it\n", r.run.Id)
		}
		runs = append(runs, r)
		heads = append(heads, r.head)
	}
	p := web.New(tool, pageTitle(heads), command, heads)
	live, _ := terminal(a.Err)
	w := &reportProgress{progress: progress{w: a.Err, live: live}}
	defer w.end()
	for i, r := range runs {
		if err := r.addTo(ctx, p, i, w); err != nil {
			return nil, err
		}
	}
	return p, a.open(ctx, p, runs)
}

// pageTitle names the runs of a page.
func pageTitle(runs []web.Run) string {
	var names []string
	for i := range runs {
		names = append(names, runs[i].Experiment+" "+runs[i].ID)
	}
	return strings.Join(names, ", ") + " · syncline"
}

// reportProgress tells how many repetitions are through.
type reportProgress struct{ progress }

func (p *reportProgress) repetition(run *synclinev1.Run, done, all int) {
	p.line(fmt.Sprintf("run %s  %s  %d/%d repetitions", run.Id, run.Experiment, done, all))
}

// reported is a run on its way into a page.
type reported struct {
	subject *subject
	run     *synclinev1.Run
	head    web.Run
	// start is the time of the reference's own clock that all times of the run count from.
	start int64
	// summaries are those of the repetitions that are to be shown.
	summaries []*synclinev1.Summary
	// tally counts the rulings on each expectation.
	tally    []web.Expectation
	clock    *synclinev1.ClockReport
	messages []web.ClockMessage
	lengths  web.Lengths
}

// readRun reads of a run what is not of one repetition.
func readRun(ctx context.Context, s *subject) (*reported, error) {
	answer, err := s.runs.GetRun(ctx, &synclinev1.GetRunRequest{Id: s.id, WithSource: true})
	if err != nil {
		return nil, answered(err)
	}
	r := &reported{subject: s, run: answer.Run}
	if r.summaries, err = s.summaries(ctx); err != nil {
		return nil, err
	}
	if r.clock, err = s.clockReport(ctx); err != nil {
		return nil, err
	}
	r.start = startOf(r.clock)
	r.head = web.Run{
		ID: r.run.Id, Experiment: r.run.Experiment, Source: string(answer.Source), Name: s.name,
		Command: shellCommand("syncline", "ladder", s.name),
		State:   enumWord(r.run.State.String(), "RUN_STATE_"), Reason: r.run.Reason,
		Incomplete: r.run.Incomplete, Warnings: r.run.Warnings, Reference: int(r.clock.GetReference()),
		Ruling: r.ruling().String(), Hosts: r.hosts(),
	}
	if r.run.CreatedNs != 0 {
		r.head.Created = time.Unix(0, r.run.CreatedNs).UTC().Format(time.RFC3339)
	}
	return r, nil
}

// summaries reads those of all repetitions, or of the one that was named.
func (s *subject) summaries(ctx context.Context) ([]*synclinev1.Summary, error) {
	stream, err := s.timelines.ListSummaries(ctx, &synclinev1.ListSummariesRequest{RunId: s.id})
	if err != nil {
		return nil, answered(err)
	}
	var all []*synclinev1.Summary
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, answered(err)
		}
		if s.repetition == 0 || s.repetition == m.Summary.GetRepetition() {
			all = append(all, m.Summary)
		}
	}
	if s.repetition != 0 && len(all) == 0 {
		return nil, usage("%s@%d: the run has no such repetition that counts", s.name, s.repetition)
	}
	return all, nil
}

// clockPointsShown is at how many moments a page tells of the clocks of a run.
const clockPointsShown = 300

// clockReport is how the clocks of the run were; nil if nothing is on record.
func (s *subject) clockReport(ctx context.Context) (*synclinev1.ClockReport, error) {
	answer, err := s.timelines.GetClock(ctx, &synclinev1.GetClockRequest{RunId: s.id, Points: clockPointsShown})
	if status.Code(err) == codes.InvalidArgument {
		// Of very many hosts nobody gets as many points: then as many as there are.
		answer, err = s.timelines.GetClock(ctx, &synclinev1.GetClockRequest{RunId: s.id})
	}
	if status.Code(err) == codes.FailedPrecondition {
		return nil, nil
	}
	if err != nil {
		return nil, answered(err)
	}
	return answer.Report, nil
}

// startOf is when the clocks of a run were looked at first, on the reference's own clock.
func startOf(r *synclinev1.ClockReport) int64 {
	if r == nil || len(r.Hosts[r.Reference].Points) == 0 {
		return 0
	}
	return r.Hosts[r.Reference].Points[0].LocalNs
}

func (r *reported) ruling() timeline.Ruling {
	var all []timeline.Verdict
	for _, m := range r.summaries {
		all = append(all, timeline.Verdict{Ruling: timeline.Ruling(m.Ruling)})
	}
	return timeline.Worst(all)
}

func (r *reported) hosts() []web.Host {
	var hosts []web.Host
	for i, h := range r.run.Hosts {
		host := web.Host{
			Name: h.Name, Agent: h.Agent, Address: h.Address, Address6: h.Address6, Kernel: h.Kernel, TestClock: h.TestClock,
			Reference: i == int(r.clock.GetReference()), Method: timeline.MethodUnknown,
		}
		if r.clock != nil {
			host.Method = r.clock.Hosts[i].Method
			reference := r.run.Hosts[r.clock.Reference]
			host.SameClock = !host.Reference && h.ClockId != "" && h.ClockId == reference.ClockId
		}
		for _, c := range h.Capabilities {
			if !c.Available {
				host.Missing = append(host.Missing, strings.ReplaceAll(enumWord(c.Source.String(), "SOURCE_"), "_", "-")+": "+c.Reason)
			}
		}
		hosts = append(hosts, host)
	}
	return hosts
}

// judge counts the rulings of one repetition, in the order in which they are judged.
func (r *reported) judge(verdicts []timeline.Verdict) {
	for _, v := range verdicts {
		i := slices.IndexFunc(r.tally, func(e web.Expectation) bool { return e.Text == v.Expectation })
		if i < 0 {
			i = len(r.tally)
			r.tally = append(r.tally, web.Expectation{Text: v.Expectation})
		}
		switch e := &r.tally[i]; v.Ruling {
		case timeline.Pass:
			e.Pass++
		case timeline.Fail:
			e.Fail++
		case timeline.CannotTell:
			e.CannotTell++
		case timeline.NotReproduced:
			e.NotReproduced++
		}
	}
}

// addTo puts the repetitions of the run into the page, of which it is run number i.
func (r *reported) addTo(ctx context.Context, p *web.Page, i int, w *reportProgress) error {
	for n, m := range r.summaries {
		w.repetition(r.run, n, len(r.summaries))
		if err := r.addRepetition(ctx, p, i, m); err != nil {
			return err
		}
	}
	p.Runs[i].Expectations = r.tally
	p.Runs[i].Phases = r.lengths.Statistics()
	if r.clock == nil {
		return nil
	}
	probes, err := r.probes(ctx)
	if err != nil {
		return err
	}
	p.Runs[i].Clock = r.clocks(append(r.messages, probes...))
	return nil
}

func (r *reported) addRepetition(ctx context.Context, p *web.Page, i int, s *synclinev1.Summary) error {
	o := web.Overview{
		N: int(s.Repetition), Variant: s.Variant, Ruling: timeline.Ruling(s.Ruling).String(), Why: shortened(s.Reason, whyMost),
		Oddness: oddness(s), Odd: s.OddBecause, Signature: s.Story, Connections: len(s.Connections), Moments: int(s.Moments),
	}
	if isUnrecorded(s) {
		verdicts := []timeline.Verdict{{Expectation: timeline.EveryEvent, Ruling: timeline.Ruling(s.Ruling), Reason: s.Reason}}
		r.judge(verdicts)
		return p.Add(i, o, web.Unrecorded(o.N, o.Variant, verdicts), nil)
	}
	m, t, err := r.subject.timeline(ctx, s.Repetition)
	if err != nil {
		return err
	}
	r.judge(t.Verdicts)
	repetition := web.NewRepetition(t)
	o.Began, o.Took = extent(t, r.start)
	r.lengths.Add(repetition)
	r.messages = append(r.messages, web.SegmentMessages(t)...)
	events, err := eventsJSON(m)
	if err != nil {
		return err
	}
	return p.Add(i, o, repetition, events)
}

// whyMost is how many letters a list of repetitions has for why each did not pass.
const whyMost = 200

// isUnrecorded reports whether a repetition was begun and nothing of it is on record.
func isUnrecorded(s *synclinev1.Summary) bool { return s.Moments == 0 }

// oddness is one number by which repetitions are sorted: those whose order of events is
// unusual first, the rarer the earlier, then by how far their phases are off.
func oddness(s *synclinev1.Summary) float64 {
	const unusual = 1000
	score := min(s.Oddness, unusual-1)
	if s.StoryUnusual && s.StoryAll > 0 {
		score += unusual * (2 - float64(s.StoryAlike)/float64(s.StoryAll))
	}
	return score
}

// shortened is a text of at most so many letters.
func shortened(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

// timeline fetches one repetition, as it came and as it is looked at.
func (s *subject) timeline(ctx context.Context, repetition uint32) (*synclinev1.Timeline, *timeline.Timeline, error) {
	answer, err := s.timelines.GetTimeline(ctx, &synclinev1.GetTimelineRequest{RunId: s.id, Repetition: repetition})
	if err != nil {
		return nil, nil, answered(err)
	}
	t, err := controller.TimelineFromProto(answer.Timeline)
	if err != nil {
		return nil, nil, &exitError{code: exitRefused, err: err}
	}
	return answer.Timeline, t, nil
}

// extent is when a repetition began, counted from the run's start, and how long it took.
// Moments that nothing ties to the lab's clock are placed somewhere, and tell of neither.
func extent(t *timeline.Timeline, start int64) (began, took int64) {
	var tied []timeline.Moment
	for _, m := range t.Moments {
		if m.Stamp.Err < clock.Unbounded {
			tied = append(tied, m)
		}
	}
	if len(tied) == 0 {
		return 0, 0
	}
	at := func(a, b timeline.Moment) int { return cmp.Compare(a.Stamp.At, b.Stamp.At) }
	first := slices.MinFunc(tied, at).Stamp.At
	return int64(first) - start, int64(slices.MaxFunc(tied, at).Stamp.At - first)
}

// eventsJSON are the events of a timeline, in the order in which its moments name them
// first, which is that of web.Moment.Event. Their spacing is taken out: that of protojson
// changes from build to build on purpose.
func eventsJSON(t *synclinev1.Timeline) ([]json.RawMessage, error) {
	marshal := protojson.MarshalOptions{UseProtoNames: true}
	var events []json.RawMessage
	seen := make([]bool, len(t.Events))
	for _, m := range t.Moments {
		if seen[m.Event] {
			continue
		}
		seen[m.Event] = true
		raw, err := marshal.Marshal(t.Events[m.Event].Event)
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		if err := json.Compact(&b, raw); err != nil {
			return nil, err
		}
		events = append(events, b.Bytes())
	}
	return events, nil
}
