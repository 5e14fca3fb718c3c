package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"syncline/cli/chaos"
	"syncline/controller/peer"
	"syncline/proto/chunk"
	synclinev1 "syncline/proto/syncline/v1"
)

const (
	// chunkEvents are the events of a synthetic chunk.
	chunkEvents = 4000
	// unackedChunks bounds what a generator has not been told is safe.
	unackedChunks = 48
	// generatorSilence is how long a generator waits for a word of the controller.
	generatorSilence = 6 * time.Second
)

// generator speaks with the controllers as an agent does, and records events as fast as it may. What
// it wrote and what was acknowledged is in its journal, on the disk, before anybody can know it.
type generator struct {
	lab     *chaosLab
	name    string
	journal *journalFile
	// pace holds a token for each chunk that all generators together may make.
	pace <-chan struct{}
	// repeat makes it send chunks twice and in another order; repeated counts them.
	repeat   atomic.Bool
	repeated atomic.Uint64

	mu      sync.Mutex
	changed chan struct{}
	runs    map[string]*generatorRun
	making  sync.WaitGroup
}

// generatorRun is a generator's part in a run. Its fields are guarded by the generator's mu.
type generatorRun struct {
	run, role string
	epoch     uint64
	chunks    uint64
	events    uint64
	unacked   []*synclinev1.Chunk
	// ended: it makes no more. producing counts the lanes at work.
	ended     bool
	producing int
}

// chunksPerRepetition is how much a lane records.
const chunksPerRepetition = 10

func (l *chaosLab) newGenerator(name string, pace <-chan struct{}) *generator {
	l.t.Helper()
	j, err := newJournal(l.lab.Dir() + "/journal-" + name)
	if err != nil {
		l.t.Fatal(err)
	}
	return &generator{lab: l, name: name, journal: j, pace: pace, changed: make(chan struct{}), runs: map[string]*generatorRun{}}
}

func (g *generator) notify() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// work stays connected to whoever leads until ctx is done.
func (g *generator) work(ctx context.Context) {
	defer g.making.Wait()
	at := 0
	hint := ""
	for ctx.Err() == nil {
		address := hint
		if address == "" {
			at++
			address = g.lab.nodes[at%len(g.lab.nodes)].address()
		}
		err := g.connect(ctx, address)
		hint = ""
		if leader, ok := peer.Leader(err); ok {
			hint = leader.Address
		}
		wait(ctx, time.Duration(50+rand.IntN(100))*time.Millisecond)
	}
}

// wait returns after d, or when ctx is done.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// connect holds one control stream and one upload to a controller until one of them breaks.
func (g *generator) connect(ctx context.Context, address string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(generatorSilence, cancel)
	defer silence.Stop()
	client := synclinev1.NewLinkServiceClient(g.lab.conn(g.name, address))
	stream, err := client.Control(ctx)
	if err != nil {
		return err
	}
	c := &generatorLink{generator: g, stream: stream}
	if err := stream.Send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Hello{Hello: g.hello()}}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	welcome := first.GetWelcome()
	if welcome == nil {
		return fmt.Errorf("the first word of controller %s is %T", address, first.Message)
	}
	for _, run := range welcome.ForgetRunIds {
		g.forget(run)
	}
	var both sync.WaitGroup
	defer both.Wait()
	defer cancel()
	both.Go(func() { defer cancel(); g.upload(ctx, client) })
	both.Go(func() { c.beat(ctx, time.Duration(welcome.HeartbeatNs)) })
	for {
		silence.Stop()
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		c.heard(ctx, m)
	}
}

func (g *generator) hello() *synclinev1.Hello {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := &synclinev1.Hello{
		Name: g.name, Addresses: []string{"10.99.0.1"}, BootId: "boot of " + g.name, Incarnation: 1, ProtocolMin: 2, ProtocolMax: 3,
		Kernel: "none", Version: "chaos", Capabilities: generatorSources(),
	}
	for run := range g.runs {
		h.RunIds = append(h.RunIds, run)
	}
	return h
}

func generatorSources() []*synclinev1.Capability {
	return []*synclinev1.Capability{{Source: synclinev1.Source_SOURCE_SYSCALLS, Available: true}, {Source: synclinev1.Source_SOURCE_PACKETS, Available: true}}
}

