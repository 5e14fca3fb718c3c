package netlab

import (
	"container/heap"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// hub moves the frames of all hosts with wires, on one thread: what a host sends is
// read from its TAP, goes over its Out, is switched by its destination's address, goes over the
// In of the host that has it, and is written to that one's TAP. One more port, the uplink, leads
// to the bridge and the hosts without a wire.
//
// One thread, and not one a wire, because a frame then waits for one timer and one
// wake-up on its whole way, and because order needs no lock.
type hub struct {
	ports []*port
	// epoll watches the ports, timer and stop.
	epoll, timer, stop int
	ended              chan struct{}

	// mu guards what follows. The thread holds it between two waits, so what others see
	// is whole.
	mu sync.Mutex
	// began is the zero of the lines' time.
	began  time.Time
	flying flights
	serial uint64
	// armed is when the timer fires; 0 if it does not.
	armed time.Duration
	// learnt is behind which port a hardware address was last seen.
	learnt map[[6]byte]*port
	// spare are frames that nobody uses, by their capacity.
	spare  map[int][]*frame
	buffer []byte
	err    error
}

// port is one TAP of the hub. out is the way of the frames that are read from it.
type port struct {
	name    string
	fd      int
	out, in *line
	late    Lateness
	gone    bool
}

// frame is shared by all the flights of one flooded frame.
type frame struct {
	bytes []byte
	users int
}

// flight is a frame on one line.
type flight struct {
	arrives time.Duration
	// serial keeps the order of those that arrive at once.
	serial uint64
	frame  *frame
	port   *port
	// out tells the two lines of the port apart.
	out bool
}

// flights is a heap of those under way, the next to arrive on top.
type flights []flight

func (f flights) Len() int      { return len(f) }
func (f flights) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f flights) Less(i, j int) bool {
	if f[i].arrives != f[j].arrives {
		return f[i].arrives < f[j].arrives
	}
	return f[i].serial < f[j].serial
}
func (f *flights) Push(x any) { *f = append(*f, x.(flight)) }
func (f *flights) Pop() any {
	last := len(*f) - 1
	x := (*f)[last]
	(*f)[last] = flight{}
	*f = (*f)[:last]
	return x
}

const (
	// maxFrame is more than any link of Linux sends at once without offloads.
	maxFrame = 1 << 16
	// batch is how many frames are read of one port before the others' turn.
	batch = 32
	// maxLearnt bounds the table of addresses; see learn.
	maxLearnt = 4096
	// maxSpare bounds the frames of each capacity that are kept for the next ones to come.
	maxSpare = 1024
)

// newHub makes a hub without ports. Its descriptors are closed by close.
func newHub() (_ *hub, err error) {
	h := &hub{epoll: -1, timer: -1, stop: -1, began: time.Now(), learnt: make(map[[6]byte]*port), spare: make(map[int][]*frame), buffer: make([]byte, maxFrame)}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	if h.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("netlab: epoll_create1: %w", err)
	}
	// A timer of its own, since poll(2) and epoll_wait(2) round a wait up by a
	// thousandth of it.
	if h.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("netlab: timerfd_create: %w", err)
	}
	if h.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("netlab: eventfd: %w", err)
	}
	for _, fd := range []int{h.timer, h.stop} {
		if err := h.watch(fd); err != nil {
			return nil, err
		}
	}
	return h, nil
}

func (h *hub) watch(fd int) error {
	if err := unix.EpollCtl(h.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
		return fmt.Errorf("netlab: watch a descriptor of the wires: epoll_ctl: %w", err)
	}
	return nil
}

// add gives the hub a port, whose descriptor it takes over, also on error. The hub must
// not run yet. which tells the ports' random choices apart.
func (h *hub) add(name string, fd int, w Wire, which int) error {
	p := &port{name: name, fd: fd, out: newLine(w.Out, w.Seed, uint64(2*which)), in: newLine(w.In, w.Seed, uint64(2*which+1))}
	h.ports = append(h.ports, p)
	return h.watch(fd)
}

