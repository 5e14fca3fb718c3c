package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"syncline/cli/chaos"
	"syncline/controller/authority"
	"syncline/proto/identity"
	synclinev1 "syncline/proto/syncline/v1"
)

// errNothing says that there is nothing now that a fault could happen to.
var errNothing = errors.New("nothing to do it to")

// evidencePatience is how long a fault stays beyond its time until something shows it: other faults
// may have left nobody there to notice.
const evidencePatience = 20 * time.Second

// shown waits until there is a proof, which is "" if there is none in the end.
func (i *injury) shown(look func() (string, error)) (proof string, err error) {
	_, _ = i.lab.until(evidencePatience, func() error {
		if proof, err = look(); proof == "" && err == nil {
			return errNothing
		}
		return nil
	})
	return proof, err
}

// injury is a fault at work.
type injury struct {
	chaos.Fault
	lab  *chaosLab
	load *load
	// alone: no other fault overlaps with it.
	alone bool
	// killed, if set, is when the leader was killed.
	killed time.Time
	// heal takes it back, and tells what shows that it happened; "" if nothing does.
	heal func() (proof string, err error)
}

// pick chooses one of n by the fault's dice.
func (i *injury) pick(n int) int { return int(i.Pick % uint64(n)) }

// electionPatience is how long a fault waits for a leader, while others are at work.
const electionPatience = 6 * time.Second

func (i *injury) someLeader() (leader *chaosNode, err error) {
	_, err = i.lab.until(electionPatience, func() error {
		if leader = i.lab.leader(); leader == nil || !leader.running() {
			return fmt.Errorf("%w: no node leads", errNothing)
		}
		return nil
	})
	return leader, err
}