// forget drops a run that the controller needs nothing of any more.
func (g *generator) forget(run string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r := g.runs[run]; r != nil {
		r.ended = true
		delete(g.runs, run)
		g.notify()
	}
}

// generatorLink is one control stream of a generator.
type generatorLink struct {
	*generator
	// saying guards the sending side.
	saying sync.Mutex
	stream grpc.BidiStreamingClient[synclinev1.ControlRequest, synclinev1.ControlResponse]
}

// say sends a message. That it cannot be sent shows on the other side.
func (c *generatorLink) say(m *synclinev1.ControlRequest) {
	c.saying.Lock()
	defer c.saying.Unlock()
	_ = c.stream.Send(m)
}

func (c *generatorLink) beat(ctx context.Context, every time.Duration) {
	for ctx.Err() == nil {
		wait(ctx, every)
		c.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Heartbeat{Heartbeat: &synclinev1.Heartbeat{}}})
	}
}

// heard does what a controller asks for.
func (c *generatorLink) heard(ctx context.Context, m *synclinev1.ControlResponse) {
	switch m := m.Message.(type) {
	case *synclinev1.ControlResponse_Prepare:
		c.admit(m.Prepare)
		c.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Prepared{Prepared: &synclinev1.Prepared{
			RunId: m.Prepare.RunId, Epoch: m.Prepare.Epoch, Capabilities: generatorSources(),
		}}})
	case *synclinev1.ControlResponse_Arm:
		c.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Armed{Armed: &synclinev1.Armed{RunId: m.Arm.RunId, Epoch: m.Arm.Epoch}}})
	case *synclinev1.ControlResponse_Configure:
		c.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Configured{Configured: &synclinev1.Configured{RunId: m.Configure.RunId, Epoch: m.Configure.Epoch}}})
	case *synclinev1.ControlResponse_ClockPing:
		c.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_ClockPong{ClockPong: &synclinev1.ClockPong{Id: m.ClockPing.Id, TimeNs: time.Since(c.lab.began).Nanoseconds()}}})
	case *synclinev1.ControlResponse_Start:
		c.begin(ctx, m.Start)
	case *synclinev1.ControlResponse_Settle:
		c.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Quiet{Quiet: &synclinev1.Quiet{RunId: m.Settle.RunId, Repetition: m.Settle.Repetition}}})
	case *synclinev1.ControlResponse_Drain:
		c.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Drained{Drained: c.drained(m.Drain)}})
	case *synclinev1.ControlResponse_Finish:
		c.end(m.Finish.RunId, m.Finish.Epoch, "")
	case *synclinev1.ControlResponse_Cancel:
		if m.Cancel.Repetition == 0 {
			c.end(m.Cancel.RunId, m.Cancel.Epoch, m.Cancel.Reason)
		}
	case *synclinev1.ControlResponse_Release:
		c.forget(m.Release.RunId)
	}
}

// admit begins a part in a run.
func (g *generator) admit(p *synclinev1.Prepare) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.runs[p.RunId] == nil {
		g.runs[p.RunId] = &generatorRun{run: p.RunId, role: p.Host, epoch: p.Epoch}
	}
}

func (c *generatorLink) drained(d *synclinev1.Drain) *synclinev1.Drained {
	c.mu.Lock()
	defer c.mu.Unlock()
	answer := &synclinev1.Drained{RunId: d.RunId, Repetition: d.Repetition}
	if r := c.runs[d.RunId]; r != nil {
		answer.LastEvent = r.events
	}
	return answer
}

// begin starts the lanes of a repetition, unless an earlier leader says so (its epoch).
func (c *generatorLink) begin(ctx context.Context, s *synclinev1.Start) {
	c.mu.Lock()
	r := c.runs[s.RunId]
	if r == nil || r.ended || s.Epoch < r.epoch {
		c.mu.Unlock()
		return
	}
	r.epoch = s.Epoch
	r.producing++
	c.mu.Unlock()
	for _, lane := range s.Lanes {
		c.journal.write(c.lab, chaos.Record{Verb: chaos.Started, Run: s.RunId, Agent: c.name, Incarnation: 1, Repetition: s.Repetition, Lane: lane.Name, Epoch: s.Epoch})
	}
	c.making.Go(func() {
		c.produce(ctx, r, s.Repetition)
		for _, lane := range s.Lanes {
			c.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_LaneEnded{LaneEnded: &synclinev1.LaneEnded{RunId: s.RunId, Repetition: s.Repetition, Lane: lane.Name, Epoch: s.Epoch}}})
		}
	})
}

