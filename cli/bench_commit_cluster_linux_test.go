package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"syncline/controller/authority"
	"syncline/proto/identity"
	synclinev1 "syncline/proto/syncline/v1"
)

// commitExperiment is what the agents take part in; none of them ever ends its lane.
const commitExperiment = `experiment: commit
hosts: { H1: { pick: { n: "1" } }, H2: { pick: { n: "2" } }, H3: { pick: { n: "3" } }, H4: { pick: { n: "4" } } }
observe: [syscalls]
lanes:
  l1: { host: H1, do: [sleep(60s)] }
  l2: { host: H2, do: [sleep(60s)] }
  l3: { host: H3, do: [sleep(60s)] }
  l4: { host: H4, do: [sleep(60s)] }
repeat: { runs: 1, timeout: 10m }
`

// commitCluster is a cluster of controllers that agents upload to.
type commitCluster struct {
	b        *testing.B
	dir      string
	nodes    []*commitNode
	leader   *commitNode
	operator *grpc.ClientConn
	agents   []*commitAgent
	run      string
}

// commitNode is a controller, a process.
type commitNode struct {
	name, address, metrics string
	process                *exec.Cmd
}

// newCommitCluster starts n controllers, and a run with an agent for each of the streams.
func newCommitCluster(b *testing.B, n int, streams [][]*synclinev1.Chunk) *commitCluster {
	b.Helper()
	c := &commitCluster{b: b, dir: b.TempDir()}
	for i := range n {
		c.nodes = append(c.nodes, &commitNode{name: fmt.Sprintf("ctl%d", i+1), address: c.freePort(), metrics: c.freePort()})
	}
	c.certify(len(streams))
	for i, node := range c.nodes {
		if i == 0 {
			c.command("cluster", "init", "--data", c.data(node), "--tls-cert", c.certificate(node.name))
		} else {
			c.command("cluster", "join", c.nodes[0].address, "--advertise", node.address, "--data", c.data(node), "--tls-cert", c.certificate(node.name))
		}
		c.serve(node)
		if i == 0 {
			c.operator = c.dial("alice", node.address)
			c.until("the first controller leads", func() error { return c.voters(1) })
		}
	}
	c.until("all controllers vote", func() error { return c.voters(n) })
	for i, chunks := range streams {
		c.agents = append(c.agents, c.newAgent(i, chunks))
	}
	c.begin()
	return c
}

