package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"syncline/controller"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// minWidth is the least number of columns that a picture is drawn in.
const minWidth = 40

// ladderOptions say how a timeline is shown.
type ladderOptions struct {
	output string
	ascii  bool
	raw    bool
	bare   bool
	notes  bool
	width  int
	conns  []int
	scale  string
	zero   string
	// reference is the host whose clock is the lab's; "" leaves it to the controller.
	reference string
}

func (o *ladderOptions) flags(c *cobra.Command) {
	formatFlag(c, &o.output, "text", "json", "ndjson")
	c.Flags().BoolVar(&o.ascii, "ascii", false, "draw with ASCII only")
	c.Flags().BoolVar(&o.raw, "raw", false, "times as each host's own clock says, not put on one clock")
	c.Flags().StringVar(&o.reference, "reference", "", "the host whose clock is the lab's (default: the one that makes the largest ± least)")
	c.Flags().BoolVar(&o.bare, "hide-lab", false, "leave out the lab's own steps: sleep, signal, wait")
	c.Flags().IntVar(&o.width, "width", 0, "columns (default: the terminal's)")
	c.Flags().IntSliceVar(&o.conns, "conn", nil, "only these connections, counted from 1: 1,3 (default: all)")
	c.Flags().StringVar(&o.scale, "scale", "row", "row: a line for each moment; linear or log: lines for the time between them too")
	c.Flags().StringVar(&o.zero, "t0", "connect", "what times count from: connect, 'first SYN', or wall for the time of the day")
	c.Flags().BoolVar(&o.notes, "notes", true, "what is worth knowing of this repetition, in words")
}

// layout is what the ladder is to show. The words have been checked.
func (o *ladderOptions) layout() timeline.LadderOptions {
	scale, _ := timeline.ParseScale(o.scale)
	zero, _ := timeline.ParseLadderZero(o.zero)
	return timeline.LadderOptions{
		Connections: o.conns, LocalTimes: o.raw, HideLab: o.bare, Scale: scale, Zero: zero, Notes: true,
		Choosing: "choose with --conn",
	}
}

func (a *app) ladderCommand() *cobra.Command {
	var opts ladderOptions
	var file ladderFile
	var interactive bool
	c := &cobra.Command{
		Use:   "ladder RUN[@REP]",
		Short: "Draw the timeline of one repetition",
		Long: `Draw the timeline of one repetition: a lane for each host, brackets for calls,
arrows for packets. Without @REP it is the repetition to look at first: the worst
verdict that is not pass, else the order of events that the fewest have, else the
oddest by its phases, else the first.`,
		Example: `  syncline ladder r-7f3c2a10
  syncline ladder r-7f3c2a10 --interactive
  syncline ladder r-7f3c2a10@17 -o json
  syncline ladder r-7f3c2a10@17 --to refused.svg`,
		Args: oneArgument("RUN[@REP]"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := opts.check(c); err != nil {
				return err
			}
			if err := file.check(c, opts); err != nil {
				return err
			}
			if interactive && file.to != "" {
				return usage("--interactive is for a terminal and --to for a file: choose one")
			}
			if interactive {
				if err := a.checkInteractive(opts); err != nil {
					return err
				}
			}
			return a.look(c.Context(), args[0], func(s *subject) error {
				if interactive {
					layout := opts.layout()
					layout.Choosing = "choose with the key c"
					return a.interact(c.Context(), s, opts, layout)
				}
				if file.to != "" {
					return a.ladderTo(c.Context(), s, opts, file)
				}
				return a.showTimeline(c.Context(), s.client, s.id, s.repetition, opts)
			})
		},
	}
	opts.flags(c)
	file.flags(c)
	c.Flags().BoolVarP(&interactive, "interactive", "i", false, "look at it on the whole screen: move, find, compare; ? shows the keys")
	return c
}

func (o *ladderOptions) check(c *cobra.Command) error {
	if c.Flags().Changed("width") && o.width < minWidth {
		return &exitError{code: exitUsage, err: fmt.Errorf("--width %d: give at least %d columns", o.width, minWidth)}
	}
	for _, conn := range o.conns {
		if conn < 1 {
			return &exitError{code: exitUsage, err: fmt.Errorf("--conn %d: connections are counted from 1", conn)}
		}
	}
	if _, ok := timeline.ParseScale(o.scale); !ok {
		return &exitError{code: exitUsage, err: fmt.Errorf("--scale %s: give row, linear or log", o.scale)}
	}
	if _, ok := timeline.ParseLadderZero(o.zero); !ok {
		return &exitError{code: exitUsage, err: fmt.Errorf("--t0 %q: give connect, 'first SYN' or wall", o.zero)}
	}
	switch o.output {
	case "text", "json", "ndjson":
		return nil
	}
	return unknownFormat(o.output, "text", "json", "ndjson")
}

