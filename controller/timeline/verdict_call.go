package timeline

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"syncline/controller/experiment"
)

// made is a call that is on record, by its two moments.
type made struct {
	*Call
	enter, leave int
}

// callsMade lists the calls of the lanes in the order in which they were entered by
// the lab's clock. The lab's own closes are none of them.
func callsMade(t *Timeline) []made {
	var all []made
	at := make(map[*Event]int)
	for i := range t.Moments {
		m := &t.Moments[i]
		switch {
		case m.Event.Call == nil || m.Event.Call.ByLab:
		case m.Edge == Enter:
			at[m.Event] = len(all)
			all = append(all, made{m.Event.Call, i, -1})
		case m.Edge == Return:
			if n, ok := at[m.Event]; ok {
				all[n].leave = i
			}
		}
	}
	return all
}

// picked are the calls on record that a selector names, in order.
func (tr *trial) picked(sel *experiment.MomentSelector) []made {
	var all []made
	for _, c := range tr.calls {
		if tr.callPicked(sel, c.Call) {
			all = append(all, c)
		}
	}
	return all
}

func (tr *trial) callPicked(sel *experiment.MomentSelector, c *Call) bool {
	return tr.isCallOf(sel, c.Lane, c.Name, c.Label, c.Socket, c.Makes) && tr.gave(sel, c)
}

// gave reports whether a call gave the outcome that its selector asks for. Only a
// return can be narrowed so.
func (tr *trial) gave(sel *experiment.MomentSelector, c *Call) bool {
	if sel.Outcome == nil {
		return true
	}
	met, _ := outcomeMet(sel.Outcome, c)
	return met
}

// isCallOf compares the names of a call, or of a step of the plan, with a selector.
func (tr *trial) isCallOf(sel *experiment.MomentSelector, lane, call, label, socket, makes string) bool {
	of := lane
	if sel.Copies {
		of = tr.baseOf(lane)
	}
	if sel.Label != "" {
		return label == sel.Label && (sel.Lane == "" || of == sel.Lane)
	}
	if of != sel.Lane || call != sel.Call {
		return false
	}
	return sel.Socket == "" || socket == sel.Socket || makes == sel.Socket
}

// baseOf is the name of a lane in the file: "client" of "client[2]".
func (tr *trial) baseOf(lane string) string {
	if l := tr.plan[lane]; l != nil && l.Base != "" {
		return l.Base
	}
	return lane
}

// stepsOf counts, by lane, the steps of the plan that a selector names. What they
// give is not known before they are made, so an outcome is not looked at.
func (tr *trial) stepsOf(sel *experiment.MomentSelector) map[string]int {
	steps := make(map[string]int)
	for i := range tr.exp.Lanes {
		lane := &tr.exp.Lanes[i]
		for n := range lane.Steps {
			s := &lane.Steps[n]
			if tr.isCallOf(sel, lane.Name, s.Call, s.Label, s.Socket, s.Makes) {
				steps[lane.Name]++
			}
		}
	}
	return steps
}

// stepOf is the step of the plan that a call made, nil if the plan has none.
func (tr *trial) stepOf(c *Call) *experiment.Step {
	lane := tr.plan[c.Lane]
	if lane == nil || c.Step < 0 || c.Step >= len(lane.Steps) {
		return nil
	}
	return &lane.Steps[c.Step]
}

// outcomeMet reports whether a call gave any of the parts of an outcome. doubt says
// why that is not known; met means nothing then.
func outcomeMet(o *experiment.Outcome, c *Call) (met bool, doubt string) {
	switch c.EndedBy {
	case EndedByTimeout:
		return o.Timeout, ""
	case EndedByCancel, EndedByDeath:
		return false, ""
	}
	for _, want := range o.Errnos {
		if c.Errno == want {
			return true, ""
		}
	}
	if c.Errno != 0 {
		return false, ""
	}
	if o.OK {
		return true, ""
	}
	value := valueOf(c)
	for _, want := range o.Values {
		if value == want {
			return true, ""
		}
	}
	for _, want := range o.Data {
		same, known := received(c, want)
		if same && known {
			return true, ""
		}
		if !known {
			doubt = fmt.Sprintf("only the first %d of the %d bytes that %s received are on record", len(c.Data), c.Result, callText(c))
		}
	}
	return false, doubt
}

// valueOf is what a call gave as a number: of getsockopt the option's value, of any
// other its result. An integer option is a 4-byte int of a little-endian machine.
func valueOf(c *Call) int64 {
	if c.Name != "getsockopt" {
		return c.Result
	}
	switch len(c.Data) {
	case 1:
		return int64(c.Data[0])
	case 4:
		return int64(int32(binary.LittleEndian.Uint32(c.Data)))
	case 8:
		return int64(binary.LittleEndian.Uint64(c.Data))
	}
	return c.Result
}

// received compares what a call received with what was wanted. The record keeps the
// first bytes only: a longer text that begins alike is not known to be the same.
func received(c *Call, want []byte) (same, known bool) {
	switch {
	case c.Result != int64(len(want)):
		return false, true
	case len(c.Data) >= len(want):
		return bytes.Equal(c.Data[:len(want)], want), true
	case !bytes.HasPrefix(want, c.Data):
		return false, true
	}
	return false, false
}

// killed reports whether a lane's process was ended by a kill of the experiment:
// such a lane is complete with fewer steps.
func (tr *trial) killed(lane string) bool {
	for _, c := range tr.calls {
		if c.Name != "kill" || c.Errno != 0 || c.EndedBy != EndedByKernel {
			continue
		}
		step := tr.stepOf(c.Call)
		if step == nil {
			continue
		}
		if args, ok := step.Args.(experiment.KillArgs); ok && args.Lane == lane && tr.died(lane) {
			return true
		}
	}
	return false
}

// mayBeKilled reports whether the call that killed a lane may be missing from the
// record: a step of the plan is to kill it, and calls of its host were lost. Only a
// lane of the same host can.
func (tr *trial) mayBeKilled(lane string) bool {
	if tr.killed(lane) || tr.hidden(gapsOf(Syscalls, tr.lanes[lane])) == "" {
		return false
	}
	for i := range tr.exp.Lanes {
		for n := range tr.exp.Lanes[i].Steps {
			if args, ok := tr.exp.Lanes[i].Steps[n].Args.(experiment.KillArgs); ok && args.Lane == lane {
				return true
			}
		}
	}
	return false
}

// died reports whether the process of a lane was ended by a signal, by what its host
// saw of it.
func (tr *trial) died(lane string) bool {
	for i := range tr.t.Moments {
		e := tr.t.Moments[i].Event
		if p := e.Process; p != nil && p.Lane == lane && p.Gone && p.Signal != 0 {
			return true
		}
		if c := e.Call; c != nil && c.Lane == lane && c.EndedBy == EndedByDeath {
			return true
		}
	}
	return false
}

// neverBegan reports whether a forked lane had nobody to begin it: the lane that was
// to fork it was killed before it did.
func (tr *trial) neverBegan(lane *experiment.Lane) bool {
	if lane.ForkedBy == "" || !tr.killed(lane.ForkedBy) {
		return false
	}
	for _, c := range tr.calls {
		if c.Lane == lane.Name {
			return false
		}
		if step := tr.stepOf(c.Call); step != nil {
			if args, ok := step.Args.(experiment.ForkArgs); ok && args.Lane == lane.Name && c.Errno == 0 {
				return false
			}
		}
	}
	return true
}
