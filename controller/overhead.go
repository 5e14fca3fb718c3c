package controller

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"syncline/controller/experiment"
	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// maxRounds bounds the rounds of one measurement.
const maxRounds = 1000

// Names of the settings that are no single source.
const (
	bareSetting = "bare"
	allSetting  = "all"
)

// plannedOverhead is the measurement that a run is to make after its repetitions, nil
// if rounds is 0. What cannot be measured is refused here, before anything runs.
func plannedOverhead(exp *experiment.Experiment, rounds int) (*synclinev1.Overhead, error) {
	if rounds == 0 {
		return nil, nil
	}
	first, err := exp.At(0, 1)
	if err != nil {
		return nil, err
	}
	settings := overheadSettings(first.Observe)
	if len(settings) == 0 {
		return nil, errors.New("the experiment observes nothing but calls, and those are always reported: there is no cost to measure; add sources to observe, as in: observe: [syscalls, packets]")
	}
	if w, waits := packetWait(first); waits {
		return nil, fmt.Errorf("a lane waits until %s: it cannot run without the source packets, so there is nothing to compare with", w.Text)
	}
	if rounds > maxRounds {
		return nil, fmt.Errorf("%d rounds to measure the cost of watching; at most %d", rounds, maxRounds)
	}
	if all := (rounds + 1) * len(settings); all > maxRepetitions {
		return nil, fmt.Errorf("%d rounds of %d settings are %d repetitions; at most %d", rounds, len(settings), all, maxRepetitions)
	}
	return &synclinev1.Overhead{Variant: first.Variants[0].Name, Rounds: uint32(rounds)}, nil
}

// packetWait finds a wait for a packet.
func packetWait(exp *experiment.Experiment) (experiment.Watch, bool) {
	i := slices.IndexFunc(exp.Watches, func(w experiment.Watch) bool { return w.Packet != nil })
	if i < 0 {
		return experiment.Watch{}, false
	}
	return exp.Watches[i], true
}

// overheadSettings are what is compared: calls alone, all sources that an experiment
// asks for, and each of them alone, if there are several. None, if it asks for calls
// only.
func overheadSettings(observe []string) []*synclinev1.OverheadSetting {
	const calls = synclinev1.Source_SOURCE_SYSCALLS
	all := &synclinev1.OverheadSetting{Name: allSetting, Sources: []synclinev1.Source{calls}}
	var alone []*synclinev1.OverheadSetting
	for _, name := range observe {
		source := sourceToProto(name)
		if source == synclinev1.Source_SOURCE_UNSPECIFIED || source == calls {
			continue
		}
		all.Sources = append(all.Sources, source)
		alone = append(alone, &synclinev1.OverheadSetting{Name: name, Sources: []synclinev1.Source{calls, source}})
	}
	bare := &synclinev1.OverheadSetting{Name: bareSetting, Sources: []synclinev1.Source{calls}}
	switch len(alone) {
	case 0:
		return nil
	case 1:
		return []*synclinev1.OverheadSetting{bare, all}
	}
	return append([]*synclinev1.OverheadSetting{bare, all}, alone...)
}

// overheadToStore is what the log keeps of a measurement.
func overheadToStore(o *synclinev1.Overhead) []byte {
	if o == nil {
		return nil
	}
	b, err := proto.Marshal(o)
	if err != nil {
		panic(fmt.Sprintf("a message of numbers and valid UTF-8 cannot be encoded: %v", err))
	}
	return b
}

// overheadFromStore reads it back.
func overheadFromStore(b []byte) *synclinev1.Overhead {
	if len(b) == 0 {
		return nil
	}
	o := &synclinev1.Overhead{}
	if err := proto.Unmarshal(b, o); err != nil {
		return &synclinev1.Overhead{Failure: fmt.Sprintf("what the log holds of the measurement cannot be read: %v", err)}
	}
	return o
}

// measuredFrom is the first repetition of a run that only measured what watching costs;
// 0 if there is none. What happened from there on is no part of any timeline. The number
// before it is of no repetition: as in any run, what comes after the last one has it, and
// belongs to what the taps of the run itself must account for.
func measuredFrom(run store.Run) int { return int(overheadFromStore(run.Overhead).GetFirst()) }
