package cli

import (
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

// command is do, which is not begun once finish was called.
func (j *jobs) command(do func() tea.Msg) tea.Cmd {
	return func() tea.Msg {
		if !j.begin() {
			return nil
		}
		defer j.running.Done()
		return do()
	}
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
