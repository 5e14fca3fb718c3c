package export

import (
	"archive/zip"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/flate"
)

// WriteBundle writes a bundle. The same contents give the same bytes. It holds no more
// than one chunk in memory. After an error what was written is no bundle.
func WriteBundle(w io.Writer, c Contents) error {
	b := newBundleWriter(w, c)
	if err := b.write(c); err != nil {
		return fmt.Errorf("write a bundle of run %s: %w", c.Run, err)
	}
	return nil
}

// bundleWriter writes the parts of a bundle in order.
type bundleWriter struct {
	zip      *zip.Writer
	ended    time.Time
	manifest Manifest
	// open is the part at work, nil between two.
	open *part
	// last is the chunk before.
	last   Chunk
	header []byte
}

// part is a part while it is written.
type part struct {
	name string
	io.Writer
	sum   hash.Hash
	bytes int64
}

func newBundleWriter(w io.Writer, c Contents) *bundleWriter {
	b := &bundleWriter{
		zip: zip.NewWriter(w), ended: c.Ended.UTC(),
		manifest: Manifest{Format: BundleFormat, WrittenBy: c.WrittenBy, Run: c.Run, Parts: []Part{}, Streams: []Stream{}},
	}
	// The bytes are those of the module that go.mod names, whatever Go the program was
	// built with.
	b.zip.RegisterCompressor(zip.Deflate, func(out io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(out, flate.BestCompression)
	})
	return b
}

func (b *bundleWriter) write(c Contents) error {
	switch {
	case len(c.Run) == 0 || len(c.Run) > MaxNameBytes || !utf8.ValidString(c.Run):
		return fmt.Errorf("%w: a run id of %d bytes, 1 to %d of UTF-8 are allowed", ErrLimit, len(c.Run), MaxNameBytes)
	case len(c.Record) > MaxRecordBytes:
		return fmt.Errorf("%w: the run's record has %d bytes, at most %d are allowed", ErrLimit, len(c.Record), MaxRecordBytes)
	case len(c.Source) > MaxSourceBytes:
		return fmt.Errorf("%w: the experiment has %d bytes, at most %d are allowed", ErrLimit, len(c.Source), MaxSourceBytes)
	}
	if err := b.mediaType(); err != nil {
		return err
	}
	if err := b.whole(recordPart, c.Record); err != nil {
		return err
	}
	if err := b.whole(sourcePart, c.Source); err != nil {
		return err
	}
	if err := c.Chunks(b.chunk); err != nil {
		return err
	}
	if err := b.end(); err != nil {
		return err
	}
	return b.finish()
}

// mediaType writes the part by which a bundle is known. Its size stands before it and not
// behind, so that it lies where IsBundle looks.
func (b *bundleWriter) mediaType() error {
	w, err := b.zip.CreateRaw(&zip.FileHeader{
		Name: mediaTypePart, Method: zip.Store, CRC32: crc32.ChecksumIEEE([]byte(MediaType)),
		CompressedSize64: uint64(len(MediaType)), UncompressedSize64: uint64(len(MediaType)),
	})
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, MediaType)
	return err
}

// whole writes a part at once.
func (b *bundleWriter) whole(name string, data []byte) error {
	if err := b.begin(name, zip.Deflate); err != nil {
		return err
	}
	if _, err := b.open.Write(data); err != nil {
		return err
	}
	return b.end()
}

func (b *bundleWriter) begin(name string, method uint16) error {
	w, err := b.zip.CreateHeader(&zip.FileHeader{Name: name, Method: method, Modified: b.ended})
	if err != nil {
		return err
	}
	b.open = &part{name: name, Writer: w, sum: sha256.New()}
	return nil
}

func (p *part) Write(data []byte) (int, error) {
	n, err := p.Writer.Write(data)
	p.sum.Write(data[:n])
	p.bytes += int64(n)
	return n, err
}

// end ends the part at work, if there is one.
func (b *bundleWriter) end() error {
	if b.open != nil {
		b.manifest.Parts = append(b.manifest.Parts, Part{Name: b.open.name, Bytes: b.open.bytes, SHA256: hex.EncodeToString(b.open.sum.Sum(nil))})
		b.open = nil
	}
	return nil
}

// chunk writes the next chunk, into a part of its own stream.
func (b *bundleWriter) chunk(c Chunk) error {
	if err := c.check(); err != nil {
		return err
	}
	if !utf8.ValidString(c.Agent) {
		return fmt.Errorf("%w: the name of agent %q is not UTF-8", ErrLimit, c.Agent)
	}
	if b.last.Agent != "" && b.last.compare(&c) >= 0 {
		return fmt.Errorf("chunk %d of agent %s, start %d, comes after chunk %d of agent %s, start %d: they must be in order",
			c.Sequence, c.Agent, c.Incarnation, b.last.Sequence, b.last.Agent, b.last.Incarnation)
	}
	if b.last.Agent != c.Agent || b.last.Incarnation != c.Incarnation {
		if err := b.stream(&c); err != nil {
			return err
		}
	}
	b.last = Chunk{Agent: c.Agent, Incarnation: c.Incarnation, Sequence: c.Sequence}
	b.header = appendFrame(b.header[:0], &c)
	if _, err := b.open.Write(b.header); err != nil {
		return err
	}
	if _, err := b.open.Write(c.Data); err != nil {
		return err
	}
	s := &b.manifest.Streams[len(b.manifest.Streams)-1]
	s.Chunks++
	s.Events += uint64(c.Events)
	return nil
}

// stream ends the stream before and begins that of c. Chunks are compressed already.
func (b *bundleWriter) stream(c *Chunk) error {
	if err := b.end(); err != nil {
		return err
	}
	n := len(b.manifest.Streams) + 1
	if n > MaxStreams {
		return fmt.Errorf("%w: more than %d streams of events", ErrLimit, MaxStreams)
	}
	b.manifest.Streams = append(b.manifest.Streams, Stream{Part: streamPart(n), Agent: c.Agent, Incarnation: c.Incarnation})
	return b.begin(streamPart(n), zip.Store)
}

// compare orders chunks by (agent, incarnation, sequence).
func (c *Chunk) compare(o *Chunk) int {
	return cmp.Or(cmp.Compare(c.Agent, o.Agent), cmp.Compare(c.Incarnation, o.Incarnation), cmp.Compare(c.Sequence, o.Sequence))
}

// finish writes the manifest and the archive's directory.
func (b *bundleWriter) finish() error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(b.manifest); err != nil {
		return err
	}
	if text.Len() > maxManifestBytes {
		return fmt.Errorf("%w: the manifest has %d bytes, at most %d are allowed", ErrLimit, text.Len(), maxManifestBytes)
	}
	w, err := b.zip.CreateHeader(&zip.FileHeader{Name: manifestPart, Method: zip.Deflate, Modified: b.ended})
	if err != nil {
		return err
	}
	_, err = w.Write(text.Bytes())
	return errors.Join(err, b.zip.Close())
}
