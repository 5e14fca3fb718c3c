package experiment

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"
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
	params   []string
	onSocket bool
	makes    making
	doc      string
	// example is a step with this call.
	example string
	// read turns the arguments, as many as params says, into Step.Args; nil if there
	// is nothing to tell beside the socket.
	read func(*reading, []phrase) any
}

// calls are all calls, in the order of a connection's life, the lab's own last.
var calls = []call{
	{"socket", []string{"tcp|tcp6"}, false, mustMake,
		"socket(2): makes a TCP socket. One of tcp6 also reaches IPv4 addresses (mapped, ipv6(7)); one of tcp reaches no IPv6 address.",
		"c = socket(tcp)", (*reading).socketArgs},
	{"setsockopt", []string{"socket", "NAME", "value"}, true, makesNone,
		"setsockopt(2): sets an option by its Linux name.",
		"setsockopt(c, SO_LINGER, {1, 0})", (*reading).setSockOptArgs},
	{"bind", []string{"socket", "address"}, true, makesNone,
		"bind(2): gives the socket an address: 0.0.0.0:$port, [::]:$port (of tcp6) or a role's, B:$port. Port 0 is any free one.",
		"bind(s, 0.0.0.0:$port)", (*reading).bindArgs},
	{"listen", []string{"socket", "backlog"}, true, makesNone,
		"listen(2): the accept queue holds backlog + 1 connections.",
		"listen(s, 128)", (*reading).listenArgs},
	{"accept", []string{"socket"}, true, mayMake,
		"accept(2): blocks until a connection is complete, and takes it.",
		"a = accept(s) as taken", nil},
	{"connect", []string{"socket", "host:port"}, true, makesNone,
		"connect(2): blocks until the connection is there, or cannot be.",
		"connect(c, B:$port, timeout=2s) -> ok or timeout", (*reading).connectArgs},
	{"send", []string{"socket", "data"}, true, makesNone,
		"send(2): data is \"text\", bytes(1000) (zeros) or pattern(1000, seed).",
		"send(c, \"hello\") -> 5", (*reading).sendArgs},
	{"recv", []string{"socket", "size"}, true, makesNone,
		"recv(2): blocks until there are bytes, at most size, or until the peer's FIN: 0.",
		"recv(a, 4096) -> 0 or ECONNRESET as end", (*reading).recvArgs},
	{"shutdown", []string{"socket", "RD|WR|RDWR"}, true, makesNone,
		"shutdown(2): ends one direction or both; WR sends FIN.",
		"shutdown(c, WR)", (*reading).shutdownArgs},
	{"close", []string{"socket"}, true, makesNone,
		"close(2): gives the descriptor up; the last one of a connection sends FIN, or RST if bytes were not read.",
		"close(c)", nil},
	{"sleep", []string{"duration"}, false, makesNone,
		"The lane's thread sleeps.",
		"sleep(50ms)", (*reading).sleepArgs},
	{"signal", []string{"name"}, false, makesNone,
		"Tells every lane that this one got here. A lane gives each signal once.",
		"signal(listening)", (*reading).signalArgs},
	{"wait", []string{"lane.signal"}, false, makesNone,
		"Blocks until that lane gave that signal.",
		"wait(server.listening)", (*reading).waitArgs},
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
	afInet     = 2
	afInet6    = 10
	sockStream = 1
	ipprotoTCP = 6
)

func (p *reading) socketArgs(args []phrase) any {
	switch args[0].text {
	case "tcp":
		return SocketArgs{afInet, sockStream, ipprotoTCP}
	case "tcp6":
		return SocketArgs{afInet6, sockStream, ipprotoTCP}
	}
	known := []string{"tcp", "tcp6"}
	p.fault(args[0].pos(), suggest(args[0].text, "kinds", known), "unknown kind of socket %q", shorten(args[0].text))
	return nil
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
	if a.Role == "" {
		p.fault(args[0].pos(), knownNames("roles", p.roles()), "connect goes to a host of the experiment, not to %s", a.IP)
		return nil
	}
	return ConnectArgs{a}
}

