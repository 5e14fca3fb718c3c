// Package archive keeps runs in a bucket: a directory, or what speaks S3.
//
// A run is in the archive when its manifest is, and the manifest is written last, after
// everything it lists was read back and found to be what was sent. A run that was half
// written has no manifest and is none; writing it again gives the same objects under the
// same names. The manifest is named by a hash, and whoever has that hash can tell for every
// byte that comes out of the bucket whether it is the one that went in.
//
// The package knows nothing of runs but their names: what is in the objects, its callers
// say. DESIGN.md has the layout and what other programs may rely on.
package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	// The scheme s3.
	_ "gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"
)

// Errors that a caller may branch on.
var (
	// ErrNotFound: there is no such object in the bucket.
	ErrNotFound = errors.New("not in the archive")
	// ErrDamaged: what is in the bucket is not what was written.
	ErrDamaged = errors.New("damaged in the archive")
	// ErrNewer: it was written in a form that this version does not know.
	ErrNewer = errors.New("a newer archive")
	// ErrURL: no bucket is named so.
	ErrURL = errors.New("not the URL of a bucket")
)

// Bucket is an open bucket. Its methods are safe for concurrent use.
type Bucket struct {
	url    string
	bucket *blob.Bucket
	// dir is where the objects are, if they are files; "" otherwise.
	dir string
}

// Open opens the bucket of a URL:
//
//	file:///srv/archive          a directory, which must be there
//	s3://bucket?region=eu-west-1 a bucket of S3 or of what speaks like it; see CheckURL
//
// It does not look into the bucket; Check does.
func Open(ctx context.Context, rawURL string) (*Bucket, error) {
	u, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	b := &Bucket{url: u.Redacted()}
	if u.Scheme == fileblob.Scheme {
		b.dir = filepath.FromSlash(u.Path)
		// No directory is made: one that is missing may be a file system that is not
		// mounted. Temporary files lie beside their objects, so that a rename is one.
		b.bucket, err = fileblob.OpenBucket(b.dir, &fileblob.Options{NoTempDir: true, Metadata: fileblob.MetadataDontWrite, DirFileMode: 0o755})
	} else {
		b.bucket, err = blob.OpenBucket(ctx, u.String())
	}
	switch {
	case b.dir != "" && errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("open the archive %s: %w: make that directory, or mount its file system, on this controller's host", b.url, err)
	case err != nil:
		return nil, fmt.Errorf("open the archive %s: %w", b.url, err)
	}
	return b, nil
}

// CheckURL reports why a URL names no bucket, without looking for it.
//
// What follows the ? of an s3 URL is for the client: region, profile, prefix=runs/ to put
// everything below runs/, and for other services than Amazon's endpoint=https://HOST:PORT
// with use_path_style=true. Keys come from where the AWS tools take them: the environment,
// ~/.aws, the instance. They have no place in the URL, which is in the log and in listings.
func CheckURL(rawURL string) error {
	_, err := parseURL(rawURL)
	return err
}

func parseURL(rawURL string) (*url.URL, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	switch {
	case u.User != nil:
		return nil, fmt.Errorf("%w: %s: a name or a password has no place in it; s3 takes AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", ErrURL, u.Redacted())
	case u.Scheme == fileblob.Scheme && (u.Host != "" || !path.IsAbs(u.Path) || u.RawQuery != ""):
		return nil, fmt.Errorf("%w: %s: write file:///DIRECTORY, the whole path", ErrURL, rawURL)
	case u.Scheme == "s3" && u.Host == "":
		return nil, fmt.Errorf("%w: %s: write s3://BUCKET?region=REGION", ErrURL, rawURL)
	case u.Scheme != fileblob.Scheme && u.Scheme != "s3":
		return nil, fmt.Errorf("%w: %.200q: there are file:///DIRECTORY and s3://BUCKET", ErrURL, rawURL)
	}
	return u, nil
}

// URL is the one that the bucket was opened by.
func (b *Bucket) URL() string { return b.url }

