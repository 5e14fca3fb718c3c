package timeline

import (
	"cmp"
	"slices"
)

// beginnings are the first moments of connections, as far as the moments of a timeline were
// gone through.
type beginnings struct {
	hosts int
	// at has, by connection and host, the first moment of the host, and any that of whatever
	// host, by connection; -1 for none so far.
	at, any []int
}

func newBeginnings(connections, hosts int) *beginnings {
	b := &beginnings{hosts: hosts, at: make([]int, connections*hosts), any: make([]int, connections)}
	for i := range b.at {
		b.at[i] = -1
	}
	for i := range b.any {
		b.any[i] = -1
	}
	return b
}

func (b *beginnings) note(m *Moment, moment int) {
	if m.Connection < 0 {
		return
	}
	if first := &b.at[m.Connection*b.hosts+m.Event.Host]; *first < 0 {
		*first = moment
	}
	if first := &b.any[m.Connection]; *first < 0 {
		*first = moment
	}
}

// of is the first moment of a connection at a host, of another host's if there is none; -1 if
// it has not begun.
func (b *beginnings) of(connection, host int) int {
	if first := b.at[connection*b.hosts+host]; first >= 0 {
		return first
	}
	return b.any[connection]
}

// lastFirst are those ends at a host that have begun, the one that began last first.
func (b *beginnings) lastFirst(refs []EndRef, host int) []EndRef {
	var begun []EndRef
	for _, ref := range slices.Backward(refs) {
		if b.of(ref.Connection, host) >= 0 {
			begun = append(begun, ref)
		}
	}
	slices.SortStableFunc(begun, func(x, y EndRef) int {
		return cmp.Compare(b.of(y.Connection, host), b.of(x.Connection, host))
	})
	return begun
}
