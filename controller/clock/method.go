package clock

import "strings"

// Methods is a set of ways by which messages become known at both ends.
type Methods uint8

// The methods. Each can be asked alone, so that they check each other: see Model.By
// and Model.Disagreements.
const (
	// Probes are datagrams that the agents exchange for the clocks' sake.
	Probes Methods = 1 << iota
	// Segments are the experiment's own packets, seen at both ends.
	Segments
	// Signals went through the controller, over gRPC: sure and loose.
	Signals
)

// String names the methods of the set, joined by "and"; "none" for the empty set.
func (m Methods) String() string {
	var names []string
	for i, name := range []string{"probes", "segments", "signals"} {
		if m&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " and ")
}
