package web

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// blockSize is how many bytes of JSON a block has before it is closed. Opening one
// repetition unpacks a whole block, which at this size takes a browser a few milliseconds;
// and repetitions that are alike pack well together.
const blockSize = 512 << 10

// packer collects the elements of one block after the other.
type packer struct {
	// block is the number of the open one; it has count elements in buf, 0 if none is open.
	block, count int
	buf          bytes.Buffer
}

// New makes a page without repetitions. runs have everything but those.
func New(tool, title, command string, runs []Run) *Page {
	return &Page{Schema: Schema, Tool: tool, Title: title, Command: command, Runs: runs, Blocks: 1, blocks: make([][]byte, 1)}
}

// Add puts a repetition into the page, after those of its run that are there. run indexes
// p.Runs, o has all but the places of the blocks, and events are the JSON of each event, by
// Moment.Event. The repetition is packed at once, and can be forgotten.
func (p *Page) Add(run int, o Overview, r *Repetition, events []json.RawMessage) error {
	if run < 0 || run >= len(p.Runs) {
		return fmt.Errorf("repetition %d is of run %d, and the page has %d", o.N, run, len(p.Runs))
	}
	for _, m := range r.Moments {
		if m.Event < 0 || m.Event >= len(events) {
			return fmt.Errorf("repetition %d: a moment is of event %d, and there are %d", o.N, m.Event, len(events))
		}
	}
	var err error
	if o.Block, o.Index, err = p.pack(&p.repetitions, r); err != nil {
		return fmt.Errorf("repetition %d: %w", o.N, err)
	}
	if o.EventBlock, o.EventIndex, err = p.pack(&p.events, List[json.RawMessage](events)); err != nil {
		return fmt.Errorf("events of repetition %d: %w", o.N, err)
	}
	p.Runs[run].Repetitions = append(p.Runs[run].Repetitions, o)
	return nil
}

// pack adds an element to the open block, and says where it is.
func (p *Page) pack(k *packer, element any) (block, index int, err error) {
	text, err := json.Marshal(element)
	if err != nil {
		return 0, 0, err
	}
	if k.count == 0 {
		k.block = p.Blocks
		p.Blocks++
		p.blocks = append(p.blocks, nil)
	}
	k.buf.WriteByte("[,"[min(k.count, 1)])
	k.buf.Write(text)
	block, index = k.block, k.count
	k.count++
	if k.buf.Len() >= blockSize {
		err = p.close(k)
	}
	return block, index, err
}

// close packs the open block, if there is one.
func (p *Page) close(k *packer) error {
	if k.count == 0 {
		return nil
	}
	k.buf.WriteByte(']')
	packed, err := compress(k.buf.Bytes())
	if err != nil {
		return err
	}
	p.blocks[k.block] = packed
	k.count = 0
	k.buf.Reset()
	return nil
}

// finish closes what is open, makes block 0 and returns all blocks as base64 of gzip.
func (p *Page) finish() ([][]byte, error) {
	if len(p.blocks) == 0 {
		return nil, errors.New("the page was not made with New")
	}
	if err := errors.Join(p.close(&p.repetitions), p.close(&p.events)); err != nil {
		return nil, err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	p.blocks[0], err = compress(text)
	return p.blocks, err
}

// compress is base64 of gzip. Its bytes depend on the text alone.
func compress(text []byte) ([]byte, error) {
	var b bytes.Buffer
	encoded := base64.NewEncoder(base64.StdEncoding, &b)
	z, err := gzip.NewWriterLevel(encoded, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	_, err = z.Write(text)
	err = errors.Join(err, z.Close(), encoded.Close())
	return b.Bytes(), err
}
