// Package syncline_test holds the whole module to its design: which directories
// there are, who may import whom, what the pure packages keep their hands off.
// It reads the source of every build, whatever the system it runs on.
package syncline_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "syncline"

// pure are the packages that compute and do nothing else: the same input gives
// the same output on every node, at any time.
var pure = []string{"controller/experiment", "controller/clock", "controller/timeline", "controller/statistics", "controller/export", "controller/web", "cli/chaos"}

// source is what one directory's Go files, tests apart, say.
type source struct {
	name    string
	doc     string
	files   []*ast.File
	imports map[string]bool
}

// sources reads the module, by directory relative to its root.
func sources(t *testing.T) (map[string]*source, *token.FileSet) {
	t.Helper()
	all, fset := make(map[string]*source), token.NewFileSet()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (hidden(d.Name()) || d.Name() == "testdata" || d.Name() == "node_modules"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		// Programs that only generate code are no part of the product.
		if ignored(file) {
			return nil
		}
		dir := filepath.ToSlash(filepath.Dir(name))
		if all[dir] == nil {
			all[dir] = &source{name: file.Name.Name, imports: make(map[string]bool)}
		}
		all[dir].add(file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if all["deploy/netlab"] == nil {
		t.Fatal("the test does not run at the module's root")
	}
	return all, fset
}

func hidden(name string) bool { return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") }

func ignored(file *ast.File) bool {
	for _, group := range file.Comments {
		for _, c := range group.List {
			if c.Pos() < file.Package && c.Text == "//go:build ignore" {
				return true
			}
		}
	}
	return false
}

func (s *source) add(file *ast.File) {
	s.files = append(s.files, file)
	s.doc += file.Doc.Text()
	for _, i := range file.Imports {
		if p, err := strconv.Unquote(i.Path.Value); err == nil {
			s.imports[p] = true
		}
	}
}

// reach is every import of a package, by way of the module's own packages, with the
// package that has it.
func reach(all map[string]*source, dir string) map[string]string {
	found := make(map[string]string)
	todo := []string{dir}
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		if all[at] == nil {
			continue
		}
		for i := range all[at].imports {
			if found[i] != "" {
				continue
			}
			found[i] = at
			if own, ok := strings.CutPrefix(i, module+"/"); ok {
				todo = append(todo, own)
			}
		}
	}
	return found
}

// under reports whether an import path or directory is root or below it.
func under(p, root string) bool { return p == root || strings.HasPrefix(p, root+"/") }

func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for _, e := range entries {
		// bin is what make build leaves; git does not know it.
		if e.IsDir() && !hidden(e.Name()) && e.Name() != "bin" {
			dirs = append(dirs, e.Name())
		}
	}
	if diff := cmp.Diff([]string{"agent", "cli", "controller", "deploy", "proto"}, dirs); diff != "" {
		t.Errorf("top level directories (-want +got):\n%s", diff)
	}
}

func TestArrows(t *testing.T) {
	all, _ := sources(t)
	for _, arrow := range []struct{ from, to, reason string }{
		{"agent", "syncline/controller", "agents and controllers know each other by the contract alone"},
		{"controller", "syncline/agent", "agents and controllers know each other by the contract alone"},
		{"agent", "syncline/cli", "the command line wires, nothing builds on it"},
		{"controller", "syncline/cli", "the command line wires, nothing builds on it"},
		{"agent", "syncline/deploy", "the product does not know how it was deployed"},
		{"controller", "syncline/deploy", "the product does not know how it was deployed"},
		{"agent/spool", "syncline/proto", "a spool keeps bytes, whatever they say"},
		{"proto", "syncline/agent", "the contract depends on neither side"},
		{"proto", "syncline/controller", "the contract depends on neither side"},
		{"proto", "syncline/cli", "the contract depends on neither side"},
		{"deploy", "syncline/agent", "a lab runs whatever it is told to run"},
		{"deploy", "syncline/controller", "a lab runs whatever it is told to run"},
		{"deploy", "syncline/cli", "a lab runs whatever it is told to run"},
	} {
		for dir := range all {
			if !under(dir, arrow.from) {
				continue
			}
			for imported, by := range reach(all, dir) {
				if under(imported, arrow.to) {
					t.Errorf("%s imports %s (in %s): %s", dir, imported, by, arrow.reason)
				}
			}
		}
	}
}

func TestOnlyImporters(t *testing.T) {
	all, _ := sources(t)
	for _, rule := range []struct{ library, importer string }{
		{"github.com/hashicorp/raft", "controller/store"},
		{"github.com/hashicorp/raft-boltdb", "controller/store"},
		{"go.etcd.io/bbolt", "controller/store"},
		{"github.com/spf13/cobra", "cli"},
		{"charm.land/bubbletea", "cli"},
		{"github.com/vishvananda/netns", "deploy/netlab"},
		{"github.com/parquet-go/parquet-go", "controller/table"},
		{"gocloud.dev", "controller/archive"},
	} {
		for dir, s := range all {
			for i := range s.imports {
				if under(i, rule.library) && !under(dir, rule.importer) {
					t.Errorf("%s imports %s, which is for %s alone", dir, i, rule.importer)
				}
			}
		}
	}
}

// impure are imports by which a package could see or change the world. Writing to an
// io.Writer that the caller gives is fine; so are files embedded at build time, and net/netip.
var impure = []string{
	"google.golang.org", "github.com/hashicorp", "github.com/spf13", "golang.org/x/sys", "golang.org/x/net",
	"syncline/proto", "os", "syscall", "io/ioutil", "log", "math/rand", "crypto/rand", "plugin", "runtime/debug",
}

func TestPurePackagesTouchNothing(t *testing.T) {
	all, fset := sources(t)
	for _, dir := range pure {
		for imported, by := range reach(all, dir) {
			forbidden := slices.ContainsFunc(impure, func(root string) bool { return under(imported, root) })
			if forbidden || under(imported, "net") && imported != "net/netip" && imported != "net/url" {
				t.Errorf("%s is pure and imports %s (in %s)", dir, imported, by)
			}
		}
		if all[dir] == nil {
			continue
		}
		for _, file := range all[dir].files {
			for _, use := range clockUses(file) {
				t.Errorf("%v: %s is pure and reads a clock of the host", fset.Position(use), dir)
			}
		}
	}
}

// clockUses are the places where a file asks what time it is or waits for one.
func clockUses(file *ast.File) []token.Pos {
	reads := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
	local := "time"
	for _, i := range file.Imports {
		if i.Path.Value == `"time"` && i.Name != nil {
			local = i.Name.Name
		}
	}
	var found []token.Pos
	ast.Inspect(file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := selector.X.(*ast.Ident); ok && x.Name == local && slices.Contains(reads, selector.Sel.Name) {
			found = append(found, n.Pos())
		}
		return true
	})
	return found
}

