package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"syncline/cli/chaos"
	"syncline/controller"
	"syncline/proto/identity"
	synclinev1 "syncline/proto/syncline/v1"
)

// loadExperiment is what generators take part in. They make no call of it.
const loadExperiment = `experiment: load
about: A generator records as many events as it may.
hosts:
  G:
observe: [syscalls]
lanes:
  g:
    host: G
    do:
      - s = socket(tcp)
      - close(s)
expect:
  - result: { of: g.socket, ok: true }
repeat: { runs: 3, timeout: 60s }
`

// load is everything that asks the cluster for something.
type load struct {
	lab        *chaosLab
	generators []*generator
	controls   chaos.Controls

	mu    sync.Mutex
	seals chaos.Seals
	// kept are runs that were checked and not deleted yet, the oldest first.
	kept []string
	// drivers are those who ask for runs one after another, and complete how many of each came to
	// their own end and have everything.
	drivers  []string
	complete map[string]int
}

// keptRuns is how many runs stay, so that there are files to damage.
const keptRuns = 12

// runPatience is how long a run may take until it is over, with all that may happen meanwhile.
const runPatience = 4 * time.Minute

// newLoad makes generators that record perSecond events a second together.
func (l *chaosLab) newLoad(ctx context.Context, generators, perSecond int) *load {
	l.t.Helper()
	ld := &load{lab: l, seals: chaos.Seals{}, complete: map[string]int{}}
	pace := make(chan struct{}, 4)
	go func() {
		tick := time.NewTicker(time.Second * chunkEvents / time.Duration(perSecond))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				select {
				case pace <- struct{}{}:
				default: // nobody is ready: they stay behind
				}
			}
		}
	}()
	for i := range generators {
		name := fmt.Sprintf("gen%d", i+1)
		l.issue(identity.Agent, name)
		ld.generators = append(ld.generators, l.newGenerator(name, pace))
		ld.drivers = append(ld.drivers, name)
	}
	for i := 0; i+1 < len(chaosAgents); i += 2 {
		ld.drivers = append(ld.drivers, chaosAgents[i])
	}
	return ld
}

// work keeps everybody busy until stop is done; what is at work then is brought to its end.
func (ld *load) work(stop context.Context) {
	connected, leave := context.WithCancel(context.Background())
	var connections, drivers sync.WaitGroup
	for _, g := range ld.generators {
		connections.Go(func() { g.work(connected) })
		drivers.Go(func() { ld.drive(stop, g) })
	}
	for i := 0; i+1 < len(chaosAgents); i += 2 {
		drivers.Go(func() { ld.measure(stop, chaosAgents[i], chaosAgents[i+1]) })
	}
	drivers.Go(func() { ld.hearSeals(stop) })
	drivers.Wait()
	leave()
	connections.Wait()
}

// runs is somebody's connection to one of the nodes, and which node it is.
func (ld *load) runs(n *chaosNode) synclinev1.RunServiceClient {
	return synclinev1.NewRunServiceClient(ld.lab.conn("alice", n.address()))
}

func (ld *load) anyNode() *chaosNode { return ld.lab.nodes[rand.IntN(len(ld.lab.nodes))] }

// callLimit is how long others wait for an answer. A call of the control API waits for 1 to 5 s: some
// of them see an election through, and not all of them wait for a node that is stopped.
const callLimit = 9 * time.Second

// call makes one call of the control API at any node, and notes what was heard.
func (ld *load) call(client int, ask chaos.Ask, make func(context.Context, synclinev1.RunServiceClient) (chaos.Answer, error)) (chaos.Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second+rand.N(4*time.Second))
	defer cancel()
	from := time.Since(ld.lab.began)
	heard, err := make(ctx, ld.runs(ld.anyNode()))
	switch status.Code(err) {
	case codes.OK:
	case codes.NotFound, codes.FailedPrecondition, codes.InvalidArgument, codes.ResourceExhausted:
		heard.Refused = true
	default:
		heard.Unknown = true
	}
	if ask.Call == chaos.Get && status.Code(err) == codes.NotFound {
		heard = chaos.Answer{} // it says that there is no such run
	}
	ld.controls.Add(client, ask, from, time.Since(ld.lab.began), heard)
	return heard, err
}

