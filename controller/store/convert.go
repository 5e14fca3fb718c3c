package store

import (
	logv1 "syncline/proto/syncline/log/v1"
)

// The log's messages and the types of this package say the same; this file is the
// only one that turns one into the other.

func convertAll[A, B any](in []A, convert func(A) B) []B {
	if len(in) == 0 {
		return nil
	}
	out := make([]B, len(in))
	for i, a := range in {
		out[i] = convert(a)
	}
	return out
}

func agentToLog(a Agent) *logv1.Agent {
	return &logv1.Agent{
		Name: a.Name, Labels: a.Labels, Addresses: a.Addresses, Kernel: a.Kernel, Version: a.Version,
		BootId: a.BootID, Incarnation: a.Incarnation, Capabilities: convertAll(a.Capabilities, capabilityToLog),
		LastSeenNs: a.LastSeenNs, ClockId: a.ClockID, TestClock: a.TestClock,
	}
}

func agentFromLog(a *logv1.Agent) Agent {
	return Agent{
		Name: a.GetName(), Labels: a.GetLabels(), Addresses: a.GetAddresses(), Kernel: a.GetKernel(), Version: a.GetVersion(),
		BootID: a.GetBootId(), Incarnation: a.GetIncarnation(), Capabilities: convertAll(a.GetCapabilities(), capabilityFromLog),
		LastSeenNs: a.GetLastSeenNs(), ClockID: a.GetClockId(), TestClock: a.GetTestClock(),
	}
}

func capabilityToLog(c Capability) *logv1.Capability {
	return &logv1.Capability{Source: c.Source, Available: c.Available, Reason: c.Reason, Remedy: c.Remedy}
}

func capabilityFromLog(c *logv1.Capability) Capability {
	return Capability{Source: c.GetSource(), Available: c.GetAvailable(), Reason: c.GetReason(), Remedy: c.GetRemedy()}
}

func hostToLog(h RunHost) *logv1.RunHost {
	return &logv1.RunHost{
		Name: h.Name, Agent: h.Agent, Address: h.Address, Kernel: h.Kernel, ClockId: h.ClockID, Address6: h.Address6,
		TestClock: h.TestClock, Capabilities: convertAll(h.Capabilities, capabilityToLog),
	}
}

func hostFromLog(h *logv1.RunHost) RunHost {
	return RunHost{
		Name: h.GetName(), Agent: h.GetAgent(), Address: h.GetAddress(), Kernel: h.GetKernel(), ClockID: h.GetClockId(), Address6: h.GetAddress6(),
		TestClock: h.GetTestClock(), Capabilities: convertAll(h.GetCapabilities(), capabilityFromLog),
	}
}

func variantToLog(v RunVariant) *logv1.RunVariant {
	return &logv1.RunVariant{Name: v.Name, First: uint32(v.First), Last: uint32(v.Last)}
}

func variantFromLog(v *logv1.RunVariant) RunVariant {
	return RunVariant{Name: v.GetName(), First: int(v.GetFirst()), Last: int(v.GetLast())}
}

func environmentToLog(e Environment) *logv1.HostEnvironment {
	return &logv1.HostEnvironment{Host: e.Host, Data: e.Data}
}

func environmentFromLog(e *logv1.HostEnvironment) Environment {
	return Environment{Host: e.GetHost(), Data: e.GetData()}
}

func probingToLog(p Probing) *logv1.Probing {
	if p == (Probing{}) {
		return nil
	}
	return &logv1.Probing{Off: p.Off, Rate: uint32(p.Rate), AllPairs: p.AllPairs}
}

func probingFromLog(p *logv1.Probing) Probing {
	return Probing{Off: p.GetOff(), Rate: int(p.GetRate()), AllPairs: p.GetAllPairs()}
}

// runToLog leaves the counts out: they follow from the chunks.
func runToLog(r Run) *logv1.Run {
	return &logv1.Run{
		Id: r.ID, Experiment: r.Experiment, FileName: r.FileName, Source: r.Source, State: logv1.RunState(r.State),
		Reason: r.Reason, Epoch: r.Epoch, Repetitions: uint32(r.Repetitions), RepetitionsDone: uint32(r.RepetitionsDone),
		Hosts: convertAll(r.Hosts, hostToLog), Bindings: r.Bindings, CreatedNs: r.CreatedNs, EndedNs: r.EndedNs,
		Incomplete: r.Incomplete, Seal: r.Seal, RequestId: r.requestID,
		Variants: convertAll(r.Variants, variantToLog), Set: r.Set, Cases: r.Cases, Runs: uint32(r.Runs),
		Environments: convertAll(r.Environments, environmentToLog), Overhead: r.Overhead,
		Probing: probingToLog(r.Probing), Warnings: r.Warnings,
	}
}

