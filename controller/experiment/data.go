package experiment

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
)

const dataForms = "write \"text\", bytes(1000), pattern(1000, 1) or hex(0a1b)"

// isData reports whether a word was meant as data and not as a name.
func isData(w string) bool {
	name, _, found := strings.Cut(w, "(")
	return strings.HasPrefix(w, `"`) || found && (name == "bytes" || name == "pattern" || name == "hex")
}

// bytes reads data: "text", bytes(n), pattern(n, seed) or hex(digits).
func (p *reading) bytes(t phrase) ([]byte, bool) {
	if strings.HasPrefix(t.text, `"`) {
		return p.text(t)
	}
	name, inner, found := t.cut("(")
	if !found || !strings.HasSuffix(inner.text, ")") {
		p.fault(t.pos(), dataForms, "%q is no data", shorten(t.text))
		return nil, false
	}
	inner = inner.slice(0, len(inner.text)-1)
	args := splitCommas(inner)
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
	case name.text == "hex" && len(args) == 1:
		out, err := hex.DecodeString(strings.ReplaceAll(inner.text, " ", ""))
		if err != nil {
			p.fault(inner.pos(), "two digits make a byte: hex(0a1b)", "%q is not hexadecimal", shorten(inner.text))
			return nil, false
		}
		return out, p.count(len(out), t.pos())
	}
	p.fault(t.pos(), dataForms, "%q is no data", shorten(t.text))
	return nil, false
}

// size reads a number of bytes, and counts them.
func (p *reading) size(t phrase) (int, bool) {
	n, ok := calculate(t.text)
	if !ok || n < 0 {
		p.fault(t.pos(), "", "a number of bytes is from 0 to %d, found %q", MaxData, shorten(t.text))
		return 0, false
	}
	if !p.count(int(min(n, MaxData+1)), t.pos()) {
		return 0, false
	}
	return int(n), true
}

// count adds to the bytes of all data as it is written in the file; it is not ok beyond
// MaxData.
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
