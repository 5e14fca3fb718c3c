package experiment

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReference(t *testing.T) {
	if *update {
		if err := os.WriteFile("LANGUAGE.md", []byte(Reference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("LANGUAGE.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), Reference()); diff != "" {
		t.Errorf("LANGUAGE.md is not what the tables say; run go test -update (-want +got):\n%s", diff)
	}
}
