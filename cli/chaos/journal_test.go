package chaos

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

var sample = []Record{
	{Verb: Started, Run: "r-1", Agent: "gen1", Incarnation: 1, Repetition: 1, Lane: "g", Epoch: 1},
	{Verb: Wrote, Run: "r-1", Agent: "gen1", Incarnation: 1, Sequence: 1, FirstEvent: 1, Events: 4000, SHA256: strings.Repeat("0f", 32)},
	{Verb: Acked, Run: "r-1", Agent: "gen1", Incarnation: 1, Sequence: 1},
	{Verb: Wrote, Run: "r-1", Agent: "gen1", Incarnation: 1, Sequence: 2, FirstEvent: 4001, Events: 10, SHA256: strings.Repeat("a5", 32)},
	{Verb: Rejected, Run: "r-1", Agent: "gen1", Incarnation: 1, Sequence: 2, Reason: "the run is sealed"},
	{Verb: Finished, Run: "r-1", Agent: "gen1", Incarnation: 1, Sequence: 2, LastEvent: 4010},
}

func journalOf(t testing.TB, all []Record) []byte {
	t.Helper()
	b := []byte(JournalHeader)
	for _, r := range all {
		var err error
		if b, err = AppendRecord(b, r); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func read(b []byte) (all []Record, err error) {
	err = ReadJournal(bytes.NewReader(b), func(r Record) error { all = append(all, r); return nil })
	return all, err
}

func TestJournalIsAsItWas(t *testing.T) {
	golden := filepath.Join("testdata", "journal-1.txt")
	if *update {
		if err := os.WriteFile(golden, journalOf(t, sample), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	was, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(was), string(journalOf(t, sample))); diff != "" {
		t.Errorf("a journal of version 1 is written in another way (-was +is):\n%s", diff)
	}
	got, err := read(was)
	if diff := cmp.Diff(sample, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestTornAndDamagedJournals(t *testing.T) {
	whole := journalOf(t, sample)
	for cut := len(whole) - 1; cut > len(JournalHeader); cut-- {
		got, err := read(whole[:cut])
		atEnd := whole[cut-1] == '\n'
		if atEnd != (err == nil) || !atEnd && !errors.Is(err, ErrTorn) {
			t.Fatalf("cut after %d bytes: %v", cut, err)
		}
		if diff := cmp.Diff(sample[:len(got)], append([]Record{}, got...)); diff != "" {
			t.Fatalf("cut after %d bytes:\n%s", cut, diff)
		}
	}
	for at := range whole {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 0x10
		if _, err := read(damaged); err == nil {
			t.Errorf("a bit of byte %d is wrong, and nobody says so", at)
		}
	}
}

func FuzzReadJournal(f *testing.F) {
	f.Add(journalOf(f, sample))
	f.Add([]byte(JournalHeader + "00000000 {}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := read(b)
		if err != nil {
			return
		}
		again, err := read(journalOf(t, all))
		if diff := cmp.Diff(all, again); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
	})
}
