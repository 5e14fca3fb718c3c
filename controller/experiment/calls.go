package experiment

import (
	"slices"
	"strings"
	"time"
)

// making says if a call gives a name to a socket.
type making int

const (
	makesNone making = iota
	mayMake
	mustMake
)

// call is one row of the table of calls.
type call struct {
	name string
	// params are the arguments as a person reads them. The first is the socket the
	// call works on if onSocket is set, and is then not passed to read.
	params []string
	// optional is how many of the last may be left away.
	optional int
	onSocket bool
	makes    making
	doc      string
	// example is a step with this call.
	example string
	// read turns the arguments, as many as there are, into Step.Args; nil if there is
	// nothing to tell beside the socket.
	read func(*reading, []phrase) any
}

// calls are all calls, in the order of a connection's life, the lab's own last.
var calls = []call{
	{"socket", []string{"kind"}, 0, false, mustMake,
		"socket(2). The kinds: tcp, tcp6, udp, udp6, unix (a stream), mptcp, mptcp6, raw icmp, raw icmp6. With one of IPv6, B:$port is the IPv6 address of B, and an IPv4 address that is written out is mapped (ipv6(7)).",
		"c = socket(tcp)", (*reading).socketArgs},
	{"setsockopt", []string{"socket", "NAME", "value"}, 0, true, makesNone,
		"setsockopt(2): sets an option by its Linux name.",
		"setsockopt(c, SO_LINGER, {1, 0})", (*reading).setSockOptArgs},
	{"getsockopt", []string{"socket", "NAME"}, 0, true, makesNone,
		"getsockopt(2): an outcome is the option's value; of SO_ERROR also the name of an errno.",
		"getsockopt(c, SO_ERROR) -> 0 or ECONNREFUSED", (*reading).getSockOptArgs},
	{"bind", []string{"socket", "address"}, 0, true, makesNone,
		"bind(2): gives the socket an address: 0.0.0.0:$port, [::]:$port (of tcp6), a role's, B:$port, or unix:name. Port 0 is any free one.",
		"bind(s, 0.0.0.0:$port)", (*reading).bindArgs},
	{"listen", []string{"socket", "backlog"}, 0, true, makesNone,
		"listen(2): the accept queue holds backlog + 1 connections.",
		"listen(s, 128)", (*reading).listenArgs},
	{"accept", []string{"socket"}, 0, true, mayMake,
		"accept(2): blocks until a connection is complete, and takes it.",
		"a = accept(s) as taken", nil},
	{"connect", []string{"socket", "address"}, 0, true, makesNone,
		"connect(2): blocks until the connection is there, or cannot be. The address is a role's, B:$port, or any other that the agent allows.",
		"connect(c, B:$port, timeout=2s) -> ok or timeout", (*reading).connectArgs},
	{"send", []string{"socket", "data", "MSG_X|MSG_Y"}, 1, true, makesNone,
		"send(2): data is \"text\", bytes(1000) (zeros), pattern(1000, seed) or hex(0a1b).",
		"send(c, \"hello\") -> 5", (*reading).sendArgs},
	{"recv", []string{"socket", "size", "MSG_X|MSG_Y"}, 1, true, makesNone,
		"recv(2): blocks until there are bytes, at most size, or until the peer's FIN: 0. An outcome may be the data itself.",
		"recv(a, 4096) -> 0 or ECONNRESET as end", (*reading).recvArgs},
	{"sendto", []string{"socket", "address", "data", "MSG_X|MSG_Y"}, 1, true, makesNone,
		"sendto(2): sends to an address without a connection, or with MSG_FASTOPEN makes one.",
		"sendto(u, B:$port, \"hello\") -> 5", (*reading).sendToArgs},
	{"recvfrom", []string{"socket", "size", "MSG_X|MSG_Y"}, 1, true, makesNone,
		"recvfrom(2): as recv; the record shows whom it came from.",
		"recvfrom(u, 2048) -> \"hello\"", (*reading).recvFromArgs},
	{"shutdown", []string{"socket", "RD|WR|RDWR"}, 0, true, makesNone,
		"shutdown(2): ends one direction or both; WR sends FIN.",
		"shutdown(c, WR)", (*reading).shutdownArgs},
	{"close", []string{"socket"}, 0, true, makesNone,
		"close(2): gives the descriptor up; the last one of a connection sends FIN, or RST if bytes were not read.",
		"close(c)", nil},
	{"nonblock", []string{"socket", "off"}, 1, true, makesNone,
		"fcntl(2): sets O_NONBLOCK, or with off clears it. What would block then gives EAGAIN, connect EINPROGRESS.",
		"nonblock(c)", (*reading).nonblockArgs},
	{"poll", []string{"socket", "IN|OUT|PRI|RDHUP", "limit"}, 1, true, makesNone,
		"poll(2) on one socket, for ever or for a limit of its own. An outcome is exactly the events that come, or 0 for none in time.",
		"poll(c, IN|OUT, 100ms) -> OUT", (*reading).pollArgs},
	{"dup", []string{"socket"}, 0, true, mustMake,
		"dup(2): a second descriptor of the same socket, which lives until the last is closed.",
		"d = dup(c)", nil},
	{"getsockname", []string{"socket"}, 0, true, makesNone,
		"getsockname(2): the record shows the socket's own address.",
		"getsockname(c)", nil},
	{"getpeername", []string{"socket"}, 0, true, makesNone,
		"getpeername(2): the record shows the address of the peer.",
		"getpeername(c) -> ok or ENOTCONN", nil},
	{"info", []string{"socket"}, 0, true, makesNone,
		"getsockopt(2) of TCP_INFO: the record shows the state, the retransmissions, the round-trip time and more.",
		"info(c)", nil},
	{"sleep", []string{"duration"}, 0, false, makesNone,
		"The lane's thread sleeps.",
		"sleep(50ms)", (*reading).sleepArgs},
	{"signal", []string{"name"}, 0, false, makesNone,
		"Tells every lane that this one got here. A lane gives each signal once.",
		"signal(listening)", (*reading).signalArgs},
	{"wait", []string{"for"}, 0, false, makesNone,
		"Blocks until a lane gave a signal, or until something was seen. See Waiting.",
		"wait(server.listening)", (*reading).waitArgs},
	{"meet", []string{"name"}, 0, false, makesNone,
		"Blocks until all lanes that come to this meeting are there, and releases them at one instant of all hosts.",
		"meet(go)", (*reading).meetArgs},
	{"fork", []string{"lane"}, 0, false, makesNone,
		"Starts a lane that is forked_by this one, in a process of its own, with the sockets this one has open.",
		"fork(worker)", (*reading).forkArgs},
	{"kill", []string{"lane", "SIGNAL"}, 1, false, makesNone,
		"kill(2): sends SIGKILL, or another signal, to the process of a lane of the same host.",
		"kill(victim, SIGSTOP)", (*reading).killArgs},
	{"apply", []string{"change"}, 0, false, makesNone,
		"Makes a change of this host that stands under `changes`.",
		"apply(cut)", (*reading).applyArgs},
	{"undo", []string{"change"}, 0, false, makesNone,
		"Takes such a change back. What is left when all lanes have ended is undone then.",
		"undo(cut)", (*reading).undoArgs},
}

