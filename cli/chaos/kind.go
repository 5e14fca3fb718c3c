package chaos

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind is a kind of fault.
type Kind string

// Kinds of faults. The leader is whoever leads when the fault begins.
const (
	KillLeader       Kind = "kill-leader"
	KillFollower     Kind = "kill-follower"
	KillAll          Kind = "kill-all"
	KillAgent        Kind = "kill-agent"
	TermLeader       Kind = "term-leader"
	StopLeader       Kind = "stop-leader"
	StopFollower     Kind = "stop-follower"
	StopAgent        Kind = "stop-agent"
	RestartStorm     Kind = "restart-storm"
	IsolateLeader    Kind = "isolate-leader"
	IsolateFollower  Kind = "isolate-follower"
	PartitionAll     Kind = "partition-all"
	DeafLeader       Kind = "deaf-leader"
	MuteLeader       Kind = "mute-leader"
	CutPair          Kind = "cut-pair"
	Flapping         Kind = "flapping"
	ResetPeers       Kind = "reset-peers"
	IsolateAgent     Kind = "isolate-agent"
	SlowLink         Kind = "slow-link"
	DiskFull         Kind = "disk-full"
	DiskReadOnly     Kind = "disk-read-only"
	DiskSlow         Kind = "disk-slow"
	DiskHangs        Kind = "disk-hangs"
	DiskFails        Kind = "disk-fails"
	CorruptLog       Kind = "corrupt-log"
	CorruptSnapshot  Kind = "corrupt-snapshot"
	CorruptIdentity  Kind = "corrupt-identity"
	CorruptInventory Kind = "corrupt-inventory"
	CorruptChunk     Kind = "corrupt-chunk"
	CorruptSpool     Kind = "corrupt-spool"
	TruncateChunk    Kind = "truncate-chunk"
	DeleteChunk      Kind = "delete-chunk"
	RotChunk         Kind = "rot-chunk"
	KillInSnapshot   Kind = "kill-in-snapshot"
	KillInFetch      Kind = "kill-in-fetch"
	TruncateSpool    Kind = "truncate-spool"
	WipeNode         Kind = "wipe-node"
	RemoveAndJoin    Kind = "remove-and-join"
	Transfer         Kind = "transfer"
	RenewAll         Kind = "renew-certificates"
	Garbage          Kind = "garbage"
	Repeat           Kind = "repeat-and-reorder"
)

// Reach is what a fault takes away as long as it lasts. Faults that overlap must leave the
// machine something to recover with, or it would not be known which of them did what.
type Reach int

// Reaches of a fault.
const (
	// Harmless: every node and agent goes on.
	Harmless Reach = iota
	// OneNode: one controller is without use, as seen by some of the others.
	OneNode
	// Quorum: there may be no majority.
	Quorum
	// OneAgent: one agent is without use.
	OneAgent
)

// Trait is what is said of a kind: how long it may last, what it takes away, and what shows
// that it really happened.
type Trait struct {
	Kind     Kind
	Reach    Reach
	Min, Max time.Duration
	// Evidence is what is looked at, for the table.
	Evidence string
	// Storage: it leaves a disk less than whole, so no other fault may do that to another node
	// at the same time: two of three copies are what the cluster promises to need.
	Storage bool
}

