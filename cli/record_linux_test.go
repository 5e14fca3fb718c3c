package cli

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"syncline/controller/export"
)

// recordTo is where TestRecordLibrary writes its bundles.
var recordTo = flag.String("record", "", "a directory: run every scenario of the library and write NAME.syncline there")

// unrecorded are scenarios of which there is no bundle, and why.
var unrecorded = map[string]string{
	"time-wait-length": "it waits out TIME_WAIT, a minute a repetition",
}

// TestRecordLibrary runs every scenario of the library, each variant twice, or as often
// as the file needs to reproduce what it is about, and writes a bundle of each. Those in
// controller/export/testdata/library are what the tests of pictures are made from, so that
// they draw what real kernels did and are the same on every machine:
//
//	go test ./cli -run TestRecordLibrary -args -record ../controller/export/testdata/library
func TestRecordLibrary(t *testing.T) {
	if *recordTo == "" {
		t.Skip("records the bundles of the library only if it is told where: -args -record DIR")
	}
	to, err := filepath.Abs(*recordTo)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	only := flag.Args()
	q := newQueue()
	for _, s := range longestFirst() {
		if len(only) > 0 && !slices.Contains(only, s.Name) {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			if why := unrecorded[s.Name]; why != "" {
				t.Skip(why)
			}
			enter, leave := q.join()
			t.Parallel()
			enter()
			t.Cleanup(leave)
			source := library(t, s.Name)
			l := newTestLab(t, mustParse(t, source))
			run := l.passes(source, l.exp, 2)
			of := &subject{client: l.client, id: run.Id, name: run.Id}
			name := filepath.Join(to, s.Name+export.BundleSuffix)
			if err := l.operator.export(t.Context(), of, exportOptions{to: name, force: true}); err != nil {
				t.Fatal(err)
			}
		})
	}
}