func (p *reading) recvArgs(args []phrase) any {
	return RecvArgs{Size: p.number(args[0], "size", 0, MaxData)}
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

func (p *reading) sleepArgs(args []phrase) any {
	return SleepArgs{p.duration(args[0], "sleep", 0)}
}

func (p *reading) signalArgs(args []phrase) any {
	if !p.isName(args[0], "a signal") {
		return nil
	}
	return SignalArgs{args[0].text}
}

func (p *reading) waitArgs(args []phrase) any {
	lane, signal, found := args[0].cut(".")
	if !found {
		p.fault(args[0].pos(), "write `wait(lane.signal)`", "%q names no lane and signal", shorten(args[0].text))
		return nil
	}
	return WaitArgs{Lane: lane.text, Signal: signal.text}
}

// address reads "B:80", "0.0.0.0:80" or "[::]:80" with a port of at least least.
func (p *reading) address(t phrase, least int) (Address, bool) {
	const forms = "write B:$port, 0.0.0.0:$port or [::]:$port"
	i := strings.LastIndexByte(t.text, ':')
	if i <= 0 {
		p.fault(t.pos(), forms, "%q is no address with a port", shorten(t.text))
		return Address{}, false
	}
	host, port := t.slice(0, i), t.from(i+1)
	n, err := strconv.ParseUint(port.text, 10, 16)
	if err != nil || int(n) < least {
		p.fault(port.pos(), "", "a port is a number from %d to 65535, found %q", least, shorten(port.text))
		return Address{}, false
	}
	if plainName.MatchString(host.text) {
		return Address{Role: host.text, Port: uint16(n)}, p.isRole(host)
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host.text, "["), "]"))
	bracketed := strings.HasPrefix(host.text, "[") && strings.HasSuffix(host.text, "]")
	if err != nil || ip.Zone() != "" || bracketed != ip.Is6() {
		p.fault(host.pos(), forms, "%q is neither a role nor an IP address", shorten(host.text))
		return Address{}, false
	}
	return Address{IP: ip, Port: uint16(n)}, true
}

func (p *reading) sendArgs(args []phrase) any {
	data, ok := p.bytes(args[0])
	if !ok {
		return nil
	}
	return SendArgs{Data: data}
}

// bytes reads data: "text", bytes(n) or pattern(n, seed).
func (p *reading) bytes(t phrase) ([]byte, bool) {
	const forms = "write \"text\", bytes(1000) or pattern(1000, 1)"
	if strings.HasPrefix(t.text, `"`) {
		return p.text(t)
	}
	name, inner, found := t.cut("(")
	if !found || !strings.HasSuffix(inner.text, ")") {
		p.fault(t.pos(), forms, "%q is no data", shorten(t.text))
		return nil, false
	}
	args := splitCommas(inner.slice(0, len(inner.text)-1))
	switch {
	case name.text == "bytes" && len(args) == 1:
		n, ok := p.size(args[0])
		return make([]byte, n), ok
	case name.text == "pattern" && len(args) == 2:
		seed, err := strconv.ParseUint(args[1].text, 10, 64)
		if err != nil {
			p.fault(args[1].pos(), "", "a seed is a number, found %q", shorten(args[1].text))
			return nil, false
		}
		n, ok := p.size(args[0])
		return pattern(n, seed), ok
	}
	p.fault(t.pos(), forms, "%q is no data", shorten(t.text))
	return nil, false
}

// size reads a number of bytes to send, and counts them.
func (p *reading) size(t phrase) (int, bool) {
	n, err := strconv.ParseUint(t.text, 10, 31)
	if err != nil {
		p.fault(t.pos(), "", "a number of bytes is from 0 to %d, found %q", MaxData, shorten(t.text))
		return 0, false
	}
	if !p.count(int(n), t.pos()) {
		return 0, false
	}
	return int(n), true
}

// count adds to the bytes of all sends; it is not ok beyond MaxData.
func (p *reading) count(n int, at Pos) bool {
	if n > MaxData-p.data {
		p.fault(at, "", "the sends of a file hold at most %d bytes together", MaxData)
		return false
	}
	p.data += n
	return true
}

// text reads a quoted text with the escapes of Go and C: \n, \", \x00.
func (p *reading) text(t phrase) ([]byte, bool) {
	if end := textEnd(t.text, 0); end != len(t.text)-1 {
		p.fault(t.pos(), "", "%s is not one text in quotes", shorten(t.text))
		return nil, false
	}
	s, err := strconv.Unquote(t.text)
	if err != nil {
		p.fault(t.pos(), `the escapes are \n \r \t \\ \" \x00 \u0000`, "%s has an escape that is none", shorten(t.text))
		return nil, false
	}
	return []byte(s), p.count(len(s), t.pos())
}

// pattern is n bytes that anyone can make again from the seed: the outputs of
// splitmix64, low byte first.
func pattern(n int, seed uint64) []byte {
	out := make([]byte, 0, n+7)
	for len(out) < n {
		seed += 0x9e3779b97f4a7c15
		z := (seed ^ seed>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		out = binary.LittleEndian.AppendUint64(out, z^z>>31)
	}
	return out[:n]
}
