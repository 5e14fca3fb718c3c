package timeline

// Rules name what TCP and Linux do, and why. Each is used for one way in which one thing
// leads to another; a reader finds it in the sources it names.
//
// Opening a connection.
var (
	ruleConnectSYN      = &Rule{Name: "connect-syn", Text: "connect() sends a SYN", Sources: []string{"RFC 9293 3.5", "connect(2)"}}
	ruleFastOpenSYN     = &Rule{Name: "fast-open-syn", Text: "the first send() of a Fast Open socket sends the SYN, with data if it has a cookie", Sources: []string{"RFC 7413 4.2", "tcp(7)"}}
	ruleNeighbourPacket = &Rule{Name: "neighbour-known", Text: "a packet that waited for its neighbour's link address leaves when that is known", Sources: []string{"RFC 1122 2.3.2.2", "arp(7)"}}
	ruleSYNTimer        = &Rule{Name: "syn-timer", Text: "no answer within the time-out: the SYN is sent again", Sources: []string{"RFC 6298 5", "tcp(7) tcp_syn_retries"}, Timer: true}
	ruleSYNQuick        = &Rule{Name: "syn-again-after-reset", Text: "an acknowledgment of something else was reset, and Linux tries the SYN again soon after that", Sources: []string{"RFC 9293 3.5.1", "RFC 9293 3.10.7.3"}, Timer: true}
	ruleJoin            = &Rule{Name: "mptcp-join", Text: "the kernel's path manager opens another subflow", Sources: []string{"RFC 8684 3.2"}}
	ruleSYNACK          = &Rule{Name: "syn-synack", Text: "the kernel of a listener answers a SYN with SYN+ACK; no call is needed", Sources: []string{"RFC 9293 3.10.7.2", "listen(2)"}}
	ruleCrossedSYN      = &Rule{Name: "crossed-syn", Text: "a SYN that meets a SYN is answered with SYN+ACK: simultaneous open", Sources: []string{"RFC 9293 3.5", "RFC 9293 3.10.7.3"}}
	ruleSYNACKTimer     = &Rule{Name: "synack-timer", Text: "no third ACK that counted within the time-out: the SYN+ACK is sent again", Sources: []string{"RFC 6298 5", "tcp(7) tcp_synack_retries"}, Timer: true}
	ruleSYNACKAgain     = &Rule{Name: "synack-again", Text: "a SYN that comes again is answered again", Sources: []string{"RFC 9293 3.10.7.4"}}
	ruleThirdACK        = &Rule{Name: "third-ack", Text: "the SYN+ACK is acknowledged: the handshake's third segment", Sources: []string{"RFC 9293 3.5", "RFC 9293 3.10.7.3"}}
	ruleCrossedACK      = &Rule{Name: "crossed-ack", Text: "each end of a simultaneous open acknowledges the other's SYN", Sources: []string{"RFC 9293 3.5", "RFC 9293 3.10.7.4"}}
	ruleThirdAgain      = &Rule{Name: "third-ack-again", Text: "a SYN+ACK that comes again is acknowledged again", Sources: []string{"RFC 9293 3.10.7.4"}}
)

