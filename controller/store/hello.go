package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// hello is what the node that dials says first on a connection for raft. Raft itself knows
// addresses only: a node that was wiped, or another one at its old address, would be
// given entries and asked for votes.
//
//	hello   magic "SLR1", length of the rest u16, then five texts, each its length u8 and
//	        the bytes: cluster, from, disk of from, to, disk of to
//	answer  magic "SLA1", length u16, the reason of a refusal; none: welcome
//
// Numbers are big-endian. A text that is longer than a name may be is refused.
type hello struct {
	cluster, from, fromDisk, to string
	// toDisk is the disk that the cluster knows of the node that is called; empty: none.
	toDisk string
}

const (
	// helloMagic begins every connection for raft. By its first byte package port tells it
	// from HTTP/2 where there is no TLS.
	helloMagic      = "SLR1"
	answerMagic     = "SLA1"
	maxHelloBytes   = 5 * (1 + MaxNameBytes)
	maxRefusalBytes = 1 << 10
)

var errHello = errors.New("it does not speak as a node of syncline does")

func (h hello) texts() []string { return []string{h.cluster, h.from, h.fromDisk, h.to, h.toDisk} }

func (h hello) marshal() ([]byte, error) {
	var body []byte
	for _, text := range h.texts() {
		if len(text) > MaxNameBytes {
			return nil, fmt.Errorf("%q has %d bytes, at most %d are allowed", text, len(text), MaxNameBytes)
		}
		body = append(append(body, byte(len(text))), text...)
	}
	return append(binary.BigEndian.AppendUint16([]byte(helloMagic), uint16(len(body))), body...), nil
}

func readHello(from io.Reader) (hello, error) {
	body, err := readFramed(from, helloMagic, maxHelloBytes)
	if err != nil {
		return hello{}, err
	}
	var texts [5]string
	for i := range texts {
		if len(body) == 0 || len(body)-1 < int(body[0]) || body[0] > MaxNameBytes {
			return hello{}, fmt.Errorf("%w: text %d of its hello ends early or is too long", errHello, i+1)
		}
		texts[i], body = string(body[1:1+body[0]]), body[1+body[0]:]
	}
	if len(body) > 0 {
		return hello{}, fmt.Errorf("%w: %d bytes after its hello", errHello, len(body))
	}
	return hello{cluster: texts[0], from: texts[1], fromDisk: texts[2], to: texts[3], toDisk: texts[4]}, nil
}

func writeAnswer(to io.Writer, refusal string) error {
	refusal = refusal[:min(len(refusal), maxRefusalBytes)]
	b := binary.BigEndian.AppendUint16([]byte(answerMagic), uint16(len(refusal)))
	_, err := to.Write(append(b, refusal...))
	return err
}

// readAnswer returns the reason of a refusal.
func readAnswer(from io.Reader) (refusal string, err error) {
	body, err := readFramed(from, answerMagic, maxRefusalBytes)
	return string(body), err
}

// readFramed reads a magic, a length and so many bytes, and nothing beyond them.
func readFramed(from io.Reader, magic string, limit int) ([]byte, error) {
	head := make([]byte, len(magic)+2)
	if _, err := io.ReadFull(from, head); err != nil {
		return nil, err
	}
	if string(head[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: it begins with %q, not %q", errHello, head[:len(magic)], magic)
	}
	n := int(binary.BigEndian.Uint16(head[len(magic):]))
	if n > limit {
		return nil, fmt.Errorf("%w: it announces %d bytes, at most %d are allowed", errHello, n, limit)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(from, body); err != nil {
		return nil, err
	}
	return body, nil
}
