package experiment

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

//go:embed library/*.yaml
var library embed.FS

// Entry is one shipped experiment.
type Entry struct {
	// Name is what Open takes, and the experiment's own name.
	Name string
	// About is one sentence or two of what it shows.
	About string
}

// Library lists the shipped experiments, by name.
func Library() []Entry {
	var entries []Entry
	for _, name := range libraryNames() {
		source, _ := Open(name)
		exp, err := Parse(source, Options{FileName: name})
		if err != nil {
			panic(fmt.Sprintf("the shipped experiment %s: %v", name, err)) // a test parses all
		}
		entries = append(entries, Entry{Name: name, About: exp.About})
	}
	return entries
}

func libraryNames() []string {
	files, err := fs.Glob(library, "library/*.yaml")
	if err != nil {
		panic(err) // the pattern is malformed
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(path.Base(f), ".yaml")
	}
	return files
}

// Open returns the file of a shipped experiment. For a name that is not there,
// Closest tells what was meant.
func Open(name string) (source []byte, ok bool) {
	if !experimentName.MatchString(name) {
		return nil, false
	}
	source, err := library.ReadFile("library/" + name + ".yaml")
	return source, err == nil
}
