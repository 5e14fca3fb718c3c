package cli

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"syncline/cli/chaos"
	"syncline/proto/identity"
	synclinev1 "syncline/proto/syncline/v1"
)

var (
	chaosTime   = flag.Duration("chaos.time", 18*time.Second, "for how long TestChaos begins faults")
	chaosSeed   = flag.Uint64("chaos.seed", 3412, "seed of the schedule of faults; 0: another one each time")
	chaosFaults = flag.String("chaos.faults", "", "kinds of faults, separated by commas, or all, or none: the load alone (default: those that take little time)")
	chaosRate   = flag.Int("chaos.rate", 20_000, "events a second that generators record, at most")
	chaosTable  = flag.String("chaos.table", "", "also write the table to this file")
	chaosKeep   = flag.String("chaos.keep", "", "copy the lab's directory to this new one if the test fails")
)

// shortFaults are for every run of the tests.
const shortFaults = "kill-leader,stop-leader,isolate-leader,cut-pair,repeat-and-reorder,transfer,kill-all,garbage"

// backLimit is how long the cluster may take to be whole after a group of faults, acceptLimit
// how long after the SIGKILL of a leader until a write is accepted.
const (
	backLimit   = 30 * time.Second
	acceptLimit = 5 * time.Second
)

// promised is a limit as it is judged by. The selection for every run of the tests shares a slow
// machine with other tests and is built with the race detector: it shows what is kept, and not how
// fast.
func promised(limit time.Duration) time.Duration {
	if *chaosFaults == "" {
		return 6 * limit
	}
	return limit
}

// TestChaos disturbs a cluster that is at work, by a schedule of faults that a seed makes, and
// checks that it keeps every promise. See package chaos.
func TestChaos(t *testing.T) {
	schedule, err := chaosSchedule()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("-chaos.seed %d -chaos.time %v: %d faults", *chaosSeed, *chaosTime, len(schedule))
	l := newChaosLab(t, needsDevice(schedule))
	// Those who keep the pace end after the last run.
	paced, endPace := context.WithCancel(context.Background())
	defer endPace()
	ld := l.newLoad(paced, 2, *chaosRate)
	var working sync.WaitGroup
	defer working.Wait()
	stop, end := context.WithCancel(context.Background())
	defer end()
	working.Go(func() { ld.work(stop) })
	probe := l.newProbe()
	working.Go(func() { probe.work(stop) })
	working.Go(func() { l.follow(stop, ld) })
	l.within(time.Minute, "the first runs are over", func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.figures.Runs < 2 {
			return fmt.Errorf("%d runs", l.figures.Runs)
		}
		return nil
	})
	before := l.holdings()
	began := time.Now()
	outcomes := l.disturb(ld, probe, schedule, began)
	if len(schedule) == 0 {
		wait(stop, *chaosTime)
	}
	l.figures.Length = time.Since(began)
	l.atWork(ld)
	end()
	working.Wait()
	endPace()
	l.judge(ld, before)
	l.tell(outcomes)
}

// chaosSchedule is what the flags ask for; without faults it is empty.
func chaosSchedule() ([]chaos.Fault, error) {
	kinds := *chaosFaults
	switch kinds {
	case "none":
		return nil, nil
	case "":
		kinds = shortFaults
	}
	chosen, err := chaos.ParseKinds(kinds)
	if err != nil {
		return nil, err
	}
	if *chaosSeed == 0 {
		*chaosSeed = uint64(time.Now().UnixNano())
	}
	return chaos.Schedule(chaos.Plan{Seed: *chaosSeed, Kinds: chosen, Length: *chaosTime, Overlap: 3})
}

