package lane

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// none is the index of a socket that a call does not have.
const none = -1

// op is a step made ready: everything that can be known before the lane begins, so
// that nothing is parsed, looked up or allocated between two calls.
type op struct {
	step *synclinev1.Step
	// name and arguments as they are reported.
	name, arguments string
	// socket and makes are indices of names, or none.
	socket, makes int
	// call is the system call; its first argument is the descriptor of socket, filled in
	// when it is made. trap is 0 for the lab's own calls.
	call syscallArgs
	// memory is what call points to.
	memory []byte
	// target is where a connect goes.
	target netip.AddrPort
	// local and peer tell which addresses the call can have changed.
	local, peer bool
}

// plan is a lane made ready.
type plan struct {
	ops []op
	// names of the sockets, each once.
	names []string
}

// planner follows the names of sockets through the steps.
type planner struct {
	plan
	index   map[string]int
	domains []uint32
	buffer  []byte
}

// newPlan checks the lane and makes it ready. It is called on the lane's thread, since
// the zone of an address is looked up in the network namespace of that thread.
func newPlan(lane *synclinev1.Lane) (*plan, error) {
	p := &planner{index: make(map[string]int)}
	p.buffer = make([]byte, largestReceive(lane))
	p.ops = make([]op, len(lane.GetSteps()))
	for i, step := range lane.GetSteps() {
		if err := p.add(&p.ops[i], step); err != nil {
			return nil, fmt.Errorf("step %d, %s: %w", i+1, step.Text, err)
		}
	}
	return &p.plan, nil
}

// largestReceive is the size of the one buffer that all recv calls share, within the
// limit; add reports those beyond it.
func largestReceive(lane *synclinev1.Lane) uint32 {
	largest := uint32(0)
	for _, step := range lane.GetSteps() {
		if size := step.GetRecv().GetSize(); size <= MaxReceive {
			largest = max(largest, size)
		}
	}
	return largest
}

func (p *planner) add(o *op, step *synclinev1.Step) error {
	o.step, o.socket, o.makes = step, none, none
	if step.Socket != "" {
		i, known := p.index[step.Socket]
		if !known {
			return fmt.Errorf("no earlier step makes a socket %s", step.Socket)
		}
		o.socket = i
	}
	domain, err := p.fill(o)
	if err != nil {
		return err
	}
	if step.Makes != "" {
		o.makes = p.socketName(step.Makes, domain)
	}
	return nil
}

// socketName is the index of a name that has just been given.
func (p *planner) socketName(name string, domain uint32) int {
	i, known := p.index[name]
	if !known {
		i = len(p.names)
		p.index[name] = i
		p.names = append(p.names, name)
		p.domains = append(p.domains, domain)
	}
	p.domains[i] = domain
	return i
}

// fill sets what the call needs. It returns the domain of the socket it works on or makes.
func (p *planner) fill(o *op) (domain uint32, err error) {
	if _, isSocket := o.step.Call.(*synclinev1.Step_SocketCall); !isSocket && o.socket != none {
		domain = p.domains[o.socket]
	}
	switch c := o.step.Call.(type) {
	case *synclinev1.Step_SocketCall:
		domain = c.SocketCall.Domain
		o.planSocket(c.SocketCall)
	case *synclinev1.Step_Bind:
		err = o.planAddress("bind", unix.SYS_BIND, c.Bind.GetAddress(), domain)
	case *synclinev1.Step_Connect:
		err = o.planAddress("connect", unix.SYS_CONNECT, c.Connect.GetAddress(), domain)
		o.peer = true
	case *synclinev1.Step_Listen:
		backlog := c.Listen.GetBacklog()
		o.set("listen", strconv.Itoa(int(backlog)), unix.SYS_LISTEN, uintptr(backlog))
		o.local = true
	case *synclinev1.Step_Accept:
		o.set("accept", "", unix.SYS_ACCEPT4, 0, 0, unix.SOCK_CLOEXEC)
		o.local, o.peer = true, true
	case *synclinev1.Step_Send:
		o.planData("send", unix.SYS_SENDTO, c.Send.GetData(), unix.MSG_NOSIGNAL)
	case *synclinev1.Step_Recv:
		err = p.planReceive(o, c.Recv.GetSize())
	case *synclinev1.Step_Shutdown:
		how := c.Shutdown.GetHow()
		o.set("shutdown", shutdownName(how), unix.SYS_SHUTDOWN, uintptr(how))
	case *synclinev1.Step_Close:
		o.set("close", "", unix.SYS_CLOSE)
	case *synclinev1.Step_Setsockopt:
		o.planOption(c.Setsockopt)
	case *synclinev1.Step_Sleep:
		o.set("sleep", time.Duration(c.Sleep.GetDurationNs()).String(), 0)
	case *synclinev1.Step_Signal:
		o.set("signal", c.Signal.GetName(), 0)
	case *synclinev1.Step_Wait:
		o.set("wait", c.Wait.GetLane()+"."+c.Wait.GetSignal(), 0)
	default:
		err = fmt.Errorf("no such call in this version: %T", c)
	}
	if err == nil {
		err = o.checkSocket()
	}
	return domain, err
}

