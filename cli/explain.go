package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"syncline/controller"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// explainOptions say what is explained, and how.
type explainOptions struct {
	output    string
	ascii     bool
	width     int
	conn      int
	reference string
}

func (a *app) explainCommand() *cobra.Command {
	var opts explainOptions
	c := &cobra.Command{
		Use:   "explain RUN[@REP]",
		Short: "Say who caused what in one repetition",
		Long: `Say who caused what in one repetition: which call, packet or timer made each packet
leave, and what let each call return that had to wait; with the rule, and where that
is written. Without @REP it is the first repetition with a verdict that is not pass,
else the first. RUN is a run of the controller or the path of a bundle.

= stands before what the record itself ties together: the numbers of one packet name
  the other, or a kernel said so at a tracepoint, and the order of the two is certain;
~ before what a rule of TCP or of the kernel explains, with nothing against it;
? before what nothing on record explains.`,
		Example: `  syncline explain r-7f3c2a10
  syncline explain r-7f3c2a10@17 --conn 2
  syncline explain lesson.syncline@1 -o json`,
		Args: oneArgument("RUN[@REP]"),
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case opts.output != "text" && opts.output != "json":
				return unknownFormat(opts.output, "text", "json")
			case c.Flags().Changed("width") && opts.width < minWidth:
				return usage("--width %d: give at least %d columns", opts.width, minWidth)
			case c.Flags().Changed("conn") && opts.conn < 1:
				return usage("--conn %d: connections are counted from 1", opts.conn)
			}
			return a.look(c.Context(), args[0], func(s *subject) error { return a.explain(c.Context(), s, opts) })
		},
	}
	formatFlag(c, &opts.output, "text", "json")
	c.Flags().BoolVar(&opts.ascii, "ascii", false, "write ASCII only")
	c.Flags().IntVar(&opts.width, "width", 0, "columns (default: the terminal's)")
	c.Flags().IntVar(&opts.conn, "conn", 0, "only this connection, counted from 1 (default: all)")
	c.Flags().StringVar(&opts.reference, "reference", "", "the host whose clock is the lab's (default: the one that makes the largest ± least)")
	return c
}

func (a *app) explain(ctx context.Context, s *subject, opts explainOptions) error {
	answer, err := s.timelines.GetTimeline(ctx, &synclinev1.GetTimelineRequest{RunId: s.id, Repetition: s.repetition, Reference: opts.reference})
	if err != nil {
		return answered(err)
	}
	t, err := controller.TimelineFromProto(answer.Timeline)
	if err != nil {
		return &exitError{code: exitRefused, err: err}
	}
	if opts.conn > len(t.Connections) {
		return usage("--conn %d: repetition %d has %d connections", opts.conn, t.Repetition, len(t.Connections))
	}
	x := newExplanation(t, opts.conn)
	if opts.output == "json" {
		return x.writeJSON(a.Out)
	}
	return x.writeText(a.Out, a.drawing(a.Out, ladderOptions{ascii: opts.ascii, width: opts.width}))
}

// explanation is who caused what in one repetition, or on one of its connections.
type explanation struct {
	t      *timeline.Timeline
	causes *timeline.Causality
	// conn is the connection that is meant, counted from 1; 0 means all.
	conn int
}

func newExplanation(t *timeline.Timeline, conn int) *explanation {
	return &explanation{t: t, causes: t.Causes(), conn: conn}
}

// means reports whether something of a connection is to be explained. What belongs to none is,
// unless one connection is meant.
func (x *explanation) means(connection int) bool { return x.conn == 0 || connection == x.conn-1 }

// packets are those to be explained, in order.
func (x *explanation) packets() []timeline.PacketCause {
	var all []timeline.PacketCause
	for _, p := range x.causes.Packets {
		if x.means(p.Connection) {
			all = append(all, p)
		}
	}
	return all
}

