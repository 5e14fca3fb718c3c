package agent

import (
	"errors"
	"slices"
	"testing"

	synclinev1 "syncline/proto/syncline/v1"
)

// Packets that nobody could look at end the watches that still wait, and no other: one
// that has seen its packet is told once, and one that is lost is not seen afterwards.
func TestOverlook(t *testing.T) {
	var told []string
	watch := func(id string, flags uint32) *synclinev1.Watch {
		return &synclinev1.Watch{Id: id, Text: id, Look: &synclinev1.Watch_Packet{Packet: &synclinev1.WatchPacket{Protocol: 6, Flags: flags, Mask: flags}}}
	}
	const fin, syn = 1, 2
	l, err := newLookout([]*synclinev1.Watch{watch("syn", syn), watch("fin", fin)}, nil,
		func(w *synclinev1.Watch) { told = append(told, "seen "+w.Id) },
		func(w *synclinev1.Watch, err error) { told = append(told, "lost "+w.Id+": "+err.Error()) })
	if err != nil {
		t.Fatal(err)
	}
	packet := func(flags uint32) []*synclinev1.Event {
		return []*synclinev1.Event{{Fact: &synclinev1.Event_Packet{Packet: &synclinev1.Packet{Flags: flags}}}}
	}
	l.heard(packet(syn))
	overlook := func(reason string) {
		l.hearing.Lock()
		defer l.hearing.Unlock()
		l.overlook(errors.New(reason))
	}
	overlook("3 packets too many")
	l.heard(packet(fin))
	overlook("again")
	if want := []string{"seen syn", "lost fin: 3 packets too many"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}
