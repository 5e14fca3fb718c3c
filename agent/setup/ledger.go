package setup

import (
	"net/netip"
	"slices"

	synclinev1 "syncline/proto/syncline/v1"
)

// kind is the sort of thing that a change replaces.
type kind string

// Kinds, in the order in which they are put back: an interface gets its size before
// its IPv6 settings (which are gone below 1280 bytes), is up before it gets addresses,
// and has addresses before it gets routes.
const (
	kindMTU       kind = "mtu"
	kindSysctl    kind = "sysctl"
	kindLink      kind = "link"
	kindOffload   kind = "offload"
	kindQueue     kind = "queue"
	kindAddress   kind = "address"
	kindRoute     kind = "route"
	kindNeighbour kind = "neighbour"
	kindTable     kind = "table"
)

var kinds = []kind{
	kindMTU, kindSysctl, kindLink, kindOffload, kindQueue, kindAddress, kindRoute, kindNeighbour, kindTable,
}

// key names one thing of the host that has a value: a sysctl, the routes to one
// destination, whether an interface is up.
type key struct {
	Kind kind `json:"kind"`
	// Link is the index of the interface that the thing belongs to; 0: none.
	Link int    `json:"link,omitempty"`
	Name string `json:"name,omitempty"`
}

// saved is the value that a thing had before a change.
type saved struct {
	key
	// Old is nil for what was not there. Kernel messages are in base64.
	Old []string `json:"old"`
	// Watched things are not what was asked to be changed, but what the kernel may
	// drop or change with it: the routes of an interface that goes down.
	Watched bool `json:"watched,omitempty"`
}

// entry is one change that is to be undone.
type entry struct {
	// ID is from 1 and never used again in one journal.
	ID    uint64  `json:"id"`
	Run   string  `json:"run,omitempty"`
	Setup string  `json:"setup,omitempty"`
	Text  string  `json:"text"`
	Saved []saved `json:"saved"`
	// Holds: the change keeps an interface down, or IPv6 off, and with it what hangs on
	// the interface.
	Holds bool `json:"holds,omitempty"`
	// Peers are set if the change made the kernel track connections: it is to forget
	// those with them.
	Peers []netip.Addr `json:"peers,omitempty"`

	// rule is the firewall's rule of this change. It is not in the journal: a table of
	// a dead process goes as a whole.
	rule *rule
}

// rule is a rule of the firewall that stands.
type rule struct {
	change *synclinev1.FirewallChange
	target Target
	// batch tells the setups apart: rules of the one that was applied last are asked
	// first, those of one in their order.
	batch uint64
}

func (e *entry) find(k key) int {
	return slices.IndexFunc(e.Saved, func(s saved) bool { return s.key == k })
}

// ledger holds the changes that stand, oldest first.
type ledger struct{ entries []*entry }

// putBack is one thing that the kernel is given back.
type putBack struct {
	saved
	// Covered: another change that stands may keep the thing off, and puts it back in its
	// turn. That it cannot be put back now is no error.
	Covered bool
}

// handOver is an older value that a newer change is to restore in its own time.
type handOver struct {
	to *entry
	saved
}

// undoing says what it takes to undo e while newer changes stand. A thing that a newer
// change has replaced keeps that change's value; the newer change inherits what e
// would have put back. A thing that a newer change watches is put back, and the newer
// change learns of it.
//
// A newer change that keeps the interface down or IPv6 off stands in the way of what
// hangs on the interface, and did not see it if e had taken it off before. The first
// such change is made to watch it too: it is off because of that one from now on. An
// older such change stands in the way again if e had outweighed it; it has seen what
// was there before it, and the rest is of changes that stand.
func (l *ledger) undoing(e *entry) (back []putBack, pass []handOver) {
	at := slices.Index(l.entries, e)
	newer := l.entries[at+1:]
	held := slices.ContainsFunc(l.entries[:at], func(e *entry) bool { return e.Holds })
	for _, s := range e.Saved {
		inherited, covered := false, false
		for _, n := range newer {
			watched := true
			if i := n.find(s.key); i >= 0 {
				watched = n.Saved[i].Watched
			} else if covered || !n.Holds || !s.hangs() {
				continue
			}
			pass = append(pass, handOver{to: n, saved: saved{key: s.key, Old: s.Old, Watched: watched}})
			if inherited = !watched; inherited {
				break
			}
			covered = true
		}
		if !inherited {
			back = append(back, putBack{saved: s, Covered: covered || held && s.hangs()})
		}
	}
	slices.SortStableFunc(back, func(a, b putBack) int {
		return slices.Index(kinds, a.Kind) - slices.Index(kinds, b.Kind)
	})
	return back, pass
}

// hangs reports whether the thing goes with its interface when that goes down, or when
// IPv6 goes off.
func (s saved) hangs() bool {
	return s.Watched || slices.Contains([]kind{kindAddress, kindRoute, kindNeighbour}, s.Kind)
}

// undone takes e out and lets newer changes inherit.
func (l *ledger) undone(e *entry, pass []handOver) {
	for _, p := range pass {
		if i := p.to.find(p.key); i >= 0 {
			p.to.Saved[i].Old = p.Old
		} else {
			p.to.Saved = append(p.to.Saved, p.saved)
		}
	}
	i := slices.Index(l.entries, e)
	l.entries = slices.Delete(l.entries, i, i+1)
}

func (l *ledger) add(e *entry) { l.entries = append(l.entries, e) }

func (l *ledger) byID(id uint64) *entry {
	i := slices.IndexFunc(l.entries, func(e *entry) bool { return e.ID == id })
	if i < 0 {
		return nil
	}
	return l.entries[i]
}

// of lists the changes of one setup, newest first.
func (l *ledger) of(setup string) []*entry {
	var found []*entry
	for _, e := range slices.Backward(l.entries) {
		if e.Setup == setup {
			found = append(found, e)
		}
	}
	return found
}
