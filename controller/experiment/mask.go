package experiment

import (
	"slices"
	"strings"
)

// bit is a named bit of a mask, or several.
type bit struct {
	name  string
	value int
}

// pollEvents are the events of poll(2), numbers of include/uapi/asm-generic/poll.h.
var pollEvents = []bit{
	{"IN", 0x1}, {"PRI", 0x2}, {"OUT", 0x4}, {"ERR", 0x8}, {"HUP", 0x10}, {"NVAL", 0x20}, {"RDHUP", 0x2000},
}

// messageFlags are the flags of send(2) and recv(2), numbers of include/linux/socket.h.
var messageFlags = []bit{
	{"MSG_OOB", 0x1}, {"MSG_PEEK", 0x2}, {"MSG_DONTROUTE", 0x4}, {"MSG_TRUNC", 0x20}, {"MSG_DONTWAIT", 0x40},
	{"MSG_EOR", 0x80}, {"MSG_WAITALL", 0x100}, {"MSG_CONFIRM", 0x800}, {"MSG_ERRQUEUE", 0x2000},
	{"MSG_NOSIGNAL", 0x4000}, {"MSG_MORE", 0x8000}, {"MSG_ZEROCOPY", 0x4000000}, {"MSG_FASTOPEN", 0x20000000},
}

func maskNames(bits []bit) []string {
	names := make([]string, len(bits))
	for i, b := range bits {
		names[i] = b.name
	}
	return names
}

// mask reads names joined by |; what is "event" or "flag".
func (p *reading) mask(t phrase, what string, bits []bit) (int, bool) {
	mask := 0
	for rest, more := t, true; more; {
		var name phrase
		name, rest, more = rest.cut("|")
		name = name.trim()
		i := slices.IndexFunc(bits, func(b bit) bool { return b.name == strings.TrimPrefix(name.text, "POLL") })
		switch {
		case i < 0:
			p.fault(name.pos(), suggest(name.text, what+"s", maskNames(bits))+"; they are joined by |", "unknown %s %q", what, shorten(name.text))
			return 0, false
		case mask&bits[i].value != 0:
			p.fault(name.pos(), "", "the %s %s is named twice", what, name.text)
			return 0, false
		}
		mask |= bits[i].value
	}
	return mask, true
}

// isEvents reports whether a word was meant as events of poll and not as an errno.
func isEvents(w string) bool {
	first, _, joined := strings.Cut(w, "|")
	return joined || slices.ContainsFunc(pollEvents, func(b bit) bool { return b.name == strings.TrimPrefix(first, "POLL") })
}

// flagsOf reads the optional flags that stand at index i of the arguments; what is
// missing is 0.
func (p *reading) flagsOf(args []phrase, i int) (int, bool) {
	if len(args) <= i {
		return 0, true
	}
	return p.mask(args[i], "flag", messageFlags)
}