// follow tells every half a minute how far it is, and what the disks and the test itself hold.
func (l *chaosLab) follow(stop context.Context, ld *load) {
	var last uint64
	at := time.Now()
	for {
		wait(stop, 30*time.Second)
		if stop.Err() != nil {
			return
		}
		var acked uint64
		for _, g := range ld.generators {
			acked += g.journal.acked()
		}
		var disks []string
		for _, n := range l.nodes {
			disks = append(disks, fmt.Sprintf("%s %d MiB", n.tag, n.used()>>20))
		}
		l.mu.Lock()
		runs, failed := l.figures.Runs, l.figures.Failed
		l.mu.Unlock()
		now := time.Now()
		l.t.Logf("%6.1f s: %d events acknowledged, %.0f a second; %d runs, %d failed; disks: %s; this process: %d MiB",
			now.Sub(l.began).Seconds(), acked, float64(acked-last)/now.Sub(at).Seconds(), runs, failed, strings.Join(disks, ", "), residentMiB())
		last, at = acked, now
	}
}

// residentMiB is the memory of this process (VmRSS, proc_pid_status(5)); 0 if it cannot be read.
func residentMiB() int {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kib int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib >> 10
		}
	}
	return 0
}

// disturb carries out a schedule, group by group, and waits after each until the cluster is
// whole again.
func (l *chaosLab) disturb(ld *load, probe *probe, schedule []chaos.Fault, began time.Time) []chaos.Outcome {
	var all []chaos.Outcome
	// late is by how much everything is later than the schedule has it.
	var late time.Duration
	for len(schedule) > 0 {
		group := schedule[:groupOf(schedule)]
		schedule = schedule[len(group):]
		late = max(late, time.Since(began)-group[0].Start)
		outcomes := make([]chaos.Outcome, len(group))
		kills := make([]time.Time, len(group))
		var at sync.WaitGroup
		for i, f := range group {
			at.Go(func() { outcomes[i], kills[i] = l.inflict(ld, f, began.Add(late), len(group) == 1) })
		}
		at.Wait()
		for _, killed := range kills {
			if !killed.IsZero() {
				l.accepted(probe, killed, len(group) == 1)
			}
		}
		all = append(all, outcomes...)
		took, err := l.until(max(2*time.Minute, promised(backLimit)), l.whole)
		l.mu.Lock()
		l.figures.Back = append(l.figures.Back, took)
		l.mu.Unlock()
		if err != nil || took > promised(backLimit) {
			l.violate(chaos.Violation{Invariant: chaos.NoneWedged, Count: 1, What: fmt.Sprintf("after %v the cluster is not whole in %v: it took %v: %v", kindsOf(group), promised(backLimit), took, err)})
		}
		if err != nil {
			return all
		}
		l.compared += l.compare()
	}
	return all
}

func kindsOf(group []chaos.Fault) []chaos.Kind {
	var kinds []chaos.Kind
	for _, f := range group {
		kinds = append(kinds, f.Kind)
	}
	return kinds
}

// whole fails unless all controllers are level and every agent and generator is connected.
func (l *chaosLab) whole() error {
	if err := l.level(len(l.nodes)); err != nil {
		return err
	}
	return l.connected()
}

// atWork waits until each of those who ask for runs has one more that ended by itself and has
// everything.
func (l *chaosLab) atWork(ld *load) {
	before := ld.wholeRuns()
	_, err := l.until(promised(time.Minute), func() error {
		now := ld.wholeRuns()
		for i, n := range now {
			if n == before[i] {
				return fmt.Errorf("no run of %s came to its end, whole, since the last fault was healed", ld.drivers[i])
			}
		}
		return nil
	})
	if err != nil {
		l.violate(chaos.Violation{Invariant: chaos.NoneWedged, Count: 1, What: err.Error()})
	}
}

// groupOf is how many of the first faults overlap.
func groupOf(schedule []chaos.Fault) int {
	n, end := 1, schedule[0].End()
	for n < len(schedule) && schedule[n].Start <= end {
		end = max(end, schedule[n].End())
		n++
	}
	return n
}

