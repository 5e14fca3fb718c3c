package agent

import synclinev1 "syncline/proto/syncline/v1"

// Capabilities says of every source if this process can have it on this host, in the
// network namespace of the calling thread; where not, why, and what to do. It is what an
// agent started in the place of the caller would tell its controller. It is empty where
// no agent runs, outside of Linux.
func Capabilities() []*synclinev1.Capability { return capabilities() }
