package experiment

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// option is one row of the table of socket options: its numbers are those of Linux
// (asm-generic), read turns the author's value into the bytes the kernel takes.
type option struct {
	name          string
	level, number int
	read          func(*reading, phrase) ([]byte, bool)
}

// Levels of socket options, Linux.
const (
	solSocket = 1
	solIP     = 0
	solIPv6   = 41
	solTCP    = ipprotoTCP
)

// options are those that setsockopt(s, NAME, value) knows: socket(7), ip(7), ipv6(7),
// tcp(7).
var options = []option{
	{"SO_DEBUG", solSocket, 1, (*reading).optionInt},
	{"SO_REUSEADDR", solSocket, 2, (*reading).optionInt},
	{"SO_DONTROUTE", solSocket, 5, (*reading).optionInt},
	{"SO_BROADCAST", solSocket, 6, (*reading).optionInt},
	{"SO_SNDBUF", solSocket, 7, (*reading).optionInt},
	{"SO_RCVBUF", solSocket, 8, (*reading).optionInt},
	{"SO_KEEPALIVE", solSocket, 9, (*reading).optionInt},
	{"SO_OOBINLINE", solSocket, 10, (*reading).optionInt},
	{"SO_PRIORITY", solSocket, 12, (*reading).optionInt},
	{"SO_LINGER", solSocket, 13, (*reading).optionLinger},
	{"SO_REUSEPORT", solSocket, 15, (*reading).optionInt},
	{"SO_RCVLOWAT", solSocket, 18, (*reading).optionInt},
	{"SO_RCVTIMEO", solSocket, 20, (*reading).optionTimeval},
	{"SO_SNDTIMEO", solSocket, 21, (*reading).optionTimeval},
	{"SO_SNDBUFFORCE", solSocket, 32, (*reading).optionInt},
	{"SO_RCVBUFFORCE", solSocket, 33, (*reading).optionInt},
	{"SO_MARK", solSocket, 36, (*reading).optionInt},
	{"SO_BUSY_POLL", solSocket, 46, optionTime(time.Microsecond)},
	{"SO_INCOMING_CPU", solSocket, 49, (*reading).optionInt},
	{"SO_MAX_PACING_RATE", solSocket, 47, (*reading).optionInt},
	{"SO_ZEROCOPY", solSocket, 60, (*reading).optionInt},
	{"IP_TOS", solIP, 1, (*reading).optionInt},
	{"IP_TTL", solIP, 2, (*reading).optionInt},
	{"IP_MTU_DISCOVER", solIP, 10, (*reading).optionInt},
	{"IP_RECVERR", solIP, 11, (*reading).optionInt},
	{"IP_FREEBIND", solIP, 15, (*reading).optionInt},
	{"IP_TRANSPARENT", solIP, 19, (*reading).optionInt},
	{"IP_MINTTL", solIP, 21, (*reading).optionInt},
	{"IP_BIND_ADDRESS_NO_PORT", solIP, 24, (*reading).optionInt},
	{"IP_LOCAL_PORT_RANGE", solIP, 51, (*reading).optionInt},
	{"IPV6_UNICAST_HOPS", solIPv6, 16, (*reading).optionInt},
	{"IPV6_MTU_DISCOVER", solIPv6, 23, (*reading).optionInt},
	{"IPV6_RECVERR", solIPv6, 25, (*reading).optionInt},
	{"IPV6_V6ONLY", solIPv6, 26, (*reading).optionInt},
	{"IPV6_DONTFRAG", solIPv6, 62, (*reading).optionInt},
	{"IPV6_TCLASS", solIPv6, 67, (*reading).optionInt},
	{"IPV6_MINHOPCOUNT", solIPv6, 73, (*reading).optionInt},
	{"TCP_NODELAY", solTCP, 1, (*reading).optionInt},
	{"TCP_MAXSEG", solTCP, 2, (*reading).optionInt},
	{"TCP_CORK", solTCP, 3, (*reading).optionInt},
	{"TCP_KEEPIDLE", solTCP, 4, optionTime(time.Second)},
	{"TCP_KEEPINTVL", solTCP, 5, optionTime(time.Second)},
	{"TCP_KEEPCNT", solTCP, 6, (*reading).optionInt},
	{"TCP_SYNCNT", solTCP, 7, (*reading).optionInt},
	{"TCP_LINGER2", solTCP, 8, optionTime(time.Second)},
	{"TCP_DEFER_ACCEPT", solTCP, 9, optionTime(time.Second)},
	{"TCP_WINDOW_CLAMP", solTCP, 10, (*reading).optionInt},
	{"TCP_QUICKACK", solTCP, 12, (*reading).optionInt},
	{"TCP_CONGESTION", solTCP, 13, (*reading).optionName},
	{"TCP_THIN_LINEAR_TIMEOUTS", solTCP, 16, (*reading).optionInt},
	{"TCP_USER_TIMEOUT", solTCP, 18, optionTime(time.Millisecond)},
	{"TCP_FASTOPEN", solTCP, 23, (*reading).optionInt},
	{"TCP_TIMESTAMP", solTCP, 24, (*reading).optionInt},
	{"TCP_NOTSENT_LOWAT", solTCP, 25, (*reading).optionInt},
	{"TCP_SAVE_SYN", solTCP, 27, (*reading).optionInt},
	{"TCP_FASTOPEN_CONNECT", solTCP, 30, (*reading).optionInt},
	{"TCP_FASTOPEN_NO_COOKIE", solTCP, 34, (*reading).optionInt},
	{"TCP_TX_DELAY", solTCP, 37, optionTime(time.Microsecond)},
}

