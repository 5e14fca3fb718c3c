package controller

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"syncline/controller/experiment"
	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// part is what one host does of one repetition, on its way to the agent: roles become
// the addresses of the run's hosts.
type part struct {
	exp   *experiment.Experiment
	role  string
	hosts []store.RunHost
}

// lanes are the lanes of the host. What has no address on this run's hosts (an IPv6
// address of an agent without one) is an error.
func (p part) lanes() ([]*synclinev1.Lane, error) {
	var lanes []*synclinev1.Lane
	for _, l := range p.exp.Lanes {
		if l.Host != p.role {
			continue
		}
		m := &synclinev1.Lane{
			Name: l.Name, StartDelayNs: int64(l.Delay), OwnProcess: l.OwnProcess, ForkedBy: l.ForkedBy,
		}
		for _, limit := range l.Limits {
			m.Limits = append(m.Limits, &synclinev1.ResourceLimit{Resource: uint32(limit.Resource), Value: limit.Value})
		}
		for _, s := range l.Steps {
			step, err := p.step(s)
			if err != nil {
				return nil, fmt.Errorf("lane %s, %s: %w", l.Name, s.Text, err)
			}
			m.Steps = append(m.Steps, step)
		}
		lanes = append(lanes, m)
	}
	return lanes, nil
}

// ip is the address of a role, of the family asked for.
func (p part) ip(role string, six bool) (netip.Addr, error) {
	for _, h := range p.hosts {
		if h.Name != role {
			continue
		}
		first, err := netip.ParseAddr(h.Address)
		if err != nil || !six || first.Is6() {
			return first, err
		}
		if h.Address6 == "" {
			return netip.Addr{}, fmt.Errorf("agent %s, which plays host %s, has no IPv6 address; give it one, or name it with --address", h.Agent, role)
		}
		return netip.ParseAddr(h.Address6)
	}
	return netip.Addr{}, fmt.Errorf("the run has no host %s", role)
}

// at is an address as an agent takes it; the zero Address is "".
func (p part) at(a experiment.Address) (string, error) {
	if a.Unix != "" {
		return "unix:" + a.Unix, nil
	}
	ip := a.IP
	if a.Role != "" {
		var err error
		if ip, err = p.ip(a.Role, a.Six); err != nil {
			return "", err
		}
	}
	switch {
	case !ip.IsValid():
		return "", nil
	case a.NoPort:
		return ip.String(), nil
	}
	return netip.AddrPortFrom(ip, a.Port).String(), nil
}

// host is the IP of an address, "" for the zero Address.
func (p part) host(a experiment.Address) (string, error) {
	a.NoPort = true
	return p.at(a)
}

func (p part) step(s experiment.Step) (*synclinev1.Step, error) {
	m := &synclinev1.Step{
		Text: s.Text, Label: s.Label, Socket: s.Socket, Makes: s.Makes, TimeoutNs: int64(s.Timeout),
	}
	if o := s.Outcome; o != nil {
		m.Outcome = &synclinev1.Outcome{Ok: o.OK, Values: o.Values, Errnos: o.Errnos, Timeout: o.Timeout, Data: o.Data}
	}
	var err error
	switch a := s.Args.(type) {
	case experiment.BindArgs:
		c := &synclinev1.BindCall{}
		c.Address, err = p.at(a.Address)
		m.Call = &synclinev1.Step_Bind{Bind: c}
	case experiment.ConnectArgs:
		c := &synclinev1.ConnectCall{}
		c.Address, err = p.at(a.Address)
		m.Call = &synclinev1.Step_Connect{Connect: c}
	case experiment.SendToArgs:
		c := &synclinev1.SendToCall{Data: a.Data, Flags: uint32(a.Flags)}
		c.Address, err = p.at(a.Address)
		m.Call = &synclinev1.Step_Sendto{Sendto: c}
	case experiment.SetSockOptArgs:
		c := &synclinev1.SetSockOptCall{Level: int32(a.Level), Name: int32(a.Name)}
		c.Value, err = p.option(a)
		m.Call = &synclinev1.Step_Setsockopt{Setsockopt: c}
	default:
		socketStep(m, s)
		labStep(m, s)
	}
	if err == nil && m.Call == nil {
		// The language has a call that this file does not: a fault of the program, which
		// a test of the whole language finds.
		err = fmt.Errorf("this controller has no message for the call %s (%T)", s.Call, s.Args)
	}
	return m, err
}