// start makes the frames move, until close.
func (h *hub) start() {
	h.ended = make(chan struct{})
	go func() {
		defer close(h.ended)
		// The thread is not given back, as it has a priority of its own.
		if err := spend(h.run); err != nil {
			h.mu.Lock()
			h.err = fmt.Errorf("netlab: the wires stopped: %w", err)
			h.mu.Unlock()
		}
	}()
}

// close ends the thread and the ports, and with the ports their links. What is
// under way is dropped.
func (h *hub) close() error {
	if h.ended != nil {
		// An eventfd takes eight bytes; it fails only if it is full, and so readable.
		if _, err := unix.Write(h.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil && err != unix.EAGAIN {
			return fmt.Errorf("netlab: end the wires: %w", err)
		}
		<-h.ended
	}
	errs := []error{h.err}
	for _, p := range h.ports {
		errs = append(errs, unix.Close(p.fd))
	}
	for _, fd := range []int{h.epoll, h.timer, h.stop} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	h.ports, h.ended, h.epoll, h.timer, h.stop = nil, nil, -1, -1, -1
	return errors.Join(errs...)
}

// run moves frames until stop.
func (h *hub) run() error {
	// Frames are late by as long as this thread waits for a processor: among busy
	// processes milliseconds, ahead of them a tenth of one. The kernel's own network runs ahead
	// of all processes too. Without CAP_SYS_NICE it waits as everybody does, and
	// Lateness tells how long.
	realtime := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1, Flags: unix.SCHED_FLAG_RESET_ON_FORK}
	if err := unix.SchedSetAttr(0, realtime, 0); err != nil && err != unix.EPERM {
		return fmt.Errorf("sched_setattr(SCHED_FIFO): %w", err)
	}
	ready := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(h.epoll, ready, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		if err := h.serve(ready[:n]); errors.Is(err, errStopped) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

var errStopped = errors.New("stopped")

// serve does all that there is to do now.
func (h *hub) serve(ready []unix.EpollEvent) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.land()
	for _, e := range ready {
		switch fd := int(e.Fd); fd {
		case h.stop:
			return errStopped
		case h.timer:
			h.armed = 0
			var expirations [8]byte
			if _, err := unix.Read(fd, expirations[:]); err != nil && err != unix.EAGAIN {
				return fmt.Errorf("read the timer: %w", err)
			}
		default:
			if err := h.drain(h.portOf(fd)); err != nil {
				return err
			}
		}
	}
	return h.arm()
}

func (h *hub) portOf(fd int) *port {
	for _, p := range h.ports {
		if p.fd == fd {
			return p
		}
	}
	panic("netlab: an event of a descriptor that is not the wires'")
}

func (h *hub) now() time.Duration { return time.Since(h.began) }

// drain takes the frames that a host has sent.
func (h *hub) drain(p *port) error {
	for range batch {
		n, err := unix.Read(p.fd, h.buffer)
		switch err {
		case nil:
			h.take(p, h.buffer[:n])
		case unix.EINTR:
		case unix.EAGAIN:
			return nil
		case unix.EBADFD:
			// The link is gone: its host has removed it, or is gone itself.
			p.gone = true
			if err := unix.EpollCtl(h.epoll, unix.EPOLL_CTL_DEL, p.fd, nil); err != nil {
				return fmt.Errorf("leave the link of %s: epoll_ctl: %w", p.name, err)
			}
			return nil
		default:
			return fmt.Errorf("read from the link of %s: %w", p.name, err)
		}
	}
	return nil
}

// take puts a frame on its way out of a host.
func (h *hub) take(p *port, bytes []byte) {
	now := h.now()
	if arrives, ok := p.out.take(now, len(bytes)); ok {
		f := h.copy(bytes)
		h.fly(flight{arrives: arrives, frame: f, port: p, out: true})
	}
	h.land()
}

func (h *hub) fly(f flight) {
	f.frame.users++
	f.serial = h.serial
	h.serial++
	heap.Push(&h.flying, f)
}

// land hands over every frame whose time has come.
func (h *hub) land() {
	for len(h.flying) > 0 {
		if h.flying[0].arrives > h.now() {
			return
		}
		f := heap.Pop(&h.flying).(flight)
		if f.out {
			f.port.out.arrived(len(f.frame.bytes), h.forward(f))
		} else {
			h.deliver(f)
		}
		h.drop(f.frame)
	}
}

// forward passes a frame that reached the switch on to the port that has its
// destination, or to all others. Time goes on from when the frame was to be here, so that
// a late wake-up does not make the next line later. It reports whether the switch forwards such
// frames: those for bridges themselves end at every bridge.
func (h *hub) forward(f flight) bool {
	bytes := f.frame.bytes
	if len(bytes) < 14 {
		return false
	}
	to, from := [6]byte(bytes[:6]), [6]byte(bytes[6:12])
	h.learn(from, f.port)
	if to[0] == 0x01 && to[1] == 0x80 && to[2] == 0xc2 && to[3] == 0 && to[4] == 0 && to[5] < 0x10 {
		return false
	}
	if to[0]&1 == 0 {
		if p := h.learnt[to]; p != nil {
			// A bridge does not send a frame back to where it came from.
			if p != f.port {
				h.onto(p, f)
			}
			return true
		}
	}
	for _, p := range h.ports {
		if p != f.port {
			h.onto(p, f)
		}
	}
	return true
}

// onto puts a frame on the way to a host.
func (h *hub) onto(p *port, f flight) {
	if arrives, ok := p.in.take(f.arrives, len(f.frame.bytes)); ok {
		h.fly(flight{arrives: arrives, frame: f.frame, port: p})
	}
}

// learn notes behind which port an address is. A full table is forgotten as a whole:
// frames are then flooded until their destinations have spoken again.
func (h *hub) learn(address [6]byte, p *port) {
	if address[0]&1 != 0 || h.learnt[address] == p {
		return
	}
	if len(h.learnt) >= maxLearnt {
		clear(h.learnt)
	}
	h.learnt[address] = p
}

// deliver writes a frame to its host, whose kernel takes it in before the write
// returns.
func (h *hub) deliver(f flight) {
	p := f.port
	p.late.add(h.now() - f.arrives)
	_, err := unix.Write(p.fd, f.frame.bytes)
	for err == unix.EINTR {
		_, err = unix.Write(p.fd, f.frame.bytes)
	}
	// EIO: the link is down. EBADFD: it is gone. Whatever else the kernel minds, the host
	// has not got the frame.
	p.in.arrived(len(f.frame.bytes), err == nil)
}

// copy makes a frame of bytes that are about to be overwritten.
func (h *hub) copy(bytes []byte) *frame {
	size := room(len(bytes))
	if all := h.spare[size]; len(all) > 0 {
		f := all[len(all)-1]
		h.spare[size] = all[:len(all)-1]
		f.bytes = append(f.bytes[:0], bytes...)
		return f
	}
	return &frame{bytes: append(make([]byte, 0, size), bytes...)}
}

func (h *hub) drop(f *frame) {
	f.users--
	size := cap(f.bytes)
	if f.users == 0 && size <= largeFrame && len(h.spare[size]) < maxSpare {
		h.spare[size] = append(h.spare[size], f)
	}
}

// arm sets the timer to the next arrival.
func (h *hub) arm() error {
	h.land()
	if len(h.flying) == 0 || h.armed == h.flying[0].arrives {
		return nil
	}
	h.armed = h.flying[0].arrives
	// At least a nanosecond: 0 would disarm it.
	left := max(h.armed-h.now(), 1)
	spec := &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(left))}
	if err := unix.TimerfdSettime(h.timer, 0, spec, nil); err != nil {
		return fmt.Errorf("set the timer: timerfd_settime: %w", err)
	}
	return nil
}

// report is what the wire of a host has done so far.
func (h *hub) report(name string) (out, in Counts, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.ports {
		if p.name == name {
			out, in = p.out.snapshot(), p.in.snapshot()
			in.Late = p.late
		}
	}
	return out, in, h.err
}
