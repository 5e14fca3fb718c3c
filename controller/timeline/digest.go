package timeline

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"syncline/controller/clock"
	"syncline/controller/statistics"
)

// Digest is one repetition among many: enough to find the one to look at, to compare runs
// and to say how phases are distributed, without its moments.
type Digest struct {
	Repetition int
	// Variant is the name of the variant that the repetition was of; empty if the file has
	// one only.
	Variant string
	// Ruling is the worst of its verdicts, and Reason the expectation that it is of and what
	// there is to say; empty for a pass.
	Ruling Ruling
	Reason string
	// Events and Moments count what is on record.
	Events, Moments int
	// Connections are the labels of its connections: see Timeline.ConnectionLabel.
	Connections []string
	Phases      []DigestPhase
	Story       *Story
	// StoryDoubt is why the story may have been another one: what is missing from the record.
	StoryDoubt string
	// Oddness says how far the repetition is from the others of its variant. It is the zero
	// value until CompareDigests has seen all of them.
	Oddness Oddness
}

// DigestPhase is a phase of a repetition without its moments.
type DigestPhase struct {
	Name string
	// Connection indexes Digest.Connections, -1 if it is of none; End is as in Phase.
	Connection, End  int
	Nanoseconds, Err int64
	Whole            string
}

// Oddness is how far a repetition is from the others of its variant.
type Oddness struct {
	// Alike counts the repetitions that have the same story, itself among them, of All that
	// were compared. Unusual is set if another story is more frequent.
	Alike, All int
	Unusual    bool
	// Score is that of its most unusual phase: by how many typical deviations it is from the
	// median of that phase. From OddScore on it is called odd.
	Score float64
	// Because says in a few words what is odd; empty if nothing is.
	Because string
}

// OddScore is from which score on a length is called odd (Iglewicz and Hoaglin 1993 use it
// for the same).
const OddScore = 3.5

// Digest is the repetition in short, without its oddness.
func (t *Timeline) Digest() *Digest {
	s := &Digest{
		Repetition: t.Repetition, Variant: t.Variant, Ruling: Worst(t.Verdicts), Moments: len(t.Moments), Story: t.Story(), StoryDoubt: t.storyDoubt(),
	}
	for i := range t.Moments {
		if t.Moments[i].Edge != Return {
			s.Events++
		}
	}
	if i := slices.IndexFunc(t.Verdicts, func(v Verdict) bool { return v.Ruling == s.Ruling }); i >= 0 && s.Ruling != Pass {
		s.Reason = t.Verdicts[i].Expectation + ": " + t.Verdicts[i].Reason
	}
	for c := range t.Connections {
		s.Connections = append(s.Connections, t.ConnectionLabel(c))
	}
	for _, p := range t.AllPhases() {
		s.Phases = append(s.Phases, DigestPhase{p.Name, p.Connection, p.End, p.Nanoseconds, p.Err, p.Whole})
	}
	return s
}

// phaseKey is what makes phases of two repetitions comparable: whose it is, and which of
// those it is.
type phaseKey struct {
	variant, name, connection string
	end, nth                  int
}

// CompareDigests fills in the oddness of each of some digests of one run: how far it is from the
// others of its variant.
func CompareDigests(all []*Digest) {
	stories := make(map[[2]string]int)
	most, members := make(map[string]int), make(map[string]int)
	for _, s := range all {
		members[s.Variant]++
		stories[[2]string{s.Variant, s.Story.ID}]++
		most[s.Variant] = max(most[s.Variant], stories[[2]string{s.Variant, s.Story.ID}])
	}
	typical := make(map[phaseKey]*lengths)
	for _, s := range all {
		s.eachPhase(func(k phaseKey, p *DigestPhase) {
			if typical[k] == nil {
				typical[k] = &lengths{}
			}
			typical[k].add(p)
		})
	}
	for _, of := range typical {
		of.settle()
	}
	for _, s := range all {
		o := Oddness{Alike: stories[[2]string{s.Variant, s.Story.ID}], All: members[s.Variant]}
		o.Unusual = o.Alike < most[s.Variant]
		s.eachPhase(func(k phaseKey, p *DigestPhase) {
			if score := typical[k].score(p); score > o.Score {
				o.Score = score
				if score >= OddScore {
					o.Because = fmt.Sprintf("%s took %s, typically %s", p.Name, spanText(p.Nanoseconds), spanText(typical[k].median))
				}
			}
		})
		if o.Unusual {
			o.Because = fmt.Sprintf("its order of events is that of %d in %d repetitions", o.Alike, o.All)
		}
		s.Oddness = o
	}
}

