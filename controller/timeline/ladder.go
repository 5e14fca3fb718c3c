package timeline

import (
	"fmt"
	"net/netip"
	"slices"

	"syncline/controller/clock"
)

// LadderOptions choose what of a timeline a ladder shows. The zero value shows all
// connections and all lanes on the lab's clock.
type LadderOptions struct {
	// Connections, counted from 1, show those connections' packets only, and of the
	// calls those that do not belong to another. None shows all.
	Connections []int
	// Scale says how far apart in time rows are apart in the ladder: with ScaleLinear and
	// ScaleLog there are rows for the time that passes (RowSpace). Every ladder has an
	// Axis of any scale.
	Scale Scale
	// Zero is what the times count from.
	Zero LadderZero
	// LocalTimes shows each host's own clock, raw, instead of the lab's. The order of
	// the rows stays that of the lab's clock.
	LocalTimes bool
	// HideLab leaves out the lab's own steps: sleep, signal, wait, meet, apply, undo.
	HideLab bool
	// Notes adds Ladder.Notes and Ladder.Summary. HideNotes are the kinds of notes that
	// are left out.
	Notes     bool
	HideNotes []string
	// Choosing says how a reader chooses among connections, which is the renderer's own way;
	// the summary says so where it leaves some out. It may be empty.
	Choosing string
	// HideCalls, HidePackets and HideStates leave out a layer: all calls, the lab's own
	// steps among them; all packets and what kernels dropped; all TCP states.
	HideCalls, HidePackets, HideStates bool
}

// isShown reports whether a connection, an index into the timeline, is shown.
func (o *LadderOptions) isShown(connection int) bool {
	return len(o.Connections) == 0 || slices.Contains(o.Connections, connection+1)
}

// Ladder is a timeline laid out for drawing: a row per moment, a lane per host, a
// bracket per call, an arrow per packet. It is plain data; a renderer only has to
// put it at its places. Indices of rows, lanes, arrows and brackets are into its own
// slices.
type Ladder struct {
	RunID, Experiment string
	Repetition        int
	Lanes             []LadderLane
	Connections       []LadderConnection
	// Unit of the time column, and its decimals.
	Unit       TimeUnit
	Decimals   int
	LocalTimes bool
	// Zero is what the times count from, and ZeroAt that moment in nanoseconds of lab time
	// since the timeline's own Zero. With ZeroWall, Wall is the CLOCK_REALTIME of ZeroAt in
	// nanoseconds since 1970, by the clock of the host WallOf, surely within WallErr.
	Zero          LadderZero
	ZeroAt        int64
	Wall, WallErr int64
	WallOf        string
	// Scale is that of the rows; with another than ScaleRow, Step is how much time one
	// RowSpace stands for on ScaleLinear.
	Scale    Scale
	Step     int64
	Rows     []Row
	Arrows   []Arrow
	Brackets []Bracket
	// States are the TCP states that the ends came to, and Drops the packets that a kernel
	// dropped, in order of their rows.
	States []StateMark
	Drops  []LadderDrop
	// Bands are the times of which events are missing, in order of their last rows.
	Bands []Band
	// Spans are the times for which the ends were in their states, in order of States.
	Spans []StateSpan
	// Notes are the teaching moments of this repetition, in order of their rows; Summary
	// says in words what came of the whole. Both are empty unless LadderOptions.Notes.
	Notes   []LadderNote
	Summary []string
	// Passed of Judged verdicts; Ruling is the worst of them.
	Passed, Judged int
	Ruling         Ruling
	// Exceptions are the verdicts that are not a pass, in their order.
	Exceptions []Verdict
	// Warnings of the timeline, then one for each impossible arrow.
	Warnings []string
}

// LadderLane is a host's lane.
type LadderLane struct {
	// Host is the index in the timeline; Name is the role, Agent the machine.
	Host        int
	Name, Agent string
	// Roles are the lanes of the experiment that ran there, in order of their first
	// call.
	Roles []string
	Clock HostClock
	// Reference is true for the lane whose clock is the lab's.
	Reference bool
	// SameKernel is true for another host that is known to read that very clock: its
	// true offset is 0, whatever Clock was derived from.
	SameKernel bool
	// Depth is the largest number of brackets that are open at once.
	Depth int
}