// Data and acknowledgments.
var (
	ruleSend         = &Rule{Name: "send-data", Text: "send() hands data to TCP, which sends them at once", Sources: []string{"RFC 9293 3.8", "send(2)"}}
	ruleRelease      = &Rule{Name: "ack-releases-data", Text: "an acknowledgment makes room for data that waited", Sources: []string{"RFC 9293 3.8.6", "RFC 5681 3.1"}}
	ruleNagle        = &Rule{Name: "nagle", Text: "a small segment waited until all before it was acknowledged", Sources: []string{"RFC 9293 3.7.4", "tcp(7) TCP_NODELAY"}}
	ruleWindowOpens  = &Rule{Name: "window-opens", Text: "the peer's window opens, and what waited is sent", Sources: []string{"RFC 9293 3.8.6"}}
	ruleEstablished  = &Rule{Name: "data-after-handshake", Text: "data that were handed over before the handshake was done leave with its end", Sources: []string{"RFC 9293 3.9.1.2"}}
	rulePush         = &Rule{Name: "uncork", Text: "setsockopt() lets go of a segment that was held back", Sources: []string{"tcp(7) TCP_CORK", "tcp(7) TCP_NODELAY"}}
	ruleCorkTimer    = &Rule{Name: "held-back-timer", Text: "a segment that was held back leaves when the time for that is over", Sources: []string{"tcp(7) TCP_CORK", "send(2) MSG_MORE"}, Timer: true}
	ruleQueued       = &Rule{Name: "queue-continues", Text: "the rest of what was handed to TCP follows the segment before", Sources: []string{"RFC 9293 3.8", "RFC 5681 3.1"}}
	ruleFallback     = &Rule{Name: "fast-open-fallback", Text: "the SYN+ACK did not acknowledge the data of the SYN: they are sent again", Sources: []string{"RFC 7413 4.2"}}
	ruleRTO          = &Rule{Name: "retransmission-timer", Text: "no acknowledgment within the time-out: sent again", Sources: []string{"RFC 6298 5"}, Timer: true}
	ruleProbeLoss    = &Rule{Name: "tail-loss-probe", Text: "the last segment of a flight is sent again to find out whether it was lost", Sources: []string{"RFC 8985 7"}, Timer: true}
	ruleFast         = &Rule{Name: "fast-retransmit", Text: "acknowledgments that come again say that a segment is missing: sent again without waiting for the timer", Sources: []string{"RFC 5681 3.2", "RFC 6675 5"}}
	ruleRecovery     = &Rule{Name: "recovery", Text: "an acknowledgment lets the next lost segment be sent again", Sources: []string{"RFC 5681 4.3", "RFC 6675 5"}}
	ruleSmaller      = &Rule{Name: "path-mtu", Text: "an ICMP message says how small packets must be: sent again, smaller", Sources: []string{"RFC 1191 3", "RFC 8201 4"}}
	ruleACKData      = &Rule{Name: "ack-data", Text: "data are acknowledged", Sources: []string{"RFC 9293 3.10.7.4", "RFC 5681 4.2"}}
	ruleACKDelayed   = &Rule{Name: "delayed-ack", Text: "the timer of the delayed ACK ran out before there was anything to send it with", Sources: []string{"RFC 1122 4.2.3.2", "RFC 5681 4.2"}, Timer: true}
	ruleACKRead      = &Rule{Name: "ack-at-read", Text: "reading sends the acknowledgment that was still owed", Sources: []string{"RFC 1122 4.2.3.2", "tcp(7) TCP_QUICKACK"}}
	ruleACKQuick     = &Rule{Name: "quickack", Text: "setsockopt() sends the acknowledgment that was still owed", Sources: []string{"tcp(7) TCP_QUICKACK"}}
	ruleACKFIN       = &Rule{Name: "ack-fin", Text: "a FIN is acknowledged by the kernel, before anybody reads it", Sources: []string{"RFC 9293 3.6", "RFC 9293 3.10.7.4"}}
	ruleWindowUpdate = &Rule{Name: "window-update", Text: "reading makes room, and the wider window is announced", Sources: []string{"RFC 9293 3.8.6.2.2"}}
	ruleWindowFull   = &Rule{Name: "window-full", Text: "what came does not fit: the window is repeated", Sources: []string{"RFC 9293 3.8.6", "RFC 9293 3.10.7.4"}}
	ruleDuplicateACK = &Rule{Name: "duplicate-ack", Text: "a segment beyond a gap is answered with the acknowledgment of what is there", Sources: []string{"RFC 5681 4.2", "RFC 9293 3.10.7.4"}}
	ruleOldSegment   = &Rule{Name: "old-segment", Text: "a segment that was there already is acknowledged again", Sources: []string{"RFC 9293 3.10.7.4"}}
	ruleChallenge    = &Rule{Name: "challenge-ack", Text: "a segment that does not fit the connection is answered with an ACK, to find out", Sources: []string{"RFC 5961 3", "RFC 9293 3.10.7.4"}}
	ruleProbe        = &Rule{Name: "window-probe", Text: "the window is 0: the persist timer has it asked for", Sources: []string{"RFC 9293 3.8.6.1"}, Timer: true}
	ruleProbeAnswer  = &Rule{Name: "probe-answer", Text: "a probe is answered with an ACK", Sources: []string{"RFC 9293 3.8.6.1", "RFC 9293 3.8.4"}}
	ruleKeepalive    = &Rule{Name: "keepalive", Text: "nothing was heard for the keepalive time: is the peer still there?", Sources: []string{"RFC 9293 3.8.4", "tcp(7) TCP_KEEPIDLE"}, Timer: true}
	ruleMPTCP        = &Rule{Name: "mptcp-signal", Text: "an ACK that carries what MPTCP has to say beside the data", Sources: []string{"RFC 8684 3"}}
)

