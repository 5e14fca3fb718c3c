package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	synclinev1 "syncline/proto/syncline/v1"
)

// notes say what the table is worth: how its figures came about, what was not on, what
// the lanes are no measure of.
func (t *overheadText) notes(r *synclinev1.Run) {
	settings := r.Overhead.Settings
	t.legend(settings)
	if rest := settings[0].Resting; rest >= 0.01 && rest < lazy {
		_, unit := rateOf(settings)
		t.note("  ", fmt.Sprintf("%s leaves out the %.0f %% of the time in which the lanes rest (sleep, wait, …)", unit, 100*rest))
	}
	for _, text := range notWatched(settings) {
		t.note("  ", text)
	}
	if why := hardlyBusy(settings[0]); len(why) > 0 {
		t.note("  ", "these lanes hardly load a machine: "+strings.Join(why, "; ")+". The ratios tell nothing about a busy loop")
	}
	if slices.ContainsFunc(settings, func(s *synclinev1.OverheadSetting) bool { return s.AgentCpuNs != nil }) {
		t.note("  ", processorTime(r.Hosts))
	} else if settings[0].Repetitions > 0 {
		t.note("  ", "agents, machines: not known, since an agent could not read its processor time")
	}
	t.outcomes(settings)
}

// legend explains the signs that the table uses.
func (t *overheadText) legend(settings []*synclinev1.OverheadSetting) {
	var compared, few, alone, doubtful bool
	for _, s := range settings {
		for _, c := range []*synclinev1.Cost{s.ConnectionsPerSecond, s.RepetitionsPerSecond, s.ConnectP50Ns, s.ConnectP99Ns, s.AgentCpuNs, s.MachineCpuNs} {
			compared = compared || certain(c)
			few = few || c.GetPairs() > 0 && !certain(c)
			alone = alone || c.GetRatio() > 0 && !certain(c)
			doubtful = doubtful || maybeOne(c)
		}
	}
	text := "×: median of the n ratios to bare in the same round"
	if compared {
		text += "; [ ] holds the true one with the % below it (sign test)"
	}
	if few {
		text += "; n below 6 makes no interval of 95 %"
	}
	if alone {
		text += "; ( ): no interval, so how far off it may be is not known"
	}
	if doubtful {
		text += "; ~: 1 is in its interval: maybe no cost"
	}
	if compared || few || alone {
		t.note("  ", text)
	}
}

// notWatched says which sources were not on, and which only in part, with the reasons.
func notWatched(settings []*synclinev1.OverheadSetting) (texts []string) {
	lacks := map[bool][]string{}
	for _, l := range lacking(settings) {
		text := l.reason
		if len(l.hosts) > 0 {
			text = fmt.Sprintf("%s (%s)", places(l.hosts), l.reason)
		}
		lacks[l.inPart] = append(lacks[l.inPart], text)
	}
	if off := lacks[false]; len(off) > 0 {
		texts = append(texts, "*: not on, so what that would cost is not in ×: "+strings.Join(off, "; "))
	}
	if part := lacks[true]; len(part) > 0 {
		texts = append(texts, "*: on in part, so × is of less than it could be: "+strings.Join(part, "; "))
	}
	return texts
}

// lack is what hosts did not give for one reason.
type lack struct {
	reason string
	inPart bool
	// hosts are by source; none, if the reason says how many more there are.
	hosts map[synclinev1.Source][]string
}

// lacking gathers what was not on in any setting, in the order in which it is told.
func lacking(settings []*synclinev1.OverheadSetting) (all []*lack) {
	for _, s := range settings {
		for _, u := range s.Unwatched {
			i := slices.IndexFunc(all, func(l *lack) bool { return l.reason == u.Reason && l.inPart == u.InPart })
			if i < 0 {
				i = len(all)
				all = append(all, &lack{u.Reason, u.InPart, map[synclinev1.Source][]string{}})
			}
			if hosts := all[i].hosts; u.Host != "" && !slices.Contains(hosts[u.Source], u.Host) {
				hosts[u.Source] = append(hosts[u.Source], u.Host)
			}
		}
	}
	return all
}

