package controller

import (
	"cmp"
	"fmt"
	"slices"

	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// recordToProto is all that is kept of a run but its experiment and its events. Where
// those are is nothing of the run's: a bundle has them, wherever it was made from.
func recordToProto(r store.Run) *synclinev1.RunRecord {
	r.Archive, r.Removed = store.Archive{}, store.Removal{}
	return &synclinev1.RunRecord{
		Run: withEnvironments(r), FileName: r.FileName, Bindings: r.Bindings, Set: r.Set, Cases: r.Cases, RepetitionsAsked: uint32(r.Runs),
	}
}

// recordFromProto is the opposite, of a run with that experiment. What is not as a store
// would have kept it is refused: a record may come from a stranger.
func recordFromProto(m *synclinev1.RunRecord, source []byte) (store.Run, error) {
	r := m.GetRun()
	run := store.Run{
		ID: r.GetId(), Experiment: r.GetExperiment(), FileName: m.GetFileName(), Source: source, Reason: r.GetReason(), Epoch: r.GetEpoch(),
		Repetitions: int(r.GetRepetitions()), RepetitionsDone: int(r.GetRepetitionsDone()), Bindings: m.GetBindings(),
		Set: m.GetSet(), Cases: m.GetCases(), Runs: int(m.GetRepetitionsAsked()),
		CreatedNs: r.GetCreatedNs(), EndedNs: r.GetEndedNs(), Incomplete: r.GetIncomplete(), Overhead: overheadToStore(r.GetOverhead()),
		Probing:  store.Probing{Off: r.GetProbing().GetOff(), Rate: int(r.GetProbing().GetRate()), AllPairs: r.GetProbing().GetAllPairs()},
		Warnings: r.GetWarnings(), Seal: r.GetSeal(), Events: r.GetEvents(), Chunks: r.GetChunks(), Bytes: r.GetBytes(),
	}
	for native, state := range runStates {
		if state == r.GetState() {
			run.State = native
		}
	}
	for _, v := range r.GetVariants() {
		run.Variants = append(run.Variants, store.RunVariant{Name: v.GetName(), First: int(v.GetFirst()), Last: int(v.GetLast())})
	}
	for _, h := range r.GetHosts() {
		run.Hosts = append(run.Hosts, runHostFromProto(h))
		if h.GetEnvironment() == nil {
			continue
		}
		e, err := environmentToStore(h.GetName(), h.GetEnvironment())
		if err != nil {
			return store.Run{}, err
		}
		run.Environments = append(run.Environments, e)
	}
	slices.SortFunc(run.Environments, func(a, b store.Environment) int { return cmp.Compare(a.Host, b.Host) })
	return run, checkRecord(&run)
}

func runHostFromProto(h *synclinev1.RunHost) store.RunHost {
	return store.RunHost{
		Name: h.GetName(), Agent: h.GetAgent(), Address: h.GetAddress(), Address6: h.GetAddress6(), Kernel: h.GetKernel(), ClockID: h.GetClockId(),
		TestClock: h.GetTestClock(), Capabilities: capabilitiesFromProto(h.GetCapabilities()),
	}
}

// checkRecord refuses what no sealed run has.
func checkRecord(run *store.Run) error {
	switch {
	case run.ID == "":
		return fmt.Errorf("it names no run")
	case !store.ValidRunID(run.ID):
		// Files get their names from it, and terminals show it.
		return fmt.Errorf("run id %q: 1 to %d lower-case letters, digits and dashes, not a dash first, are possible", run.ID, store.MaxNameBytes)
	case !run.State.Final() || len(run.Seal) == 0:
		return fmt.Errorf("run %s is %s and not sealed", run.ID, run.State)
	case run.RepetitionsDone > run.Repetitions || run.Repetitions > maxRepetitions:
		return fmt.Errorf("run %s has made %d of %d repetitions; at most %d are possible", run.ID, run.RepetitionsDone, run.Repetitions, maxRepetitions)
	case run.Runs > maxRepetitions:
		return fmt.Errorf("run %s was to have %d repetitions; at most %d are possible", run.ID, run.Runs, maxRepetitions)
	case len(run.Hosts) > store.MaxHosts:
		return fmt.Errorf("run %s has %d hosts; at most %d are possible", run.ID, len(run.Hosts), store.MaxHosts)
	case len(run.Variants) > store.MaxVariants:
		return fmt.Errorf("run %s has %d variants; at most %d are possible", run.ID, len(run.Variants), store.MaxVariants)
	case len(run.Overhead) > store.MaxOverhead:
		return fmt.Errorf("run %s has %d bytes on what watching costs; at most %d are possible", run.ID, len(run.Overhead), store.MaxOverhead)
	}
	agents := map[string]bool{}
	for _, h := range run.Hosts {
		// What an experiment may call a host is one of the names that an agent may have.
		if !agentName.MatchString(h.Name) || !agentName.MatchString(h.Agent) {
			return fmt.Errorf("host %q of run %s with agent %q: 1 to 63 letters, digits, dots, dashes and underscores are possible for either", h.Name, run.ID, h.Agent)
		}
		if agents[h.Agent] {
			return fmt.Errorf("agent %q has two roles in run %s", h.Agent, run.ID)
		}
		agents[h.Agent] = true
	}
	return nil
}