// Closing and resetting.
var (
	ruleCloseFIN      = &Rule{Name: "close-fin", Text: "close() of the last name of a socket sends a FIN", Sources: []string{"RFC 9293 3.10.4", "close(2)"}}
	ruleShutdownFIN   = &Rule{Name: "shutdown-fin", Text: "shutdown() of the sending side sends a FIN", Sources: []string{"RFC 9293 3.6", "shutdown(2)"}}
	ruleQueuedFIN     = &Rule{Name: "fin-after-data", Text: "the FIN leaves behind the data that had to wait", Sources: []string{"RFC 9293 3.10.4"}}
	ruleExitFIN       = &Rule{Name: "exit-fin", Text: "the kernel closes the descriptors of a process that ends", Sources: []string{"exit(3)", "close(2)", "RFC 9293 3.10.4"}}
	ruleReaderFIN     = &Rule{Name: "last-user-fin", Text: "the socket was closed already, and the last call on it is over: a FIN is sent", Sources: []string{"close(2)"}}
	ruleCloseUnread   = &Rule{Name: "close-unread", Text: "close() with data that nobody has read sends a RST in place of a FIN", Sources: []string{"RFC 9293 3.10.4", "RFC 2525 2.17"}}
	ruleLingerZero    = &Rule{Name: "linger-zero", Text: "close() with SO_LINGER of 0 seconds sends a RST and forgets the connection", Sources: []string{"socket(7) SO_LINGER", "RFC 9293 3.10.5"}}
	ruleCloseReset    = &Rule{Name: "close-reset", Text: "close() aborts the connection with a RST", Sources: []string{"RFC 9293 3.10.5"}}
	ruleListenerReset = &Rule{Name: "listener-closed", Text: "a listener that is closed resets what nobody has accepted", Sources: []string{"listen(2)", "RFC 9293 3.10.4"}}
	ruleExitReset     = &Rule{Name: "exit-reset", Text: "the kernel closes the descriptors of a process that ends, and that aborts this connection", Sources: []string{"exit(3)", "close(2)"}}
	ruleNoSocket      = &Rule{Name: "closed-port", Text: "a SYN for a port that nobody listens on is answered with a RST", Sources: []string{"RFC 9293 3.10.7.1"}}
	ruleNoConnection  = &Rule{Name: "no-connection", Text: "a segment of a connection that this host does not have is answered with a RST", Sources: []string{"RFC 9293 3.10.7.1", "RFC 9293 3.5.1"}}
	ruleListenerStray = &Rule{Name: "listener-answers", Text: "a listener answers a segment that opens no connection with a RST", Sources: []string{"RFC 9293 3.10.7.2", "RFC 9293 3.5.2"}}
	ruleFirewallReset = &Rule{Name: "firewall-reset", Text: "a rule of the firewall rejects the segment with a RST", Sources: []string{"nft(8) reject"}}
	ruleOverflowReset = &Rule{Name: "overflow-reset", Text: "the accept queue is full and tcp_abort_on_overflow is set: the third ACK is answered with a RST", Sources: []string{"tcp(7) tcp_abort_on_overflow"}}
	ruleDataClosed    = &Rule{Name: "data-after-close", Text: "data for a socket that nobody can read from any more are answered with a RST", Sources: []string{"RFC 9293 3.10.7.4", "RFC 1122 4.2.2.13"}}
	ruleBadACK        = &Rule{Name: "wrong-ack-reset", Text: "an acknowledgment of what was never sent on this connection is answered with a RST", Sources: []string{"RFC 9293 3.10.7.3", "RFC 9293 3.5.2"}}
	ruleKeepaliveDead = &Rule{Name: "keepalive-gives-up", Text: "no probe was answered: the connection is given up with a RST", Sources: []string{"RFC 9293 3.8.4", "tcp(7) TCP_KEEPCNT"}, Timer: true}
	ruleGiveUp        = &Rule{Name: "gives-up", Text: "nothing was acknowledged for too long: the connection is given up", Sources: []string{"RFC 9293 3.8.3", "tcp(7) tcp_retries2, TCP_USER_TIMEOUT"}, Timer: true}
	ruleLingerOver    = &Rule{Name: "orphan-over", Text: "a closed socket had waited long enough for its peer", Sources: []string{"tcp(7) tcp_fin_timeout, tcp_orphan_retries"}, Timer: true}
)

