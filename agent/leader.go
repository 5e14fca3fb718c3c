package agent

import (
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// controllers is where to dial next. Agents stay with the leader, which runs the runs;
// any other controller says where it is.
type controllers struct {
	all  []string
	next int
	// leader is what the last one that was asked has named; "" if it has not.
	leader string
}

// current is the one to dial.
func (c *controllers) current() string {
	if c.leader != "" {
		return c.leader
	}
	return c.all[c.next%len(c.all)]
}

// ended takes note of how a connection ended. It reports whether there may be another one in a
// moment: somebody is there, and does not refuse this agent.
func (c *controllers) ended(welcomed bool, err error) (soon bool) {
	_, elsewhere := fromController(err)
	if !welcomed && status.Code(err) == codes.AlreadyExists {
		// Whoever leads has an agent of this name: nobody else can say otherwise.
		return false
	}
	if !welcomed || elsewhere || errors.Is(err, errSilent) {
		c.failed(err)
	}
	return welcomed || elsewhere
}

// failed takes note that a connection could not be made, or was refused.
func (c *controllers) failed(err error) {
	was := c.leader
	c.leader, _ = fromController(err)
	// A leader that is not there says nothing about the others of the list.
	if c.leader != "" || was != "" && was != c.current() {
		return
	}
	c.next++
}

// fromController reports whether an error is the answer of a controller that does not lead, and
// who does; "" if that one knows of nobody.
func fromController(err error) (leader string, ok bool) {
	for _, d := range status.Convert(err).Details() {
		if info, is := d.(*errdetails.ErrorInfo); is && info.Domain == "syncline" && info.Reason == "NOT_LEADER" {
			return info.Metadata["leader"], true
		}
	}
	return "", false
}
