package controller

import (
	"encoding/json"
	goflag "flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"syncline/controller/export"
	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

var writeKept = goflag.Bool("controller.kept", false, "write testdata/kept again, which may not be done once it was released")

// TestGoldenKept reads what the log keeps with a run and this package makes something of, as it was
// written once: what a measurement came to, and what a host was like. Beside each is the
// same as text.
func TestGoldenKept(t *testing.T) {
	overhead := &synclinev1.Overhead{
		Variant: "base", Rounds: 3, RoundsDone: 3, First: 11, Last: 28,
		Settings: []*synclinev1.OverheadSetting{{Name: bareSetting, Resting: 0.01, Events: 120}, {Name: allSetting, Resting: 0.02, Events: 480}},
	}
	environment := environmentOf("sysctl", "net.ipv4.tcp_fin_timeout", "60")
	for name, kept := range map[string]struct {
		message, empty proto.Message
		write          func() ([]byte, error)
		read           func([]byte) proto.Message
	}{
		"overhead.v1": {overhead, &synclinev1.Overhead{},
			func() ([]byte, error) { return overheadToStore(overhead), nil },
			func(b []byte) proto.Message { return overheadFromStore(b) }},
		"environment.v1": {environment, &synclinev1.Environment{},
			func() ([]byte, error) { e, err := environmentToStore("A", environment); return e.Data, err },
			func(b []byte) proto.Message { return environmentFromStore(store.Environment{Host: "A", Data: b}) }},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", "kept", name)
			if *writeKept {
				b, err := kept.write()
				if err == nil {
					err = os.WriteFile(file, b, 0o644)
				}
				if err == nil {
					err = os.WriteFile(file+".txtpb", []byte(prototext.MarshalOptions{Multiline: true}.Format(kept.message)), 0o644)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(file + ".txtpb")
			if err != nil {
				t.Fatal(err)
			}
			want := kept.empty
			if err := prototext.Unmarshal(text, want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, kept.read(b), protocmp.Transform()); diff != "" {
				t.Errorf("it is read in another way (-was +is):\n%s", diff)
			}
			if diff := cmp.Diff(want, kept.message, protocmp.Transform()); diff != "" {
				t.Errorf("the sample is not of all that there is (-was +is):\n%s", diff)
			}
		})
	}
}

// FuzzOverheadFromStore: whatever the log holds of a measurement is one, or says why it is none.
func FuzzOverheadFromStore(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "kept", "overhead.v1"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte("no message"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := overheadFromStore(b)
		if (got == nil) != (len(b) == 0) {
			t.Fatalf("%q is read as %v", b, got)
		}
		if got == nil {
			return
		}
		if diff := cmp.Diff(got, overheadFromStore(overheadToStore(got)), protocmp.Transform(), cmpopts.EquateNaNs()); diff != "" && proto.Size(got) > 0 {
			t.Errorf("it is read, written and read as another one:\n%s", diff)
		}
	})
}

// FuzzRecord: whatever a bundle says of its run is a run that a store could have kept, which is
// written again as the same, or it is refused.
func FuzzRecord(f *testing.F) {
	runs := rapid.Custom(drawRun)
	for seed := range 5 {
		run := runs.Example(seed)
		text, err := recordJSON(run)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"run":{"id":"r-1","state":"RUN_STATE_SEALED","seal":"AA=="}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var of struct {
			Run struct {
				ID string `json:"id"`
			} `json:"run"`
		}
		// What names no run in this way is refused by the manifest alone.
		_ = json.Unmarshal(text, &of)
		b := &export.Bundle{Manifest: export.Manifest{Run: of.Run.ID}, Record: text}
		run, err := recordOf(b)
		if err != nil {
			return
		}
		again, err := recordJSON(run)
		if err != nil {
			t.Fatalf("it is read, and cannot be written: %v", err)
		}
		same, err := recordOf(&export.Bundle{Manifest: b.Manifest, Record: again})
		if err != nil {
			t.Fatalf("it is read, written, and not read again: %v", err)
		}
		if diff := cmp.Diff(run, same, cmpopts.IgnoreUnexported(store.Run{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}
