package syncline_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// format is a row of the table of files in CONTRIBUTING.md.
type format struct {
	file     string
	packages []string
	version  string
	samples  string
	fuzz     string
	newer    string
}

var quoted = regexp.MustCompile("`([^`]+)`")

func words(cell string) (all []string) {
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		all = append(all, m[1])
	}
	return all
}

func formats(t *testing.T) (all []format) {
	t.Helper()
	text, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## Files on disks\n")
	section, _, ends := strings.Cut(section, "\n## ")
	if !ok || !ends {
		t.Fatal("CONTRIBUTING.md has no section of files on disks")
	}
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| file |") {
			continue
		}
		if len(cells) != 6 {
			t.Fatalf("%d cells, want 6: %s", len(cells), line)
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		all = append(all, format{cells[0], words(cells[1]), cells[2], cells[3], cells[4], cells[5]})
	}
	return all
}

// none reports whether a cell says why there is nothing.
func none(cell string) bool {
	why, is := strings.CutPrefix(cell, "none: ")
	return is && why != ""
}

// TestFormats holds the table of files against what there is: a sample of each that can be read,
// and a fuzz target of its reader.
func TestFormats(t *testing.T) {
	all := formats(t)
	if len(all) < 20 {
		t.Fatalf("%d rows: the table was not understood", len(all))
	}
	for _, f := range all {
		if len(f.packages) == 0 || f.version == "" || f.newer == "" {
			t.Errorf("%s: package %q, version %q, a newer one %q", f.file, f.packages, f.version, f.newer)
			continue
		}
		dir := f.packages[0]
		samples, targets := words(f.samples), words(f.fuzz)
		if len(samples) == 0 && !none(f.samples) {
			t.Errorf("%s has no sample, and nothing says why: %q", f.file, f.samples)
		}
		if len(targets) == 0 && !none(f.fuzz) {
			t.Errorf("%s has no fuzz target, and nothing says why: %q", f.file, f.fuzz)
		}
		for _, pattern := range samples {
			found, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil || len(found) == 0 {
				t.Errorf("%s: there is no sample %s (%v)", f.file, path.Join(dir, pattern), err)
			}
			for _, name := range found {
				if info, err := os.Stat(name); err != nil || info.Size() == 0 {
					t.Errorf("%s: the sample %s is empty (%v)", f.file, name, err)
				}
			}
		}
		have := fuzzTargets(t, dir)
		for _, target := range targets {
			if !have[target] {
				t.Errorf("%s: package %s has no fuzz target %s", f.file, dir, target)
			}
		}
	}
}

// fuzzTargets are those of a package.
func fuzzTargets(t *testing.T, dir string) map[string]bool {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, name := range names {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Fuzz") {
				all[f.Name.Name] = true
			}
		}
	}
	return all
}

// makers are the source files with calls that make a file on a disk, and how many they have.
// One more call is a file more: it belongs into the table in CONTRIBUTING.md, with all that the
// table asks for, and then here.
var makers = map[string]int{
	"agent/setup/file_linux.go":          3, // lock, journal, the journal written anew
	"agent/spool/fs_system.go":           2, // segments and heads, lock
	"cli/cluster_snapshot.go":            1, // a backup
	"cli/demo.go":                        1, // logs
	"cli/export.go":                      2, // newFile; a bundle
	"cli/place.go":                       2, // makeBeside
	"cli/report.go":                      1,
	"cli/view_ask.go":                    1, // a saved ladder
	"controller/archive/cache.go":        1,
	"controller/authority/authority.go":  2, // an authority's certificate and key
	"controller/authority/files.go":      5, // certificates and keys
	"controller/store/checkedlog.go":     1, // log.db
	"controller/store/chunkfile.go":      1,
	"controller/store/dir.go":            1, // id
	"controller/store/disk.go":           2, // putFile
	"controller/store/fault.go":          1, // failed
	"controller/store/identity.go":       2, // disk.uuid, cluster
	"controller/store/inventory.go":      1,
	"controller/store/lock_unix.go":      1,
	"controller/store/restore.go":        1, // restoring
	"controller/store/snapshot_store.go": 2, // meta.json, state.bin
}

// TestFilesThatAreMade: nobody makes a file that is not in the table.
func TestFilesThatAreMade(t *testing.T) {
	all, fset := sources(t)
	got := map[string]int{}
	packages := map[string]bool{}
	for dir, s := range all {
		if dir == "deploy" || strings.HasPrefix(dir, "deploy/") {
			continue
		}
		for _, file := range s.files {
			name := filepath.ToSlash(fset.Position(file.Pos()).Filename)
			ast.Inspect(file, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok && makes(call) {
					got[name]++
					packages[dir] = true
				}
				return true
			})
		}
	}
	if diff := cmp.Diff(makers, got); diff != "" {
		t.Errorf("who makes files (-known +is): put a new file into the table of CONTRIBUTING.md, and its maker into this list\n%s", diff)
	}
	listed := map[string]bool{}
	for _, f := range formats(t) {
		for _, p := range f.packages {
			listed[p] = true
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		if !listed[dir] {
			t.Errorf("package %s makes files, and the table of CONTRIBUTING.md has none of it", dir)
		}
	}
}

// makes reports whether a call makes a file: one of the library, or one of those of this module
// that do it for others.
func makes(call *ast.CallExpr) bool {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return slices.Contains([]string{"putFile", "writeFile", "writeNew", "replace", "newFile", "makeBeside"}, f.Name)
	case *ast.SelectorExpr:
		of, _ := f.X.(*ast.Ident)
		switch {
		case of != nil && of.Name == "os" && slices.Contains([]string{"Create", "CreateTemp", "WriteFile"}, f.Sel.Name):
			return true
		case of != nil && of.Name == "raftboltdb" && f.Sel.Name == "New":
			return true
		}
	}
	// os.OpenFile, and whatever passes its flags on.
	return slices.ContainsFunc(call.Args, mentionsCreate)
}

func mentionsCreate(arg ast.Expr) (is bool) {
	ast.Inspect(arg, func(n ast.Node) bool {
		if _, inner := n.(*ast.CallExpr); inner {
			return false
		}
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "O_CREATE" {
			is = true
		}
		return !is
	})
	return is
}
