package lane

// flight is the call that a lane is making. A lane in a process of its own keeps it in
// memory that the agent shares, so that what the lane was doing is known when it is
// killed. The lane's thread writes it; the agent reads it after the process is gone.
type flight struct {
	// step is the index of the step plus 1, 0 between two steps.
	step int64
	// fd is the descriptor the call works on, or -1.
	fd int64
	// enter is the stamp of the entry, 0 before.
	enter int64
	// at is the stamp of the return, 0 before; result and errno are then what it gave.
	at, result, errno int64
	// meeting is the one before this step, if it is not reported yet; its step as above.
	meeting struct{ step, enter, at int64 }
}

// begin notes that a step is about to be made.
func (f *flight) begin(step int) {
	f.fd, f.enter, f.at = -1, 0, 0
	f.step = int64(step) + 1
}

// end notes that the step is through and reported.
func (f *flight) end() { f.step = 0 }

// defers notes a meeting that is through and will be reported after the next step.
func (f *flight) defers(r *record) {
	f.meeting.enter, f.meeting.at = r.event.TimeNs, r.call.ReturnNs
	f.meeting.step = int64(r.call.Step) + 1
	f.end()
}
