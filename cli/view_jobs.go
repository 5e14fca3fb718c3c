package cli

import (
	"fmt"
	"runtime/debug"
	"sync"

	tea "charm.land/bubbletea/v2"
)

// jobs are the commands of a viewer that take a while. bubbletea runs each in a goroutine
// of its own and does not wait for them when it ends; finish does.
type jobs struct {
	mu       sync.Mutex
	finished bool
	running  sync.WaitGroup
}

// command is do, which is not begun once finish was called. A panic of it comes back as a
// bugMsg.
func (j *jobs) command(do func() tea.Msg) tea.Cmd {
	return func() (msg tea.Msg) {
		if !j.begin() {
			return nil
		}
		defer j.running.Done()
		defer func() {
			if value := recover(); value != nil {
				msg = newBug(value)
			}
		}()
		return do()
	}
}

// bugMsg says that something panicked: with what, and where.
type bugMsg struct {
	value any
	stack []byte
}

// newBug is called by the function that has recovered from a panic.
func newBug(value any) bugMsg { return bugMsg{value, debug.Stack()} }

func (b *bugMsg) Error() string {
	return fmt.Sprintf("the viewer has a bug, and has ended: %v\n%s", b.value, b.stack)
}

// guarded is a viewer that ends in order if it panics, so that the terminal is given back as
// it was and nothing goes on; bubbletea alone would leave its reader behind.
type guarded struct {
	*viewer
	// quit ends the program; it is called in a goroutine of its own.
	quit func()
	bug  *bugMsg
}

func (g *guarded) Update(msg tea.Msg) (model tea.Model, cmd tea.Cmd) {
	defer func() {
		if value := recover(); value != nil {
			bug := newBug(value)
			g.bug, model, cmd = &bug, g, tea.Quit
		}
	}()
	if bug, ok := msg.(bugMsg); ok {
		g.bug = &bug
		return g, tea.Quit
	}
	_, cmd = g.viewer.Update(msg)
	return g, cmd
}

func (g *guarded) View() (view tea.View) {
	if g.bug != nil {
		return tea.View{AltScreen: true}
	}
	defer func() {
		if value := recover(); value != nil {
			bug := newBug(value)
			g.bug, view = &bug, tea.View{AltScreen: true}
			go g.quit()
		}
	}()
	return g.viewer.View()
}

func (j *jobs) begin() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.finished {
		return false
	}
	j.running.Add(1)
	return true
}

// finish returns when all that has begun is done. What it waits for must end by itself: its
// context is to be cancelled first.
func (j *jobs) finish() {
	j.mu.Lock()
	j.finished = true
	j.mu.Unlock()
	j.running.Wait()
}
