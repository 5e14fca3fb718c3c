// Package export turns a run into a file for other programs and for later, and back.
//
// It is pure: it writes to the io.Writer and reads from the io.ReaderAt that it is given,
// and the same run gives the same bytes. It knows nothing of the messages of the contract;
// what they are to be in a file its caller says in bytes. Whatever it reads may come from a
// stranger: every size has a limit, every part a hash, and nothing is given away before
// all of it was found to be what the manifest says.
package export

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// BundleFormat is the newest form of a bundle that this package reads, and the one it
// writes. It grows when a reader of the old form would misread the new one; every older
// form is read for ever.
const BundleFormat = 1

// BundleSuffix is what the names of bundles end in.
const BundleSuffix = ".syncline"

// MediaType is what a bundle says it is in its first part, as an EPUB does: stored as it
// is at a fixed place, so that one look at the beginning of a file tells.
const MediaType = "application/vnd.syncline.bundle+zip"

// Names of the parts of a bundle. Its streams have names of their own, which the manifest
// lists.
const (
	mediaTypePart = "mimetype"
	recordPart    = "run.json"
	sourcePart    = "experiment.yaml"
	manifestPart  = "manifest.json"
)

// Limits of what is read. A writer that is asked for more says so too.
const (
	// MaxRecordBytes is of the run's record: 256 hosts that tell all they may of
	// themselves, as JSON.
	MaxRecordBytes = 64 << 20
	// MaxSourceBytes is of the experiment's file.
	MaxSourceBytes = 256 << 10
	// MaxStreams is how many streams of events a run may have.
	MaxStreams = 1024
	// MaxChunkBytes is of the data of one chunk.
	MaxChunkBytes = 256 << 10
	// MaxNameBytes is of the names of runs and agents.
	MaxNameBytes = 64

	maxManifestBytes = 1 << 20
)

// Errors that a caller may branch on.
var (
	// ErrNoBundle: the bytes do not begin as a bundle does.
	ErrNoBundle = errors.New("not a bundle")
	// ErrNewer: it is a bundle of a form that this version does not know.
	ErrNewer = errors.New("a newer bundle")
	// ErrDamaged: it is a bundle, and is not what it was when it was written.
	ErrDamaged = errors.New("damaged bundle")
	// ErrLimit: it is larger than a bundle may be.
	ErrLimit = errors.New("limit of a bundle")
)

// Contents are what a bundle is made of.
type Contents struct {
	// Run is the id of the run, WrittenBy the program: "syncline 0.1.0".
	Run, WrittenBy string
	// Ended is when the run did, for listings of the archive; zero if nobody knows.
	Ended time.Time
	// Record is the run as JSON, Source the experiment's file.
	Record, Source []byte
	// Chunks yields every chunk in the order of (agent, incarnation, sequence), until
	// yield returns an error, which it returns.
	Chunks func(yield func(Chunk) error) error
}

// Chunk is a block of consecutive events of one stream, byte for byte as it was stored.
type Chunk struct {
	Agent       string
	Incarnation uint64
	// Sequence is the number of the chunk in its stream, from 1.
	Sequence uint64
	// FirstEvent is the number of its first event; Events counts them, at least one.
	FirstEvent uint64
	Events     uint32
	Data       []byte
}

// Manifest says what a bundle holds. It is the last part to be written.
type Manifest struct {
	Format    int    `json:"format"`
	WrittenBy string `json:"written_by"`
	// Run is the id of the run.
	Run     string   `json:"run"`
	Parts   []Part   `json:"parts"`
	Streams []Stream `json:"streams"`
}

// Part is one file within a bundle.
type Part struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
	// SHA256 is of its bytes, in hexadecimal.
	SHA256 string `json:"sha256"`
}

// Stream is the events of one start of an agent, and which part has them.
type Stream struct {
	Part  string `json:"part"`
	Agent string `json:"agent"`
	// Incarnation is a text, since JSON's numbers are not exact beyond 2^53.
	Incarnation uint64 `json:"incarnation,string"`
	Chunks      uint64 `json:"chunks"`
	Events      uint64 `json:"events"`
}

// streamPart is the name of the n-th stream's part. Agents name themselves, so their names
// are in the manifest only.
func streamPart(n int) string { return fmt.Sprintf("events/%04d.chunks", n) }

// beginning is how every bundle begins: the signature of a local file header (APPNOTE.TXT
// 4.3.7), and after its 30 bytes the name of the first part and the media type.
var beginning = struct{ at0, at30 []byte }{[]byte("PK\x03\x04"), []byte(mediaTypePart + MediaType)}

// PrefixBytes is how much of a file IsBundle wants to see.
const PrefixBytes = 30 + len(mediaTypePart) + len(MediaType)

// IsBundle reports whether a file that begins with prefix says that it is a bundle.
func IsBundle(prefix []byte) bool {
	return len(prefix) >= PrefixBytes && bytes.HasPrefix(prefix, beginning.at0) && bytes.HasPrefix(prefix[30:], beginning.at30)
}
