package netlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Lab is a set of hosts on one machine. Its methods may be called concurrently.
type Lab struct {
	plan    *plan
	hosts   []*Host
	fabric  *fabric // nil in a loopback lab
	hub     *hub    // nil in a lab without wires of UserSpace
	dir     *dir
	missing []Missing

	// processes in the order of their start.
	mu        sync.Mutex
	processes []*Process

	closing sync.Once
	closed  error
}

// New makes the hosts, their links and their addresses; when it returns, packets
// flow. The error has ErrPrivilege in its chain if the caller lacks the capabilities.
func New(cfg Config) (*Lab, error) {
	l, err := newLab(cfg)
	if err != nil {
		return nil, err
	}
	if err := l.build(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	if !hasIPv6() {
		l.missing = append(l.missing, Missing{
			What:   "IPv6 between the hosts",
			Why:    "the kernel runs without IPv6",
			Remedy: "boot it without ipv6.disable=1",
		})
	}
	return l, nil
}

// NewLoopback makes a lab of addresses of the loopback interface. It needs no
// privilege, so the hosts share the machine's one namespace: its kernel state, its
// ports and its capture. Host.Address6 is the zero Addr.
func NewLoopback(cfg Config) (*Lab, error) {
	if len(cfg.Wires) > 0 {
		return nil, fmt.Errorf("netlab: a wire lies between a network namespace and the switch, and the hosts of a loopback lab have neither; %s", Remedy)
	}
	cfg.Subnet, cfg.Subnet6, cfg.Control = loopbackSubnet, netip.Prefix{}, loopbackSubnet
	l, err := newLab(cfg)
	if err != nil {
		return nil, err
	}
	for _, h := range l.hosts {
		// 127.0.0.1 stays the machine's own.
		h.Address, h.Address6, h.Interface = h.Address.Next(), netip.Addr{}, "lo"
		h.Control = h.Address
		h.loopback = true
	}
	l.missing = []Missing{
		{
			What:   "hosts with a network of their own",
			Why:    "the lab was made without network namespaces, every host is an address of the loopback interface",
			Remedy: Remedy,
		},
		{
			What:   "IPv6 between the hosts",
			Why:    "the loopback interface has only one IPv6 address, ::1",
			Remedy: Remedy,
		},
	}
	return l, nil
}

func newLab(cfg Config) (*Lab, error) {
	p, err := cfg.plan()
	if err != nil {
		return nil, err
	}
	if _, err := Sweep(); err != nil {
		return nil, err
	}
	d, err := makeDir()
	if err != nil {
		return nil, err
	}
	l := &Lab{plan: p, dir: d}
	for _, s := range p.hosts {
		h := &Host{Name: s.name, Address: s.address4, Address6: s.address6, Control: s.control, Interface: hostInterface, lab: l}
		if !hasIPv6() {
			h.Address6 = netip.Addr{}
		}
		l.hosts = append(l.hosts, h)
	}
	return l, nil
}

// build makes the namespaces and joins them. What it has made when it fails, Close
// drops.
func (l *Lab) build() error {
	sw, err := l.makeNamespaces()
	if err != nil {
		return err
	}
	if l.fabric, err = newFabric(sw, l.plan); err != nil {
		return err
	}
	if err := l.chooseMechanism(); err != nil {
		return err
	}
	for i, h := range l.hosts {
		if err := l.plug(h, i); err != nil {
			return err
		}
		if err := furnish(h.ns, l.plan.hosts[i], l.plan); err != nil {
			return err
		}
	}
	missing, err := l.fabric.eraseDepartures()
	if err != nil {
		return err
	}
	if missing != nil {
		l.missing = append(l.missing, *missing)
	}
	if l.hub != nil {
		l.hub.start()
	}
	return l.fabric.awaitCarrier()
}

// makeNamespaces gives every host its namespace and returns the switch's.
func (l *Lab) makeNamespaces() (sw *os.File, err error) {
	err = spend(func() error {
		for _, h := range l.hosts {
			if h.ns, err = newNamespace(); err != nil {
				return err
			}
			if h.id, err = identify(h.ns); err != nil {
				return err
			}
		}
		sw, err = newNamespace()
		return err
	})
	return sw, err
}

// Host is the host of that name, nil if there is none.
func (l *Lab) Host(name string) *Host {
	for _, h := range l.hosts {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// Hosts are all hosts in the order of Config.Hosts. The caller must not change the
// slice.
func (l *Lab) Hosts() []*Host { return l.hosts }

// Dir is a directory for whatever the lab's processes keep on disk, readable to this
// user only. Close removes it with all it holds.
func (l *Lab) Dir() string { return l.dir.path }

// Missing says what this lab cannot give; empty for a full lab.
func (l *Lab) Missing() []Missing { return l.missing }

// Close ends the lab; later calls return what the first did. In order:
//
//   - Every process gets SIGTERM, the last started first, each after the one
//     before it has ended, so that what depends ends before what it depends on. When Grace is
//     over, the rest gets SIGKILL.
//   - Each host's namespace is let go. TCP sockets that nobody has open any more but
//     that still talk (FIN_WAIT1, LAST_ACK to a peer that does not answer) hold a namespace
//     for minutes; they are destroyed.
//   - Close waits until the kernel has removed every host, at most Grace, and returns a
//     HeldError for each that somebody else holds: a socket of Listen or Dial left open, a
//     process that left its process group, a shell of a person who looked inside. Such a host is
//     cut off, and goes with its holder.
//   - The wires stop, and the switch and the directory go.
//
// With Config.Keep the processes stay, and the hosts and the switch with them.
func (l *Lab) Close() error {
	l.closing.Do(func() { l.closed = l.close() })
	return l.closed
}

func (l *Lab) close() error {
	var errs []error
	for _, h := range l.hosts {
		h.shut()
	}
	if !l.plan.Keep {
		errs = append(errs, l.endProcesses())
	}
	for _, h := range l.hosts {
		errs = append(errs, h.release())
	}
	if l.fabric != nil {
		if !l.plan.Keep {
			errs = append(errs, l.awaitGone())
		}
		if l.hub != nil {
			errs = append(errs, l.hub.close())
		}
		errs = append(errs, l.fabric.close())
	}
	errs = append(errs, l.releaseDir())
	return errors.Join(errs...)
}

// endProcesses returns when every process that Start started has ended.
func (l *Lab) endProcesses() error {
	ctx, cancel := context.WithTimeout(context.Background(), l.plan.Grace)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for i := len(l.processes) - 1; i >= 0; i-- {
		errs = append(errs, l.processes[i].Stop(ctx))
	}
	return errors.Join(errs...)
}

// awaitGone waits for the kernel to remove the hosts' namespaces. Their ports in
// the switch are the witnesses: a port goes when the other end of its pair does, and
// that end goes with its namespace. An experiment may have removed the one end; the
// one of the control network is not an experiment's to touch.
func (l *Lab) awaitGone() error {
	for deadline := time.Now().Add(l.plan.Grace); ; time.Sleep(2 * time.Millisecond) {
		ports, err := l.fabric.ports()
		if err != nil || len(ports) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return l.held(func(h *Host) bool {
				for name := range ports {
					if l.seat(h).hasPort(name) {
						return true
					}
				}
				return false
			})
		}
	}
}

// seat is the host's place in the plan.
func (l *Lab) seat(h *Host) seat {
	for _, s := range l.plan.hosts {
		if s.name == h.Name {
			return s
		}
	}
	panic("netlab: host " + h.Name + " is not of this lab")
}

// held names what holds each host that is still there.
func (l *Lab) held(still func(*Host) bool) error {
	var errs []error
	for _, h := range l.hosts {
		if !still(h) {
			continue
		}
		by, err := holders(h.id)
		errs = append(errs, &HeldError{Host: h.Name, By: by}, err)
	}
	return errors.Join(errs...)
}

// releaseDir removes the directory, unless processes were kept: they hold its lock, and
// the sweep of a later lab removes it when they are gone.
func (l *Lab) releaseDir() error {
	if !l.plan.Keep {
		return l.dir.remove()
	}
	if err := l.dir.lock.Close(); err != nil {
		return err
	}
	_, err := sweepOne(l.dir.path)
	return err
}

// Host is one host of a lab. Its methods may be called concurrently.
type Host struct {
	Name string
	// Address and Address6 are the host's addresses on the lab's network. Address6 is
	// the zero Addr where the lab has no IPv6; see Lab.Missing.
	Address, Address6 netip.Addr
	// Interface is the link that carries them, in the host's namespace.
	Interface string
	// Control is the host's address on the control network, which is up whatever an
	// experiment does to Interface. In a loopback lab it is Address.
	Control netip.Addr

	lab      *Lab
	loopback bool
	id       namespaceID

	// startMu serialises starts; mu guards the namespace. Who needs both takes
	// startMu first.
	startMu, mu sync.Mutex
	// ns is nil after Close, and always in a loopback lab.
	ns *os.File
	// closed is written under both locks and read under either.
	closed bool
	// starts is made by the first Start and closed by release; launched is closed
	// when the launcher has ended.
	starts   chan start
	launched chan struct{}
}

// Do runs fn on an OS thread inside the host's namespace and waits for it. The
// thread is thrown away afterwards. Sockets that fn makes stay the host's wherever they are
// used later; goroutines that fn starts are not in the namespace, and neither is /sys, which shows the
// namespace it was mounted in. fn must not start processes with a parent-death
// signal, which would fire when the thread ends; Start is for that.
func (h *Host) Do(fn func() error) error {
	return spend(func() error {
		if err := h.enter(); err != nil {
			return err
		}
		return fn()
	})
}

// enter moves the calling thread, one of spend's, into the host's namespace.
func (h *Host) enter() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return fmt.Errorf("netlab: enter host %s: %w", h.Name, ErrClosed)
	}
	if h.loopback {
		return nil
	}
	if err := unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return privileged("enter host "+h.Name+": setns", err)
	}
	return nil
}