// produce records the events of one repetition.
func (g *generator) produce(ctx context.Context, r *generatorRun, repetition uint32) {
	defer func() {
		g.mu.Lock()
		r.producing--
		g.notify()
		g.mu.Unlock()
	}()
	for range chunksPerRepetition {
		if !g.room(ctx, r) {
			return
		}
		select {
		case <-g.pace:
		case <-ctx.Done():
			return
		}
		// Only this goroutine makes chunks of the run.
		c, record := g.make(r, repetition)
		g.journal.write(g.lab, record)
		g.mu.Lock()
		r.chunks, r.events = c.Sequence, c.FirstEvent+uint64(c.Events)-1
		r.unacked = append(r.unacked, c)
		g.notify()
		g.mu.Unlock()
	}
}

// room waits until there is room for another chunk; false: it is to make no more.
func (g *generator) room(ctx context.Context, r *generatorRun) bool {
	for {
		g.mu.Lock()
		ended, full, changed := r.ended, len(r.unacked) >= unackedChunks, g.changed
		g.mu.Unlock()
		if ended || ctx.Err() != nil {
			return false
		}
		if !full {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// make makes the next chunk of a run.
func (g *generator) make(r *generatorRun, repetition uint32) (*synclinev1.Chunk, chaos.Record) {
	stream := chaos.StreamID{Run: r.run, Agent: g.name, Incarnation: 1}
	key := stream.Key()
	mark := &synclinev1.Mark{Kind: synclinev1.MarkKind_MARK_KIND_SOURCE_REDUCED}
	event := &synclinev1.Event{Repetition: repetition, Fact: &synclinev1.Event_Mark{Mark: mark}}
	var b chunk.Builder
	var payload [chaos.PayloadBytes]byte
	first := r.events + 1
	for n := first; n < first+chunkEvents; n++ {
		chaos.Payload(key, n, &payload)
		mark.Detail = hex.EncodeToString(payload[:])
		event.Number, event.TimeNs = n, int64(n)*1000
		if !b.Add(event) {
			panic("a chunk has no room for a synthetic event")
		}
	}
	data := b.Encode()
	sum := sha256.Sum256(data)
	c := &synclinev1.Chunk{
		RunId: r.run, Agent: g.name, Incarnation: 1, Sequence: r.chunks + 1, FirstEvent: first, Events: chunkEvents,
		Data: data, Crc32C: crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)),
	}
	return c, chaos.Record{
		Verb: chaos.Wrote, Run: r.run, Agent: g.name, Incarnation: 1, Sequence: c.Sequence, FirstEvent: first, Events: chunkEvents, SHA256: hex.EncodeToString(sum[:]),
	}
}

// end ends a part in a run, and says how much was recorded when nothing is made any more.
func (c *generatorLink) end(run string, epoch uint64, cause string) {
	c.mu.Lock()
	r := c.runs[run]
	final := &synclinev1.Finished{RunId: run, Epoch: epoch, Incarnation: 1, Error: cause}
	if r == nil {
		c.mu.Unlock()
		c.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Finished{Finished: final}})
		return
	}
	r.ended, r.epoch = true, max(r.epoch, epoch)
	c.notify()
	c.mu.Unlock()
	c.making.Go(func() {
		c.mu.Lock()
		for r.producing > 0 {
			changed := c.changed
			c.mu.Unlock()
			<-changed
			c.mu.Lock()
		}
		final.LastEvent, final.LastChunk = r.events, r.chunks
		c.mu.Unlock()
		c.journal.write(c.lab, chaos.Record{Verb: chaos.Finished, Run: run, Agent: c.name, Incarnation: 1, Sequence: final.LastChunk, LastEvent: final.LastEvent})
		c.say(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Finished{Finished: final}})
	})
}

