package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	synclinev1 "syncline/proto/syncline/v1"
)

// TestClusterStatus draws what a controller has answered. Each file has a sentence, the answer,
// and what people and programs are shown of it.
func TestClusterStatus(t *testing.T) {
	files, err := filepath.Glob("testdata/cluster/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			sentence, sections := splitSections(string(raw))
			if sentence == "" || len(sections) == 0 || sections[0].name != "answer" {
				t.Fatalf("%s: wants a sentence that says what it shows, then a section \"answer\"", path)
			}
			var answer synclinev1.GetClusterResponse
			if err := protojson.Unmarshal([]byte(sections[0].body), &answer); err != nil {
				t.Fatal(err)
			}
			var table, encoded bytes.Buffer
			if err := writeCluster(&table, &answer); err != nil {
				t.Fatal(err)
			}
			if err := writeJSON(&encoded, &answer, true); err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprintf("%s\n-- answer --\n%s-- table --\n%s-- json --\n%s", strings.TrimSpace(sentence), sections[0].body, &table, &encoded)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(raw) {
				t.Errorf("it is shown as\n%s\nwant\n%s\n(-update writes it)", got, raw)
			}
		})
	}
}

// TestDone: what a command has done is one line for people, and the same for programs.
func TestDone(t *testing.T) {
	for _, tc := range []struct {
		done any
		want string
	}{
		{clusterBegun{Cluster: "lab-1", Node: "ctl1", Data: "d1"}, "{\n  \"cluster\": \"lab-1\",\n  \"node\": \"ctl1\",\n  \"data\": \"d1\"\n}\n"},
		{nodeRemoved{Removed: "ctl2"}, "{\n  \"removed\": \"ctl2\"\n}\n"},
		{leadershipMoved{From: "ctl1"}, "{\n  \"from\": \"ctl1\"\n}\n"},
		{leadershipMoved{To: "ctl1"}, "{\n  \"to\": \"ctl1\"\n}\n"},
	} {
		for format, want := range map[string]string{"json": tc.want, "text": "a line\n"} {
			var b bytes.Buffer
			if err := writeDone(&b, format, "a line", tc.done); err != nil || b.String() != want {
				t.Errorf("%s of %+v is %q, %v; want %q", format, tc.done, b.String(), err, want)
			}
		}
	}
}
