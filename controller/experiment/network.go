package experiment

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const routeForm = "write `unreachable A`, `A mtu 1000` or `10.9.0.0/24 via A`"

// routeKinds are the kinds of rtnetlink(7) that a route can begin with.
var routeKinds = []string{"unreachable", "blackhole", "prohibit"}

// route reads one route: a kind or nothing, where it leads, and what it says more.
func (p *reading) route(t phrase) (Change, bool) {
	before := len(p.faults)
	words := t.fields()
	r := &RouteChange{Kind: "unicast"}
	if len(words) > 0 && slices.Contains(routeKinds, words[0].text) {
		r.Kind, words = words[0].text, words[1:]
	}
	if len(words) == 0 {
		p.fault(t.end(), routeForm, "the route does not say where it leads")
		return Change{}, false
	}
	p.routeTo(words[0], r)
	if r.Kind == "unicast" && len(words) == 1 && len(p.faults) == before {
		p.fault(t.pos(), routeForm, "the route to %s says nothing of it", shorten(t.text))
	}
	if r.Kind != "unicast" && len(words) > 1 {
		p.fault(words[1].pos(), "", "nothing follows the destination of %s", r.Kind)
	}
	seen := make(map[string]bool)
	for i := 1; i < len(words) && len(p.faults) == before; i += 2 {
		key := words[i]
		if i+1 == len(words) {
			p.fault(key.end(), routeForm, "a value is missing after %q", shorten(key.text))
			break
		}
		if seen[key.text] {
			p.fault(key.pos(), "", "%q stands there twice", shorten(key.text))
		}
		seen[key.text] = true
		p.routeValue(key, words[i+1], r)
	}
	return Change{Route: r}, len(p.faults) == before
}

// routeTo reads a role, a prefix or an address.
func (p *reading) routeTo(t phrase, r *RouteChange) {
	if prefix, err := netip.ParsePrefix(t.text); err == nil {
		r.Prefix = prefix.Masked()
		return
	}
	a, ok := p.hostAddress(t)
	switch {
	case !ok:
		p.fault(t.pos(), routeForm, "%q is neither a role nor a prefix", shorten(t.text))
	case a.Role != "":
		p.isRole(t)
		r.To = Address{Role: a.Role, NoPort: true}
	default:
		r.Prefix = netip.PrefixFrom(a.IP, a.IP.BitLen())
	}
}

// routeValue reads what a route says: a gateway or a metric.
func (p *reading) routeValue(key, value phrase, r *RouteChange) {
	switch key.text {
	case "via":
		a, ok := p.hostAddress(value)
		if !ok {
			p.fault(value.pos(), knownNames("roles", p.roles()), "%q is neither a role nor an IP address", shorten(value.text))
			return
		}
		if a.Role != "" {
			p.isRole(value)
		}
		a.NoPort, a.Six = true, a.Role != "" && r.Prefix.IsValid() && r.Prefix.Addr().Is6()
		r.Gateway = a
	case "mtu":
		r.MTU = p.number(value, "mtu", 68, 65535)
	case "advmss":
		r.AdvMSS = p.number(value, "advmss", 1, 65535)
	case "initcwnd":
		r.InitCwnd = p.number(value, "initcwnd", 1, 65535)
	case "rto_min":
		r.RTOMin = p.duration(value, "rto_min", time.Millisecond)
		if r.RTOMin%time.Millisecond != 0 {
			p.fault(value.pos(), "", "rto_min counts whole milliseconds, found %q", shorten(value.text))
		}
	default:
		known := []string{"via", "mtu", "advmss", "initcwnd", "rto_min"}
		p.fault(key.pos(), suggest(key.text, "words", known), "%q is not understood in a route", shorten(key.text))
	}
}

// neighbour reads flush, flush A or nowhere A.
func (p *reading) neighbour(t phrase) (Change, bool) {
	words := t.fields()
	known := []string{"flush", "nowhere"}
	if len(words) == 0 || !slices.Contains(known, words[0].text) {
		p.fault(t.pos(), "write `flush`, `flush A` or `nowhere A`", "%q is not understood", shorten(t.text))
		return Change{}, false
	}
	change := &NeighbourChange{Nowhere: words[0].text == "nowhere"}
	switch {
	case len(words) > 2:
		p.fault(words[2].pos(), "", "%q is not understood", shorten(words[2].text))
		return Change{}, false
	case len(words) == 1 && change.Nowhere:
		p.fault(t.end(), "write `nowhere A`", "nowhere does not say which neighbour")
		return Change{}, false
	case len(words) == 2:
		a, ok := p.hostAddress(words[1])
		if !ok {
			p.fault(words[1].pos(), knownNames("roles", p.roles()), "%q is neither a role nor an IP address", shorten(words[1].text))
			return Change{}, false
		}
		if a.Role != "" && !p.isRole(words[1]) {
			return Change{}, false
		}
		a.NoPort = true
		change.Of = a
	}
	return Change{Neighbour: change}, true
}

