package cli

import (
	"cmp"
	"slices"

	"syncline/controller/statistics"
	"syncline/controller/timeline"
)

// orderDiff is how the orders of events of two runs differ.
type orderDiff struct {
	Answer string `json:"answer"`
	// Because says why it cannot be told; empty otherwise.
	Because string `json:"because,omitempty"`
	// Orders are those that the repetitions have, the most frequent first.
	Orders []orderShare `json:"orders"`
	// DoubtA and DoubtB count repetitions that are left out since events of them are missing;
	// Why is the first reason.
	DoubtA int    `json:"left_out_a,omitempty"`
	DoubtB int    `json:"left_out_b,omitempty"`
	Why    string `json:"left_out_because,omitempty"`
}

// orderShare is one order of events, and how many repetitions of each run have it.
type orderShare struct {
	ID string `json:"id"`
	A  int    `json:"a"`
	B  int    `json:"b"`
	// InA and InB are the first repetitions that have it.
	InA []int `json:"repetitions_a"`
	InB []int `json:"repetitions_b"`
	// P is the probability of shares that differ so much by chance, corrected for how many
	// orders there are.
	P         float64 `json:"p"`
	Different bool    `json:"different"`
	// Lines are its own; of all but the first order those that the first has not. Only the
	// most frequent orders have them.
	Lines []orderLine `json:"lines,omitempty"`
}

// orderLine is a line of an order of events. Instead is what the most frequent order has in
// its place, empty if it has none.
type orderLine struct {
	Of      string   `json:"of"`
	Steps   []string `json:"steps"`
	Instead []string `json:"instead,omitempty"`
}

// orderExamples is how many repetitions of each order are named, and ordersTold how many
// orders are told in full.
const (
	orderExamples = 100
	ordersTold    = 20
)

// orderDiffOf compares the orders of events.
func orderDiffOf(a, b []*timeline.Digest) orderDiff {
	d := orderDiff{Answer: answerSame, Orders: []orderShare{}}
	byID := make(map[string]*orderShare)
	stories := make(map[string]*timeline.Story)
	count := func(all []*timeline.Digest, n func(*orderShare) *int, in func(*orderShare) *[]int, doubt *int) (sure int) {
		for _, x := range all {
			if x.StoryDoubt != "" {
				*doubt++
				if d.Why == "" {
					d.Why = x.StoryDoubt
				}
				continue
			}
			sure++
			o := byID[x.Story.ID]
			if o == nil {
				o = &orderShare{ID: x.Story.ID, InA: []int{}, InB: []int{}}
				byID[o.ID], stories[o.ID] = o, x.Story
			}
			*n(o)++
			if list := in(o); len(*list) < orderExamples {
				*list = append(*list, x.Repetition)
			}
		}
		return sure
	}
	sureA := count(a, func(o *orderShare) *int { return &o.A }, func(o *orderShare) *[]int { return &o.InA }, &d.DoubtA)
	sureB := count(b, func(o *orderShare) *int { return &o.B }, func(o *orderShare) *[]int { return &o.InB }, &d.DoubtB)
	for _, o := range byID {
		d.Orders = append(d.Orders, *o)
	}
	slices.SortFunc(d.Orders, func(x, y orderShare) int {
		return cmp.Or(cmp.Compare(y.A+y.B, x.A+x.B), cmp.Compare(y.A, x.A), cmp.Compare(x.ID, y.ID))
	})
	for i := range min(len(d.Orders), ordersTold) {
		d.Orders[i].Lines = orderLines(stories[d.Orders[0].ID], stories[d.Orders[i].ID], i > 0)
	}
	if sureA == 0 || sureB == 0 {
		d.Answer, d.Because = answerUnknown, unusable(sureA, sureB)
		return d
	}
	d.test(sureA, sureB)
	return d
}

// unusable says which run has no repetition whose order of events is sure.
func unusable(sureA, sureB int) string {
	switch {
	case sureA > 0:
		return "B has no repetition whose order is sure"
	case sureB > 0:
		return "A has no repetition whose order is sure"
	}
	return "neither run has a repetition whose order is sure"
}

// test finds which orders are more frequent in one run than chance would make them. Nobody can
// tell where not even runs without an order in common would differ by more than chance; nor
// where they have none in common, and yet each is too rare.
func (d *orderDiff) test(sureA, sureB int) {
	ps, apart := make([]float64, len(d.Orders)), true
	for i, o := range d.Orders {
		ps[i] = statistics.Fisher(o.A, sureA, o.B, sureB)
		apart = apart && (o.A == 0 || o.B == 0)
	}
	for i, p := range sharesAdjusted(ps) {
		o := &d.Orders[i]
		o.P, o.Different = p, p < statistics.Alpha
		if o.Different {
			d.Answer = answerDifferent
		}
	}
	switch {
	case d.Answer == answerDifferent:
	case statistics.Fisher(sureA, sureA, 0, sureB) >= statistics.Alpha:
		d.Answer, d.Because = answerUnknown, "there are too few repetitions to tell any difference from chance"
	case apart:
		d.Answer, d.Because = answerUnknown, "no order is in both, and none is in so many repetitions that it could not be by chance"
	}
}

// sharesAdjusted makes the probabilities of shares that sum to all those of as many tests. Of
// two, one is what the other leaves: that is one test.
func sharesAdjusted(ps []float64) []float64 {
	if len(ps) == 2 {
		return ps
	}
	return statistics.Holm(ps)
}

// orderLines are the lines of a story, or those only that another has not.
func orderLines(first, of *timeline.Story, onlyOwn bool) []orderLine {
	lines := []orderLine{}
	if !onlyOwn {
		for _, l := range of.Lines {
			lines = append(lines, orderLine{Of: l.Of, Steps: l.Steps})
		}
		return lines
	}
	// Lines of the same name are put beside each other; several connections may share one.
	mine, theirs := unlike(of.Lines, first.Lines), unlike(first.Lines, of.Lines)
	for _, l := range mine {
		line := orderLine{Of: l.Of, Steps: l.Steps}
		if i := slices.IndexFunc(theirs, func(x timeline.StoryLine) bool { return x.Of == l.Of }); i >= 0 {
			line.Instead = theirs[i].Steps
			theirs = slices.Delete(theirs, i, i+1)
		}
		lines = append(lines, line)
	}
	for _, l := range theirs {
		lines = append(lines, orderLine{Of: l.Of, Steps: []string{}, Instead: l.Steps})
	}
	return lines
}

// unlike are the lines of a story that another has not, each as often as it has more of it.
// The lines of both are sorted.
func unlike(of, other []timeline.StoryLine) []timeline.StoryLine {
	var own []timeline.StoryLine
	for _, l := range of {
		for len(other) > 0 && compareLines(other[0], l) < 0 {
			other = other[1:]
		}
		if len(other) > 0 && compareLines(other[0], l) == 0 {
			other = other[1:]
			continue
		}
		own = append(own, l)
	}
	return own
}

func compareLines(a, b timeline.StoryLine) int {
	return cmp.Or(cmp.Compare(a.Of, b.Of), slices.Compare(a.Steps, b.Steps))
}
