package agent

import synclinev1 "syncline/proto/syncline/v1"

// Capabilities says of every source if this process can have it on this host, in the
// network namespace of the calling thread; where not, why, and what to do. It is what an
// agent started in the place of the caller would tell its controller. It is empty where
// no agent runs, outside of Linux.
func Capabilities() []*synclinev1.Capability { return capabilities() }

// Features says of what experiments may need of a host besides sources, by the names that
// they have under `needs`, if this host has it, in the network namespace of the calling
// thread. It is what an agent started in the place of the caller, and told no address,
// would tell its controller: what cannot be known before it is tried is left out, and so is
// what could not be found out, of which the error tells, a line each; the others are
// returned all the same. Nothing is changed, but the kernel may load nf_tables. It is empty
// outside of Linux.
func Features() ([]*synclinev1.Feature, error) {
	addresses, err := hostAddresses()
	return features(addresses, err)
}