// eachPhase goes through the phases of a repetition that are bounded.
func (d *Digest) eachPhase(do func(phaseKey, *DigestPhase)) {
	count := make(map[phaseKey]int)
	for i := range d.Phases {
		p := &d.Phases[i]
		if p.Err >= clock.Unbounded {
			continue
		}
		k := phaseKey{variant: d.Variant, name: p.Name, end: p.End}
		if p.Connection >= 0 {
			k.connection = d.Connections[p.Connection]
		}
		k.nth = count[k]
		count[phaseKey{k.variant, k.name, k.connection, k.end, 0}]++
		do(k, p)
	}
}

// lengths is how one phase is distributed over repetitions.
type lengths struct {
	values    []int64
	err       int64
	median    int64
	deviation float64
}

func (l *lengths) add(p *DigestPhase) {
	l.values = append(l.values, p.Nanoseconds)
	l.err = max(l.err, p.Err)
}

// Deviations that are never taken for smaller: of nothing that repeats to the nanosecond,
// or to a fiftieth, is a difference worth a look.
const (
	leastDeviation = 1_000
	leastShare     = 0.02
)

func (l *lengths) settle() {
	l.median, l.deviation = statistics.Spread(l.values)
	l.deviation = max(l.deviation, leastDeviation, leastShare*math.Abs(float64(l.median)), float64(l.err))
}

// score is by how many typical deviations a length is from the median.
func (l *lengths) score(p *DigestPhase) float64 {
	return math.Abs(float64(p.Nanoseconds-l.median)) / l.deviation
}

// WorstOf is the index of the repetition to look at first: one with a verdict that is not
// pass, the worst of them, and of these the first; if all passed, the one with an order of
// events that the fewest have; failing that, the oddest by its phases; failing that, the
// first. because says why in a few words, empty for the last of these. It is -1 for no
// digests; CompareDigests must have seen them.
func WorstOf(all []*Digest) (index int, because string) {
	if len(all) == 0 {
		return -1, ""
	}
	index = 0
	for i, s := range all {
		if compareOdd(s, all[index]) < 0 {
			index = i
		}
	}
	switch s := all[index]; {
	case !s.passed():
		return index, "its ruling is " + s.Ruling.String()
	case s.isOdd():
		return index, s.Oddness.Because
	}
	return 0, ""
}

// passed is true of a repetition of which nothing was expected as well.
func (d *Digest) passed() bool { return severity(d.Ruling) <= severity(Pass) }

func (d *Digest) isOdd() bool { return d.Oddness.Unusual || d.Oddness.Score >= OddScore }

// compareOdd puts the one to look at first first, and of two alike neither.
func compareOdd(a, b *Digest) int {
	if !a.passed() || !b.passed() {
		return cmp.Compare(max(severity(b.Ruling), severity(Pass)), max(severity(a.Ruling), severity(Pass)))
	}
	if a.Oddness.Unusual || b.Oddness.Unusual {
		return cmp.Or(
			cmp.Compare(truth(b.Oddness.Unusual), truth(a.Oddness.Unusual)),
			cmp.Compare(a.Oddness.Alike, b.Oddness.Alike),
			cmp.Compare(b.Oddness.Score, a.Oddness.Score),
		)
	}
	return cmp.Compare(b.Oddness.Score, a.Oddness.Score)
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Oddest lists the indices of digests, the one to look at first first.
func Oddest(all []*Digest) []int {
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return compareOdd(all[a], all[b]) })
	return order
}
