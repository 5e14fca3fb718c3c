package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"syncline/agent/clock"
	synclinev1 "syncline/proto/syncline/v1"
)

// retireMillis is after how long the kernel hands over a block that has frames but is
// not full. Its timer fires at fixed intervals, so that a frame waits at most twice
// this long (before Linux 6.18, rounded up to a jiffy). A prompt capture asks for the
// shortest there is.
const (
	retireMillis       = 2
	promptRetireMillis = 1
)

// maxBlock bounds the size of one block: small enough for the kernel to find its
// pages in one piece, and for a ring of the default size to last half a second though
// the kernel hands over one every retireMillis; large enough for what two hosts can send
// each other within that time.
const maxBlock = 64 << 10

// Offsets within a block and a frame of the ring, linux/if_packet.h.
const (
	blockHeader = 8  // struct tpacket_block_desc: version and offset_to_priv
	virtioNet   = 10 // struct virtio_net_hdr, right before the frame
	gsoSize     = 4  // its gso_size
)

// Bits of tp_status, linux/if_packet.h.
const (
	statusVLANValid = 1 << 4
	statusGSO       = 1 << 8
)

// ring is the tap of one interface: a packet socket and the blocks it shares with the
// kernel. The kernel owns a block until its status says otherwise, and again from
// when the reader clears the status. One goroutine reads; see Capture for the rest.
type ring struct {
	name    string
	fd      int
	memory  []byte
	block   int
	blocks  int
	next    int
	decoder decoder
	// virtio is whether each frame has a virtio_net_hdr in front, which tells the
	// size of its segments. Without it, mss is what they have at most.
	virtio bool
	mss    uint32
	// clock moves the stamps of a test clock's steps; nil of the host's own.
	clock *clock.Test

	// floor is a moment of CLOCK_MONOTONIC, in nanoseconds, that no frame still to be
	// read was stamped before by more than backlog.
	floor int64
	// wasDown is set when the interface went down under the tap, and nobody had said so.
	wasDown bool
}

// shape is how the memory of a ring is laid out, and when the kernel hands it over.
type shape struct {
	// bytes is the ring's size, snap what a frame has at most behind its headers.
	bytes, snap  int
	retireMillis uint32
}

func shapeOf(cfg *Config) shape {
	s := shape{bytes: cfg.RingBytes, snap: cfg.SnapLength, retireMillis: retireMillis}
	if s.bytes == 0 {
		s.bytes = DefaultRingBytes
	}
	if cfg.Prompt {
		s.retireMillis = promptRetireMillis
	}
	return s
}

// openRing ties a ring to an interface in the network namespace of the calling
// thread. The filter stands before the first frame can come in.
func openRing(name string, f *flows, s shape) (r *ring, err error) {
	device, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("packet: look up interface %s: %w", name, err)
	}
	kind, link, err := linkKind(name)
	if err != nil {
		return nil, err
	}
	return openRingAs(kind, link, device, f, s)
}

