package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"

	"syncline/cli/chaos"
	"syncline/controller/authority"
	"syncline/controller/store"
	"syncline/deploy/netlab"
	"syncline/proto/identity"
	synclinev1 "syncline/proto/syncline/v1"
)

const (
	chaosPort    = 7443
	chaosMetrics = 9464
	// chaosCluster is the cluster's id.
	chaosCluster = "chaos"
	// opsHost is where operators and generators are.
	opsHost = "ops"
	// diskBytes is what a controller's disk holds.
	diskBytes = 1 << 30
)

var chaosAgents = []string{"vm1", "vm2", "vm3", "vm4"}

// chaosLab is three controllers, four agents, and a host for everybody else, each in a network
// namespace of its own.
type chaosLab struct {
	t     testing.TB
	lab   *netlab.Lab
	began time.Time
	// nodes are the controllers; agents the real ones.
	nodes  []*chaosNode
	agents []*chaosProcess
	creds  map[string]*identity.Credentials

	mu         sync.Mutex
	conns      map[string]*grpc.ClientConn
	violations []chaos.Violation
	figures    chaos.Figures
	// joined counts the ids that were given to nodes that lost their disks.
	joined int
	// compared counts hashes of states that were held against those of other nodes.
	compared int
}

// chaosNode is a place for a controller: a host and a disk. The controller in it has another name
// after the disk was wiped.
type chaosNode struct {
	*chaosProcess
	lab *chaosLab
	// place counts from 0; disk is where its disk is mounted.
	place int
	disk  string
	// device is what the disk is on; nil: it is a tmpfs.
	device *chaosDevice
	// name, under the lab's mu, is its id in the cluster now.
	name string
}

func (n *chaosNode) address() string {
	return netip.AddrPortFrom(n.host.Control, chaosPort).String()
}

// data is the directory of the controller; it changes with its id.
func (n *chaosNode) data() string { return filepath.Join(n.disk, n.id()) }

func (n *chaosNode) id() string {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	return n.name
}

// used is how many bytes of its disk are taken; 0 if nobody can say.
func (n *chaosNode) used() uint64 {
	var at unix.Statfs_t
	if unix.Statfs(n.disk, &at) != nil {
		return 0
	}
	return (at.Blocks - at.Bfree) * uint64(at.Bsize)
}

// newChaosLab starts everything, and returns when all three controllers vote and all agents are
// connected. withDevice: the disk of the third controller is a block device's.
func newChaosLab(t testing.TB, withDevice bool) *chaosLab {
	t.Helper()
	unmountStale(t)
	made, err := netlab.New(netlab.Config{Hosts: append([]string{"c1", "c2", "c3", opsHost}, chaosAgents...)})
	if errors.Is(err, netlab.ErrPrivilege) {
		t.Skip("needs network namespaces: run the tests as root")
	}
	if err != nil {
		t.Fatal(err)
	}
	l := &chaosLab{t: t, lab: made, began: time.Now(), creds: map[string]*identity.Credentials{}, conns: map[string]*grpc.ClientConn{}}
	t.Cleanup(l.close)
	for place := range 3 {
		l.nodes = append(l.nodes, l.newNode(place))
	}
	if withDevice {
		if err := l.nodes[2].useDevice(); err != nil {
			t.Fatalf("give c3 an ext4 on a loop device, which the faults disk-slow, disk-hangs and disk-fails need (-chaos.faults leaves them out): %v", err)
		}
	}
	l.issue(identity.Operator, "alice")
	l.issue(identity.Controller, "checker")
	self := l.self()
	for i, n := range l.nodes {
		if i == 0 {
			l.command(n.host, append([]string{"cluster", "init", "--data", n.data()}, l.who(n.name)...)...)
		}
		n.arguments = func() []string { return n.serve() }
		if i > 0 {
			l.join(n)
		}
		n.start(self)
		if i == 0 {
			l.awaitLeader("the first controller leads")
		}
	}
	l.within(time.Minute, "three controllers vote", func() error { return l.level(3) })
	for _, name := range chaosAgents {
		l.issue(identity.Agent, name)
		p := &chaosProcess{lab: l, tag: name, host: l.lab.Host(name)}
		p.arguments = func() []string {
			return append([]string{"agent", "serve", "--controller", l.addresses(), "--name", name, "--address", p.host.Address.String(), "--state", l.agentState(name)}, l.who(name)...)
		}
		l.agents = append(l.agents, p)
		p.start(self)
	}
	return l
}

