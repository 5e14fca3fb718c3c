package experiment

import (
	"slices"

	"cel.dev/cel-go/cel"
)

// thatPackage is the prefix that CEL wants of the names of types.
const thatPackage = "syncline."

// Types of expressions beyond those of CEL.
var (
	// thatSpan is a length of time that is known within bounds.
	thatSpan = cel.OpaqueType(thatPackage + "span")
	// thatInstant is a moment of the repetition.
	thatInstant = cel.OpaqueType(thatPackage + "instant")
	thatCall    = cel.ObjectType(thatPackage + "call")
	thatPacket  = cel.ObjectType(thatPackage + "packet")
	thatInfo    = cel.ObjectType(thatPackage + "info")
)

// ThatName is one thing that an expression may use: a variable, a function or a field.
type ThatName struct {
	// Name as it is written: "rtt", `phase("connect.blocked")`, "call.lane".
	Name string
	// Type as CEL shows it: "int", "span", "list(call)".
	Type    string
	Meaning string
}

// thatRow is a variable, or a function by its overloads.
type thatRow struct {
	form               string
	variable, function string
	overloads          []string
	result             *cel.Type
	arguments          [][]*cel.Type
	sources            []string
	meaning            string
}

// thatNames are the variables and the functions.
var thatNames = []thatRow{
	{form: "rtt", variable: "rtt", result: thatSpan, sources: []string{"packets"},
		meaning: "the round-trip time of the only connection: SYN sent to SYN+ACK received, at the client's tap"},
	{form: `rtt_of("client.c")`, function: "rtt_of", overloads: []string{"rtt_of_socket"}, arguments: [][]*cel.Type{{cel.StringType}}, result: thatSpan, sources: []string{"packets"},
		meaning: "that of the connection of a socket"},
	{form: `phase("connect.blocked")`, function: "phase", overloads: []string{"phase_name", "phase_name_socket"},
		arguments: [][]*cel.Type{{cel.StringType}, {cel.StringType, cel.StringType}}, result: thatSpan, sources: []string{"packets", "syscalls"},
		meaning: `how long a phase lasted that is there once; phase("connect.blocked", "client.c") is that of one socket`},
	{form: `phases("recv.blocked")`, function: "phases", overloads: []string{"phases_name", "phases_name_socket"},
		arguments: [][]*cel.Type{{cel.StringType}, {cel.StringType, cel.StringType}}, result: cel.ListType(thatSpan), sources: []string{"packets", "syscalls"},
		meaning: "every time that it lasted, of all connections or of one socket"},
	{form: "calls", variable: "calls", result: cel.ListType(thatCall), sources: []string{"syscalls"},
		meaning: "the calls of all lanes in the order in which they were entered, but the lab's own closes"},
	{form: "packets", variable: "packets", result: cel.ListType(thatPacket), sources: []string{"packets"},
		meaning: "the packets of the experiment in the order in which they left"},
	{form: `info("client.c")`, function: "info", overloads: []string{"info_socket"}, arguments: [][]*cel.Type{{cel.StringType}}, result: thatInfo, sources: []string{"syscalls"},
		meaning: "the TCP_INFO that the last info(c) of that socket read"},
	{form: `counters("B")`, function: "counters", overloads: []string{"counters_host"}, arguments: [][]*cel.Type{{cel.StringType}}, result: cel.MapType(cel.StringType, cel.IntType), sources: []string{"counters"},
		meaning: "how far each kernel counter of a host moved; 0 for one that did not"},
	{form: `states("client.c")`, function: "states", overloads: []string{"states_socket"}, arguments: [][]*cel.Type{{cel.StringType}}, result: cel.ListType(cel.StringType), sources: []string{"packets", "syscalls"},
		meaning: "the TCP states of a socket in order"},
	{form: "vars", variable: "vars", result: cel.MapType(cel.StringType, cel.DynType),
		meaning: "the variables of the file with the values they have in this repetition; whole numbers are int, the rest string"},
}

// thatField is a field of one of the lab's types.
type thatField struct {
	name    string
	result  *cel.Type
	meaning string
}

