package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"syncline/cli/chaos"
	"syncline/controller/authority"
	"syncline/proto/identity"
	synclinev1 "syncline/proto/syncline/v1"
)

// errNothing says that there is nothing now that a fault could happen to.
var errNothing = errors.New("nothing to do it to")

// injury is a fault at work.
type injury struct {
	chaos.Fault
	lab  *chaosLab
	load *load
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
		return i.onNode(i.someFollower, i.slow)
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
	var proofs []string
	var errs []error
	for _, p := range all {
		running := p.running()
		ended, err := p.hold(s)
		errs = append(errs, err)
		if err == nil && running && (s == syscall.SIGKILL && killed(ended) || s == syscall.SIGTERM && ended == nil) {
			proofs = append(proofs, p.tag)
		}
	}
	i.heal = func() (string, error) {
		for _, p := range all {
			p.release()
		}
		if len(proofs) < len(all) {
			return "", nil
		}
		return fmt.Sprintf("%s ended by %v", strings.Join(proofs, ", "), s), nil
	}
	return errors.Join(errs...)
}

// stop stops a process as a debugger would.
func (i *injury) stop(p *chaosProcess) error {
	now := p.current()
	if now == nil {
		return fmt.Errorf("%w: %s is down", errNothing, p.tag)
	}
	if err := now.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop %s: %w", p.tag, err)
	}
	i.heal = func() (string, error) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", now.PID()))
		if err != nil {
			return "", err
		}
		proof := ""
		// PID (COMMAND) STATE, proc_pid_stat(5).
		if _, rest, ok := strings.Cut(string(text), ") "); ok && strings.HasPrefix(rest, "T") {
			proof = fmt.Sprintf("%s was in state T", p.tag)
		}
		return proof, now.Signal(syscall.SIGCONT)
	}
	return nil
}

// storm kills a node again and again as soon as it runs.
func (i *injury) storm(n *chaosNode) error {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int, 1)
	go func() {
		kills := 0
		for ctx.Err() == nil {
			if n.signal(syscall.SIGKILL) == nil {
				kills++
			}
			wait(ctx, 350*time.Millisecond)
		}
		done <- kills
	}()
	i.heal = func() (string, error) {
		cancel()
		if kills := <-done; kills > 1 {
			return fmt.Sprintf("%s was killed %d times", n.tag, kills), nil
		}
		return "", nil
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
			n, err := w.met()
			if n > 0 {
				proofs = append(proofs, fmt.Sprintf("%d packets at %s", n, w.host.Name))
			}
			errs = append(errs, err, w.fall())
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
	type result struct {
		packets uint64
		times   int
		err     error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		for ctx.Err() == nil && r.err == nil {
			w := &wall{host: n.host, name: fmt.Sprintf("chaos%d", i.Number), in: true, out: true, peers: i.lab.others(n)}
			r.err = w.rise()
			wait(ctx, 200*time.Millisecond)
			met, err := w.met()
			r.err = errors.Join(r.err, err, w.fall())
			r.packets, r.times = r.packets+met, r.times+1
			wait(ctx, 200*time.Millisecond)
		}
		done <- r
	}()
	i.heal = func() (string, error) {
		cancel()
		r := <-done
		if r.packets == 0 {
			return "", r.err
		}
		return fmt.Sprintf("%d packets in %d cuts of %s", r.packets, r.times, n.tag), r.err
	}
	return nil
}

// slow gives a node a link of 64 kB/s on its way out.
func (i *injury) slow(n *chaosNode) error {
	widen, err := narrow(n.host, 64<<10)
	if err != nil {
		return err
	}
	i.heal = func() (string, error) {
		waited, err := widen()
		if waited == 0 {
			return "", err
		}
		return fmt.Sprintf("packets of %s had to wait %d times", n.tag, waited), err
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
		proof := ""
		_, err := i.lab.until(10*time.Second, func() error {
			if to := i.lab.leader(); to == nil {
				return errors.New("no node leads after the transfer")
			} else if to.id() != from {
				proof = fmt.Sprintf("node %s leads, and led was %s", to.id(), from)
			}
			return nil
		})
		if proof == "" && err == nil {
			proof = "the leadership was handed over, and has come back"
		}
		return proof, err
	}
	return nil
}

// renew gives every controller and every agent a new certificate for the key that it has.
func (i *injury) renew() error {
	from, err := authority.Open(i.lab.pki())
	if err != nil {
		return err
	}
	renewed := 0
	again := func(role identity.Role, name string) error {
		key, err := authority.PublicKeyOf(i.lab.pki(), name)
		if err != nil {
			return err
		}
		issued, err := from.Issue(authority.Request{Role: role, Name: name, PublicKey: key})
		if err != nil {
			return err
		}
		if _, err := issued.Renew(i.lab.pki()); err != nil {
			return err
		}
		renewed++
		return nil
	}
	for _, n := range i.lab.nodes {
		if err := again(identity.Controller, n.id()); err != nil {
			return err
		}
	}
	for _, name := range chaosAgents {
		if err := again(identity.Agent, name); err != nil {
			return err
		}
	}
	i.heal = func() (string, error) { return fmt.Sprintf("%d certificates were renewed", renewed), nil }
	return nil
}

// garbage talks nonsense to all ports: without TLS, and with it and then no protocol.
func (i *injury) garbage() error {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int, 1)
	go func() {
		sent := 0
		for n := 0; ctx.Err() == nil; n++ {
			sent += i.babble(ctx, i.lab.nodes[n%len(i.lab.nodes)].address(), n)
		}
		done <- sent
	}()
	i.heal = func() (string, error) {
		cancel()
		if sent := <-done; sent > 0 {
			return fmt.Sprintf("%d bytes were written", sent), nil
		}
		return "", nil
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
		i.lab.mu.Lock()
		creds := i.lab.creds["alice"]
		i.lab.mu.Unlock()
		secure := tls.Client(raw, creds.ClientConfig("h2"))
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
	var before uint64
	for _, g := range i.load.generators {
		before += g.repeated.Load()
		g.repeat.Store(true)
	}
	i.heal = func() (string, error) {
		var after uint64
		for _, g := range i.load.generators {
			g.repeat.Store(false)
			after += g.repeated.Load()
		}
		if after == before {
			return "", nil
		}
		return fmt.Sprintf("%d chunks were sent twice, in any order", after-before), nil
	}
	return nil
}
