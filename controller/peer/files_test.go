package peer_test

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"syncline/controller/store"
)

var gigabyte = flag.Bool("peer.gigabyte", false, "let blank nodes join a cluster that has 1 GiB of events")

// fill makes a run with chunks of random bytes on a node, of 64 agents at once.
func fill(t *testing.T, ctx context.Context, s *store.Store, chunks, size int) store.Run {
	t.Helper()
	run, err := s.CreateRun(ctx, "request", store.Run{Experiment: "flood"})
	if err != nil {
		t.Fatal(err)
	}
	const agents = 64
	errs := make(chan error, agents)
	var wg sync.WaitGroup
	for a := range agents {
		wg.Go(func() {
			r := rand.NewPCG(uint64(a), 1)
			for n := a; n < chunks; n += agents {
				data := make([]byte, 0, size+8)
				for len(data) < size {
					data = binary.LittleEndian.AppendUint64(data, r.Uint64())
				}
				seq := uint64(n/agents) + 1
				_, err := s.AppendChunk(ctx, store.Chunk{
					RunID: run.ID, Agent: fmt.Sprint("vm", a), Incarnation: 1, Sequence: seq, FirstEvent: 100*seq - 99, Events: 100,
					Data: data, CRC32C: store.Checksum(data),
				})
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	return run
}

// count reads every chunk of a run, checksums included.
func count(t *testing.T, s *store.Store, run string) (n int, seal []byte) {
	t.Helper()
	d := store.NewDigest()
	err := s.Chunks(run, func(c store.Chunk) error {
		d.Add(&c)
		n++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n, d.Sum()
}

// votes waits until all members have a vote.
func votes(t *testing.T, ctx context.Context, s *store.Store, n int) {
	t.Helper()
	for {
		voters := 0
		for _, m := range s.Cluster(ctx).Members {
			if m.Voter && m.Err == nil {
				voters++
			}
		}
		if voters == n {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%d of %d nodes vote: %+v", voters, n, s.Cluster(context.Background()))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestBlankNodesCatchUp lets two blank nodes join one that has dropped the log of what it
// has, so that they are sent a snapshot and fetch the chunks, all of it over mTLS on the one port of
// each: 4 MiB of them, or with a flag 1 GiB, for which a node may take 60 s.
func TestBlankNodesCatchUp(t *testing.T) {
	chunks, size, limit := 1000, 4<<10, 60*time.Second
	if *gigabyte {
		chunks, size = (1<<30)/45_000, 45_000
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	l := guarded(t)
	cfg, _, serve := l.listen("n1")
	cfg.SnapshotEvery = 64
	first := serve(open(t, cfg))
	if err := first.store.WaitLeader(ctx); err != nil {
		t.Fatal(err)
	}
	run := fill(t, ctx, first.store, chunks, size)
	if err := first.store.Snapshot(); err != nil {
		t.Fatal(err)
	}
	n, seal := count(t, first.store, run.ID)
	if n != chunks {
		t.Fatalf("%d of %d chunks were stored", n, chunks)
	}
	for i, id := range []string{"n2", "n3"} {
		began := time.Now()
		other := l.join(ctx, id, first.peer.Address)
		votes(t, ctx, other.store, i+2)
		took := time.Since(began)
		inventory := other.store.Inventory()
		t.Logf("%s: joined, has %d chunks of %d MB and votes after %v", id, inventory.Chunks, inventory.Bytes>>20, took)
		if !inventory.Complete() || inventory.Chunks != uint64(chunks) || inventory.Fetched == 0 {
			t.Errorf("%s: %+v", id, inventory)
		}
		if took > limit {
			t.Errorf("%s took %v, want at most %v", id, took, limit)
		}
		if n, got := count(t, other.store, run.ID); n != chunks || string(got) != string(seal) {
			t.Errorf("%s: %d chunks with seal %x, want %d with %x", id, n, got, chunks, seal)
		}
	}
}

// TestFetchSaysWhatIsWrong asks for chunks that nobody has.
func TestFetchSaysWhatIsWrong(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cfg, client, serve := (&lab{T: t}).listen("n1")
	first := serve(open(t, cfg))
	if err := first.store.WaitLeader(ctx); err != nil {
		t.Fatal(err)
	}
	run := fill(t, ctx, first.store, 64, 100)
	got := 0
	take := func(store.Chunk) error { got++; return nil }
	if err := client.Fetch(ctx, first.peer, store.Wanted{RunID: "r-none", Agent: "vm1", Incarnation: 1, Sequences: []uint64{1}}, take); err == nil {
		t.Error("a run that is not there is no error")
	}
	if err := client.Fetch(ctx, first.peer, store.Wanted{RunID: run.ID, Agent: "vm1", Incarnation: 1, Sequences: []uint64{1, 7, 0}}, take); err != nil || got != 1 {
		t.Errorf("%d chunks and %v, want the one that there is", got, err)
	}
	if err := client.Fetch(ctx, first.peer, store.Wanted{RunID: run.ID, Agent: "vm1", Incarnation: 1, Sequences: make([]uint64, 70_000)}, take); err == nil {
		t.Error("a request without bounds is no error")
	}
	stop := errors.New("enough")
	if err := client.Fetch(ctx, first.peer, store.Wanted{RunID: run.ID, Agent: "vm1", Incarnation: 1, Sequences: []uint64{1}}, func(store.Chunk) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v, want what the caller said", err)
	}
}
