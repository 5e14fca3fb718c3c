package store

import (
	"fmt"

	logv1 "syncline/proto/syncline/log/v1"
)

// MaxNodes bounds the nodes that a cluster remembers, those that were removed included.
const MaxNodes = 1000

// Node is a controller that is, or was, a member of the cluster.
type Node struct {
	ID string
	// Disk is the UUID of its directory.
	Disk    string
	Address string
	// EntryVersion is the newest version of entries that its program applies.
	EntryVersion uint32
	// Version is of its program.
	Version string
}

func (n *Node) check() error {
	switch {
	case !ValidNodeID(n.ID):
		return fmt.Errorf("%w: node id %q: 1 to %d lower-case letters, digits, '-' and '.', please", ErrInvalid, n.ID, MaxNameBytes)
	case !validUUID(n.Disk):
		return fmt.Errorf("%w: the disk of node %s is %.60q, which is no UUID", ErrInvalid, n.ID, n.Disk)
	case len(n.Address) > maxAddressBytes:
		return fmt.Errorf("%w: the address of node %s has %d bytes, at most %d are allowed", ErrInvalid, n.ID, len(n.Address), maxAddressBytes)
	case len(n.Version) > maxRequestBytes:
		return fmt.Errorf("%w: the version of node %s has %d bytes, at most %d are allowed", ErrInvalid, n.ID, len(n.Version), maxRequestBytes)
	}
	return nil
}

// maxAddressBytes is of a DNS name and a port.
const maxAddressBytes = 253 + 1 + 5

// putNode remembers a node. Its disk is for ever: the node with that id on another disk has
// forgotten what it voted for.
func (s *state) putNode(n Node) error {
	if err := n.check(); err != nil {
		return err
	}
	have, ok := s.nodes[n.ID]
	switch {
	case ok && have.Disk != n.Disk:
		return fmt.Errorf("%w: node %s has disk %s, and the one that asks has %s; remove node %s from the cluster, and join with an empty directory under a new id",
			ErrOtherDisk, n.ID, have.Disk, n.Disk, n.ID)
	case !ok && len(s.nodes) >= MaxNodes:
		return fmt.Errorf("%w: %d nodes are remembered, which is the most", ErrTooMany, MaxNodes)
	}
	s.nodes[n.ID] = n
	return nil
}

// foundCluster gives the cluster its id, once.
func (s *state) foundCluster(id string) error {
	if !validClusterID(id) {
		return fmt.Errorf("%w: cluster id %q", ErrInvalid, id)
	}
	if s.cluster != "" && s.cluster != id {
		return fmt.Errorf("%w: this is cluster %s, not %s", ErrInvalid, s.cluster, id)
	}
	s.cluster = id
	return nil
}

// takeRun makes the epoch of a run one more.
func (s *state) takeRun(id string) (Run, error) {
	r := s.runs[id]
	if r == nil {
		return Run{}, fmt.Errorf("%w: %s", ErrUnknownRun, id)
	}
	if r.Seal != nil {
		return r.Run, fmt.Errorf("%w: %s", ErrSealed, id)
	}
	r.Epoch++
	return r.Run, nil
}

func nodeToLog(n Node) *logv1.Node {
	return &logv1.Node{Id: n.ID, Disk: n.Disk, Address: n.Address, EntryVersion: n.EntryVersion, Version: n.Version}
}

func nodeFromLog(n *logv1.Node) Node {
	return Node{ID: n.GetId(), Disk: n.GetDisk(), Address: n.GetAddress(), EntryVersion: n.GetEntryVersion(), Version: n.GetVersion()}
}

func answerToLog(a answer) *logv1.Request {
	return &logv1.Request{
		ClientId: a.Client, RequestId: a.ID, Command: a.command, Digest: a.digest, TimeNs: a.time, RunId: a.runID, Epoch: a.epoch,
	}
}

func answerFromLog(r *logv1.Request) answer {
	return answer{
		Request: Request{Client: r.GetClientId(), ID: r.GetRequestId()}, command: r.GetCommand(), digest: r.GetDigest(), time: r.GetTimeNs(),
		runID: r.GetRunId(), epoch: r.GetEpoch(),
	}
}