var thatCallFields = []thatField{
	{"lane", cel.StringType, `the lane, of copies "client[2]"`},
	{"call", cel.StringType, `its name, "connect"`},
	{"socket", cel.StringType, "the name of the socket it works on, empty if none"},
	{"makes", cel.StringType, "the name it gives, empty if none"},
	{"label", cel.StringType, "the label, empty if none"},
	{"step", cel.IntType, "its step in the lane, from 1"},
	{"result", cel.IntType, "what it returned, of getsockopt the value; -1 on an error"},
	{"errno", cel.StringType, `the error, "ECONNREFUSED", empty if none`},
	{"ended_by", cel.StringType, `what ended it: "kernel", "lab timeout", "cancel" or "death"`},
	{"data", cel.BytesType, "the first 64 bytes received, or the value of getsockopt"},
	{"entered", thatInstant, "right before it"},
	{"returned", thatInstant, "right after it"},
	{"blocked", thatSpan, "the time between, by one clock"},
}

var thatPacketFields = []thatField{
	{"from", cel.StringType, `the host that sent it, its address if it is none of the run`},
	{"to", cel.StringType, "the host it was for, its address if it is none of the run"},
	{"of", cel.ListType(cel.StringType), `the sockets at the ends of its connection, ["client.c", "server.a"]`},
	{"protocol", cel.StringType, `"tcp", "udp", "icmp", "icmp6" or "arp"`},
	{"flags", cel.ListType(cel.StringType), `the TCP flags that are set, ["SYN", "ACK"]`},
	{"seq", cel.IntType, "the sequence number, counted from the initial one of its sender"},
	{"ack", cel.IntType, "the acknowledgment number, counted from the initial one of its receiver"},
	{"window", cel.IntType, "the window field, not scaled"},
	{"length", cel.IntType, "its payload in bytes"},
	{"copy", cel.IntType, "0, or which retransmission it is, from 1"},
	{"lost", cel.BoolType, "whether it surely did not arrive"},
	{"type", cel.IntType, "the type of ICMP, the operation of ARP"},
	{"code", cel.IntType, "the code of ICMP"},
	{"sent", thatInstant, "when its sender's tap saw it leave; has(p.sent) asks if it did"},
	{"received", thatInstant, "when its receiver's tap saw it come; has(p.received) asks if it did"},
}

// ThatNames is all that an expression may use beyond CEL itself.
func ThatNames() []ThatName {
	var all []ThatName
	for _, row := range thatNames {
		all = append(all, ThatName{row.form, thatTypeName(row.result.String()), row.meaning})
	}
	for _, kind := range thatObjects() {
		for _, f := range kind.fields {
			all = append(all, ThatName{thatTypeName(kind.result.String()) + "." + f.name, thatTypeName(f.result.String()), f.meaning})
		}
	}
	return all
}

// thatObject is a type with fields.
type thatObject struct {
	result *cel.Type
	fields []thatField
}

func thatObjects() []thatObject {
	return []thatObject{{thatCall, thatCallFields}, {thatPacket, thatPacketFields}, {thatInfo, thatInfoFields()}}
}

func thatTopNames() []string {
	var names []string
	for _, row := range thatNames {
		names = append(names, row.variable+row.function)
	}
	return names
}

func thatFieldNames() []string {
	var names []string
	for _, kind := range thatObjects() {
		for _, f := range kind.fields {
			names = append(names, f.name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// thatDeclarations declares the variables, the functions and what can be done with
// lengths of time and moments. The functions are bound when an expression is evaluated.
func thatDeclarations() []cel.EnvOption {
	var options []cel.EnvOption
	for _, row := range thatNames {
		if row.variable != "" {
			options = append(options, cel.Variable(row.variable, row.result))
			continue
		}
		var overloads []cel.FunctionOpt
		for i, id := range row.overloads {
			overloads = append(overloads, cel.Overload(id, row.arguments[i], row.result, cel.LateFunctionBinding()))
		}
		options = append(options, cel.Function(row.function, overloads...))
	}
	for _, o := range thatOperations {
		options = append(options, cel.Function(o.operator, cel.Overload(o.id, []*cel.Type{o.left, o.right}, o.result)))
	}
	return options
}
