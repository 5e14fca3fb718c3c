package timeline

import (
	"slices"

	"syncline/controller/experiment"
)

// socketNames are the sockets of the plan that a selector names: of each copy of a
// lane one, and of a label the socket that its call makes, or works on.
func (tr *trial) socketNames(sel *experiment.SocketSelector) []SocketName {
	var names []SocketName
	add := func(lane, socket string) {
		if n := (SocketName{lane, socket}); socket != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	for i := range tr.exp.Lanes {
		lane := &tr.exp.Lanes[i]
		switch {
		case sel.Label == "":
			if lane.Name == sel.Lane || lane.Base != "" && lane.Base == sel.Lane {
				add(lane.Name, sel.Socket)
			}
		case sel.Lane == "" || lane.Name == sel.Lane || lane.Base == sel.Lane:
			for n := range lane.Steps {
				s := &lane.Steps[n]
				switch {
				case s.Label != sel.Label:
				case s.Makes != "":
					add(lane.Name, s.Makes)
				default:
					add(lane.Name, s.Socket)
				}
			}
		}
	}
	return names
}

// endsOf are the ends of connections that the sockets of a selector were; of a label
// only that of its own call, where that is known.
func (tr *trial) endsOf(sel *experiment.SocketSelector) []EndRef {
	var refs []EndRef
	for _, name := range tr.socketNames(sel) {
		for _, ref := range tr.t.EndsOf(name.Lane, name.Socket) {
			if !slices.Contains(refs, ref) && tr.isLabelled(sel, ref) {
				refs = append(refs, ref)
			}
		}
	}
	return refs
}

// isLabelled reports whether a connection is one that a call with the label of the
// selector is of; without a label every one is.
func (tr *trial) isLabelled(sel *experiment.SocketSelector, ref EndRef) bool {
	if sel.Label == "" {
		return true
	}
	for _, c := range tr.calls {
		if c.Label == sel.Label && tr.t.Moments[c.enter].Connection == ref.Connection {
			return true
		}
	}
	return false
}

// gapsOfSocket selects the gaps of a source that touch the hosts of a socket's lanes.
func (tr *trial) gapsOfSocket(source Source, sel *experiment.SocketSelector) func(*gap) bool {
	var hosts []int
	for _, name := range tr.socketNames(sel) {
		if host, ok := tr.lanes[name.Lane]; ok && host >= 0 {
			hosts = append(hosts, host)
		}
	}
	return gapsOf(source, hosts...)
}

func socketSelectorText(sel *experiment.SocketSelector) string {
	switch {
	case sel.Text != "":
		return sel.Text
	case sel.Label != "":
		return sel.Label
	}
	return sel.Lane + "." + sel.Socket
}

func (n SocketName) String() string { return n.Lane + "." + n.Socket }