func (l *chaosLab) agentState(name string) string { return filepath.Join(l.lab.Dir(), "agent-"+name) }

func (l *chaosLab) pki() string { return filepath.Join(l.lab.Dir(), "pki") }

func (l *chaosLab) who(name string) []string {
	return []string{"--tls-cert", filepath.Join(l.pki(), name+".crt")}
}

func (l *chaosLab) self() string {
	l.t.Helper()
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	return self
}

// issue makes a certificate, and the authority with the first of them.
func (l *chaosLab) issue(role identity.Role, name string) {
	l.t.Helper()
	if err := l.tryIssue(role, name); err != nil {
		l.t.Fatal(err)
	}
}

func (l *chaosLab) tryIssue(role identity.Role, name string) error {
	from, err := authority.Open(l.pki())
	if errors.Is(err, fs.ErrNotExist) {
		from, err = authority.Create(l.pki(), chaosCluster)
	}
	if err != nil {
		return err
	}
	issued, err := from.Issue(authority.Request{Role: role, Name: name})
	if err != nil {
		return err
	}
	files, err := issued.Write(l.pki())
	if err != nil {
		return err
	}
	creds, err := files.Open(slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.creds[name] = creds
	return nil
}

// newNode makes a place with a disk of its own.
func (l *chaosLab) newNode(place int) *chaosNode {
	l.t.Helper()
	host := fmt.Sprintf("c%d", place+1)
	n := &chaosNode{lab: l, place: place, name: host, disk: filepath.Join(l.lab.Dir(), "disk-"+host)}
	n.chaosProcess = &chaosProcess{lab: l, tag: host, host: l.lab.Host(host)}
	if err := os.Mkdir(n.disk, 0o700); err != nil {
		l.t.Fatal(err)
	}
	if err := unix.Mount(mountSource(os.Getpid()), n.disk, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", diskBytes)); err != nil {
		l.t.Fatalf("mount a tmpfs for %s: %v", host, os.NewSyscallError("mount", err))
	}
	l.issue(identity.Controller, n.name)
	return n
}

const mountPrefix = "syncline-chaos-"

func mountSource(pid int) string { return mountPrefix + strconv.Itoa(pid) }

// unmountStale unmounts the disks of tests that were killed.
func unmountStale(t testing.TB) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		pid, ok := strings.CutPrefix(fields[0], mountPrefix)
		if !ok {
			continue
		}
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, fs.ErrNotExist) {
			thawStale(fields[1])
			if err := unix.Unmount(fields[1], unix.MNT_DETACH); err != nil {
				t.Errorf("unmount %s of a test that is gone: %v", fields[1], err)
			}
		}
	}
}

// serve are the arguments of a controller.
func (n *chaosNode) serve() []string {
	return append([]string{
		"controller", "serve", "--listen", n.address(), "--advertise", n.address(), "--data", n.data(),
		"--metrics", net.JoinHostPort("127.0.0.1", strconv.Itoa(chaosMetrics)),
	}, n.lab.who(n.id())...)
}

// join lets a node into the cluster by way of another one. It runs the command until a member
// answers.
func (l *chaosLab) join(n *chaosNode) {
	l.t.Helper()
	l.within(time.Minute, "node "+n.id()+" joins", func() error {
		for _, other := range l.nodes {
			if other == n || !other.running() {
				continue
			}
			said, err := l.try(n.host, append([]string{"cluster", "join", other.address(), "--advertise", n.address(), "--data", n.data()}, l.who(n.id())...)...)
			if err == nil {
				return nil
			}
			return fmt.Errorf("%w: %s", err, said)
		}
		return errors.New("no other controller runs")
	})
}

