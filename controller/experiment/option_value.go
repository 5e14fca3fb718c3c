package experiment

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file turns the value of a socket option, as an author writes it, into the bytes
// that the kernel takes on a 64-bit little-endian machine.

func int32Bytes(values ...int32) []byte {
	var out []byte
	for _, v := range values {
		out = binary.LittleEndian.AppendUint32(out, uint32(v))
	}
	return out
}

// optionInt reads the int that most options take; those that are switches take 0 and 1.
func (p *reading) optionInt(t phrase) ([]byte, bool) {
	n, ok := calculate(t.text)
	if !ok {
		var err error
		n, err = strconv.ParseInt(t.text, 0, 64) // 0x10
		ok = err == nil
	}
	if !ok || n < math.MinInt32 || n > math.MaxUint32 {
		p.fault(t.pos(), "", "this option takes a number, found %q", shorten(t.text))
		return nil, false
	}
	return int32Bytes(int32(uint32(n))), true
}

// optionPMTU reads the modes of path MTU discovery, ip(7) IP_MTU_DISCOVER.
func (p *reading) optionPMTU(t phrase) ([]byte, bool) {
	modes := []string{"DONT", "WANT", "DO", "PROBE", "INTERFACE", "OMIT"}
	name := strings.TrimPrefix(strings.TrimPrefix(t.text, "IPV6_PMTUDISC_"), "IP_PMTUDISC_")
	if i := slices.Index(modes, name); i >= 0 {
		return int32Bytes(int32(i)), true
	}
	if !isArithmetic(t.text) {
		p.fault(t.pos(), suggest(t.text, "modes", modes), "unknown mode of path MTU discovery %q", shorten(t.text))
		return nil, false
	}
	return p.optionInt(t)
}

// optionTime reads the options that take an int counting units: a bare number, or a
// time that is a whole number of units.
func optionTime(unit time.Duration) func(*reading, phrase) ([]byte, bool) {
	return func(p *reading, t phrase) ([]byte, bool) {
		if n, ok := calculate(t.text); ok && n >= math.MinInt32 && n <= math.MaxInt32 {
			return int32Bytes(int32(n)), true
		}
		n, ok := p.units(t, unit)
		return int32Bytes(n), ok
	}
}

// units reads a time as a whole number of units.
func (p *reading) units(t phrase, unit time.Duration) (int32, bool) {
	d, err := time.ParseDuration(t.text)
	if err != nil || d < 0 || d%unit != 0 || d/unit > math.MaxInt32 {
		p.fault(t.pos(), "", "this option takes a whole number of %v, found %q", unit, shorten(t.text))
		return 0, false
	}
	return int32(d / unit), true
}

// optionTimeval reads a time into struct timeval, socket(7) SO_RCVTIMEO.
func (p *reading) optionTimeval(t phrase) ([]byte, bool) {
	faults := len(p.faults)
	d := p.duration(t, "this option", 0)
	out := binary.LittleEndian.AppendUint64(nil, uint64(d/time.Second))
	return binary.LittleEndian.AppendUint64(out, uint64(d%time.Second/time.Microsecond)), len(p.faults) == faults
}

// members are the parts of {a, b}; a value without braces is one part.
func members(t phrase) []phrase {
	if strings.HasPrefix(t.text, "{") && strings.HasSuffix(t.text, "}") {
		return splitCommas(t.slice(1, len(t.text)-1))
	}
	return []phrase{t}
}

// optionPair reads two ints: {onoff, seconds} of struct linger, socket(7) SO_LINGER.
func (p *reading) optionPair(t phrase) ([]byte, bool) {
	var values []int32
	for _, m := range members(t) {
		if n, ok := calculate(m.text); ok && n >= math.MinInt32 && n <= math.MaxInt32 {
			values = append(values, int32(n))
		}
	}
	if len(values) != 2 || len(members(t)) != 2 {
		p.fault(t.pos(), "write {1, 0}: for SO_LINGER on, and seconds to linger", "this option takes two numbers, found %q", shorten(t.text))
		return nil, false
	}
	return int32Bytes(values...), true
}

// optionPortRange reads {low, high}, ip(7) IP_LOCAL_PORT_RANGE, or the number that both
// make; a 0 leaves that end as it is.
func (p *reading) optionPortRange(t phrase) ([]byte, bool) {
	parts := members(t)
	if len(parts) == 1 {
		return p.optionInt(t)
	}
	low, ok1 := calculate(parts[0].text)
	high, ok2 := calculate(parts[1].text)
	if !ok1 || !ok2 || len(parts) != 2 || min(low, high) < 0 || max(low, high) > 65535 {
		p.fault(t.pos(), "write {40000, 40010}", "this option takes {lowest port, highest port}, found %q", shorten(t.text))
		return nil, false
	}
	return int32Bytes(int32(uint32(high<<16 | low))), true
}

// optionName reads the name of a congestion control, tcp(7) TCP_CONGESTION, of at
// most TCP_CA_NAME_MAX - 1 bytes.
func (p *reading) optionName(t phrase) ([]byte, bool) {
	if len(t.text) > 15 || !plainName.MatchString(t.text) {
		p.fault(t.pos(), "write a name without quotes: cubic", "this option takes a name, found %s", shorten(t.text))
		return nil, false
	}
	return []byte(t.text), true
}