func (i *injury) someFollower() (*chaosNode, error) {
	leader, err := i.someLeader()
	if err != nil {
		return nil, err
	}
	var all []*chaosNode
	for _, n := range i.lab.nodes {
		if n != leader && n.running() {
			all = append(all, n)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: no node follows another one", errNothing)
	}
	return all[i.pick(len(all))], nil
}

func (i *injury) someAgent() (*chaosProcess, error) {
	p := i.lab.agents[i.pick(len(i.lab.agents))]
	if !p.running() {
		return nil, fmt.Errorf("%w: agent %s is down", errNothing, p.tag)
	}
	return p, nil
}

// begin does it.
func (i *injury) begin() error {
	switch i.Kind {
	case chaos.KillLeader:
		return i.onNode(i.someLeader, func(n *chaosNode) error { i.killed = time.Now(); return i.down(syscall.SIGKILL, n.chaosProcess) })
	case chaos.KillFollower:
		return i.onNode(i.someFollower, func(n *chaosNode) error { return i.down(syscall.SIGKILL, n.chaosProcess) })
	case chaos.TermLeader:
		return i.onNode(i.someLeader, func(n *chaosNode) error { return i.down(syscall.SIGTERM, n.chaosProcess) })
	case chaos.KillAll:
		return i.down(syscall.SIGKILL, i.lab.nodes[0].chaosProcess, i.lab.nodes[1].chaosProcess, i.lab.nodes[2].chaosProcess)
	case chaos.KillAgent:
		return i.onAgent(func(p *chaosProcess) error { return i.down(syscall.SIGKILL, p) })
	case chaos.StopLeader:
		return i.onNode(i.someLeader, func(n *chaosNode) error { return i.stop(n.chaosProcess) })
	case chaos.StopFollower:
		return i.onNode(i.someFollower, func(n *chaosNode) error { return i.stop(n.chaosProcess) })
	case chaos.StopAgent:
		return i.onAgent(i.stop)
	case chaos.RestartStorm:
		return i.onNode(i.someFollower, i.storm)
	case chaos.IsolateLeader:
		return i.onNode(i.someLeader, i.isolate)
	case chaos.IsolateFollower:
		return i.onNode(i.someFollower, i.isolate)
	case chaos.DeafLeader:
		return i.onNode(i.someLeader, func(n *chaosNode) error {
			return i.behind(&wall{host: n.host, in: true, peers: i.lab.others(n)})
		})
	case chaos.MuteLeader:
		return i.onNode(i.someLeader, func(n *chaosNode) error {
			return i.behind(&wall{host: n.host, out: true, peers: i.lab.others(n)})
		})
	case chaos.PartitionAll:
		var walls []*wall
		for _, n := range i.lab.nodes {
			walls = append(walls, &wall{host: n.host, in: true, out: true, peers: i.lab.others(n)})
		}
		return i.behind(walls...)
	case chaos.CutPair:
		// From the leader: two that follow have nothing to say to each other.
		return i.onNode(i.someLeader, func(n *chaosNode) error {
			return i.behind(&wall{host: n.host, in: true, out: true, peers: []netip.Addr{i.lab.others(n)[i.pick(2)]}})
		})
	case chaos.ResetPeers:
		return i.onNode(i.someFollower, func(n *chaosNode) error {
			return i.behind(&wall{host: n.host, in: true, reset: true, peers: i.lab.others(n)})
		})
	case chaos.IsolateAgent:
		return i.onAgent(func(p *chaosProcess) error {
			return i.behind(&wall{host: p.host, in: true, out: true, peers: i.lab.others(nil)})
		})
	case chaos.Flapping:
		return i.onNode(i.someLeader, i.flap)
	case chaos.SlowLink:
		return i.onNode(i.someNode, i.slow)
	case chaos.DiskFull:
		return i.onNode(i.someNode, i.fill)
	case chaos.DiskReadOnly:
		return i.onNode(i.someFollower, i.readOnly)
	case chaos.DiskSlow:
		return i.onNode(i.someDevice, i.slowDisk)
	case chaos.DiskHangs:
		return i.onNode(i.someDevice, i.hangDisk)
	case chaos.DiskFails:
		return i.onNode(i.someDevice, i.failDisk)
	case chaos.CorruptLog:
		return i.onNode(i.someFollower, func(n *chaosNode) error { return i.damage(n, "log.db", flipOne) })
	case chaos.CorruptSnapshot:
		return i.onNode(i.someFollower, func(n *chaosNode) error { return i.damage(n, "snapshots/*/state.bin", flipOne) })
	case chaos.CorruptIdentity:
		return i.onNode(i.someFollower, func(n *chaosNode) error {
			return i.damage(n, []string{"id", "disk.uuid", "cluster"}[i.pick(3)], flipOne)
		})
	case chaos.CorruptInventory:
		return i.onNode(i.someFollower, func(n *chaosNode) error { return i.damage(n, "runs/inventory.txt", flipOne) })
	case chaos.CorruptChunk:
		return i.onNode(i.someFollower, func(n *chaosNode) error { return i.damage(n, chunkPattern, flipChunk) })
	case chaos.TruncateChunk:
		return i.onNode(i.someFollower, func(n *chaosNode) error { return i.damage(n, chunkPattern, cutHalf) })
	case chaos.DeleteChunk:
		return i.onNode(i.someFollower, func(n *chaosNode) error { return i.damage(n, chunkPattern, deleteIt) })
	case chaos.RotChunk:
		return i.onNode(i.someNode, i.rot)
	case chaos.KillInSnapshot:
		return i.onNode(i.someNode, i.killInSnapshot)
	case chaos.KillInFetch:
		return i.onNode(i.someFollower, i.killInFetch)
	case chaos.CorruptSpool:
		return i.spoil(flipOne)
	case chaos.TruncateSpool:
		return i.spoil(cutHalf)
	case chaos.WipeNode:
		return i.onNode(i.someFollower, func(n *chaosNode) error { return i.replaced(n, true) })
	case chaos.RemoveAndJoin:
		return i.onNode(i.someFollower, func(n *chaosNode) error { return i.replaced(n, false) })
	case chaos.Transfer:
		return i.onNode(i.someLeader, i.transfer)
	case chaos.RenewAll:
		return i.renew()
	case chaos.Garbage:
		return i.garbage()
	case chaos.Repeat:
		return i.repeat()
	}
	return fmt.Errorf("fault %s has no code", i.Kind)
}

func (i *injury) someNode() (*chaosNode, error) {
	n := i.lab.nodes[i.pick(len(i.lab.nodes))]
	if !n.running() {
		return nil, fmt.Errorf("%w: node %s is down", errNothing, n.tag)
	}
	return n, nil
}

func (i *injury) onNode(which func() (*chaosNode, error), do func(*chaosNode) error) error {
	n, err := which()
	if err != nil {
		return err
	}
	return do(n)
}

func (i *injury) onAgent(do func(*chaosProcess) error) error {
	p, err := i.someAgent()
	if err != nil {
		return err
	}
	return do(p)
}

// others are the control addresses of the controllers but one.
func (l *chaosLab) others(but *chaosNode) []netip.Addr {
	var all []netip.Addr
	for _, n := range l.nodes {
		if n != but {
			all = append(all, n.host.Control)
		}
	}
	return all
}

// down ends processes by a signal, and keeps them down until it is healed.
func (i *injury) down(s syscall.Signal, all ...*chaosProcess) error {
	var ended, others []string
	var errs []error
	for _, p := range all {
		running := p.running()
		how, err := p.hold(s)
		errs = append(errs, err)
		switch {
		case !running:
			others = append(others, p.tag+" was down")
		case s == syscall.SIGKILL && killed(how), s == syscall.SIGTERM && how == nil:
			ended = append(ended, p.tag)
		case killed(how):
			others = append(others, p.tag+" was killed by another fault")
		default:
			errs = append(errs, fmt.Errorf("%s after %v: %w", p.tag, s, how))
		}
	}
	i.heal = func() (string, error) {
		for _, p := range all {
			p.release()
		}
		if len(ended) == 0 {
			return "", fmt.Errorf("%w: %s", errNothing, strings.Join(others, ", "))
		}
		return strings.Join(append(others, fmt.Sprintf("%s ended by %v", strings.Join(ended, ", "), s)), ", "), nil
	}
	return errors.Join(errs...)
}

// stop stops a process as a debugger would. Another fault may kill it then.
func (i *injury) stop(p *chaosProcess) error {
	now := p.current()
	if now == nil {
		return fmt.Errorf("%w: %s is down", errNothing, p.tag)
	}
	if err := now.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop %s: %w", p.tag, err)
	}
	proof, err := i.shown(func() (string, error) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", now.PID()))
		// PID (COMMAND) STATE, proc_pid_stat(5).
		if _, rest, ok := strings.Cut(string(text), ") "); err == nil && ok && strings.HasPrefix(rest, "T") {
			return fmt.Sprintf("%s was in state T", p.tag), nil
		}
		return "", err
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("%w: another fault ended %s", errNothing, p.tag)
	}
	i.heal = func() (string, error) {
		if err := now.Signal(syscall.SIGCONT); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return proof, fmt.Errorf("let %s go on: %w", p.tag, err)
		}
		return proof, nil
	}
	return err
}

