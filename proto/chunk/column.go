package chunk

import (
	"encoding/binary"
	"fmt"
)

// column names one column of the body. The order is the format: a column is found
// by its place alone. A version adds its columns behind those of the one before.
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
	colAddress
	colAddressPort
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

	numColumns1
)

// The columns that version 2 adds.
const (
	colCallData column = iota + numColumns1
	colCallShown
	colCallProcess
	colPacketProtocol
	colPacketMessage
	colPacketMessageField

	numColumns2
)

// The columns that version 3 adds.
const (
	colInfoLength column = iota + numColumns2
	colInfoSame
	colInfoWord
	colInfoLong

	colTraceTime
	colTraceSocket
	colTraceCookie
	colTraceKind
	colTraceOldState
	colTraceState
	colTraceErrno
	colTraceReason
	colTraceSequence
	colTraceAck
	colTraceFlags
	colTraceLength
	colTraceProtocol
	colTracePlace

	numColumns3
)

// The column that version 4 adds.
const (
	colTraceDirection column = iota + numColumns3

	numColumns4
)

// The columns that version 5 adds.
const (
	colProbeTime column = iota + numColumns4
	colProbePeer
	colProbePath
	colProbeDirection
	colProbeReply
	colProbeExchange
	colProbeOrigin
	colProbeRealtime
	colProbeError
	colSampleRaw
	colSampleRawError
	colSampleSteady
	colStepChange
	colStepRate
	colStepRateBefore

	numColumns
)

// columnsOf is how many columns a body of a version has.
func columnsOf(version byte) column {
	switch version {
	case 1:
		return numColumns1
	case 2:
		return numColumns2
	case 3:
		return numColumns3
	case 4:
		return numColumns4
	}
	return numColumns
}

// columnNames are for errors and for DESIGN.md.
var columnNames = [numColumns]string{
	"kind", "number", "repetition", "unknown", "text", "blobs",
	"call.lane", "call.step", "call.entry", "call.duration", "call.name", "call.socket", "call.makes",
	"call.label", "call.arguments", "call.thread", "call.fd", "call.result", "call.errno", "call.ended_by",
	"address", "address_port", "call.by_lab", "call.failure",
	"packet.time", "packet.realtime", "packet.error", "packet.flow", "packet.address", "packet.port",
	"packet.flags", "packet.interface", "packet.direction", "packet.wire_length", "packet.segments",
	"packet.ttl", "packet.ip_id", "packet.traffic_class", "packet.dont_fragment", "packet.sequence",
	"packet.ack", "packet.window", "packet.urgent", "packet.options", "packet.ts_val", "packet.ts_ecr",
	"packet.payload_length", "packet.captured", "packet.payload",
	"fact.time", "fact.text", "fact.value",
	"call.data", "call.shown", "call.process", "packet.protocol", "packet.message", "packet.message_field",
	"tcp_info.length", "tcp_info.same", "tcp_info.word", "tcp_info.long",
	"trace.time", "trace.socket", "trace.cookie", "trace.kind", "trace.old_state", "trace.state", "trace.errno",
	"trace.reason", "trace.sequence", "trace.ack", "trace.flags", "trace.length", "trace.protocol", "trace.place",
	"trace.direction",
	"probe.time", "probe.peer", "probe.path", "probe.direction", "probe.reply", "probe.exchange", "probe.origin",
	"probe.realtime", "probe.error",
	"clock_sample.raw", "clock_sample.raw_error", "clock_sample.steady",
	"clock_step.change", "clock_step.rate", "clock_step.rate_before",
}

// String is the column's name.
func (c column) String() string { return columnNames[c] }

// dense columns hold a varint an entry. All others hold runs: the number of zeros
// that come first, then one entry that is not zero, and so on, since nearly every
// entry of theirs is what was predicted.
var dense = [numColumns]bool{
	colKind: true, colText: true, colBlobs: true,
	colCallLane: true, colCallEntry: true, colCallDuration: true, colAddressPort: true,
	colPacketTime: true, colPacketFlow: true, colPacketAddress: true, colPacketPort: true,
	colPacketFlags: true, colPacketPayload: true,
	colFactTime: true, colFactText: true, colFactValue: true,
	colPacketMessageField: true,
	colInfoSame:           true, colInfoWord: true,
	colTraceTime: true, colTraceSocket: true, colTraceCookie: true,
	colProbeTime: true,
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
	// absent is a column of a newer version than the body's: every entry of it is what
	// was predicted.
	absent bool
}

// get returns the next entry; ok is false where the column ends or a varint is not
// one.
func (r *reader) get(dense bool) (v uint64, ok bool) {
	if r.absent {
		return 0, true
	}
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

// split cuts a body of a version into its event count and its columns.
func split(body []byte, version byte, columns *[numColumns]reader) (int, error) {
	all := reader{buf: body}
	n, ok := all.uvarint()
	if !ok || n > MaxEvents {
		return 0, fmt.Errorf("%w: it claims %d events, and the limit is %d", ErrDamaged, n, MaxEvents)
	}
	for i := range columns {
		if column(i) >= columnsOf(version) {
			columns[i].absent = true
			continue
		}
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
