package timeline

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// translation is a handshake of which a host rewrites a port between its socket and
// its tap: the packets have ports that the calls do not know of.
type translation struct {
	name   string
	script func(w *world, t int64) int64
	// connections, and whether both sockets are ends of the one with packets.
	connections int
	joined      bool
	// client and server are the ports of the sockets, 0 if they are those of the packets.
	client, server uint16
	// warned says that a call may be of more than one connection.
	warned bool
}

// opened is a handshake on the wire and its calls, with other ports for the sockets.
func opened(k *talk, t int64, name string, client, server netip.AddrPort) int64 {
	end := k.handshake(t) + 60_000
	k.call(k.client, t-5_000, end, Call{Lane: "client" + name, Name: "connect", Socket: "c", Local: client, Peer: k.b})
	k.call(k.server, t-30_000, end, Call{Lane: "server" + name, Name: "accept", Socket: "s", Makes: "a", Local: server, Peer: k.a, Result: 8, FD: 8})
	return end
}

func otherPort(a netip.AddrPort, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr(), port)
}

var translations = []translation{
	{
		name: "redirect at the server",
		script: func(w *world, t int64) int64 {
			k := w.talk(0, 1, 40312, 1000)
			return opened(k, t, "", k.a, otherPort(k.b, 8081))
		},
		connections: 1, joined: true, server: 8081,
	},
	{
		name: "masquerade at the client",
		script: func(w *world, t int64) int64 {
			k := w.talk(0, 1, 40312, 1000)
			return opened(k, t, "", otherPort(k.a, 51000), k.b)
		},
		connections: 1, joined: true, client: 51000,
	},
	{
		name: "both",
		script: func(w *world, t int64) int64 {
			k := w.talk(0, 1, 40312, 1000)
			return opened(k, t, "", otherPort(k.a, 51000), otherPort(k.b, 8081))
		},
		connections: 1, joined: true, client: 51000, server: 8081,
	},
	{
		name: "a socket of the run has the port on the wire",
		script: func(w *world, t int64) int64 {
			k := w.talk(0, 1, 40312, 1000)
			w.call(1, t-40_000, t-35_000, Call{Lane: "other", Name: "bind", Socket: "o", Local: k.b})
			return opened(k, t, "", k.a, otherPort(k.b, 8081))
		},
		connections: 2,
	},
	{
		name: "two at once, and nothing tells which is which",
		script: func(w *world, t int64) int64 {
			one, two := w.talk(0, 1, 40312, 1000), w.talk(0, 1, 40313, 70_000)
			return max(opened(one, t, "1", otherPort(one.a, 51000), one.b), opened(two, t+1_000, "2", otherPort(two.a, 51001), two.b))
		},
		connections: 4, warned: true,
	},
	{
		name: "beside one that is not translated",
		script: func(w *world, t int64) int64 {
			one, two := w.talk(0, 1, 40312, 1000), w.talk(0, 1, 40313, 70_000)
			return max(opened(one, t, "", otherPort(one.a, 51000), one.b), opened(two, t+1_000, "2", two.a, two.b))
		},
		connections: 2, joined: true, client: 51000,
	},
	{
		name: "it began after the call had returned",
		script: func(w *world, t int64) int64 {
			k := w.talk(0, 1, 40312, 1000)
			w.call(0, t-90_000, t-60_000, Call{Lane: "client", Name: "connect", Socket: "c", Local: otherPort(k.a, 51000), Peer: k.b})
			return k.handshake(t) + 10_000
		},
		connections: 2,
	},
	{
		name: "another address of the host is no translation",
		script: func(w *world, t int64) int64 {
			k := w.talk(0, 1, 40312, 1000)
			return opened(k, t, "", k.a, netip.MustParseAddrPort("10.0.9.9:8081"))
		},
		connections: 2,
	},
}

func TestTranslatedPorts(t *testing.T) {
	for _, tr := range translations {
		t.Run(tr.name, func(t *testing.T) {
			sc := scenario{script: tr.script}
			for seed := range uint64(20) {
				_, tl := sc.build(t, seed)
				tr.check(t, tl)
			}
		})
	}
}

func (tr *translation) check(t *testing.T, tl *Timeline) {
	t.Helper()
	if len(tl.Connections) != tr.connections {
		t.Fatalf("%d connections, want %d: %+v", len(tl.Connections), tr.connections, tl.Connections)
	}
	warned := slices.ContainsFunc(tl.Warnings, func(w string) bool { return strings.Contains(w, "could have opened any of several") })
	if warned != tr.warned {
		t.Errorf("warnings %q, want one of a call that is of several connections: %v", tl.Warnings, tr.warned)
	}
	joined := false
	for i := range tl.Connections {
		c := &tl.Connections[i]
		if len(c.Segments) == 0 || c.Client.Socket != "c" || c.Server.Socket != "a" || c.Client.Lane != "client" {
			continue
		}
		joined = true
		if c.Client.Address.Port() != 40312 || c.Server.Address.Port() != 8080 {
			t.Errorf("the ends are %v and %v, want the ports of the packets", c.Client.Address, c.Server.Address)
		}
		if c.Client.Bound.Port() != tr.client || c.Server.Bound.Port() != tr.server {
			t.Errorf("the sockets have %v and %v, want ports %d and %d", c.Client.Bound, c.Server.Bound, tr.client, tr.server)
		}
	}
	if joined != tr.joined {
		t.Errorf("joined: %v, want %v: %+v", joined, tr.joined, tl.Connections)
	}
}
