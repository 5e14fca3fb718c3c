package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// Run is a run that is put into the archive.
type Run struct {
	// ID is the run's id, which is a name that any file system takes.
	ID string
	// Seal is the SHA-256 over its chunks.
	Seal []byte
	// WrittenBy is the program: "syncline 0.1.0".
	WrittenBy string
	// Contents are its parts, in the order in which they are written.
	Contents []Content
}

// Content is a part of a run before it is written.
type Content struct {
	// Name is that of the part, Suffix what the names of its objects end in: ".parquet".
	Name, Suffix string
	// Write writes it, and gives the same bytes each time: it is called twice if Exact.
	Write func(io.Writer) error
	// Exact names the object by its own hash, so that no other version of the program that
	// writes the same run ever puts other bytes in its place. It is for what the run is
	// restored from.
	Exact bool
	// Omitted is why there is none; Write is not called then.
	Omitted string
}

// sealDigits is how many digits of a hash are in a name. They tell runs apart that have the
// same id, as two clusters with one archive might make them; what an object is the whole
// hash says, which is in the manifest.
const sealDigits = 12

// Put writes a run and reads it back. The run is in the archive when Put returns a Ref, and
// not before: an error, or the death of the program, leaves no manifest behind, and objects
// that the next Put of the same run replaces by the same. Two that put the same run at the
// same time do no harm to each other.
func (b *Bucket) Put(ctx context.Context, run Run) (Ref, error) {
	m := Manifest{Format: Format, WrittenBy: run.WrittenBy, Run: run.ID, Seal: hex.EncodeToString(run.Seal), Parts: []Part{}}
	if len(m.Seal) < sealDigits {
		return Ref{}, fmt.Errorf("archive run %s: it has no seal: only what never changes again is archived", run.ID)
	}
	stem := run.ID + "-" + m.Seal[:sealDigits]
	for _, c := range run.Contents {
		part, err := b.content(ctx, stem, c)
		if err != nil {
			return Ref{}, fmt.Errorf("archive run %s: %w", run.ID, err)
		}
		m.Parts = append(m.Parts, part)
	}
	ref, err := b.manifest(ctx, stem, &m)
	if err != nil {
		return Ref{}, fmt.Errorf("archive run %s: %w", run.ID, err)
	}
	return ref, nil
}

// content writes one part and reads it back.
func (b *Bucket) content(ctx context.Context, stem string, c Content) (Part, error) {
	part := Part{Name: c.Name, Omitted: c.Omitted}
	if c.Omitted != "" {
		return part, nil
	}
	part.Key = c.Name + "/" + stem + c.Suffix
	var want written
	if c.Exact {
		t := newTally(io.Discard)
		if err := c.Write(t); err != nil {
			return Part{}, fmt.Errorf("%s: %w", c.Name, err)
		}
		want = t.written()
		part.Key = c.Name + "/" + stem + "-" + hex.EncodeToString(want.sum[:])[:sealDigits] + c.Suffix
	}
	got, err := b.put(ctx, part.Key, c.Write)
	if err != nil {
		return Part{}, err
	}
	if c.Exact && got != want {
		return Part{}, fmt.Errorf("%s: it was written twice, and was %d bytes with SHA-256 %x, and then %d with %x; the run, or its writer, is not what it should be", c.Name, want.size, want.sum, got.size, got.sum)
	}
	if err := b.get(ctx, part.Key, got, io.Discard); err != nil {
		return Part{}, err
	}
	part.Bytes, part.SHA256 = got.size, hex.EncodeToString(got.sum[:])
	return part, nil
}

// manifest writes the manifest, by which everything before becomes a run.
func (b *Bucket) manifest(ctx context.Context, stem string, m *Manifest) (Ref, error) {
	if err := m.check(); err != nil {
		return Ref{}, err
	}
	text, err := m.encode()
	if err != nil {
		return Ref{}, err
	}
	ref := Ref{SHA256: sha256.Sum256(text)}
	ref.Key = "manifests/" + stem + "-" + hex.EncodeToString(ref.SHA256[:])[:sealDigits] + ".json"
	_, err = b.put(ctx, ref.Key, func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(text))
		return err
	})
	if err != nil {
		return Ref{}, err
	}
	_, err = b.Manifest(ctx, ref)
	return ref, err
}