func (c *commitCluster) freePort() string {
	c.b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (c *commitCluster) certify(agents int) {
	c.b.Helper()
	from, err := authority.Create(c.pki(), "bench")
	if err != nil {
		c.b.Fatal(err)
	}
	roles := map[identity.Role][]string{identity.Operator: {"alice"}}
	for _, node := range c.nodes {
		roles[identity.Controller] = append(roles[identity.Controller], node.name)
	}
	for i := range agents {
		roles[identity.Agent] = append(roles[identity.Agent], fmt.Sprintf("vm%d", i+1))
	}
	for role, names := range roles {
		for _, name := range names {
			issued, err := from.Issue(authority.Request{Role: role, Name: name})
			if err == nil {
				_, err = issued.Write(c.pki())
			}
			if err != nil {
				c.b.Fatal(err)
			}
		}
	}
}

func (c *commitCluster) pki() string { return filepath.Join(c.dir, "pki") }

func (c *commitCluster) certificate(name string) string { return filepath.Join(c.pki(), name+".crt") }

func (c *commitCluster) data(node *commitNode) string {
	return filepath.Join(c.dir, "data-"+node.name)
}

func (c *commitCluster) program(args ...string) *exec.Cmd {
	c.b.Helper()
	self, err := os.Executable()
	if err != nil {
		c.b.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = labEnvironment()
	return cmd
}

func (c *commitCluster) command(args ...string) {
	c.b.Helper()
	if said, err := c.program(args...).CombinedOutput(); err != nil {
		c.b.Fatalf("syncline %s: %v\n%s", strings.Join(args, " "), err, said)
	}
}

// serve starts a controller, which ends with the benchmark.
func (c *commitCluster) serve(node *commitNode) {
	c.b.Helper()
	name := filepath.Join(c.dir, node.name+".log")
	log, err := os.Create(name)
	if err != nil {
		c.b.Fatal(err)
	}
	defer log.Close()
	node.process = c.program("controller", "serve", "--listen", node.address, "--advertise", node.address,
		"--metrics", node.metrics, "--data", c.data(node), "--tls-cert", c.certificate(node.name))
	node.process.Stdout, node.process.Stderr = log, log
	node.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := node.process.Start(); err != nil {
		c.b.Fatal(err)
	}
	c.b.Cleanup(func() {
		node.process.Process.Signal(syscall.SIGTERM)
		if err := node.process.Wait(); err != nil || c.b.Failed() {
			said, _ := os.ReadFile(name)
			c.b.Errorf("%s ended: %v\n%s", node.name, err, lastBytes(said, 3000))
		}
	})
}

// dial is somebody's connection to a controller.
func (c *commitCluster) dial(who, address string) *grpc.ClientConn {
	c.b.Helper()
	creds, err := identity.Beside(c.certificate(who)).Open(slog.New(slog.DiscardHandler))
	if err != nil {
		c.b.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(creds.Client()))
	if err != nil {
		c.b.Fatal(err)
	}
	c.b.Cleanup(func() { conn.Close() })
	return conn
}

// voters fails unless so many controllers have a vote and answer. It finds the leader.
func (c *commitCluster) voters(n int) error {
	ctx, cancel := context.WithTimeout(c.b.Context(), 5*time.Second)
	defer cancel()
	cluster, err := synclinev1.NewClusterServiceClient(c.operator).GetCluster(ctx, &synclinev1.GetClusterRequest{})
	if err != nil {
		return err
	}
	voters := 0
	for _, m := range cluster.Members {
		if m.Voter && m.Error == "" {
			voters++
		}
	}
	i := slices.IndexFunc(c.nodes, func(node *commitNode) bool { return node.name == cluster.Leader })
	if voters != n || i < 0 {
		return fmt.Errorf("%d of %d controllers vote, and %q leads", voters, n, cluster.Leader)
	}
	c.leader = c.nodes[i]
	return nil
}

func (c *commitCluster) until(what string, try func() error) {
	c.b.Helper()
	deadline := time.Now().Add(clusterPatience)
	for err := try(); err != nil; err = try() {
		if time.Now().After(deadline) {
			c.b.Fatalf("%s: still not so after %v: %v", what, clusterPatience, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// begin starts the run, and returns when its lanes run.
func (c *commitCluster) begin() {
	c.b.Helper()
	created, err := synclinev1.NewRunServiceClient(c.operator).CreateRun(c.b.Context(), &synclinev1.CreateRunRequest{
		RequestId: "commit", FileName: "commit.yaml", Source: []byte(commitExperiment), Repetitions: 1,
	})
	if err != nil {
		c.b.Fatal(err)
	}
	c.run = created.Run.Id
	for _, a := range c.agents {
		select {
		case <-a.started:
		case <-time.After(clusterPatience):
			c.b.Fatalf("agent %s was not told to start within %v", a.name, clusterPatience)
		}
	}
}

// measure has all agents upload as fast as they can for a time.
func (c *commitCluster) measure(d time.Duration) (f commitFigure) {
	c.b.Helper()
	stop := make(chan struct{})
	var uploads sync.WaitGroup
	errs := make(chan error, len(c.agents))
	for _, a := range c.agents {
		uploads.Go(func() {
			if err := a.upload(c.run, stop); err != nil {
				errs <- fmt.Errorf("agent %s: %w", a.name, err)
			}
		})
	}
	time.Sleep(commitWarmUp)
	before := c.reading()
	time.Sleep(d)
	after := c.reading()
	close(stop)
	uploads.Wait()
	select {
	case err := <-errs:
		c.b.Fatal(err)
	default:
	}
	events := float64(after.events - before.events)
	if events == 0 {
		c.b.Fatal("nothing was committed")
	}
	each := func(after, before time.Duration) float64 { return float64((after - before).Nanoseconds()) / events }
	return commitFigure{
		rate: events / after.at.Sub(before.at).Seconds(),
		cpu:  each(after.all, before.all), lead: each(after.lead, before.lead), agents: each(after.own, before.own),
		batch: (after.chunks - before.chunks) / (after.writes - before.writes),
	}
}

// commitReading is what was done until a moment.
type commitReading struct {
	at     time.Time
	events uint64
	// Processor time of all controllers, of the leader, and of this process.
	all, lead, own time.Duration
	// chunks were committed by the leader, and writes made to its log.
	chunks, writes float64
}

func (c *commitCluster) reading() (r commitReading) {
	c.b.Helper()
	r.chunks, r.writes = c.counted(c.leader, "syncline_chunks_committed_total"), c.counted(c.leader, "syncline_log_write_seconds_count")
	r.at = time.Now()
	for _, a := range c.agents {
		r.events += a.acknowledged.Load()
	}
	for _, node := range c.nodes {
		used := timeOfProcess(c.b, node.process.Process.Pid)
		r.all += used
		if node == c.leader {
			r.lead = used
		}
	}
	r.own = timeOfThis(c.b)
	return r
}

// counted is a value of a controller's /metrics.
func (c *commitCluster) counted(node *commitNode, name string) float64 {
	c.b.Helper()
	answer, err := http.Get("http://" + node.metrics + "/metrics")
	if err != nil {
		c.b.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				c.b.Fatal(err)
			}
			return v
		}
	}
	c.b.Fatalf("controller %s has no metric %s: %v", node.name, name, lines.Err())
	return 0
}

// timeOfProcess is how long a process has run, in user mode and in the kernel, proc_pid_stat(5).
func timeOfProcess(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		tb.Fatal(err)
	}
	// The name of the program may have spaces.
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	var ticks int64
	for _, i := range []int{11, 12} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			tb.Fatal(err)
		}
		ticks += n
	}
	const perSecond = 100 // sysconf(_SC_CLK_TCK) of Linux on every architecture
	return time.Duration(ticks) * time.Second / perSecond
}

func timeOfThis(tb testing.TB) time.Duration {
	tb.Helper()
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
		tb.Fatal(os.NewSyscallError("getrusage", err))
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// settle checks that what was acknowledged is stored, no more and no less, on every node.
func (c *commitCluster) settle() {
	c.b.Helper()
	var want uint64
	for _, a := range c.agents {
		want += a.acknowledged.Load()
	}
	for _, node := range c.nodes {
		answer, err := synclinev1.NewRunServiceClient(c.dial("alice", node.address)).GetRun(c.b.Context(), &synclinev1.GetRunRequest{Id: c.run})
		if err != nil {
			c.b.Fatal(err)
		}
		if answer.Run.Events != want {
			c.b.Errorf("controller %s has %d events, and %d were acknowledged", node.name, answer.Run.Events, want)
		}
	}
}

// disk is what the leader has on its disk, by the events that it has.
func (c *commitCluster) disk() commitDisk {
	c.b.Helper()
	var events uint64
	for _, a := range c.agents {
		events += a.acknowledged.Load()
	}
	dir := c.data(c.leader)
	return commitDisk{chunks: float64(usedBytes(c.b, filepath.Join(dir, "runs"))) / float64(events), all: float64(usedBytes(c.b, dir)) / float64(events)}
}

// usedBytes is what the files below a directory take, of which some may vanish meanwhile.
func usedBytes(tb testing.TB, dir string) (n int64) {
	tb.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return ignoreGone(err)
		}
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return ignoreGone(err)
		}
		n += st.Blocks * 512
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// commitAgent says what an agent says, and uploads chunks that were made before.
type commitAgent struct {
	name    string
	conn    *grpc.ClientConn
	chunks  []*synclinev1.Chunk
	started chan struct{}
	// sent counts the chunks so far; one goroutine at a time uploads.
	sent int
	// acknowledged counts events.
	acknowledged atomic.Uint64
}

func (c *commitCluster) newAgent(i int, chunks []*synclinev1.Chunk) *commitAgent {
	c.b.Helper()
	name := fmt.Sprintf("vm%d", i+1)
	a := &commitAgent{name: name, conn: c.dial(name, c.leader.address), chunks: chunks, started: make(chan struct{})}
	ctx, leave := context.WithCancel(context.Background())
	stream, err := synclinev1.NewLinkServiceClient(a.conn).Control(ctx)
	if err == nil {
		err = stream.Send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Hello{Hello: &synclinev1.Hello{
			Name: name, Addresses: []string{fmt.Sprintf("10.99.0.%d", i+1)}, BootId: "boot of " + name, Incarnation: 1,
			ProtocolMin: 2, ProtocolMax: 3, Kernel: "none", Version: "bench", Labels: map[string]string{"n": fmt.Sprint(i + 1)}, Capabilities: commitSources(),
		}}})
	}
	if err == nil {
		_, err = stream.Recv() // the welcome
	}
	if err != nil {
		leave()
		c.b.Fatalf("agent %s: %v", name, err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			m, err := stream.Recv()
			if err != nil {
				return
			}
			if answer := a.answer(m); answer != nil && stream.Send(answer) != nil {
				return
			}
		}
	}()
	c.b.Cleanup(func() { leave(); <-over })
	return a
}

