package setup

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden journal anew")

var aPlace = &place{Version: journalVersion, Boot: "b", Netns: 1, Cookie: 2}

func lines(t testing.TB, records ...record) string {
	t.Helper()
	var all strings.Builder
	for _, r := range records {
		line, err := r.line()
		if err != nil {
			t.Fatal(err)
		}
		all.Write(line)
	}
	return all.String()
}

func change(id uint64, all ...saved) record {
	return record{Made: &entry{ID: id, Setup: "s", Text: "t", Saved: all}}
}

func value(name, old string) saved {
	return saved{key: key{Kind: kindSysctl, Name: name}, Old: []string{old}}
}

// values are what the entries that stand would put back, by name.
func values(l *ledger) []map[string]string {
	var all []map[string]string
	for _, e := range l.entries {
		m := map[string]string{}
		for _, s := range e.Saved {
			m[s.Name] = strings.Join(s.Old, " ")
		}
		all = append(all, m)
	}
	return all
}

func TestJournalIsReadAsItWasWritten(t *testing.T) {
	text := lines(t, record{Place: aPlace},
		change(1, value("x", "0")),
		change(2, value("x", "1"), value("y", "7")),
		change(3, value("x", "2")),
		// x is 3 now. Without the first, the second would put back 0.
		record{Undone: 1},
		record{Undone: 3},
	)
	where, rest, err := parsePlace([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(aPlace, where); diff != "" {
		t.Errorf("place (-want +got):\n%s", diff)
	}
	l, err := parseRecords(rest)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]map[string]string{{"x": "0", "y": "7"}}, values(l)); diff != "" {
		t.Errorf("standing (-want +got):\n%s", diff)
	}
}

// A process that dies while it writes leaves the beginning of a line.
func TestJournalWithATornEnd(t *testing.T) {
	whole := lines(t, record{Place: aPlace}, change(1, value("x", "0")))
	torn := lines(t, change(2, value("y", "0")))
	for n := range len(torn) {
		_, rest, err := parsePlace([]byte(whole + torn[:n]))
		if err != nil {
			t.Fatal(err)
		}
		l, err := parseRecords(rest)
		if err != nil || len(l.entries) != 1 {
			t.Fatalf("%d bytes of the last line: %v, %v", n, l, err)
		}
	}
	for n := range len(lines(t, record{Place: aPlace})) {
		if where, _, err := parsePlace([]byte(whole[:n])); where != nil || err != nil {
			t.Fatalf("%d bytes of the first line: %v, %v", n, where, err)
		}
	}
}

// TestGoldenJournal reads the journal of version 1 as it was written once, with every kind of
// thing in it that an agent changes, and writes the same.
func TestGoldenJournal(t *testing.T) {
	all := []record{{Place: &place{Version: 1, Boot: "4c9a1a47-1b52-4f3c-9d0e-6a1c8f2b7e55", Netns: 4026531840, Cookie: 1}}}
	for i, kind := range kinds {
		all = append(all, change(uint64(i)+1, saved{key: key{Kind: kind, Link: 3, Name: "of " + string(kind)}, Old: []string{"before"}, Watched: i%2 == 1}))
	}
	all = append(all, record{Undone: 1})
	name := filepath.Join("testdata", fmt.Sprintf("journal.v%d", journalVersion))
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(name, []byte(lines(t, all...)), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(golden), lines(t, all...)); diff != "" {
		t.Errorf("a journal of version 1 is written in another way (-was +is):\n%s", diff)
	}
	where, rest, err := parsePlace(golden)
	if err != nil || where.Netns != 4026531840 {
		t.Fatalf("%+v, %v", where, err)
	}
	if l, err := parseRecords(rest); err != nil || len(l.entries) != len(kinds)-1 {
		t.Errorf("%+v, %v", l, err)
	}
}

// TestNewerJournal: a journal of a later version is not called damaged, whatever else it says.
func TestNewerJournal(t *testing.T) {
	_, _, err := parsePlace([]byte(`{"place":{"version":2,"boot":"b","namespace":{"inode":1}},"more":1}` + "\n"))
	if !errors.Is(err, errNewer) || errors.Is(err, errDamaged) || !strings.Contains(err.Error(), "version 2, this program reads 1") {
		t.Errorf("%v", err)
	}
}

