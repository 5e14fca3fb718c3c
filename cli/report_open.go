package cli

import (
	"bytes"
	"context"
	"slices"

	"syncline/controller"
	"syncline/controller/timeline"
	"syncline/controller/web"
	synclinev1 "syncline/proto/syncline/v1"
)

// open chooses the repetition that the page begins with, and draws it for readers whose
// browser runs no script. Of one run it is the one that `ladder` shows.
func (a *app) open(ctx context.Context, p *web.Page, runs []*reported) error {
	worst := web.WorstRun(p.Runs)
	if worst < 0 {
		return nil
	}
	r := runs[worst]
	if !slices.ContainsFunc(r.summaries, func(s *synclinev1.Summary) bool { return !isUnrecorded(s) }) {
		p.Open(worst, int(r.summaries[0].Repetition), "")
		return nil
	}
	q := &synclinev1.GetTimelineRequest{RunId: r.run.Id, Repetition: r.subject.repetition}
	answer, err := r.subject.timelines.GetTimeline(ctx, q)
	if err != nil {
		return answered(err)
	}
	p.Open(worst, int(answer.Timeline.GetRepetition()), answer.Because)
	t, err := controller.TimelineFromProto(answer.Timeline)
	if err != nil {
		return &exitError{code: exitRefused, err: err}
	}
	layout := t.Ladder(timeline.LadderOptions{Notes: true})
	if len(layout.Rows) > plainRows {
		return nil
	}
	var b bytes.Buffer
	o := web.PictureOptions{Scale: web.ReadableScale(t, layout), Tool: tool, Command: r.head.Command}
	if err := web.Picture(&b, t, layout, o); err != nil {
		return err
	}
	p.Picture = b.String()
	return nil
}

// plainRows is up to how many rows a page has a picture for browsers without scripts: it
// is not compressed.
const plainRows = 200
