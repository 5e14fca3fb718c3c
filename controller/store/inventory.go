package store

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The inventory is a text in the directory of the chunk files that says which bytes of
// them are known to be on the disk:
//
//	syncline inventory 1
//	r-5c3a9f10/vm1-1.chunks 0-48211
//	r-5c3a9f10/vm2-1.chunks 0-512,9034-20480
//	end 2 crc32c 1b2c3d4e
//
// A line has the name of a file and ranges of bytes, each from its first to before its
// last, in order and not touching. The CRC-32C is of all before it.
//
// What it says was true when it was written and is taken back by nothing but damage, so
// an old inventory is never wrong, only short: what it does not name is looked at,
// and fetched if it is not there. Without it everything is.
const (
	inventoryName    = "inventory.txt"
	inventoryVersion = 1
	maxInventory     = 256 << 20
)

// span is a range of bytes of a file, from first to before end.
type span struct{ first, end int64 }

// stock has, by name of a chunk file, the bytes of it that are on the disk.
type stock map[string][]span

// holds reports whether all bytes of a range are in one of spans.
func holds(spans []span, first, end int64) bool {
	i, _ := slices.BinarySearchFunc(spans, first, func(s span, at int64) int { return cmp.Compare(s.end, at+1) })
	return i < len(spans) && spans[i].first <= first && end <= spans[i].end
}

// format is the inventory as it is written.
func (s stock) format() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "syncline inventory %d\n", inventoryVersion)
	names := slices.Sorted(maps.Keys(s))
	for _, name := range names {
		b.WriteString(name)
		sep := byte(' ')
		for _, r := range s[name] {
			b.WriteByte(sep)
			b.Write(strconv.AppendInt(b.AvailableBuffer(), r.first, 10))
			b.WriteByte('-')
			b.Write(strconv.AppendInt(b.AvailableBuffer(), r.end, 10))
			sep = ','
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "end %d crc32c ", len(names))
	fmt.Fprintf(&b, "%08x\n", Checksum(b.Bytes()))
	return b.Bytes()
}

// parseInventory reads an inventory. It takes exactly what format writes.
func parseInventory(b []byte) (stock, error) {
	body, sum, err := cutChecksum(b)
	if err != nil {
		return nil, err
	}
	if got := fmt.Sprintf("%08x", Checksum(body)); got != sum {
		return nil, fmt.Errorf("%w: its CRC-32C is %s, it says %.16q", ErrDamaged, got, sum)
	}
	lines := strings.Split(string(body), "\n")
	var version int
	if n, err := fmt.Sscanf(lines[0], "syncline inventory %d", &version); n != 1 || err != nil {
		return nil, fmt.Errorf("%w: it begins with %.40q", ErrDamaged, lines[0])
	}
	if version != inventoryVersion {
		return nil, fmt.Errorf("its version is %d, and this program reads %d", version, inventoryVersion)
	}
	if len(lines) == 1 {
		return nil, fmt.Errorf("%w: it has no end", ErrDamaged)
	}
	s := stock{}
	for _, line := range lines[1 : len(lines)-1] {
		name, spans, err := parseInventoryLine(line)
		if err != nil {
			return nil, err
		}
		s[name] = spans
	}
	// The one way to write it is the one way to read it: order, number, digits.
	if !bytes.Equal(s.format(), b) {
		return nil, fmt.Errorf("%w: it is not written as inventories are", ErrDamaged)
	}
	return s, nil
}

// cutChecksum parts the text from the checksum behind it.
func cutChecksum(b []byte) (body []byte, sum string, err error) {
	const mark = " crc32c "
	i := bytes.LastIndex(b, []byte(mark))
	if i < 0 || !bytes.HasSuffix(b, []byte("\n")) {
		return nil, "", fmt.Errorf("%w: it ends early", ErrDamaged)
	}
	i += len(mark)
	return b[:i], string(b[i : len(b)-1]), nil
}

func parseInventoryLine(line string) (name string, spans []span, err error) {
	damaged := fmt.Errorf("%w: line %.80q", ErrDamaged, line)
	name, ranges, ok := strings.Cut(line, " ")
	if !ok || !filepath.IsLocal(name) {
		return "", nil, damaged
	}
	at := int64(-1)
	for r := range strings.SplitSeq(ranges, ",") {
		first, end, _ := strings.Cut(r, "-")
		s := span{}
		var err1, err2 error
		s.first, err1 = strconv.ParseInt(first, 10, 64)
		s.end, err2 = strconv.ParseInt(end, 10, 64)
		if err1 != nil || err2 != nil || s.first <= at || s.end <= s.first {
			return "", nil, damaged
		}
		at = s.end
		spans = append(spans, s)
	}
	return name, spans, nil
}

