package lane

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// none is the index of a socket that a call does not have.
const none = -1

// kind is what socket(2) was asked for.
type kind struct{ domain, typ, protocol uint32 }

// op is a step made ready: everything that can be known before the lane begins, so
// that nothing is parsed, looked up or allocated between two calls.
type op struct {
	step *synclinev1.Step
	// name and arguments as they are reported.
	name, arguments string
	// socket and makes are indices of names, or none.
	socket, makes int
	// call is the system call; its trap is 0 for the lab's own calls.
	call syscallArgs
	// onSocket says that the call works on a socket. Its descriptor is then the first
	// argument, filled in when the call is made, unless the call is a poll.
	onSocket bool
	// makesSocket says that a new descriptor comes of the call, of this kind.
	makesSocket bool
	kind        kind
	// memory is what call points to.
	memory []byte
	// length is what the kernel is told of memory for an answer, and tells back.
	length uint32
	// target is where a connect or sendto goes, if that must be allowed.
	target netip.AddrPort
	asks   bool
	// local and peer tell which addresses the call can have changed.
	local, peer bool
}

// plan is a lane made ready.
type plan struct {
	ops []op
	// names of the sockets, each once.
	names []string
	// buffer takes what recv and getsockopt bring, address what recvfrom, getsockname
	// and getpeername tell: of one call at a time.
	buffer  []byte
	address [sockaddrSize]byte
}

// isSystemCall reports whether there is a step i that the kernel makes.
func (p *plan) isSystemCall(i int) bool { return i < len(p.ops) && p.ops[i].call.trap != 0 }

// planner follows the names of sockets through the steps.
type planner struct {
	plan
	index map[string]int
	kinds []kind
}

// newPlan checks the lane and makes it ready; inherited are the sockets it begins with.
// It is called on the lane's thread, since the zone of an address is looked up in the
// network namespace of that thread.
func newPlan(lane *synclinev1.Lane, inherited []descriptor) (*plan, error) {
	p := &planner{index: make(map[string]int)}
	for _, d := range inherited {
		p.socketName(d.name, d.kind)
	}
	p.buffer = make([]byte, largestAnswer(lane))
	p.ops = make([]op, len(lane.GetSteps()))
	for i, step := range lane.GetSteps() {
		if err := p.add(&p.ops[i], step); err != nil {
			return nil, fmt.Errorf("step %d, %s: %w", i+1, step.GetText(), err)
		}
	}
	return &p.plan, nil
}

// largestAnswer is the size of the one buffer that all calls of the lane share, within
// the limits; add reports the calls beyond them.
func largestAnswer(lane *synclinev1.Lane) uint32 {
	largest := uint32(tcpInfoSize)
	for _, step := range lane.GetSteps() {
		for _, size := range []uint32{step.GetRecv().GetSize(), step.GetRecvfrom().GetSize()} {
			if size <= MaxReceive {
				largest = max(largest, size)
			}
		}
		if size := step.GetGetsockopt().GetSize(); size <= MaxOption {
			largest = max(largest, size)
		}
	}
	return largest
}

func (p *planner) add(o *op, step *synclinev1.Step) error {
	o.step, o.socket, o.makes = step, none, none
	if step.GetSocket() != "" {
		i, known := p.index[step.Socket]
		if !known {
			return fmt.Errorf("no earlier step makes a socket %s", step.Socket)
		}
		o.socket = i
		o.kind = p.kinds[i]
	}
	if err := p.fill(o); err != nil {
		return err
	}
	if err := o.checkSocket(); err != nil {
		return err
	}
	if step.GetMakes() != "" {
		o.makes = p.socketName(step.Makes, o.kind)
	}
	return nil
}

// socketName is the index of a name that has just been given.
func (p *planner) socketName(name string, k kind) int {
	i, known := p.index[name]
	if !known {
		i = len(p.names)
		p.index[name] = i
		p.names = append(p.names, name)
		p.kinds = append(p.kinds, k)
	}
	p.kinds[i] = k
	return i
}

// fill sets what the call needs.
func (p *planner) fill(o *op) error {
	if err, known := p.fillConnection(o); known {
		return err
	}
	if err, known := p.fillQuestion(o); known {
		return err
	}
	if fillLab(o) {
		return nil
	}
	return fmt.Errorf("no such call in this version: %T", o.step.GetCall())
}

