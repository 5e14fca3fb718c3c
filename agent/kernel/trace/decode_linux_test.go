package trace

import (
	"encoding/binary"
	"testing"

	synclinev1 "syncline/proto/syncline/v1"
)

// BenchmarkDecode is what a state costs in user space, from its bytes to its event.
func BenchmarkDecode(b *testing.B) {
	raw := make([]byte, recordSize)
	copy(raw[16:], []byte{10: 0xff, 11: 0xff, 12: 10, 13: 9, 14: 0, 15: 1})
	copy(raw[32:], []byte{10: 0xff, 11: 0xff, 12: 10, 13: 9, 14: 0, 15: 2})
	raw[52] = byte(synclinev1.TraceKind_TRACE_KIND_STATE)
	var d decoder
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		binary.LittleEndian.PutUint16(raw[48:], uint16(32768+i/10%28000))
		binary.LittleEndian.PutUint16(raw[50:], port)
		var r record
		if err := r.parse(raw); err != nil {
			b.Fatal(err)
		}
		if d.event(&r) == nil {
			b.Fatal("no event")
		}
	}
}
