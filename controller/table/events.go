package table

import (
	"fmt"
	"io"
	"math"
	"net/netip"
	"strings"

	"github.com/parquet-go/parquet-go"
	"google.golang.org/protobuf/reflect/protoreflect"

	synclinev1 "syncline/proto/syncline/v1"
)

// Place says of which stream of which run events are.
type Place struct {
	// Run is the id of the run, Host the role, Agent who played it.
	Run, Host, Agent string
	// Incarnation is of the agent's start.
	Incarnation uint64
	// Variant is which variant of the experiment a repetition was of; "" if there is one
	// only, or none.
	Variant func(repetition uint32) string
}

// The columns that every event has, by index.
const (
	eventRun = iota
	eventHost
	eventAgent
	eventIncarnation
	eventNumber
	eventTime
	eventRepetition
	eventVariant
	eventKind
	eventFacts // the first column of a fact
)

// facts are the kinds of events and their columns: one for each field of each fact of the
// contract, named KIND_FIELD, as in call_return_ns. So what a column means is said in
// event.proto, and what the contract gets is in the table.
var facts, eventColumns = columnsOfFacts()

// fact is one kind of event.
type fact struct {
	kind   string
	fields []factField
}

// factField is a field of a fact and the column that it fills.
type factField struct {
	protoreflect.FieldDescriptor
	column int
	value  func(protoreflect.Value) parquet.Value
}

// columnsOfFacts lists the columns of the table, and by number of the field of the contract
// which of them a fact fills.
func columnsOfFacts() (map[protoreflect.FieldNumber]*fact, []column) {
	columns := []column{
		eventRun: textColumn("run"), eventHost: textColumn("host"), eventAgent: textColumn("agent"), eventIncarnation: risingColumn("incarnation"),
		eventNumber: risingColumn("number"), eventTime: risingColumn("time_ns"), eventRepetition: risingColumn("repetition"),
		eventVariant: textColumn("variant").orNull(), eventKind: textColumn("kind"),
	}
	all := map[protoreflect.FieldNumber]*fact{}
	of := (*synclinev1.Event)(nil).ProtoReflect().Descriptor().Oneofs().ByName("fact").Fields()
	for i := range of.Len() {
		kind := of.Get(i)
		f := &fact{kind: string(kind.Name())}
		fields := kind.Message().Fields()
		for j := range fields.Len() {
			field := fields.Get(j)
			c, value := columnOf(f.kind+"_"+string(field.Name()), field)
			if value == nil {
				continue
			}
			f.fields = append(f.fields, factField{field, len(columns), value})
			columns = append(columns, c.orNull())
		}
		all[kind.Number()] = f
	}
	return all, columns
}

// addresses are the fields with an IP address as 4 or 16 bytes.
var addresses = map[protoreflect.FullName]bool{"syncline.v1.Packet.source": true, "syncline.v1.Packet.destination": true}

// states are the fields with a TCP state by the kernel's number; the column has its name.
var states = map[protoreflect.FullName]bool{
	"syncline.v1.SocketState.state": true, "syncline.v1.Trace.old_state": true, "syncline.v1.Trace.state": true,
}

// stateNames are those of include/net/tcp_states.h of Linux, by number.
var stateNames = [...]string{
	"", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV",
}

// stateText is the name of a state; of one that this version does not know, its number.
func stateText(n uint64) string {
	if n < uint64(len(stateNames)) {
		return stateNames[n]
	}
	return fmt.Sprint(n)
}

