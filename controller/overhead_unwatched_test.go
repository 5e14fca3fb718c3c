package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncline/controller/experiment"
	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// watchers are two hosts of one run, with what they say that they can see.
func watchers(one, other []store.Capability) []store.RunHost {
	return []store.RunHost{{Name: "A", Agent: "vm1", Capabilities: one}, {Name: "B", Agent: "vm2", Capabilities: other}}
}

func can(source string) store.Capability { return store.Capability{Source: source, Available: true} }

func cannot(source, reason string) store.Capability {
	return store.Capability{Source: source, Reason: reason}
}

func unwatchedTexts(s *synclinev1.OverheadSetting) (texts []string) {
	for _, u := range s.Unwatched {
		texts = append(texts, fmt.Sprintf("%s %s %v %s", u.Host, u.Source, u.InPart, u.Reason))
	}
	return texts
}

// A source that one host does not give is told, though the other does; one that nobody
// gives is not measured at all.
func TestUnwatched(t *testing.T) {
	hosts := watchers(
		[]store.Capability{can("packets"), cannot("drops", "no BTF"), can("counters")},
		[]store.Capability{cannot("packets", "no CAP_NET_RAW"), cannot("drops", "no CAP_BPF")},
	)
	settings := overheadSettings([]string{"packets", "drops", "counters"})
	want := map[string][]string{
		"bare":     nil,
		"packets":  {"B SOURCE_PACKETS false no CAP_NET_RAW"},
		"drops":    {"A SOURCE_DROPS false no BTF", "B SOURCE_DROPS false no CAP_BPF"},
		"counters": {"B SOURCE_COUNTERS false its agent did not say that it has it"},
		"all": {
			"A SOURCE_DROPS false no BTF", "B SOURCE_PACKETS false no CAP_NET_RAW", "B SOURCE_DROPS false no CAP_BPF",
			"B SOURCE_COUNTERS false its agent did not say that it has it",
		},
	}
	for _, s := range settings {
		s.Unwatched = unwatchedBy(s, hosts)
		if diff := cmp.Diff(want[s.Name], unwatchedTexts(s)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.Name, diff)
		}
		if got := nowhereOn(s, hosts); (got != "") != (s.Name == "drops") {
			t.Errorf("%s: on nowhere: %q", s.Name, got)
		}
	}
}

// What an agent could not open is told as well, once for all rounds; if that is all that a
// setting has, it has no figures.
func TestUnwatchedByMarks(t *testing.T) {
	hosts := watchers([]store.Capability{can("packets"), can("tcp-states")}, []store.Capability{can("packets"), can("tcp-states")})
	settings := overheadSettings([]string{"packets", "tcp-states"})
	noted := func(kind synclinev1.MarkKind, detail string) *synclinev1.Event {
		return &synclinev1.Event{Fact: &synclinev1.Event_Mark{Mark: &synclinev1.Mark{Kind: kind, Detail: detail}}}
	}
	var passes []*pass
	for round := range 3 {
		for setting, s := range settings {
			p := &pass{setting: setting, round: round}
			p.add("vm1", callEvent("client", "connect", 0, 100, 0))
			if s.Name == "packets" {
				p.add("vm1", noted(synclinev1.MarkKind_MARK_KIND_SOURCE_MISSING, "packets"))
				p.add("vm2", noted(synclinev1.MarkKind_MARK_KIND_SOURCE_MISSING, "packets: open: no CAP_NET_RAW"))
			}
			if s.Name == "tcp-states" {
				p.add("vm2", noted(synclinev1.MarkKind_MARK_KIND_SOURCE_REDUCED, "tcp-states: trace: not permitted: no CAP_BPF"))
				p.add("vm2", noted(synclinev1.MarkKind_MARK_KIND_SOURCE_REDUCED, "clocks: adjtimex: operation not permitted"))
			}
			passes = append(passes, p)
		}
	}
	figures(settings, passes, hosts)
	by := map[string]*synclinev1.OverheadSetting{}
	for _, s := range settings {
		by[s.Name] = s
	}
	if diff := cmp.Diff([]string{"B SOURCE_TCP_STATES true trace: not permitted: no CAP_BPF"}, unwatchedTexts(by["tcp-states"])); diff != "" {
		t.Errorf("tcp-states (-want +got):\n%s", diff)
	}
	if by["tcp-states"].ConnectionsPerSecond.GetRatio() != 1 {
		t.Errorf("what was on in part is not compared: %v", by["tcp-states"])
	}
	if p := by["packets"]; p.Repetitions != 0 || p.ConnectionsPerSecond != nil || !strings.Contains(p.Failure, "on nowhere") || len(p.Unwatched) != 2 {
		t.Errorf("what was on nowhere has figures: %v", p)
	} else if p.Unwatched[1].Source != synclinev1.Source_SOURCE_PACKETS || p.Unwatched[1].Reason != "open: no CAP_NET_RAW" {
		t.Errorf("the second host's cause is %v", p.Unwatched[1])
	}
	if all := by["all"]; len(all.Unwatched) != 0 || all.Repetitions != 2 {
		t.Errorf("all sources: %v", all)
	}
}