// link reads `down` or `{ mtu: 1000, rate: 1mbit, offload: off, state: down }`.
func (p *reading) link(n *node) []Change {
	change := &LinkChange{}
	text := "link: down"
	before := len(p.faults)
	if n.kind == scalar {
		if t, ok := p.scalar(n, "link"); ok && t.text != "down" {
			p.fault(t.pos(), "write `link: down` or `link: { mtu: 1000 }`", "%q is not understood", shorten(t.text))
		}
		change.Down = true
	} else {
		text = p.linkKeys(n, change)
	}
	if len(p.faults) > before {
		return nil
	}
	return []Change{{Text: text, Pos: n.place, Link: change}}
}

// linkKeys reads the mapping and returns its text on one line.
func (p *reading) linkKeys(n *node, change *LinkChange) string {
	values := p.keys(n, "key", []string{"mtu", "rate", "offload", "state"})
	if len(values) == 0 {
		p.fault(n.place, "write `link: { mtu: 1000 }`", "the link is not changed")
	}
	var words []string
	for _, e := range n.entries {
		if values[e.key.text] == nil {
			continue
		}
		t, ok := p.scalar(e.value, e.key.text)
		if !ok {
			continue
		}
		words = append(words, e.key.text+" "+t.text)
		switch e.key.text {
		case "mtu":
			change.MTU = p.number(t, "mtu", 68, 65535)
		case "rate":
			change.Rate = p.rate(t)
		case "offload":
			change.NoOffload = true
			if t.text != "off" {
				p.fault(t.pos(), "write `offload: off`, or leave it away", "unknown offload %q", shorten(t.text))
			}
		case "state":
			change.Down = true
			if t.text != "down" {
				p.fault(t.pos(), "write `state: down`, or leave it away", "unknown state %q", shorten(t.text))
			}
		}
	}
	return "link: " + strings.Join(words, ", ")
}

// rate reads bits a second: 1mbit, 56kbit, 300bit.
func (p *reading) rate(t phrase) int64 {
	for _, unit := range []struct {
		name string
		bits int64
	}{{"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}, {"bit", 1}} {
		number, found := strings.CutSuffix(t.text, unit.name)
		if !found {
			continue
		}
		if n, ok := calculate(number); ok && n >= 1 && n <= 1e12/unit.bits && n*unit.bits >= 1e3 {
			return n * unit.bits
		}
		break
	}
	p.fault(t.pos(), "write 1mbit, 56kbit or 100gbit", "a rate is from 1kbit to 1000gbit, found %q", shorten(t.text))
	return 0
}

// addressChange reads `add 10.9.9.9/24` or `remove B`.
func (p *reading) addressChange(host string, t phrase) (Change, bool) {
	words := t.fields()
	if len(words) != 2 || words[0].text != "add" && words[0].text != "remove" {
		p.fault(t.pos(), "write `add 10.9.9.9/24` or `remove B`", "%q is not understood", shorten(t.text))
		return Change{}, false
	}
	of := words[1]
	change := &AddressChange{Remove: words[0].text == "remove"}
	if prefix, err := netip.ParsePrefix(of.text); err == nil {
		change.Prefix = prefix
		return Change{Address: change}, true
	}
	a, ok := p.hostAddress(of)
	switch {
	case !ok:
		p.fault(of.pos(), "write 10.9.9.9/24", "%q is no address with a prefix", shorten(of.text))
		return Change{}, false
	case a.Role == "":
		change.Prefix = netip.PrefixFrom(a.IP, a.IP.BitLen())
	case !p.isRole(of):
		return Change{}, false
	case !change.Remove:
		p.fault(of.pos(), "write 10.9.9.9/24", "the address of a role is there; one that is added is written out")
		return Change{}, false
	case a.Role != host && host != "":
		p.fault(of.pos(), fmt.Sprintf("write `remove %s`", host), "the address of %s is not one of %s", a.Role, host)
		return Change{}, false
	default:
		change.Of = Address{Role: a.Role, NoPort: true}
	}
	return Change{Address: change}, true
}