// command runs the program on a host, and must succeed.
func (l *chaosLab) command(h *netlab.Host, args ...string) string {
	l.t.Helper()
	said, err := l.try(h, args...)
	if err != nil {
		l.t.Fatalf("%v: %v\n%s", args, err, said)
	}
	return said
}

func (l *chaosLab) try(h *netlab.Host, args ...string) (string, error) {
	f, err := os.CreateTemp(l.lab.Dir(), "command")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	cmd := exec.Command(l.self(), args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = labEnvironment(), f, f
	p, err := h.Start(cmd)
	if err != nil {
		return "", err
	}
	err = p.Wait()
	said, readErr := os.ReadFile(f.Name())
	return string(said), errors.Join(err, readErr)
}

func (l *chaosLab) addresses() string {
	var all []string
	for _, n := range l.nodes {
		all = append(all, n.address())
	}
	return strings.Join(all, ",")
}

// close ends everything. What processes said is shown if the test failed.
func (l *chaosLab) close() {
	for _, p := range l.processes() {
		p.finish()
	}
	l.mu.Lock()
	for _, conn := range l.conns {
		conn.Close()
	}
	l.mu.Unlock()
	for _, p := range l.processes() {
		text, err := os.ReadFile(p.logName())
		if err != nil {
			l.t.Error(err)
		}
		if at := broken(string(text)); at >= 0 {
			l.t.Errorf("%s: a data race, or a panic:\n%s", p.tag, text[at:min(len(text), at+8000)])
		} else if l.t.Failed() {
			l.t.Logf("%s: %s", p.tag, lastBytes(text, 1500))
		}
	}
	if l.t.Failed() && *chaosKeep != "" {
		if err := os.CopyFS(*chaosKeep, os.DirFS(l.lab.Dir())); err != nil {
			l.t.Log(err)
		}
	}
	for _, n := range l.nodes {
		if err := n.removeDisk(); err != nil {
			l.t.Error(err)
		}
	}
	if err := l.lab.Close(); err != nil {
		l.t.Error(err)
	}
}

// broken is where a process tells of a data race or of a panic, negative if it does not. That of raft at
// an entry of the log that is damaged is none: it is how the library stops (controller/store/DESIGN.md).
func broken(text string) int {
	at := 0
	for line := range strings.Lines(text) {
		if strings.Contains(line, "DATA RACE") || strings.HasPrefix(line, "panic: ") && !strings.Contains(line, store.ErrDamaged.Error()) {
			return at
		}
		at += len(line)
	}
	return -1
}

func lastBytes(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

func (l *chaosLab) processes() []*chaosProcess {
	var all []*chaosProcess
	for _, n := range l.nodes {
		all = append(all, n.chaosProcess)
	}
	return append(all, l.agents...)
}

// violate notes a promise that was not kept.
func (l *chaosLab) violate(all ...chaos.Violation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range all {
		l.t.Errorf("%6.1f s: %v", time.Since(l.began).Seconds(), v)
		l.violations = append(l.violations, v)
	}
}

// trouble is an error of the test itself.
func (l *chaosLab) trouble(what string, err error) {
	l.violate(chaos.Violation{Invariant: chaos.HarnessSound, Count: 1, What: fmt.Sprintf("%s: %v", what, err)})
}

// within waits until try succeeds.
func (l *chaosLab) within(d time.Duration, what string, try func() error) {
	l.t.Helper()
	if _, err := l.until(d, try); err != nil {
		l.t.Fatalf("%s: not so after %v: %v", what, d, err)
	}
}

// until tries again and again, and returns how long it took, or the last error.
func (l *chaosLab) until(d time.Duration, try func() error) (time.Duration, error) {
	began := time.Now()
	for {
		err := try()
		took := time.Since(began)
		if err == nil || took > d {
			return took, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// conn is a connection of somebody to a node, from the host of the operators.
func (l *chaosLab) conn(name, address string) *grpc.ClientConn {
	key := name + " " + address
	l.mu.Lock()
	defer l.mu.Unlock()
	if conn := l.conns[key]; conn != nil {
		return conn
	}
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(l.creds[name].Client()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return l.lab.Host(opsHost).Dial(ctx, "tcp", address)
		}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: 500 * time.Millisecond}, MinConnectTimeout: 2 * time.Second}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
	if err != nil {
		panic(err) // the options are constants
	}
	l.conns[key] = conn
	return conn
}

// report is how a node sees itself.
func (l *chaosLab) report(n *chaosNode) (*synclinev1.ReportResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return synclinev1.NewPeerServiceClient(l.conn("checker", n.address())).Report(ctx, &synclinev1.ReportRequest{})
}

// leader is the node that says it leads, in the latest term; nil if none does.
func (l *chaosLab) leader() *chaosNode {
	var leads *chaosNode
	var term uint64
	for _, n := range l.nodes {
		if r, err := l.report(n); err == nil && r.State == "leader" && r.Term > term {
			leads, term = n, r.Term
		}
	}
	return leads
}

func (l *chaosLab) awaitLeader(what string) {
	l.t.Helper()
	l.within(30*time.Second, what, func() error {
		if l.leader() == nil {
			return errors.New("no node says that it leads")
		}
		return nil
	})
}

// level fails unless so many controllers are members with a vote, answer, are complete, and none is
// more than 250 entries behind the others.
func (l *chaosLab) level(voters int) error {
	leader := l.leader()
	if leader == nil {
		return errors.New("no node says that it leads")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	c, err := synclinev1.NewClusterServiceClient(l.conn("alice", leader.address())).GetCluster(ctx, &synclinev1.GetClusterRequest{})
	if err != nil {
		return err
	}
	var least, most uint64
	for i, m := range c.Members {
		switch {
		case m.Error != "":
			return fmt.Errorf("node %s does not answer: %s", m.Id, m.Error)
		case !m.Voter:
			return fmt.Errorf("node %s does not vote yet", m.Id)
		case !m.Complete:
			return fmt.Errorf("node %s lacks chunks", m.Id)
		case m.Failure != "":
			return fmt.Errorf("node %s has failed: %s", m.Id, m.Failure)
		}
		if i == 0 || m.AppliedIndex < least {
			least = m.AppliedIndex
		}
		most = max(most, m.AppliedIndex)
	}
	if len(c.Members) != voters {
		return fmt.Errorf("%d members, want %d", len(c.Members), voters)
	}
	if most-least > 250 {
		return fmt.Errorf("one has applied entry %d, another one %d", least, most)
	}
	return nil
}

// connected fails unless every agent and generator is connected.
func (l *chaosLab) connected() error {
	leader := l.leader()
	if leader == nil {
		return errors.New("no node says that it leads")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	all, err := synclinev1.NewAgentServiceClient(l.conn("alice", leader.address())).ListAgents(ctx, &synclinev1.ListAgentsRequest{})
	if err != nil {
		return err
	}
	if len(all.Agents) < len(l.agents) {
		return fmt.Errorf("the cluster knows %d agents, there are %d", len(all.Agents), len(l.agents))
	}
	for _, a := range all.Agents {
		if a.Name != probeName && a.State != synclinev1.AgentState_AGENT_STATE_READY {
			return fmt.Errorf("agent %s is not connected", a.Name)
		}
	}
	return nil
}

// chaosProcess is a process that is started again whenever it ends, as systemd would.
type chaosProcess struct {
	lab       *chaosLab
	tag       string
	host      *netlab.Host
	arguments func() []string

	mu sync.Mutex
	// changed is closed, and replaced, with every change of what follows.
	changed chan struct{}
	// held is how many keep it from being started, starting is set until it is; over ends it for good.
	held           int
	starting, over bool
	now            *netlab.Process
	// starts counts; ends are how it ended, each time.
	starts int
	ends   []error
	ended  chan struct{}
}

// restartDelay is RestartSec of a unit.
const restartDelay = 200 * time.Millisecond

func (p *chaosProcess) logName() string { return filepath.Join(p.lab.lab.Dir(), p.tag+".log") }

func (p *chaosProcess) start(self string) {
	p.ended = make(chan struct{})
	p.changed = make(chan struct{})
	go func() {
		defer close(p.ended)
		for p.mayStart() {
			if err := p.live(self); err != nil {
				p.change(func() { p.over, p.starting = true, false })
				p.lab.trouble("start "+p.tag, err)
				return
			}
			time.Sleep(restartDelay)
		}
	}()
	p.await(func() bool { return p.now != nil || p.over })
}

// mayStart waits until it is to be started; false: never again.
func (p *chaosProcess) mayStart() (ok bool) {
	p.await(func() bool {
		p.starting = !p.over && p.held == 0
		ok = p.starting
		return p.over || ok
	})
	return ok
}

// live starts the process and waits for its end.
func (p *chaosProcess) live(self string) error {
	f, err := os.OpenFile(p.logName(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := exec.Command(self, p.arguments()...)
	cmd.Stderr, cmd.Stdout, cmd.Env = f, f, labEnvironment()
	process, err := p.host.Start(cmd)
	if err != nil {
		return err
	}
	p.change(func() { p.now, p.starting = process, false; p.starts++ })
	err = process.Wait()
	fmt.Fprintf(f, "-- %v: process %d ended: %v\n", time.Now().UTC().Format(time.RFC3339Nano), process.PID(), err)
	p.change(func() { p.now = nil; p.ends = append(p.ends, err) })
	return nil
}

func (p *chaosProcess) change(how func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	how()
	close(p.changed)
	p.changed = make(chan struct{})
}

// await waits until something holds, which is asked under mu.
func (p *chaosProcess) await(holds func() bool) {
	for {
		p.mu.Lock()
		ok, changed := holds(), p.changed
		p.mu.Unlock()
		if ok {
			return
		}
		<-changed
	}
}

func (p *chaosProcess) current() *netlab.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

func (p *chaosProcess) running() bool { return p.current() != nil }

func (p *chaosProcess) signal(s os.Signal) error {
	now := p.current()
	if now == nil {
		return os.ErrProcessDone
	}
	return now.Signal(s)
}

// hold ends the process by a signal, and keeps it down until everybody who holds it has released it, also
// after an error. ended is how it ended; nil if it was down already, or exited with status 0.
func (p *chaosProcess) hold(s syscall.Signal) (ended, err error) {
	p.change(func() { p.held++ })
	p.await(func() bool { return !p.starting })
	now := p.current()
	if now == nil {
		return nil, nil
	}
	if err := now.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return nil, err
	}
	// A stopped process takes no SIGTERM.
	_ = now.Signal(syscall.SIGCONT)
	select {
	case <-now.Done():
	case <-time.After(20 * time.Second):
		return nil, errors.Join(fmt.Errorf("%s does not end on %v", p.tag, s), now.Signal(syscall.SIGKILL))
	}
	p.await(func() bool { return p.now != now })
	return now.Wait(), nil
}

// release takes back one hold.
func (p *chaosProcess) release() { p.change(func() { p.held-- }) }

func (p *chaosProcess) finish() {
	if p.ended == nil {
		return
	}
	p.change(func() { p.over = true })
	p.await(func() bool { return !p.starting })
	if now := p.current(); now != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		_ = now.Signal(syscall.SIGCONT)
		if err := now.Stop(ctx); err != nil {
			p.lab.violate(chaos.Violation{Invariant: chaos.NoneWedged, Count: 1, What: err.Error()})
		}
	}
	<-p.ended
}

// killed reports whether a process ended by SIGKILL.
func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}
