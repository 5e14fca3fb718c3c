package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"syncline/controller"
	"syncline/controller/timeline"
	"syncline/controller/web"
	synclinev1 "syncline/proto/syncline/v1"
)

// Endings of the names of files that a ladder is written to, and say as what.
const (
	pictureSuffix = ".svg"
	textSuffix    = ".txt"
)

// ladderSuffixes are all endings, by what is written.
var ladderSuffixes = []string{pictureSuffix, pageSuffix, textSuffix}

// ladderFile says to which file a ladder goes.
type ladderFile struct {
	to    string
	force bool
	// scaled is true if a scale was asked for: a picture has another default than a terminal.
	scaled bool
}

func (f *ladderFile) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.to, "to", "", "write it to a file: "+strings.Join(ladderSuffixes, ", ")+" by its name")
	c.Flags().BoolVar(&f.force, "force", false, "replace a file that is there")
}

// check refuses what does not go together.
func (f *ladderFile) check(c *cobra.Command, opts ladderOptions) error {
	f.scaled = c.Flags().Changed("scale")
	switch {
	case f.to == "" && f.force:
		return usage("--force is about a file, and there is none; --to FILE names one")
	case f.to == "":
		return nil
	case f.to == "-":
		return usage("--to -: a ladder on standard output is what there is without --to; `syncline report RUN --to -` sends a page")
	case opts.output != "text":
		return usage("-o %s goes to standard output; a file has the format that its name ends in: %s", opts.output, strings.Join(ladderSuffixes, ", "))
	}
	return checkTo(f.to, f.force, ladderSuffixes...)
}

// ladderTo writes one repetition to a file.
func (a *app) ladderTo(ctx context.Context, s *subject, opts ladderOptions, file ladderFile) error {
	if strings.EqualFold(filepath.Ext(file.to), pageSuffix) {
		return a.ladderPage(ctx, s, file)
	}
	answer, err := s.timelines.GetTimeline(ctx, &synclinev1.GetTimelineRequest{RunId: s.id, Repetition: s.repetition, Reference: opts.reference})
	if err != nil {
		return answered(err)
	}
	t, err := controller.TimelineFromProto(answer.Timeline)
	if err != nil {
		return &exitError{code: exitRefused, err: err}
	}
	if err := checkConnections(t, opts.conns); err != nil {
		return err
	}
	size, err := a.writeTo(file.to, file.force, func(w io.Writer) error {
		if strings.EqualFold(filepath.Ext(file.to), pictureSuffix) {
			return drawPicture(w, t, opts, file, s.name)
		}
		layout, err := layLadder(t, opts)
		if err != nil {
			return err
		}
		return drawLadder(w, layout, a.drawing(w, opts))
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Err, "%s: repetition %d of run %s, %s\n", file.to, t.Repetition, t.RunID, byteText(size))
	return nil
}

// drawPicture writes a ladder as SVG. Time is to scale, if that can be read and no other
// scale was asked for: a picture has the room that a terminal has not.
func drawPicture(w io.Writer, t *timeline.Timeline, opts ladderOptions, file ladderFile, name string) error {
	asked, command := opts.scale, []string{"syncline", "ladder", repetitionRef(name, t.Repetition)}
	// The rows of a picture are moments; the scale sets them apart.
	opts.scale = timeline.ScaleRow.String()
	layout, err := layLadder(t, opts)
	if err != nil {
		return err
	}
	scale := web.ReadableScale(t, layout)
	if file.scaled {
		scale, _ = timeline.ParseScale(asked)
		command = append(command, "--scale", asked)
	}
	var conns []string
	for _, conn := range opts.conns {
		conns = append(conns, fmt.Sprint(conn))
	}
	if len(conns) > 0 {
		command = append(command, "--conn", strings.Join(conns, ","))
	}
	command = append(command, "--to", filepath.Base(file.to))
	return web.Picture(w, t, layout, web.PictureOptions{Scale: scale, Tool: tool, Command: shellCommand(command...)})
}

// ladderPage writes a page of one repetition: the one that was named, or the one that the
// ladder would show.
func (a *app) ladderPage(ctx context.Context, s *subject, file ladderFile) error {
	one := *s
	if one.repetition == 0 {
		answer, err := s.timelines.GetTimeline(ctx, &synclinev1.GetTimelineRequest{RunId: s.id})
		if err != nil {
			return answered(err)
		}
		one.repetition = answer.Timeline.GetRepetition()
	}
	page, err := a.page(ctx, []*subject{&one}, shellCommand("syncline", "ladder", repetitionRef(s.name, int(one.repetition)), "--to", file.to))
	if err != nil {
		return err
	}
	return a.writePage(page, reportOptions{to: file.to, force: file.force})
}

// repetitionRef is how a repetition is called in a command: RUN@REP.
func repetitionRef(name string, repetition int) string {
	return fmt.Sprintf("%s@%d", name, repetition)
}
