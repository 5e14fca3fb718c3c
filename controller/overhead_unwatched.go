package controller

import (
	"fmt"
	"slices"
	"strings"

	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// maxReason bounds what each source of each setting may have of why a host did not give
// it: all of them must fit one entry of the log.
const maxReason = 240

func brief(reason string) string {
	if len(reason) <= maxReason {
		return reason
	}
	return strings.ToValidUTF8(reason[:maxReason], "") + "…"
}

// unwatchedBy are the sources of a setting that hosts said they cannot give.
func unwatchedBy(s *synclinev1.OverheadSetting, hosts []store.RunHost) (all []*synclinev1.Unwatched) {
	for _, h := range hosts {
		for _, source := range watching(s) {
			i := slices.IndexFunc(h.Capabilities, func(c store.Capability) bool { return sourceToProto(c.Source) == source })
			switch {
			case i < 0:
				all = append(all, &synclinev1.Unwatched{Host: h.Name, Source: source, Reason: "its agent did not say that it has it"})
			case !h.Capabilities[i].Available:
				all = append(all, &synclinev1.Unwatched{Host: h.Name, Source: source, Reason: brief(h.Capabilities[i].Reason)})
			}
		}
	}
	return all
}

// watching are the sources of a setting that are not always on.
func watching(s *synclinev1.OverheadSetting) []synclinev1.Source {
	return slices.DeleteFunc(slices.Clone(s.Sources), func(s synclinev1.Source) bool { return s == synclinev1.Source_SOURCE_SYSCALLS })
}

// unwatchedMark is what a mark of a pass says of a source that was not on as it was
// armed, nil if it says nothing of the kind.
func unwatchedMark(m *synclinev1.Mark) *synclinev1.Unwatched {
	switch m.GetKind() {
	case synclinev1.MarkKind_MARK_KIND_SOURCE_MISSING:
		source, why, given := strings.Cut(m.Detail, ": ")
		if !given {
			why = "its agent could not open it when its turn came"
		}
		return &synclinev1.Unwatched{Source: sourceToProto(source), Reason: brief(why)}
	case synclinev1.MarkKind_MARK_KIND_SOURCE_REDUCED:
		source, why, _ := strings.Cut(m.Detail, ": ")
		return &synclinev1.Unwatched{Source: sourceToProto(source), Reason: brief(why), InPart: true}
	}
	return nil
}

// notOn adds a source that was not on to those of a setting, unless it is known that the
// host did not give it. The same is said in every round.
func notOn(s *synclinev1.OverheadSetting, u *synclinev1.Unwatched) {
	known := slices.ContainsFunc(s.Unwatched, func(k *synclinev1.Unwatched) bool {
		return k.Host == u.Host && k.Source == u.Source && (!k.InPart || k.Reason == u.Reason && u.InPart)
	})
	if !known {
		s.Unwatched = append(s.Unwatched, u)
	}
}

// nowhereOn is why a setting is not compared with the bare one: none of its sources was
// on at any host, so nothing was watched that could cost anything. "" if something was.
func nowhereOn(s *synclinev1.OverheadSetting, hosts []store.RunHost) string {
	sources := watching(s)
	off := slices.DeleteFunc(slices.Clone(s.Unwatched), func(u *synclinev1.Unwatched) bool { return u.InPart })
	if len(sources) == 0 || len(hosts) == 0 || len(off) < len(sources)*len(hosts) {
		return ""
	}
	return fmt.Sprintf("it was on nowhere: host %s: %s", off[0].Host, off[0].Reason)
}