var interfaceName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,15}$`)

// optionDevice reads the name of an interface, socket(7) SO_BINDTODEVICE; "" takes the
// socket off it.
func (p *reading) optionDevice(t phrase) ([]byte, bool) {
	if t.text == `""` {
		return []byte{0}, true
	}
	if !interfaceName.MatchString(t.text) {
		p.fault(t.pos(), `write a name without quotes: eth0, or ""`, "this option takes the name of an interface, found %s", shorten(t.text))
		return nil, false
	}
	return []byte(t.text), true
}

// optionBytes reads the bytes of a value that has no form of its own.
func (p *reading) optionBytes(t phrase) ([]byte, bool) {
	if !isData(t.text) {
		p.fault(t.pos(), "write hex(0a1b)", "this option takes bytes, found %q", shorten(t.text))
		return nil, false
	}
	return p.bytes(t)
}

// optionAddresses reads one IPv4 address or several: struct in_addr, ip_mreq and
// ip_mreq_source of ip(7).
func optionAddresses(least, most int) func(*reading, phrase) ([]byte, bool) {
	return func(p *reading, t phrase) ([]byte, bool) {
		var out []byte
		parts := members(t)
		for _, m := range parts {
			if ip, err := netip.ParseAddr(m.text); err == nil && ip.Is4() {
				out = append(out, ip.AsSlice()...)
			}
		}
		if len(parts) < least || len(parts) > most || len(out) != 4*len(parts) {
			p.fault(t.pos(), "", "this option takes %s of IPv4 in braces, found %q", plural(least, "address"), shorten(t.text))
			return nil, false
		}
		return out, true
	}
}

// optionAddress6 reads {address, index of the interface}: struct ipv6_mreq and
// in6_pktinfo of ipv6(7).
func (p *reading) optionAddress6(t phrase) ([]byte, bool) {
	parts := members(t)
	if len(parts) == 2 {
		ip, err := netip.ParseAddr(parts[0].text)
		index, ok := calculate(parts[1].text)
		if err == nil && ip.Is6() && ip.Zone() == "" && ok && index >= 0 && index <= math.MaxInt32 {
			return append(ip.AsSlice(), int32Bytes(int32(index))...), true
		}
	}
	p.fault(t.pos(), "write {ff02::fb, 0}", "this option takes {IPv6 address, index of an interface}, found %q", shorten(t.text))
	return nil, false
}

// struct tcp_md5sig of include/uapi/linux/tcp.h: a sockaddr_storage of 128 bytes, then
// flags, prefix length, key length, interface index, and 80 bytes of key.
const (
	md5Size    = 216
	md5Flags   = 128
	md5Prefix  = 129
	md5Length  = 130
	md5Key     = 136
	md5KeyMost = 80
	// md5FlagPrefix is TCP_MD5SIG_FLAG_PREFIX.
	md5FlagPrefix = 1
)

// optionSignature reads {HOST, "key"}, tcp(7) TCP_MD5SIG; an empty key takes it back.
func (p *reading) optionSignature(t phrase) ([]byte, bool) {
	parts := members(t)
	if len(parts) != 2 || !isData(parts[1].text) {
		p.fault(t.pos(), "", `this option takes {HOST, "key"}, found %s`, shorten(t.text))
		return nil, false
	}
	return p.md5(parts[1], 0, 0)
}

// optionSignatureExt reads {HOST, prefix, "key"}: the key of all addresses that begin
// as the host's does.
func (p *reading) optionSignatureExt(t phrase) ([]byte, bool) {
	parts := members(t)
	if len(parts) != 3 || !isData(parts[2].text) {
		p.fault(t.pos(), "", `this option takes {HOST, prefix, "key"}, found %s`, shorten(t.text))
		return nil, false
	}
	prefix, ok := calculate(parts[1].text)
	if !ok || prefix < 0 || prefix > 128 {
		p.fault(parts[1].pos(), "", "the length of a prefix is from 0 to 128, found %q", shorten(parts[1].text))
		return nil, false
	}
	return p.md5(parts[2], md5FlagPrefix, byte(prefix))
}

// md5 is a struct tcp_md5sig whose address is left zero: it is that of the peer, which
// is known when the experiment is bound to agents.
func (p *reading) md5(t phrase, flags, prefix byte) ([]byte, bool) {
	key, ok := p.bytes(t)
	if !ok {
		return nil, false
	}
	if len(key) > md5KeyMost {
		p.fault(t.pos(), "", "a key has at most %d bytes, this one has %d", md5KeyMost, len(key))
		return nil, false
	}
	out := make([]byte, md5Size)
	out[md5Flags], out[md5Prefix] = flags, prefix
	binary.LittleEndian.PutUint16(out[md5Length:], uint16(len(key)))
	copy(out[md5Key:], key)
	return out, true
}

// signaturePeer is the host that stands first in the value of such an option.
func (p *reading) signaturePeer(t phrase) (Address, bool) {
	peer := members(t)[0]
	a, ok := p.hostAddress(peer)
	if !ok {
		p.fault(peer.pos(), knownNames("roles", p.roles()), "%q is neither a role nor an IP address", shorten(peer.text))
		return a, false
	}
	a.NoPort = true
	return a, a.Role == "" || p.isRole(peer)
}

func plural(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "s"):
		return fmt.Sprintf("%d %ses", n, what)
	}
	return fmt.Sprintf("%d %ss", n, what)
}
