package timeline

import (
	"strings"
	"testing"
)

// Packets that passed the taps are on record or reported lost. Where they are not, the
// run is incomplete, and says by how many.
func TestPacketsWithoutAnAccount(t *testing.T) {
	mark := func(kind MarkKind, frames uint64) Event {
		return Event{Mark: &Mark{Kind: kind, Frames: frames}}
	}
	packet := Event{Repetition: 1, Packet: &Packet{}}
	lost := Event{Repetition: 1, Loss: &Loss{Source: Packets, Count: 7}}
	other := Event{Repetition: 1, Loss: &Loss{Source: Syscalls, Count: 9}}
	for _, test := range []struct {
		name   string
		events []Event
		want   string
	}{
		{"all on record", []Event{mark(MarkArmed, 0), packet, packet, mark(MarkClosed, 2)}, ""},
		{"reported", []Event{mark(MarkArmed, 0), packet, lost, mark(MarkClosed, 8)}, ""},
		{"two taps", []Event{mark(MarkArmed, 0), packet, mark(MarkClosed, 1), mark(MarkArmed, 0), packet, mark(MarkClosed, 1)}, ""},
		{"never closed", []Event{mark(MarkArmed, 0), packet, mark(MarkClosed, 9), mark(MarkArmed, 0)}, ""},
		{"short", []Event{mark(MarkArmed, 0), packet, lost, other, mark(MarkClosed, 10)}, "10 packets passed the taps of A, and 2 of them are neither on record nor reported lost"},
	} {
		t.Run(test.name, func(t *testing.T) {
			run := &Run{Hosts: []Host{{Name: "A"}}, Events: test.events}
			if got := strings.Join(unaccounted(run), "; "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			built := NewBuilder(run)
			if got := strings.Join(built.run.Incomplete, "; "); got != test.want {
				t.Errorf("the run is incomplete: %q, want %q", got, test.want)
			}
		})
	}
}
