package chaos

import (
	"fmt"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Asked is a call of the control API about one run.
type Asked string

// Calls of the control API.
const (
	// Create asks for a run with a request id; two who ask with the same one get one run.
	Create Asked = "create"
	// Get reads how far it is. Nobody may see it go back.
	Get Asked = "get"
	// Cancel ends it, if it is not over.
	Cancel Asked = "cancel"
)

// Phase is how far a run is; it never goes back. None: there is no such run.
type Phase int

// Ask is what was called. Request names the run, by the request id that it was asked for with.
type Ask struct {
	Request string
	Call    Asked
}

// Answer is what was heard.
type Answer struct {
	// Run is the id that Create gave. Phase is what Get saw.
	Run   string
	Phase Phase
	// Unknown: nobody heard how the call ended; it may have had its effect at any time since.
	Unknown bool
	// Refused: the call was answered, and had no effect.
	Refused bool
}

// known is the state of one run in the model.
type known struct {
	run   string
	phase Phase
}

// ControlModel is what the control API promises of each run: calls happen at one moment between
// their beginning and their end. The cluster itself moves a run on at any time, so a Get may
// see any phase that is not before the last one seen.
var ControlModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := map[string]int{}
		var out [][]porcupine.Operation
		for _, op := range history {
			request := op.Input.(Ask).Request
			i, ok := by[request]
			if !ok {
				i = len(out)
				by[request] = i
				out = append(out, nil)
			}
			out[i] = append(out[i], op)
		}
		return out
	},
	Init: func() any { return known{} },
	Step: func(state, input, output any) (bool, any) {
		now, ask, heard := state.(known), input.(Ask), output.(Answer)
		switch ask.Call {
		case Create:
			if now.run != "" && now.run != heard.Run {
				return false, now
			}
			now.run, now.phase = heard.Run, max(now.phase, 1)
		case Get:
			if heard.Phase < now.phase {
				return false, now
			}
			now.phase = heard.Phase
		}
		return true, now
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
	DescribeState:     func(state any) string { return fmt.Sprintf("%+v", state) },
}

// Controls collects calls of the control API, of several clients at once.
type Controls struct {
	mu           sync.Mutex
	ops          []porcupine.Operation
	all, unknown int
}

// Add adds a call with the times of its beginning and its end on one clock. A call whose end nobody
// heard, and one that was refused, are counted only: they tell nothing of the state, and what the
// former did, if anything, shows in what others see.
func (c *Controls) Add(client int, ask Ask, from, to time.Duration, heard Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all++
	if heard.Unknown {
		c.unknown++
	}
	if !heard.Unknown && !heard.Refused {
		c.ops = append(c.ops, porcupine.Operation{ClientId: client, Input: ask, Call: from.Nanoseconds(), Output: heard, Return: to.Nanoseconds()})
	}
}

// Count is how many calls there are, and of how many the end is unknown.
func (c *Controls) Count() (all, unknown int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all, c.unknown
}

// Check looks for an order of all calls that explains what was heard. A history that cannot be
// decided within limit is a violation.
func (c *Controls) Check(limit time.Duration) []Violation {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch porcupine.CheckOperationsTimeout(ControlModel, c.ops, limit) {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return []Violation{{Linearizable, 1, fmt.Sprintf("%d calls were not decided within %v", len(c.ops), limit)}}
	}
	var all []Violation
	for _, part := range ControlModel.Partition(c.ops) {
		if porcupine.CheckOperationsTimeout(ControlModel, part, limit) != porcupine.Ok {
			all = append(all, Violation{Linearizable, 1, fmt.Sprintf("nothing explains the %d calls about %s", len(part), part[0].Input.(Ask).Request)})
		}
	}
	return all
}