// fillConnection knows the calls of a connection's life.
func (p *planner) fillConnection(o *op) (err error, known bool) {
	switch c := o.step.GetCall().(type) {
	case *synclinev1.Step_SocketCall:
		err = o.planSocket(c.SocketCall)
	case *synclinev1.Step_Bind:
		err = o.planAddress("bind", unix.SYS_BIND, c.Bind.GetAddress())
	case *synclinev1.Step_Listen:
		o.on("listen", fmt.Sprint(c.Listen.GetBacklog()), unix.SYS_LISTEN, uintptr(c.Listen.GetBacklog()))
		o.local = true
	case *synclinev1.Step_Accept:
		o.on("accept", "", unix.SYS_ACCEPT4, 0, 0, unix.SOCK_CLOEXEC)
		o.pointTo(1, p.address[:])
		o.makesSocket, o.local = true, true
	case *synclinev1.Step_Connect:
		err = o.planAddress("connect", unix.SYS_CONNECT, c.Connect.GetAddress())
		o.peer, o.asks = true, o.target.IsValid()
	case *synclinev1.Step_Send:
		o.planSend("send", c.Send.GetData(), c.Send.GetFlags())
	case *synclinev1.Step_Sendto:
		err = o.planSendTo(c.Sendto)
	case *synclinev1.Step_Recv:
		err = p.planReceive(o, "recv", c.Recv.GetSize(), c.Recv.GetFlags())
	case *synclinev1.Step_Recvfrom:
		err = p.planReceive(o, "recvfrom", c.Recvfrom.GetSize(), c.Recvfrom.GetFlags())
		o.pointTo(4, p.address[:])
	case *synclinev1.Step_Shutdown:
		how := c.Shutdown.GetHow()
		o.on("shutdown", shutdownName(how), unix.SYS_SHUTDOWN, uintptr(how))
	case *synclinev1.Step_Close:
		o.on("close", "", unix.SYS_CLOSE)
	case *synclinev1.Step_Dup:
		// Not dup(2), whose descriptor a program that is executed would inherit.
		o.on("dup", "", unix.SYS_FCNTL, unix.F_DUPFD_CLOEXEC)
		o.makesSocket = true
	default:
		return nil, false
	}
	return err, true
}

// fillQuestion knows the calls that set and ask.
func (p *planner) fillQuestion(o *op) (err error, known bool) {
	switch c := o.step.GetCall().(type) {
	case *synclinev1.Step_Setsockopt:
		err = o.planOption(c.Setsockopt)
	case *synclinev1.Step_Getsockopt:
		err = p.planQuestion(o, c.Getsockopt)
	case *synclinev1.Step_Info:
		o.on("info", "", unix.SYS_GETSOCKOPT, unix.IPPROTO_TCP, unix.TCP_INFO)
		o.answerTo(3, p.buffer[:tcpInfoSize])
	case *synclinev1.Step_Getsockname:
		o.on("getsockname", "", unix.SYS_GETSOCKNAME)
		o.answerTo(1, p.address[:])
	case *synclinev1.Step_Getpeername:
		o.on("getpeername", "", unix.SYS_GETPEERNAME)
		o.answerTo(1, p.address[:])
	case *synclinev1.Step_Nonblock:
		o.on("nonblock", onOff(c.Nonblock.GetOn()), unix.SYS_FCNTL, unix.F_SETFL)
	case *synclinev1.Step_Poll:
		err = o.planPoll(c.Poll)
	default:
		return nil, false
	}
	return err, true
}

