package table

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	synclinev1 "syncline/proto/syncline/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// vm1 is where the events of the tests are from.
var vm1 = &Place{Run: "r-7f3c2a10", Host: "client", Agent: "vm1", Incarnation: 1_700_000_000_000_000_000, Variant: func(n uint32) string {
	if n == 0 {
		return ""
	}
	return "burst"
}}

// scene is a short run: one event of most kinds.
func scene() []*synclinev1.Event {
	return []*synclinev1.Event{
		{Number: 1, TimeNs: 1_000_000, Fact: &synclinev1.Event_Mark{Mark: &synclinev1.Mark{Kind: synclinev1.MarkKind_MARK_KIND_ARMED, Detail: "eth0"}}},
		{Number: 2, TimeNs: 2_000_000, Repetition: 1, Fact: &synclinev1.Event_Call{Call: &synclinev1.Call{
			Lane: "client", Name: "connect", Socket: "s", Arguments: "10.0.0.2:8080", Fd: 3, ReturnNs: 2_400_000, Result: -1, Errno: 111,
			EndedBy: synclinev1.EndedBy_ENDED_BY_KERNEL, Shown: "ECONNREFUSED", Data: []byte{0, 255},
		}}},
		{Number: 3, TimeNs: 2_100_000, Repetition: 1, Fact: &synclinev1.Event_Packet{Packet: &synclinev1.Packet{
			Interface: "eth0", Direction: synclinev1.Direction_DIRECTION_OUT, RealtimeNs: 1_700_000_001_000_000_000, Source: []byte{10, 0, 0, 1},
			Destination: []byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}, SourcePort: 40000, DestinationPort: 8080, Sequence: 4294967295, Flags: 2,
		}}},
		{Number: 4, TimeNs: 2_200_000, Repetition: 1, Fact: &synclinev1.Event_Trace{Trace: &synclinev1.Trace{
			Kind: synclinev1.TraceKind_TRACE_KIND_STATE, Cookie: 1<<63 + 5, LocalAddress: "10.0.0.1:40000", OldState: 2, State: 7,
		}}},
		{Number: 5, TimeNs: 3_000_000, Repetition: 1, Fact: &synclinev1.Event_Counters{Counters: &synclinev1.Counters{
			SinceNs: 2_000_000, Counters: []*synclinev1.Counter{{Name: "Tcp.AttemptFails", Delta: 1}, {Name: "TcpExt.TCPAbortOnClose", Delta: -2}},
		}}},
		{Number: 6, TimeNs: 3_100_000, Repetition: 2, Fact: &synclinev1.Event_SocketState{SocketState: &synclinev1.SocketState{LocalAddress: "[::1]:1", State: 99, Final: true}}},
	}
}