// storm kills a node again and again as soon as it runs.
func (i *injury) storm(n *chaosNode) error {
	ctx, cancel := context.WithCancel(context.Background())
	var kills atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if n.signal(syscall.SIGKILL) == nil {
				kills.Add(1)
			}
			wait(ctx, 350*time.Millisecond)
		}
	}()
	i.heal = func() (string, error) {
		proof, err := i.shown(func() (string, error) {
			if kills := kills.Load(); kills > 1 {
				return fmt.Sprintf("%s was killed %d times", n.tag, kills), nil
			}
			return "", nil
		})
		cancel()
		<-done
		return proof, err
	}
	return nil
}

// isolate cuts a node off from the other controllers, and half of the times from all but the
// operators.
func (i *injury) isolate(n *chaosNode) error {
	if i.Pick>>8&1 == 0 {
		return i.behind(&wall{host: n.host, in: true, out: true, peers: i.lab.others(n)})
	}
	return i.behind(&wall{host: n.host, in: true, out: true, except: i.lab.lab.Host(opsHost).Control})
}

// behind puts walls up until it is healed.
func (i *injury) behind(walls ...*wall) error {
	var up []*wall
	i.heal = func() (string, error) {
		var errs []error
		var proofs []string
		for _, w := range up {
			proof, err := i.shown(func() (string, error) {
				n, err := w.met()
				if n == 0 {
					return "", err
				}
				return fmt.Sprintf("%d packets at %s", n, w.host.Name), err
			})
			errs = append(errs, err)
			if proof != "" {
				proofs = append(proofs, proof)
			}
		}
		for _, w := range up {
			errs = append(errs, w.fall())
		}
		return strings.Join(proofs, ", "), errors.Join(errs...)
	}
	for _, w := range walls {
		w.name = fmt.Sprintf("chaos%d", i.Number)
		if err := w.rise(); err != nil {
			return err
		}
		up = append(up, w)
	}
	return nil
}

