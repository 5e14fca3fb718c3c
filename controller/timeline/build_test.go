package timeline

import (
	"testing"
)

func TestBuildOpenClose(t *testing.T) {
	w := newWorld(1, simClock{offset: 5_000_000_000, ppm: 40}, simClock{offset: -3_000_000_000, ppm: -60})
	w.repeat(1, 0, func(at int64) int64 {
		k := w.talk(0, 1, 40312, 1000)
		return k.close(k.open(at), 0)
	})
	tl, err := Build(w.run, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range tl.Moments {
		t.Log(i, m.Event.Host, m.Edge, m.Stamp, m.Connection, m.Segment, m.Event.Call, m.Event.Packet)
	}
	for _, c := range tl.Connections {
		t.Logf("%+v", c)
	}
	t.Log(tl.Warnings, tl.Clocks)
}