// blocked are the calls that had to wait and are to be explained, in order.
func (x *explanation) blocked() []timeline.BlockedCall {
	var all []timeline.BlockedCall
	for _, b := range x.causes.Blocked {
		if x.means(x.t.Moments[b.Effect].Connection) {
			all = append(all, b)
		}
	}
	return all
}

// notes are those of some that are about what is to be explained. One about several
// connections is about each of them.
func (x *explanation) notes(all []timeline.Note) []timeline.Note {
	var meant []timeline.Note
	for _, n := range all {
		if n.Connection < 0 || x.means(n.Connection) {
			meant = append(meant, n)
		}
	}
	return meant
}

// entry is one thing that is explained: a packet, or the return of a call that had waited.
type entry struct {
	moment int
	what   string
	cause  timeline.Cause
}

// entries are what is explained, in order of their moments.
func (x *explanation) entries() []entry {
	byMoment := make(map[int]entry)
	for _, p := range x.packets() {
		byMoment[p.First()] = entry{p.First(), x.packetWords(&p), p.Cause}
	}
	for _, b := range x.blocked() {
		what := fmt.Sprintf("%s, after %s", x.causes.Words(b.Effect), timeline.Span(b.Nanoseconds))
		byMoment[b.Effect] = entry{b.Effect, what, b.Cause}
	}
	var all []entry
	for i := range x.t.Moments {
		if e, ok := byMoment[i]; ok {
			all = append(all, e)
		}
	}
	return all
}

// packetWords say that a packet leaves, and what becomes of it.
func (x *explanation) packetWords(p *timeline.PacketCause) string {
	// The host stands in a column of its own.
	what := strings.TrimPrefix(x.causes.Words(p.First()), x.host(p.First())+" ")
	if len(x.t.Connections) > 1 && p.Connection >= 0 && x.conn == 0 {
		what = fmt.Sprintf("#%d %s", p.Connection+1, what)
	}
	switch {
	case p.Departure < 0:
	case p.Impossible:
		what += "; it came before it left, which is impossible"
	case p.Arrival >= 0:
		what += "; comes at " + x.time(p.Arrival)
	case p.Lost:
		what += "; never comes"
	}
	if p.Copy > 0 {
		what += fmt.Sprintf(" (sent again, %d)", p.Copy)
	}
	return what
}

// time is a moment in milliseconds since the timeline's zero.
func (x *explanation) time(moment int) string {
	return fmt.Sprintf("%.3f", float64(x.t.Moments[moment].Stamp.At-x.t.Zero)/1e6)
}

func (x *explanation) host(moment int) string {
	return x.t.Hosts[x.t.Moments[moment].Event.Host].Name
}

// writeText writes the explanation for people.
func (x *explanation) writeText(w io.Writer, o drawOptions) error {
	var lines []string
	head := fmt.Sprintf("%s  rep %d of %s", x.t.Experiment, x.t.Repetition, x.t.RunID)
	if x.t.Variant != "" {
		head += "  " + x.t.Variant
	}
	lines = append(lines, o.fit(head))
	for i := range x.t.Connections {
		c := &x.t.Connections[i]
		if x.means(i) {
			lines = append(lines, o.fit(fmt.Sprintf("  #%d  %s → %s", i+1, x.endText(&c.Client), x.endText(&c.Server))))
		}
	}
	if gist := x.notes(x.causes.Gist()); len(gist) > 0 {
		lines = append(lines, "", "In short")
		for _, n := range gist {
			lines = append(lines, o.sentence("  ", n.Text)...)
		}
	}
	lines = append(lines, "", o.fit(fmt.Sprintf("Who caused what (ms on the clock of %s)", x.t.Hosts[x.t.Reference].Name)))
	lines = append(lines, x.entryLines(o)...)
	lines = append(lines, x.noteLines(o)...)
	lines = append(lines, x.countLines(o)...)
	if _, err := io.WriteString(w, strings.Join(lines, "\n")+"\n"); err != nil {
		return fmt.Errorf("write the explanation: %w", err)
	}
	return nil
}

