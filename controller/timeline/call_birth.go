package timeline

import "syncline/controller/clock"

// births are when kernels traced that sockets of accepted connections were there: as their
// requests came to ESTABLISHED. That step names both addresses; the one before it may not.
func births(events []*Event) map[dumpKey][]clock.Local {
	all := make(map[dumpKey][]clock.Local)
	for _, e := range events {
		if tr := e.Trace; tr != nil && tr.isStep() && StateName(tr.OldState) == stateSynRecv && StateName(tr.State) == stateEstablished {
			key := dumpKey{e.Host, plain(tr.Local), plain(tr.Peer)}
			all[key] = append(all[key], e.At)
		}
	}
	return all
}

// everSocket is the first of some connections between the same two addresses, in their order,
// that can have been a socket, which accept(2) returns, and was not only a request. The third
// ACK that a tap heard may not have come to TCP: then a reset ends the request, and ports are
// used again. Where the kernel traced the birth of the socket of a later one and of none for an
// earlier one, that earlier one never was one. A server's end that sent data, a FIN or an ACK was.
func (cl *claims) everSocket(fit []*conn, host int) *conn {
	if !cl.traces(host) {
		return fit[0]
	}
	for i, c := range fit[:len(fit)-1] {
		if c.wasOpen() || cl.born(c, fit[i+1], host) || !cl.born(fit[i+1], nil, host) {
			return c
		}
	}
	return fit[len(fit)-1]
}

// born reports whether a kernel traced the birth of the socket of a server's end: between its
// opening and that of the next connection between its addresses, nil if any time will do. It may
// have been where nothing tells when they were opened.
func (cl *claims) born(c, next *conn, host int) bool {
	first := c.first[host]
	if first == nil || next != nil && next.first[host] == nil {
		return true
	}
	for _, at := range cl.births[dumpKey{host, c.ends[1].Address, c.ends[0].Address}] {
		if at >= first.At-slackOf(first) && (next == nil || at <= next.first[host].At+slackOf(next.first[host])) {
			return true
		}
	}
	return false
}

// wasOpen reports whether the server's end sent what no request sends.
func (c *conn) wasOpen() bool {
	for _, e := range c.packets {
		if c.direction(e.Packet) == 1 && e.Packet.Flags&(SYN|RST) == 0 {
			return true
		}
	}
	return false
}