// flap cuts a node off for 200 ms, and lets it be for 200 ms.
func (i *injury) flap(n *chaosNode) error {
	ctx, cancel := context.WithCancel(context.Background())
	var packets, times atomic.Uint64
	done := make(chan error, 1)
	go func() {
		var all error
		for ctx.Err() == nil && all == nil {
			w := &wall{host: n.host, name: fmt.Sprintf("chaos%d", i.Number), in: true, out: true, peers: i.lab.others(n)}
			if all = w.rise(); all != nil {
				break
			}
			wait(ctx, 200*time.Millisecond)
			met, err := w.met()
			all = errors.Join(err, w.fall())
			packets.Add(met)
			times.Add(1)
			wait(ctx, 200*time.Millisecond)
		}
		done <- all
	}()
	i.heal = func() (string, error) {
		proof, _ := i.shown(func() (string, error) {
			if packets.Load() == 0 {
				return "", nil
			}
			return fmt.Sprintf("%d packets in %d cuts of %s", packets.Load(), times.Load(), n.tag), nil
		})
		cancel()
		return proof, <-done
	}
	return nil
}

// slow gives a node a narrow link on its way out: the leader 256 kB/s, another node, which has less to
// say, 8 kB/s.
func (i *injury) slow(n *chaosNode) error {
	rate := uint64(256 << 10)
	if n != i.lab.leader() {
		rate = 8 << 10
	}
	link, err := narrow(n.host, rate)
	if err != nil {
		return err
	}
	i.heal = func() (string, error) {
		proof, err := i.shown(func() (string, error) {
			waited, err := link.waited()
			if waited == 0 {
				return "", err
			}
			return fmt.Sprintf("packets of %s had to wait %d times for %d kB/s", n.tag, waited, rate>>10), err
		})
		return proof, errors.Join(err, link.widen())
	}
	return nil
}

// transfer hands the leadership over while everybody is at work.
func (i *injury) transfer(n *chaosNode) error {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	from := n.id()
	_, err := synclinev1.NewClusterServiceClient(i.lab.conn("alice", n.address())).TransferLeadership(ctx, &synclinev1.TransferLeadershipRequest{Force: true})
	if err != nil {
		return fmt.Errorf("%w: %w", errNothing, err) // another fault is in the way
	}
	i.heal = func() (string, error) {
		// Others may have been at work since.
		to := i.lab.leader()
		switch {
		case to == nil:
			return fmt.Sprintf("node %s said so, and no node leads now", from), nil
		case to.id() == from:
			return fmt.Sprintf("node %s said so, and leads again", from), nil
		}
		return fmt.Sprintf("node %s leads, and led was %s", to.id(), from), nil
	}
	return nil
}

