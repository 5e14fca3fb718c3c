package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	synclinev1 "syncline/proto/syncline/v1"
)

func (a *app) eventsCommand() *cobra.Command {
	var output string
	var raw bool
	c := &cobra.Command{
		Use:   "events RUN[@REP]",
		Short: "Print the raw events of a run, as its agents recorded them",
		Long: `Print the raw events of a run, as its agents recorded them: each with its own
host's CLOCK_MONOTONIC. Times of two hosts cannot be compared here; the timeline
(syncline ladder) puts them on one clock.`,
		Example: `  syncline events r-7f3c2a10@3
  syncline events r-7f3c2a10 -o ndjson | jq .event.packet.flags`,
		Args: oneArgument("RUN[@REP]"),
		RunE: func(c *cobra.Command, args []string) error {
			if output != "table" && output != "ndjson" {
				return unknownFormat(output, "table", "ndjson")
			}
			if !raw {
				return &exitError{code: exitUsage, err: errors.New("--raw=false: events are told as each host's own clock says; syncline ladder RUN -o ndjson puts them on one")}
			}
			return a.look(c.Context(), args[0], func(s *subject) error {
				return a.printEvents(c.Context(), s.client, s.id, s.repetition, output)
			})
		},
	}
	formatFlag(c, &output, "table", "ndjson")
	// Said here too, so that it means the same with every command that tells times.
	c.Flags().BoolVar(&raw, "raw", true, "times as each host's own clock says; events are always told so")
	return c
}

func (a *app) printEvents(ctx context.Context, cl *client, id string, repetition uint32, output string) error {
	stream, err := cl.runs.ListEvents(ctx, &synclinev1.ListEventsRequest{RunId: id, Repetition: repetition})
	if err != nil {
		return answered(err)
	}
	w := newEventWriter(a.Out, output)
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return w.flush()
		}
		if err != nil {
			return answered(err)
		}
		if err := w.write(m); err != nil {
			return err
		}
	}
}

// eventWriter writes events in one of the formats of `events`.
type eventWriter struct {
	out   io.Writer
	table *tabwriter.Writer
}

func newEventWriter(out io.Writer, output string) *eventWriter {
	w := &eventWriter{out: out}
	if output == "table" {
		w.table = tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w.table, "AGENT\tEVENT\tREP\tTIME ns\tKIND\tWHAT")
	}
	return w
}

func (w *eventWriter) write(m *synclinev1.ListEventsResponse) error {
	for _, e := range m.Events {
		if w.table == nil {
			if err := w.line(m, e); err != nil {
				return err
			}
			continue
		}
		kind, what := describeEvent(e)
		fmt.Fprintf(w.table, "%s\t%d\t%d\t%d\t%s\t%s\n", m.Agent, e.Number, e.Repetition, e.TimeNs, kind, what)
	}
	return nil
}

// line writes one event as a line of JSON that says whose it is.
func (w *eventWriter) line(m *synclinev1.ListEventsResponse, e *synclinev1.Event) error {
	fact, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(e)
	if err != nil {
		return err
	}
	return json.NewEncoder(w.out).Encode(struct {
		Schema      string          `json:"schema"`
		Agent       string          `json:"agent"`
		Incarnation uint64          `json:"incarnation"`
		Event       json.RawMessage `json:"event"`
	}{"syncline.event/1", m.Agent, m.Incarnation, fact})
}

func (w *eventWriter) flush() error {
	if w.table == nil {
		return nil
	}
	return w.table.Flush()
}
