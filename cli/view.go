package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	tea "charm.land/bubbletea/v2"

	"syncline/controller/timeline"
)

// viewer is a full-screen view of the ladders of one run: the model of a bubbletea program.
// It draws what package timeline has laid out, as the text ladder does, and of that only
// what the screen shows; that is why it stands here and not in a package of its own, apart
// from what it draws with.
//
// It changes only in Update, and View only reads it. What takes a while, which is asking a
// controller, is done by the commands that Update gives back.
type viewer struct {
	ctx context.Context
	src viewSource
	// jobs are the commands that ask src.
	jobs jobs
	// o has the width of the whole screen.
	o      drawOptions
	height int
	look   timeline.LadderOptions
	keys   []viewKey

	// shown is the repetition on the screen and other the one that it is compared with; nil
	// as long as there is none. diff is how they differ.
	shown, other *viewedLadder
	diff         *ladderDiff
	// list has the repetitions of the run, in order, once they were listed; afterList is
	// what waits for that, until another key is pressed.
	list      []viewRepetition
	isListing bool
	afterList []func(*viewer) tea.Cmd

	// body are the lines below the lanes' names, if some are folded away; nil for all of
	// them. at is the one that is selected and first the first on the screen.
	body      []bodyLine
	at, first int
	// restore is what is to be selected once the ladder was drawn anew.
	restore viewPlace
	// mark is the moment that times are told from.
	mark int
	// filter is nil for none; hits are the rows that it selects, in order. onlyHits folds
	// all others away.
	filter   *filter
	hits     []int
	onlyHits bool
	// panel covers the ladder, and prompt takes the keys; nil for none.
	panel  *viewPanel
	prompt *viewPrompt
	// message is for a person, until the next key; trouble sets an error apart.
	message string
	trouble bool
	// loading says what is being read, and loads counts what was asked for.
	loading string
	loads   int
	// interrupted is true if it was left by ^C.
	interrupted bool
}

// viewSource is where the repetitions of a run are had from. Its methods may take a while,
// end when ctx does, and are called by one goroutine each.
type viewSource interface {
	// record reads a repetition; 0 is the one to look at first.
	record(ctx context.Context, repetition int) (*viewRecord, error)
	// repetitions lists all of the run, in order. A goesOnError says that it is not over.
	repetitions(ctx context.Context) ([]viewRepetition, error)
}

// viewRepetition is a repetition of a run, as a list has it.
type viewRepetition struct {
	number int
	// variant is empty if the run has one only.
	variant string
	// why says what is odd about it; "" if nothing is.
	why string
}

// viewedLadder is a repetition laid out and put on lines.
type viewedLadder struct {
	*viewRecord
	l *timeline.Ladder
	d *rendering
	// causes is nil until somebody asks; see explained.
	causes *explanation
}

// viewPlace is what is to be selected when a ladder was laid out anew.
type viewPlace struct {
	// moment is an index into the timeline's, -1 if only the line counts.
	moment, line int
}

// nowhere is a mark or a moment that there is not.
const nowhere = -1

// recordMsg is the answer of viewSource.record.
type recordMsg struct {
	// load is the number of the question: an answer that was overtaken by another question
	// counts for nothing.
	load    int
	compare bool
	record  *viewRecord
	err     error
}

// listMsg is the answer of viewSource.repetitions.
type listMsg struct {
	list []viewRepetition
	err  error
}

// newViewer shows a repetition first. It draws nothing before it knows how large the screen
// is.
func newViewer(ctx context.Context, src viewSource, first *viewRecord, look timeline.LadderOptions, o drawOptions) *viewer {
	o.Width = 0
	v := &viewer{ctx: ctx, src: src, look: look, o: o, keys: viewKeys()}
	v.take(recordMsg{record: first})
	return v
}

// Init lists the repetitions of the run meanwhile.
func (v *viewer) Init() tea.Cmd { return v.listing() }

// open reads a repetition and shows it, or compares the one that is shown with it.
func (v *viewer) open(repetition int, compare bool) tea.Cmd {
	v.loads++
	v.loading = "reading the repetition to look at first …"
	if repetition > 0 {
		v.loading = fmt.Sprintf("reading repetition %d …", repetition)
	}
	load := v.loads
	return v.jobs.command(func() tea.Msg {
		r, err := v.src.record(v.ctx, repetition)
		return recordMsg{load, compare, r, err}
	})
}

// listed does something once the repetitions are listed.
func (v *viewer) listed(then func(*viewer) tea.Cmd) tea.Cmd {
	if v.list != nil {
		return then(v)
	}
	v.afterList = append(v.afterList, then)
	return v.listing()
}

// listing asks for the list, unless somebody does already.
func (v *viewer) listing() tea.Cmd {
	if v.isListing {
		return nil
	}
	v.isListing = true
	return v.jobs.command(func() tea.Msg {
		list, err := v.src.repetitions(v.ctx)
		return listMsg{list, err}
	})
}

// takeList does what waited for the list.
func (v *viewer) takeList(msg listMsg) tea.Cmd {
	waiting := v.afterList
	v.isListing, v.afterList = false, nil
	if goesOn := (*goesOnError)(nil); errors.As(msg.err, &goesOn) {
		v.say("%s", goesOn.Error())
		return nil
	}
	if msg.err != nil {
		v.fail(msg.err)
		return nil
	}
	v.list = msg.list
	var commands []tea.Cmd
	for _, then := range waiting {
		commands = append(commands, then(v))
	}
	return tea.Batch(commands...)
}

