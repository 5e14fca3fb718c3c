package export

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
)

// Bundle is a bundle that was read and found to be whole. Its methods are safe for
// concurrent use if reading from its file is.
type Bundle struct {
	Manifest Manifest
	// Record is the run as JSON, Source the experiment's file. Do not write to them.
	Record, Source []byte

	files map[string]*zip.File
}

// OpenBundle reads a bundle of size bytes, all of it: every part is there, is of the size
// and has the hash that the manifest says, nothing else is there, and the chunks of every
// stream are in order. r must stay as it is for as long as the bundle is used.
//
// The error has ErrNoBundle, ErrNewer, ErrDamaged or ErrLimit in its chain, unless it is
// one of r.
func OpenBundle(r io.ReaderAt, size int64) (*Bundle, error) {
	prefix := make([]byte, PrefixBytes)
	if n, err := r.ReadAt(prefix, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	} else if !IsBundle(prefix[:n]) {
		return nil, fmt.Errorf("%w: it does not begin as one (%s)", ErrNoBundle, MediaType)
	}
	// A spoilt directory may point to before the beginning or beyond the end.
	archive, err := zip.NewReader(io.NewSectionReader(r, 0, size), size)
	if errors.Is(err, zip.ErrFormat) {
		return nil, fmt.Errorf("%w: it has %d bytes, and its end, the directory of the archive, is missing or spoilt, as when a copy was cut short", ErrDamaged, size)
	} else if err != nil {
		return nil, damaged("of the archive's directory", err)
	}
	b := &Bundle{files: make(map[string]*zip.File)}
	if err := b.index(archive.File, size); err != nil {
		return nil, err
	}
	if err := b.readManifest(); err != nil {
		return nil, err
	}
	if err := b.checkParts(); err != nil {
		return nil, err
	}
	if b.Record, err = b.read(recordPart, MaxRecordBytes); err != nil {
		return nil, err
	}
	if b.Source, err = b.read(sourcePart, MaxSourceBytes); err != nil {
		return nil, err
	}
	// One look at all chunks tells if they are whole.
	return b, b.Chunks(func(Chunk) error { return nil })
}

// index finds the files of the archive by name. Together they are no larger than the
// archive: none lies over another to be read many times.
func (b *Bundle) index(files []*zip.File, size int64) error {
	if most := MaxStreams + 4; len(files) > most {
		return fmt.Errorf("%w: %d parts, at most %d are allowed", ErrLimit, len(files), most)
	}
	left := uint64(size)
	for _, f := range files {
		switch {
		case b.files[f.Name] != nil:
			return fmt.Errorf("%w: part %q is there twice", ErrDamaged, f.Name)
		case f.Method != zip.Store && f.Method != zip.Deflate:
			return fmt.Errorf("%w: part %q is compressed by method %d", ErrDamaged, f.Name, f.Method)
		case f.CompressedSize64 > left:
			return fmt.Errorf("%w: part %q is said to have %d bytes, and %d are left for it", ErrDamaged, f.Name, f.CompressedSize64, left)
		}
		left -= f.CompressedSize64
		b.files[f.Name] = f
	}
	return nil
}

// readManifest reads the manifest. What form it is of is found out first.
func (b *Bundle) readManifest() error {
	text, err := b.inflate(manifestPart, maxManifestBytes)
	if err != nil {
		return err
	}
	var of struct {
		Format    int    `json:"format"`
		WrittenBy string `json:"written_by"`
	}
	if err := json.Unmarshal(text, &of); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, manifestPart, err)
	}
	switch {
	case of.Format > BundleFormat:
		return fmt.Errorf("%w: it has format %d, written by %.100q, and this version reads up to format %d: use a newer syncline", ErrNewer, of.Format, of.WrittenBy, BundleFormat)
	case of.Format < 1:
		return fmt.Errorf("%w: %s names no format", ErrDamaged, manifestPart)
	}
	if err := json.Unmarshal(text, &b.Manifest); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, manifestPart, err)
	}
	return nil
}

// checkParts holds the manifest against the archive, before anything is read by it.
func (b *Bundle) checkParts() error {
	m := &b.Manifest
	want := []string{recordPart, sourcePart}
	if len(m.Streams) > MaxStreams {
		return fmt.Errorf("%w: %d streams of events, at most %d are allowed", ErrLimit, len(m.Streams), MaxStreams)
	}
	for i, s := range m.Streams {
		if s.Part != streamPart(i+1) {
			return fmt.Errorf("%w: stream %d is in part %.100q, not in %s", ErrDamaged, i+1, s.Part, streamPart(i+1))
		}
		if i > 0 && m.Streams[i-1].compare(&s) >= 0 {
			return fmt.Errorf("%w: stream %d is not in order", ErrDamaged, i+1)
		}
		want = append(want, s.Part)
	}
	var have []string
	for _, p := range m.Parts {
		have = append(have, p.Name)
		f := b.files[p.Name]
		switch {
		case f == nil:
			return fmt.Errorf("%w: part %.100q is missing", ErrDamaged, p.Name)
		case p.Bytes < 0 || uint64(p.Bytes) != f.UncompressedSize64:
			return fmt.Errorf("%w: part %.100q has %d bytes, and had %d", ErrDamaged, p.Name, f.UncompressedSize64, p.Bytes)
		}
	}
	if !slices.Equal(want, have) {
		return fmt.Errorf("%w: the manifest lists the parts %.300q, not %.300q", ErrDamaged, have, want)
	}
	// Each part is there, once; so one that is too much is one more.
	if known := len(want) + 2; len(b.files) != known || b.files[mediaTypePart] == nil {
		return fmt.Errorf("%w: the archive has %d files, and the manifest knows of %d", ErrDamaged, len(b.files), known)
	}
	for _, s := range m.Streams {
		if b.files[s.Part].Method != zip.Store {
			return fmt.Errorf("%w: part %s is compressed", ErrDamaged, s.Part)
		}
	}
	return nil
}