// Kinds are all kinds of faults, in the order of the table.
func Kinds() []Trait {
	const s = time.Second
	return []Trait{
		{KillLeader, OneNode, 1 * s, 6 * s, "the process ended by SIGKILL", false},
		{KillFollower, OneNode, 1 * s, 6 * s, "the process ended by SIGKILL", false},
		{KillAll, Quorum, 1 * s, 4 * s, "three processes ended by SIGKILL", false},
		{KillAgent, OneAgent, 1 * s, 5 * s, "the process ended by SIGKILL", false},
		{TermLeader, OneNode, 1 * s, 5 * s, "the process ended by itself after SIGTERM", false},
		{StopLeader, OneNode, 1 * s, 30 * s, "/proc/PID/stat says T", false},
		{StopFollower, OneNode, 1 * s, 30 * s, "/proc/PID/stat says T", false},
		{StopAgent, OneAgent, 1 * s, 30 * s, "/proc/PID/stat says T", false},
		{RestartStorm, OneNode, 3 * s, 8 * s, "so many processes of one node ended by SIGKILL", false},
		{IsolateLeader, OneNode, 2 * s, 12 * s, "packets that its firewall counted", false},
		{IsolateFollower, OneNode, 2 * s, 12 * s, "packets that its firewall counted", false},
		{PartitionAll, Quorum, 2 * s, 8 * s, "packets that three firewalls counted", false},
		{DeafLeader, OneNode, 2 * s, 10 * s, "packets that its firewall counted on their way in", false},
		{MuteLeader, OneNode, 2 * s, 10 * s, "packets that its firewall counted on their way out", false},
		{CutPair, OneNode, 2 * s, 10 * s, "packets that a firewall counted between the leader and one other node", false},
		{Flapping, OneNode, 2 * s, 8 * s, "packets that its firewall counted, every other 200 ms", false},
		{ResetPeers, OneNode, 1 * s, 4 * s, "segments that its firewall answered with RST", false},
		{IsolateAgent, OneAgent, 2 * s, 25 * s, "packets that its firewall counted", false},
		{SlowLink, Harmless, 3 * s, 12 * s, "packets that the token bucket held back", false},
		{DiskFull, OneNode, 2 * s, 8 * s, "statfs(2) says that 0 blocks are free", false},
		{DiskReadOnly, OneNode, 2 * s, 6 * s, "writing a file fails with EROFS", false},
		{DiskSlow, OneNode, 3 * s, 10 * s, "how long a write to it took", false},
		{DiskHangs, OneNode, 3 * s, 9 * s, "how long a write to it took", false},
		{DiskFails, OneNode, 2 * s, 6 * s, "writing a file fails with EIO", false},
		{CorruptLog, OneNode, 1 * s, 3 * s, "the file differs from its copy in one byte", true},
		{CorruptSnapshot, OneNode, 1 * s, 3 * s, "the file differs from its copy in one byte", true},
		{CorruptIdentity, OneNode, 1 * s, 3 * s, "the file differs from its copy in one byte", true},
		{CorruptInventory, OneNode, 1 * s, 3 * s, "the file differs from its copy in one byte", true},
		{CorruptChunk, OneNode, 1 * s, 3 * s, "the file differs from its copy in one byte", true},
		{CorruptSpool, OneAgent, 1 * s, 3 * s, "the file differs from its copy in one byte", false},
		{TruncateSpool, OneAgent, 1 * s, 3 * s, "the file is shorter", false},
		{TruncateChunk, OneNode, 1 * s, 3 * s, "the file is shorter", true},
		{DeleteChunk, OneNode, 1 * s, 3 * s, "the file is gone", true},
		{RotChunk, OneNode, 1 * s, 3 * s, "the file differs from its copy in one byte, under a node that runs", true},
		{KillInSnapshot, OneNode, 1 * s, 4 * s, "the snapshot that was not finished is left", false},
		{KillInFetch, OneNode, 1 * s, 4 * s, "some of the files were there again, and some not", true},
		{WipeNode, OneNode, 2 * s, 5 * s, "the directory is empty, and the node has a new id", true},
		{RemoveAndJoin, OneNode, 2 * s, 5 * s, "the members without it, and then with it", true},
		{Transfer, Harmless, 1 * s, 2 * s, "another node leads", false},
		{RenewAll, Harmless, 1 * s, 3 * s, "the nodes' certificates have other serial numbers", false},
		{Garbage, Harmless, 1 * s, 4 * s, "bytes that were written to the ports", false},
		{Repeat, Harmless, 2 * s, 10 * s, "chunks that were sent twice, and out of order", false},
	}
}

// NeedsDevice reports whether a fault is one of a disk that is a block device of its own. One node has
// such a disk.
func (k Kind) NeedsDevice() bool { return k == DiskSlow || k == DiskHangs || k == DiskFails }

// OfDisk reports whether a fault is one of a whole disk. Only one such is at work at a time: one that hangs
// cannot be made read-only, and nothing shows that one hangs which is.
func (k Kind) OfDisk() bool { return k.NeedsDevice() || k == DiskFull || k == DiskReadOnly }

// TraitOf finds what is said of a kind.
func TraitOf(k Kind) (Trait, bool) {
	all := Kinds()
	i := slices.IndexFunc(all, func(t Trait) bool { return t.Kind == k })
	if i < 0 {
		return Trait{}, false
	}
	return all[i], true
}

// ParseKinds reads names of kinds, separated by commas; "" or "all" are all of them.
func ParseKinds(list string) ([]Kind, error) {
	var kinds []Kind
	if list == "" || list == "all" {
		for _, t := range Kinds() {
			kinds = append(kinds, t.Kind)
		}
		return kinds, nil
	}
	for name := range strings.SplitSeq(list, ",") {
		k := Kind(strings.TrimSpace(name))
		if _, ok := TraitOf(k); !ok {
			return nil, fmt.Errorf("no fault is called %q; there are: %s", k, names())
		}
		if !slices.Contains(kinds, k) {
			kinds = append(kinds, k)
		}
	}
	return kinds, nil
}

func names() string {
	var all []string
	for _, t := range Kinds() {
		all = append(all, string(t.Kind))
	}
	return strings.Join(all, ", ")
}
