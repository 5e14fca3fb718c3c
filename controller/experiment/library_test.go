package experiment

import "testing"

func TestLibrary(t *testing.T) {
	entries := Library()
	if len(entries) == 0 {
		t.Fatal("the library is empty")
	}
	for _, e := range entries {
		t.Run(e.Name, func(t *testing.T) {
			source, ok := Open(e.Name)
			if !ok {
				t.Fatal("cannot be opened")
			}
			exp, err := Parse(source, Options{FileName: e.Name + ".yaml"})
			if err != nil {
				t.Fatal(err)
			}
			if exp.Name != e.Name {
				t.Errorf("the experiment is called %q, its file %q", exp.Name, e.Name)
			}
			if e.About == "" || len(exp.Refs) == 0 || len(exp.Expect) == 0 {
				t.Errorf("about, refs and expect are given in every shipped file")
			}
			if source[0] != '#' {
				t.Errorf("the file does not open with a comment")
			}
		})
	}
}

func TestOpenNothing(t *testing.T) {
	for _, name := range []string{"", "no-such", "../library", "basic-open-close.yaml"} {
		if _, ok := Open(name); ok {
			t.Errorf("Open(%q) found a file", name)
		}
	}
}