func (x *explanation) endText(e *timeline.End) string {
	if e.Host < 0 {
		return e.Address.String()
	}
	text := fmt.Sprintf("%s %s", x.t.Hosts[e.Host].Name, e.Address)
	if e.Lane != "" {
		text += " (" + e.Lane + ")"
	}
	return text
}

func (x *explanation) entryLines(o drawOptions) []string {
	all := x.entries()
	width, hosts := 0, 0
	for _, e := range all {
		width = max(width, len(x.time(e.moment)))
		hosts = max(hosts, o.width(x.host(e.moment)))
	}
	var lines []string
	said := make(map[*timeline.Rule]bool)
	for _, e := range all {
		lead := fmt.Sprintf("  %*s  %s  ", width, x.time(e.moment), pad(x.host(e.moment), hosts, o))
		lines = append(lines, o.sentence(lead, e.what)...)
		lines = append(lines, o.sentence(strings.Repeat(" ", o.width(lead)), x.causeText(&e.cause, said))...)
	}
	return lines
}

// causeMark is one character for how a cause is known.
func causeMark(k timeline.CauseKnown) string {
	switch k {
	case timeline.Observed:
		return "="
	case timeline.Inferred:
		return "~"
	}
	return "?"
}

// causeText is a cause in words: the rule, what set it off, and, the first time, where the rule
// is written.
func (x *explanation) causeText(k *timeline.Cause, said map[*timeline.Rule]bool) string {
	if k.Known == timeline.NoneKnown {
		if k.Why == "" {
			return "? none known"
		}
		return "? none known: " + k.Why
	}
	text := causeMark(k.Known) + " " + k.Rule.Text
	if k.By >= 0 {
		since := ""
		if k.Rule.Timer {
			since = "since "
		}
		text += fmt.Sprintf(" [%s%s, %s]", since, x.causes.Words(k.By), x.time(k.By))
		if !k.Ordered {
			text += "; which of the two was first is not known"
		}
	}
	if k.Why != "" {
		text += "; " + k.Why
	}
	if said[k.Rule] {
		return text
	}
	said[k.Rule] = true
	return text + " (" + strings.Join(k.Rule.Sources, ", ") + ")"
}

func (x *explanation) noteLines(o drawOptions) []string {
	notes := x.notes(x.causes.Notes())
	if len(notes) == 0 {
		return nil
	}
	lines := []string{"", "Worth knowing"}
	for _, n := range notes {
		text := n.Text
		if len(x.t.Connections) > 1 && n.Connection >= 0 && x.conn == 0 {
			text = fmt.Sprintf("#%d %s", n.Connection+1, text)
		}
		if len(n.Sources) > 0 {
			text += " (" + strings.Join(n.Sources, ", ") + ")"
		}
		lines = append(lines, o.sentence("  - ", text)...)
	}
	return lines
}

// counts are how many of the packets, and of the calls that had to wait, have their causes
// known in which way.
func (x *explanation) counts() (packets, calls map[timeline.CauseKnown]int) {
	packets, calls = make(map[timeline.CauseKnown]int), make(map[timeline.CauseKnown]int)
	for _, p := range x.packets() {
		packets[p.Known]++
	}
	for _, b := range x.blocked() {
		calls[b.Known]++
	}
	return packets, calls
}

func (x *explanation) countLines(o drawOptions) []string {
	packets, calls := x.counts()
	line := func(what string, n map[timeline.CauseKnown]int) []string {
		total := n[timeline.Observed] + n[timeline.Inferred] + n[timeline.NoneKnown]
		return o.sentence("", fmt.Sprintf("%d %s: %d observed (=), %d inferred (~), %d without a known cause (?)",
			total, what, n[timeline.Observed], n[timeline.Inferred], n[timeline.NoneKnown]))
	}
	lines := append([]string{""}, line("packets", packets)...)
	return append(lines, line("calls that had to wait", calls)...)
}