// giveUpList has nothing wait for the list any longer: who goes on meanwhile is not to be
// interrupted by what was asked for before.
func (v *viewer) giveUpList() {
	if len(v.afterList) > 0 {
		v.afterList = nil
		v.say("the list of repetitions has not come yet; ask again")
	}
}

// Update is the next state of the viewer.
func (v *viewer) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		v.resize(msg.Width, msg.Height)
	case tea.KeyPressMsg:
		return v, v.press(msg)
	case tea.PasteMsg:
		if v.prompt != nil {
			v.prompt.line.insert(msg.Content)
			v.checkPrompt()
		}
	case tea.MouseWheelMsg:
		v.wheel(msg.Mouse())
	case tea.MouseClickMsg:
		v.click(msg.Mouse())
	case recordMsg:
		v.take(msg)
	case listMsg:
		return v, v.takeList(msg)
	}
	return v, nil
}

// take shows what was read.
func (v *viewer) take(msg recordMsg) {
	if msg.load != v.loads {
		return
	}
	v.loading = ""
	switch {
	case msg.err != nil:
		v.fail(msg.err)
	case msg.compare:
		v.other = &viewedLadder{viewRecord: msg.record}
		v.layOther()
		v.say("+ is here alone, - is where rep %d has more, # is both; x swaps them", msg.record.t.Repetition)
	default:
		if v.shown != nil && v.other != nil && v.other.t.Repetition == msg.record.t.Repetition {
			v.other, v.diff = nil, nil
		}
		v.shown = &viewedLadder{viewRecord: msg.record}
		v.mark, v.panel = nowhere, nil
		v.restore = viewPlace{nowhere, v.at}
		v.chooseOfShown()
		v.lay()
	}
}

// chooseOfShown shows all connections of a repetition that does not have all that were
// chosen in another one.
func (v *viewer) chooseOfShown() {
	n := len(v.shown.t.Connections)
	for _, c := range v.look.Connections {
		if c > n {
			v.look.Connections = nil
			v.say("repetition %d has no connection %d: all that it has are shown", v.shown.t.Repetition, c)
			return
		}
	}
}

func (v *viewer) say(format string, arguments ...any) {
	v.message, v.trouble = fmt.Sprintf(format, arguments...), false
}

func (v *viewer) fail(err error) { v.message, v.trouble = err.Error(), true }

func (v *viewer) resize(width, height int) {
	if v.o.Width == width && v.height == height {
		return
	}
	v.keep()
	v.o.Width, v.height = width, height
	v.draw()
	v.refit()
}

// keep remembers what is selected, for when lines have moved.
func (v *viewer) keep() {
	v.restore = viewPlace{v.momentAt(v.at), v.at}
}

// momentAt is the moment of a line of the body, or of the last one above that has one.
func (v *viewer) momentAt(at int) int {
	for row := v.rowAt(at); row >= 0; row-- {
		if r := &v.shown.l.Rows[row]; r.Timed() {
			return r.Moment
		}
	}
	return nowhere
}

// lay lays the repetition out as it is to be looked at, and draws it.
func (v *viewer) lay() {
	if v.shown == nil {
		return
	}
	v.shown.l = v.shown.t.Ladder(v.look)
	v.layOther()
	v.draw()
}

// layOther lays out what the repetition is compared with.
func (v *viewer) layOther() {
	if v.other == nil {
		return
	}
	v.other.l = v.other.t.Ladder(v.look)
	v.diff = diffLadders(v.shown, v.other)
}

// relay is lay with the same row selected.
func (v *viewer) relay() {
	if v.shown == nil {
		return
	}
	v.keep()
	v.lay()
}

// draw puts the ladder on lines as wide as the screen, and goes to where one was.
func (v *viewer) draw() {
	if v.shown == nil || !v.roomy() {
		return
	}
	v.shown.d = newRendering(v.shown.l, v.o)
	v.find()
	v.fold()
	v.goTo(v.place())
}

// isDrawn reports whether a ladder is on the screen, or would be but for a panel.
func (v *viewer) isDrawn() bool { return v.roomy() && v.shown != nil && v.shown.d != nil }

// place is the line of the body that shows what is to be restored.
func (v *viewer) place() int {
	if v.restore.moment == nowhere {
		return v.restore.line
	}
	row := 0
	for i := range v.shown.l.Rows {
		if r := &v.shown.l.Rows[i]; r.Timed() && r.Moment <= v.restore.moment {
			row = i
		}
	}
	return v.bodyOf(row)
}

// press does what a key means.
func (v *viewer) press(k tea.KeyPressMsg) tea.Cmd {
	if k.String() == "ctrl+c" {
		v.interrupted = true
		return tea.Quit
	}
	if k.String() == "ctrl+z" {
		return tea.Suspend
	}
	if v.prompt != nil {
		return v.promptKey(k)
	}
	v.message = ""
	v.giveUpList()
	if v.panel != nil {
		if done, cmd := v.panelKey(k); done {
			return cmd
		}
	}
	for i := range v.keys {
		b := &v.keys[i]
		if !slices.Contains(b.keys, k.String()) {
			continue
		}
		if !v.isDrawn() && !b.always {
			return nil
		}
		return b.do(v)
	}
	return nil
}
