package store

import (
	"errors"
	"fmt"
	"hash/crc32"
)

// Limits. What is beyond them is refused with an error that names the limit.
const (
	MaxAgents      = 1024
	MaxRuns        = 10_000
	MaxHosts       = 256
	MaxStreams     = 1024 // of one run
	MaxChunkBytes  = 256 << 10
	MaxSourceBytes = 256 << 10
	MaxNameBytes   = 64
	MaxIncomplete  = 1000     // entries of Run.Incomplete, and of Run.Warnings
	MaxVariants    = 1024     // of one run
	MaxOverhead    = 64 << 10 // bytes of Run.Overhead
	MaxSet         = 256      // variables that an operator sets, and cases chosen
	// MaxEnvironmentBytes is of one host of a run.
	MaxEnvironmentBytes = 64 << 10
	maxEntryBytes       = MaxChunkBytes + 64<<10
	maxReasonBytes      = 4 << 10
	maxRequestBytes     = 128
)

// Errors that a caller branches on. Those of the state machine (all but the first
// three) say that the request was committed and refused, for ever.
var (
	// ErrNotLeader: nothing was proposed; ask the leader, which the message names if
	// it is known. Safe to retry.
	ErrNotLeader = errors.New("this node does not lead the cluster")
	// ErrBusy: nothing was proposed, since the log is behind. Safe to retry.
	ErrBusy = errors.New("the log is too busy to take the request")
	// ErrUnknownOutcome: it may or may not be committed. Repeat the same request, with
	// the same request id.
	ErrUnknownOutcome = errors.New("not known whether it was committed")

	ErrInvalid    = errors.New("invalid request")
	ErrTooMany    = errors.New("limit reached")
	ErrUnknownRun = errors.New("no such run")
	ErrExists     = errors.New("a run of that id exists")
	// ErrTransition: the run's state does not allow the change.
	ErrTransition = errors.New("the run's state does not allow this")
	// ErrEpoch: another leader took the run over.
	ErrEpoch = errors.New("the run is in another epoch")
	// ErrSealed: the run takes no chunk and no change any more.
	ErrSealed = errors.New("the run is sealed")
	// ErrConflict: another chunk of that number is stored.
	ErrConflict = errors.New("another chunk has this number")
	// ErrArchived: the nodes keep no chunks of the run; Run.Archive says where they are.
	ErrArchived = errors.New("the run is archived")
	// ErrRemoved: the chunks of the run are gone.
	ErrRemoved = errors.New("the run was removed")
	// ErrReused: the request id was used for something else.
	ErrReused = errors.New("this request id was used for another request")
	// ErrOtherDisk: the node is known with another disk.
	ErrOtherDisk = errors.New("the node has lost its disk")
	// ErrDamaged: bytes do not match their checksum.
	ErrDamaged = errors.New("damaged")
)

// Agent is one machine of the lab, as it last introduced itself.
type Agent struct {
	Name         string
	Labels       map[string]string
	Addresses    []string
	Kernel       string
	Version      string
	BootID       string
	Incarnation  uint64
	Capabilities []Capability
	// LastSeenNs is CLOCK_REALTIME of the controller, nanoseconds since 1970.
	LastSeenNs int64
	// ClockID is equal for two agents exactly if they read the very same
	// CLOCK_MONOTONIC.
	ClockID string
	// TestClock describes the test clock that its times are of; empty: they are real.
	TestClock string
}

// Capability says if a source can be had on a host.
type Capability struct {
	// Source is "syscalls" or "packets".
	Source    string
	Available bool
	// Reason says why not, Remedy what to do about it.
	Reason, Remedy string
}

// RunState is where a run is in its life.
type RunState int

// States of a run, with the numbers of the log. A run goes from left to right
// through Planned, Prepared, Running, Collecting, Sealed, and from any of the first
// four to Failed or Cancelled. The last three are final.
const (
	Planned RunState = iota + 1
	Prepared
	Running
	Collecting
	Sealed
	Failed
	Cancelled
)

var stateNames = [...]string{"none", "planned", "prepared", "running", "collecting", "sealed", "failed", "cancelled"}

// String is the state as people read it.
func (s RunState) String() string {
	if s >= 0 && int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state %d", int(s))
}

// Final reports whether a run in this state never leaves it.
func (s RunState) Final() bool { return s >= Sealed }

