package controller

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/grpc"

	"syncline/controller/experiment"
	"syncline/proto/identity"
	synclinev1 "syncline/proto/syncline/v1"
)

// uploader sends chunks of one run and waits until they are committed.
type uploader struct {
	b      *testing.B
	agent  *fakeAgent
	run    string
	stream grpc.BidiStreamingClient[synclinev1.UploadRequest, synclinev1.UploadResponse]
	// chunks and events are how many there were so far.
	chunks, events uint64
}

// newUploader starts a run whose lanes never end, with two agents that are not dialled yet.
func newUploader(b *testing.B, runs synclinev1.RunServiceClient, client, server *fakeAgent) *uploader {
	b.Helper()
	started := make(chan string, 2)
	for _, f := range []*fakeAgent{client, server} {
		f.start = func(m *synclinev1.Start) { started <- m.RunId }
		if err := f.dial(); err != nil {
			b.Fatal(err)
		}
		done := make(chan struct{})
		go func() { defer close(done); f.answer() }()
		b.Cleanup(func() { f.leave(); <-done })
	}
	source, _ := experiment.Open(scenario)
	if _, err := runs.CreateRun(b.Context(), &synclinev1.CreateRunRequest{RequestId: "bench", FileName: scenario, Source: source, Repetitions: 1}); err != nil {
		b.Fatal(err)
	}
	u := &uploader{b: b, agent: client, run: <-started}
	var err error
	if u.stream, err = synclinev1.NewLinkServiceClient(client.conn).Upload(context.WithoutCancel(b.Context())); err != nil {
		b.Fatal(err)
	}
	return u
}

// batch makes the next chunks of the stream, of events whose times hardly compress.
func (u *uploader) batch(chunks, events int) (batch []*synclinev1.Chunk, bytes int) {
	draw := rand.New(rand.NewPCG(1, u.chunks))
	for range chunks {
		all := make([]*synclinev1.Event, events)
		for i := range all {
			u.events++
			all[i] = mark(u.events, 1, synclinev1.MarkKind_MARK_KIND_SOURCE_REDUCED)
			all[i].TimeNs = int64(draw.Uint64() >> 2)
		}
		u.chunks++
		c := u.agent.chunkOf(u.run, u.chunks, all...)
		batch, bytes = append(batch, c), bytes+len(c.Data)
	}
	return batch, bytes
}

func (u *uploader) upload(batch []*synclinev1.Chunk) time.Duration {
	u.b.Helper()
	began := time.Now()
	sent := make(chan error, 1)
	go func() {
		for _, c := range batch {
			if err := u.stream.Send(&synclinev1.UploadRequest{Chunk: c}); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for range batch {
		if ack, err := u.stream.Recv(); err != nil || ack.Rejected != "" {
			u.b.Fatalf("a chunk was not committed: %v, %v", ack, err)
		}
	}
	if err := <-sent; err != nil {
		u.b.Fatal(err)
	}
	return time.Since(began)
}

// BenchmarkUpload uploads chunks until they are committed, in plain text and over TLS in
// turn, and prints the ratio of the two.
func BenchmarkUpload(b *testing.B) {
	plain := newTestController(b)
	guarded := newGuarded(b)
	operator := guarded.dial(guarded.socket, identity.Socket())
	inTheClear := newUploader(b, plain.runs, plain.newFake("client", "10.0.0.1"), plain.newFake("server", "10.0.0.2"))
	client, server := guarded.agent(guarded.open(guarded.issue(identity.Agent, "client")), "client"), guarded.agent(guarded.open(guarded.issue(identity.Agent, "server")), "server")
	server.hello.Addresses, server.hello.BootId = []string{"10.0.0.2"}, "boot of server"
	server.hello.Labels = map[string]string{"role": "server"}
	overTLS := newUploader(b, synclinev1.NewRunServiceClient(operator), client, server)

	var times [2]time.Duration
	total := 0
	for b.Loop() {
		for i, u := range []*uploader{inTheClear, overTLS} {
			batch, bytes := u.batch(64, 4000)
			times[i] += u.upload(batch)
			total += bytes
		}
	}
	rate := func(t time.Duration) float64 { return float64(total) / 2 / 1e6 / t.Seconds() }
	b.ReportMetric(rate(times[0]), "plain-MB/s")
	b.ReportMetric(rate(times[1]), "tls-MB/s")
	b.ReportMetric(times[1].Seconds()/times[0].Seconds(), "tls/plain")
	b.ReportMetric(float64(total)/2/float64(b.N*64), "B/chunk")
	b.ReportMetric(0, "ns/op")
}
