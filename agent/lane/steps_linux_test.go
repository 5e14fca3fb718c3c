package lane

import (
	"time"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

func socketOf(name string, domain, typ, protocol uint32) *synclinev1.Step {
	return &synclinev1.Step{Text: name + " = socket()", Makes: name, Call: &synclinev1.Step_SocketCall{
		SocketCall: &synclinev1.SocketCall{Domain: domain, Type: typ, Protocol: protocol},
	}}
}

func udp(name string) *synclinev1.Step { return socketOf(name, unix.AF_INET, unix.SOCK_DGRAM, 0) }

func say(name, text string, flags ...uint32) *synclinev1.Step {
	return &synclinev1.Step{Text: "send", Socket: name, Call: &synclinev1.Step_Send{
		Send: &synclinev1.SendCall{Data: []byte(text), Flags: sum(flags)},
	}}
}

func hear(name string, size uint32, flags ...uint32) *synclinev1.Step {
	return &synclinev1.Step{Text: "recv", Socket: name, Call: &synclinev1.Step_Recv{
		Recv: &synclinev1.RecvCall{Size: size, Flags: sum(flags)},
	}}
}

func sendto(name, address, data string, flags ...uint32) *synclinev1.Step {
	return &synclinev1.Step{Text: "sendto", Socket: name, Call: &synclinev1.Step_Sendto{
		Sendto: &synclinev1.SendToCall{Address: address, Data: []byte(data), Flags: sum(flags)},
	}}
}

func recvfrom(name string, size uint32, flags ...uint32) *synclinev1.Step {
	return &synclinev1.Step{Text: "recvfrom", Socket: name, Call: &synclinev1.Step_Recvfrom{
		Recvfrom: &synclinev1.RecvFromCall{Size: size, Flags: sum(flags)},
	}}
}

func sum(flags []uint32) (all uint32) {
	for _, f := range flags {
		all |= f
	}
	return all
}

func getsockopt(name string, level, option int32, size uint32, kind synclinev1.OptionKind) *synclinev1.Step {
	return &synclinev1.Step{Text: "getsockopt", Socket: name, Call: &synclinev1.Step_Getsockopt{
		Getsockopt: &synclinev1.GetSockOptCall{Level: level, Name: option, Size: size, Kind: kind},
	}}
}

func pending(name string) *synclinev1.Step {
	return getsockopt(name, unix.SOL_SOCKET, unix.SO_ERROR, 4, synclinev1.OptionKind_OPTION_KIND_ERRNO)
}

func getsockname(name string) *synclinev1.Step {
	return &synclinev1.Step{Text: "getsockname", Socket: name, Call: &synclinev1.Step_Getsockname{}}
}

func getpeername(name string) *synclinev1.Step {
	return &synclinev1.Step{Text: "getpeername", Socket: name, Call: &synclinev1.Step_Getpeername{}}
}

func nonblock(name string, on bool) *synclinev1.Step {
	return &synclinev1.Step{Text: "nonblock", Socket: name, Call: &synclinev1.Step_Nonblock{
		Nonblock: &synclinev1.NonblockCall{On: on},
	}}
}

func poll(name string, events uint32, limit time.Duration) *synclinev1.Step {
	return &synclinev1.Step{Text: "poll", Socket: name, Call: &synclinev1.Step_Poll{
		Poll: &synclinev1.PollCall{Events: events, TimeoutNs: int64(limit)},
	}}
}

func dup(makes, name string) *synclinev1.Step {
	return &synclinev1.Step{Text: "dup", Socket: name, Makes: makes, Call: &synclinev1.Step_Dup{Dup: &synclinev1.DupCall{}}}
}

func info(name string) *synclinev1.Step {
	return &synclinev1.Step{Text: "info", Socket: name, Call: &synclinev1.Step_Info{Info: &synclinev1.InfoCall{}}}
}

func apply(name string) *synclinev1.Step {
	return &synclinev1.Step{Text: "apply", Call: &synclinev1.Step_Apply{Apply: &synclinev1.ApplyCall{Name: name}}}
}

func undo(name string) *synclinev1.Step {
	return &synclinev1.Step{Text: "undo", Call: &synclinev1.Step_Undo{Undo: &synclinev1.UndoCall{Name: name}}}
}

// is expects a value.
func is(values ...int64) *synclinev1.Outcome { return &synclinev1.Outcome{Values: values} }

// brings expects bytes.
func brings(texts ...string) *synclinev1.Outcome {
	o := &synclinev1.Outcome{}
	for _, t := range texts {
		o.Data = append(o.Data, []byte(t))
	}
	return o
}