func TestDamagedJournals(t *testing.T) {
	head := lines(t, record{Place: aPlace})
	one := lines(t, change(1, value("x", "0")))
	for _, row := range []struct{ name, text, want string }{
		{"rubbish at the beginning", "rubbish\n", "line 1"},
		{"no place", one, "line 1"},
		{"of no version", `{"place":{"boot":"b","netns":1}}` + "\n", "version 0"},
		{"a field of a later version", head + `{"made":{"id":1,"text":"t","saved":[],"colour":"red"}}` + "\n", "colour"},
		{"rubbish in the middle", head + "\x00\x00\n" + one, "line 2"},
		{"an empty line", head + "\n", "line 2"},
		{"nothing in a record", head + "{}\n", "0 kinds"},
		{"two in a record", head + `{"undone":1,"place":{"version":1,"boot":"","netns":0}}` + "\n", "2 kinds"},
		{"two values", head + `{"undone":1} {}` + "\n", "more than one"},
		{"two beginnings", head + head, "second beginning"},
		{"announced twice", head + one + one, "announced twice"},
		{"never announced", head + `{"undone":7}` + "\n", "does not stand"},
		{"no number", head + lines(t, change(0, value("x", "0"))), "without a number"},
		{"unknown kind", head + lines(t, change(1, saved{key: key{Kind: "moon"}})), `"moon"`},
		{"saved twice", head + lines(t, change(1, value("x", "0"), value("x", "1"))), "saved twice"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, rest, err := parsePlace([]byte(row.text))
			if err == nil {
				_, err = parseRecords(rest)
			}
			if !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v, want %q", err, row.want)
			}
		})
	}
}

// What is watched is put back in any case, and the newer change that watches it too
// learns of it.
func TestWatchedThings(t *testing.T) {
	watched := value("x", "1")
	watched.Watched = true
	owner := &entry{ID: 1, Saved: []saved{value("x", "0")}}
	watcher := &entry{ID: 2, Saved: []saved{watched, value("link", "up")}}
	newest := &entry{ID: 3, Saved: []saved{value("x", "1")}}
	l := &ledger{entries: []*entry{owner, watcher, newest}}

	back, pass := l.undoing(owner)
	if len(back) != 0 || len(pass) != 2 {
		t.Errorf("%d put back, %d handed over; want 0, 2: the newest has the value", len(back), len(pass))
	}
	l.entries = l.entries[:2]
	back, pass = l.undoing(owner)
	if len(back) != 1 || !back[0].Covered {
		t.Errorf("put back %v; want x, which a newer change watches", back)
	}
	l.undone(owner, pass)
	if diff := cmp.Diff([]map[string]string{{"x": "0", "link": "up"}}, values(l)); diff != "" {
		t.Errorf("standing (-want +got):\n%s", diff)
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(lines(f, record{Place: aPlace}, change(1, value("x", "0")), change(2, value("x", "1")), record{Undone: 1})))
	f.Add([]byte(lines(f, record{Place: aPlace}, change(1, saved{key: key{Kind: kindRoute, Link: 3, Name: "n"}, Watched: true}))))
	f.Add([]byte("{}\n"))
	f.Add([]byte(`{"place":{"version":2}}` + "\n"))
	golden, err := os.ReadFile(filepath.Join("testdata", "journal.v1"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Fuzz(func(t *testing.T, text []byte) {
		where, rest, err := parsePlace(text)
		if err != nil || where == nil {
			return
		}
		l, err := parseRecords(rest)
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Errorf("an error that says nothing of damage: %v", err)
			}
			return
		}
		// What stands can be written anew and reads the same.
		again := []record{{Place: where}}
		for _, e := range l.entries {
			again = append(again, record{Made: e})
		}
		_, rest, err = parsePlace([]byte(lines(t, again...)))
		if err != nil {
			t.Fatal(err)
		}
		l2, err := parseRecords(rest)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(values(l), values(l2)); diff != "" {
			t.Errorf("written anew (-was +is):\n%s", diff)
		}
	})
}