// written is a table as bytes.
func written(t testing.TB, write func(io.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func writeScene(w io.Writer) error {
	events := Events(w)
	if err := events.Add(vm1, scene()); err != nil {
		return err
	}
	return events.Close()
}

// tables are all of them, of that run.
var tables = map[string]func(io.Writer) error{
	EventsTable: writeScene,
	CountersTable: func(w io.Writer) error {
		counters := Counters(w)
		if err := counters.Add(vm1, scene()); err != nil {
			return err
		}
		return counters.Close()
	},
	HostsTable: func(w io.Writer) error {
		return WriteHosts(w, "r-7f3c2a10", []Host{{Name: "client", Agent: "vm1", Address: "10.0.0.1", Kernel: "6.1.0", ClockID: "c1"}, {Name: "server", Agent: "vm2", Address: "10.0.0.2", Address6: "fd00::2"}})
	},
	RunsTable: func(w io.Writer) error {
		return WriteRun(w, Run{ID: "r-7f3c2a10", Experiment: "refused", State: "sealed", CreatedNs: 1_700_000_000_000_000_000, EndedNs: 1_700_000_009_000_000_000,
			Repetitions: 2, RepetitionsDone: 2, Events: 6, Chunks: 1, Bytes: 200, Incomplete: []string{"a", "b"}, Seal: []byte{1, 2, 3}})
	},
	VerdictsTable: func(w io.Writer) error {
		return WriteVerdicts(w, "r-7f3c2a10", func(yield func(Verdict) error) error {
			for _, v := range []Verdict{{Repetition: 1, Variant: "burst", Expectation: "refused", Ruling: "pass"}, {Repetition: 2, Expectation: "refused", Ruling: "fail", Reason: "\xff it was not"}} {
				if err := yield(v); err != nil {
					return err
				}
			}
			return nil
		})
	},
}

// show is a table as people read it: the columns with their types, then each row, without
// what is null.
func show(t testing.TB, data []byte) string {
	t.Helper()
	f, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	version, _ := f.Lookup("syncline.tables")
	fmt.Fprintf(&b, "version %s\n%v\n", version, f.Schema())
	names := f.Schema().Columns()
	for _, group := range f.RowGroups() {
		rows := group.Rows()
		defer rows.Close()
		buffer := make([]parquet.Row, 16)
		for {
			n, err := rows.ReadRows(buffer)
			for _, row := range buffer[:n] {
				b.WriteString("\n")
				for _, v := range row {
					if !v.IsNull() {
						fmt.Fprintf(&b, "%s %+q\n", names[v.Column()][0], said(f.Schema().Fields()[v.Column()], v))
					}
				}
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return b.String()
}

// said is a value as text: of a column without sign, without sign.
func said(of parquet.Field, v parquet.Value) string {
	if of.Type().String() == "INT(64,false)" {
		return fmt.Sprint(v.Uint64())
	}
	return v.String()
}

// TestTables compares every table with a file that people can read, and the bytes with
// those of another time. An engine that was told of the columns of version 1 finds them
// for ever: a change that takes one away, or gives it another type, makes a version 2.
func TestTables(t *testing.T) {
	for name, write := range tables {
		t.Run(name, func(t *testing.T) {
			data := written(t, write)
			if !bytes.Equal(data, written(t, write)) {
				t.Error("the same rows gave other bytes")
			}
			got, file := show(t, data), filepath.Join("testdata", fmt.Sprintf("v%d", Version), name+".txt")
			if *update {
				if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestEveryFieldHasAColumn draws events with anything in them and finds each field of each
// fact in the row that it became, by its name.
func TestEveryFieldHasAColumn(t *testing.T) {
	columns := map[string]int{}
	for i, c := range eventColumns {
		columns[c.name] = i
	}
	rapid.Check(t, func(t *rapid.T) {
		event, kind := drawEvent(t)
		var b bytes.Buffer
		w := Events(&b)
		if err := w.Add(vm1, []*synclinev1.Event{event}); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		row, fields := firstRow(t, b.Bytes())
		if got := row[columns["kind"]].String(); got != string(kind.Name()) {
			t.Fatalf("kind %q, want %q", got, kind.Name())
		}
		fact, filled := event.ProtoReflect().Get(kind).Message(), 0
		for i := range kind.Message().Fields().Len() {
			f := kind.Message().Fields().Get(i)
			if f.IsList() {
				continue
			}
			c, ok := columns[string(kind.Name())+"_"+string(f.Name())]
			if !ok {
				t.Fatalf("no column for %s of %s", f.Name(), kind.Name())
			}
			filled++
			if got, want := said(fields[c], row[c]), plain(f, fact.Get(f)); row[c].IsNull() || got != want {
				t.Fatalf("%s of %s is %q, want %q", f.Name(), kind.Name(), got, want)
			}
		}
		for _, c := range eventColumns[eventFacts:] {
			if v := row[columns[c.name]]; !v.IsNull() {
				filled--
			}
		}
		if filled != 0 {
			t.Fatalf("%d columns of other kinds are filled", -filled)
		}
	})
}

// drawEvent draws an event of any kind.
func drawEvent(t *rapid.T) (*synclinev1.Event, protoreflect.FieldDescriptor) {
	event := &synclinev1.Event{Number: rapid.Uint64Range(1, 1<<62).Draw(t, "number"), TimeNs: rapid.Int64().Draw(t, "time"), Repetition: rapid.Uint32().Draw(t, "repetition")}
	m := event.ProtoReflect()
	kinds := m.Descriptor().Oneofs().ByName("fact").Fields()
	kind := kinds.Get(rapid.IntRange(0, kinds.Len()-1).Draw(t, "kind"))
	fact := m.Mutable(kind).Message()
	for i := range kind.Message().Fields().Len() {
		f := kind.Message().Fields().Get(i)
		if !f.IsList() {
			fact.Set(f, drawValue(t, f))
		}
	}
	return event, kind
}

func drawValue(t *rapid.T, f protoreflect.FieldDescriptor) protoreflect.Value {
	name := string(f.Name())
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(rapid.String().Draw(t, name))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, name))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(rapid.Int32().Draw(t, name))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(rapid.Int64().Draw(t, name))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rapid.Uint32().Draw(t, name))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(rapid.Uint64().Draw(t, name))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(rapid.IntRange(0, f.Enum().Values().Len()+1).Draw(t, name)))
	case protoreflect.BytesKind:
		sizes := []int{0, 1, 200}
		if addresses[f.FullName()] {
			sizes = []int{0, 4, 16}
		}
		n := rapid.SampledFrom(sizes).Draw(t, name+" size")
		return protoreflect.ValueOfBytes(rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, name))
	}
	t.Fatalf("field %s is of kind %v", f.FullName(), f.Kind())
	return protoreflect.Value{}
}

// plain is what a reader should find of a field, by another way than the writer's.
func plain(f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch {
	case f.Kind() == protoreflect.EnumKind:
		return enumText(f.Enum(), v.Enum())
	case addresses[f.FullName()]:
		return addressText(v.Bytes())
	case states[f.FullName()]:
		return stateText(v.Uint())
	case f.Kind() == protoreflect.BytesKind:
		return string(v.Bytes())
	}
	return fmt.Sprint(v.Interface())
}

func firstRow(t *rapid.T, data []byte) (parquet.Row, []parquet.Field) {
	f, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	rows := f.RowGroups()[0].Rows()
	defer rows.Close()
	buffer := make([]parquet.Row, 2)
	n, err := rows.ReadRows(buffer)
	if n != 1 || err != nil && err != io.EOF {
		t.Fatalf("%d rows: %v", n, err)
	}
	return buffer[0].Clone(), f.Schema().Fields()
}

// TestNamesOfEnumsAndStates says a few that queries will ask for.
func TestNamesOfEnumsAndStates(t *testing.T) {
	got := show(t, written(t, writeScene))
	for _, want := range []string{`packet_direction "out"`, `trace_old_state "SYN_SENT"`, `trace_state "CLOSE"`, `trace_kind "state"`, `call_ended_by "kernel"`, `packet_source "10.0.0.1"`, `socket_state_state "99"`, `trace_cookie "9223372036854775813"`, `packet_sequence "4294967295"`, `variant "burst"`} {
		if !strings.Contains(got, "\n"+want+"\n") {
			t.Errorf("there is no %s", want)
		}
	}
}

// TestNoFact refuses an event of a kind that came after this version.
func TestNoFact(t *testing.T) {
	if err := Events(io.Discard).Add(vm1, []*synclinev1.Event{{Number: 7}}); err == nil || !strings.Contains(err.Error(), "event 7 of agent vm1") {
		t.Errorf("an event without a fact: %v", err)
	}
}

// TestManyRowGroups writes more rows than lie together.
func TestManyRowGroups(t *testing.T) {
	var b bytes.Buffer
	w, all := Events(&b), scene()
	for i := range rowGroup + batch/2 {
		e := proto.Clone(all[i%len(all)]).(*synclinev1.Event)
		e.Number = uint64(i + 1)
		if err := w.Add(vm1, []*synclinev1.Event{e}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := parquet.OpenFile(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if f.NumRows() != w.Rows() || len(f.RowGroups()) != 2 {
		t.Errorf("%d rows in %d groups, %d were written", f.NumRows(), len(f.RowGroups()), w.Rows())
	}
}

// BenchmarkEvents prints what a row costs.
func BenchmarkEvents(b *testing.B) {
	all := scene()
	var size int64
	for b.Loop() {
		counted := new(counter)
		w := Events(counted)
		for range 2000 {
			if err := w.Add(vm1, all); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		size = int64(*counted)
	}
	events := float64(2000 * len(all))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/events, "ns/event")
	b.ReportMetric(float64(size)/events, "B/event")
}

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }
