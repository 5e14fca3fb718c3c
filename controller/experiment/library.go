package experiment

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
)

//go:embed library/*.yaml
var library embed.FS

// Scenario is one shipped experiment.
type Scenario struct {
	// Name is what Open takes, and the experiment's own name.
	Name string
	// Topic, Class and Needs say where it belongs and what it takes, see Experiment.
	Topic, Class string
	Needs        []string
	// About is one sentence or two of what it shows, Remember the one sentence to
	// remember, Refs the standards and man pages that say so.
	About, Remember string
	Refs            []string
}

// Library lists the shipped experiments, by name. The slice is the caller's.
func Library() []Scenario { return slices.Clone(scenarios()) }

var scenarios = sync.OnceValue(func() []Scenario {
	var all []Scenario
	for _, name := range libraryNames() {
		source, _ := Open(name)
		e, err := Parse(source, Options{FileName: name})
		if err != nil {
			panic(fmt.Sprintf("the shipped experiment %s: %v", name, err)) // a test parses all
		}
		all = append(all, Scenario{
			Name: name, Topic: e.Topic, Class: e.Class, Needs: e.Needs,
			About: e.About, Remember: e.Remember, Refs: e.Refs,
		})
	}
	return all
})

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