// Close ends the use of the bucket.
func (b *Bucket) Close() error { return b.bucket.Close() }

// Check finds out if the bucket can be listed.
func (b *Bucket) Check(ctx context.Context) error {
	ok, err := b.bucket.IsAccessible(ctx)
	if err != nil {
		return fmt.Errorf("look into the archive %s: %w", b.url, err)
	}
	if !ok {
		return fmt.Errorf("look into the archive %s: %w: there is no such bucket; make it first", b.url, ErrNotFound)
	}
	return nil
}

// written is what was sent to an object.
type written struct {
	size int64
	sum  [sha256.Size]byte
}

// tally counts and hashes what is written.
type tally struct {
	to   io.Writer
	hash hash.Hash
	size int64
}

func newTally(to io.Writer) *tally { return &tally{to: to, hash: sha256.New()} }

// Write implements io.Writer.
func (t *tally) Write(p []byte) (int, error) {
	n, err := t.to.Write(p)
	t.hash.Write(p[:n])
	t.size += int64(n)
	return n, err
}

func (t *tally) written() written { return written{t.size, [sha256.Size]byte(t.hash.Sum(nil))} }

// put writes an object. It is there as a whole when put returns, and not at all after an
// error: both kinds of bucket show an object when its writer is closed, and not before.
func (b *Bucket) put(ctx context.Context, key string, write func(io.Writer) error) (written, error) {
	// A writer whose context is done throws away what it has.
	writing, abandon := context.WithCancel(ctx)
	defer abandon()
	w, err := b.bucket.NewWriter(writing, key, &blob.WriterOptions{ContentType: contentType(key)})
	if err != nil {
		return written{}, b.failed("write", key, err)
	}
	t := newTally(w)
	if err := write(t); err != nil {
		abandon()
		// Its error says that the writing was abandoned, which is known.
		_ = w.Close()
		return written{}, b.failed("write", key, err)
	}
	if err := w.Close(); err != nil {
		return written{}, b.failed("write", key, err)
	}
	if err := b.sync(key); err != nil {
		return written{}, b.failed("write", key, err)
	}
	return t.written(), nil
}

// sync makes an object that is a file durable, and its name: fileblob renames and does not
// fsync. A service has done so when it answers.
func (b *Bucket) sync(key string) error {
	if b.dir == "" {
		return nil
	}
	name := filepath.Join(b.dir, filepath.FromSlash(key))
	for {
		if err := syncPath(name); err != nil {
			return err
		}
		if name == filepath.Clean(b.dir) {
			return nil
		}
		name = filepath.Dir(name)
	}
}

// syncPath fsyncs a file or directory.
func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// get reads an object and finds out if it is the one that was written. What w was given is
// worth nothing if there is an error.
func (b *Bucket) get(ctx context.Context, key string, want written, w io.Writer) error {
	r, err := b.bucket.NewReader(ctx, key, nil)
	if err != nil {
		return b.failed("read", key, err)
	}
	t := newTally(w)
	// One byte more than there should be is enough to know.
	_, err = io.Copy(t, io.LimitReader(r, want.size+1))
	if err := errors.Join(err, r.Close()); err != nil {
		return b.failed("read", key, err)
	}
	if got := t.written(); got != want {
		return b.failed("read", key, fmt.Errorf("%w: at least %d bytes with SHA-256 %x, and %d with %x were written", ErrDamaged, got.size, got.sum, want.size, want.sum))
	}
	return nil
}

// failed says what was tried with which object.
func (b *Bucket) failed(what, key string, err error) error {
	if gcerrors.Code(err) == gcerrors.NotFound {
		err = fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return fmt.Errorf("%s %s of the archive %s: %w", what, key, b.url, err)
}

func contentType(key string) string {
	switch {
	case strings.HasSuffix(key, ".json"):
		return "application/json"
	case strings.HasSuffix(key, ".parquet"):
		return "application/vnd.apache.parquet"
	}
	return "application/octet-stream"
}