func openRingAs(kind, link int, device *net.Interface, f *flows, s shape) (*ring, error) {
	// Protocol 0: the socket hears nothing before it is bound.
	fd, err := unix.Socket(unix.AF_PACKET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, refused(err)
	}
	r := &ring{name: device.Name, fd: fd, decoder: decoder{link: link, snap: s.snap}}
	r.mss = uint32(max(device.MTU-ipv4Header-tcpHeader, 1))
	if err := r.arm(kind, f, s, device.Index); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// linkKind says which type of packet socket suits an interface, and how long the link
// header is that its frames then have. Devices without one (tun, WireGuard, tunnels)
// give bare IP packets. A device of any other kind gets a cooked socket, for which
// the kernel strips the header, whatever it is.
func linkKind(name string) (kind, link int, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, fmt.Errorf("packet: open a socket to ask for the type of %s: %w", name, err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, 0, fmt.Errorf("packet: interface name %q: %w", name, err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, request); err != nil {
		return 0, 0, fmt.Errorf("packet: ask for the type of %s (SIOCGIFHWADDR): %w", name, err)
	}
	// The answer is a struct sockaddr whose family is the ARPHRD_ type, netdevice(7).
	switch request.Uint16() {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK:
		return unix.SOCK_RAW, ethernetHeader, nil
	case unix.ARPHRD_NONE, unix.ARPHRD_RAWIP, unix.ARPHRD_PPP, unix.ARPHRD_TUNNEL, unix.ARPHRD_TUNNEL6, unix.ARPHRD_SIT:
		return unix.SOCK_RAW, 0, nil
	}
	return unix.SOCK_DGRAM, 0, nil
}

// arm sets the socket up in the order that packet(7) and the kernel want: everything
// that shapes a frame before the ring, everything before bind.
func (r *ring) arm(kind int, f *flows, s shape, index int) error {
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("packet: ask for TPACKET_V3 (Linux 3.2) on %s: %w", r.name, err)
	}
	if kind == unix.SOCK_RAW {
		r.virtio = unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1) == nil
	}
	// The kernel then stamps each packet once, for all taps, as it enters or leaves
	// the stack, and not each tap when it comes to its turn.
	if err := unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("packet: turn on SO_TIMESTAMPNS for %s: %w", r.name, err)
	}
	if err := r.attach(append(directions(f.arp), filter(r.decoder.link, f, r.decoder.snap)...)); err != nil {
		return err
	}
	if err := r.share(s); err != nil {
		return err
	}
	return r.bind(unix.ETH_P_ALL, index)
}

func (r *ring) attach(program []bpf.Instruction) error {
	raw, err := bpf.Assemble(program)
	if err != nil {
		return fmt.Errorf("packet: assemble the filter of %s: %w", r.name, err)
	}
	// bpf.RawInstruction has the layout of struct sock_filter.
	code := unix.SockFprog{Len: uint16(len(raw)), Filter: (*unix.SockFilter)(unsafe.Pointer(&raw[0]))}
	if err := unix.SetsockoptSockFprog(r.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &code); err != nil {
		return fmt.Errorf("packet: attach a filter of %d instructions to %s: %w", len(raw), r.name, err)
	}
	return nil
}

// share makes the ring and maps it.
func (r *ring) share(s shape) error {
	r.block = blockSize(s.bytes, s.snap)
	r.blocks = max(s.bytes/r.block, 2)
	request := unix.TpacketReq3{
		Block_size: uint32(r.block),
		Block_nr:   uint32(r.blocks),
		// TPACKET_V3 packs frames of any size; these two must only fit together.
		Frame_size:     uint32(os.Getpagesize()),
		Frame_nr:       uint32(r.blocks * (r.block / os.Getpagesize())),
		Retire_blk_tov: s.retireMillis,
	}
	if err := unix.SetsockoptTpacketReq3(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &request); err != nil {
		return fmt.Errorf("packet: make a ring of %d blocks of %d bytes on %s (less memory: a smaller ring): %w",
			r.blocks, r.block, r.name, err)
	}
	memory, err := unix.Mmap(r.fd, 0, r.block*r.blocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("packet: map the ring of %s: %w", r.name, err)
	}
	r.memory = memory
	return nil
}

// blockSize is a power of two of at least a page, of which a ring has 64 unless the
// ring is very small or a frame is very large.
func blockSize(ring, snap int) int {
	page := os.Getpagesize()
	size := 1 << (bits.Len(uint(max(ring/64, 1))) - 1)
	size = min(size, maxBlock)
	// A frame never spans two blocks: room for the largest and its headers.
	for size < 2*(snap+1024) {
		size *= 2
	}
	return max(size, page)
}

func (r *ring) bind(protocol uint16, index int) error {
	network := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol))
	address := unix.SockaddrLinklayer{Protocol: network, Ifindex: index}
	if err := unix.Bind(r.fd, &address); err != nil {
		return fmt.Errorf("packet: bind to interface %s: %w", r.name, err)
	}
	return nil
}

