package chaos

import "encoding/binary"

// PayloadBytes is the length of a synthetic event's payload.
const PayloadBytes = 8

// Payload writes what a synthetic event of a stream carries: a hash of the stream's name and
// the event's number. An event that comes back with another number, in another stream, or
// with a bit changed, has the wrong one.
func Payload(s StreamKey, number uint64, into *[PayloadBytes]byte) {
	binary.BigEndian.PutUint64(into[:], mix(uint64(s)^mix(number)))
}

// StreamKey is what payloads of a stream are made from.
type StreamKey uint64

// Key hashes the name of a stream (FNV-1a, then mixed).
func (s StreamID) Key() StreamKey {
	h := uint64(14695981039346656037)
	add := func(text string) {
		for i := range len(text) {
			h = (h ^ uint64(text[i])) * 1099511628211
		}
		// No name has a zero byte.
		h *= 1099511628211
	}
	add(s.Run)
	add(s.Agent)
	return StreamKey(mix(h ^ mix(s.Incarnation)))
}
