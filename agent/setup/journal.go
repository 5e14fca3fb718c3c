package setup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// journalVersion is raised when an older program could misread the journal.
const journalVersion = 1

// Limits of a journal that is read. One of our own stays far below: it is written
// anew at 1 MiB.
const (
	maxJournal = 64 << 20
	maxRecord  = 32 << 20
)

var (
	// errDamaged is wrapped by all errors about a journal's text, but for errNewer.
	errDamaged = errors.New("damaged journal")
	// errNewer: a newer program wrote the journal, and can undo what it says.
	errNewer = errors.New("journal of a newer version")
)

// place is where changes were made. In any other place nothing of them is left: they
// are all of one network namespace of one boot and died with it.
type place struct {
	Version int    `json:"version"`
	Boot    string `json:"boot"`
	// Netns is the inode of the network namespace, which the kernel gives again to
	// later ones; Cookie (SO_NETNS_COOKIE) it never does, but before Linux 5.14 has none.
	Netns  uint64 `json:"netns"`
	Cookie uint64 `json:"cookie,omitempty"`
}

// record is one line of the journal. Exactly one field is set.
type record struct {
	Place  *place `json:"place,omitempty"`
	Made   *entry `json:"made,omitempty"`
	Undone uint64 `json:"undone,omitempty"`
}

func (r record) line() ([]byte, error) {
	text, err := json.Marshal(r)
	return append(text, '\n'), err
}

// parsePlace reads the first line of a journal. It returns nil for a journal that
// holds no complete line: nothing was changed under it.
func parsePlace(journal []byte) (*place, []byte, error) {
	line, rest, complete := bytes.Cut(journal, []byte{'\n'})
	if !complete {
		return nil, nil, nil
	}
	// What a newer version writes beside its number is its own.
	var of struct {
		Place struct {
			Version int `json:"version"`
		} `json:"place"`
	}
	if err := json.Unmarshal(line, &of); err == nil && of.Place.Version > journalVersion {
		return nil, nil, fmt.Errorf("line 1: %w: version %d, this program reads %d", errNewer, of.Place.Version, journalVersion)
	}
	r, err := parseRecord(line)
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("line 1: %w", err)
	case r.Place == nil:
		return nil, nil, fmt.Errorf("line 1 does not say where changes were made: %w", errDamaged)
	case r.Place.Version != journalVersion:
		return nil, nil, fmt.Errorf("line 1: version %d, this program reads %d: %w", r.Place.Version, journalVersion, errDamaged)
	}
	return r.Place, rest, nil
}

// parseRecords reads all lines after the first and returns what still stands. A last
// line without its end was being written when the process died: the change that it
// announces was never made.
func parseRecords(lines []byte) (*ledger, error) {
	l, seen := &ledger{}, map[uint64]bool{}
	for number := 2; ; number++ {
		line, rest, complete := bytes.Cut(lines, []byte{'\n'})
		if !complete {
			return l, nil
		}
		if err := l.read(line, seen); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		lines = rest
	}
}

func (l *ledger) read(line []byte, seen map[uint64]bool) error {
	r, err := parseRecord(line)
	switch {
	case err != nil:
		return err
	case r.Made != nil:
		if seen[r.Made.ID] {
			return fmt.Errorf("change %d is announced twice: %w", r.Made.ID, errDamaged)
		}
		seen[r.Made.ID] = true
		l.add(r.Made)
	case r.Undone != 0:
		e := l.byID(r.Undone)
		if e == nil {
			return fmt.Errorf("change %d is undone, and does not stand: %w", r.Undone, errDamaged)
		}
		_, pass := l.undoing(e)
		l.undone(e, pass)
	default:
		return fmt.Errorf("a second beginning: %w", errDamaged)
	}
	return nil
}

func parseRecord(line []byte) (record, error) {
	if len(line) > maxRecord {
		return record{}, fmt.Errorf("%d bytes, at most %d: %w", len(line), maxRecord, errDamaged)
	}
	var r record
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return record{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return record{}, fmt.Errorf("more than one value: %w", errDamaged)
	}
	return r, r.check()
}

func (r record) check() error {
	set := 0
	for _, is := range []bool{r.Place != nil, r.Made != nil, r.Undone != 0} {
		if is {
			set++
		}
	}
	if set != 1 {
		return fmt.Errorf("%d kinds of record in one: %w", set, errDamaged)
	}
	if r.Made == nil {
		return nil
	}
	if r.Made.ID == 0 {
		return fmt.Errorf("a change without a number: %w", errDamaged)
	}
	for i, s := range r.Made.Saved {
		if !slices.Contains(kinds, s.Kind) {
			return fmt.Errorf("unknown kind %q: %w", s.Kind, errDamaged)
		}
		if r.Made.find(s.key) != i {
			return fmt.Errorf("%s %s is saved twice: %w", s.Kind, s.Name, errDamaged)
		}
	}
	return nil
}