func runFromLog(r *logv1.Run) Run {
	return Run{
		ID: r.GetId(), Experiment: r.GetExperiment(), FileName: r.GetFileName(), Source: r.GetSource(), State: RunState(r.GetState()),
		Reason: r.GetReason(), Epoch: r.GetEpoch(), Repetitions: int(r.GetRepetitions()), RepetitionsDone: int(r.GetRepetitionsDone()),
		Hosts: convertAll(r.GetHosts(), hostFromLog), Bindings: r.GetBindings(), CreatedNs: r.GetCreatedNs(), EndedNs: r.GetEndedNs(),
		Incomplete: r.GetIncomplete(), Seal: r.GetSeal(), requestID: r.GetRequestId(),
		Variants: convertAll(r.GetVariants(), variantFromLog), Set: r.GetSet(), Cases: r.GetCases(), Runs: int(r.GetRuns()),
		Environments: convertAll(r.GetEnvironments(), environmentFromLog), Overhead: r.GetOverhead(),
		Probing: probingFromLog(r.GetProbing()), Warnings: r.GetWarnings(),
	}
}

func changeToLog(id string, c RunChange) *logv1.ChangeRun {
	out := &logv1.ChangeRun{RunId: id, Epoch: c.Epoch, Incomplete: c.Incomplete, NextEpoch: c.NextEpoch, Overhead: c.Overhead, Warnings: c.Warnings}
	if c.State != 0 {
		state := logv1.RunState(c.State)
		out.State = &state
	}
	if c.Reason != "" {
		out.Reason = &c.Reason
	}
	if c.RepetitionsDone != 0 {
		done := uint32(c.RepetitionsDone)
		out.RepetitionsDone = &done
	}
	if c.Repetitions != 0 {
		all := uint32(c.Repetitions)
		out.Repetitions = &all
	}
	if len(c.Hosts) > 0 {
		out.Hosts = &logv1.RunHosts{Hosts: convertAll(c.Hosts, hostToLog)}
	}
	out.Variants = convertAll(c.Variants, variantToLog)
	return out
}

func changeFromLog(c *logv1.ChangeRun) RunChange {
	return RunChange{
		Epoch: c.GetEpoch(), State: RunState(c.GetState()), Reason: c.GetReason(), RepetitionsDone: int(c.GetRepetitionsDone()),
		Hosts: convertAll(c.GetHosts().GetHosts(), hostFromLog), Incomplete: c.GetIncomplete(), NextEpoch: c.GetNextEpoch(),
		Variants: convertAll(c.GetVariants(), variantFromLog), Repetitions: int(c.GetRepetitions()), Overhead: c.GetOverhead(),
		Warnings: c.GetWarnings(),
	}
}

func sealingToLog(id string, s Sealing) *logv1.SealRun {
	return &logv1.SealRun{RunId: id, Epoch: s.Epoch, State: logv1.RunState(s.State), Reason: s.Reason, Incomplete: s.Incomplete}
}

func sealingFromLog(s *logv1.SealRun) Sealing {
	return Sealing{Epoch: s.GetEpoch(), State: RunState(s.GetState()), Reason: s.GetReason(), Incomplete: s.GetIncomplete()}
}

func chunkToLog(c Chunk) *logv1.AppendChunk {
	return &logv1.AppendChunk{
		RunId: c.RunID, Agent: c.Agent, Incarnation: c.Incarnation, Sequence: c.Sequence,
		FirstEvent: c.FirstEvent, Events: c.Events, Data: c.Data, Crc32C: c.CRC32C,
	}
}

func chunkFromLog(c *logv1.AppendChunk) Chunk {
	return Chunk{
		RunID: c.GetRunId(), Agent: c.GetAgent(), Incarnation: c.GetIncarnation(), Sequence: c.GetSequence(),
		FirstEvent: c.GetFirstEvent(), Events: c.GetEvents(), Data: c.GetData(), CRC32C: c.GetCrc32C(),
	}
}
