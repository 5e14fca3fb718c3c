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
	"syncline/controller/export"
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
	// judged are the verdicts of each repetition that is to be shown.
	judged   []*synclinev1.ListVerdictsResponse
	clock    *synclinev1.ClockReport
	messages []web.ClockMessage
	lengths  web.Lengths
}

// readRun reads of a run what is not of one repetition.
func readRun(ctx context.Context, s *subject) (*reported, error) {
	answer, err := s.runs.GetRun(ctx, &synclinev1.GetRunRequest{Id: s.id})
	if err != nil {
		return nil, answered(err)
	}
	r := &reported{subject: s, run: answer.Run}
	if r.judged, err = s.verdicts(ctx); err != nil {
		return nil, err
	}
	if r.clock, err = s.clockReport(ctx); err != nil {
		return nil, err
	}
	source, err := s.source(ctx, r.run)
	if err != nil {
		return nil, err
	}
	r.start = startOf(r.clock)
	r.head = web.Run{
		ID: r.run.Id, Experiment: r.run.Experiment, Source: source, Command: "syncline ladder " + s.name,
		State: enumWord(r.run.State.String(), "RUN_STATE_"), Reason: r.run.Reason,
		Incomplete: r.run.Incomplete, Warnings: r.run.Warnings, Reference: int(r.clock.GetReference()),
		Ruling: r.ruling().String(), Hosts: r.hosts(), Expectations: r.expectations(),
	}
	if r.run.CreatedNs != 0 {
		r.head.Created = time.Unix(0, r.run.CreatedNs).UTC().Format(time.RFC3339)
	}
	return r, nil
}

// verdicts reads those of all repetitions, or of the one that was named.
func (s *subject) verdicts(ctx context.Context) ([]*synclinev1.ListVerdictsResponse, error) {
	stream, err := s.timelines.ListVerdicts(ctx, &synclinev1.ListVerdictsRequest{RunId: s.id})
	if err != nil {
		return nil, answered(err)
	}
	var all []*synclinev1.ListVerdictsResponse
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, answered(err)
		}
		if s.repetition == 0 || s.repetition == m.Repetition {
			all = append(all, m)
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

// source is the experiment's file. A bundle has it, so it can be told of runs that can be
// exported: it is empty for one that is not sealed.
func (s *subject) source(ctx context.Context, run *synclinev1.Run) (string, error) {
	if len(run.Seal) == 0 {
		return "", nil
	}
	var b bytes.Buffer
	if err := s.download(ctx, &b); err != nil {
		return "", err
	}
	bundle, err := export.OpenBundle(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		return "", &exitError{code: exitInconclusive, err: fmt.Errorf("the bundle of run %s: %w", s.id, err)}
	}
	return string(bundle.Source), nil
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
	for _, j := range r.judged {
		all = append(all, verdictsOf(j)...)
	}
	return timeline.Worst(all)
}

func verdictsOf(j *synclinev1.ListVerdictsResponse) []timeline.Verdict {
	var verdicts []timeline.Verdict
	for _, v := range j.Verdicts {
		verdicts = append(verdicts, controller.VerdictFromProto(v))
	}
	return verdicts
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

// expectations counts the rulings on each, in the order in which they are judged.
func (r *reported) expectations() []web.Expectation {
	var all []web.Expectation
	at := make(map[string]int)
	for _, j := range r.judged {
		for _, v := range verdictsOf(j) {
			i, ok := at[v.Expectation]
			if !ok {
				i = len(all)
				at[v.Expectation] = i
				all = append(all, web.Expectation{Text: v.Expectation})
			}
			switch e := &all[i]; v.Ruling {
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
	return all
}

// addTo puts the repetitions of the run into the page, of which it is run number i.
func (r *reported) addTo(ctx context.Context, p *web.Page, i int, w *reportProgress) error {
	for n, j := range r.judged {
		w.repetition(r.run, n, len(r.judged))
		if err := r.addRepetition(ctx, p, i, j); err != nil {
			return err
		}
	}
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

func (r *reported) addRepetition(ctx context.Context, p *web.Page, i int, j *synclinev1.ListVerdictsResponse) error {
	o := web.Overview{N: int(j.Repetition), Variant: j.Variant, Ruling: timeline.Worst(verdictsOf(j)).String(), Why: whyOf(verdictsOf(j))}
	if isUnrecorded(j) {
		return p.Add(i, o, web.Unrecorded(o.N, o.Variant, verdictsOf(j)), nil)
	}
	m, t, err := r.subject.timeline(ctx, j.Repetition)
	if err != nil {
		return err
	}
	repetition := web.NewRepetition(t)
	o.Connections, o.Moments = len(t.Connections), len(t.Moments)
	if len(t.Moments) > 0 {
		o.Began, o.Took = extent(t, r.start)
	}
	r.lengths.Add(repetition)
	r.messages = append(r.messages, web.SegmentMessages(t)...)
	events, err := eventsJSON(m)
	if err != nil {
		return err
	}
	return p.Add(i, o, repetition, events)
}

// isUnrecorded reports whether a repetition was begun and nothing of it is on record, which is
// what all its verdicts say then.
func isUnrecorded(j *synclinev1.ListVerdictsResponse) bool {
	return len(j.Verdicts) > 0 && !slices.ContainsFunc(j.Verdicts, func(v *synclinev1.Verdict) bool {
		return v.Reason != timeline.ErrNoEvents.Error()
	})
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

// whyOf is the first verdict that is as bad as the repetition is, shortly; empty for a pass.
func whyOf(verdicts []timeline.Verdict) string {
	const most = 200
	worst := timeline.Worst(verdicts)
	if worst == timeline.Pass {
		return ""
	}
	for _, v := range verdicts {
		if v.Ruling != worst {
			continue
		}
		text := []rune(strings.TrimSuffix(v.Expectation+": "+v.Reason, ": "))
		if len(text) > most {
			text = append(text[:most-1], '…')
		}
		return string(text)
	}
	return ""
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
