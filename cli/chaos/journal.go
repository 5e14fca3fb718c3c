package chaos

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// JournalHeader is the first line of a journal; the number is the version of its format.
const JournalHeader = "syncline chaos journal 1\n"

// MaxRecordBytes bounds a line of a journal.
const MaxRecordBytes = 4 << 10

// Verb is what a record says.
type Verb string

// Verbs of a journal. A generator writes Wrote, and fsyncs it, before a chunk leaves it, and
// Acked after the answer came.
const (
	Wrote    Verb = "wrote"
	Acked    Verb = "acked"
	Rejected Verb = "rejected"
	// Started: a lane was started. Finished: the generator has told the controller how much it
	// recorded; FirstEvent is 0, LastEvent and Sequence are the last.
	Started  Verb = "started"
	Finished Verb = "finished"
)

// Record is a line of a journal.
type Record struct {
	Verb        Verb   `json:"verb"`
	Run         string `json:"run"`
	Agent       string `json:"agent"`
	Incarnation uint64 `json:"incarnation"`
	Sequence    uint64 `json:"sequence,omitempty"`
	FirstEvent  uint64 `json:"first,omitempty"`
	Events      uint32 `json:"events,omitempty"`
	LastEvent   uint64 `json:"last,omitempty"`
	SHA256      string `json:"sha256,omitempty"`
	Repetition  uint32 `json:"repetition,omitempty"`
	Lane        string `json:"lane,omitempty"`
	Epoch       uint64 `json:"epoch,omitempty"`
	Reason      string `json:"reason,omitempty"`
}

// Stream is the stream that the record is about.
func (r Record) Stream() StreamID { return StreamID{r.Run, r.Agent, r.Incarnation} }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendRecord appends a record as a line: the CRC-32C of what follows it, a space, JSON.
func AppendRecord(to []byte, r Record) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return to, fmt.Errorf("write a record: %w", err)
	}
	if len(text) > MaxRecordBytes-16 {
		return to, fmt.Errorf("write a record of %d bytes: at most %d", len(text), MaxRecordBytes-16)
	}
	to = fmt.Appendf(to, "%08x ", crc32.Checksum(text, castagnoli))
	return append(append(to, text...), '\n'), nil
}

// ErrTorn is in the chain of ReadJournal's error if the last line is not whole: its writer was
// killed. What was read before it counts.
var ErrTorn = errors.New("the last line is not whole")

// ReadJournal gives each record of a journal to yield.
func ReadJournal(from io.Reader, yield func(Record) error) error {
	lines := bufio.NewReaderSize(from, MaxRecordBytes)
	header, err := lines.ReadSlice('\n')
	if err != nil || string(header) != JournalHeader {
		return fmt.Errorf("it begins with %q, not with %q: it is no journal of this version", header, JournalHeader)
	}
	for n := 2; ; n++ {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("line %d: %w", n, ErrTorn)
		case err != nil:
			return fmt.Errorf("line %d: %w", n, err)
		}
		r, err := parseRecord(bytes.TrimSuffix(line, []byte("\n")))
		if err == nil {
			err = yield(r)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
}

func parseRecord(line []byte) (Record, error) {
	sum, text, ok := bytes.Cut(line, []byte(" "))
	if want := fmt.Sprintf("%08x", crc32.Checksum(text, castagnoli)); !ok || string(sum) != want {
		return Record{}, fmt.Errorf("its CRC-32C is %s, the line says %q: it is damaged", want, sum)
	}
	var r Record
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, fmt.Errorf("it is no record: %w", err)
	}
	return r, r.check()
}

func (r Record) check() error {
	switch r.Verb {
	case Wrote:
		if r.Sequence == 0 || r.FirstEvent == 0 || r.Events == 0 {
			return fmt.Errorf("chunk %d with %d events from %d: all numbers count from 1", r.Sequence, r.Events, r.FirstEvent)
		}
		if _, err := r.chunk(); err != nil {
			return err
		}
	case Acked, Rejected:
		if r.Sequence == 0 {
			return errors.New("an answer to no chunk")
		}
	case Started, Finished:
	default:
		return fmt.Errorf("verb %q is unknown", r.Verb)
	}
	if r.Run == "" || r.Agent == "" {
		return fmt.Errorf("a record of run %q and agent %q", r.Run, r.Agent)
	}
	return nil
}

func (r Record) chunk() (Chunk, error) {
	sum, err := hex.DecodeString(r.SHA256)
	if err != nil || len(sum) != 32 {
		return Chunk{}, fmt.Errorf("%q is no SHA-256", r.SHA256)
	}
	return Chunk{r.FirstEvent, r.Events, [32]byte(sum)}, nil
}
