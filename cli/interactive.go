package cli

import (
	"context"
	"fmt"
	"os"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/term"

	"syncline/controller/timeline"
)

// checkInteractive refuses what the full-screen viewer cannot do, before anything is asked
// of a controller.
func (a *app) checkInteractive(opts ladderOptions) error {
	refuse := func(format string, arguments ...any) error {
		return &exitError{code: exitUsage, err: fmt.Errorf(format, arguments...)}
	}
	if opts.output != "text" {
		return refuse("--interactive draws a picture; it does not go with -o %s", opts.output)
	}
	if opts.width > 0 {
		return refuse("--interactive is as wide as the terminal; leave --width out")
	}
	for _, stream := range []struct {
		name string
		is   any
	}{{"input", a.In}, {"output", a.Out}} {
		if f, ok := stream.is.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
			return refuse("--interactive needs a terminal, and standard %s is none. Leave it out to print the ladder", stream.name)
		}
	}
	if kind := os.Getenv("TERM"); kind == "" || kind == "dumb" {
		return refuse("--interactive needs a terminal whose cursor can be moved, and TERM is %q. Leave it out to print the ladder", kind)
	}
	return nil
}

// interact shows the repetitions of a run in the full-screen viewer, beginning with one, until
// whoever looks has enough of it.
func (a *app) interact(ctx context.Context, s *subject, opts ladderOptions, look timeline.LadderOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	look.Notes = opts.notes
	src := &runSource{cl: s.client, id: s.id, reference: opts.reference}
	first, err := src.record(ctx, int(s.repetition))
	if err != nil {
		return err
	}
	for _, conn := range look.Connections {
		if conn > len(first.t.Connections) {
			return &exitError{code: exitUsage, err: fmt.Errorf("--conn %d: repetition %d has %d connections", conn, first.t.Repetition, len(first.t.Connections))}
		}
	}
	v := newViewer(ctx, src, first, look, a.drawing(a.Out, opts))
	if err := checkZero(v.shown.l, look); err != nil {
		return err
	}
	return a.runViewer(ctx, cancel, v)
}

// runViewer returns when the viewer was left or ctx has ended; the terminal is then as it was
// before, also after a panic, and nothing goes on. It calls cancel, which must end the
// viewer's own context.
func (a *app) runViewer(ctx context.Context, cancel context.CancelFunc, v *viewer) error {
	environment := os.Environ()
	if !v.o.Colour {
		environment = append(environment, "NO_COLOR=1")
	}
	model := &guarded{viewer: v}
	// Signals end ctx, and it ends the program as q does: a program that bubbletea kills leaves
	// its reader behind. Only a terminal that changes its size is bubbletea's own affair.
	p := tea.NewProgram(model, tea.WithInput(a.In), tea.WithOutput(a.Out), tea.WithoutSignalHandler(), tea.WithEnvironment(environment))
	model.quit = p.Quit
	defer context.AfterFunc(ctx, p.Quit)()
	_, err := p.Run()
	cause := ctx.Err()
	cancel()
	v.jobs.finish()
	switch {
	case model.bug != nil:
		return model.bug
	case err != nil:
		return fmt.Errorf("viewer: %w", err)
	case cause != nil || v.interrupted:
		return &exitError{code: exitInterrupted}
	}
	return nil
}
