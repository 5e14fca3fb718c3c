// Package chaos is the pure part of the fault tests: which faults there are, when each of
// them begins and ends, what the generators of load wrote and were told, and whether what
// the cluster has in the end agrees with that.
//
// A schedule depends on its seed and its settings alone. A check depends on the evidence
// alone: it reads no clock, starts nothing, and asks nobody. What it cannot decide it
// reports as a violation, never as success.
//
// Whatever touches processes, networks and disks is in the tests of package cli.
package chaos

import "fmt"

// Node is the number of a controller, from 0.
type Node int

// StreamID names the events of one start of an agent in one run.
type StreamID struct {
	Run, Agent  string
	Incarnation uint64
}

// String is the stream as messages name it.
func (s StreamID) String() string {
	return fmt.Sprintf("run %s, agent %s, start %d", s.Run, s.Agent, s.Incarnation)
}

// ChunkID names a chunk of a stream. Sequence counts from 1.
type ChunkID struct {
	StreamID
	Sequence uint64
}

// Chunk is what is known of a chunk: which events it has, and the SHA-256 of its bytes.
// FirstEvent counts from 1.
type Chunk struct {
	FirstEvent uint64
	Events     uint32
	SHA256     [32]byte
}

// Last is the number of its last event.
func (c Chunk) Last() uint64 { return c.FirstEvent + uint64(c.Events) - 1 }