// showTimeline fetches one repetition and draws it, or prints it as data.
func (a *app) showTimeline(ctx context.Context, cl *client, id string, repetition uint32, opts ladderOptions) error {
	answer, err := cl.timelines.GetTimeline(ctx, &synclinev1.GetTimelineRequest{RunId: id, Repetition: repetition, Reference: opts.reference})
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
	if opts.raw && opts.output != "text" {
		withoutModel(answer.Timeline)
	}
	switch opts.output {
	case "json":
		return writeJSON(a.Out, answer.Timeline, true)
	case "ndjson":
		return writeMoments(a.Out, answer.Timeline, opts.raw)
	}
	if answer.Because != "" {
		fmt.Fprintf(a.Err, "repetition %d, since %s\n", t.Repetition, onTerminal(answer.Because))
	}
	layout, err := layLadder(t, opts)
	if err != nil {
		return err
	}
	return drawLadder(a.Out, layout, a.drawing(a.Out, opts))
}

// checkConnections refuses connections that the repetition does not have.
func checkConnections(t *timeline.Timeline, conns []int) error {
	for _, conn := range conns {
		if conn > len(t.Connections) {
			return usage("--conn %d: repetition %d has %d connections", conn, t.Repetition, len(t.Connections))
		}
	}
	return nil
}

// layLadder lays a timeline out as it was asked for. What cannot be had is an error.
func layLadder(t *timeline.Timeline, opts ladderOptions) (*timeline.Ladder, error) {
	want := opts.layout()
	l := t.Ladder(want)
	if !opts.notes {
		l.Notes, l.Summary = nil, nil
	}
	if err := checkZero(l, want); err != nil {
		return nil, err
	}
	return l, nil
}

// checkZero refuses a zero that nothing on record tells.
func checkZero(l *timeline.Ladder, want timeline.LadderOptions) error {
	why := noZero(l, want)
	if why == "" {
		return nil
	}
	name := want.Zero.String()
	if want.Zero == timeline.ZeroSYN {
		name = "'" + name + "'"
	}
	return &exitError{code: exitUsage, err: fmt.Errorf("--t0 %s: %s; leave out --t0", name, why)}
}

// noZero says why the times do not count from what they were to count from, "" if they do or
// if each host's own are shown.
func noZero(l *timeline.Ladder, want timeline.LadderOptions) string {
	switch {
	case want.LocalTimes || want.Zero == l.Zero:
		return ""
	case want.Zero == timeline.ZeroWall:
		return fmt.Sprintf("no packet of repetition %d is on record, and only packets carry CLOCK_REALTIME", l.Repetition)
	}
	return fmt.Sprintf("no SYN of repetition %d is on record", l.Repetition)
}

// withoutModel leaves of a timeline what the hosts recorded: local times, and no time or delay
// that rests on putting their clocks on one. The order of moments, and which segments are
// impossible, are still by the model: between two hosts raw times tell no other.
func withoutModel(t *synclinev1.Timeline) {
	t.ZeroNs = 0
	for _, h := range t.Hosts {
		h.OffsetLowNs, h.OffsetHighNs, h.Method, h.Messages = nil, nil, "", 0
	}
	for _, m := range t.Moments {
		m.LabNs, m.ErrorNs = 0, nil
	}
	segments := func(s *synclinev1.Segment) { s.OneWayNs, s.OneWayErrorNs = nil, nil }
	for _, c := range t.Connections {
		for _, s := range c.Segments {
			segments(s)
		}
	}
	for _, o := range t.Others {
		if o.Segment != nil {
			segments(o.Segment)
		}
	}
}

// writeMoments writes a timeline as one line of JSON a moment, in its order.
func writeMoments(w io.Writer, t *synclinev1.Timeline, raw bool) error {
	out := json.NewEncoder(w)
	marshal := protojson.MarshalOptions{UseProtoNames: true}
	for _, m := range t.Moments {
		owner := t.Events[m.Event]
		event, err := marshal.Marshal(owner.Event)
		if err != nil {
			return err
		}
		line := momentLine{
			Schema: "syncline.moment/1", Run: t.RunId, Repetition: t.Repetition,
			Host: t.Hosts[owner.Host].Host.Name, Edge: enumWord(m.Edge.String(), "EDGE_"),
			Local: m.LocalNs, Error: m.ErrorNs,
			Connection: m.Connection, Segment: m.Segment, Event: event,
		}
		if lab := m.LabNs - t.ZeroNs; !raw {
			line.Lab = &lab
		}
		if err := out.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// momentLine is a moment as data. Its times are nanoseconds: of the host's own
// CLOCK_MONOTONIC, and on the lab's clock since the zero of the timeline, surely
// right within error_ns; that is absent where nothing ties the clocks, and both are where
// raw times were asked for.
type momentLine struct {
	Schema     string          `json:"schema"`
	Run        string          `json:"run"`
	Repetition uint32          `json:"repetition"`
	Host       string          `json:"host"`
	Edge       string          `json:"edge"`
	Local      int64           `json:"local_ns"`
	Lab        *int64          `json:"lab_ns,omitempty"`
	Error      *int64          `json:"error_ns,omitempty"`
	Connection *uint32         `json:"connection,omitempty"`
	Segment    *uint32         `json:"segment,omitempty"`
	Event      json.RawMessage `json:"event"`
}
