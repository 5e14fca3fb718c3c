package controller

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/experiment"
	"syncline/controller/store"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// planned is an experiment as a run of it would be.
type planned struct {
	exp         *experiment.Experiment
	repetitions int
	variants    []store.RunVariant
}

// planExperiment reads a file and counts what a run of it comes to, within limits.
func planExperiment(source []byte, repetitions uint32, opts experiment.Options) (planned, error) {
	if repetitions > maxRepetitions {
		return planned{}, status.Errorf(codes.InvalidArgument, "%d repetitions; at most %d", repetitions, maxRepetitions)
	}
	opts.Runs = int(repetitions)
	exp, err := parse(source, opts)
	if err != nil {
		return planned{}, err
	}
	p := planned{exp: exp}
	if p.repetitions, p.variants, err = plannedRepetitions(exp); err != nil {
		return planned{}, status.Error(codes.InvalidArgument, err.Error())
	}
	if p.repetitions > maxRepetitions {
		return planned{}, status.Errorf(codes.InvalidArgument, "%d variants and %d repetitions in all; at most %d", len(p.variants), p.repetitions, maxRepetitions)
	}
	return p, nil
}

// PlanExperiment says what a run would be, and starts none.
func (s *runService) PlanExperiment(ctx context.Context, q *synclinev1.PlanExperimentRequest) (*synclinev1.PlanExperimentResponse, error) {
	c := s.controller
	p, err := planExperiment(q.Source, q.Repetitions, experiment.Options{FileName: q.FileName, Set: q.Set, Cases: q.Cases})
	if err != nil {
		return nil, err
	}
	plan := &synclinev1.Plan{Experiment: p.exp.Name, Needs: p.exp.Needs, Repetitions: uint32(p.repetitions)}
	hosts, err := c.planHosts(plan, p.exp, q.Bindings)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	for _, h := range hosts {
		plan.Hosts = append(plan.Hosts, runHostToProto(h))
	}
	for _, r := range p.exp.Require {
		where := "every host"
		if r.Host != "" {
			where = r.Host
		}
		plan.Requirements = append(plan.Requirements, where+": "+r.Text)
	}
	for v := range p.exp.Variants {
		variant, err := planVariant(p.exp, v, hosts)
		if err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
		plan.Variants = append(plan.Variants, variant)
	}
	if err := c.estimate(plan, p, q); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if err := c.planClocks(ctx, plan, p, q, hosts); err != nil {
		return nil, err
	}
	return &synclinev1.PlanExperimentResponse{Plan: plan}, nil
}

// planHosts binds the roles as CreateRun does, and notes what keeps it from starting.
// Where no binding works the hosts have no agent.
func (c *Controller) planHosts(plan *synclinev1.Plan, exp *experiment.Experiment, bindings map[string]string) ([]store.RunHost, error) {
	bound, err := exp.Bind(c.candidates(), bindings)
	if err != nil {
		plan.Unmet = strings.Split(err.Error(), "\n")
	}
	lacking, err := c.lacking(exp, bound)
	if err != nil {
		return nil, err
	}
	plan.Unmet = append(plan.Unmet, lacking...)
	if plan.UnknownNeeds, err = c.unspoken(exp, bound); err != nil {
		return nil, err
	}
	var hosts []store.RunHost
	for _, role := range exp.Hosts {
		b, ok := bound[role.Name]
		if !ok {
			hosts = append(hosts, store.RunHost{Name: role.Name})
			continue
		}
		if id, over := c.player(b.Name); over != nil {
			plan.Unmet = append(plan.Unmet, busyText(b.Name, id))
		}
		h := c.runHost(role.Name, b)
		if a, ok := c.store.Agent(b.Name); ok {
			h.Capabilities = observed(a.Capabilities, foretold(exp.Observe))
		}
		hosts = append(hosts, h)
	}
	return hosts, nil
}

// foretold are the sources that a plan is about: those that are observed, and tracepoints
// where states rest on them.
func foretold(sources []string) []string {
	if slices.Contains(sources, string(timeline.TCPStates)) {
		return append(slices.Clone(sources), string(timeline.Tracepoints))
	}
	return sources
}

func busyText(agent, run string) string {
	return fmt.Sprintf("agent %s is busy with run %s; wait for it, or: syncline cancel %s", agent, run, run)
}

