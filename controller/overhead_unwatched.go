package controller

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// maxReason bounds what each source of each setting may have of why a host did not give
// it, in bytes, and leastReason what is left of it where there are too many for the log.
const (
	maxReason   = 240
	leastReason = 60
)

func brief(reason string) string { return cut(reason, maxReason) }

// cut is the beginning of a reason that has more than so many bytes.
func cut(reason string, most int) string {
	if len(reason) <= most {
		return reason
	}
	return strings.ToValidUTF8(reason[:most], "") + "…"
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
// armed, nil if it says nothing of the kind: agents also say so of their clocks, which are
// no source.
func unwatchedMark(m *synclinev1.Mark) *synclinev1.Unwatched {
	name, why, given := strings.Cut(m.GetDetail(), ": ")
	source := sourceToProto(name)
	if source == synclinev1.Source_SOURCE_UNSPECIFIED {
		return nil
	}
	switch m.GetKind() {
	case synclinev1.MarkKind_MARK_KIND_SOURCE_MISSING:
		if !given {
			why = "its agent could not open it when its turn came"
		}
		return &synclinev1.Unwatched{Source: source, Reason: brief(why)}
	case synclinev1.MarkKind_MARK_KIND_SOURCE_REDUCED:
		return &synclinev1.Unwatched{Source: source, Reason: brief(why), InPart: true}
	}
	return nil
}

// notOn adds a source that was not on to those of a setting, unless it is known that the
// host did not give it: in part, or at all. Every round says the same, if with other
// numbers; the first of them stays.
func notOn(s *synclinev1.OverheadSetting, u *synclinev1.Unwatched) {
	known := slices.ContainsFunc(s.Unwatched, func(k *synclinev1.Unwatched) bool {
		return k.Host == u.Host && k.Source == u.Source && (!k.InPart || u.InPart)
	})
	if !known {
		s.Unwatched = append(s.Unwatched, u)
	}
}

// fitLog leaves of the sources that were not on what the log takes of a measurement:
// shorter reasons first, then fewer hosts, and how many more there are.
func fitLog(o *synclinev1.Overhead) {
	fits := func() bool { return proto.Size(o) <= store.MaxOverhead }
	most := 0
	for _, s := range o.Settings {
		most = max(most, len(s.Unwatched))
	}
	for length := maxReason / 2; !fits() && length >= leastReason; length /= 2 {
		for _, s := range o.Settings {
			for _, u := range s.Unwatched {
				u.Reason = cut(u.Reason, length)
			}
		}
	}
	whole := make([][]*synclinev1.Unwatched, len(o.Settings))
	for i, s := range o.Settings {
		whole[i] = s.Unwatched
	}
	for most /= 2; !fits() && most > 0; most /= 2 {
		for i, s := range o.Settings {
			s.Unwatched = first(whole[i], most)
		}
	}
}

// first are so many of the sources that were not on, and the number of those beyond.
func first(all []*synclinev1.Unwatched, most int) []*synclinev1.Unwatched {
	if len(all) <= most {
		return all
	}
	rest := map[bool]int{}
	for _, u := range all[most:] {
		rest[u.InPart]++
	}
	all = slices.Clone(all[:most])
	for _, inPart := range []bool{false, true} {
		if n := rest[inPart]; n > 0 {
			all = append(all, &synclinev1.Unwatched{Reason: fmt.Sprintf("%d more, for which the log has no room", n), InPart: inPart})
		}
	}
	return all
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