func findCall(name string) (call, bool) {
	i := slices.IndexFunc(calls, func(c call) bool { return c.name == name })
	if i < 0 {
		return call{}, false
	}
	return calls[i], true
}

func callNames() []string {
	names := make([]string, len(calls))
	for i, c := range calls {
		names[i] = c.name
	}
	return names
}

// Numbers of Linux, the same on every machine this runs on.
const (
	afUnix       = 1
	afInet       = 2
	afInet6      = 10
	sockStream   = 1
	sockDgram    = 2
	sockRaw      = 3
	ipprotoTCP   = 6
	ipprotoMPTCP = 262
)

// socketKind is what socket(kind) makes.
type socketKind struct {
	name string
	args SocketArgs
}

var socketKinds = []socketKind{
	{"tcp", SocketArgs{afInet, sockStream, ipprotoTCP}},
	{"tcp6", SocketArgs{afInet6, sockStream, ipprotoTCP}},
	{"udp", SocketArgs{afInet, sockDgram, ipprotoUDP}},
	{"udp6", SocketArgs{afInet6, sockDgram, ipprotoUDP}},
	{"unix", SocketArgs{afUnix, sockStream, 0}},
	{"mptcp", SocketArgs{afInet, sockStream, ipprotoMPTCP}},
	{"mptcp6", SocketArgs{afInet6, sockStream, ipprotoMPTCP}},
	{"raw icmp", SocketArgs{afInet, sockRaw, ipprotoICMP}},
	{"raw icmp6", SocketArgs{afInet6, sockRaw, ipprotoICMPv6}},
}

func socketKindNames() []string {
	names := make([]string, len(socketKinds))
	for i, k := range socketKinds {
		names[i] = k.name
	}
	return names
}

// kindName is how an author writes a kind of socket, "" for none.
func kindName(args SocketArgs) string {
	for _, k := range socketKinds {
		if k.args == args {
			return k.name
		}
	}
	return ""
}

// socketKind reads a kind of socket.
func (p *reading) socketKind(t phrase) (SocketArgs, bool) {
	name := strings.Join(strings.Fields(t.text), " ")
	for _, k := range socketKinds {
		if k.name == name {
			return k.args, true
		}
	}
	p.fault(t.pos(), suggest(t.text, "kinds", socketKindNames()), "unknown kind of socket %q", shorten(t.text))
	return SocketArgs{}, false
}

func (p *reading) socketArgs(args []phrase) any {
	kind, ok := p.socketKind(args[0])
	if !ok {
		return nil
	}
	return kind
}