// unhook ends the tap: when it returns, no frame will enter the ring any more, and
// those that were on their way are in it and counted. The kernel waits for them when
// a socket's protocol changes (synchronize_net).
func (r *ring) unhook() error {
	if err := r.attach([]bpf.Instruction{bpf.RetConstant{Val: 0}}); err != nil {
		return err
	}
	// No interface, since this one may be gone by now.
	return r.bind(unix.ETH_P_LOOPBACK, 0)
}

// close gives the ring back. Nothing may read it any more.
func (r *ring) close() error {
	var unmap error
	if r.memory != nil {
		unmap = unix.Munmap(r.memory)
		r.memory = nil
	}
	return errors.Join(unmap, unix.Close(r.fd))
}

// count reads and resets the kernel's counters. kept frames got a place in the ring;
// dropped ones passed the filter and found none.
func (r *ring) count() (kept, dropped uint64, err error) {
	s, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, 0, fmt.Errorf("packet: read the counters of %s: %w", r.name, err)
	}
	// tp_packets counts the drops too.
	return uint64(s.Packets - s.Drops), uint64(s.Drops), nil
}

// takeError clears the socket's pending error, which would keep poll from waiting.
// An interface that went down is noted, unless that was expected.
func (r *ring) takeError(expected func() bool) error {
	code, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		return fmt.Errorf("packet: read the error of the tap on %s: %w", r.name, err)
	case code == 0:
		return nil
	case unix.Errno(code) == unix.ENETDOWN:
		// The tap comes back with the interface.
		r.wasDown = r.wasDown || !expected()
		return nil
	}
	return fmt.Errorf("packet: tap on %s: %w", r.name, unix.Errno(code))
}

// header is the head of block i.
func (r *ring) header(i int) *unix.TpacketHdrV1 {
	return (*unix.TpacketHdrV1)(unsafe.Pointer(&r.memory[i*r.block+blockHeader]))
}

// ready is how many blocks the kernel has handed over, from the next on. The status
// is loaded atomically: everything the kernel wrote to the block comes before it.
func (r *ring) ready() int {
	n := 0
	for n < r.blocks && atomic.LoadUint32(&r.header((r.next+n)%r.blocks).Block_status)&unix.TP_STATUS_USER != 0 {
		n++
	}
	return n
}

// filling reports whether a quarter of the ring waits to be read.
func (r *ring) filling() bool {
	// The kernel hands over blocks in their order.
	last := (r.next + max(r.blocks/4, 1) - 1) % r.blocks
	return atomic.LoadUint32(&r.header(last).Block_status)&unix.TP_STATUS_USER != 0
}

// release hands the next block back to the kernel, which may write to it from the
// moment of the store on.
func (r *ring) release() {
	atomic.StoreUint32(&r.header(r.next).Block_status, unix.TP_STATUS_KERNEL)
	r.next = (r.next + 1) % r.blocks
}

// batch is a block of the ring in our own memory.
type batch struct {
	events []*synclinev1.Event
	// read counts the frames of the block; unreadable those that could not be decoded,
	// foreign those that the kernel's filter let through for want of room.
	read, unreadable, foreign uint64
	// last is the latest moment, CLOCK_MONOTONIC, at which one of the frames was
	// surely stamped already.
	last int64
}

// take reads the next block and hands it back. A sample of the clocks taken after
// the block was ready must have been added to the map.
func (r *ring) take(f *flows, moves *clock.Map, now clock.Sample) batch {
	head := r.header(r.next)
	start := r.next * r.block
	block := r.memory[start : start+r.block]
	b := batch{read: uint64(head.Num_pkts)}
	keep := newArena(int(head.Num_pkts), int(head.Blk_len))
	at := int(head.Offset_to_first_pkt)
	for range head.Num_pkts {
		h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&block[at]))
		e := keep.event()
		realtime := r.clock.Realtime(int64(h.Sec)*1e9 + int64(h.Nsec))
		switch err := r.frame(block[at:], h, e.packet); {
		case err != nil:
			b.unreadable++
		case !f.certain(e.packet) && !f.holds(e.packet):
			b.foreign++
		default:
			keep.own(e.packet)
			e.packet.RealtimeNs = realtime
			e.event.TimeNs, e.packet.ErrorNs = r.monotonic(moves, now, realtime)
			b.last = max(b.last, e.event.TimeNs+e.packet.ErrorNs)
			b.events = append(b.events, e.event)
		}
		at += int(h.Next_offset)
	}
	r.release()
	return b
}

