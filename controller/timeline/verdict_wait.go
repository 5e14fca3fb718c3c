package timeline

import (
	"fmt"

	"syncline/controller/experiment"
)

// blindWait is why a wait for a packet may have ended without its packet although the
// packet was there: the host that looked out for it heard no packets, or lost some. Then
// the lanes did not do what the experiment is about, and nobody can tell what they would
// have done. It is empty if there is no such wait.
func (tr *trial) blindWait() string {
	for _, c := range tr.calls {
		if c.Name != "wait" || c.Failure == "" && c.EndedBy == EndedByKernel && c.Errno == 0 {
			continue
		}
		w := tr.watchOf(c.Call)
		if w == nil || w.Packet == nil {
			continue
		}
		host, ok := tr.hosts[w.Host]
		if !ok {
			continue
		}
		touches := gapsOfAny(wanted(w.Packet), host)
		cause := tr.causeOf(func(g *gap) bool {
			return (g.kind == gapMissing || g.kind == gapLoss) && touches(g)
		})
		if cause != "" {
			return fmt.Sprintf("lane %s waited for %s in vain; %s", c.Lane, w.Text, cause)
		}
	}
	return ""
}

// watchOf is what a wait looked out for, nil if it was a signal.
func (tr *trial) watchOf(c *Call) *experiment.Watch {
	step := tr.stepOf(c)
	if step == nil {
		return nil
	}
	args, ok := step.Args.(experiment.WaitArgs)
	if !ok || args.Watch == "" {
		return nil
	}
	for i := range tr.exp.Watches {
		if tr.exp.Watches[i].ID == args.Watch {
			return &tr.exp.Watches[i]
		}
	}
	return nil
}
