package cli

import (
	"bytes"
	"context"

	"syncline/controller/timeline"
	"syncline/controller/web"
)

// open chooses the repetition that the page begins with, and draws it for readers whose
// browser runs no script.
func (a *app) open(ctx context.Context, p *web.Page, runs []*reported) error {
	p.Open = web.Worst(p.Runs)
	if p.Open.Repetition == 0 {
		return nil
	}
	r := runs[p.Open.Run]
	for _, j := range r.judged {
		if int(j.Repetition) == p.Open.Repetition && isUnrecorded(j) {
			return nil
		}
	}
	_, t, err := r.subject.timeline(ctx, uint32(p.Open.Repetition))
	if err != nil {
		return err
	}
	layout := t.Ladder(timeline.LadderOptions{Notes: true})
	if len(layout.Rows) > plainRows {
		return nil
	}
	var b bytes.Buffer
	if err := web.Picture(&b, t, layout, web.PictureOptions{Tool: tool, Command: p.Command}); err != nil {
		return err
	}
	p.Picture = b.String()
	return nil
}

// plainRows is up to how many rows a page has a picture for browsers without scripts: it
// is not compressed.
const plainRows = 200