// option is the value of an option; an address in it is filled in. struct tcp_md5sig
// and struct tcp_ao_add begin with a struct sockaddr_storage.
func (p part) option(a experiment.SetSockOptArgs) ([]byte, error) {
	if a.Peer.Role == "" && !a.Peer.IP.IsValid() {
		return a.Value, nil
	}
	text, err := p.host(a.Peer)
	if err != nil {
		return nil, err
	}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return nil, err
	}
	value := append([]byte(nil), a.Value...)
	const inet, inet6 = 2, 10
	if ip.Is4() {
		binary.LittleEndian.PutUint16(value, inet)
		copy(value[4:], ip.AsSlice())
	} else {
		binary.LittleEndian.PutUint16(value, inet6)
		copy(value[8:], ip.AsSlice())
	}
	return value, nil
}

// socketStep fills in the calls of sockets that need no address.
func socketStep(m *synclinev1.Step, s experiment.Step) {
	switch a := s.Args.(type) {
	case experiment.SocketArgs:
		m.Call = &synclinev1.Step_SocketCall{SocketCall: &synclinev1.SocketCall{Domain: uint32(a.Domain), Type: uint32(a.Type), Protocol: uint32(a.Protocol)}}
	case experiment.ListenArgs:
		m.Call = &synclinev1.Step_Listen{Listen: &synclinev1.ListenCall{Backlog: int32(a.Backlog)}}
	case experiment.SendArgs:
		m.Call = &synclinev1.Step_Send{Send: &synclinev1.SendCall{Data: a.Data, Flags: uint32(a.Flags)}}
	case experiment.RecvArgs:
		m.Call = &synclinev1.Step_Recv{Recv: &synclinev1.RecvCall{Size: uint32(a.Size), Flags: uint32(a.Flags)}}
	case experiment.RecvFromArgs:
		m.Call = &synclinev1.Step_Recvfrom{Recvfrom: &synclinev1.RecvFromCall{Size: uint32(a.Size), Flags: uint32(a.Flags)}}
	case experiment.ShutdownArgs:
		m.Call = &synclinev1.Step_Shutdown{Shutdown: &synclinev1.ShutdownCall{How: int32(a.How)}}
	case experiment.GetSockOptArgs:
		m.Call = &synclinev1.Step_Getsockopt{Getsockopt: &synclinev1.GetSockOptCall{
			Level: int32(a.Level), Name: int32(a.Name), Size: uint32(a.Size), Kind: synclinev1.OptionKind(a.Kind),
		}}
	case experiment.NonblockArgs:
		m.Call = &synclinev1.Step_Nonblock{Nonblock: &synclinev1.NonblockCall{On: a.On}}
	case experiment.PollArgs:
		limit := int64(a.Limit)
		if a.Limit < 0 {
			limit = -1
		}
		m.Call = &synclinev1.Step_Poll{Poll: &synclinev1.PollCall{Events: uint32(a.Events), TimeoutNs: limit}}
	case nil:
		switch s.Call {
		case "accept":
			m.Call = &synclinev1.Step_Accept{Accept: &synclinev1.AcceptCall{}}
		case "close":
			m.Call = &synclinev1.Step_Close{Close: &synclinev1.CloseCall{}}
		case "getsockname":
			m.Call = &synclinev1.Step_Getsockname{Getsockname: &synclinev1.GetSockNameCall{}}
		case "getpeername":
			m.Call = &synclinev1.Step_Getpeername{Getpeername: &synclinev1.GetPeerNameCall{}}
		case "dup":
			m.Call = &synclinev1.Step_Dup{Dup: &synclinev1.DupCall{}}
		case "info":
			m.Call = &synclinev1.Step_Info{Info: &synclinev1.InfoCall{}}
		}
	}
}