// create asks for a run until somebody answers; "" if none can be made now.
func (ld *load) create(client int, request string, q *synclinev1.CreateRunRequest) (id string, err error) {
	q.RequestId = request
	for range 20 {
		var heard chaos.Answer
		heard, err = ld.call(client, chaos.Ask{Request: request, Call: chaos.Create}, func(ctx context.Context, c synclinev1.RunServiceClient) (chaos.Answer, error) {
			r, err := c.CreateRun(ctx, q)
			return chaos.Answer{Run: r.GetRun().GetId()}, err
		})
		if err == nil {
			return heard.Run, nil
		}
		if heard.Refused {
			return "", err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return "", err
}

// get reads a run once.
func (ld *load) get(client int, request, id string) (run *synclinev1.Run, err error) {
	_, err = ld.call(client, chaos.Ask{Request: request, Call: chaos.Get}, func(ctx context.Context, c synclinev1.RunServiceClient) (chaos.Answer, error) {
		r, err := c.GetRun(ctx, &synclinev1.GetRunRequest{Id: id})
		run = r.GetRun()
		return chaos.Answer{Phase: runPhase(run)}, err
	})
	return run, err
}

// runPhase is a run's state; all final ones are one phase, for a failed run is sealed as failed
// later.
func runPhase(run *synclinev1.Run) chaos.Phase {
	return chaos.Phase(min(run.GetState(), synclinev1.RunState_RUN_STATE_SEALED))
}

// over reports whether a run has its seal.
func over(run *synclinev1.Run) bool {
	return run.GetState() >= synclinev1.RunState_RUN_STATE_SEALED && len(run.Seal) > 0
}

// follow reads a run until it is over. Two readers ask, each any node.
func (ld *load) follow(client int, request, id string) (*synclinev1.Run, error) {
	deadline := time.Now().Add(runPatience)
	var last error
	for time.Now().Before(deadline) {
		run, err := ld.get(client, request, id)
		if err == nil && over(run) {
			return run, nil
		}
		if status.Code(err) == codes.NotFound {
			return nil, err
		}
		if err != nil {
			last = err
		}
		if _, err := ld.get(client+1000, request, id); err != nil {
			last = err
		}
		time.Sleep(time.Duration(100+rand.IntN(300)) * time.Millisecond)
	}
	return nil, fmt.Errorf("run %s is not over after %v; the last error: %w", id, runPatience, last)
}

// drive gives a generator one run after another.
func (ld *load) drive(stop context.Context, g *generator) {
	client := slices.Index(ld.generators, g)
	for n := 1; stop.Err() == nil; n++ {
		request := fmt.Sprintf("%s-%d", g.name, n)
		q := &synclinev1.CreateRunRequest{FileName: "load.yaml", Source: []byte(loadExperiment), Bindings: map[string]string{"G": g.name}, Probing: &synclinev1.Probing{Off: true}}
		var second sync.WaitGroup
		var other string
		if n%3 == 0 {
			// Another one asks for the same at the same time.
			same := proto.Clone(q).(*synclinev1.CreateRunRequest)
			second.Go(func() { other, _ = ld.create(client+2000, request, same) })
		}
		id, err := ld.create(client, request, q)
		second.Wait()
		if err != nil && other != "" {
			id, err = other, nil
		}
		if err != nil {
			wait(stop, 200*time.Millisecond) // the generator is not connected, as a rule
			continue
		}
		if n%10 == 0 {
			_, _ = ld.call(client, chaos.Ask{Request: request, Call: chaos.Cancel}, func(ctx context.Context, c synclinev1.RunServiceClient) (chaos.Answer, error) {
				_, err := c.CancelRun(ctx, &synclinev1.CancelRunRequest{Id: id, Reason: "chaos"})
				return chaos.Answer{}, err
			})
		}
		run, err := ld.follow(client, request, id)
		if err != nil {
			ld.lab.violate(chaos.Violation{Invariant: chaos.NoneWedged, Count: 1, What: err.Error()})
			continue
		}
		ld.check(g.name, g, run)
	}
}

// measure lets two real agents run an experiment of the library, again and again.
func (ld *load) measure(stop context.Context, a, b string) {
	source := library(ld.lab.t, demoExperiment)
	client := 100 + slices.Index(chaosAgents, a)
	for n := 1; stop.Err() == nil; n++ {
		request := fmt.Sprintf("%s-%s-%d", a, b, n)
		id, err := ld.create(client, request, &synclinev1.CreateRunRequest{FileName: "basic.yaml", Source: source, Repetitions: 5, Bindings: map[string]string{"A": a, "B": b}})
		if err != nil {
			wait(stop, 300*time.Millisecond)
			continue
		}
		run, err := ld.follow(client, request, id)
		if err != nil {
			ld.lab.violate(chaos.Violation{Invariant: chaos.NoneWedged, Count: 1, What: err.Error()})
			continue
		}
		ld.check(a, nil, run)
	}
}

// check reads all events of a run that is over, from any node, and holds them against what was
// written.
func (ld *load) check(driver string, g *generator, run *synclinev1.Run) {
	seen := chaos.Run{ID: run.Id, Sealed: run.State == synclinev1.RunState_RUN_STATE_SEALED, Incomplete: run.Incomplete}
	calls := chaos.Calls{}
	var dense map[chaos.StreamID]*numbers
	var events uint64
	_, err := ld.lab.until(3*time.Minute, func() error {
		contents := map[chaos.StreamID]*chaos.Content{}
		calls, events, dense = chaos.Calls{}, 0, map[chaos.StreamID]*numbers{}
		err := ld.events(run.Id, func(s chaos.StreamID, e *synclinev1.Event) {
			events++
			if g != nil {
				if contents[s] == nil {
					contents[s] = chaos.NewContent(s)
				}
				payload, err := hex.DecodeString(e.GetMark().GetDetail())
				if err != nil {
					payload = []byte("no digits")
				}
				contents[s].Take(e.Number, payload)
				return
			}
			if dense[s] == nil {
				dense[s] = &numbers{}
			}
			dense[s].take(e.Number)
			if c := e.GetCall(); c != nil && !c.ByLab {
				calls[chaos.CallID{Run: run.Id, Agent: s.Agent, Repetition: e.Repetition, Lane: c.Lane, Step: c.Step}]++
			}
		})
		seen.Contents = nil
		for _, c := range contents {
			seen.Contents = append(seen.Contents, c)
		}
		return err
	})
	if err != nil {
		ld.lab.violate(chaos.Violation{Invariant: chaos.NoneWedged, Count: 1, What: fmt.Sprintf("the events of run %s cannot be read: %v", run.Id, err)})
		return
	}
	if g != nil {
		g.journal.mu.Lock()
		found := g.journal.history.CheckRun(seen)
		g.journal.mu.Unlock()
		ld.lab.violate(found...)
	}
	ld.lab.violate(calls.Check()...)
	for s, n := range dense {
		if n.repeated > 0 {
			ld.lab.violate(chaos.Violation{Invariant: chaos.NoneRepeated, Count: n.repeated, What: s.String()})
		}
		if seen.Sealed && len(run.Incomplete) == 0 && n.holes > 0 {
			ld.lab.violate(chaos.Violation{Invariant: chaos.HonestGaps, Count: n.holes, What: fmt.Sprintf("%v: event numbers are missing in a run that is called complete", s)})
		}
	}
	ld.lab.mu.Lock()
	ld.lab.figures.Runs++
	if !seen.Sealed {
		ld.lab.figures.Failed++
	}
	ld.lab.figures.Checked += events
	ld.lab.mu.Unlock()
	if seen.Sealed && len(run.Incomplete) == 0 {
		ld.mu.Lock()
		ld.complete[driver]++
		ld.mu.Unlock()
	}
	ld.retire(g, run.Id)
}

// wholeRuns counts, for each of the drivers, runs that came to their own end and have everything.
func (ld *load) wholeRuns() []int {
	ld.mu.Lock()
	defer ld.mu.Unlock()
	var all []int
	for _, name := range ld.drivers {
		all = append(all, ld.complete[name])
	}
	return all
}

// numbers are the event numbers of a stream of a real agent, in the order of the store.
type numbers struct{ last, holes, repeated uint64 }

func (n *numbers) take(number uint64) {
	switch {
	case number <= n.last:
		n.repeated++
	case number > n.last+1:
		n.holes++
	}
	n.last = max(n.last, number)
}

// retire deletes the oldest of the runs that were checked, so that disks do not fill.
func (ld *load) retire(g *generator, id string) {
	if g != nil {
		// The generator may still hear of chunks of it before it is released.
		_, err := ld.lab.until(30*time.Second, func() error {
			g.mu.Lock()
			defer g.mu.Unlock()
			if g.runs[id] != nil {
				return fmt.Errorf("generator %s still has run %s, which is over", g.name, id)
			}
			return nil
		})
		if err != nil {
			ld.lab.violate(chaos.Violation{Invariant: chaos.NoneWedged, Count: 1, What: err.Error()})
			return
		}
		g.journal.mu.Lock()
		g.journal.history.Forget(id)
		g.journal.mu.Unlock()
	}
	ld.mu.Lock()
	ld.kept = append(ld.kept, id)
	var old string
	if len(ld.kept) > keptRuns {
		old, ld.kept = ld.kept[0], ld.kept[1:]
	}
	ld.mu.Unlock()
	if old == "" {
		return
	}
	_, err := ld.lab.until(2*time.Minute, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), callLimit)
		defer cancel()
		_, err := ld.runs(ld.anyNode()).DeleteRun(ctx, &synclinev1.DeleteRunRequest{Id: old, Reason: "checked"})
		return err
	})
	if err != nil {
		ld.lab.violate(chaos.Violation{Invariant: chaos.NoneWedged, Count: 1, What: fmt.Sprintf("run %s cannot be deleted: %v", old, err)})
	}
}

