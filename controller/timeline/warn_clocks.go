package timeline

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"syncline/controller/clock"
)

func (b *Builder) name(host int) string { return b.run.Hosts[host].Name }

// warnOfClocks says what a person must know of the clocks of the whole run before
// believing a time that crosses hosts.
func (b *Builder) warnOfClocks() []string {
	return slices.Concat(b.warnOfUntied(), b.warnOfTestClocks(), b.warnOfContradictions(), b.warnOfDisagreements(), b.warnOfWander(), b.warnOfSteadiness())
}

func (b *Builder) warnOfUntied() []string {
	var w []string
	for h, method := range b.method {
		if method == MethodUnknown && b.contradicted(h) == "" && b.contradicted(b.clocks.Reference()) == "" {
			w = append(w, fmt.Sprintf("Nothing ties the clock of %s to that of %s: their times cannot be compared, and only messages order them.",
				b.name(h), b.name(b.clocks.Reference())))
		}
	}
	return w
}

func (b *Builder) warnOfTestClocks() []string {
	var w []string
	for _, h := range b.run.Hosts {
		if h.TestClock != "" {
			w = append(w, fmt.Sprintf("The times of %s are of a test clock (%s), and not those of the machine.", h.Name, h.TestClock))
		}
	}
	return w
}

func (b *Builder) warnOfContradictions() []string {
	var w []string
	for _, c := range b.contradictions {
		w = append(w, b.contradiction(&c)+".")
	}
	remains := b.clocks.Inconsistent()
	for _, c := range remains {
		between := pairOf(c.A, c.B)
		if !slices.ContainsFunc(b.contradictions, func(known clock.Contradiction) bool { return pairOf(known.A, known.B) == between }) {
			w = append(w, b.contradiction(&c)+".")
		}
	}
	switch {
	case len(remains) > 0:
		w = append(w, "The contradiction remains whichever few messages are left out: no time across these hosts is believed, and only messages order them.")
	case len(b.contradictions) > 0:
		w = append(w, b.warnOfLiars())
	}
	return w
}

// contradiction is a sentence without its full stop.
func (b *Builder) contradiction(c *clock.Contradiction) string {
	return fmt.Sprintf("The clocks of %s and %s contradict each other by %s: a time stamp lies, or a clock drifts by more than %s ppm",
		b.name(c.A), b.name(c.B), time.Duration(c.Lo-c.Hi), trimmed(float64(b.clocks.DriftPPB())/1000, 3))
}

// contradicted is why nothing is known of a host's clock though messages tie it to others: they
// contradict each other, and nobody knows which of them lie. It has no full stop; empty if
// there is no such reason.
func (b *Builder) contradicted(host int) string {
	for _, c := range b.clocks.Inconsistent() {
		if (host == c.A || host == c.B) && !b.clocks.Same(c.A, c.B) {
			return b.contradiction(&c)
		}
	}
	return ""
}

// warnOfLiars says what became of the contradictions.
func (b *Builder) warnOfLiars() string {
	var out []string
	for _, method := range methods {
		if n := b.liars[method]; n > 0 {
			out = append(out, fmt.Sprintf("%d of the run's %s", n, method))
		}
	}
	return strings.Join(out, " and ") + " contradict most of the others and were left out of the clocks."
}

func (b *Builder) warnOfDisagreements() []string {
	var w []string
	for _, d := range b.clocks.Disagreements() {
		w = append(w, upper(b.disagreement(&d))+"."+
			" A box with a clock of its own may be on the way of one of them, or a stamp lies; a path that is slower one way than the other does not do this."+
			" Times across these hosts are given so widely that they hold whichever is right.")
	}
	return w
}

// upper begins a sentence.
func upper(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// lower goes on with one.
func lower(text string) string { return strings.ToLower(text[:1]) + text[1:] }

// disagreement says, without a full stop, where two methods exclude each other.
func (b *Builder) disagreement(d *clock.Disagreement) string {
	how, least, most := "ahead of", further(d.Probes.Hi, d.Segments.Lo), further(d.Probes.Lo, d.Segments.Hi)
	if d.Segments.Hi < d.Probes.Lo {
		how, least, most = "behind", further(d.Segments.Hi, d.Probes.Lo), further(d.Segments.Lo, d.Probes.Hi)
	}
	by := "at least " + spanText(least)
	if most < clock.Unbounded {
		by = spanText(least) + " to " + spanText(most)
	}
	return fmt.Sprintf("probes and segments exclude each other: by segments the clock of %s, against that of %s, is %s %s where it is by probes",
		b.name(d.B), b.name(d.A), by, how)
}

// further is how much more one limit is than another; a missing limit is nowhere near.
func further(from, to int64) int64 {
	if from <= -clock.Unbounded || to >= clock.Unbounded {
		return clock.Unbounded
	}
	return to - from
}

// warnOfSights says of probes what does not belong beside a repetition: it is no less
// complete for it.
func (b *Builder) warnOfSights() []string {
	var w []string
	for h, n := range b.probes.lost {
		if n > 0 {
			w = append(w, fmt.Sprintf("%s lost %d sights of clock probes: the clocks may be known less well for it.", b.name(h), n))
		}
	}
	if n := b.probes.strangers; n > 0 {
		w = append(w, fmt.Sprintf("%d sights of clock probes name a peer that has no part in this.", n))
	}
	return w
}

func (b *Builder) warnOfWander() []string {
	var w []string
	for _, broken := range b.clocks.WanderBroken() {
		w = append(w, fmt.Sprintf("The clocks of %s and %s changed their rates against each other faster than %s ppm a second, and no host reported why: only that neither gains more than %s ppm on the other is made use of.",
			b.name(broken.A), b.name(broken.B), trimmed(float64(b.clocks.WanderPPB())/1000, 3), trimmed(float64(b.clocks.DriftPPB())/1000, 3)))
	}
	return w
}
