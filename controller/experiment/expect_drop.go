package experiment

import "regexp"

// dropReason is what the kernel's names of reasons look like (enum skb_drop_reason of
// Linux, without its prefix). Kernels differ in which they have.
var dropReason = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`)

func (p *reading) drop(n *node) {
	values, ok := p.fields(n, "drop", []string{"of"}, "host", "reason", "equals", "at_least", "at_most")
	if !ok {
		return
	}
	before := len(p.faults)
	out := &DropExpectation{}
	if t, ok := p.scalar(values["of"], "of"); ok {
		if out.Packet, ok = p.selector(t); ok && out.Packet.Third {
			p.fault(t.pos(), "name it by its flags: `of: A>B ACK`", "which ACK is the third is told from the packets that were not dropped")
		}
	}
	if v := values["host"]; v != nil {
		if t, ok := p.scalar(v, "host"); ok && p.isRole(t) {
			out.Host = t.text
		}
	}
	if v := values["reason"]; v != nil {
		if t, ok := p.scalar(v, "reason"); ok {
			if out.Reason = t.text; !dropReason.MatchString(t.text) {
				p.fault(t.pos(), "write it as the kernel does, as in NETFILTER_DROP", "%q is no reason of a drop", shorten(t.text))
			}
		}
	}
	if out.Bounds = p.bounds(values); out.Bounds == (Bounds{}) {
		least := int64(1)
		out.Bounds.AtLeast = &least
	}
	if len(p.faults) == before {
		p.needs(dropSource, n.place)
		p.add("drop", n, Expectation{Drop: out})
	}
}
