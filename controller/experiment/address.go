package experiment

import (
	"fmt"
	"net/netip"
	"strings"
)

const addressForms = "write B:$port, 0.0.0.0:$port or [::]:$port"

// address reads "B:80", "10.0.0.1:80", "[::]:80" with a port of at least least, "B" or an
// IP address alone for a raw socket, or "unix:name". Which of these the socket takes is
// looked at when it is known: see fits.
func (p *reading) address(t phrase, least int) (Address, bool) {
	if name, ok := strings.CutPrefix(t.text, "unix:"); ok {
		return Address{Unix: name}, p.isName(t.from(len("unix:")), "a Unix socket")
	}
	if host, ok := p.hostAddress(t); ok {
		host.NoPort = true
		return host, host.Role == "" || p.isRole(t)
	}
	i := strings.LastIndexByte(t.text, ':')
	if i <= 0 {
		p.fault(t.pos(), addressForms, "%q is no address with a port", shorten(t.text))
		return Address{}, false
	}
	host, port := t.slice(0, i).trim(), t.from(i+1).trim()
	n, ok := calculate(port.text)
	if !ok || n < int64(least) || n > 65535 {
		p.fault(port.pos(), "", "a port is a number from %d to 65535, found %q", least, shorten(port.text))
		return Address{}, false
	}
	bracketed := strings.HasPrefix(host.text, "[")
	a, ok := p.hostAddress(host)
	if !ok || a.IP.IsValid() && bracketed != a.IP.Is6() {
		p.fault(host.pos(), addressForms, "%q is neither a role nor an IP address", shorten(host.text))
		return Address{}, false
	}
	a.Port = uint16(n)
	return a, a.Role == "" || p.isRole(host)
}

// hostAddress reads a role or an IP address alone; the role need not be there.
func (p *reading) hostAddress(t phrase) (Address, bool) {
	if plainName.MatchString(t.text) {
		return Address{Role: t.text}, true
	}
	text := t.text
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		text = text[1 : len(text)-1]
	}
	ip, err := netip.ParseAddr(text)
	return Address{IP: ip}, err == nil && ip.Zone() == ""
}

// fits returns the address as a socket takes it, whose kind and place the life tells;
// what no kernel would take is a fault, unless the author means to see it refused.
func (p *reading) fits(s *Step, life socketLife, a Address, at Pos) Address {
	if life.kind == (SocketArgs{}) {
		return a
	}
	what := fmt.Sprintf("the socket %q of line %d", s.Socket, life.made)
	unix, raw := life.kind.Domain == afUnix, life.kind.Type == sockRaw
	switch {
	case unix && a.Unix == "":
		p.fault(at, "write unix:name", "%s is a Unix socket and takes no address of a network", what)
	case !unix && a.Unix != "":
		p.fault(at, fmt.Sprintf("write %s = socket(unix)", s.Socket), "%s is no Unix socket and cannot have the address unix:%s", what, a.Unix)
	case unix:
	case raw && !a.NoPort:
		p.fault(at, "write the host alone: B", "%s is a raw socket, and raw sockets have no ports", what)
	case !raw && a.NoPort:
		p.fault(at, addressForms, "%s names no port", addressText(a))
	case life.kind.Domain == afInet && a.IP.Is6() && s.Outcome.succeeds():
		p.fault(at, fmt.Sprintf("write %s = socket(%s6)%s", s.Socket, kindName(life.kind), unspecified(s)),
			"%s is of IPv4 and cannot have the IPv6 address %s", what, a.IP)
	}
	// The reverse is no fault: the agent maps an IPv4 address into IPv6, ipv6(7).
	a.Six = a.Role != "" && life.kind.Domain == afInet6
	return a
}

// unspecified is what to bind an IPv4 socket to instead.
func unspecified(s *Step) string {
	if s.Call == "bind" {
		return ", or 0.0.0.0"
	}
	return ""
}

func addressText(a Address) string {
	if a.Role != "" {
		return fmt.Sprintf("%q", a.Role)
	}
	return a.IP.String()
}

// fitAddress gives the address of a step to the socket that it works on.
func (p *reading) fitAddress(s *Step, life socketLife, c callText) {
	switch args := s.Args.(type) {
	case BindArgs:
		s.Args = BindArgs{p.fits(s, life, args.Address, c.args[1].pos())}
	case ConnectArgs:
		s.Args = ConnectArgs{p.fits(s, life, args.Address, c.args[1].pos())}
	case SendToArgs:
		args.Address = p.fits(s, life, args.Address, c.args[1].pos())
		s.Args = args
	case SetSockOptArgs:
		args.Peer.Six = args.Peer.Role != "" && life.kind.Domain == afInet6
		s.Args = args
	}
}
