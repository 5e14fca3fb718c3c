package store

import (
	"fmt"
	"strings"

	logv1 "syncline/proto/syncline/log/v1"
)

const (
	// checkpointEvery is how many entries of the log lie between two checkpoints.
	checkpointEvery = 1000
	// checkpointsKept is how many a node remembers of its own: enough for the entry that
	// compares one to come thousands of entries later.
	checkpointsKept = 16
)

// StateHash is the hash of the state after an entry. Every node computes it after the
// same entries.
type StateHash struct {
	Index uint64
	Hash  stateHash
}

// checkpoint computes the hash of the state as it was after the last multiple of every,
// if the entry of an index is the first beyond it. Raft's own entries have indices and do
// not come here, so the multiple itself may never be seen. The caller holds mu.
func (m *machine) checkpoint(index uint64) {
	boundary := (index - 1) / m.every * m.every
	if boundary <= m.checked {
		return
	}
	m.checked = boundary
	if m.applied > boundary {
		return // restored from a snapshot that is beyond it
	}
	if len(m.checkpoints) >= checkpointsKept {
		m.checkpoints = m.checkpoints[1:]
	}
	m.checkpoints = append(m.checkpoints, StateHash{Index: boundary, Hash: m.hash()})
}

// compare stops this node if its state was another than that of the others. A node that has
// no checkpoint of that entry, since it was restored from a later snapshot, has nothing to
// compare: the snapshot's own hash was compared then.
func (m *machine) compare(c *logv1.Checkpoint) error {
	if c.GetFormat() != hashFormat {
		return nil
	}
	for _, own := range m.checkpoints {
		if own.Index == c.GetIndex() && string(own.Hash[:]) != string(c.GetHash()) {
			return fmt.Errorf("the state of this node after entry %d (hash %x) is not that of %s (%x): its memory, its disk or its program is at fault; "+
				"do not start it again: remove it from the cluster, and join with an empty directory under a new id",
				own.Index, own.Hash[:8], strings.Join(c.GetNodeIds(), ", "), c.GetHash())
		}
	}
	return nil
}

// stateHashes returns the checkpoints of this node, the oldest first.
func (m *machine) stateHashes() []StateHash {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return append([]StateHash(nil), m.checkpoints...)
}