func TestPackageNamesSayWhatIsInside(t *testing.T) {
	all, _ := sources(t)
	drawers := []string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "lib", "base", "types", "pkg", "internal"}
	for dir, s := range all {
		for _, name := range append(strings.Split(dir, "/"), s.name) {
			if slices.Contains(drawers, name) {
				t.Errorf("%s: a package named %s says nothing", dir, name)
			}
		}
		if s.name != "main" && !generated(s) && s.name != strings.ReplaceAll(path.Base(dir), "-", "") {
			t.Errorf("%s holds package %s; the directory should have its name", dir, s.name)
		}
	}
}

func TestPackagesHaveAComment(t *testing.T) {
	all, _ := sources(t)
	for _, dir := range slices.Sorted(maps.Keys(all)) {
		s := all[dir]
		if generated(s) {
			continue
		}
		opening := "Package " + s.name + " "
		if s.name == "main" {
			opening = "Command " + path.Base(dir) + " "
		}
		if !strings.HasPrefix(s.doc, opening) {
			t.Errorf("%s: the package comment begins with %.30q, want %q", dir, s.doc, opening)
		}
	}
}

// generated reports whether every file of a package is generated.
func generated(s *source) bool {
	return !slices.ContainsFunc(s.files, func(f *ast.File) bool { return !ast.IsGenerated(f) })
}

// TestRulesBite shows each reader of source a violation.
func TestRulesBite(t *testing.T) {
	const text = `package p
import (
	clock "time"
	"syncline/b"
)
func f() { clock.Sleep(clock.Until(clock.Now())); _ = clock.Second; b.Now() }
`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", text, 0)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(clockUses(file)); n != 3 {
		t.Errorf("clockUses finds %d uses of a clock, want 3", n)
	}
	a, b := &source{imports: map[string]bool{}}, &source{imports: map[string]bool{"os": true, "syncline/a": true}}
	a.add(file)
	want := map[string]string{"time": "a", "syncline/b": "a", "os": "b", "syncline/a": "b"}
	if diff := cmp.Diff(want, reach(map[string]*source{"a": a, "b": b}, "a")); diff != "" {
		t.Errorf("reach (-want +got):\n%s", diff)
	}
}
