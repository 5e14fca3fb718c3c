package chunk

import (
	"net/netip"
	"strings"

	synclinev1 "syncline/proto/syncline/v1"
)

// callModel is what a call was when it was last made.
type callModel struct {
	name, socket, makes, label, arguments string
	fd                                    int32
	result                                int64
	errno                                 uint32
	endedBy                               synclinev1.EndedBy
	local, peer, failure                  string
	data                                  []byte
	shown                                 string
	info                                  infoModel
}

// call carries a step of a lane.
func (c *codec) call(ev *synclinev1.Event, call *synclinev1.Call) {
	c.unknown(call)
	c.text(colCallLane, &call.Lane, c.lane)
	c.lane = utf8Text(call.Lane)
	lane := c.lanes[c.lane]
	if lane == nil {
		lane = &laneModel{step: ^uint32(0), at: c.time}
		c.lanes[c.lane] = lane
	}
	c.u32(colCallStep, &call.Step, lane.step+1)
	c.flag(colCallByLab, &call.ByLab, false)
	c.i64(colCallEntry, &ev.TimeNs, lane.at)
	c.i64(colCallDuration, &call.ReturnNs, ev.TimeNs)
	c.u32(colCallThread, &call.Thread, lane.thread)
	c.u32(colCallProcess, &call.Process, lane.process)
	lane.step, lane.thread, lane.process, lane.at = call.Step, call.Thread, call.Process, call.ReturnNs

	key := stepKey{c.lane, call.Step, call.ByLab}
	last := c.steps[key]
	if last == nil {
		last = new(callModel)
		c.steps[key] = last
	}
	c.callFields(call, last)
	c.tcpInfo(call, &last.info, lane)
	*last = callModel{
		name: call.Name, socket: call.Socket, makes: call.Makes, label: call.Label, arguments: call.Arguments,
		fd: call.Fd, result: call.Result, errno: call.Errno, endedBy: call.EndedBy,
		local: call.LocalAddress, peer: call.PeerAddress, failure: call.Failure,
		data: c.keep(last.data, call.Data), shown: call.Shown,
		info: last.info,
	}
}

// callFields carries the fields that are the same in every repetition, as a rule.
func (c *codec) callFields(call *synclinev1.Call, last *callModel) {
	c.text(colCallName, &call.Name, last.name)
	c.text(colCallSocket, &call.Socket, last.socket)
	c.text(colCallMakes, &call.Makes, last.makes)
	c.text(colCallLabel, &call.Label, last.label)
	c.text(colCallArguments, &call.Arguments, last.arguments)
	i32(c, colCallFD, &call.Fd, last.fd)
	c.i64(colCallResult, &call.Result, last.result)
	c.u32(colCallErrno, &call.Errno, last.errno)
	i32(c, colCallEndedBy, &call.EndedBy, last.endedBy)
	c.addressText(&call.LocalAddress, last.local)
	c.addressText(&call.PeerAddress, last.peer)
	c.text(colCallFailure, &call.Failure, last.failure)
	c.blob(colCallData, &call.Data, last.data)
	c.text(colCallShown, &call.Shown, last.shown)
}

// How an address field is carried, in colAddress. Other values are those of
// text, plus addressNew.
const (
	addressSame  = 0 // as predicted
	addressMoved = 1 // the predicted host with another port
	addressNew   = 2 // text follows
)

// addressText carries "IP:port". The port of a client changes with every connection
// while its host does not, so the two are split where the text is exactly what
// netip.AddrPort prints.
func (c *codec) addressText(v *string, predicted string) {
	var how uint64
	var port uint64
	if !c.decoding {
		how, port = movedAddress(*v, predicted)
	}
	switch how = c.raw(colAddress, how); how {
	case addressSame:
		*v = predicted
	case addressMoved:
		c.u64(colAddressPort, &port, c.port)
		c.port = port
		moved, ok := c.addresses.moved(predicted, port)
		if !ok {
			c.fail("an address with port %d", port)
			return
		}
		*v = moved
	case addressNew:
		c.text(colAddress, v, predicted)
	default:
		c.fail("an address carried in way %d", how)
	}
}

// addressCache has addresses that a decoder made of a predicted one and a port, by the port: the traces
// and the calls of a connection name the same two again and again. The zero one is empty.
type addressCache [16]struct {
	predicted, text string
	port            uint64
}

// moved is the predicted address with another port. It reports false if there is none.
func (c *addressCache) moved(predicted string, port uint64) (string, bool) {
	last := &c[port%uint64(len(c))]
	if last.text != "" && last.port == port && last.predicted == predicted {
		return last.text, true
	}
	host, splits := canonical(predicted)
	if port > 0xffff || !splits {
		return "", false
	}
	last.predicted, last.port = predicted, port
	last.text = netip.AddrPortFrom(host.Addr(), uint16(port)).String()
	return last.text, true
}

// movedAddress is how an address is carried, and its port if that is all that is new.
func movedAddress(v, predicted string) (how, port uint64) {
	if v == predicted {
		return addressSame, 0
	}
	last, splits := canonical(predicted)
	if now, ok := canonical(v); ok && splits && now.Addr() == last.Addr() {
		return addressMoved, uint64(now.Port())
	}
	return addressNew, 0
}

// maxAddress is more than the longest "[IP%zone]:port" has, zones of Linux being
// names of interfaces.
const maxAddress = 80

// canonical parses "IP:port" and reports whether it prints as the very same text.
func canonical(s string) (netip.AddrPort, bool) {
	if len(s) > maxAddress {
		return netip.AddrPort{}, false
	}
	a, err := netip.ParseAddrPort(s)
	return a, err == nil && a.String() == s
}

// utf8Text is the string as a decoder will have it.
func utf8Text(s string) string { return strings.ToValidUTF8(s, "?") }