// LadderConnection names a connection of the ladder.
type LadderConnection struct {
	// Number counts from 1, as LadderOptions.Connections do.
	Number int
	// Client and Server are lanes, -1 if no host of the run has the address.
	Client, Server               int
	ClientAddress, ServerAddress string
}

// RowKind says what a row shows.
type RowKind int

// Kinds of rows.
const (
	// RowMoment shows one moment: an end of an arrow, or of a bracket.
	RowMoment RowKind = iota + 1
	// RowLabel follows the departure of an arrow and has room for its delay.
	RowLabel
	// RowQuiet stands for a time in which nothing happened.
	RowQuiet
	// RowNote is a sentence about the record itself: a clock step, a packet that passed.
	RowNote
	// RowDeed is a sentence about what was done to a host, or by its kernel, that no call
	// and no packet shows: a change by the lab, a process, the length of a queue.
	RowDeed
	// RowLoss ends a Band and says in a sentence what is missing. One without a moment has
	// no time.
	RowLoss
	// RowState shows a StateMark. It has a time if the kernel traced the state.
	RowState
	// RowDrop shows a LadderDrop.
	RowDrop
	// RowSpace stands for time that passes between two rows, as the scale has it.
	RowSpace
	// RowTrace is what the host's kernel said that nothing else of the ladder shows, in a
	// few words: a segment that no tap saw, an error of a socket.
	RowTrace
)

// Row is one row of a ladder.
type Row struct {
	Kind RowKind
	// Lane whose moment it is; -1 for RowQuiet and RowSpace.
	Lane int
	// At is its time in nanoseconds since the ladder's zero; with LocalTimes, of the
	// host's own CLOCK_MONOTONIC. Err is its ±, clock.Unbounded if nothing ties the
	// host's clock to the reference's.
	At, Err int64
	// Lab is its lab time in nanoseconds since the timeline's Zero, whatever At counts; of
	// a row without a time, that of the row beside which it stands. It never decreases.
	Lab int64
	// ShowErr is true if two clocks are involved and Err is not below what the time
	// column resolves.
	ShowErr bool
	// Unordered is true if this moment may as well have been before the one of the
	// row above, as far as clocks and messages tell.
	Unordered bool
	// Moment indexes Timeline.Moments, -1 if there is none. A row of several calls
	// has the first.
	Moment int
	// Arrow and Bracket that start or end here, or that a RowLabel belongs to; -1 if
	// none.
	Arrow, Bracket int
	// Quiet is the length of a RowQuiet in nanoseconds.
	Quiet int64
	// Text of a RowNote, a RowDeed, a RowTrace and a RowLoss.
	Text string
	// Mark indexes Ladder.States for a RowState and Ladder.Drops for a RowDrop; it means
	// nothing for others.
	Mark int
}

// Timed reports whether the row has a time.
func (r *Row) Timed() bool { return r.Moment >= 0 }

// ladderer builds one ladder.
type ladderer struct {
	t      *Timeline
	opts   LadderOptions
	l      *Ladder
	causes *causes
	lane   []int
	// arrows lists the arrows of a moment: a record that offloads cut or merged has
	// several.
	arrows map[int][]int
	// ways are the timeline's own transmissions, by arrow.
	ways []*Segment
	// brackets has the bracket of a call.
	brackets map[*Event]int
	// states are those of all ends that are shown, and traced the moments that have a row
	// for one. beside lists, for a moment with a row, the states above, within and below it.
	// laid are the timeline's own states by StateMark.
	states []placed
	traced map[int]bool
	beside map[int][3][]int
	laid   []*State
	// dropped has the arrow of the packet that was dropped at a moment, and told the moments
	// of traces that a segment has.
	dropped map[int]int
	told    map[int]bool
	// spent are the moments of drops that are none, and brought those that brought an end to
	// a state.
	spent, brought map[int]bool
	// failures are the calls that gave an error.
	failures map[failure][]*Event
	// again are the counts of duplicate acknowledgments by connection.
	again map[int][]int
}