// inNamespace runs fn on a thread inside a namespace that the caller keeps open.
func inNamespace(ns *os.File, fn func() error) error {
	return spend(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return privileged("setns", err)
		}
		return fn()
	})
}

// Listen is net.Listen at the host. The address is an IP literal (or nothing) and
// a port number. In a loopback lab nothing stands for the host's own address, since the
// others' are the same machine. The caller closes the listener before it closes the lab.
func (h *Host) Listen(network, address string) (net.Listener, error) {
	address, err := h.literal(address)
	if err != nil {
		return nil, fmt.Errorf("netlab: listen on host %s: %w", h.Name, err)
	}
	var l net.Listener
	err = h.Do(func() (err error) {
		l, err = net.Listen(network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("netlab: listen on host %s: %w", h.Name, err)
	}
	return l, nil
}

// Dial is net.Dialer.DialContext at the host. The address is an IP literal and a
// port number: a name would be looked up by goroutines outside the host. The caller
// closes the connection before it closes the lab.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("netlab: dial from host %s: the address must be numeric: %w", h.Name, err)
	}
	var d net.Dialer
	if h.loopback {
		// Otherwise the kernel would pick 127.0.0.1.
		d.LocalAddr = &net.TCPAddr{IP: h.Address.AsSlice()}
	}
	var c net.Conn
	err := h.Do(func() (err error) {
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("netlab: dial from host %s: %w", h.Name, err)
	}
	return c, nil
}

// literal checks an address to listen on.
func (h *Host) literal(address string) (string, error) {
	ip, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	if ip == "" {
		if h.loopback {
			ip = h.Address.String()
		}
		return net.JoinHostPort(ip, port), nil
	}
	if _, err := netip.ParseAddr(ip); err != nil {
		return "", fmt.Errorf("the address must be numeric: %w", err)
	}
	return address, nil
}

// shut lets nobody in any more. A Start or a Do that is under way goes on.
func (h *Host) shut() {
	h.startMu.Lock()
	defer h.startMu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
}

// release drops the maker's hold on the namespace: its launcher and its descriptor.
// It must follow shut and the end of the processes, which die with the launcher.
func (h *Host) release() error {
	if h.starts != nil {
		close(h.starts)
		<-h.launched
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ns == nil {
		return nil
	}
	var err error
	if !h.lab.plan.Keep {
		err = quiet(h.ns)
	}
	err = errors.Join(err, h.ns.Close())
	h.ns = nil
	return err
}