// columnOf is the column of a field, and what of the field stands in it; nil for a list,
// which has a table of its own.
func columnOf(name string, field protoreflect.FieldDescriptor) (column, func(protoreflect.Value) parquet.Value) {
	if field.IsList() || field.IsMap() {
		return column{}, nil
	}
	switch field.Kind() {
	case protoreflect.StringKind:
		return textColumn(name), func(v protoreflect.Value) parquet.Value { return text(v.String()) }
	case protoreflect.BoolKind:
		return boolColumn(name), func(v protoreflect.Value) parquet.Value { return parquet.BooleanValue(v.Bool()) }
	case protoreflect.Int32Kind:
		return int64Column(name), func(v protoreflect.Value) parquet.Value { return parquet.Int64Value(v.Int()) }
	case protoreflect.Int64Kind:
		if strings.HasSuffix(name, "_ns") {
			return risingColumn(name), func(v protoreflect.Value) parquet.Value { return parquet.Int64Value(v.Int()) }
		}
		return int64Column(name), func(v protoreflect.Value) parquet.Value { return parquet.Int64Value(v.Int()) }
	case protoreflect.Uint32Kind:
		if states[field.FullName()] {
			return textColumn(name), func(v protoreflect.Value) parquet.Value { return text(stateText(v.Uint())) }
		}
		return int64Column(name), func(v protoreflect.Value) parquet.Value { return parquet.Int64Value(int64(v.Uint())) }
	case protoreflect.Uint64Kind:
		return uint64Column(name), func(v protoreflect.Value) parquet.Value { return parquet.Int64Value(int64(v.Uint())) }
	case protoreflect.EnumKind:
		return textColumn(name), func(v protoreflect.Value) parquet.Value { return text(enumText(field.Enum(), v.Enum())) }
	case protoreflect.BytesKind:
		if addresses[field.FullName()] {
			return textColumn(name), func(v protoreflect.Value) parquet.Value { return text(addressText(v.Bytes())) }
		}
		return bytesColumn(name), func(v protoreflect.Value) parquet.Value { return parquet.ByteArrayValue(v.Bytes()) }
	}
	panic(fmt.Sprintf("table: field %s of the contract is of kind %v, which no column is made for", field.FullName(), field.Kind()))
}

// enumText is a value of an enum without what all of its values begin with: DIRECTION_IN is
// "in", what is unspecified "", and what this version does not know its number.
func enumText(e protoreflect.EnumDescriptor, n protoreflect.EnumNumber) string {
	v := e.Values().ByNumber(n)
	if v == nil {
		return fmt.Sprint(n)
	}
	if n == 0 {
		return ""
	}
	prefix := strings.TrimSuffix(string(e.Values().ByNumber(0).Name()), "UNSPECIFIED")
	return strings.ToLower(strings.TrimPrefix(string(v.Name()), prefix))
}

// addressText is an IP address as people write it; "" if there is none.
func addressText(b []byte) string {
	ip, ok := netip.AddrFromSlice(b)
	if !ok {
		return ""
	}
	return ip.String()
}

// EventsWriter writes the table of events. Make it with Events, and close it.
type EventsWriter struct{ w *writer }

// Events begins the table of events: one row for each, whatever its kind, with the columns
// of the other kinds null. The rows stand in the order in which they are added.
func Events(w io.Writer) *EventsWriter {
	return &EventsWriter{newWriter(w, EventsTable, eventColumns)}
}

// Add adds events of one stream.
func (t *EventsWriter) Add(p *Place, events []*synclinev1.Event) error {
	for _, e := range events {
		if err := t.add(p, e); err != nil {
			return fmt.Errorf("event %d of agent %s: %w", e.GetNumber(), p.Agent, err)
		}
	}
	return nil
}

func (t *EventsWriter) add(p *Place, e *synclinev1.Event) error {
	m := e.ProtoReflect()
	kind := m.WhichOneof(m.Descriptor().Oneofs().ByName("fact"))
	if kind == nil {
		return fmt.Errorf("it has no fact, or one that this version does not know")
	}
	if e.Number > math.MaxInt64 || p.Incarnation > math.MaxInt64 {
		return fmt.Errorf("its number, or incarnation %d, does not fit 63 bits", p.Incarnation)
	}
	f := facts[kind.Number()]
	r := t.w.row()
	r.set(eventRun, text(p.Run))
	r.set(eventHost, text(p.Host))
	r.set(eventAgent, text(p.Agent))
	r.set(eventIncarnation, parquet.Int64Value(int64(p.Incarnation)))
	r.set(eventNumber, parquet.Int64Value(int64(e.Number)))
	r.set(eventTime, parquet.Int64Value(e.TimeNs))
	r.set(eventRepetition, parquet.Int64Value(int64(e.Repetition)))
	r.set(eventKind, text(f.kind))
	if v := p.Variant(e.Repetition); v != "" {
		r.set(eventVariant, text(v))
	}
	of := m.Get(kind).Message()
	for i := range f.fields {
		field := &f.fields[i]
		r.set(field.column, field.value(of.Get(field.FieldDescriptor)))
	}
	return t.w.end()
}

// Close writes what is left. It does not close what the table is written to.
func (t *EventsWriter) Close() error { return t.w.close() }

// Rows counts those that were added.
func (t *EventsWriter) Rows() int64 { return t.w.count }