// Ladder lays the timeline out. It only reads the timeline.
func (t *Timeline) Ladder(opts LadderOptions) *Ladder {
	b := &ladderer{
		t: t, opts: opts, causes: newCauses(t),
		l: &Ladder{
			RunID: t.RunID, Experiment: t.Experiment, Repetition: t.Repetition,
			LocalTimes: opts.LocalTimes, Scale: opts.Scale, Judged: len(t.Verdicts), Ruling: Worst(t.Verdicts),
			Warnings: slices.Clone(t.Warnings),
		},
		arrows: make(map[int][]int), brackets: make(map[*Event]int), traced: make(map[int]bool), dropped: make(map[int]int),
		told: make(map[int]bool), spent: make(map[int]bool),
	}
	for _, v := range t.Verdicts {
		if v.Ruling == Pass {
			b.l.Passed++
		} else {
			b.l.Exceptions = append(b.l.Exceptions, v)
		}
	}
	b.lanes()
	b.connections()
	b.chooseZero()
	b.gatherStates()
	b.gatherTold()
	shown := b.shown()
	b.layArrows(shown)
	b.heed()
	shown = slices.DeleteFunc(shown, func(i int) bool { return b.spent[i] })
	shown = b.layCalls(shown)
	b.settleStates(shown)
	b.layRows(shown)
	b.layUnended()
	b.placeBrackets()
	b.chooseUnit()
	b.boundStates()
	b.spanStates()
	b.warnImpossible()
	if opts.Notes {
		b.layNotes()
	}
	if opts.Scale != ScaleRow {
		b.l.spread()
	}
	return b.l
}

func (b *ladderer) connections() {
	for i := range b.t.Connections {
		if !b.opts.isShown(i) {
			continue
		}
		c := &b.t.Connections[i]
		b.l.Connections = append(b.l.Connections, LadderConnection{
			Number: i + 1, Client: b.laneOf(c.Client.Host), Server: b.laneOf(c.Server.Host),
			ClientAddress: c.Client.Address.String(), ServerAddress: c.Server.Address.String(),
		})
	}
}

func (b *ladderer) laneOf(host int) int {
	if host < 0 {
		return -1
	}
	return b.lane[host]
}

// shown lists the moments that the ladder is about, in order.
func (b *ladderer) shown() []int {
	meant := b.neighbourly()
	var shown []int
	for i := range b.t.Moments {
		m := &b.t.Moments[i]
		belongs := m.Connection >= 0 || m.Event.Packet != nil && !m.Event.Packet.TCP() || m.Event.Trace != nil
		switch {
		case b.traced[i]:
			shown = append(shown, i)
			continue
		case len(b.opts.Connections) > 0 && belongs && !b.opts.isShown(m.Connection):
			continue
		}
		if (b.wanted(m.Event) || b.telling(i)) && (!isNeighbourly(m.Event.Packet) || meant[i]) {
			shown = append(shown, i)
		}
	}
	return shown
}

// neighbourly are the moments of questions for a link address at the one who asked and
// the one who was asked. All others on the link heard them too, which is not worth a
// row.
func (b *ladderer) neighbourly() map[int]bool {
	meant := make(map[int]bool)
	for i := range b.t.Others {
		tr := &b.t.Others[i]
		meant[tr.Departure], meant[tr.Arrival] = true, true
	}
	return meant
}

func isNeighbourly(p *Packet) bool {
	return p != nil && (p.ARP != 0 || p.Protocol == ProtocolICMPv6 && (p.ICMPType == icmp6Solicitation || p.ICMPType == icmp6Advert))
}

