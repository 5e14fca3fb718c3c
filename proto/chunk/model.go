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
	// optionsOf holds the options of the packet being written.
	optionsOf []byte

	frames uint64

	// The sockets that traces told of, in the order in which they first did; an encoder
	// finds them by cookie.
	traceTime   int64
	traced      []tracedSocket
	tracedIndex map[uint64]uint64
	cookie      uint64
	followers   map[traceShape]traceShape
	traceShapes map[traceShape]*traceModel

	counters    []counterModel
	queue       queueModel
	socketState socketModel

	// What sights of probes were like, and what came after each.
	probeTime  int64
	probed     probeShape
	probeSteps map[probeShape]probeStep
	probes     map[probeShape]*probeModel

	sample sampleModel
}

// laneModel is where a lane stands: a step begins right after the step before it
// returned.
type laneModel struct {
	step    uint32
	thread  uint32
	process uint32
	at      int64
	// info is the last struct tcp_info that was read in the lane, of whatever socket. It
	// is that of a step, which overwrites it.
	info *infoModel
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
		optionsOf: m.optionsOf,
		counters:  m.counters[:0],

		traced:      m.traced[:0],
		tracedIndex: clearMap(m.tracedIndex),
		followers:   clearMap(m.followers),
		traceShapes: clearMap(m.traceShapes),

		probeSteps: clearMap(m.probeSteps),
		probes:     clearMap(m.probes),
	}
}

func clearMap[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return make(map[K]V)
	}
	clear(m)
	return m
}
