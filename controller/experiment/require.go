package experiment

import (
	"strings"
)

// requireForms are all that a host can be asked for before a run starts.
var requireForms = []struct{ form, doc string }{
	{"nothing listens on tcp/$port", "No socket of the host listens on that port; udp/ too."},
	{"kernel >= 6.1", "The release of its kernel is in that range: <, <=, =, >=, >."},
	{"sysctl net.ipv4.tcp_fastopen", "The kernel has that sysctl; `sysctl net.ipv4.ip_forward = 1` asks for the value too."},
	{"socket mptcp", "Such a socket can be made."},
}

// require reads what must hold on a host, one or a list.
func (p *reading) require(host string, n *node) {
	for _, t := range p.texts(n, "require", (*reading).scalar) {
		if p.changed++; p.changed > MaxChanges {
			if p.changed == MaxChanges+1 {
				p.fault(t.pos(), "", "more than %d changes and requirements", MaxChanges)
			}
			return
		}
		if r, ok := p.requirement(t); ok {
			r.Host, r.Text, r.Pos = host, strings.Join(strings.Fields(t.text), " "), t.pos()
			p.exp.Require = append(p.exp.Require, r)
		}
	}
}

func (p *reading) requirement(t phrase) (Requirement, bool) {
	word, rest, _ := t.trim().cut(" ")
	rest = rest.trim()
	switch word.text {
	case "nothing":
		return p.portFree(rest)
	case "kernel":
		k, ok := p.kernelRange(rest)
		return Requirement{Kernel: &k}, ok
	case "sysctl":
		return p.sysctlIs(rest)
	case "socket":
		kind, ok := p.socketKind(rest)
		return Requirement{Socket: &kind}, ok
	}
	var forms []string
	for _, f := range requireForms {
		forms = append(forms, f.form)
	}
	p.fault(t.pos(), knownNames("requirements", forms), "%q is nothing that can be required", shorten(t.text))
	return Requirement{}, false
}

// portFree reads `listens on tcp/80`.
func (p *reading) portFree(t phrase) (Requirement, bool) {
	const form = "write `nothing listens on tcp/80`"
	words := t.fields()
	if len(words) != 3 || words[0].text != "listens" || words[1].text != "on" {
		p.fault(t.pos(), form, "%q is not understood", shorten(t.text))
		return Requirement{}, false
	}
	protocol, port, found := words[2].cut("/")
	number := firewallProtocols[protocol.text]
	if !found || number != ipprotoTCP && number != ipprotoUDP {
		p.fault(words[2].pos(), form, "%q is no port of tcp or udp", shorten(words[2].text))
		return Requirement{}, false
	}
	before := len(p.faults)
	free := &PortFree{Protocol: number, Port: uint16(p.number(port, "a port", 1, 65535))}
	return Requirement{PortFree: free}, len(p.faults) == before
}

// sysctlIs reads `net.ipv4.tcp_fastopen` or `net.ipv4.tcp_fastopen = 1`.
func (p *reading) sysctlIs(t phrase) (Requirement, bool) {
	name, value, asked := t.cut("=")
	text, ok := p.sysctlName(name.trim())
	if !ok {
		return Requirement{}, false
	}
	value = value.trim()
	if asked && !p.sysctlValue(value) {
		return Requirement{}, false
	}
	return Requirement{Sysctl: &SysctlIs{Name: text, Value: value.text}}, true
}