// fillLab knows the calls that the kernel does not.
func fillLab(o *op) (known bool) {
	switch c := o.step.GetCall().(type) {
	case *synclinev1.Step_Sleep:
		o.name, o.arguments = "sleep", time.Duration(c.Sleep.GetDurationNs()).String()
	case *synclinev1.Step_Signal:
		o.name, o.arguments = "signal", c.Signal.GetName()
	case *synclinev1.Step_Wait:
		o.name, o.arguments = "wait", waitArguments(c.Wait)
	case *synclinev1.Step_Meet:
		o.name, o.arguments = "meet", c.Meet.GetName()
	case *synclinev1.Step_Fork:
		o.name, o.arguments = "fork", c.Fork.GetLane()
	case *synclinev1.Step_Kill:
		o.name, o.arguments = "kill", c.Kill.GetLane()+", "+signalName(c.Kill.GetSignal())
	case *synclinev1.Step_Apply:
		o.name, o.arguments = "apply", c.Apply.GetName()
	case *synclinev1.Step_Undo:
		o.name, o.arguments = "undo", c.Undo.GetName()
	default:
		return false
	}
	return true
}

// checkSocket refuses a step whose call and socket do not fit together.
func (o *op) checkSocket() error {
	switch {
	case o.onSocket && o.socket == none:
		return fmt.Errorf("%s names no socket", o.name)
	case !o.onSocket && o.socket != none:
		return fmt.Errorf("%s does not work on a socket", o.name)
	case o.step.GetMakes() != "" && !o.makesSocket:
		return fmt.Errorf("%s makes no socket", o.name)
	}
	return nil
}

// on makes the op a call on a socket, with the arguments after the descriptor.
func (o *op) on(name, arguments string, trap uintptr, rest ...uintptr) {
	o.name, o.arguments = name, arguments
	o.onSocket = true
	o.call.trap = trap
	copy(o.call.a[1:], rest)
}

// pointTo gives argument i the address of memory, and the one after it the address of
// its length. The heap does not move, and the op outlives the call.
func (o *op) pointTo(i int, memory []byte) {
	o.call.a[i] = address(memory)
	o.call.a[i+1] = uintptr(unsafe.Pointer(&o.length))
	o.length = uint32(len(memory))
}

// answerTo is pointTo with the memory that the call is about.
func (o *op) answerTo(i int, memory []byte) {
	o.memory = memory
	o.pointTo(i, memory)
}

// address is where memory begins, as the kernel takes it.
func address(memory []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(memory))) }

// planSocket refuses the sockets that reach further than the hosts of the run or change
// the host itself: netlink, packets with link headers, and raw ones that write the
// address into their own data.
func (o *op) planSocket(c *synclinev1.SocketCall) error {
	switch c.GetDomain() {
	case unix.AF_UNIX, unix.AF_INET, unix.AF_INET6:
	default:
		return fmt.Errorf("sockets of domain %d are not for experiments: an agent opens AF_UNIX, AF_INET and AF_INET6", c.GetDomain())
	}
	if c.GetDomain() != unix.AF_UNIX && c.GetProtocol() == unix.IPPROTO_RAW {
		return errors.New("IPPROTO_RAW is not for experiments: what it sends names its own destination")
	}
	o.name, o.arguments = "socket", socketArguments(c)
	o.call.trap = unix.SYS_SOCKET
	o.call.a = [6]uintptr{uintptr(c.GetDomain()), uintptr(c.GetType() | unix.SOCK_CLOEXEC), uintptr(c.GetProtocol())}
	// A type may come with SOCK_NONBLOCK, socket(2).
	o.makesSocket, o.kind = true, kind{c.GetDomain(), c.GetType() &^ unix.SOCK_NONBLOCK, c.GetProtocol()}
	return nil
}

// planAddress is for calls whose second and third arguments are an address.
func (o *op) planAddress(name string, trap uintptr, text string) error {
	sockaddr, shown, err := o.encode(text)
	if err != nil {
		return err
	}
	o.on(name, shown, trap, address(sockaddr), uintptr(len(sockaddr)))
	o.memory = sockaddr
	o.local = true
	return nil
}

// encode makes the sockaddr of an address for the socket of the op, and the address as
// it is shown. It sets target, if there is something to allow.
func (o *op) encode(text string) (sockaddr []byte, shown string, err error) {
	if name, is := strings.CutPrefix(text, unixPrefix); is {
		sockaddr, err = encodeUnix(name)
		return sockaddr, text, err
	}
	target, shown, err := o.parseTarget(text)
	if err != nil {
		return nil, "", err
	}
	if sockaddr, err = encodeAddress(target, o.kind.domain); err != nil {
		return nil, "", err
	}
	o.target = netip.AddrPortFrom(target.Addr().Unmap(), target.Port())
	return sockaddr, shown, nil
}