// labStep fills in the lab's own calls.
func labStep(m *synclinev1.Step, s experiment.Step) {
	switch a := s.Args.(type) {
	case experiment.SleepArgs:
		m.Call = &synclinev1.Step_Sleep{Sleep: &synclinev1.SleepCall{DurationNs: int64(a.Duration)}}
	case experiment.SignalArgs:
		m.Call = &synclinev1.Step_Signal{Signal: &synclinev1.SignalCall{Name: a.Name}}
	case experiment.WaitArgs:
		wait := &synclinev1.WaitCall{Lane: a.Lane, Signal: a.Signal, Watch: a.Watch}
		if len(a.Lanes) > 0 {
			wait.Lane, wait.MoreLanes = a.Lanes[0], a.Lanes[1:]
		}
		m.Call = &synclinev1.Step_Wait{Wait: wait}
	case experiment.MeetArgs:
		m.Call = &synclinev1.Step_Meet{Meet: &synclinev1.MeetCall{Name: a.Name}}
	case experiment.ForkArgs:
		m.Call = &synclinev1.Step_Fork{Fork: &synclinev1.ForkCall{Lane: a.Lane}}
	case experiment.KillArgs:
		m.Call = &synclinev1.Step_Kill{Kill: &synclinev1.KillCall{Lane: a.Lane, Signal: uint32(a.Signal)}}
	case experiment.ApplyArgs:
		m.Call = &synclinev1.Step_Apply{Apply: &synclinev1.ApplyCall{Name: a.Name}}
	case experiment.UndoArgs:
		m.Call = &synclinev1.Step_Undo{Undo: &synclinev1.UndoCall{Name: a.Name}}
	}
}

// watches are what the host looks out for in a repetition.
func (p part) watches() ([]*synclinev1.Watch, error) {
	var watches []*synclinev1.Watch
	for _, w := range p.exp.Watches {
		if w.Host != p.role {
			continue
		}
		m := &synclinev1.Watch{Id: w.ID, Text: w.Text}
		if w.Packet == nil {
			m.Look = &synclinev1.Watch_State{State: &synclinev1.WatchState{Lane: w.Lane, Socket: w.Socket, State: uint32(w.State)}}
		} else {
			look, err := p.watchPacket(w)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", w.Text, err)
			}
			m.Look = &synclinev1.Watch_Packet{Packet: look}
		}
		watches = append(watches, m)
	}
	return watches, nil
}

// segmentFlags are the flags that a packet's name is about unless it names others:
// FIN, SYN, RST and ACK.
const segmentFlags = 1 | 2 | 4 | 16

func (p part) watchPacket(w experiment.Watch) (*synclinev1.WatchPacket, error) {
	s := w.Packet
	m := &synclinev1.WatchPacket{
		Direction: synclinev1.Direction_DIRECTION_IN, Protocol: uint32(s.Protocol), Count: uint32(max(1, w.Count)),
		IcmpType: int32(s.ICMPType), IcmpCode: int32(s.ICMPCode),
	}
	if w.Sent {
		m.Direction = synclinev1.Direction_DIRECTION_OUT
	}
	switch {
	case s.AnyFlags:
	case s.Contains:
		m.Flags, m.Mask = uint32(s.Flags), uint32(s.Flags)
	default:
		m.Flags, m.Mask = uint32(s.Flags), segmentFlags|uint32(s.Flags)
	}
	m.Mask |= uint32(s.Without)
	if s.Data != nil && *s.Data {
		m.Payload = 1
	} else if s.Data != nil {
		m.Payload = 2
	}
	var err error
	if s.From != "" {
		if m.Source, err = p.host(experiment.Address{Role: s.From}); err != nil {
			return nil, err
		}
	}
	if s.To != "" {
		m.Destination, err = p.host(experiment.Address{Role: s.To})
	}
	return m, err
}

// setups turns what is changed on the host into messages.
func (p part) setups(all []experiment.Setup) ([]*synclinev1.Setup, error) {
	var setups []*synclinev1.Setup
	for _, s := range all {
		if s.Host != p.role {
			continue
		}
		m := &synclinev1.Setup{Name: s.Name}
		for _, c := range s.Changes {
			change, err := p.change(c)
			if err != nil {
				return nil, fmt.Errorf("setup of host %s, %s: %w", s.Host, c.Text, err)
			}
			m.Changes = append(m.Changes, change)
		}
		setups = append(setups, m)
	}
	return setups, nil
}