// durable are the bytes of the stream's file that are on the disk.
func (s *stream) durable() []span {
	if s.synced <= int64(len(s.header())) {
		return nil
	}
	if s.lacking == nil {
		return []span{{0, s.synced}}
	}
	var out []span
	at := int64(0)
	for i := range s.chunks {
		ref := &s.chunks[i]
		if ref.end() > s.synced {
			break
		}
		switch {
		case s.lacking.has(i):
		case len(out) > 0 && out[len(out)-1].end == at:
			out[len(out)-1].end = ref.end()
		case i == 0:
			// The header is in place as soon as anything else is.
			out = append(out, span{0, ref.end()})
		default:
			out = append(out, span{ref.offset, ref.end()})
		}
		at = ref.end()
	}
	return out
}

// stock is what this node has on its disk now.
func (m *machine) stock() stock {
	m.mu.RLock()
	defer m.mu.RUnlock()
	s := stock{}
	for _, r := range m.runs {
		for _, st := range r.streams {
			if spans := st.durable(); len(spans) > 0 {
				s[st.name] = spans
			}
		}
	}
	return s
}

// saveStock writes the inventory.
func (m *machine) saveStock() error {
	m.stockMu.Lock()
	defer m.stockMu.Unlock()
	if err := putFile(m.files.disk, m.files.dir, inventoryName, m.stock().format()); err != nil {
		return fmt.Errorf("write the inventory of chunk files: %w", err)
	}
	return nil
}

// loadStock reads the inventory. One that is damaged counts as none, since all it
// spares is work.
func (m *machine) loadStock() (stock, error) {
	name := filepath.Join(m.files.dir, inventoryName)
	b, err := readFile(m.files.disk, name, maxInventory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the inventory of chunk files: %w", err)
	}
	s, err := parseInventory(b)
	if err != nil {
		m.fault.log.Warn("the inventory of chunk files cannot be used; all of them are looked at again", "file", name, "reason", err)
		return nil, nil
	}
	return s, nil
}

// takeStock finds out what this node has of a state that it is about to take on, from
// what it knows or, at its start, from the inventory, and the length of each file; it
// reads none. It returns the streams that are not complete.
func (m *machine) takeStock(s *state) (map[*stream]struct{}, error) {
	have := m.stock()
	if len(have) == 0 {
		var err error
		if have, err = m.loadStock(); err != nil {
			return nil, err
		}
	}
	incomplete := map[*stream]struct{}{}
	for _, id := range s.order {
		for _, st := range s.runs[id].streams {
			length, err := m.lengthOf(st)
			if err != nil {
				return nil, err
			}
			st.synced, st.logged = st.size, len(st.chunks)
			if cut := st.takeStock(have[st.name], length); cut > 0 {
				m.counts.damaged.Add(uint64(cut))
				m.fault.log.Error("a chunk file is shorter than it was; what is missing is fetched from another node",
					"file", filepath.Join(m.files.dir, st.name), "bytes", length, "missing chunks", cut)
			}
			if st.lacking != nil {
				incomplete[st] = struct{}{}
			}
		}
	}
	return incomplete, nil
}

// lengthOf is how long a stream's file is, 0 if there is none.
func (m *machine) lengthOf(st *stream) (int64, error) {
	name := filepath.Join(m.files.dir, st.name)
	info, err := m.files.disk.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look at a chunk file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is no file: %w", name, ErrDamaged)
	}
	return info.Size(), nil
}

// takeStock marks as lacking what is not in have, or beyond the file's length. It
// returns how many chunks were there and are not any more.
func (s *stream) takeStock(have []span, length int64) (cut int) {
	if holds(have, 0, s.size) && length >= s.size {
		return 0
	}
	for i := range s.chunks {
		ref := &s.chunks[i]
		known := holds(have, ref.offset, ref.end())
		if known && ref.end() <= length {
			continue
		}
		if known {
			s.damaged.set(i)
			cut++
		}
		s.lacking.set(i)
	}
	return cut
}
