package kernel

import (
	"cmp"
	"slices"

	synclinev1 "syncline/proto/syncline/v1"
)

// Final makes of a dump what is left of a repetition after all its lanes have ended.
// The order is that of the addresses, since the kernel's own is that of a hash.
func Final(sockets []Socket) []*synclinev1.SocketState {
	sorted := slices.SortedFunc(slices.Values(sockets), func(a, b Socket) int {
		return cmp.Or(a.Local.Compare(b.Local), a.Remote.Compare(b.Remote), cmp.Compare(a.Cookie, b.Cookie))
	})
	var all []*synclinev1.SocketState
	for _, s := range sorted {
		state := &synclinev1.SocketState{LocalAddress: s.Local.String(), State: uint32(s.State), Final: true}
		if s.State != Listen {
			state.PeerAddress = s.Remote.String()
		}
		all = append(all, state)
	}
	return all
}
