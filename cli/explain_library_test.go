package cli

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"

	"syncline/controller"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// unexplainedAtMost is the share of packets, and of calls that had to wait, that may have no
// known cause over the recorded runs of the library.
const unexplainedAtMost = 0.01

// tallyOfCauses counts causes by how they are known.
type tallyOfCauses struct{ observed, inferred, none int }

func (c *tallyOfCauses) count(k timeline.CauseKnown) {
	switch k {
	case timeline.Observed:
		c.observed++
	case timeline.Inferred:
		c.inferred++
	default:
		c.none++
	}
}

func (c *tallyOfCauses) add(o tallyOfCauses) {
	c.observed, c.inferred, c.none = c.observed+o.observed, c.inferred+o.inferred, c.none+o.none
}

func (c *tallyOfCauses) total() int { return c.observed + c.inferred + c.none }

func (c *tallyOfCauses) share() float64 { return float64(c.none) / float64(max(c.total(), 1)) }

// releases count what let calls return: another end's or the network's doing, the lab, time.
type releases struct{ packet, call, lab, timer, other int }

func (r *releases) count(t *timeline.Timeline, b *timeline.BlockedCall) {
	switch {
	case b.Lab:
		r.lab++
	case b.Rule == nil:
	case b.Rule.Timer:
		r.timer++
	case b.By >= 0 && t.Moments[b.By].Event.Packet != nil:
		r.packet++
	case b.By >= 0 && t.Moments[b.By].Event.Call != nil:
		r.call++
	default:
		r.other++
	}
}

// Of every recorded run of the library every packet and every call that had to wait has its
// cause, but for one in a hundred; -v prints the table. No cause is surely after its effect,
// and causes form no circle.
func TestLibraryIsExplained(t *testing.T) {
	bundles, err := filepath.Glob("../controller/export/testdata/library/*.syncline")
	if err != nil || len(bundles) < 25 {
		t.Fatalf("%d recorded runs: %v", len(bundles), err)
	}
	var packets, calls tallyOfCauses
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "scenario\treps\tpackets\tobserved\tinferred\tnone\tblocked\tpacket\tcall\ttimer\tlab\tother\tnone\t\n")
	for _, bundle := range bundles {
		name := strings.TrimSuffix(filepath.Base(bundle), ".syncline")
		var own, blocked tallyOfCauses
		var by releases
		repetitions := 0
		eachRepetition(t, bundle, func(tl *timeline.Timeline) {
			repetitions++
			c := tl.Causes()
			for i := range c.Packets {
				own.count(c.Packets[i].Known)
				if k := &c.Packets[i]; k.Known == timeline.NoneKnown {
					t.Logf("%s@%d: no cause is known of %q: %s", name, tl.Repetition, c.Words(k.Effect), k.Why)
				}
			}
			for i := range c.Blocked {
				blocked.count(c.Blocked[i].Known)
				by.count(tl, &c.Blocked[i])
				if k := &c.Blocked[i]; k.Known == timeline.NoneKnown {
					t.Logf("%s@%d: no cause is known of %q: %s", name, tl.Repetition, c.Words(k.Effect), k.Why)
				}
			}
			checkCauses(t, name, tl, c)
			checkNotes(t, name, tl, c)
		})
		packets.add(own)
		calls.add(blocked)
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", name, repetitions,
			own.total(), own.observed, own.inferred, own.none, blocked.total(), by.packet, by.call, by.timer, by.lab, by.other, blocked.none)
	}
	w.Flush()
	t.Logf("\n%s", table.String())
	t.Logf("%d packets: %d observed, %d inferred, %d none known (%.2f %%)", packets.total(), packets.observed, packets.inferred, packets.none, 100*packets.share())
	t.Logf("%d calls that had to wait: %d observed, %d inferred, %d none known (%.2f %%)", calls.total(), calls.observed, calls.inferred, calls.none, 100*calls.share())
	if packets.total() == 0 || packets.share() >= unexplainedAtMost {
		t.Errorf("%d of %d packets have no known cause", packets.none, packets.total())
	}
	if calls.total() == 0 || calls.share() >= unexplainedAtMost {
		t.Errorf("%d of %d calls that had to wait have no known cause", calls.none, calls.total())
	}
}

// eachRepetition goes through the repetitions of a bundle.
func eachRepetition(t *testing.T, bundle string, do func(*timeline.Timeline)) {
	t.Helper()
	a := &app{}
	err := a.look(t.Context(), bundle, func(s *subject) error {
		run, err := s.runs.GetRun(t.Context(), &synclinev1.GetRunRequest{Id: s.id})
		if err != nil {
			return err
		}
		for repetition := range run.Run.Repetitions {
			answer, err := s.timelines.GetTimeline(t.Context(), &synclinev1.GetTimelineRequest{RunId: s.id, Repetition: repetition + 1})
			if err != nil {
				return err
			}
			tl, err := controller.TimelineFromProto(answer.Timeline)
			if err != nil {
				return err
			}
			do(tl)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", bundle, err)
	}
}

// checkCauses finds causes that come after their effects, and circles.
func checkCauses(t *testing.T, name string, tl *timeline.Timeline, c *timeline.Causality) {
	t.Helper()
	for i := range tl.Moments {
		k, ok := c.Of(i)
		if !ok || k.By < 0 {
			continue
		}
		if k.Effect != i {
			t.Errorf("%s@%d: the cause of moment %d is said to be of moment %d", name, tl.Repetition, i, k.Effect)
		}
		before, known := c.Timeline().Certain(k.By, i)
		if known && !before {
			t.Errorf("%s@%d: %q is said to come of %q, which surely was later", name, tl.Repetition, c.Words(i), c.Words(k.By))
		}
		if k.Ordered != (known && before) || k.Known == timeline.Observed && !k.Ordered {
			t.Errorf("%s@%d: the order of %q and %q is told wrongly", name, tl.Repetition, c.Words(k.By), c.Words(i))
		}
		for at, steps := k.By, 0; ; steps++ {
			next, ok := c.Of(at)
			if !ok || next.By < 0 {
				break
			}
			if at = next.By; at == i || steps > len(tl.Moments) {
				t.Errorf("%s@%d: %q comes of itself", name, tl.Repetition, c.Words(i))
				break
			}
		}
	}
}

// checkNotes holds notes to what every view rests on.
func checkNotes(t *testing.T, name string, tl *timeline.Timeline, c *timeline.Causality) {
	t.Helper()
	last := -1
	for _, n := range append(c.Notes(), c.Gist()...) {
		switch {
		case n.Kind == "" || !strings.HasSuffix(n.Text, ".") || strings.Contains(n.Text, "%!"):
			t.Errorf("%s@%d: a note of kind %q says %q", name, tl.Repetition, n.Kind, n.Text)
		case len(n.Moments) == 0 || n.Moments[0] < 0 || n.At() >= len(tl.Moments) || n.Connection >= len(tl.Connections):
			t.Errorf("%s@%d: %q is tied to %v", name, tl.Repetition, n.Text, n.Moments)
		case strings.HasPrefix(string(n.Kind), "gist-"):
		case n.At() < last:
			t.Errorf("%s@%d: %q is not in its order", name, tl.Repetition, n.Text)
		default:
			last = n.At()
		}
	}
}
