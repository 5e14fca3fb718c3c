package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A chunk file holds the chunks of one stream: a header that names the stream, then
// a frame for each chunk in the order of the log. Numbers are little-endian.
//
//	header  magic "SLCF", version u32, length of the name u32, the name, CRC-32C u32
//	frame   length u32, events u32, sequence u64, first event u64,
//	        CRC-32C of the data u32, CRC-32C of the 28 bytes before u32, data
//
// Every later version keeps the header as it is, but for the number, so that a program can tell
// a file of a newer one from one that is damaged, and leaves it alone.
const (
	chunkMagic       = "SLCF"
	chunkFileVersion = 1
	frameHeaderSize  = 32
	runsDir          = "runs"
	// maxOpenFiles bounds the descriptors that chunk files use while they are written.
	maxOpenFiles = 64
)

// header is the beginning of the stream's file.
func (s *stream) header() []byte {
	name := fmt.Sprintf("run %q agent %q incarnation %d", s.run, s.key.agent, s.key.incarnation)
	b := append([]byte(chunkMagic), 0, 0, 0, 0, 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(b[4:], chunkFileVersion)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(name)))
	b = append(b, name...)
	return binary.LittleEndian.AppendUint32(b, Checksum(b))
}

// frame is a chunk as it lies in the file.
func frame(c *Chunk) []byte {
	b := make([]byte, frameHeaderSize, frameHeaderSize+len(c.Data))
	binary.LittleEndian.PutUint32(b[0:], uint32(len(c.Data)))
	binary.LittleEndian.PutUint32(b[4:], c.Events)
	binary.LittleEndian.PutUint64(b[8:], c.Sequence)
	binary.LittleEndian.PutUint64(b[16:], c.FirstEvent)
	binary.LittleEndian.PutUint32(b[24:], c.CRC32C)
	binary.LittleEndian.PutUint32(b[28:], Checksum(b[:28]))
	return append(b, c.Data...)
}

// parseFrame checks a frame and returns its chunk, whose Data alias b.
func parseFrame(b []byte) (Chunk, error) {
	if len(b) < frameHeaderSize {
		return Chunk{}, fmt.Errorf("%w: a frame of %d bytes", ErrDamaged, len(b))
	}
	if got, want := Checksum(b[:28]), binary.LittleEndian.Uint32(b[28:]); got != want {
		return Chunk{}, fmt.Errorf("%w: CRC-32C of the frame's header is %08x, it says %08x", ErrDamaged, got, want)
	}
	c := Chunk{
		Events:     binary.LittleEndian.Uint32(b[4:]),
		Sequence:   binary.LittleEndian.Uint64(b[8:]),
		FirstEvent: binary.LittleEndian.Uint64(b[16:]),
		CRC32C:     binary.LittleEndian.Uint32(b[24:]),
		Data:       b[frameHeaderSize:],
	}
	if n := binary.LittleEndian.Uint32(b); uint64(n) != uint64(len(c.Data)) {
		return Chunk{}, fmt.Errorf("%w: the frame claims %d bytes of data and has %d", ErrDamaged, n, len(c.Data))
	}
	if got := Checksum(c.Data); got != c.CRC32C {
		return Chunk{}, fmt.Errorf("%w: CRC-32C of the data is %08x, the frame says %08x", ErrDamaged, got, c.CRC32C)
	}
	return c, nil
}

// chunkFileName is the file of a stream below the directory of runs. Agents name
// themselves, so every byte but lower-case letters, digits, '_' and '-' is escaped
// as %XX: no name leaves the directory, no two share a file, also where the file
// system does not tell upper from lower case.
func chunkFileName(run string, key streamKey) string {
	var b strings.Builder
	for _, c := range []byte(key.agent) {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return filepath.Join(run, b.String()+"-"+strconv.FormatUint(key.incarnation, 10)+".chunks")
}

// chunkFiles are the files being written. Only the state machine's goroutine uses
// them, and closeAll after it has ended.
type chunkFiles struct {
	disk disk
	dir  string
	open map[string]*chunkFile
	// order has the names of open files, the longest open first.
	order []string
}

// chunkFile is a file being written. length is how long it was when it was opened, or
// to where it was written since; whoever fetches what is missing may make it longer,
// never beyond what the index accounts for.
type chunkFile struct {
	file
	length int64
}

func newChunkFiles(d disk, dir string) *chunkFiles {
	return &chunkFiles{disk: d, dir: dir, open: map[string]*chunkFile{}}
}

// append writes c at the end of what the stream's index accounts for. What a crash
// left beyond is kept if it is the same, and cut otherwise: the log is what counts,
// the file follows it. It returns where the file ended, if that was before: the bytes
// between read as zeros now and are some that this node lacks.
func (f *chunkFiles) append(st *stream, c *Chunk) (whole int64, err error) {
	file, err := f.get(st)
	if err != nil {
		return 0, err
	}
	whole = min(file.length, st.size)
	return whole, file.put(st.size, frame(c))
}

// put makes the bytes at an offset equal to b.
func (f *chunkFile) put(offset int64, b []byte) error {
	if f.length > offset {
		same, err := f.has(offset, b)
		if err != nil || same {
			return err
		}
		if err := f.Truncate(offset); err != nil {
			return err
		}
		f.length = offset
	}
	n, err := f.WriteAt(b, offset)
	if n > 0 {
		f.length = offset + int64(n)
	}
	return err
}

func (f *chunkFile) has(offset int64, b []byte) (bool, error) {
	if f.length < offset+int64(len(b)) {
		return false, nil
	}
	have := make([]byte, len(b))
	if _, err := f.ReadAt(have, offset); err != nil {
		return false, err
	}
	return bytes.Equal(have, b), nil
}

// get returns the stream's file, opened or made. The header is put in place with the
// first chunk; of a stream that has chunks, and lacks them here, with what is fetched.
func (f *chunkFiles) get(st *stream) (*chunkFile, error) {
	if file := f.open[st.name]; file != nil {
		return file, nil
	}
	if len(f.order) >= maxOpenFiles {
		if err := f.close(f.order[0]); err != nil {
			return nil, err
		}
	}
	opened, err := openChunkFile(f.disk, f.dir, st)
	if err != nil {
		return nil, err
	}
	info, err := opened.Stat()
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	cf := &chunkFile{file: opened, length: info.Size()}
	if len(st.chunks) == 0 {
		if err := cf.put(0, st.header()); err != nil {
			return nil, errors.Join(err, opened.Close())
		}
	}
	f.open[st.name] = cf
	f.order = append(f.order, st.name)
	return cf, nil
}

// openChunkFile opens a stream's file for writing, or makes it.
func openChunkFile(d disk, dir string, st *stream) (file, error) {
	name := filepath.Join(dir, st.name)
	if err := d.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, err
	}
	return known(d.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600))
}