// frame reads one frame of a block: the ring's header, then the frame itself.
func (r *ring) frame(at []byte, h *unix.Tpacket3Hdr, p *synclinev1.Packet) error {
	mac := int(h.Mac)
	if err := r.decoder.decode(at[mac:mac+int(h.Snaplen)], h.Len, p); err != nil {
		return err
	}
	p.Interface = r.name
	p.Direction = synclinev1.Direction_DIRECTION_IN
	// struct sockaddr_ll follows the header at its alignment; pkttype is its byte 10.
	if at[unix.SizeofTpacket3Hdr+10] == unix.PACKET_OUTGOING {
		p.Direction = synclinev1.Direction_DIRECTION_OUT
	}
	if h.Status&statusVLANValid != 0 {
		// The kernel took the tag off the frame, and it was on the wire.
		p.WireLength += vlanTag
	}
	size := uint32(0)
	switch {
	case r.virtio:
		size = uint32(binary.NativeEndian.Uint16(at[mac-virtioNet+gsoSize:]))
	case h.Status&statusGSO != 0:
		size = r.mss
	}
	p.Segments = segments(p.PayloadLength, size)
	return nil
}

// backlog is longer than a packet ever waits between its stamp and the ring, a queue
// of the kernel's own that a softirq works off.
const backlog = int64(1e9)

// monotonic moves a stamp. Where the clock was stepped near it, the bound reaches to all
// that the samples allow; where they allow nothing, since it was stepped twice between two of
// them, to all the time in which the frame can have been stamped.
func (r *ring) monotonic(moves *clock.Map, now clock.Sample, realtime int64) (t, bound int64) {
	t, bound, ok := moves.MonotonicSince(realtime, r.floor-backlog)
	if !ok {
		low, high := r.floor-backlog, now.Monotonic+now.Err
		return low + (high-low)/2, (high - low + 1) / 2
	}
	r.floor = max(r.floor, t-bound)
	return t, bound
}

// arena holds the events of one block in three pieces of memory, whatever their
// number. All of them live as long as one of them does.
type arena struct {
	slots []slot
	bytes []byte
}

type slot struct {
	event  synclinev1.Event
	fact   synclinev1.Event_Packet
	packet synclinev1.Packet
}

type place struct {
	event  *synclinev1.Event
	packet *synclinev1.Packet
}

func newArena(frames, bytes int) *arena {
	return &arena{slots: make([]slot, frames), bytes: make([]byte, 0, bytes)}
}

// event is the next empty event.
func (a *arena) event() place {
	s := &a.slots[0]
	a.slots = a.slots[1:]
	s.fact.Packet = &s.packet
	s.event.Fact = &s.fact
	return place{&s.event, &s.packet}
}

// own copies what points into the ring.
func (a *arena) own(p *synclinev1.Packet) {
	for _, b := range []*[]byte{&p.Source, &p.Destination, &p.Options, &p.Payload} {
		if len(*b) == 0 {
			*b = nil
			continue
		}
		start := len(a.bytes)
		a.bytes = append(a.bytes, *b...)
		*b = a.bytes[start:len(a.bytes):len(a.bytes)]
	}
}

// refused says what to do about an errno of socket(2).
func refused(err error) error {
	reason := fmt.Errorf("socket(AF_PACKET): %w", err)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return &Unavailable{reason, "give the agent CAP_NET_RAW, for example with AmbientCapabilities=CAP_NET_RAW in its systemd unit"}
	case errors.Is(err, unix.EAFNOSUPPORT):
		return &Unavailable{reason, "load the kernel module af_packet"}
	}
	return fmt.Errorf("packet: %w", reason)
}
