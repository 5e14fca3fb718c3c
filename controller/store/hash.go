package store

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
)

// hashFormat is raised when the hash of the same state becomes another one.
const hashFormat = 1

type stateHash = [sha256.Size]byte

// setSum is a sum of SHA-256 digests, in four lanes modulo 2^64. It does not depend on the
// order of what was added, and what was added can be taken away. It finds damage and bugs;
// it is no protection against somebody who chooses what is added.
type setSum [4]uint64

func (s *setSum) add(d stateHash) {
	for i := range s {
		s[i] += binary.BigEndian.Uint64(d[8*i:])
	}
}

func (s *setSum) remove(d stateHash) {
	for i := range s {
		s[i] -= binary.BigEndian.Uint64(d[8*i:])
	}
}

func (s *setSum) appendTo(b []byte) []byte {
	for _, v := range s {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

// partKey names one thing of the state that has a digest of its own: kind 'a' for an
// agent, 'n' for a node, 'r' for a run with its chunks.
type partKey struct {
	kind byte
	name string
}

// sums keep the hash of the state up to date without reading all of it: only what
// changed since the last time is digested again.
type sums struct {
	total setSum
	parts map[partKey]stateHash
	dirty map[partKey]struct{}
}

func newSums() sums {
	return sums{parts: map[partKey]stateHash{}, dirty: map[partKey]struct{}{}}
}

func (s *sums) touch(kind byte, name string) { s.dirty[partKey{kind, name}] = struct{}{} }

// touchAll makes the next hash read everything.
func (s *state) touchAll() {
	s.sums = newSums()
	for name := range s.agents {
		s.sums.touch('a', name)
	}
	for id := range s.nodes {
		s.sums.touch('n', id)
	}
	for id := range s.runs {
		s.sums.touch('r', id)
	}
}

// hash is of everything that entries have made of the state, and of nothing else: not of how it
// came to be, nor of what files this node has.
func (s *state) hash() stateHash {
	for key := range s.sums.dirty {
		if old, ok := s.sums.parts[key]; ok {
			s.sums.total.remove(old)
			delete(s.sums.parts, key)
		}
		if part, ok := s.partHash(key); ok {
			s.sums.total.add(part)
			s.sums.parts[key] = part
		}
	}
	clear(s.sums.dirty)
	b := []byte("syncline state 1\n")
	b = binary.BigEndian.AppendUint64(b, uint64(s.time))
	b = appendText(b, s.cluster)
	b = s.sums.total.appendTo(b)
	b = s.answers.sum.appendTo(b)
	b = binary.BigEndian.AppendUint64(b, uint64(len(s.order)))
	for _, id := range s.order {
		b = appendText(b, id)
	}
	return sha256.Sum256(b)
}

// partHash is the digest of one part, if it is there.
func (s *state) partHash(key partKey) (stateHash, bool) {
	b := appendText([]byte{key.kind}, key.name)
	var m proto.Message
	switch key.kind {
	case 'a':
		a, ok := s.agents[key.name]
		if !ok {
			return stateHash{}, false
		}
		m = agentToLog(a)
	case 'n':
		n, ok := s.nodes[key.name]
		if !ok {
			return stateHash{}, false
		}
		m = nodeToLog(n)
	case 'r':
		r := s.runs[key.name]
		if r == nil {
			return stateHash{}, false
		}
		r.hashChunks()
		b = r.chunkSum.appendTo(b)
		if d := r.departureToLog(); d != nil {
			b = appendDigested(b, d)
		}
		m = runToLog(r.Run)
	}
	return sha256.Sum256(appendDigested(b, m)), true
}

// appendDigested appends a message as it goes into a digest.
func appendDigested(b []byte, m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(b, m)
	if err != nil {
		// Agents name themselves, and a text that is no UTF-8 cannot be marshalled. What the
		// log carried can be, so this is a bug.
		panic(fmt.Sprintf("store: digest of %T: %v", m, err))
	}
	return b
}

// hashChunks adds the chunks that came since the last time.
func (r *runRecord) hashChunks() {
	for key, st := range r.streams {
		for _, ref := range st.chunks[st.hashed:] {
			r.chunkSum.add(ref.hash(key))
		}
		st.hashed = len(st.chunks)
	}
}

func (r *chunkRef) hash(key streamKey) stateHash {
	b := appendText(make([]byte, 0, 160), key.agent)
	for _, v := range []uint64{key.incarnation, r.sequence, r.firstEvent, uint64(r.events), uint64(r.length), uint64(r.crc)} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return sha256.Sum256(append(b, r.digest[:]...))
}

func appendText(b []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(text))), text...)
}

// sortedNodes returns the nodes by id.
func (s *state) sortedNodes() []Node {
	out := make([]Node, 0, len(s.nodes))
	for _, id := range slices.Sorted(maps.Keys(s.nodes)) {
		out = append(out, s.nodes[id])
	}
	return out
}