// planVariant says what is expected of a variant, and what it rests on that will be
// missing.
func planVariant(exp *experiment.Experiment, v int, hosts []store.RunHost) (*synclinev1.PlanVariant, error) {
	e, err := exp.At(v, 1)
	if err != nil {
		return nil, err
	}
	variant := &synclinev1.PlanVariant{Name: exp.Variants[v].Name, Repetitions: uint32(repetitionsOf(e)), Warmup: uint32(e.Repeat.Warmup)}
	var native []timeline.Host
	for _, h := range hosts {
		native = append(native, timeline.Host{Name: h.Name, Kernel: h.Kernel})
	}
	o := newOutlook(e, hosts)
	expected := e.Expect
	for _, text := range timeline.Expectations(e, native) {
		verdict := &synclinev1.PlannedVerdict{Expectation: text}
		variant.Verdicts = append(variant.Verdicts, verdict)
		switch text {
		case timeline.EveryEvent:
			// It is about what was to be seen and is missing, not about what never was to be.
			continue
		case timeline.EveryOutcome:
			verdict.Doubt = o.doubt([]rest{{timeline.Syscalls, nil}})
		default:
			// The texts are those of the file's expectations that are meant for these
			// kernels, in their order.
			i := slices.IndexFunc(expected, func(e experiment.Expectation) bool { return e.Text == text })
			verdict.Doubt = o.doubt(o.restsOn(&expected[i]))
			if c := expected[i].Counter; c != nil && verdict.Doubt == "" {
				verdict.Doubt = o.shared(c.Host)
			}
			expected = expected[i+1:]
		}
		if o.premise != "" && verdict.Doubt == "" {
			verdict.Doubt = o.premise
		}
	}
	return variant, nil
}

// rest is a source that an expectation rests on, and the roles whose it is; none: of
// any host.
type rest struct {
	source timeline.Source
	roles  []string
}

// outlook knows which sources will be missing where.
type outlook struct {
	exp   *experiment.Experiment
	hosts []store.RunHost
	// premise is why nobody will know if a repetition counts, empty if that will be known.
	premise string
}

func newOutlook(exp *experiment.Experiment, hosts []store.RunHost) *outlook {
	o := &outlook{exp: exp, hosts: hosts}
	for i := range exp.Expect {
		e := &exp.Expect[i]
		if e.Precondition == nil {
			continue
		}
		if doubt := o.doubt(o.restsOn(e)); doubt != "" {
			o.premise = e.Text + ": " + doubt
			return o
		}
	}
	// A lane that waits for a packet that its host cannot see waits in vain.
	for i := range exp.Watches {
		w := &exp.Watches[i]
		if w.Packet == nil {
			continue
		}
		if doubt := o.doubt([]rest{{timeline.Packets, one(w.Host)}}); doubt != "" {
			o.premise = "a lane waits for " + w.Text + ": " + doubt
			return o
		}
	}
	if len(exp.Meetings) > 0 {
		o.premise = o.doubt([]rest{{timeline.Syscalls, nil}})
	}
	return o
}

// doubt names what is missing of what an expectation rests on: "A and B have no
// packets". A host without an agent is one of which nothing is known yet.
func (o *outlook) doubt(rests []rest) string {
	missing := map[timeline.Source][]string{}
	for _, r := range rests {
		for _, h := range o.hosts {
			if len(r.roles) > 0 && !slices.Contains(r.roles, h.Name) || slices.Contains(missing[r.source], h.Name) {
				continue
			}
			if slices.ContainsFunc(h.Capabilities, func(c store.Capability) bool { return c.Source == string(r.source) && !c.Available }) {
				missing[r.source] = append(missing[r.source], h.Name)
			}
		}
	}
	var all []string
	for _, source := range slices.Sorted(maps.Keys(missing)) {
		has := "has"
		if len(missing[source]) > 1 {
			has = "have"
		}
		all = append(all, fmt.Sprintf("%s %s no %s", strings.Join(missing[source], " and "), has, source))
	}
	return strings.Join(all, "; ")
}

// shared is why nobody can tell whose a host's counters are: those of a loopback address
// are the whole machine's.
func (o *outlook) shared(role string) string {
	for _, h := range o.hosts {
		if address, err := netip.ParseAddr(h.Address); err == nil && h.Name == role && address.IsLoopback() {
			return h.Name + " is an address of the loopback interface, and its counters are those of the whole machine"
		}
	}
	return ""
}