// renew gives every controller and every agent a new certificate for the key that it has, and then
// looks which ones the controllers show.
func (i *injury) renew() error {
	from, err := authority.Open(i.lab.pki())
	if err != nil {
		return err
	}
	again := func(role identity.Role, name string) (*authority.Issued, error) {
		key, err := authority.PublicKeyOf(i.lab.pki(), name)
		if err != nil {
			return nil, err
		}
		issued, err := from.Issue(authority.Request{Role: role, Name: name, PublicKey: key})
		if err != nil {
			return nil, err
		}
		_, err = issued.Renew(i.lab.pki())
		return issued, err
	}
	renewed := map[*chaosNode]*authority.Issued{}
	for _, n := range i.lab.nodes {
		issued, err := again(identity.Controller, n.id())
		if errors.Is(err, fs.ErrNotExist) {
			continue // it is just being replaced, and has none yet
		}
		if err != nil {
			return err
		}
		renewed[n] = issued
	}
	for _, name := range chaosAgents {
		if _, err := again(identity.Agent, name); err != nil {
			return err
		}
	}
	i.heal = func() (string, error) {
		return i.shown(func() (string, error) {
			var shows []string
			for n, issued := range renewed {
				now, err := i.lab.certificate(n)
				if err == nil && now.SerialNumber.Cmp(issued.Certificate.SerialNumber) == 0 {
					shows = append(shows, n.tag)
				}
			}
			if len(shows) == 0 {
				return "", nil
			}
			slices.Sort(shows)
			return fmt.Sprintf("%s showed certificates with their new serial numbers", strings.Join(shows, ", ")), nil
		})
	}
	return nil
}

// certificate is the one that a controller shows now.
func (l *chaosLab) certificate(n *chaosNode) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	raw, err := l.lab.Host(opsHost).Dial(ctx, "tcp", n.address())
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	secure := tls.Client(raw, l.operator().ClientConfig("h2"))
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return secure.ConnectionState().PeerCertificates[0], nil
}

func (l *chaosLab) operator() *identity.Credentials {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.creds["alice"]
}

// garbage talks nonsense to all ports: without TLS, and with it and then no protocol.
func (i *injury) garbage() error {
	ctx, cancel := context.WithCancel(context.Background())
	var sent atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ctx.Err() == nil; n++ {
			sent.Add(int64(i.babble(ctx, i.lab.nodes[n%len(i.lab.nodes)].address(), n)))
		}
	}()
	i.heal = func() (string, error) {
		proof, err := i.shown(func() (string, error) {
			if sent.Load() == 0 {
				return "", nil
			}
			return fmt.Sprintf("%d bytes were written", sent.Load()), nil
		})
		cancel()
		<-done
		return proof, err
	}
	return nil
}

// babble writes random bytes into one connection, and returns how many were taken.
func (i *injury) babble(ctx context.Context, address string, n int) int {
	limit, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	raw, err := i.lab.lab.Host(opsHost).Dial(limit, "tcp", address)
	if err != nil {
		wait(ctx, 50*time.Millisecond)
		return 0
	}
	defer raw.Close()
	if err := raw.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return 0
	}
	to := net.Conn(raw)
	if n%2 == 1 {
		// An operator's certificate opens the door for gRPC, and then there is no HTTP/2.
		secure := tls.Client(raw, i.lab.operator().ClientConfig("h2"))
		if err := secure.HandshakeContext(limit); err != nil {
			return 0
		}
		to = secure
	}
	noise := make([]byte, 1+rand.IntN(4096))
	for at := range noise {
		noise[at] = byte(rand.Uint32())
	}
	written, _ := to.Write(noise) // it may be cut off at any byte
	return written
}

// repeat has the generators send chunks twice and in another order.
func (i *injury) repeat() error {
	repeated := func() (n uint64) {
		for _, g := range i.load.generators {
			n += g.repeated.Load()
		}
		return n
	}
	before := repeated()
	for _, g := range i.load.generators {
		g.repeat.Store(true)
	}
	i.heal = func() (string, error) {
		proof, err := i.shown(func() (string, error) {
			if n := repeated() - before; n > 0 {
				return fmt.Sprintf("%d chunks were sent twice, in any order", n), nil
			}
			return "", nil
		})
		for _, g := range i.load.generators {
			g.repeat.Store(false)
		}
		return proof, err
	}
	return nil
}
