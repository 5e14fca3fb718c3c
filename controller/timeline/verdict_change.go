package timeline

import "fmt"

// refusedChange is why a lane did not change its host as the experiment wanted it to, or
// change it back: the host refused it, or took too long. What the other lanes met then is
// not what the experiment is about. It is empty if there is no such step.
func (tr *trial) refusedChange() string {
	for _, c := range tr.calls {
		if c.Name != "apply" && c.Name != "undo" {
			continue
		}
		switch {
		case c.Failure != "":
			return fmt.Sprintf("lane %s could not %s: %s", c.Lane, callText(c.Call), c.Failure)
		case c.EndedBy == EndedByTimeout:
			return fmt.Sprintf("lane %s could not %s within its limit", c.Lane, callText(c.Call))
		}
	}
	return ""
}