// restsOn are the sources that an expectation is judged by; package timeline takes a
// gap in any of them for a reason to doubt the verdict.
func (o *outlook) restsOn(e *experiment.Expectation) []rest {
	switch {
	case e.Packets != nil:
		return ofPattern(e.Packets)
	case e.States != nil:
		return o.ofStates(&e.States.Of)
	case e.Order != nil:
		return o.ofMoments(e.Order.Moments)
	case e.Precondition != nil:
		return o.ofMoments(e.Precondition.Order.Moments)
	case e.Phase != nil:
		return slices.Concat(o.ofPhase(e.Phase), ofSpans(e.Phase.Least, e.Phase.Most))
	case e.Count != nil:
		return o.ofCount(e.Count)
	case e.Retransmits != nil:
		return ofPacket(&e.Retransmits.Packet)
	case e.Drop != nil:
		return []rest{{timeline.Drops, one(e.Drop.Host)}}
	case e.Counter != nil:
		return []rest{{timeline.CounterData, one(e.Counter.Host)}}
	case e.Queue != nil:
		// The calls say which listener it is.
		roles := o.rolesOfSocket(&e.Queue.Of)
		// Between two samples the packets say how long it can have been.
		return []rest{{timeline.AcceptQueue, roles}, {timeline.Syscalls, roles}, {timeline.Packets, roles}}
	case e.Result != nil:
		return slices.Concat(o.ofMoment(&e.Result.Of), ofSpans(e.Result.Least, e.Result.Most))
	case e.Never != nil:
		return slices.Concat(ofPacket(&e.Never.Packet), o.ofWindow(e.Never.After, e.Never.Before))
	case e.Final != nil:
		var all []rest
		for i := range e.Final.Of {
			// Calls and packets say which socket of the kernel it is.
			roles := o.rolesOfSocket(&e.Final.Of[i])
			all = append(all, rest{timeline.TCPStates, roles}, rest{timeline.Packets, roles}, rest{timeline.Syscalls, roles})
		}
		return all
	case e.Spread != nil:
		return []rest{{timeline.Syscalls, nil}}
	case e.That != nil:
		return ofExpression(e.That)
	}
	return nil
}

// ofStates is what shows the states of a socket. The calls say which connections are its.
// Tracepoints prove the states by themselves; where a host has none, its packets tell them.
func (o *outlook) ofStates(s *experiment.SocketSelector) []rest {
	roles := o.rolesOfSocket(s)
	all := []rest{{timeline.Syscalls, roles}}
	for _, h := range o.hosts {
		if (len(roles) == 0 || slices.Contains(roles, h.Name)) && !gives(&h, timeline.Tracepoints) {
			all = append(all, rest{timeline.Packets, one(h.Name)})
		}
	}
	return all
}

// gives reports whether a host has said that it has all of a source.
func gives(h *store.RunHost, source timeline.Source) bool {
	return slices.ContainsFunc(h.Capabilities, func(c store.Capability) bool {
		return c.Source == string(source) && c.Available && c.Reason == ""
	})
}

func one(role string) []string {
	if role == "" {
		return nil
	}
	return []string{role}
}

// ofPacket is what shows a packet: the taps of the hosts that it names.
func ofPacket(p *experiment.PacketSelector) []rest {
	roles := slices.Concat(one(p.From), one(p.To))
	all := []rest{{timeline.Packets, roles}}
	switch {
	case p.ARP != 0, isNeighbour(p):
		all = append(all, rest{timeline.ARP, roles})
	case p.Protocol == timeline.ProtocolICMP, p.Protocol == timeline.ProtocolICMPv6:
		all = append(all, rest{timeline.ICMP, roles})
	}
	return all
}

// isNeighbour reports whether a packet is of neighbour discovery, RFC 4861, which
// observe counts as ARP.
func isNeighbour(p *experiment.PacketSelector) bool {
	const routerSolicitation, redirect = 133, 137
	return p.Protocol == timeline.ProtocolICMPv6 && p.ICMPType >= routerSolicitation && p.ICMPType <= redirect
}

// ofPattern is what shows the packets of a pattern: the taps of all hosts, since a file
// does not say between which hosts its connections are.
func ofPattern(e *experiment.PacketsExpectation) []rest {
	all := []rest{{timeline.Packets, nil}}
	for i := range e.Pattern {
		p := &e.Pattern[i].Packet
		if !e.Pattern[i].Any && (p.ARP != 0 || p.Protocol != 0 && p.Protocol != timeline.ProtocolTCP) {
			// It is about all packets of the repetition, in their order.
			return append(all, rest{timeline.ICMP, nil}, rest{timeline.ARP, nil})
		}
	}
	return all
}

func (o *outlook) ofMoments(moments []experiment.MomentSelector) []rest {
	var all []rest
	for i := range moments {
		all = append(all, o.ofMoment(&moments[i])...)
	}
	return all
}

// ofMoment is what shows a moment: the lane's host a call, the tap a packet.
func (o *outlook) ofMoment(m *experiment.MomentSelector) []rest {
	if m.Kind != experiment.PacketSent && m.Kind != experiment.PacketReceived {
		return []rest{{timeline.Syscalls, o.rolesOf(m.Lane, m.Label)}}
	}
	all := ofPacket(&m.Packet)
	for i := range all {
		all[i].roles = one(m.Host)
	}
	return all
}