func (b *ladderer) wanted(e *Event) bool {
	switch {
	case e.Call != nil:
		return !b.opts.HideCalls && (!b.opts.HideLab || !ofLab(e.Call))
	case e.Packet != nil:
		return !b.opts.HidePackets
	case e.Loss != nil, e.Step != nil, e.Change != nil, e.Process != nil, e.Queue != nil:
		return true
	case e.Trace != nil:
		return e.Trace.Kind == TraceDrop && !b.opts.HidePackets
	}
	return e.Mark != nil && e.Mark.Kind == MarkNotQuiet
}

// ofLab reports whether a step is one of the lab's own, not a call of the kernel.
func ofLab(c *Call) bool {
	switch c.Name {
	case "sleep", "signal", "wait", "meet", "apply", "undo":
		return true
	}
	return false
}

// comesTogether reports whether a step of the lab waits for others: what counts is when
// it is over.
func comesTogether(c *Call) bool { return c.Name == "wait" || c.Name == "meet" }

// layRows makes the rows: one per moment, a label after each departure that has a
// delay to tell, and a fold wherever nothing happened for long.
func (b *ladderer) layRows(shown []int) {
	quiet := b.quietFrom(shown)
	b.l.Rows = make([]Row, 0, len(shown)+len(b.l.Arrows)+len(b.states))
	flying := make(map[int]bool)
	for n, i := range shown {
		if n > 0 && len(flying) == 0 {
			if gap := b.gap(shown[n-1], i); gap >= quiet {
				b.l.Rows = append(b.l.Rows, Row{Kind: RowQuiet, Lane: -1, Lab: b.lab(shown[n-1]), Moment: -1, Arrow: -1, Bracket: -1, Quiet: gap})
			}
		}
		b.layStates(i, above)
		b.layMoment(shown, n)
		b.layStates(i, below)
		for _, a := range b.arrows[i] {
			if arrow := &b.l.Arrows[a]; arrow.Delayed && (arrow.Departure < 0) != (arrow.Arrival < 0) {
				flying[a] = true
			} else {
				delete(flying, a)
			}
		}
	}
}

// layMoment makes the row of shown[n], and what follows from it.
func (b *ladderer) layMoment(shown []int, n int) {
	i := shown[n]
	m := &b.t.Moments[i]
	row := Row{Kind: RowMoment, Lane: b.lane[m.Event.Host], Moment: i, Arrow: -1, Bracket: -1}
	row.At, row.Err = b.time(m)
	row.Lab = b.lab(i)
	if n > 0 {
		notAfter, after := b.causes.order(shown[n-1], i)
		row.Unordered = !notAfter && !after
	}
	at := len(b.l.Rows)
	switch {
	case m.Event.Call != nil:
		row.Bracket = b.endBracket(m.Event, at)
	case m.Event.Packet != nil:
		row.Arrow = b.endArrows(i, at)
	}
	switch {
	case row.Bracket >= 0 || row.Arrow >= 0:
	case m.Event.Loss != nil:
		row.Kind, row.Text = RowLoss, lossWords(m.Event.Loss)
		b.layLoss(m.Event, m.Stamp, at)
	case m.Event.Trace != nil && m.Event.Trace.Kind == TraceDrop:
		row.Kind, row.Mark = RowDrop, b.layDrop(i, at)
	case m.Event.Trace != nil && !b.traced[i]:
		row.Kind, row.Text = RowTrace, toldText(m.Event.Trace)
	case m.Event.Trace != nil:
		row.Kind, row.Mark = RowState, b.layState(b.beside[i][within][0], at)
	default:
		if row.Kind, row.Text = RowDeed, b.deedText(m.Event); row.Text == "" {
			row.Kind, row.Text = RowNote, b.noteText(i)
		}
	}
	b.l.Rows = append(b.l.Rows, row)
	if row.Arrow >= 0 && b.l.Arrows[row.Arrow].Departure == at && b.l.Arrows[row.Arrow].Delayed {
		b.l.Arrows[row.Arrow].Label = at + 1
		b.l.Rows = append(b.l.Rows, Row{Kind: RowLabel, Lane: row.Lane, Lab: row.Lab, Moment: -1, Arrow: row.Arrow, Bracket: -1})
	}
}

