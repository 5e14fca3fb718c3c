package spool

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata of the present version of the format")

// sample is a spool with one stream: chunk 1 is acknowledged, 2 and 3 are kept, and it has
// ended. Where it is not all zeros it is small.
func sample(t *testing.T) *faulty {
	fs := newFaulty()
	s := mustOpen(t, Config{FS: fs, SegmentBytes: minSegment})
	st := mustBegin(t, s, vm1)
	must(t, st.Append(chunkOf(1, 30), chunkOf(2, 30)))
	st.Acknowledge(1, 10)
	must(t, st.Append(chunkOf(3, 30)))
	must(t, st.Finish(End{LastEvent: 30, LastChunk: 3, Error: "the controller was lost", Gap: "events after 30"}))
	must(t, s.Close())
	return fs
}

// The bytes of version 1 are what they were, and can be read. Every later version has to
// read them too.
func TestGolden(t *testing.T) {
	name := filepath.Join("testdata", fmt.Sprintf("v%d.txt", version))
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(name, []byte(dump(sample(t))), 0o644))
	}
	files, err := filepath.Glob("testdata/v*.txt")
	if err != nil || len(files) < version {
		t.Fatalf("samples %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		if file == name && string(text) != dump(sample(t)) {
			t.Errorf("%s is not what is written now: raise the version", file)
		}
		s := mustOpen(t, Config{FS: load(t, string(text))})
		st := s.Streams()[0]
		if st.Identity != vm1 || st.Acknowledged() != 1 || len(s.Holes()) > 0 || len(st.Missing()) > 0 {
			t.Errorf("%s holds %+v; holes %v, missing %v", file, st, s.Holes(), st.Missing())
		}
		wantChunks(t, st, 30, 2, 3)
		if end, ok := st.End(); !ok || end != (End{LastEvent: 30, LastChunk: 3, Error: "the controller was lost", Gap: "events after 30"}) {
			t.Errorf("%s ends as %+v", file, end)
		}
	}
}

// dump is every file that is not empty, as hexdump -C writes it, less lines of zeros.
func dump(fs *faulty) string {
	var b strings.Builder
	b.WriteString("A stream of run r-1: chunk 1 is acknowledged, 2 and 3 are kept, and it has ended.\nLines of zeros are left out.\n")
	for _, name := range slices.Sorted(maps.Keys(fs.names)) {
		content := fs.names[name].now
		fmt.Fprintf(&b, "\n%s %d\n", name, len(content))
		for line := range strings.Lines(hex.Dump(content)) {
			if !zeros.MatchString(line) {
				b.WriteString(line)
			}
		}
	}
	return b.String()
}

var (
	zeros = regexp.MustCompile(`^[0-9a-f]{8}( +00)+ +\|`)
	title = regexp.MustCompile(`^([0-9a-f-]+\.(?:head|segment)) (\d+)$`)
	row   = regexp.MustCompile(`^([0-9a-f]{8}) ((?: +[0-9a-f]{2})+) +\|`)
)

// load reads what dump has written.
func load(t *testing.T, text string) *faulty {
	fs := newFaulty()
	var at *disk
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := title.FindStringSubmatch(line); m != nil {
			var size int64
			_, err := fmt.Sscan(m[2], &size)
			must(t, err)
			at = &disk{name: m[1], now: make([]byte, size)}
			fs.names[m[1]] = at
			continue
		}
		m := row.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		var offset int
		_, err := fmt.Sscanf(m[1], "%x", &offset)
		b, err2 := hex.DecodeString(strings.ReplaceAll(m[2], " ", ""))
		must(t, errors.Join(err, err2))
		copy(at.now[offset:], b)
	}
	return fs
}