func (o *outlook) ofWindow(moments ...*experiment.MomentSelector) []rest {
	var all []rest
	for _, m := range moments {
		if m != nil {
			all = append(all, o.ofMoment(m)...)
		}
	}
	return all
}

func (o *outlook) ofCount(e *experiment.CountExpectation) []rest {
	all := o.ofWindow(e.Moment, e.Before, e.After)
	if e.Packet != nil {
		all = append(all, ofPacket(e.Packet)...)
	}
	return all
}

// ofPhase: the blocked phases are calls, of whatever lane makes them; all others begin
// or end with a packet.
func (o *outlook) ofPhase(e *experiment.PhaseExpectation) []rest {
	call, blocked := strings.CutSuffix(e.Name, ".blocked")
	if !blocked {
		return []rest{{timeline.Packets, nil}, {timeline.Syscalls, nil}}
	}
	var roles []string
	for i := range o.exp.Lanes {
		l := &o.exp.Lanes[i]
		if slices.ContainsFunc(l.Steps, func(s experiment.Step) bool { return strings.HasPrefix(s.Call, call) }) {
			roles = append(roles, l.Host)
		}
	}
	return []rest{{timeline.Syscalls, roles}}
}

// ofSpans: the round-trip time is measured between packets.
func ofSpans(spans ...*experiment.Span) []rest {
	for _, s := range spans {
		if s != nil && s.RTTs != 0 {
			return []rest{{timeline.Packets, nil}}
		}
	}
	return nil
}

func ofExpression(e *experiment.ThatExpectation) []rest {
	ast, faults := experiment.CompileThat(e.Source)
	if len(faults) > 0 {
		return nil // The parser compiled it before; its verdict would say why it cannot be judged.
	}
	var all []rest
	for _, source := range experiment.ThatSources(ast) {
		all = append(all, rest{timeline.Source(source), nil})
		if source == string(timeline.Packets) {
			all = append(all, rest{timeline.ICMP, nil}, rest{timeline.ARP, nil})
		}
	}
	return all
}

// rolesOfSocket are the hosts of the lanes that have a socket; none if the author named
// none.
func (o *outlook) rolesOfSocket(s *experiment.SocketSelector) []string {
	if s.Lane == "" && s.Label == "" {
		return nil
	}
	return o.rolesOf(s.Lane, s.Label)
}

// rolesOf are the hosts of a lane, of all its copies, or of the lanes with a label.
func (o *outlook) rolesOf(lane, label string) []string {
	var roles []string
	for i := range o.exp.Lanes {
		l := &o.exp.Lanes[i]
		of := l.Name == lane || l.Base == lane
		if lane == "" {
			of = slices.ContainsFunc(l.Steps, func(s experiment.Step) bool { return s.Label == label })
		}
		if of && !slices.Contains(roles, l.Host) {
			roles = append(roles, l.Host)
		}
	}
	return roles
}

// estimate says how long a run takes: at least what it sleeps, at most its timeouts,
// and probably what the newest whole run of the same file took for a repetition.
func (c *Controller) estimate(plan *synclinev1.Plan, p planned, q *synclinev1.PlanExperimentRequest) error {
	for v := range p.exp.Variants {
		e, err := p.exp.At(v, 1)
		if err != nil {
			return err
		}
		most := repetitionsOf(e)
		least := most
		if e.Repeat.UntilReproduced > 0 {
			least = e.Repeat.Warmup + e.Repeat.UntilReproduced
		}
		plan.LeastNs += int64(least)*int64(slept(e)+silence) + int64(max(least-1, 0))*int64(e.Repeat.Gap)
		plan.MostNs += int64(most)*int64(e.Repeat.Timeout) + int64(max(most-1, 0))*int64(e.Repeat.Gap)
	}
	for _, r := range c.store.Runs() {
		same := r.State == store.Sealed && r.RepetitionsDone > 0 && bytes.Equal(r.Source, q.Source) &&
			maps.Equal(r.Set, q.Set) && slices.Equal(r.Cases, q.Cases) && len(r.Overhead) == 0
		if same {
			each := (r.EndedNs - r.CreatedNs) / int64(r.RepetitionsDone)
			plan.LikelyNs, plan.LikelyRunId = each*int64(p.repetitions), r.ID
			return nil
		}
	}
	return nil
}

// slept is how long the lane sleeps that sleeps longest.
func slept(e *experiment.Experiment) time.Duration {
	var longest time.Duration
	for i := range e.Lanes {
		all := e.Lanes[i].Delay
		for _, s := range e.Lanes[i].Steps {
			if sleep, ok := s.Args.(experiment.SleepArgs); ok {
				all += sleep.Duration
			}
		}
		longest = max(longest, all)
	}
	return longest
}
