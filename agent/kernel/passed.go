package kernel

// follows is the diagram of RFC 9293, 3.3.2 (figure 5), as Linux walks it: which
// states come right after which. A reset, or the end of its patience, takes a socket
// from anywhere to Close, and nothing comes after that but another connection. A
// listener stays one; the connections that it takes are sockets of their own, which
// begin in SynRecv.
//
// One arrow of the figure is left out, that from SYN_RECEIVED to FIN_WAIT_1: it takes a
// close in the middle of a simultaneous open. With it, no state after ESTABLISHED would
// tell that ESTABLISHED came before.
var follows = map[State][]State{
	Close:       {SynSent, Listen},
	SynSent:     {SynRecv, Established},
	SynRecv:     {Established},
	Established: {FinWait1, CloseWait},
	FinWait1:    {FinWait2, Closing, TimeWait},
	FinWait2:    {TimeWait},
	Closing:     {TimeWait},
	CloseWait:   {LastAck},
}

// passed reports whether a socket that was in one state and is now in another must
// have been in the wanted one on the way, both ends included. It must if the diagram
// has a way from the one to the other, and none that leaves the wanted one out. That
// it is in Close now says nothing of the way.
func passed(from, now, wanted State) bool {
	if from == wanted || now == wanted {
		return true
	}
	return leads(from, now, 0) && !leads(from, now, wanted)
}

// leads reports whether the diagram has a way that leaves a state out. It has no
// circle.
func leads(from, to, without State) bool {
	for _, next := range follows[from] {
		if next != without && (next == to || leads(next, to, without)) {
			return true
		}
	}
	return false
}