// events yields the events of a run, asked of any node.
func (ld *load) events(id string, yield func(chaos.StreamID, *synclinev1.Event)) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	stream, err := ld.runs(ld.anyNode()).ListEvents(ctx, &synclinev1.ListEventsRequest{RunId: id})
	if err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range m.Events {
			yield(chaos.StreamID{Run: id, Agent: m.Agent, Incarnation: m.Incarnation}, e)
		}
	}
}

// hearSeals asks each node again and again what the seals of its runs are, without asking it to be
// up to date.
func (ld *load) hearSeals(stop context.Context) {
	for stop.Err() == nil {
		for _, n := range ld.lab.nodes {
			_ = ld.heardSeals(n)
		}
		wait(stop, 30*time.Second)
	}
}

func (ld *load) heardSeals(n *chaosNode) error {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, controller.StaleKey, "1")
	all, err := ld.runs(n).ListRuns(ctx, &synclinev1.ListRunsRequest{})
	if err != nil {
		return fmt.Errorf("list the runs of node %s: %w", n.id(), err)
	}
	ld.mu.Lock()
	defer ld.mu.Unlock()
	for _, r := range all.Runs {
		if over(r) {
			ld.seals.Hear(r.Id, n.tag, hex.EncodeToString(r.Seal))
		}
	}
	return nil
}
