package experiment

import (
	"math"
	"slices"
	"strings"
)

// processLimits are the resource limits of setrlimit(2), numbers of
// include/uapi/asm-generic/resource.h.
var processLimits = []bit{
	{"cpu", 0}, {"fsize", 1}, {"data", 2}, {"stack", 3}, {"core", 4}, {"rss", 5}, {"nproc", 6}, {"nofile", 7},
	{"memlock", 8}, {"as", 9}, {"locks", 10}, {"sigpending", 11}, {"msgqueue", 12}, {"nice", 13}, {"rtprio", 14},
	{"rttime", 15},
}

// resourceLimits reads `{ nofile: 32, as: 512MiB }`.
func (p *reading) resourceLimits(n *node) []Limit {
	if n.kind != mapping || len(n.entries) == 0 {
		p.fault(n.place, "write `limits: { nofile: 32 }`", "limits is a mapping of resources, found %s", n.kind.describe())
		return nil
	}
	var limits []Limit
	for _, e := range n.entries {
		i := slices.IndexFunc(processLimits, func(b bit) bool { return b.name == e.key.text })
		if i < 0 {
			p.fault(e.key.pos(), suggest(e.key.text, "resources", maskNames(processLimits)), "unknown resource %q", shorten(e.key.text))
			continue
		}
		if t, ok := p.scalar(e.value, "a limit"); ok {
			limits = append(limits, Limit{Name: e.key.text, Resource: processLimits[i].value, Value: p.resourceLimit(t)})
		}
	}
	return limits
}

// resourceLimit reads a number, one of KiB, MiB or GiB, or unlimited (RLIM_INFINITY).
func (p *reading) resourceLimit(t phrase) uint64 {
	if t.text == "unlimited" {
		return math.MaxUint64
	}
	text, shift := t.text, 0
	for i, suffix := range []string{"KiB", "MiB", "GiB"} {
		if rest, ok := strings.CutSuffix(text, suffix); ok {
			text, shift = strings.TrimSpace(rest), 10*(i+1)
		}
	}
	n, ok := calculate(text)
	if !ok || n < 0 || n > math.MaxInt64>>shift {
		p.fault(t.pos(), "write 32, 512MiB or unlimited", "a limit is a number, found %q", shorten(t.text))
		return 0
	}
	return uint64(n) << shift
}
