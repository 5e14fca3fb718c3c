package chunk

import (
	"encoding/binary"
	"fmt"
)

// column names one column of the body. The order is the format: a column is found
// by its place alone.
type column int

const (
	colKind column = iota
	colNumber
	colRepetition
	colUnknown
	colText
	colBlobs

	colCallLane
	colCallStep
	colCallEntry
	colCallDuration
	colCallName
	colCallSocket
	colCallMakes
	colCallLabel
	colCallArguments
	colCallThread
	colCallFD
	colCallResult
	colCallErrno
	colCallEndedBy
	colCallAddress
	colCallAddressPort
	colCallByLab
	colCallFailure

	colPacketTime
	colPacketRealtime
	colPacketError
	colPacketFlow
	colPacketAddress
	colPacketPort
	colPacketFlags
	colPacketInterface
	colPacketDirection
	colPacketWireLength
	colPacketSegments
	colPacketTTL
	colPacketIPID
	colPacketTrafficClass
	colPacketDontFragment
	colPacketSequence
	colPacketAck
	colPacketWindow
	colPacketUrgent
	colPacketOptions
	colPacketTSVal
	colPacketTSEcr
	colPacketPayloadLength
	colPacketCaptured
	colPacketPayload

	colFactTime
	colFactText
	colFactValue

	numColumns
)

// columnNames are for errors and for DESIGN.md.
var columnNames = [numColumns]string{
	"kind", "number", "repetition", "unknown", "text", "blobs",
	"call.lane", "call.step", "call.entry", "call.duration", "call.name", "call.socket", "call.makes",
	"call.label", "call.arguments", "call.thread", "call.fd", "call.result", "call.errno", "call.ended_by",
	"call.address", "call.address_port", "call.by_lab", "call.failure",
	"packet.time", "packet.realtime", "packet.error", "packet.flow", "packet.address", "packet.port",
	"packet.flags", "packet.interface", "packet.direction", "packet.wire_length", "packet.segments",
	"packet.ttl", "packet.ip_id", "packet.traffic_class", "packet.dont_fragment", "packet.sequence",
	"packet.ack", "packet.window", "packet.urgent", "packet.options", "packet.ts_val", "packet.ts_ecr",
	"packet.payload_length", "packet.captured", "packet.payload",
	"fact.time", "fact.text", "fact.value",
}

// String is the column's name.
func (c column) String() string { return columnNames[c] }

// dense columns hold a varint an entry. All others hold runs: the number of zeros
// that come first, then one entry that is not zero, and so on, since nearly every
// entry of theirs is what was predicted.
var dense = [numColumns]bool{
	colKind: true, colText: true, colBlobs: true,
	colCallLane: true, colCallEntry: true, colCallDuration: true, colCallAddressPort: true,
	colPacketTime: true, colPacketFlow: true, colPacketAddress: true, colPacketPort: true,
	colPacketFlags: true, colPacketPayload: true,
	colFactTime: true, colFactText: true, colFactValue: true,
}

// writer is a column that grows.
type writer struct {
	buf   []byte
	zeros uint64
}

// put appends v and returns by how much the column grew.
func (w *writer) put(v uint64, dense bool) int {
	before := len(w.buf)
	if !dense {
		if v == 0 {
			w.zeros++
			return 0
		}
		w.buf = binary.AppendUvarint(w.buf, w.zeros)
		w.zeros = 0
	}
	w.buf = binary.AppendUvarint(w.buf, v)
	return len(w.buf) - before
}

// close writes the last run of zeros.
func (w *writer) close() []byte {
	if w.zeros > 0 {
		w.buf = binary.AppendUvarint(w.buf, w.zeros)
		w.zeros = 0
	}
	return w.buf
}

// reader is a column that is consumed.
type reader struct {
	buf    []byte
	zeros  uint64
	opened bool
}

// get returns the next entry; ok is false where the column ends or a varint is not
// one.
func (r *reader) get(dense bool) (v uint64, ok bool) {
	if dense {
		return r.uvarint()
	}
	if !r.opened {
		if r.zeros, ok = r.uvarint(); !ok {
			return 0, false
		}
		r.opened = true
	}
	if r.zeros > 0 {
		r.zeros--
		return 0, true
	}
	r.opened = false
	v, ok = r.uvarint()
	return v, ok && v != 0
}

func (r *reader) uvarint() (uint64, bool) {
	v, n := binary.Uvarint(r.buf)
	if n <= 0 {
		return 0, false
	}
	r.buf = r.buf[n:]
	return v, true
}

// bytes returns the next n bytes, without copying them.
func (r *reader) bytes(n uint64) ([]byte, bool) {
	if n > uint64(len(r.buf)) {
		return nil, false
	}
	b := r.buf[:n:n]
	r.buf = r.buf[n:]
	return b, true
}

// rest reports if anything is left unread.
func (r *reader) rest() bool { return len(r.buf) > 0 || r.zeros > 0 }

// split cuts a body into its event count and its columns.
func split(body []byte, columns *[numColumns]reader) (int, error) {
	all := reader{buf: body}
	n, ok := all.uvarint()
	if !ok || n > MaxEvents {
		return 0, fmt.Errorf("%w: it claims %d events, and the limit is %d", ErrDamaged, n, MaxEvents)
	}
	for i := range columns {
		size, ok := all.uvarint()
		if !ok {
			return 0, fmt.Errorf("%w: it ends before column %v", ErrDamaged, column(i))
		}
		if columns[i].buf, ok = all.bytes(size); !ok {
			return 0, fmt.Errorf("%w: column %v claims %d bytes, and %d are left", ErrDamaged, column(i), size, len(all.buf))
		}
	}
	if all.rest() {
		return 0, fmt.Errorf("%w: %d bytes after the last column", ErrDamaged, len(all.buf))
	}
	// Every event has an entry in the dense column of kinds.
	if n > uint64(len(columns[colKind].buf)) {
		return 0, fmt.Errorf("%w: it claims %d events and has the kinds of fewer", ErrDamaged, n)
	}
	return int(n), nil
}

// join is the inverse of split.
func join(n int, columns *[numColumns]writer) []byte {
	size := slack
	for i := range columns {
		size += len(columns[i].buf)
	}
	body := binary.AppendUvarint(make([]byte, 0, size), uint64(n))
	for i := range columns {
		col := columns[i].close()
		body = binary.AppendUvarint(body, uint64(len(col)))
		body = append(body, col...)
	}
	return body
}
