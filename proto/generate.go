// Package proto is the contract between agents, the controller and operators.
//
// An agent dials the controller and keeps two streams open: Control carries the
// life of runs in both directions, Upload carries chunks of events up and
// acknowledgements down. They are two HTTP/2 streams of two connections, so
// that a flood of events never delays a start, a signal or a cancel.
//
// An operator (the command line, the page) uses RunService, AgentService and
// TimelineService. Controllers of one cluster ask each other by PeerService, beside
// raft. Anything that lasts is offered as a server stream that opens
// with a snapshot.
//
// Directory syncline/v1 is what crosses the network. Directory syncline/log/v1
// is what goes into the raft log; it is versioned apart, because a log outlives
// the binary that wrote it. Package chunk is the columnar encoding of events.
//
// Every time is an int64 of nanoseconds, and its name or its comment says of
// which clock. Times of two hosts are never comparable before the controller has
// put them on one clock.
package proto

//go:generate buf generate
