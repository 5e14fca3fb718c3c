package store

import (
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	logv1 "syncline/proto/syncline/log/v1"
)

// drawMessage fills a message by its schema, so that a field that is added there and
// forgotten in convert.go fails the test. full leaves no field at its zero value.
func drawMessage(t *rapid.T, m protoreflect.Message, full bool) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !full && rapid.Bool().Draw(t, "unset") {
			continue
		}
		switch {
		case f.IsMap():
			v := m.Mutable(f).Map()
			v.Set(drawScalar(t, f.MapKey()).MapKey(), drawScalar(t, f.MapValue()))
		case f.IsList():
			v := m.Mutable(f).List()
			for range rapid.IntRange(1, 3).Draw(t, "length") {
				if f.Message() == nil {
					v.Append(drawScalar(t, f))
				} else {
					drawMessage(t, v.AppendMutable().Message(), full)
				}
			}
		case f.Message() != nil:
			drawMessage(t, m.Mutable(f).Message(), true)
		default:
			m.Set(f, drawScalar(t, f))
		}
	}
}

// drawScalar never draws the zero value: in an optional field that means "change
// nothing", which is not sent.
func drawScalar(t *rapid.T, f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(rapid.Int32Range(1, 100).Draw(t, "enum")))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(rapid.Int64Range(1, 1<<62).Draw(t, "int64"))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(rapid.Uint32Min(1).Draw(t, "uint32"))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(rapid.Uint64Min(1).Draw(t, "uint64"))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(rapid.StringN(1, 10, -1).Draw(t, "string"))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(rapid.SliceOfN(rapid.Byte(), 1, 10).Draw(t, "bytes"))
	}
	t.Fatalf("field %s is of kind %s, which this test cannot draw", f.FullName(), f.Kind())
	return protoreflect.Value{}
}

// roundTrip checks that a message comes back from its native type, and that a full
// message leaves no field of the native type empty but those named.
func roundTrip[M proto.Message, N any](t *testing.T, from func(M) N, to func(N) M, empty ...string) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		full := rapid.Bool().Draw(rt, "full")
		var zero M
		m := zero.ProtoReflect().New()
		drawMessage(rt, m, full)
		want := m.Interface().(M)
		native := from(want)
		if diff := cmp.Diff(want, to(native), protocmp.Transform()); diff != "" {
			rt.Fatalf("(-log +through the native type):\n%s", diff)
		}
		v := reflect.ValueOf(native)
		for i := 0; full && i < v.NumField(); i++ {
			name := v.Type().Field(i).Name
			if v.Field(i).IsZero() && !slices.Contains(empty, name) {
				rt.Errorf("%T.%s has no place in the log", native, name)
			}
		}
	})
}

func TestEverythingSurvivesTheLog(t *testing.T) {
	t.Run("Agent", func(t *testing.T) { roundTrip(t, agentFromLog, agentToLog) })
	// The counts are of the chunks, and where they went has entries of its own.
	t.Run("Run", func(t *testing.T) {
		roundTrip(t, runFromLog, runToLog, "Events", "Chunks", "Bytes", "Archive", "Removed")
	})
	t.Run("Archive", func(t *testing.T) { roundTrip(t, archiveFromLog, archiveToLog) })
	t.Run("Chunk", func(t *testing.T) { roundTrip(t, chunkFromLog, chunkToLog) })
	// The id of the run is beside the native change, not in it.
	t.Run("RunChange", func(t *testing.T) {
		var id string
		from := func(c *logv1.ChangeRun) RunChange { id = c.RunId; return changeFromLog(c) }
		roundTrip(t, from, func(c RunChange) *logv1.ChangeRun { return changeToLog(id, c) })
	})
	t.Run("Sealing", func(t *testing.T) {
		var id string
		from := func(s *logv1.SealRun) Sealing { id = s.RunId; return sealingFromLog(s) }
		roundTrip(t, from, func(s Sealing) *logv1.SealRun { return sealingToLog(id, s) })
	})
}