func (p *reading) bindArgs(args []phrase) any {
	a, ok := p.address(args[0], 0)
	if !ok {
		return nil
	}
	return BindArgs{a}
}

func (p *reading) listenArgs(args []phrase) any {
	return ListenArgs{p.number(args[0], "backlog", 0, 1<<31-1)}
}

func (p *reading) connectArgs(args []phrase) any {
	a, ok := p.address(args[0], 1)
	if !ok {
		return nil
	}
	return ConnectArgs{a}
}

func (p *reading) sendArgs(args []phrase) any {
	data, ok1 := p.bytes(args[0])
	flags, ok2 := p.flagsOf(args, 1)
	if !ok1 || !ok2 {
		return nil
	}
	return SendArgs{Data: data, Flags: flags}
}

func (p *reading) sendToArgs(args []phrase) any {
	a, ok1 := p.address(args[0], 1)
	data, ok2 := p.bytes(args[1])
	flags, ok3 := p.flagsOf(args, 2)
	if !ok1 || !ok2 || !ok3 {
		return nil
	}
	return SendToArgs{Address: a, Data: data, Flags: flags}
}

func (p *reading) recvArgs(args []phrase) any {
	flags, ok := p.flagsOf(args, 1)
	if !ok {
		return nil
	}
	return RecvArgs{Size: p.number(args[0], "size", 0, MaxData), Flags: flags}
}

func (p *reading) recvFromArgs(args []phrase) any {
	flags, ok := p.flagsOf(args, 1)
	if !ok {
		return nil
	}
	return RecvFromArgs{Size: p.number(args[0], "size", 0, MaxData), Flags: flags}
}

func (p *reading) shutdownArgs(args []phrase) any {
	known := []string{"RD", "WR", "RDWR"}
	how := slices.Index(known, strings.TrimPrefix(args[0].text, "SHUT_"))
	if how < 0 {
		p.fault(args[0].pos(), suggest(args[0].text, "ways", known), "unknown way to shut down %q", shorten(args[0].text))
		return nil
	}
	return ShutdownArgs{how}
}

func (p *reading) nonblockArgs(args []phrase) any {
	if len(args) == 0 {
		return NonblockArgs{On: true}
	}
	known := []string{"on", "off"}
	if !slices.Contains(known, args[0].text) {
		p.fault(args[0].pos(), "write nonblock(c) or nonblock(c, off)", "%q is neither on nor off", shorten(args[0].text))
		return nil
	}
	return NonblockArgs{On: args[0].text == "on"}
}

func (p *reading) pollArgs(args []phrase) any {
	events, ok := p.mask(args[0], "event", pollEvents)
	if !ok {
		return nil
	}
	limit := time.Duration(-1)
	if len(args) > 1 {
		limit = p.duration(args[1], "limit", 0)
	}
	return PollArgs{Events: events, Limit: limit}
}

func (p *reading) sleepArgs(args []phrase) any {
	return SleepArgs{p.duration(args[0], "sleep", 0)}
}

func (p *reading) signalArgs(args []phrase) any {
	if !p.isName(args[0], "a signal") {
		return nil
	}
	return SignalArgs{args[0].text}
}

// waitArgs leaves what is waited for to resolve, which knows all lanes.
func (p *reading) waitArgs([]phrase) any { return WaitArgs{} }

func (p *reading) meetArgs(args []phrase) any {
	if !p.isName(args[0], "a meeting") {
		return nil
	}
	return MeetArgs{args[0].text}
}

func (p *reading) forkArgs(args []phrase) any { return ForkArgs{args[0].text} }

func (p *reading) killArgs(args []phrase) any {
	signal := processSignals[0]
	if len(args) > 1 {
		i := slices.IndexFunc(processSignals, func(s bit) bool { return s.name == "SIG"+strings.TrimPrefix(args[1].text, "SIG") })
		if i < 0 {
			p.fault(args[1].pos(), suggest(args[1].text, "signals", maskNames(processSignals)), "unknown signal %q", shorten(args[1].text))
			return nil
		}
		signal = processSignals[i]
	}
	return KillArgs{Lane: args[0].text, Signal: signal.value}
}

// processSignals are those of signal(7), numbers of x86, Arm and RISC-V; the first is
// sent if the author names none.
var processSignals = []bit{
	{"SIGKILL", 9}, {"SIGTERM", 15}, {"SIGSTOP", 19}, {"SIGCONT", 18}, {"SIGINT", 2}, {"SIGHUP", 1},
	{"SIGQUIT", 3}, {"SIGABRT", 6}, {"SIGSEGV", 11}, {"SIGPIPE", 13}, {"SIGUSR1", 10}, {"SIGUSR2", 12}, {"SIGALRM", 14},
}

func (p *reading) applyArgs(args []phrase) any { return ApplyArgs{args[0].text} }
func (p *reading) undoArgs(args []phrase) any  { return UndoArgs{args[0].text} }
