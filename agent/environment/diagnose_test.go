package environment

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Each file of testdata/diagnose opens with a sentence on the host, goes on with what
// it told, and ends with what is found in that.
func TestDiagnoses(t *testing.T) {
	files, err := filepath.Glob("testdata/diagnose/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	const line = "----\n"
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := strings.SplitN(string(raw), line, 3)
			if len(parts) < 2 {
				t.Fatalf("%s has no line of four hyphens", file)
			}
			env := told(t, strings.Split(strings.TrimSpace(parts[1]), "\n")...)
			var b strings.Builder
			for _, f := range Diagnose(env) {
				fmt.Fprintf(&b, "%-8s %s: %s\n", f.Grade, f.Name, f.Said)
				if f.Remedy != "" {
					fmt.Fprintf(&b, "         -> %s\n", f.Remedy)
				}
			}
			got := parts[0] + line + parts[1] + line + b.String()
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(raw), got); diff != "" {
				t.Errorf("%s (-golden +got):\n%s", file, diff)
			}
		})
	}
}