// inflict carries out one fault. alone: no other one overlaps with it.
func (l *chaosLab) inflict(ld *load, f chaos.Fault, zero time.Time, alone bool) (o chaos.Outcome, killed time.Time) {
	o.Fault = f
	time.Sleep(time.Until(zero.Add(f.Start)))
	i := &injury{Fault: f, lab: l, load: ld, alone: alone}
	err := i.begin()
	if errors.Is(err, errNothing) {
		l.t.Logf("%6.1f s: %s: skipped: %v", time.Since(l.began).Seconds(), f.Kind, err)
		o.Skipped = err.Error()
		return o, killed
	}
	if err != nil {
		l.trouble(string(f.Kind), err)
	}
	if i.heal == nil {
		return o, killed
	}
	time.Sleep(f.For)
	o.Proof, err = i.heal()
	if errors.Is(err, errNothing) {
		l.t.Logf("%6.1f s: %s: skipped: %v", time.Since(l.began).Seconds(), f.Kind, err)
		o.Skipped = err.Error()
		return o, time.Time{}
	}
	o.Happened = o.Proof != ""
	l.t.Logf("%6.1f s: %s for %v: %s", time.Since(l.began).Seconds(), f.Kind, f.For.Round(time.Millisecond), o.Proof)
	if err != nil {
		l.trouble("heal "+string(f.Kind), err)
	}
	if !o.Happened {
		l.violate(chaos.Violation{Invariant: chaos.FaultsHappened, Count: 1, What: fmt.Sprintf("%s for %v: nothing shows it", f.Kind, f.For)})
	}
	return o, i.killed
}

// accepted notes how long it took from the end of a leader to a write that was accepted. With other
// faults about, two nodes may have been without each other: it is no promise then.
func (l *chaosLab) accepted(p *probe, killed time.Time, alone bool) {
	var took time.Duration
	_, err := l.until(promised(30*time.Second), func() error {
		at, ok := p.firstAfter(killed)
		if !ok {
			return errors.New("no write was accepted since")
		}
		took = at.Sub(killed)
		return nil
	})
	if err != nil {
		l.violate(chaos.Violation{Invariant: chaos.SoonAccepted, Count: 1, What: fmt.Sprintf("%v after the leader was killed: %v", promised(30*time.Second), err)})
		return
	}
	if !alone {
		return
	}
	l.mu.Lock()
	l.figures.Accepted = append(l.figures.Accepted, took)
	l.mu.Unlock()
	if took > promised(acceptLimit) {
		l.violate(chaos.Violation{Invariant: chaos.SoonAccepted, Count: 1, What: fmt.Sprintf("%v after the leader was killed, at most %v are promised", took, promised(acceptLimit))})
	}
}

// compare holds the hashes of the nodes' states against each other, at entries that two of them have
// hashed.
func (l *chaosLab) compare() (compared int) {
	type said struct {
		node string
		hash string
	}
	seen := map[uint64]said{}
	for _, n := range l.nodes {
		r, err := l.report(n)
		if err != nil {
			continue // level has asked it a moment ago, and another fault may have begun
		}
		for _, c := range r.Checkpoints {
			hash := fmt.Sprintf("%x", c.Hash)
			first, ok := seen[c.Index]
			if !ok {
				seen[c.Index] = said{n.tag, hash}
				continue
			}
			compared++
			if first.hash != hash {
				l.violate(chaos.Violation{Invariant: chaos.SameState, Count: 1, What: fmt.Sprintf("after entry %d the state of %s is %.12s, that of %s %.12s", c.Index, first.node, first.hash, n.tag, hash)})
			}
		}
	}
	return compared
}

