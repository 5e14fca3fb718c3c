package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMutantsApply holds the deliberate bugs of `make mutants` against the source: each is for what
// is there now, and says which tests of which package find it.
func TestMutantsApply(t *testing.T) {
	patches, err := filepath.Glob(filepath.Join("testdata", "mutants", "*.patch"))
	if err != nil {
		t.Fatal(err)
	}
	if len(patches) != 10 {
		t.Errorf("there are %d deliberate bugs, want 10", len(patches))
	}
	for _, patch := range patches {
		t.Run(filepath.Base(patch), func(t *testing.T) {
			text, err := os.ReadFile(patch)
			if err != nil {
				t.Fatal(err)
			}
			for _, field := range []string{"\npackage: ./", "\ntests: ^"} {
				if !strings.Contains(string(text), field) {
					t.Errorf("it has no line that begins with %q", strings.TrimSpace(field))
				}
			}
			check := exec.Command("git", "apply", "--check", "--verbose", filepath.Join("cli", patch))
			check.Dir = ".."
			if said, err := check.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, said)
			}
		})
	}
}
