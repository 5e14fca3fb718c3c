package store

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

var linearFor = flag.Duration("store.linear", 2*time.Second, "for how long TestControlIsLinearizable disturbs the cluster")

// controlInput is one call of the control API about one thing: an agent, which is a register,
// or a run, whose epoch is a counter.
type controlInput struct {
	key  string
	call string // "put", "get", "take", "epoch"
	put  uint64
}

type controlOutput struct {
	value uint64
	// unknown: the caller never heard how it ended.
	unknown bool
}

// controlModel is what the API promises: each thing is one value, and a call happens at one moment
// between its beginning and its end.
var controlModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := map[string][]porcupine.Operation{}
		for _, op := range history {
			by[op.Input.(controlInput).key] = append(by[op.Input.(controlInput).key], op)
		}
		var out [][]porcupine.Operation
		for _, ops := range by {
			out = append(out, ops)
		}
		return out
	},
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		have, in, out := state.(uint64), input.(controlInput), output.(controlOutput)
		switch in.call {
		case "put":
			return true, in.put
		case "take":
			return out.unknown || out.value == have+1, have + 1
		}
		return out.value == have, have
	},
	DescribeOperation: func(input, output any) string {
		in, out := input.(controlInput), output.(controlOutput)
		return fmt.Sprintf("%s %s %d -> %d (unknown %v)", in.call, in.key, in.put, out.value, out.unknown)
	},
}

// history collects what clients called and heard.
type history struct {
	mu    sync.Mutex
	began time.Time
	ops   []porcupine.Operation
}

func (h *history) add(client int, in controlInput, call time.Time, out controlOutput) {
	end := time.Since(h.began).Nanoseconds()
	if out.unknown {
		end = time.Hour.Nanoseconds() // it may happen at any time from its beginning
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Call: call.Sub(h.began).Nanoseconds(), Output: out, Return: end})
}

// calls is how many there were.
func (h *history) calls() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ops)
}

// enoughCalls are those that a history must have at least to show anything.
const enoughCalls = 50

// TestControlIsLinearizable lets clients call all nodes while nodes are killed, started, cut off and
// lose their leadership, and looks for an order of all calls that explains what they heard.
func TestControlIsLinearizable(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c := newCluster(t, 3)
	run := createRun(t, c.nodes[c.leader()])
	h := &history{began: time.Now()}
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for i := range 5 {
		clients.Go(func() {
			client{c: c, h: h, id: i, run: run.ID, rand: rand.New(rand.NewPCG(seed, uint64(i)))}.work(ctx)
		})
	}
	dice := rand.New(rand.NewPCG(seed, 99))
	faults := c.disturb(dice, *linearFor)
	// On a busy machine little is called between faults.
	for more := 0; h.calls() < enoughCalls && more < 10; more++ {
		faults += c.disturb(dice, *linearFor)
	}
	c.wires.healAll()
	c.leader()
	stop()
	clients.Wait()
	last := client{c: c, h: h, id: 9, run: run.ID, rand: rand.New(rand.NewPCG(seed, 9))}
	for range 20 {
		last.get(t.Context())
	}
	// The first epoch of the run is 1, and the model begins with 0.
	for i := range h.ops {
		if in := h.ops[i].Input.(controlInput); in.call == "take" || in.call == "epoch" {
			out := h.ops[i].Output.(controlOutput)
			if !out.unknown {
				out.value -= run.Epoch
			}
			h.ops[i].Output = out
		}
	}
	unknown := 0
	for _, op := range h.ops {
		if op.Output.(controlOutput).unknown {
			unknown++
		}
	}
	t.Logf("%d calls, %d of unknown outcome, %d faults", len(h.ops), unknown, faults)
	if len(h.ops) < enoughCalls {
		t.Errorf("only %d calls were made", len(h.ops))
	}
	if got := porcupine.CheckOperationsTimeout(controlModel, h.ops, time.Minute); got != porcupine.Ok {
		t.Errorf("the history is %s, want Ok", got)
	}
}