// time is a moment in the time column's own terms.
func (b *ladderer) time(m *Moment) (at, err int64) {
	if b.opts.LocalTimes {
		return int64(m.Local), 0
	}
	return int64(m.Stamp.At-b.t.Zero) - b.l.ZeroAt, min(m.Stamp.Err, clock.Unbounded)
}

// lab is the lab time of a moment as Row.Lab has it.
func (b *ladderer) lab(moment int) int64 { return int64(b.t.Moments[moment].Stamp.At - b.t.Zero) }

// noteText says what no bracket and no arrow shows.
func (b *ladderer) noteText(moment int) string {
	e := b.t.Moments[moment].Event
	name := b.t.hostName(e.Host)
	switch {
	case e.Packet != nil:
		return fmt.Sprintf("%s saw %s pass from %s to %s", name, kindOf(e.Packet), addressText(e.Packet.Source), addressText(e.Packet.Destination))
	case e.Step != nil:
		return e.Step.text(name)
	}
	return "sockets of " + name + " are still busy: " + e.Mark.Detail
}

// kindOf is what a packet is, in a word or two.
func kindOf(p *Packet) string {
	if p.TCP() {
		return p.Flags.String()
	}
	return otherWords(p)[0]
}

// addressText is an address with its port, if it has one.
func addressText(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

// deedText says what was done to a host or by its kernel, empty if this is none of it.
func (b *ladderer) deedText(e *Event) string {
	name := b.t.hostName(e.Host)
	switch {
	case e.Change != nil && e.Change.Undone:
		return fmt.Sprintf("lab: took back %s at %s", e.Change.Text, name)
	case e.Change != nil:
		return fmt.Sprintf("lab: %s at %s", e.Change.Text, name)
	case e.Process != nil && !e.Process.Gone:
		return fmt.Sprintf("process %d of lane %s begins at %s", e.Process.PID, e.Process.Lane, name)
	case e.Process != nil && e.Process.Signal != 0:
		return fmt.Sprintf("process %d of lane %s dies at %s: %s", e.Process.PID, e.Process.Lane, name, signalName(e.Process.Signal))
	case e.Process != nil:
		return fmt.Sprintf("process %d of lane %s ends at %s", e.Process.PID, e.Process.Lane, name)
	case e.Queue != nil:
		q := e.Queue
		text := fmt.Sprintf("accept queue of %s:%d: %d of %d", name, q.Address.Port(), q.Length, q.Limit+1)
		if q.Requests > 0 {
			text += fmt.Sprintf(", %d in SYN_RECV", q.Requests)
		}
		return text
	}
	return ""
}

// signalNames are those of signal(7) by the numbers of Linux.
var signalNames = map[int]string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 10: "SIGUSR1",
	11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 18: "SIGCONT", 19: "SIGSTOP", 24: "SIGXCPU", 25: "SIGXFSZ",
}

func signalName(number int) string {
	if name, ok := signalNames[number]; ok {
		return name
	}
	return fmt.Sprintf("signal %d", number)
}

// gap is the time between two moments on the lab's clock, 0 if it is not known.
func (b *ladderer) gap(from, to int) int64 {
	a, c := b.t.Moments[from].Stamp, b.t.Moments[to].Stamp
	if a.Err >= clock.Unbounded || c.Err >= clock.Unbounded {
		return 0
	}
	return int64(c.At - a.At)
}

// quietAtLeast is the shortest time that counts as quiet in any ladder, in nanoseconds.
const quietAtLeast = int64(Milliseconds)

// quietFrom is the gap from which on a time counts as quiet: a millisecond, far above
// what is usual between two moments of this ladder, and not a small part of the whole.
func (b *ladderer) quietFrom(shown []int) int64 {
	if len(shown) < 2 {
		return clock.Unbounded
	}
	var gaps []int64
	for n := 1; n < len(shown); n++ {
		gaps = append(gaps, b.gap(shown[n-1], shown[n]))
	}
	slices.Sort(gaps)
	whole := b.gap(shown[0], shown[len(shown)-1])
	return max(10*gaps[len(gaps)/2], whole/20, quietAtLeast)
}