// parseTarget reads "IP:port", or "IP" for a raw socket.
func (o *op) parseTarget(text string) (netip.AddrPort, string, error) {
	if o.kind.typ == unix.SOCK_RAW {
		if ip, err := netip.ParseAddr(text); err == nil {
			return netip.AddrPortFrom(ip, 0), ip.String(), nil
		}
	}
	target, err := netip.ParseAddrPort(text)
	if err != nil {
		return target, "", err
	}
	return target, target.String(), nil
}

func (o *op) planSend(name string, data []byte, flags uint32) {
	o.on(name, dataArguments(len(data), flags), unix.SYS_SENDTO,
		address(data), uintptr(len(data)), uintptr(flags|unix.MSG_NOSIGNAL))
	o.memory = data
}

func (o *op) planSendTo(c *synclinev1.SendToCall) error {
	sockaddr, shown, err := o.encode(c.GetAddress())
	if err != nil {
		return err
	}
	o.planSend("sendto", c.GetData(), c.GetFlags())
	o.arguments += ", " + shown
	o.call.a[4], o.call.a[5] = address(sockaddr), uintptr(len(sockaddr))
	// The sockaddr is kept where the data is, since the op must keep both: the step has
	// the data.
	o.memory = sockaddr
	o.asks = o.target.IsValid()
	// The kernel gives an address to a socket that has none; and with MSG_FASTOPEN a peer.
	o.local, o.peer = true, c.GetFlags()&unix.MSG_FASTOPEN != 0
	return nil
}

func (p *planner) planReceive(o *op, name string, size, flags uint32) error {
	if size > MaxReceive {
		return fmt.Errorf("%s of %d bytes: at most %d are allowed", name, size, MaxReceive)
	}
	memory := p.buffer[:size]
	o.on(name, dataArguments(int(size), flags), unix.SYS_RECVFROM, address(memory), uintptr(size), uintptr(flags))
	o.memory = memory
	return nil
}

// planOption refuses the options by which a socket sends to others than it was allowed
// to, or changes the host's firewall (the range from IPT_BASE_CTL on).
func (o *op) planOption(c *synclinev1.SetSockOptCall) error {
	const iptables = 64
	level, name := c.GetLevel(), c.GetName()
	switch {
	case level == unix.SOL_IP && (name == unix.IP_HDRINCL || name == unix.IP_OPTIONS || name >= iptables && name < iptables+64),
		level == unix.SOL_IPV6 && (name == unix.IPV6_RTHDR || name == unix.IPV6_HDRINCL || name == unix.IPV6_2292PKTOPTIONS || name >= iptables && name != unix.IPV6_TCLASS && name < iptables+3):
		return fmt.Errorf("option %d of level %d is not for experiments: it reaches other hosts than those of the run, or changes this one", name, level)
	}
	o.on("setsockopt", optionArguments(c), unix.SYS_SETSOCKOPT,
		uintptr(c.GetLevel()), uintptr(c.GetName()), address(c.GetValue()), uintptr(len(c.GetValue())))
	o.memory = c.GetValue()
	return nil
}

func (p *planner) planQuestion(o *op, c *synclinev1.GetSockOptCall) error {
	if c.GetSize() > MaxOption {
		return fmt.Errorf("getsockopt of %d bytes: at most %d are allowed", c.GetSize(), MaxOption)
	}
	o.on("getsockopt", optionName(c.GetLevel(), c.GetName()), unix.SYS_GETSOCKOPT,
		uintptr(c.GetLevel()), uintptr(c.GetName()))
	o.answerTo(3, p.buffer[:c.GetSize()])
	return nil
}

// planPoll is ppoll(2), which every architecture has; the lane fills in the descriptor
// and the limit.
func (o *op) planPoll(c *synclinev1.PollCall) error {
	if c.GetEvents() > 0xffff {
		return fmt.Errorf("poll for events %#x: they are a short", c.GetEvents())
	}
	o.on("poll", pollArguments(c), unix.SYS_PPOLL, 1)
	return nil
}
