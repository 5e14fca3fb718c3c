package timeline

import (
	"cmp"
	"slices"
	"sort"
)

// byteLog is how many bytes had come to an end, and how many of them its calls had read, at
// any moment. Who asks about each of many calls does not go through all packets each time.
type byteLog struct{ came, read []byteCount }

// byteCount is a number of bytes, counted up to and with a moment.
type byteCount struct {
	moment int
	bytes  int64
}

// countBytes counts what came to the end, by sequence numbers, and what was read.
func (v *endView) countBytes() {
	if !v.peer.HasISN {
		return
	}
	var highest uint32
	for i := range v.sights {
		s := &v.sights[i]
		if s.out || s.p.PayloadLength == 0 || s.has(SYN) {
			continue
		}
		if to := s.p.Seq + uint32(s.p.PayloadLength) - v.peer.ISN - 1; int32(to-highest) > 0 {
			highest = to
			v.bytes.came = append(v.bytes.came, byteCount{s.moment, int64(highest)})
		}
	}
	for _, s := range v.calls {
		if s.named("recv", "recvfrom") && s.call.Result > 0 && s.leave >= 0 && !s.carries("MSG_PEEK") {
			v.bytes.read = append(v.bytes.read, byteCount{s.leave, s.call.Result})
		}
	}
	slices.SortStableFunc(v.bytes.read, func(a, b byteCount) int { return cmp.Compare(a.moment, b.moment) })
	for i := 1; i < len(v.bytes.read); i++ {
		v.bytes.read[i].bytes += v.bytes.read[i-1].bytes
	}
}

// upTo is the last count that is of no later moment than one, 0 if there is none.
func upTo(counts []byteCount, moment int) int64 {
	i := sort.Search(len(counts), func(i int) bool { return counts[i].moment > moment })
	if i == 0 {
		return 0
	}
	return counts[i-1].bytes
}

// unread is how many bytes had come to the end before a moment and were not read.
func (v *endView) unread(before int) int64 {
	return max(upTo(v.bytes.came, before)-upTo(v.bytes.read, before-1), 0)
}