// makesSocket reports whether a new descriptor comes of the call.
func (o *op) makesSocket() bool {
	return o.call.trap == unix.SYS_SOCKET || o.call.trap == unix.SYS_ACCEPT4
}

// checkSocket refuses a step whose call and socket do not fit together.
func (o *op) checkSocket() error {
	needs := o.call.trap != 0 && o.call.trap != unix.SYS_SOCKET
	switch {
	case needs && o.socket == none:
		return fmt.Errorf("%s names no socket", o.name)
	case !needs && o.socket != none:
		return fmt.Errorf("%s does not work on a socket", o.name)
	case o.step.Makes != "" && !o.makesSocket():
		return fmt.Errorf("%s makes no socket", o.name)
	}
	return nil
}

// set gives the arguments after the descriptor.
func (o *op) set(name, arguments string, trap uintptr, rest ...uintptr) {
	o.name, o.arguments = name, arguments
	o.call.trap = trap
	copy(o.call.a[1:], rest)
}

// pointTo gives argument i the address of memory. The heap does not move, and the op
// outlives the call.
func (o *op) pointTo(i int, memory []byte) {
	o.memory = memory
	o.call.a[i] = uintptr(unsafe.Pointer(unsafe.SliceData(memory)))
}

func (o *op) planSocket(c *synclinev1.SocketCall) {
	o.name, o.arguments = "socket", socketArguments(c)
	o.call.trap = unix.SYS_SOCKET
	o.call.a[0] = uintptr(c.Domain)
	o.call.a[1] = uintptr(c.Type | unix.SOCK_CLOEXEC)
	o.call.a[2] = uintptr(c.Protocol)
}

func (o *op) planAddress(name string, trap uintptr, address string, domain uint32) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	sockaddr, err := encodeAddress(target, domain)
	if err != nil {
		return err
	}
	o.set(name, target.String(), trap, 0, uintptr(len(sockaddr)))
	o.pointTo(1, sockaddr)
	o.target = netip.AddrPortFrom(target.Addr().Unmap(), target.Port())
	o.local = true
	return nil
}

func (o *op) planData(name string, trap uintptr, data []byte, flags uintptr) {
	o.set(name, strconv.Itoa(len(data))+" bytes", trap, 0, uintptr(len(data)), flags)
	o.pointTo(1, data)
}

func (p *planner) planReceive(o *op, size uint32) error {
	if size > MaxReceive {
		return fmt.Errorf("recv of %d bytes: at most %d are allowed", size, MaxReceive)
	}
	o.planData("recv", unix.SYS_RECVFROM, p.buffer[:size], 0)
	return nil
}

func (o *op) planOption(c *synclinev1.SetSockOptCall) {
	o.set("setsockopt", optionArguments(c), unix.SYS_SETSOCKOPT,
		uintptr(c.Level), uintptr(c.Name), 0, uintptr(len(c.Value)))
	o.pointTo(3, c.Value)
}