// What is lacking in part comes with numbers of the round; a thousand rounds take the log
// no more room than one.
func TestUnwatchedInEveryRound(t *testing.T) {
	hosts := watchers([]store.Capability{can("tcp-states"), can("packets")}, []store.Capability{can("tcp-states"), can("packets")})
	settings := overheadSettings([]string{"tcp-states", "packets"})
	var passes []*pass
	for round := range maxRounds + 1 {
		for setting, s := range settings {
			p := &pass{setting: setting, round: round}
			p.add("vm1", callEvent("client", "connect", 0, 100, 0))
			for _, agent := range []string{"vm1", "vm2"} {
				if slices.Contains(s.Sources, synclinev1.Source_SOURCE_TCP_STATES) {
					detail := fmt.Sprintf("tcp-states: of %d events nobody can tell whose they are", round+1)
					p.add(agent, &synclinev1.Event{Fact: &synclinev1.Event_Mark{Mark: &synclinev1.Mark{Kind: synclinev1.MarkKind_MARK_KIND_SOURCE_REDUCED, Detail: detail}}})
				}
			}
			passes = append(passes, p)
		}
	}
	figures(settings, passes, hosts)
	lacks := []string{
		"A SOURCE_TCP_STATES true of 1 events nobody can tell whose they are",
		"B SOURCE_TCP_STATES true of 1 events nobody can tell whose they are",
	}
	want := map[string][]string{"bare": nil, "all": lacks, "tcp-states": lacks, "packets": nil}
	for _, s := range settings {
		if diff := cmp.Diff(want[s.Name], unwatchedTexts(s)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.Name, diff)
		}
		if s.Repetitions != maxRounds {
			t.Errorf("%s: %d repetitions count", s.Name, s.Repetitions)
		}
	}
}

// The most hosts and sources that an experiment can have, with the longest names, fit the
// log whatever they lack: reasons get shorter, and what is left out is counted.
func TestUnwatchedFitsLog(t *testing.T) {
	sources := []string{"packets", "tcp-states", "tcp-info", "counters", "accept-queue", "icmp", "arp", "drops"}
	for _, c := range []struct {
		name          string
		hosts, reason int
		// kept is how many bytes of a reason must stay at least, and more whether some are
		// only counted.
		kept int
		more bool
	}{
		{"few hosts", 4, maxReason, maxReason, false},
		{"more hosts", 16, 10 * maxReason, maxReason / 2, false},
		{"all hosts", experiment.MaxHosts, 10 * maxReason, leastReason, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := &synclinev1.Overhead{Rounds: maxRounds, Settings: overheadSettings(sources)}
			var hosts []store.RunHost
			for i := range c.hosts {
				h := store.RunHost{Name: fmt.Sprintf("%0*d", store.MaxNameBytes, i)}
				for _, s := range sources {
					h.Capabilities = append(h.Capabilities, cannot(s, strings.Repeat("x", c.reason)))
				}
				hosts = append(hosts, h)
			}
			lacking := map[string]int{}
			for _, s := range o.Settings {
				s.Unwatched = unwatchedBy(s, hosts)
				// What the last source lacks is in part.
				for _, u := range s.Unwatched {
					u.InPart = u.Source == synclinev1.Source_SOURCE_DROPS
				}
				s.Failure = strings.Repeat("x", maxCause)
				lacking[s.Name] = len(s.Unwatched)
			}
			fitLog(o)
			if size := len(overheadToStore(o)); size > store.MaxOverhead {
				t.Errorf("%d bytes for the log, which takes %d", size, store.MaxOverhead)
			}
			more := false
			for _, s := range o.Settings {
				told := 0
				for _, u := range s.Unwatched {
					if u.Host != "" {
						told++
						if len(u.Reason) < c.kept {
							t.Fatalf("%s: a reason of %d bytes is left of %d", s.Name, len(u.Reason), c.reason)
						}
						continue
					}
					var n int
					if _, err := fmt.Sscanf(u.Reason, "%d more,", &n); err != nil {
						t.Errorf("%s: %q does not say how many: %v", s.Name, u.Reason, err)
					}
					told, more = told+n, true
				}
				if told != lacking[s.Name] {
					t.Errorf("%s: tells of %d, and %d were not on", s.Name, told, lacking[s.Name])
				}
			}
			if more != c.more {
				t.Errorf("some are only counted: %v", more)
			}
		})
	}
}

// Where no host gives any source there is nothing to measure, and the run says so
// instead of comparing the bare lanes with themselves.
func TestMeasureNothing(t *testing.T) {
	c := newTestController(t)
	c.pair(func(client, server *fakeAgent) {
		for _, f := range []*fakeAgent{client, server} {
			f.capabilities = []*synclinev1.Capability{
				{Source: synclinev1.Source_SOURCE_SYSCALLS, Available: true}, {Source: synclinev1.Source_SOURCE_PACKETS, Reason: "no CAP_NET_RAW"},
			}
		}
	})
	source, _ := experiment.Open("basic-open-close")
	created, err := c.runs.CreateRun(t.Context(), &synclinev1.CreateRunRequest{RequestId: "x", FileName: "x.yaml", Source: source, Repetitions: 1, OverheadRounds: 6})
	if err != nil {
		t.Fatal(err)
	}
	run := c.follow(created.Run.Id)
	if o := run.Overhead; run.State != synclinev1.RunState_RUN_STATE_SEALED || !strings.Contains(o.GetFailure(), "no CAP_NET_RAW") || o.Last != 0 || len(o.Settings) > 0 {
		t.Errorf("the run ended as %v", run)
	}
}

func TestBrief(t *testing.T) {
	long := strings.Repeat("ä", maxReason)
	if got := brief(long); len(got) > maxReason+len("…") || !strings.HasSuffix(got, "ä…") {
		t.Errorf("brief(%d bytes) is %q", len(long), got)
	}
	if got := brief("short"); got != "short" {
		t.Errorf("brief(short) is %q", got)
	}
}