// judge checks what can be checked at the end alone.
func (l *chaosLab) judge(ld *load, before map[string]processHolding) {
	l.violate(ld.controls.Check(2 * time.Minute)...)
	l.figures.Calls, l.figures.UnknownCalls = ld.controls.Count()
	for _, n := range l.nodes {
		if _, err := l.until(promised(backLimit), func() error { return ld.heardSeals(n) }); err != nil {
			l.violate(chaos.Violation{Invariant: chaos.NoneWedged, Count: 1, What: err.Error()})
		}
	}
	l.violate(ld.seals.Check()...)
	// Which files there are follows from the log too, but for a moment.
	if _, err := l.until(backLimit, func() error { return l.sameFiles(ld) }); err != nil {
		l.violate(chaos.Violation{Invariant: chaos.SameState, Count: 1, What: err.Error()})
	}
	for _, g := range ld.generators {
		h, err := g.journal.read()
		if err != nil {
			l.trouble("read the journal of "+g.name, err)
			continue
		}
		if h.AckedEvents != g.journal.history.AckedEvents || h.WroteEvents != g.journal.history.WroteEvents {
			l.trouble("journal of "+g.name, fmt.Errorf("it has %d events written and %d acknowledged on the disk, and %d and %d in memory", h.WroteEvents, h.AckedEvents, g.journal.history.WroteEvents, g.journal.history.AckedEvents))
		}
		l.figures.Wrote += h.WroteEvents
		l.figures.Acked += h.AckedEvents
	}
	if l.figures.Acked == 0 || l.figures.Checked == 0 {
		l.trouble("load", fmt.Errorf("%d events were acknowledged, %d read back: nothing was tested", l.figures.Acked, l.figures.Checked))
	}
	// A hash is computed every 1,000 entries. A node that was restarted has told of it again.
	if applied := l.applied(); l.compared == 0 && applied > 3000 {
		l.trouble("compare states", fmt.Errorf("%d entries were applied, and no two nodes told a hash of the same one", applied))
	}
	l.leaks(before)
}

// applied is the last entry that any node has applied.
func (l *chaosLab) applied() uint64 {
	var last uint64
	for _, n := range l.nodes {
		if r, err := l.report(n); err == nil {
			last = max(last, r.AppliedIndex)
		}
	}
	return last
}

func (l *chaosLab) tell(outcomes []chaos.Outcome) {
	var b strings.Builder
	if err := chaos.WriteTable(&b, outcomes, l.violations, l.figures); err != nil {
		l.t.Fatal(err)
	}
	l.t.Log("\n" + b.String())
	if *chaosTable != "" {
		if err := os.WriteFile(*chaosTable, []byte(b.String()), 0o644); err != nil {
			l.t.Error(err)
		}
	}
	happened := 0
	for _, o := range outcomes {
		if o.Happened {
			happened++
		}
	}
	if happened == 0 && len(outcomes) > 0 {
		l.t.Error("no fault happened")
	}
}

// processHolding is what a process has.
type processHolding struct{ descriptors, goroutines int }

// holdings are those of all processes. Only controllers tell of their goroutines.
func (l *chaosLab) holdings() map[string]processHolding {
	all := map[string]processHolding{}
	for _, p := range l.processes() {
		now := p.current()
		if now == nil {
			continue
		}
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", now.PID()))
		if err != nil {
			continue // it has just ended
		}
		all[p.tag] = processHolding{descriptors: len(entries)}
	}
	for _, n := range l.nodes {
		if h, ok := all[n.tag]; ok {
			if goroutines, err := l.goroutines(n); err == nil {
				h.goroutines = goroutines
				all[n.tag] = h
			}
		}
	}
	return all
}

// goroutines asks a controller's metrics.
func (l *chaosLab) goroutines(n *chaosNode) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	conn, err := n.host.Dial(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(chaosMetrics))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return 0, err
	}
	if _, err := fmt.Fprint(conn, "GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"); err != nil {
		return 0, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "go_goroutines "); ok {
			return strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return 0, errors.Join(lines.Err(), errors.New("the metrics have no go_goroutines"))
}

// Slack of what a process may hold more than at the beginning: the leader has its agents'
// connections, and a store keeps the files of 64 streams open. An agent in a run has its captures,
// its lanes' sockets and its spool.
const (
	moreDescriptors      = 100
	moreGoroutines       = 120
	moreAgentDescriptors = 16
	// agentGoroutines is the most that an agent may have that is in no run.
	agentGoroutines = 60
)

