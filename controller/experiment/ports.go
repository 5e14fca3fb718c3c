package experiment

import (
	"cmp"
	"fmt"
	"slices"
)

// PortRange is the ports from Low to High, both included.
type PortRange struct{ Low, High uint16 }

// Ports are all ports that the file binds, connects or sends to, in order and each
// once, and the ranges of those that depend on a fresh variable: of all variants and
// all repetitions. The packets of a run have one of them on either side. Port 0 of
// bind(2), any free one, is not among them, nor are ports within a range.
func (e *Experiment) Ports() ([]uint16, []PortRange) {
	var ports []uint16
	var ranges []PortRange
	e.every(func(variant *Experiment) {
		used := make(map[Pos]PortRange)
		variant.stepPorts(used)
		variant.lastFresh().stepPorts(used)
		for _, r := range used {
			if r.Low == r.High {
				ports = append(ports, r.Low)
			} else {
				ranges = append(ranges, r)
			}
		}
	})
	ranges = joinRanges(ranges)
	slices.Sort(ports)
	ports = slices.Compact(ports)
	return slices.DeleteFunc(ports, func(port uint16) bool {
		return slices.ContainsFunc(ranges, func(r PortRange) bool { return r.Low <= port && port <= r.High })
	}), ranges
}

// lastFresh is the experiment with the greatest values of its fresh variables.
func (e *Experiment) lastFresh() *Experiment {
	if len(e.Repeat.Fresh) == 0 || e.file == nil {
		return e
	}
	last, err := e.At(e.Variant, FreshValues)
	if err != nil {
		panic(fmt.Sprintf("experiment %s: its last fresh values were good when it was parsed: %v", e.Name, err))
	}
	return last
}

// stepPorts adds the ports of all steps: the lowest and the highest that the step at one
// place of the file names.
func (e *Experiment) stepPorts(used map[Pos]PortRange) {
	for _, l := range e.Lanes {
		if l.Copy > 1 {
			continue // the first has the same
		}
		for _, s := range l.Steps {
			port := s.port()
			if port == 0 {
				continue
			}
			r, ok := used[s.Pos]
			if !ok {
				r = PortRange{port, port}
			}
			used[s.Pos] = PortRange{min(r.Low, port), max(r.High, port)}
		}
	}
}

// port is the one that a step names, 0 if it names none.
func (s *Step) port() uint16 {
	switch args := s.Args.(type) {
	case BindArgs:
		return args.Address.Port
	case ConnectArgs:
		return args.Address.Port
	case SendToArgs:
		return args.Address.Port
	}
	return 0
}

// namesPort reports whether some step does.
func (e *Experiment) namesPort() bool {
	return slices.ContainsFunc(e.Lanes, func(l Lane) bool {
		return slices.ContainsFunc(l.Steps, func(s Step) bool { return s.port() != 0 })
	})
}

// joinRanges sorts ranges and joins those that touch.
func joinRanges(ranges []PortRange) []PortRange {
	slices.SortFunc(ranges, func(a, b PortRange) int { return cmp.Compare(a.Low, b.Low) })
	var out []PortRange
	for _, r := range ranges {
		if n := len(out); n > 0 && int(r.Low) <= int(out[n-1].High)+1 {
			out[n-1].High = max(out[n-1].High, r.High)
			continue
		}
		out = append(out, r)
	}
	return out
}