// What the way does, and packets that are no TCP.
var (
	ruleTravel     = &Rule{Name: "travels", Text: "what left arrives", Sources: []string{"packet(7)"}}
	ruleTwice      = &Rule{Name: "delivered-twice", Text: "the network delivers a packet twice", Sources: []string{"RFC 9293 3.4"}}
	ruleDatagram   = &Rule{Name: "send-datagram", Text: "a call on the socket sends a datagram", Sources: []string{"udp(7)", "raw(7)", "send(2)"}}
	ruleICMPError  = &Rule{Name: "icmp-error", Text: "a packet that cannot be delivered is answered with an ICMP error", Sources: []string{"RFC 792", "RFC 1122 3.2.2", "RFC 4443 3"}}
	ruleUDPRefused = &Rule{Name: "udp-port-unreachable", Text: "a datagram for a port without a socket is answered with port unreachable", Sources: []string{"RFC 1122 4.1.3.1", "RFC 4443 3.1"}}
	ruleTooBig     = &Rule{Name: "too-big", Text: "a packet that is too big for the next link and must not be cut is answered with what would fit", Sources: []string{"RFC 1191 4", "RFC 4443 3.2"}}
	ruleEcho       = &Rule{Name: "echo-reply", Text: "the kernel answers an echo request", Sources: []string{"RFC 1122 3.2.2.6", "RFC 4443 4.2"}}
	ruleAsk        = &Rule{Name: "neighbour-ask", Text: "a packet is to leave and its neighbour's link address is not known: it is asked for", Sources: []string{"RFC 826", "RFC 4861 7.2.2"}}
	ruleAskAgain   = &Rule{Name: "neighbour-ask-again", Text: "no answer within the time-out: the neighbour is asked again", Sources: []string{"RFC 1122 2.3.2.1", "arp(7) retrans_time"}, Timer: true}
	ruleAskCheck   = &Rule{Name: "neighbour-check", Text: "an entry of the neighbour table was used and is old: it is checked", Sources: []string{"RFC 4861 7.3.3", "arp(7) delay_first_probe_time"}, Timer: true}
	ruleAnswer     = &Rule{Name: "neighbour-answer", Text: "the one who has the address answers", Sources: []string{"RFC 826", "RFC 4861 7.2.4"}}
)