// leaks compares what processes hold with the most that one of their kind held before the
// faults: another node leads now. The agents are asked for their goroutines in the only way there
// is, which ends them.
func (l *chaosLab) leaks(before map[string]processHolding) {
	var node, agent processHolding
	for tag, h := range before {
		of := &agent
		if strings.HasPrefix(tag, "c") {
			of = &node
		}
		of.descriptors, of.goroutines = max(of.descriptors, h.descriptors), max(of.goroutines, h.goroutines)
	}
	node.descriptors += moreDescriptors
	node.goroutines += moreGoroutines
	agent.descriptors += moreAgentDescriptors
	var after map[string]processHolding
	_, err := l.until(promised(backLimit), func() error {
		after = l.holdings()
		for tag, h := range after {
			most := agent
			if strings.HasPrefix(tag, "c") {
				most = node
			}
			if h.descriptors > most.descriptors || h.goroutines > most.goroutines {
				return fmt.Errorf("%s holds %d descriptors and %d goroutines, at most %d and %d are expected", tag, h.descriptors, h.goroutines, most.descriptors, most.goroutines)
			}
		}
		return nil
	})
	if err != nil {
		l.violate(chaos.Violation{Invariant: chaos.NoneLeaked, Count: 1, What: err.Error()})
	}
	for _, p := range l.agents {
		n, err := p.stacks()
		if err != nil {
			l.trouble("count the goroutines of agent "+p.tag, err)
			continue
		}
		after[p.tag] = processHolding{after[p.tag].descriptors, n}
		if n > agentGoroutines {
			l.violate(chaos.Violation{Invariant: chaos.NoneLeaked, Count: 1, What: fmt.Sprintf("agent %s, which is in no run, has %d goroutines, at most %d are expected", p.tag, n, agentGoroutines)})
		}
	}
	l.t.Logf("descriptors and goroutines before: %v; after: %v", before, after)
}

// stacks counts the goroutines of a process by the stacks that the Go runtime writes when SIGQUIT
// ends it (GOTRACEBACK, package runtime).
func (p *chaosProcess) stacks() (int, error) {
	before, err := os.Stat(p.logName())
	if err != nil {
		return 0, err
	}
	if _, err := p.hold(syscall.SIGQUIT); err != nil {
		return 0, err
	}
	text, err := os.ReadFile(p.logName())
	if err != nil {
		return 0, err
	}
	n := 0
	for line := range strings.Lines(string(text[before.Size():])) {
		// Those of the runtime itself, number 0 among them, are not ours.
		if strings.HasPrefix(line, "goroutine ") && !strings.HasPrefix(line, "goroutine 0 ") {
			n++
		}
	}
	if n == 0 {
		return 0, errors.New("it has written no stack on SIGQUIT")
	}
	return n, nil
}

// probe writes something small again and again, as an agent that comes and goes: its welcome is
// committed (store.PutAgent). It knows when each write was accepted that was asked for when.
type probe struct {
	lab *chaosLab
	gen *generator

	mu       sync.Mutex
	accepted []probeWrite
}

type probeWrite struct{ asked, answered time.Time }

func (l *chaosLab) newProbe() *probe {
	l.issue(identity.Agent, probeName)
	return &probe{lab: l, gen: &generator{lab: l, name: probeName, changed: make(chan struct{}), runs: map[string]*generatorRun{}}}
}

const probeName = "probe"

func (p *probe) work(stop context.Context) {
	// A leader that was stopped must not delay the question to the next one.
	var asking sync.WaitGroup
	for _, n := range p.lab.nodes {
		asking.Go(func() {
			for stop.Err() == nil {
				p.ask(stop, n)
				wait(stop, 100*time.Millisecond)
			}
		})
	}
	asking.Wait()
}

func (p *probe) ask(stop context.Context, n *chaosNode) {
	ctx, cancel := context.WithTimeout(stop, time.Second)
	defer cancel()
	asked := time.Now()
	stream, err := synclinev1.NewLinkServiceClient(p.lab.conn(probeName, n.address())).Control(ctx)
	if err != nil {
		return
	}
	if stream.Send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Hello{Hello: p.gen.hello()}}) != nil {
		return
	}
	if first, err := stream.Recv(); err != nil || first.GetWelcome() == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accepted = append(p.accepted, probeWrite{asked, time.Now()})
}

// firstAfter is when the first write was accepted that was asked for after some moment.
func (p *probe) firstAfter(t time.Time) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.accepted {
		if w.asked.After(t) {
			return w.answered, true
		}
	}
	return time.Time{}, false
}