// readChunkFile opens a chunk file for reading.
func readChunkFile(d disk, name string) (file, error) {
	return known(d.OpenFile(name, os.O_RDONLY, 0))
}

// known refuses a chunk file of a version that this program does not know. What of the header is
// damaged is of no version.
func known(f file, err error) (file, error) {
	if err != nil {
		return nil, err
	}
	const fixed, maxName = 12, 1 << 10
	head := make([]byte, fixed+maxName+4)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		// Whoever reads on meets it again, and knows what to do.
		return f, nil
	}
	if n < fixed || string(head[:4]) != chunkMagic {
		return f, nil
	}
	version, name := binary.LittleEndian.Uint32(head[4:]), binary.LittleEndian.Uint32(head[8:])
	end := fixed + int64(name)
	if version <= chunkFileVersion || name > maxName || end+4 > int64(n) || Checksum(head[:end]) != binary.LittleEndian.Uint32(head[end:]) {
		return f, nil
	}
	return nil, errors.Join(fmt.Errorf("%s: its version is %d, and this program reads %d; start the version of the program that wrote it, or a newer one", f.Name(), version, chunkFileVersion), f.Close())
}

// close fsyncs, since an error of writing back is told to a descriptor that was
// open when it happened, and to no later one for sure (fsync(2)).
func (f *chunkFiles) close(name string) error {
	file := f.open[name]
	delete(f.open, name)
	for i, n := range f.order {
		if n == name {
			f.order = append(f.order[:i:i], f.order[i+1:]...)
			break
		}
	}
	return errors.Join(file.Sync(), file.Close())
}

func (f *chunkFiles) closeAll() error {
	var errs []error
	for len(f.order) > 0 {
		errs = append(errs, f.close(f.order[0]))
	}
	return errors.Join(errs...)
}

// forget closes the files of a run that are open, if the state machine has none of its
// chunks any more. What they hold is about to be removed, so an error is of no interest.
func (f *chunkFiles) forget(run string) {
	for _, name := range slices.Clone(f.order) {
		if filepath.Dir(name) != run {
			continue
		}
		_ = f.open[name].Close()
		delete(f.open, name)
		f.order = slices.DeleteFunc(f.order, func(n string) bool { return n == name })
	}
}

// readChunk reads the chunk that ref points at, and checks that it is that one. Its
// errors have ErrDamaged in their chain: the bytes are not there, or others are, or
// the disk does not give them.
func readChunk(from file, st *stream, ref chunkRef) (Chunk, error) {
	damaged := func(err error) error {
		return fmt.Errorf("%s at offset %d: chunk %d: %w", from.Name(), ref.offset, ref.sequence, err)
	}
	b := make([]byte, frameHeaderSize+int(ref.length))
	if n, err := from.ReadAt(b, ref.offset); err != nil {
		if errors.Is(err, io.EOF) {
			return Chunk{}, damaged(fmt.Errorf("%w: the file ends %d bytes early", ErrDamaged, len(b)-n))
		}
		return Chunk{}, damaged(fmt.Errorf("%w: %w", ErrDamaged, err))
	}
	c, err := parseFrame(b)
	if err != nil {
		return Chunk{}, damaged(err)
	}
	c.RunID, c.Agent, c.Incarnation = st.run, st.key.agent, st.key.incarnation
	if !ref.is(&c) {
		return Chunk{}, damaged(fmt.Errorf("%w: it is another chunk than was committed", ErrDamaged))
	}
	return c, nil
}

// checkHeader reports whether the stream's file begins as it should.
func checkHeader(from file, st *stream) error {
	want := st.header()
	have := make([]byte, len(want))
	_, err := from.ReadAt(have, 0)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("%s: %w: %w", from.Name(), ErrDamaged, err)
	case !bytes.Equal(have, want):
		return fmt.Errorf("%s: %w: its header is not that of this stream", from.Name(), ErrDamaged)
	}
	return nil
}
