package chunk

// model is what both sides remember of the events before, and predict from. It
// begins empty with every chunk.
type model struct {
	number     uint64
	repetition uint32
	// time is time_ns of the last event of any kind.
	time int64
	// ahead is CLOCK_REALTIME minus CLOCK_MONOTONIC as last seen.
	ahead int64

	lane  string
	lanes map[string]*laneModel
	steps map[stepKey]*callModel
	port  uint64

	packetTime  int64
	packetError int64
	flows       []flow
	flowIndex   map[flowKey]uint64
	newFlow     flow
	shapes      map[shapeKey]*shape
	// captured is, by protocol, the most bytes of payload that were kept of a packet.
	captured map[uint32]uint64
	// scratch holds the options of the packet being written.
	scratch []byte

	frames uint64

	counters    []counterModel
	queue       queueModel
	socketState socketModel
}

// laneModel is where a lane stands: a step begins right after the step before it
// returned.
type laneModel struct {
	step    uint32
	thread  uint32
	process uint32
	at      int64
}

// stepKey is a place in an experiment. Repetition after repetition the same call is
// made there, so the call before is the best prediction.
type stepKey struct {
	lane  string
	step  uint32
	byLab bool
}

func (m *model) reset() {
	*m = model{
		lanes:     clearMap(m.lanes),
		steps:     clearMap(m.steps),
		flows:     m.flows[:0],
		flowIndex: clearMap(m.flowIndex),
		shapes:    clearMap(m.shapes),
		captured:  clearMap(m.captured),
		scratch:   m.scratch,
		counters:  m.counters[:0],
	}
}

func clearMap[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return make(map[K]V)
	}
	clear(m)
	return m
}