// upload sends what is not acknowledged, and takes acknowledgements, until the stream breaks.
func (g *generator) upload(ctx context.Context, client synclinev1.LinkServiceClient) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.Upload(ctx)
	if err != nil {
		return
	}
	var answers sync.WaitGroup
	defer answers.Wait()
	defer cancel()
	answers.Go(func() {
		defer cancel()
		for {
			ack, err := stream.Recv()
			if err != nil {
				return
			}
			g.acknowledged(ack)
		}
	})
	sent := map[chaos.ChunkID]bool{}
	for ctx.Err() == nil {
		next, changed := g.unsent(sent)
		for _, c := range next {
			if stream.Send(&synclinev1.UploadRequest{Chunk: c}) != nil {
				return
			}
		}
		if len(next) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// unsent are the chunks that were not sent on this stream, in order; or, when it is to repeat, each
// of them twice and in any order.
func (g *generator) unsent(sent map[chaos.ChunkID]bool) ([]*synclinev1.Chunk, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var next []*synclinev1.Chunk
	for _, r := range g.runs {
		for _, c := range r.unacked {
			id := chaos.ChunkID{StreamID: chaos.StreamID{Run: c.RunId, Agent: c.Agent, Incarnation: c.Incarnation}, Sequence: c.Sequence}
			if !sent[id] {
				sent[id] = true
				next = append(next, c)
			}
		}
	}
	if g.repeat.Load() && len(next) > 0 {
		next = append(next, next...)
		rand.Shuffle(len(next), func(i, j int) { next[i], next[j] = next[j], next[i] })
		g.repeated.Add(uint64(len(next) / 2))
	}
	return next, g.changed
}

// acknowledged takes an answer: the journal has it before the chunk is forgotten.
func (g *generator) acknowledged(ack *synclinev1.UploadResponse) {
	record := chaos.Record{Verb: chaos.Acked, Run: ack.RunId, Agent: g.name, Incarnation: ack.Incarnation, Sequence: ack.Sequence}
	if ack.Rejected != "" {
		record.Verb, record.Reason = chaos.Rejected, ack.Rejected
	}
	g.mu.Lock()
	r := g.runs[ack.RunId]
	i := -1
	if r != nil {
		i = slices.IndexFunc(r.unacked, func(c *synclinev1.Chunk) bool { return c.Sequence == ack.Sequence })
	}
	g.mu.Unlock()
	if i < 0 {
		return // of a chunk that was sent twice, or of a run that is forgotten
	}
	g.journal.write(g.lab, record)
	g.mu.Lock()
	defer g.mu.Unlock()
	r.unacked = slices.DeleteFunc(r.unacked, func(c *synclinev1.Chunk) bool { return c.Sequence == ack.Sequence })
	g.notify()
}

// journalFile is a journal on the disk. Those who write at the same time share an fsync. What it
// has goes into the history of the test as well, from the bytes that were written.
type journalFile struct {
	f *os.File

	mu      sync.Mutex
	history *chaos.History
	waiting *journalBatch
	// writing holds a token while one batch is written.
	writing chan struct{}
}

type journalBatch struct {
	bytes.Buffer
	done chan struct{}
	err  error
}

func newJournal(name string) (*journalFile, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteString(chaos.JournalHeader); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &journalFile{f: f, history: chaos.NewHistory(), writing: make(chan struct{}, 1)}, nil
}

// write returns when the record is on the disk.
func (j *journalFile) write(l *chaosLab, r chaos.Record) {
	line, err := chaos.AppendRecord(nil, r)
	if err != nil {
		l.trouble("write a journal", err)
		return
	}
	j.mu.Lock()
	if err := j.history.Take(r); err != nil {
		l.trouble("write a journal", err)
	}
	b := j.waiting
	if b == nil {
		b = &journalBatch{done: make(chan struct{})}
		j.waiting = b
		go j.flush(b)
	}
	b.Write(line)
	j.mu.Unlock()
	<-b.done
	if b.err != nil {
		l.trouble("write a journal", b.err)
	}
}

func (j *journalFile) flush(b *journalBatch) {
	j.writing <- struct{}{}
	j.mu.Lock()
	j.waiting = nil
	j.mu.Unlock()
	_, err := j.f.Write(b.Bytes())
	b.err = errors.Join(err, j.f.Sync())
	<-j.writing
	close(b.done)
}

// acked is how many events were acknowledged until now.
func (j *journalFile) acked() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.history.AckedEvents
}

// read reads the journal from the disk, all of it.
func (j *journalFile) read() (*chaos.History, error) {
	if _, err := j.f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	h := chaos.NewHistory()
	return h, chaos.ReadJournal(j.f, h.Take)
}