func commitSources() (all []*synclinev1.Capability) {
	for _, s := range []synclinev1.Source{
		synclinev1.Source_SOURCE_SYSCALLS, synclinev1.Source_SOURCE_PACKETS, synclinev1.Source_SOURCE_TCP_STATES,
		synclinev1.Source_SOURCE_TCP_INFO, synclinev1.Source_SOURCE_TRACEPOINTS,
	} {
		all = append(all, &synclinev1.Capability{Source: s, Available: true})
	}
	return all
}

// answer is what a faultless agent says, but that its lanes never end.
func (a *commitAgent) answer(m *synclinev1.ControlResponse) *synclinev1.ControlRequest {
	switch m := m.Message.(type) {
	case *synclinev1.ControlResponse_Prepare:
		return &synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Prepared{Prepared: &synclinev1.Prepared{
			RunId: m.Prepare.RunId, Epoch: m.Prepare.Epoch, Capabilities: commitSources(),
		}}}
	case *synclinev1.ControlResponse_Configure:
		return &synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Configured{Configured: &synclinev1.Configured{RunId: m.Configure.RunId, Epoch: m.Configure.Epoch}}}
	case *synclinev1.ControlResponse_Arm:
		return &synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Armed{Armed: &synclinev1.Armed{RunId: m.Arm.RunId, Epoch: m.Arm.Epoch}}}
	case *synclinev1.ControlResponse_ClockPing:
		return &synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_ClockPong{ClockPong: &synclinev1.ClockPong{Id: m.ClockPing.Id, TimeNs: time.Now().UnixNano()}}}
	case *synclinev1.ControlResponse_Start:
		close(a.started)
	}
	return nil
}

