package cli

import (
	"io"
	"strings"
	"testing"

	"syncline/controller/timeline"
)

// silentScene has no packet, and nothing else that tells a first SYN or the time of the day.
const silentScene = `host A 10.0.0.1
host B 10.0.0.2 ±0.038
A client sleep(50ms) 0..50 = 0
B server sleep(50ms) 0..50 = 0
`

// TestZeroOfTheViewer: the line above the ladder tells what the times do count from, and
// where nothing tells what was asked for, the viewer says so.
func TestZeroOfTheViewer(t *testing.T) {
	d := newDriver(t, newSceneSource(parseScene(t, silentScene), parseScene(t, filterScene)), true, drawOptions{}, 160, 30)
	for _, step := range []struct {
		keys      string
		has, none []string
	}{
		{"z", []string{"times cannot count from first SYN: no SYN of repetition 1 is on record", "nothing tells first SYN: times from connect"}, []string{"times from first SYN"}},
		{"]", []string{"times from first SYN"}, []string{"nothing tells"}},
		{"r", []string{"raw; times of two hosts"}, []string{"times from"}},
		{"r [", []string{"nothing tells first SYN: times from connect"}, []string{"times from first SYN"}},
		{"z", []string{"times cannot count from wall: no packet of repetition 1 is on record"}, []string{"times from wall"}},
		{"z", nil, []string{"times from", "nothing tells", "cannot count"}},
	} {
		d.press(t, step.keys)
		checkScreen(t, d)
		for _, text := range step.has {
			if !strings.Contains(d.screen(), text) {
				t.Errorf("after %s nothing of %q in\n%s", step.keys, text, d.screen())
			}
		}
		for _, text := range step.none {
			if strings.Contains(d.screen(), text) {
				t.Errorf("after %s there is %q in\n%s", step.keys, text, d.screen())
			}
		}
	}
}

// TestInteractRefusesZeros: a zero that nothing on record tells is refused as without
// --interactive, before the screen is taken.
func TestInteractRefusesZeros(t *testing.T) {
	a := &app{Streams: Streams{Out: io.Discard, Err: io.Discard}}
	s, err := a.subject(t.Context(), bundled("udp-refused"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	opts := ladderOptions{output: "text", scale: "row", zero: "first SYN"}
	s.repetition = 1
	interactive := a.interact(t.Context(), s, opts, opts.layout())
	printed := a.showTimeline(t.Context(), s.client, s.id, 1, opts)
	if interactive == nil || printed == nil || interactive.Error() != printed.Error() || !strings.Contains(printed.Error(), "no SYN of repetition 1") {
		t.Errorf("on the screen: %v; printed: %v", interactive, printed)
	}
}

// TestConnectionsOfAnotherRepetition: a choice that the next repetition does not have is
// given up, and the viewer says so.
func TestConnectionsOfAnotherRepetition(t *testing.T) {
	two, one := parseScene(t, filterScene), parseScene(t, filterScene)
	two.Connections = append(two.Connections, timeline.Connection{Client: two.Connections[0].Client, Server: two.Connections[0].Server})
	d := newDriver(t, newSceneSource(two, one), true, drawOptions{}, 120, 30)
	for _, keys := range []string{"]", "d ctrl+u `2` enter x"} {
		d.v.look.Connections = []int{2}
		d.v.relay()
		if !strings.Contains(d.screen(), "conn 2 of 2") {
			t.Fatalf("connection 2 is not chosen:\n%s", d.screen())
		}
		d.press(t, keys)
		checkScreen(t, d)
		if screen := d.screen(); !strings.Contains(screen, "repetition 2 has no connection 2: all that it has are shown") || strings.Contains(screen, "conn 2 of 1") {
			t.Errorf("after %s:\n%s", keys, screen)
		}
		d.press(t, "[")
	}
}

// TestComparedInPart: what two repetitions have in common is told of what is shown, and where
// one shows nothing, what the other shows counts.
func TestComparedInPart(t *testing.T) {
	calls := parseScene(t, strings.ReplaceAll(silentScene, "sleep(50ms) 0..50 = 0", "connect(c, 10.0.0.9:80) 0..50 = ECONNREFUSED"))
	d := newDriver(t, newSceneSource(parseScene(t, silentScene), calls), true, drawOptions{}, 120, 30)
	d.press(t, "d ctrl+u `2` enter")
	if strings.Contains(d.screen(), "the same story") {
		t.Errorf("two stories are one:\n%s", d.screen())
	}
	d.press(t, "l")
	if rows := len(d.v.shown.l.Rows); rows != 0 {
		t.Fatalf("%d rows are shown without the lab's steps", rows)
	}
	if d.v.diff.there == 0 || strings.Contains(d.screen(), "the same story") {
		t.Errorf("%d rows there:\n%s", d.v.diff.there, d.screen())
	}
	d.press(t, "1")
	if !strings.Contains(d.screen(), "the same story, of what is shown") {
		t.Errorf("nothing says that not all is shown:\n%s", d.screen())
	}
	same := newDriver(t, newSceneSource(parseScene(t, filterScene), parseScene(t, filterScene)), true, drawOptions{}, 120, 30)
	same.press(t, "d ctrl+u `2` enter")
	if screen := same.screen(); !strings.Contains(screen, "the same story") || strings.Contains(screen, "of what is shown") {
		t.Errorf("all is shown:\n%s", screen)
	}
}
