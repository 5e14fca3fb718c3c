package store

import (
	"fmt"

	"github.com/hashicorp/raft"

	logv1 "syncline/proto/syncline/log/v1"
)

// entryVersion is the newest version of log entries that this program applies.
//
//	1  agents, runs, chunks
//	2  nodes, the cluster's id, taking a run over, checkpoints; request ids of every command
//	3  runs leave for an archive, or for good
const entryVersion = 3

// EntryVersion is entryVersion, for a node that introduces itself.
const EntryVersion = entryVersion

// versionOf is the version of entries that a program must know to apply this one. What old
// programs know keeps its old version, so that they go on during an upgrade.
func versionOf(entry *logv1.Entry) uint32 {
	switch entry.Command.(type) {
	case *logv1.Entry_ArchiveRun, *logv1.Entry_RemoveRun:
		return 3
	case *logv1.Entry_FoundCluster, *logv1.Entry_PutNode, *logv1.Entry_TakeRun, *logv1.Entry_Checkpoint:
		return 2
	}
	if entry.ClientId != "" || len(entry.CommandDigest) > 0 {
		return 2
	}
	return 1
}

// clusterVersion is what all members of a cluster apply: only programs with it were ever able to
// join one. A node that says nothing of itself has it.
const clusterVersion = 2

// ErrTooOld: a node runs a program that could not apply the entry, and would stop. Nothing was
// proposed.
var ErrTooOld = fmt.Errorf("a node of the cluster runs a program that is too old for this")

// gate refuses an entry that a voter could not apply: nodes are upgraded one after the other,
// and the new kinds of entries wait for the last of them.
func (s *Store) gate(entry *logv1.Entry) error {
	if entry.Version <= clusterVersion || entry.Ignorable {
		return nil
	}
	servers, _ := s.servers()
	return s.fsm.supports(voters(servers), entry.Version)
}

func (m *machine) supports(servers []raft.Server, version uint32) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, v := range servers {
		n := m.nodes[string(v.ID)]
		if n.EntryVersion < version {
			return fmt.Errorf("%w: node %s (%s) applies log entries up to version %d, and this one has version %d; upgrade that node first", ErrTooOld, v.ID, n.Version, n.EntryVersion, version)
		}
	}
	return nil
}
