package experiment

import (
	"encoding/binary"
	"fmt"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	celref "cel.dev/cel-go/common/types/ref"
)

// infoField is a field of struct tcp_info, include/uapi/linux/tcp.h, which only ever
// grows at its end. unit is the nanoseconds of one, 0 for a plain number.
type infoField struct {
	name         string
	offset, size int
	unit         int64
	meaning      string
}

const (
	inMicroseconds = 1_000
	inMilliseconds = 1_000_000
)

var infoFields = []infoField{
	{"retransmits", 2, 1, 0, "retransmission time-outs in a row that were not answered yet"},
	{"probes", 3, 1, 0, "zero-window or keep-alive probes that were not answered yet"},
	{"backoff", 4, 1, 0, "how often the retransmission time-out was doubled"},
	{"rto", 8, 4, inMicroseconds, "the retransmission time-out"},
	{"ato", 12, 4, inMicroseconds, "the delay of acknowledgments"},
	{"snd_mss", 16, 4, 0, "bytes of a full segment that is sent"},
	{"rcv_mss", 20, 4, 0, "bytes of a full segment that is received, estimated"},
	{"unacked", 24, 4, 0, "segments sent and not acknowledged; of a listener the length of its accept queue"},
	{"sacked", 28, 4, 0, "segments acknowledged out of order; of a listener its backlog"},
	{"lost", 32, 4, 0, "segments that the kernel takes for lost"},
	{"retrans", 36, 4, 0, "segments retransmitted and not acknowledged"},
	{"last_data_sent", 44, 4, inMilliseconds, "since data was sent last"},
	{"last_data_recv", 52, 4, inMilliseconds, "since data was received last"},
	{"last_ack_recv", 56, 4, inMilliseconds, "since an acknowledgment was received last"},
	{"pmtu", 60, 4, 0, "the path MTU in bytes"},
	{"rtt", 68, 4, inMicroseconds, "the kernel's smoothed round-trip time"},
	{"rttvar", 72, 4, inMicroseconds, "its variation"},
	{"ssthresh", 76, 4, 0, "the slow-start threshold in segments"},
	{"cwnd", 80, 4, 0, "the congestion window in segments"},
	{"advmss", 84, 4, 0, "the MSS that was announced"},
	{"reordering", 88, 4, 0, "segments that may be reordered before one is taken for lost"},
	{"rcv_space", 96, 4, 0, "what the receive buffer is tuned by, in bytes"},
	{"total_retrans", 100, 4, 0, "segments retransmitted since the connection began"},
	{"bytes_acked", 120, 8, 0, "bytes acknowledged by the peer"},
	{"bytes_received", 128, 8, 0, "bytes received in order"},
	{"segs_out", 136, 4, 0, "segments sent"},
	{"segs_in", 140, 4, 0, "segments received"},
	{"notsent_bytes", 144, 4, 0, "bytes in the send buffer that were never sent"},
	{"min_rtt", 148, 4, inMicroseconds, "the least round-trip time"},
	{"data_segs_in", 152, 4, 0, "segments with data received"},
	{"data_segs_out", 156, 4, 0, "segments with data sent"},
	{"busy_time", 168, 8, inMicroseconds, "time with data on the way"},
	{"rwnd_limited", 176, 8, inMicroseconds, "time limited by the peer's window"},
	{"sndbuf_limited", 184, 8, inMicroseconds, "time limited by the send buffer"},
	{"delivered", 192, 4, 0, "segments delivered, retransmissions included"},
	{"delivered_ce", 196, 4, 0, "of them with a congestion mark"},
	{"bytes_sent", 200, 8, 0, "bytes sent, retransmissions included"},
	{"bytes_retrans", 208, 8, 0, "bytes retransmitted"},
	{"snd_wnd", 228, 4, 0, "the peer's window in bytes"},
	{"rcv_wnd", 232, 4, 0, "the window announced, in bytes"},
}

// thatInfoFields are the fields of TCP_INFO as expressions see them.
func thatInfoFields() []thatField {
	fields := []thatField{{"state", cel.StringType, `the TCP state, "ESTABLISHED"`}}
	for _, f := range infoFields {
		kind := cel.IntType
		if f.unit != 0 {
			kind = thatSpan
		}
		fields = append(fields, thatField{f.name, kind, f.meaning})
	}
	return fields
}

// NewThatInfo makes the value of info() of the bytes that getsockopt(2) gave for
// TCP_INFO, on a little-endian machine, and the name of the TCP state that they begin
// with. A field that the kernel did not fill in is ThatUndecided.
func NewThatInfo(data []byte, state string) celref.Val {
	return newThatRecord(thatInfo, func(field string) celref.Val {
		if field == "state" {
			return types.String(state)
		}
		for _, f := range infoFields {
			if f.name != field {
				continue
			}
			if f.offset+f.size > len(data) {
				return NewThatUndecided(fmt.Sprintf("the kernel's TCP_INFO of %d bytes has no %s", len(data), field))
			}
			n := littleEndian(data[f.offset : f.offset+f.size])
			if f.unit == 0 {
				return types.Int(n)
			}
			return NewThatSpan(n*f.unit, n*f.unit)
		}
		return types.NewErr("no such field: %s", field)
	})
}

func littleEndian(data []byte) int64 {
	switch len(data) {
	case 1:
		return int64(data[0])
	case 4:
		return int64(binary.LittleEndian.Uint32(data))
	}
	return int64(min(binary.LittleEndian.Uint64(data), 1<<62))
}