// What lets a call return.
var (
	ruleConnected      = &Rule{Name: "connect-returns", Text: "connect() returns when the SYN+ACK has come", Sources: []string{"connect(2)", "RFC 9293 3.10.7.3"}}
	ruleRefused        = &Rule{Name: "connect-refused", Text: "a RST ends connect()", Sources: []string{"connect(2) ECONNREFUSED", "RFC 9293 3.10.7.3"}}
	ruleICMPEnds       = &Rule{Name: "icmp-ends", Text: "an ICMP error ends the call", Sources: []string{"RFC 1122 4.2.3.9", "ip(7) IP_RECVERR", "RFC 5927 4"}}
	ruleNoNeighbour    = &Rule{Name: "no-neighbour", Text: "nobody answered for the address: the host is unreachable", Sources: []string{"RFC 1122 2.3.2.1", "connect(2) EHOSTUNREACH"}, Timer: true}
	ruleConnectTimeout = &Rule{Name: "connect-timeout", Text: "no SYN was answered, and there were enough of them", Sources: []string{"connect(2) ETIMEDOUT", "tcp(7) tcp_syn_retries"}, Timer: true}
	ruleAccepted       = &Rule{Name: "accept-returns", Text: "accept() returns when the ACK of the SYN+ACK has put a connection into the queue", Sources: []string{"accept(2)", "listen(2)"}}
	ruleAcceptedData   = &Rule{Name: "accept-returns-data", Text: "accept() returns when data have come, for which the listener waits", Sources: []string{"tcp(7) TCP_DEFER_ACCEPT"}}
	ruleAcceptedEarly  = &Rule{Name: "accept-returns-early", Text: "accept() returns with the SYN, since that had a valid Fast Open cookie and data", Sources: []string{"RFC 7413 4.2"}}
	ruleListenerShut   = &Rule{Name: "listener-shut", Text: "shutdown() of a listener wakes who waits in accept()", Sources: []string{"shutdown(2)", "accept(2) EINVAL"}}
	ruleRead           = &Rule{Name: "data-wake", Text: "recv() returns when data have come", Sources: []string{"recv(2)", "RFC 9293 3.10.3"}}
	ruleReadAll        = &Rule{Name: "data-complete", Text: "recv() with MSG_WAITALL returns when all that was asked for has come", Sources: []string{"recv(2) MSG_WAITALL"}}
	ruleReadEnd        = &Rule{Name: "fin-wake", Text: "recv() returns 0 when the peer's FIN has come", Sources: []string{"recv(2)", "RFC 9293 3.10.7.4"}}
	ruleReadEndMPTCP   = &Rule{Name: "data-fin-wake", Text: "recv() returns 0 when the peer's DATA_FIN has come", Sources: []string{"recv(2)", "RFC 8684 3.3.3"}}
	ruleReadShut       = &Rule{Name: "shutdown-wakes", Text: "shutdown() of the receiving side wakes who waits in recv()", Sources: []string{"shutdown(2)"}}
	ruleResetEnds      = &Rule{Name: "reset-ends", Text: "a RST ends the call", Sources: []string{"RFC 9293 3.10.7.4", "recv(2) ECONNRESET"}}
	ruleTimeoutEnds    = &Rule{Name: "timeout-ends", Text: "TCP gave up, and the call returns its error", Sources: []string{"tcp(7) ETIMEDOUT", "RFC 9293 3.8.3"}, Timer: true}
	ruleSocketTimeout  = &Rule{Name: "socket-timeout", Text: "the time that the socket gives its calls is over", Sources: []string{"socket(7) SO_RCVTIMEO, SO_SNDTIMEO"}, Timer: true}
	ruleSendRoom       = &Rule{Name: "send-room", Text: "send() returns when acknowledgments have made room for all of its data", Sources: []string{"send(2)", "socket(7) SO_SNDBUF"}}
	ruleSendOpen       = &Rule{Name: "send-connected", Text: "send() returns when the connection that it opened is there", Sources: []string{"RFC 7413 4.2", "tcp(7)"}}
	ruleLingered       = &Rule{Name: "linger-acknowledged", Text: "close() with SO_LINGER returns when all, the FIN included, is acknowledged", Sources: []string{"socket(7) SO_LINGER"}}
	ruleLingerTimeout  = &Rule{Name: "linger-timeout", Text: "close() with SO_LINGER returns when its time is over", Sources: []string{"socket(7) SO_LINGER"}, Timer: true}
	rulePolled         = &Rule{Name: "poll-returns", Text: "poll() returns when what it waits for has come about", Sources: []string{"poll(2)"}}
	rulePollTimeout    = &Rule{Name: "poll-timeout", Text: "poll() returns 0 when its time is over", Sources: []string{"poll(2)"}, Timer: true}
	ruleLabTimeout     = &Rule{Name: "lab-timeout", Text: "the lab ends a call whose limit is over", Sources: []string{"the experiment's timeout="}, Timer: true}
	ruleLabCancel      = &Rule{Name: "lab-cancel", Text: "the lab ends what is still running when the repetition ends", Sources: []string{"the experiment's timeout:"}}
	ruleKilled         = &Rule{Name: "killed", Text: "the process of the lane was killed in the call", Sources: []string{"signal(7)", "kill(2)"}}
	ruleLocalPeer      = &Rule{Name: "local-peer", Text: "a call at the other end of a local socket lets it return", Sources: []string{"unix(7)"}}
	ruleDatagramCame   = &Rule{Name: "datagram-wake", Text: "recvfrom() returns when a packet for the socket has come", Sources: []string{"udp(7)", "raw(7)", "recv(2)"}}
	ruleLabSignal      = &Rule{Name: "lab-signal", Text: "a lane's signal lets wait() go on", Sources: []string{"the experiment's wait()"}}
	ruleLabEvent       = &Rule{Name: "lab-event", Text: "the lab has seen what wait() is for", Sources: []string{"the experiment's wait()"}}
	ruleLabPacket      = &Rule{Name: "lab-packet", Text: "the packet that wait() is for has been seen", Sources: []string{"the experiment's wait()"}}
	ruleLabState       = &Rule{Name: "lab-state", Text: "the socket has come to the state that wait() is for", Sources: []string{"the experiment's wait()"}}
	ruleLabMeet        = &Rule{Name: "lab-meet", Text: "the last lane of a meeting has come, and all go on at one instant", Sources: []string{"the experiment's meet()"}}
	ruleSignalSent     = &Rule{Name: "signal-sent", Text: "signal() tells the lab", Sources: []string{"the experiment's signal()"}}
	ruleSignalCame     = &Rule{Name: "signal-came", Text: "the lab tells a lane's signal to the hosts that wait for it", Sources: []string{"the experiment's signal()"}}
)

// What brings an end to a state.
var (
	ruleStateCall   = &Rule{Name: "state-by-call", Text: "the call brings the socket to this state", Sources: []string{"RFC 9293 3.3.2"}}
	ruleStateCame   = &Rule{Name: "state-by-arrival", Text: "the segment that came brings the socket to this state", Sources: []string{"RFC 9293 3.3.2"}}
	ruleStateSent   = &Rule{Name: "state-by-sending", Text: "with the segment that left the socket is in this state", Sources: []string{"RFC 9293 3.3.2"}}
	ruleStateTimer  = &Rule{Name: "state-by-time", Text: "a timer brings the socket to this state", Sources: []string{"RFC 9293 3.3.2", "RFC 9293 3.9.2"}, Timer: true}
	ruleStatePassed = &Rule{Name: "state-passed", Text: "the next state is reached through this one only", Sources: []string{"RFC 9293 3.3.2"}}
	ruleStateExit   = &Rule{Name: "state-by-exit", Text: "the kernel closes the sockets of a process that ends", Sources: []string{"exit(3)", "close(2)"}}
)
