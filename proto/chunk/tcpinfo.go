package chunk

import (
	"encoding/binary"

	synclinev1 "syncline/proto/syncline/v1"
)

// maxInfo is the longest struct tcp_info that is carried word by word: a decoder makes
// memory of its own for each. That of Linux 6.18 has 280 bytes.
const maxInfo = 512

// The fields of struct tcp_info that tell, in milliseconds, how long ago data was sent,
// data came and an acknowledgment came: numbers of words (include/uapi/linux/tcp.h).
const (
	infoLastDataSent = 11
	infoLastDataRecv = 13
	infoLastAckRecv  = 14
)

// infoWords is how many words a struct tcp_info of n bytes is carried in, the last of
// which may be a part of one.
func infoWords(n int) int { return (min(n, maxInfo) + 3) / 4 }

// infoModel is a struct tcp_info that was read, and when: at the return of its call.
type infoModel struct {
	bytes []byte
	at    int64
}

// tcpInfo carries the struct tcp_info of a call. What it was when the call was last made
// is the best prediction, and for want of it what the lane read last.
func (c *codec) tcpInfo(call *synclinev1.Call, last *infoModel, lane *laneModel) {
	n := uint64(len(call.TcpInfo))
	c.u64(colInfoLength, &n, uint64(len(last.bytes)))
	if n > maxInfo {
		c.blob(colInfoLong, &call.TcpInfo, nil)
		if uint64(len(call.TcpInfo)) != n {
			c.fail("a tcp_info of %d bytes that has %d", n, len(call.TcpInfo))
		}
		// It is not worth a memory: no kernel has so much.
		last.bytes = last.bytes[:0]
		return
	}
	if n > 0 {
		predicted := last
		if len(last.bytes) == 0 && lane.info != nil {
			predicted = lane.info
		}
		c.infoWords(&call.TcpInfo, int(n), predicted, call.ReturnNs)
		lane.info = last
	}
	last.bytes, last.at = append(last.bytes[:0], call.TcpInfo...), call.ReturnNs
}

// infoWords carries n bytes: in turn how many words are as predicted, and the difference
// of the one that then is not.
func (c *codec) infoWords(v *[]byte, n int, predicted *infoModel, at int64) {
	if c.decoding {
		*v = c.newInfo(n)
	}
	words := infoWords(n)
	for i := 0; i < words; i++ {
		var same uint64
		for !c.decoding && i+int(same) < words && word(*v, i+int(same)) == predicted.word(i+int(same), at) {
			same++
		}
		same = c.raw(colInfoSame, same)
		if same > uint64(words-i) {
			c.fail("%d words of tcp_info that are as predicted, of %d", same, words-i)
			return
		}
		if c.decoding {
			predicted.copyWords(*v, i, i+int(same), at)
		}
		i += int(same)
		if i < words {
			w := word(*v, i)
			c.u32(colInfoWord, &w, predicted.word(i, at))
			if c.decoding {
				putWord(*v, i, w)
			}
		}
	}
}

// newInfo is memory for n bytes, at most maxInfo, all of which are written to.
func (c *codec) newInfo(n int) []byte {
	if c.scratch != nil {
		return c.scratch.info[:n]
	}
	return make([]byte, n)
}

// copyWords sets the words from one to another of a struct to what they are expected to be at a moment.
func (m *infoModel) copyWords(b []byte, from, to int, at int64) {
	if from == to {
		return
	}
	begin, end := 4*from, min(4*to, len(b))
	n := 0
	if begin < len(m.bytes) {
		n = copy(b[begin:end], m.bytes[begin:])
	}
	clear(b[begin+n : end])
	for _, i := range [...]int{infoLastDataSent, infoLastDataRecv, infoLastAckRecv} {
		if i >= from && i < to {
			putWord(b, i, m.word(i, at))
		}
	}
}

// word is what word i is expected to be at a moment. What did not happen since the last
// reading is longer ago now, which matters only of what is older than the repetition: a
// socket that never sent tells for how long the host has been up.
func (m *infoModel) word(i int, at int64) uint32 {
	w := word(m.bytes, i)
	switch i {
	case infoLastDataSent, infoLastDataRecv, infoLastAckRecv:
		if elapsed := (at - m.at) / 1_000_000; int64(w) > elapsed {
			w += uint32(elapsed)
		}
	}
	return w
}

// word is a word of a struct, 0 beyond its end.
func word(b []byte, i int) uint32 {
	var w [4]byte
	copy(w[:], b[min(4*i, len(b)):])
	return binary.LittleEndian.Uint32(w[:])
}

// putWord sets a word; at the end of the struct as much of it as there is.
func putWord(b []byte, i int, w uint32) {
	var all [4]byte
	binary.LittleEndian.PutUint32(all[:], w)
	copy(b[4*i:], all[:])
}