func (p *reading) setSockOptArgs(args []phrase) any {
	i := slices.IndexFunc(options, func(o option) bool { return o.name == args[0].text })
	if i < 0 {
		known := make([]string, len(options))
		for i, o := range options {
			known[i] = o.name
		}
		p.fault(args[0].pos(), suggest(args[0].text, "options", known), "unknown option %q", shorten(args[0].text))
		return nil
	}
	value, ok := options[i].read(p, args[1])
	if !ok {
		return nil
	}
	return SetSockOptArgs{Level: options[i].level, Name: options[i].number, Value: value}
}

func int32Bytes(values ...int32) []byte {
	var out []byte
	for _, v := range values {
		out = binary.LittleEndian.AppendUint32(out, uint32(v))
	}
	return out
}

// optionInt reads the int that most options take; those that are switches take 0 and 1.
func (p *reading) optionInt(t phrase) ([]byte, bool) {
	n, err := strconv.ParseInt(t.text, 0, 64)
	if err != nil || n < math.MinInt32 || n > math.MaxUint32 {
		p.fault(t.pos(), "", "this option takes a number, found %q", shorten(t.text))
		return nil, false
	}
	return int32Bytes(int32(uint32(n))), true
}

// optionTime reads the options that take an int counting units: a bare number, or a
// time that is a whole number of units.
func optionTime(unit time.Duration) func(*reading, phrase) ([]byte, bool) {
	return func(p *reading, t phrase) ([]byte, bool) {
		if n, err := strconv.ParseInt(t.text, 10, 32); err == nil {
			return int32Bytes(int32(n)), true
		}
		d, err := time.ParseDuration(t.text)
		if err != nil || d < 0 || d%unit != 0 || d/unit > math.MaxInt32 {
			p.fault(t.pos(), "", "this option takes a whole number of %v, found %q", unit, shorten(t.text))
			return nil, false
		}
		return int32Bytes(int32(d / unit)), true
	}
}

// optionTimeval reads a time into struct timeval, socket(7) SO_RCVTIMEO.
func (p *reading) optionTimeval(t phrase) ([]byte, bool) {
	faults := len(p.faults)
	d := p.duration(t, "this option", 0)
	out := binary.LittleEndian.AppendUint64(nil, uint64(d/time.Second))
	return binary.LittleEndian.AppendUint64(out, uint64(d%time.Second/time.Microsecond)), len(p.faults) == faults
}

// optionLinger reads {onoff, seconds} into struct linger, socket(7) SO_LINGER.
func (p *reading) optionLinger(t phrase) ([]byte, bool) {
	inner, braced := strings.CutPrefix(t.text, "{")
	inner, closed := strings.CutSuffix(inner, "}")
	onoff, seconds, found := strings.Cut(inner, ",")
	on, err := strconv.ParseInt(strings.TrimSpace(onoff), 10, 32)
	after, err2 := strconv.ParseInt(strings.TrimSpace(seconds), 10, 32)
	if !braced || !closed || !found || err != nil || err2 != nil {
		p.fault(t.pos(), "write {1, 0}: on, and seconds to linger", "this option takes {onoff, seconds}, found %q", shorten(t.text))
		return nil, false
	}
	return int32Bytes(int32(on), int32(after)), true
}

// optionName reads the name of a congestion control, tcp(7) TCP_CONGESTION, of at
// most TCP_CA_NAME_MAX - 1 bytes.
func (p *reading) optionName(t phrase) ([]byte, bool) {
	if len(t.text) > 15 || !plainName.MatchString(t.text) {
		p.fault(t.pos(), "write a name without quotes: cubic", "this option takes a name, found %q", shorten(t.text))
		return nil, false
	}
	return []byte(t.text), true
}