// Run is one execution of an experiment. Its slices and maps are shared between
// all who read it: do not write to them.
type Run struct {
	// ID is "r-" and random hex digits; CreateRun makes one up if it is empty.
	ID         string
	Experiment string
	// FileName and Source are the experiment file.
	FileName        string
	Source          []byte
	State           RunState
	Reason          string
	Epoch           uint64
	Repetitions     int
	RepetitionsDone int
	Hosts           []RunHost
	// Bindings are roles to agent names, as the operator asked.
	Bindings map[string]string
	// Set are variables of the file with the values the operator gave them, Cases the
	// cases chosen (none: all), Runs the repetitions of each variant asked for (0: as the
	// file says). With Source they are all that a plan is made from.
	Set   map[string]string
	Cases []string
	Runs  int
	// Variants says which repetitions were of which variant, in order.
	Variants []RunVariant
	// CreatedNs and EndedNs are CLOCK_REALTIME of the controller that proposed the
	// change, nanoseconds since 1970, and never run backwards. EndedNs is 0 before the
	// final state.
	CreatedNs, EndedNs int64
	// Incomplete is what is known to be missing.
	Incomplete []string
	// Overhead is what watching costs, nil if nobody asked. Whoever proposes it knows what
	// it says; it is opaque here, as chunks are.
	Overhead []byte
	// Environments are by host, in the order of their names.
	Environments []Environment
	// Probing says how the clocks of its hosts are probed.
	Probing Probing
	// Warnings are what a reader should know and that takes nothing from the evidence.
	Warnings []string
	// Seal is the SHA-256 that Digest defines, nil until the run is sealed.
	Seal []byte
	// Events, Chunks and Bytes count what is stored, or was before the run left. Bytes are
	// of the chunks' data.
	Events, Chunks, Bytes uint64
	// Archive is where the chunks are if they are in an archive and not here. Zero: they
	// are not.
	Archive Archive
	// Removed says since when there are no chunks of it, as far as the cluster knows. Zero:
	// there are.
	Removed Removal

	requestID string
}

// Here reports whether the nodes keep the chunks of the run.
func (r *Run) Here() bool { return r.Archive.URL == "" && r.Removed.AtNs == 0 }

// Archive is where the chunks of a run are.
type Archive struct {
	// URL is the bucket's, Manifest the name of the run's manifest in it, SHA256 of its
	// bytes.
	URL, Manifest string
	SHA256        []byte
	// AtNs is CLOCK_REALTIME of the controller that proposed it, nanoseconds since 1970.
	AtNs int64
}

// Removal says when the chunks of a run were removed, and why.
type Removal struct {
	// AtNs is CLOCK_REALTIME of the controller that proposed it, nanoseconds since 1970,
	// never 0.
	AtNs   int64
	Reason string
}

// Probing says how clocks are probed. The zero Probing is that of a run of before there
// were probes.
type Probing struct {
	// Off: not at all.
	Off bool
	// Rate is exchanges a second with each peer.
	Rate int
	// AllPairs: every pair of hosts, and not only as many as are needed.
	AllPairs bool
}

// RunVariant is a variant of the experiment and its repetitions, First to Last; Last
// is 0 while none was begun.
type RunVariant struct {
	Name        string
	First, Last int
}

// RunHost is a role of a run and the agent that plays it.
type RunHost struct {
	Name, Agent, Address, Kernel, ClockID string
	// Address6 is its IPv6 address, if Address is none and the agent has one.
	Address6 string
	// TestClock describes the test clock that its times are of; empty: they are real.
	TestClock    string
	Capabilities []Capability
}

// Environment is what a host of a run was like. Data are opaque here.
type Environment struct {
	// Host is the role.
	Host string
	Data []byte
}

// RunChange is what ChangeRun does to a run. Fields left zero change nothing.
type RunChange struct {
	// Epoch must be the run's.
	Epoch uint64
	// State is the next state, never Sealed: only Seal leads there.
	State  RunState
	Reason string
	// RepetitionsDone never goes back.
	RepetitionsDone int
	// Repetitions is how many there are in all, once that is fewer than planned.
	Repetitions int
	// Hosts replaces all hosts, Variants all variants.
	Hosts    []RunHost
	Variants []RunVariant
	// Overhead replaces Run.Overhead.
	Overhead []byte
	// Incomplete is added to what is known to be missing, Warnings to the run's, each
	// entry once.
	Incomplete []string
	Warnings   []string
	// NextEpoch makes the epoch one more, after everything else.
	NextEpoch bool
}

// Sealing is how Seal ends a run.
type Sealing struct {
	// Epoch must be the run's.
	Epoch uint64
	// State is Sealed, Failed or Cancelled. A run that is failed or cancelled already
	// keeps its state and its reason.
	State  RunState
	Reason string
	// Incomplete is added to what is known to be missing, each entry once.
	Incomplete []string
}

// Chunk is a block of consecutive events of one stream. Data are opaque here.
type Chunk struct {
	RunID       string
	Agent       string
	Incarnation uint64
	// Sequence is the number of the chunk in its stream, from 1.
	Sequence uint64
	// FirstEvent is the number of its first event; Events counts them, at least one.
	FirstEvent uint64
	Events     uint32
	Data       []byte
	// CRC32C is of Data.
	CRC32C uint32
}