// upload sends chunks until stop is closed, and returns when all that it sent are acknowledged.
func (a *commitAgent) upload(run string, stop <-chan struct{}) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := synclinev1.NewLinkServiceClient(a.conn).Upload(ctx)
	if err != nil {
		return err
	}
	first := a.sent
	answered := make(chan error, 1)
	go func() { answered <- a.receive(stream, first) }()
	for {
		select {
		case <-stop:
			if err := stream.CloseSend(); err != nil {
				return err
			}
			err := <-answered
			if err == nil && ctx.Err() == nil {
				return nil
			}
			return err
		case err := <-answered:
			return fmt.Errorf("the controller ended the stream: %w", err)
		default:
		}
		c := a.chunk(a.sent)
		a.sent++
		err := stream.Send(&synclinev1.UploadRequest{Chunk: &synclinev1.Chunk{
			RunId: run, Agent: a.name, Incarnation: a.incarnation(a.sent - 1), Sequence: c.Sequence,
			FirstEvent: c.FirstEvent, Events: c.Events, Data: c.Data, Crc32C: c.Crc32C,
		}})
		if err != nil {
			return errors.Join(err, <-answered)
		}
	}
}

func (a *commitAgent) chunk(n int) *synclinev1.Chunk { return a.chunks[n%len(a.chunks)] }

func (a *commitAgent) incarnation(n int) uint64 { return uint64(n/len(a.chunks)) + 1 }

// receive takes the acknowledgements, which come in the order of the chunks, to the end.
func (a *commitAgent) receive(stream grpc.BidiStreamingClient[synclinev1.UploadRequest, synclinev1.UploadResponse], first int) error {
	for n := first; ; n++ {
		ack, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		c := a.chunk(n)
		if ack.Rejected != "" || ack.Sequence != c.Sequence || ack.Incarnation != a.incarnation(n) {
			return fmt.Errorf("chunk %d of incarnation %d was answered with %v", c.Sequence, a.incarnation(n), ack)
		}
		a.acknowledged.Add(uint64(c.Events))
	}
}