// disturb does something to the cluster again and again, and returns how often.
func (c *cluster) disturb(r *rand.Rand, d time.Duration) (faults int) {
	c.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); faults++ {
		i := r.IntN(len(c.nodes))
		pause := time.Duration(50+r.IntN(1200)) * time.Millisecond
		switch r.IntN(4) {
		case 0:
			c.kill(i)
			time.Sleep(pause)
			c.start(i)
		case 1:
			c.isolate(i)
			time.Sleep(pause)
			c.wires.healAll()
		case 2:
			j := (i + 1) % len(c.nodes)
			c.wires.cut(i, j)
			time.Sleep(pause)
			c.wires.healAll()
		case 3:
			for _, s := range c.nodes {
				if s.Leading() {
					ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
					err := s.Transfer(ctx, "")
					cancel()
					if err != nil {
						c.t.Logf("transfer: %v", err)
					}
				}
			}
		}
		time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
	}
	return faults
}

// client makes one call after the other.
type client struct {
	c    *cluster
	h    *history
	id   int
	run  string
	rand *rand.Rand
}

func (c client) work(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		switch c.rand.IntN(4) {
		case 0:
			c.put(ctx, n)
		case 1:
			c.take(ctx, n)
		default:
			c.get(ctx)
		}
	}
}

// mutate makes a call on whichever node leads, again with the same request until it is answered or
// a while is over.
func (c client) mutate(ctx context.Context, n int, in controlInput, do func(context.Context, *Store) (uint64, error)) {
	call := time.Now()
	ctx = WithRequest(ctx, Request{Client: fmt.Sprint("client-", c.id), ID: fmt.Sprint(n)})
	limit, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	tried := false
	for limit.Err() == nil {
		s := c.c.node(c.rand.IntN(len(c.c.peers)))
		if s == nil || !s.Leading() {
			time.Sleep(time.Millisecond)
			continue
		}
		within, cancel := context.WithTimeout(limit, time.Second)
		value, err := do(within, s)
		cancel()
		if err == nil {
			c.h.add(c.id, in, call, controlOutput{value: value})
			return
		}
		if !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrBusy) {
			tried = true
		}
	}
	if tried {
		c.h.add(c.id, in, call, controlOutput{unknown: true})
	}
}

func (c client) put(ctx context.Context, n int) {
	in := controlInput{key: fmt.Sprint("vm", c.rand.IntN(2)), call: "put", put: uint64(c.id*100_000 + n + 1)}
	c.mutate(ctx, n, in, func(ctx context.Context, s *Store) (uint64, error) {
		return 0, s.PutAgent(ctx, Agent{Name: in.key, Incarnation: in.put})
	})
}

func (c client) take(ctx context.Context, n int) {
	c.mutate(ctx, n, controlInput{key: c.run, call: "take"}, func(ctx context.Context, s *Store) (uint64, error) {
		run, err := s.TakeRun(ctx, c.run)
		if errors.Is(err, ErrEpoch) {
			// It was done, and the answer of the first try was lost. Which epoch it made, the error
			// says to people only.
			return 0, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
		}
		return run.Epoch, err
	})
}

// get reads on any node.
func (c client) get(ctx context.Context) {
	s := c.c.node(c.rand.IntN(len(c.c.peers)))
	if s == nil {
		time.Sleep(time.Millisecond)
		return
	}
	in := controlInput{key: fmt.Sprint("vm", c.rand.IntN(2)), call: "get"}
	if c.rand.IntN(2) == 0 {
		in = controlInput{key: c.run, call: "epoch"}
	}
	call := time.Now()
	within, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := s.ReadIndex(within); err != nil {
		time.Sleep(time.Millisecond)
		return
	}
	var value uint64
	if in.call == "get" {
		a, _ := s.Agent(in.key)
		value = a.Incarnation
	} else {
		run, _ := s.Run(in.key)
		value = run.Epoch
	}
	c.h.add(c.id, in, call, controlOutput{value: value})
}