// compare orders streams by (agent, incarnation).
func (s *Stream) compare(o *Stream) int {
	return (&Chunk{Agent: s.Agent, Incarnation: s.Incarnation}).compare(&Chunk{Agent: o.Agent, Incarnation: o.Incarnation})
}

// inflate reads a part of at most limit bytes.
func (b *Bundle) inflate(name string, limit int) ([]byte, error) {
	f := b.files[name]
	if f == nil {
		return nil, fmt.Errorf("%w: part %s is missing", ErrDamaged, name)
	}
	if f.UncompressedSize64 > uint64(limit) {
		return nil, fmt.Errorf("%w: part %s has %d bytes, at most %d are allowed", ErrLimit, name, f.UncompressedSize64, limit)
	}
	r, err := f.Open()
	if err != nil {
		return nil, damaged(name, err)
	}
	defer r.Close()
	var text bytes.Buffer
	// A reader of the archive stops at the size that the directory says.
	if _, err := io.Copy(&text, io.LimitReader(r, int64(limit)+1)); err != nil {
		return nil, damaged(name, err)
	}
	if text.Len() > limit {
		return nil, fmt.Errorf("%w: part %s has more than %d bytes", ErrLimit, name, limit)
	}
	return text.Bytes(), nil
}

// read is inflate for a part whose hash the manifest has.
func (b *Bundle) read(name string, limit int) ([]byte, error) {
	text, err := b.inflate(name, limit)
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	sum.Write(text)
	return text, b.checkSum(name, sum)
}

func (b *Bundle) checkSum(name string, sum hash.Hash) error {
	i := slices.IndexFunc(b.Manifest.Parts, func(p Part) bool { return p.Name == name })
	if want, got := b.Manifest.Parts[i].SHA256, hex.EncodeToString(sum.Sum(nil)); got != want {
		return fmt.Errorf("%w: the SHA-256 of part %s is %s, and was %.100s", ErrDamaged, name, got, want)
	}
	return nil
}

// Chunks yields every chunk in the order of (agent, incarnation, sequence), until yield
// returns an error, which it returns. Data belong to yield.
func (b *Bundle) Chunks(yield func(Chunk) error) error {
	for i := range b.Manifest.Streams {
		if err := b.stream(&b.Manifest.Streams[i], yield); err != nil {
			return err
		}
	}
	return nil
}

// yielded is an error that came from the caller and goes back to it as it is.
type yielded struct{ error }

// stream yields the chunks of one stream, and finds out if they are those that were
// written.
func (b *Bundle) stream(s *Stream, yield func(Chunk) error) error {
	f, err := b.files[s.Part].Open()
	if err != nil {
		return damaged(s.Part, err)
	}
	defer f.Close()
	sum := sha256.New()
	err = s.chunks(bufio.NewReaderSize(io.TeeReader(f, sum), 64<<10), yield)
	if own := (yielded{}); errors.As(err, &own) {
		return own.error
	}
	if err != nil {
		return damaged(s.Part, err)
	}
	return b.checkSum(s.Part, sum)
}

func (s *Stream) chunks(r io.Reader, yield func(Chunk) error) error {
	var last, chunks, events uint64
	for {
		c, err := readFrame(r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		c.Agent, c.Incarnation = s.Agent, s.Incarnation
		if err := c.check(); err != nil {
			return err
		}
		if c.Sequence <= last {
			return fmt.Errorf("%w: chunk %d comes after chunk %d", ErrDamaged, c.Sequence, last)
		}
		last = c.Sequence
		chunks++
		events += uint64(c.Events)
		if err := yield(c); err != nil {
			return yielded{err}
		}
	}
	if chunks != s.Chunks || events != s.Events {
		return fmt.Errorf("%w: %d chunks with %d events, and there were %d with %d", ErrDamaged, chunks, events, s.Chunks, s.Events)
	}
	return nil
}

// damaged says which part cannot be read.
func damaged(name string, err error) error {
	if !errors.Is(err, ErrDamaged) && spoilt(err) {
		return fmt.Errorf("%w: part %s: %w", ErrDamaged, name, err)
	}
	return fmt.Errorf("part %s: %w", name, err)
}

// spoilt reports whether an error is one of the bytes that were read, and not one of the
// file that they were read from.
func spoilt(err error) bool {
	var corrupt flate.CorruptInputError
	var internal flate.InternalError
	if errors.As(err, &corrupt) || errors.As(err, &internal) {
		return true
	}
	own := []error{zip.ErrChecksum, zip.ErrFormat, zip.ErrAlgorithm, zip.ErrInsecurePath, io.ErrUnexpectedEOF, io.EOF}
	return slices.ContainsFunc(own, func(e error) bool { return errors.Is(err, e) })
}