func (p part) change(c experiment.Change) (m *synclinev1.Change, err error) {
	m = &synclinev1.Change{Text: c.Text}
	switch {
	case c.Sysctl != nil:
		m.What = &synclinev1.Change_Sysctl{Sysctl: &synclinev1.SysctlChange{Name: c.Sysctl.Name, Value: c.Sysctl.Value, IfPresent: c.Sysctl.IfPresent}}
	case c.Firewall != nil:
		what := firewallToProto(c.Firewall)
		if what.Source, err = p.host(c.Firewall.From); err != nil {
			return nil, err
		}
		what.Destination, err = p.host(c.Firewall.To)
		m.What = &synclinev1.Change_Firewall{Firewall: what}
	case c.Route != nil:
		var what *synclinev1.RouteChange
		what, err = p.route(c.Route)
		m.What = &synclinev1.Change_Route{Route: what}
	case c.Neighbour != nil:
		what := &synclinev1.NeighbourChange{Nowhere: c.Neighbour.Nowhere}
		what.Address, err = p.host(c.Neighbour.Of)
		m.What = &synclinev1.Change_Neighbour{Neighbour: what}
	case c.Link != nil:
		m.What = &synclinev1.Change_Link{Link: &synclinev1.LinkChange{
			Down: c.Link.Down, Mtu: uint32(c.Link.MTU), Rate: uint64(c.Link.Rate), NoOffload: c.Link.NoOffload,
		}}
	case c.Address != nil:
		what := &synclinev1.AddressChange{Remove: c.Address.Remove, Address: c.Address.Prefix.String()}
		if c.Address.Of.Role != "" {
			what.Address, err = p.host(c.Address.Of)
		}
		m.What = &synclinev1.Change_Address{Address: what}
	default:
		err = fmt.Errorf("this controller does not know what is to be changed")
	}
	return m, err
}

func firewallToProto(r *experiment.FirewallRule) *synclinev1.FirewallChange {
	hook := synclinev1.FirewallChange_HOOK_IN
	if r.Out {
		hook = synclinev1.FirewallChange_HOOK_OUT
	}
	return &synclinev1.FirewallChange{
		Action: synclinev1.FirewallChange_Action(r.Action), Hook: hook, Protocol: uint32(r.Protocol),
		Port: uint32(r.Port), SourcePort: uint32(r.SourcePort), Flags: uint32(r.Flags), Mask: uint32(r.Mask),
		RejectWith: r.RejectWith, IcmpType: int32(r.ICMPType), States: r.States,
		RedirectPort: uint32(r.RedirectPort), MasqueradePort: uint32(r.MasqueradePort),
		IdleTimeoutNs: int64(r.IdleTimeout), LongerThan: uint32(r.LongerThan),
	}
}

func (p part) route(r *experiment.RouteChange) (*synclinev1.RouteChange, error) {
	m := &synclinev1.RouteChange{
		Kind: r.Kind, Mtu: uint32(r.MTU), Advmss: uint32(r.AdvMSS), Initcwnd: uint32(r.InitCwnd), RtoMinMs: uint32(r.RTOMin.Milliseconds()),
	}
	prefix := r.Prefix
	if r.To.Role != "" {
		ip, err := p.ip(r.To.Role, r.To.Six)
		if err != nil {
			return nil, err
		}
		prefix = netip.PrefixFrom(ip, ip.BitLen())
	}
	m.Destination = prefix.String()
	var err error
	m.Gateway, err = p.host(r.Gateway)
	return m, err
}

// requirements are what must hold on the host.
func (p part) requirements() []*synclinev1.Requirement {
	var all []*synclinev1.Requirement
	for _, r := range p.exp.Require {
		if r.Host != p.role {
			continue
		}
		m := &synclinev1.Requirement{Text: r.Text}
		switch {
		case r.PortFree != nil:
			m.What = &synclinev1.Requirement_PortFree{PortFree: &synclinev1.PortFree{Protocol: uint32(r.PortFree.Protocol), Port: uint32(r.PortFree.Port)}}
		case r.Kernel != nil:
			m.What = &synclinev1.Requirement_Kernel{Kernel: &synclinev1.KernelRange{Comparison: r.Kernel.Comparison, Release: r.Kernel.Release}}
		case r.Sysctl != nil:
			m.What = &synclinev1.Requirement_Sysctl{Sysctl: &synclinev1.SysctlIs{Name: r.Sysctl.Name, Value: r.Sysctl.Value}}
		case r.Socket != nil:
			m.What = &synclinev1.Requirement_Socket{Socket: &synclinev1.SocketKind{Domain: uint32(r.Socket.Domain), Type: uint32(r.Socket.Type), Protocol: uint32(r.Socket.Protocol)}}
		}
		all = append(all, m)
	}
	return all
}