// places are sources and where they are missing: "packets, arp at A, B; icmp at B".
func places(hosts map[synclinev1.Source][]string) string {
	sources := map[string][]string{}
	for source, at := range hosts {
		where := strings.Join(slices.Sorted(slices.Values(at)), ", ")
		sources[where] = append(sources[where], sourceWord(source))
	}
	var texts []string
	for _, where := range slices.Sorted(maps.Keys(sources)) {
		slices.Sort(sources[where])
		texts = append(texts, strings.Join(sources[where], ", ")+" at "+where)
	}
	return strings.Join(texts, "; ")
}

// sourceWord is a source as experiments spell it: "accept-queue".
func sourceWord(s synclinev1.Source) string {
	return strings.ReplaceAll(enumWord(s.String(), "SOURCE_"), "_", "-")
}

const (
	// lazy is the share of their time in which lanes rest, and the share of a processor
	// that is left, from which on they are no load.
	lazy = 0.5
	// single is how many connections of a repetition make a loop.
	single = 100
)

// hardlyBusy says why the lanes, as they are without watching, are no busy loop, whatever
// the ratios say; nothing if they may be one.
func hardlyBusy(bare *synclinev1.OverheadSetting) (why []string) {
	if bare.Repetitions == 0 {
		return nil
	}
	if bare.Resting >= lazy {
		why = append(why, fmt.Sprintf("they rest %.0f %% of the time (sleep, wait, …), which the rate leaves out", 100*bare.Resting))
	}
	if each := float64(bare.Connections) / float64(bare.Repetitions); each > 0 && each < single {
		why = append(why, fmt.Sprintf("connections of a repetition: %.3g", each))
	}
	if load, known := loadOf(bare); known && load < lazy {
		why = append(why, fmt.Sprintf("they keep the agents at %.0f %% of one processor at most", 100*load))
	}
	return why
}

// loadOf is the most that lanes can have kept busy, in processors: all that the agents
// used for a repetition, over the time from the first call to the return of the last.
func loadOf(s *synclinev1.OverheadSetting) (load float64, known bool) {
	whole := float64(s.WorkingNs) / (1 - s.Resting)
	if s.AgentCpuNs == nil || s.WorkingNs <= 0 || s.Resting >= 1 {
		return 0, false
	}
	return s.AgentCpuNs.Value / whole, true
}

// processorTime says what the columns of processor time count, and which agents share a
// machine.
func processorTime(hosts []*synclinev1.RunHost) string {
	text := "agents, machines: processor time of a repetition, all of them together"
	on := map[string][]string{}
	var order []string
	for _, h := range hosts {
		boot, _, _ := strings.Cut(h.ClockId, "/")
		if boot == "" {
			text += fmt.Sprintf("; which machine %s is on is not known, and it counts as one of its own", h.Name)
			continue
		}
		if on[boot] == nil {
			order = append(order, boot)
		}
		on[boot] = append(on[boot], h.Name)
	}
	for _, boot := range order {
		if len(on[boot]) > 1 {
			text += fmt.Sprintf("; %s share a machine, which counts once", strings.Join(on[boot], ", "))
		}
	}
	return text + "; whatever else ran on a machine is in its time"
}

// outcomes say how many events there were, and what went wrong in a setting.
func (t *overheadText) outcomes(settings []*synclinev1.OverheadSetting) {
	var events uint64
	var lost []string
	for _, s := range settings {
		events += s.Events
		if s.Lost > 0 {
			lost = append(lost, fmt.Sprintf("%d with %s", s.Lost, s.Name))
		}
	}
	text := fmt.Sprintf("%d events in all, none lost", events)
	if len(lost) > 0 {
		text = fmt.Sprintf("%d events in all; lost: %s", events, strings.Join(lost, ", "))
	}
	t.note("  ", text)
	// Settings that share a fate share a sentence.
	same := map[string][]string{}
	var order []string
	for _, s := range settings {
		why := ""
		switch {
		case s.Failed > 0:
			why = fmt.Sprintf("a lane failed in %d of %d repetitions, which do not count: %s", s.Failed, s.Failed+s.Repetitions, s.Failure)
		case s.Repetitions == 0 && len(s.Unwatched) > 0:
			why = "not measured, on at no host"
		case s.Repetitions == 0:
			why = "not measured: " + s.Failure
		default:
			continue
		}
		if same[why] == nil {
			order = append(order, why)
		}
		same[why] = append(same[why], s.Name)
	}
	for _, why := range order {
		t.note("  ", strings.Join(same[why], ", ")+": "+why)
	}
}
