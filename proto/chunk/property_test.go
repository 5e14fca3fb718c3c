package chunk

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	synclinev1 "syncline/proto/syncline/v1"
)

// events draws any events at all: it walks the schema, so that a field that is added
// there and forgotten here fails the test. Values come from small pools as often as
// from everywhere, since most of the codec is about what repeats.
var events = rapid.Custom(func(t *rapid.T) []*synclinev1.Event {
	out := make([]*synclinev1.Event, rapid.IntRange(0, 30).Draw(t, "events"))
	for i := range out {
		out[i] = new(synclinev1.Event)
		drawMessage(t, out[i].ProtoReflect())
		if rapid.Bool().Draw(t, "consecutive") && i > 0 {
			out[i].Number = out[i-1].Number + 1
		}
	}
	return out
})

func drawMessage(t *rapid.T, m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.ContainingOneof() != nil:
		case f.IsList():
			list := m.Mutable(f).List()
			for range rapid.IntRange(0, 4).Draw(t, "length") {
				element := list.NewElement()
				drawMessage(t, element.Message())
				list.Append(element)
			}
		case rapid.IntRange(0, 3).Draw(t, "set") > 0:
			m.Set(f, drawValue(t, m, f))
		}
	}
	oneofs := m.Descriptor().Oneofs()
	for i := range oneofs.Len() {
		choices := oneofs.Get(i).Fields()
		n := rapid.IntRange(0, choices.Len()).Draw(t, "fact")
		if n < choices.Len() {
			m.Set(choices.Get(n), drawValue(t, m, choices.Get(n)))
		}
	}
	if rapid.IntRange(0, 9).Draw(t, "unknown") == 0 {
		b := protowire.AppendTag(nil, protowire.Number(rapid.IntRange(100, 200).Draw(t, "field")), protowire.BytesType)
		m.SetUnknown(protowire.AppendBytes(b, drawBytes(t)))
	}
}

func drawValue(t *rapid.T, m protoreflect.Message, f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, "bool"))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(rapid.OneOf(rapid.Int32Range(-1, 5), rapid.Int32()).Draw(t, "enum")))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(rapid.OneOf(rapid.Int32Range(-1, 5), rapid.Int32()).Draw(t, "int32"))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(rapid.OneOf(rapid.Int64Range(-1, 5), rapid.Int64()).Draw(t, "int64"))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rapid.OneOf(rapid.Uint32Range(0, 3), rapid.Uint32()).Draw(t, "uint32"))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(rapid.OneOf(rapid.Uint64Range(0, 3), rapid.Uint64()).Draw(t, "uint64"))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(rapid.OneOf(
			rapid.SampledFrom([]string{"client", "server", "10.0.0.1:80", "10.0.0.1:81", "[fe80::1%eth0]:7", "010.0.0.1:080"}),
			rapid.String()).Draw(t, "string"))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(drawBytes(t))
	case protoreflect.MessageKind:
		v := m.NewField(f)
		drawMessage(t, v.Message())
		return v
	}
	t.Fatalf("field %s is of kind %s, which this test cannot draw", f.FullName(), f.Kind())
	return protoreflect.Value{}
}

func drawBytes(t *rapid.T) []byte {
	return rapid.OneOf(
		rapid.SampledFrom([][]byte{nil, {10, 0, 0, 1}, {10, 0, 0, 2}, make([]byte, 16), {1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8}, {8, 10, 1}, {2, 4, 5, 180, 8, 10, 0, 0, 0, 0, 0, 0, 0, 9, 0}, make([]byte, 280), make([]byte, maxInfo+1)}),
		rapid.SliceOfN(rapid.Byte(), 0, 60)).Draw(t, "bytes")
}

func TestEveryEventSurvives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := events.Draw(t, "all")
		var b Builder
		kept := make([]*synclinev1.Event, len(want))
		for i, ev := range want {
			kept[i] = proto.CloneOf(ev)
			if !b.Add(ev) {
				t.Fatalf("event %d was refused", i)
			}
			// The builder must not look at an event again.
			proto.Reset(ev)
		}
		got, err := Decode(b.Encode())
		if err != nil {
			t.Fatal(err)
		}
		same(t, kept, got)
	})
}

// sameEach fails unless Each gives, one at a time, what Decode gives.
func sameEach(t failer, data []byte) {
	t.Helper()
	want, wantErr := Decode(data)
	var got []*synclinev1.Event
	n, err := Each(data, func(e *synclinev1.Event) error {
		got = append(got, proto.CloneOf(e))
		return nil
	})
	if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
		t.Fatalf("Each: %v, and Decode: %v", err, wantErr)
	}
	if err != nil {
		return
	}
	if n != len(want) {
		t.Fatalf("Each counts %d events, and Decode returns %d", n, len(want))
	}
	same(t, want, got)
}

// TestEachIsDecode gives any events after any others to decoders that are used again: nothing of a
// chunk, and nothing of an event, may be left in the next.
func TestEachIsDecode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for range rapid.IntRange(1, 3).Draw(t, "chunks") {
			var b Builder
			for i, ev := range events.Draw(t, "all") {
				if !b.Add(ev) {
					t.Fatalf("event %d was refused", i)
				}
			}
			sameEach(t, b.Encode())
		}
	})
}

func TestEachEndsWithTheErrorOfVisit(t *testing.T) {
	var b Builder
	for _, ev := range newLab(3, true).run(2) {
		b.Add(ev)
	}
	enough := errors.New("enough")
	seen := 0
	_, err := Each(b.Encode(), func(*synclinev1.Event) error {
		if seen++; seen == 3 {
			return enough
		}
		return nil
	})
	if err != enough || seen != 3 {
		t.Errorf("%v after %d events, want that of the third", err, seen)
	}
}

// TestBuilderForgets encodes twice with one builder and once with another: nothing
// of a chunk may leak into the next, which has to stand alone.
func TestBuilderForgets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first, second := events.Draw(t, "first"), events.Draw(t, "second")
		var used, fresh Builder
		for _, ev := range first {
			used.Add(ev)
		}
		used.Encode()
		for _, ev := range second {
			used.Add(ev)
			fresh.Add(ev)
		}
		if diff := cmp.Diff(fresh.Encode(), used.Encode()); diff != "" {
			t.Fatalf("a used builder encodes differently:\n%s", diff)
		}
	})
}
