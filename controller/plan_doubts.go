package controller

import (
	"fmt"
	"slices"
	"time"

	"syncline/controller/experiment"
)

// clockKnown is what is expected to be known of two clocks.
type clockKnown struct {
	// err is half the width of the interval, in nanoseconds; it means nothing unless known
	// is set.
	err   int64
	known bool
	// by says where that is from, or why nothing is known.
	by string
}

// clockDoubts says which expectations may stay undecided because of the clocks: those with
// a margin, across hosts, that what is known of their clocks is too little for, and those
// across hosts of whose clocks nothing is known. known is by the index of the hosts in the
// file; a pair that is not in it is nobody's to judge yet.
//
// An order of two moments has no margin: it is decided unless they are nearer to each other
// than the clocks are known, or a message orders them. So it is doubted only where nothing
// is known. Expressions are not looked into.
func clockDoubts(exp *experiment.Experiment, known map[hostPair]clockKnown) ([]string, error) {
	var all []string
	for v := range exp.Variants {
		e, err := exp.At(v, 1)
		if err != nil {
			return nil, err
		}
		d := &clockDoubter{outlook: outlook{exp: e}, known: known}
		for i := range e.Meetings {
			if m := &e.Meetings[i]; m.MaxSpread > 0 {
				d.margin(fmt.Sprintf("meeting %s: max_spread %v", m.Name, m.MaxSpread), m.MaxSpread, d.rolesMeeting(m.Name))
			}
		}
		for i := range e.Expect {
			d.expectation(&e.Expect[i])
		}
		for _, text := range d.doubts {
			if !slices.Contains(all, text) {
				all = append(all, text)
			}
		}
	}
	return all, nil
}

// clockDoubter looks at the expectations of one variant.
type clockDoubter struct {
	outlook
	known  map[hostPair]clockKnown
	doubts []string
}

func (d *clockDoubter) expectation(e *experiment.Expectation) {
	switch {
	case e.Spread != nil:
		d.margin(e.Text, e.Spread.Most, d.rolesMeeting(e.Spread.Meeting))
	case e.Phase != nil && experiment.PhaseCrosses(e.Phase.Name):
		// It begins at one end and comes to its end at the other; most phases are one host's.
		d.margin(e.Text, spanMargin(e.Phase.Least, e.Phase.Most), d.rolesConnected())
	case e.Order != nil:
		d.order(e.Text, e.Order.Moments)
	case e.Precondition != nil:
		d.order(e.Text, e.Precondition.Order.Moments)
	case e.Count != nil:
		d.window(e.Text, e.Count.Moment, e.Count.Before, e.Count.After)
	case e.Never != nil:
		d.window(e.Text, nil, e.Never.Before, e.Never.After)
	}
}

// spanMargin is how much room two limits leave for an error: their distance, or the one
// limit where there is no other. It is 0, not known, where it depends on the round-trip
// time.
func spanMargin(least, most *experiment.Span) time.Duration {
	switch {
	case least != nil && most != nil:
		if least.RTTs == most.RTTs {
			return most.Duration - least.Duration
		}
	case most != nil && most.RTTs == 0:
		return most.Duration
	case least != nil && least.RTTs == 0:
		return least.Duration
	}
	return 0
}

// margin doubts an expectation whose margin the clocks of its hosts leave no room in: the
// interval of a time across them is twice the error wide.
func (d *clockDoubter) margin(text string, margin time.Duration, roles []string) {
	a, b, worst, ok := d.worst(roles)
	switch {
	case !ok:
	case !worst.known:
		d.doubt("%s: nothing is known of how the clocks of %s and %s are to each other: %s", text, a, b, worst.by)
	case margin > 0 && 2*worst.err > int64(margin):
		d.doubt("%s: the margin is %v, and the clocks of %s and %s are known to ±%v only", text, margin, a, b, time.Duration(worst.err))
	}
}

func (d *clockDoubter) order(text string, moments []experiment.MomentSelector) {
	for i := 1; i < len(moments); i++ {
		first, next := d.rolesAt(&moments[i-1]), d.rolesAt(&moments[i])
		d.unordered(text, first, next)
	}
}

// window doubts what is counted before or after a moment of another host.
func (d *clockDoubter) window(text string, of, before, after *experiment.MomentSelector) {
	for _, limit := range []*experiment.MomentSelector{before, after} {
		if limit == nil {
			continue
		}
		roles := d.allRoles()
		if of != nil {
			roles = d.rolesAt(of)
		}
		d.unordered(text, roles, d.rolesAt(limit))
	}
}

// unordered doubts an order of moments of hosts of whose clocks nothing is known.
func (d *clockDoubter) unordered(text string, first, next []string) {
	for _, a := range first {
		for _, b := range next {
			if k, ok := d.of(a, b); ok && !k.known {
				d.doubt("%s: nothing is known of how the clocks of %s and %s are to each other (%s); only a message between the two moments can order them", text, a, b, k.by)
				return
			}
		}
	}
}

func (d *clockDoubter) doubt(format string, args ...any) {
	d.doubts = append(d.doubts, fmt.Sprintf(format, args...))
}

// worst is the pair of some hosts of which least is known; ok is false if there is none of
// which anything can be said.
func (d *clockDoubter) worst(roles []string) (a, b string, worst clockKnown, ok bool) {
	for i, x := range roles {
		for _, y := range roles[i+1:] {
			k, there := d.of(x, y)
			if !there || ok && (!worst.known || k.known && k.err <= worst.err) {
				continue
			}
			a, b, worst, ok = x, y, k, true
		}
	}
	return a, b, worst, ok
}

func (d *clockDoubter) of(a, b string) (k clockKnown, ok bool) {
	index := func(role string) int {
		return slices.IndexFunc(d.exp.Hosts, func(h experiment.Host) bool { return h.Name == role })
	}
	k, ok = d.known[pairOf(index(a), index(b))]
	return k, ok
}

func (d *clockDoubter) allRoles() []string {
	var roles []string
	for _, h := range d.exp.Hosts {
		roles = append(roles, h.Name)
	}
	return roles
}

// rolesMeeting are the hosts of the lanes of a meeting.
func (d *clockDoubter) rolesMeeting(name string) []string {
	var roles []string
	for i := range d.exp.Meetings {
		if d.exp.Meetings[i].Name != name {
			continue
		}
		for _, lane := range d.exp.Meetings[i].Lanes {
			for _, role := range d.rolesOf(lane, "") {
				if !slices.Contains(roles, role) {
					roles = append(roles, role)
				}
			}
		}
	}
	return roles
}

// rolesConnected are the hosts that lanes connect with each other.
func (d *clockDoubter) rolesConnected() []string {
	var roles []string
	for _, l := range d.exp.Lanes {
		for _, s := range l.Steps {
			if to := targetOf(s); to != "" && to != l.Host {
				for _, role := range []string{l.Host, to} {
					if !slices.Contains(roles, role) {
						roles = append(roles, role)
					}
				}
			}
		}
	}
	return roles
}

// rolesAt are the hosts at which a moment can be.
func (d *clockDoubter) rolesAt(m *experiment.MomentSelector) []string {
	if m.Kind == experiment.PacketSent || m.Kind == experiment.PacketReceived {
		return one(m.Host)
	}
	return d.rolesOf(m.Lane, m.Label)
}