// Stream is what is stored of the events of one start of an agent in one run.
type Stream struct {
	Agent       string
	Incarnation uint64
	Chunks      uint64
	Events      uint64
	Bytes       uint64
	// Contiguous is the number of chunks from the first without a hole in their
	// sequence numbers and in their event numbers, LastEvent the number of the last
	// event in them.
	Contiguous uint64
	LastEvent  uint64
	// Gaps are the sequence numbers missing before the highest stored, in order.
	Gaps []Gap
}

// Gap is a range of sequence numbers, both ends included.
type Gap struct{ First, Last uint64 }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum is the CRC-32C that Chunk.CRC32C holds.
func Checksum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

// addChecksum is the Checksum of what sum is of and data behind it.
func addChecksum(sum uint32, data []byte) uint32 { return crc32.Update(sum, castagnoli, data) }

// check refuses a chunk before it is proposed, and again, with the same answer on
// every node, when it is applied.
func (c *Chunk) check() error {
	switch {
	case !ValidRunID(c.RunID):
		return fmt.Errorf("%w: run id %q", ErrInvalid, c.RunID)
	case !validName(c.Agent):
		return fmt.Errorf("%w: agent name %q: 1 to %d bytes, please", ErrInvalid, c.Agent, MaxNameBytes)
	case c.Sequence == 0 || c.FirstEvent == 0 || c.Events == 0:
		return fmt.Errorf("%w: chunk %d with %d events from %d: all numbers count from 1", ErrInvalid, c.Sequence, c.Events, c.FirstEvent)
	case c.FirstEvent+uint64(c.Events) < c.FirstEvent:
		return fmt.Errorf("%w: chunk %d: its event numbers overflow", ErrInvalid, c.Sequence)
	case len(c.Data) == 0 || len(c.Data) > MaxChunkBytes:
		return fmt.Errorf("%w: chunk %d has %d bytes, 1 to %d are allowed", ErrInvalid, c.Sequence, len(c.Data), MaxChunkBytes)
	case Checksum(c.Data) != c.CRC32C:
		return fmt.Errorf("chunk %d of %s: %w: CRC-32C is %08x, the sender computed %08x", c.Sequence, c.Agent, ErrDamaged, Checksum(c.Data), c.CRC32C)
	}
	return nil
}

// check refuses an environment before it is proposed, and again when it is applied.
func (e *Environment) check() error {
	if !validName(e.Host) {
		return fmt.Errorf("%w: host name %q: 1 to %d bytes, please", ErrInvalid, e.Host, MaxNameBytes)
	}
	if len(e.Data) > MaxEnvironmentBytes {
		return fmt.Errorf("%w: the environment of host %s has %d bytes, at most %d are kept", ErrTooMany, e.Host, len(e.Data), MaxEnvironmentBytes)
	}
	return nil
}

// ValidRunID reports whether a run may be called so: by what can be a directory's name on any system.
func ValidRunID(id string) bool {
	if len(id) == 0 || len(id) > MaxNameBytes || id[0] == '-' {
		return false
	}
	for _, b := range []byte(id) {
		if (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '-' {
			return false
		}
	}
	return true
}

func validName(name string) bool { return len(name) > 0 && len(name) <= MaxNameBytes }

func (r *Run) check() error {
	switch {
	case !ValidRunID(r.ID):
		return fmt.Errorf("%w: run id %q: lower-case letters, digits and hyphens, please", ErrInvalid, r.ID)
	case len(r.Source) > MaxSourceBytes:
		return fmt.Errorf("%w: an experiment of %d bytes, at most %d are allowed", ErrInvalid, len(r.Source), MaxSourceBytes)
	case len(r.Hosts) > MaxHosts:
		return fmt.Errorf("%w: %d hosts, at most %d are allowed", ErrTooMany, len(r.Hosts), MaxHosts)
	case len(r.Variants) > MaxVariants:
		return fmt.Errorf("%w: %d variants, at most %d are allowed", ErrTooMany, len(r.Variants), MaxVariants)
	case len(r.Set) > MaxSet || len(r.Cases) > MaxSet:
		return fmt.Errorf("%w: %d variables and %d cases, at most %d are allowed of each", ErrTooMany, len(r.Set), len(r.Cases), MaxSet)
	case len(r.Warnings) > MaxIncomplete+1:
		// One more says that there were more.
		return fmt.Errorf("%w: %d warnings, at most %d are kept", ErrTooMany, len(r.Warnings), MaxIncomplete)
	case r.Probing.Rate < 0:
		return fmt.Errorf("%w: %d exchanges of probes a second", ErrInvalid, r.Probing.Rate)
	case len(r.Overhead) > MaxOverhead:
		return fmt.Errorf("%w: %d bytes on what watching costs, at most %d are allowed", ErrTooMany, len(r.Overhead), MaxOverhead)
	case r.Repetitions < 0 || r.RepetitionsDone < 0 || r.Runs < 0:
		return fmt.Errorf("%w: negative repetitions", ErrInvalid)
	}
	return nil
}
