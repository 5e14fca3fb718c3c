package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
)

// Format is the newest form of a manifest that this package reads, and the one it writes.
// It grows when a reader of the old form would misread the new one.
const Format = 1

// MaxManifestBytes bounds what is read as a manifest.
const MaxManifestBytes = 64 << 10

// maxParts bounds what one run consists of.
const maxParts = 64

// Manifest says what an archive has of a run.
type Manifest struct {
	Format int `json:"format"`
	// WrittenBy is the program: "syncline 0.1.0".
	WrittenBy string `json:"written_by"`
	Run       string `json:"run"`
	// Seal is the SHA-256 over the run's chunks, in hexadecimal.
	Seal  string `json:"seal"`
	Parts []Part `json:"parts"`
}

// Part is one object of a run.
type Part struct {
	// Name is the kind: "events", "bundle".
	Name string `json:"name"`
	// Key is where it is in the bucket.
	Key   string `json:"key"`
	Bytes int64  `json:"bytes"`
	// SHA256 is of its bytes, in hexadecimal.
	SHA256 string `json:"sha256"`
	// Omitted is why the run has no such part; Key is empty then.
	Omitted string `json:"omitted,omitempty"`
}

// Ref finds a manifest, and tells if it is the one.
type Ref struct {
	// Key is its name in the bucket.
	Key string
	// SHA256 is of its bytes.
	SHA256 [sha256.Size]byte
}

// Part finds a part by its name.
func (m *Manifest) Part(name string) (Part, bool) {
	i := slices.IndexFunc(m.Parts, func(p Part) bool { return p.Name == name })
	if i < 0 || m.Parts[i].Omitted != "" {
		return Part{}, false
	}
	return m.Parts[i], true
}

// encode is the manifest as it lies in the bucket.
func (m *Manifest) encode() ([]byte, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(m); err != nil {
		return nil, err
	}
	if text.Len() > MaxManifestBytes {
		return nil, fmt.Errorf("the manifest of run %s has %d bytes, at most %d are read", m.Run, text.Len(), MaxManifestBytes)
	}
	return text.Bytes(), nil
}

// ParseManifest reads a manifest, whoever wrote it. What form it is of is found out first.
func ParseManifest(data []byte) (*Manifest, error) {
	if len(data) > MaxManifestBytes {
		return nil, fmt.Errorf("%w: a manifest of %d bytes, at most %d are read", ErrDamaged, len(data), MaxManifestBytes)
	}
	var of struct {
		Format    int    `json:"format"`
		WrittenBy string `json:"written_by"`
	}
	if err := json.Unmarshal(data, &of); err != nil {
		return nil, fmt.Errorf("%w: the manifest: %w", ErrDamaged, err)
	}
	switch {
	case of.Format > Format:
		return nil, fmt.Errorf("%w: its format is %d, written by %.100q, and this version reads up to format %d: use a newer syncline", ErrNewer, of.Format, of.WrittenBy, Format)
	case of.Format < 1:
		return nil, fmt.Errorf("%w: the manifest names no format", ErrDamaged)
	}
	m := new(Manifest)
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("%w: the manifest: %w", ErrDamaged, err)
	}
	return m, m.check()
}

// partName is what a part may be called: it becomes a directory of the bucket.
var partName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// check refuses a manifest that no writer made: keys are names of objects, and a stranger
// could have written them.
func (m *Manifest) check() error {
	if len(m.Parts) > maxParts {
		return fmt.Errorf("%w: the manifest lists %d parts, at most %d are possible", ErrDamaged, len(m.Parts), maxParts)
	}
	seen := map[string]bool{}
	for _, p := range m.Parts {
		if !partName.MatchString(p.Name) || seen[p.Name] {
			return fmt.Errorf("%w: the manifest lists a part %.100q, or lists it twice", ErrDamaged, p.Name)
		}
		seen[p.Name] = true
		if p.Omitted != "" && p.Key == "" {
			continue
		}
		if sum, err := hex.DecodeString(p.SHA256); err != nil || len(sum) != sha256.Size || p.Bytes < 0 || path.Clean("/"+p.Key) != "/"+p.Key || p.Key == "" {
			return fmt.Errorf("%w: part %s of the manifest is %.100q with %d bytes and SHA-256 %.100q", ErrDamaged, p.Name, p.Key, p.Bytes, p.SHA256)
		}
	}
	return nil
}

func (p *Part) written() (written, error) {
	sum, err := hex.DecodeString(p.SHA256)
	if err != nil || len(sum) != sha256.Size {
		return written{}, fmt.Errorf("%w: part %s has no SHA-256", ErrDamaged, p.Name)
	}
	return written{p.Bytes, [sha256.Size]byte(sum)}, nil
}

// Manifest reads the manifest of a run, and finds out if it is the one that ref is of.
func (b *Bucket) Manifest(ctx context.Context, ref Ref) (*Manifest, error) {
	r, err := b.bucket.NewReader(ctx, ref.Key, nil)
	if err != nil {
		return nil, b.failed("read", ref.Key, err)
	}
	data, err := io.ReadAll(io.LimitReader(r, MaxManifestBytes+1))
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, b.failed("read", ref.Key, err)
	}
	if sum := sha256.Sum256(data); sum != ref.SHA256 {
		return nil, b.failed("read", ref.Key, fmt.Errorf("%w: its SHA-256 is %x, and was %x", ErrDamaged, sum, ref.SHA256))
	}
	m, err := ParseManifest(data)
	if err != nil {
		return nil, b.failed("read", ref.Key, err)
	}
	return m, nil
}

// Read writes a part of a run to w. What w was given is worth nothing if there is an error.
func (b *Bucket) Read(ctx context.Context, p Part, w io.Writer) error {
	want, err := p.written()
	if err != nil {
		return err
	}
	return b.get(ctx, p.Key, want, w)
}
