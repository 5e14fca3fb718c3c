package clock

import (
	"math"
	"math/rand/v2"
)

// lab is a simulated lab whose true times are known.
type lab struct {
	clocks   []truth
	messages []Message
	random   *rand.Rand
	// span is how long it ran, in nanoseconds of true time.
	span float64
}

// truth is a clock that wanders: its rate swings around a constant error.
type truth struct {
	offset, rate         float64
	swing, period, phase float64
}

// read is what the clock shows at true time t. Together rate and swing stay below
// 99.9 ppm, so two clocks never gain more than 200 ppm on each other.
func (c truth) read(t float64) Local {
	wander := c.swing * c.period / (2 * math.Pi) * (math.Sin(2*math.Pi*t/c.period+c.phase) - math.Sin(c.phase))
	return Local(math.Floor(c.offset + t*(1+c.rate) + wander))
}

// wander is how much its rate changes in a second at most.
func (c truth) wander() float64 { return c.swing * 2 * math.Pi / c.period * 1e9 }

// network is what messages between two hosts go through, one way.
type network struct {
	delay, jitter, loss float64
}

func newLab(seed uint64) *lab {
	l := &lab{random: rand.New(rand.NewPCG(seed, 7))}
	l.span = math.Pow(10, 6+5*l.random.Float64())
	for range 2 + l.random.IntN(3) {
		rate := (2*l.random.Float64() - 1) * 99.9e-6
		l.clocks = append(l.clocks, truth{
			offset: (2*l.random.Float64() - 1) * 3600e9,
			rate:   rate,
			swing:  (99.9e-6 - math.Abs(rate)) * l.random.Float64(),
			period: l.span * (0.05 + l.random.Float64()),
			phase:  2 * math.Pi * l.random.Float64(),
		})
	}
	return l
}

// talk sends n messages between hosts that have a path, each way with its own delay
// and loss. Stamps are wrong by up to err, and say so.
func (l *lab) talk(n int, err int64) {
	hosts := len(l.clocks)
	paths := make([]network, hosts*hosts)
	for i := range paths {
		paths[i] = network{
			delay: math.Pow(10, 2+5*l.random.Float64()), jitter: math.Pow(10, 1+5*l.random.Float64()), loss: l.random.Float64() * 0.8,
		}
		if l.random.IntN(5) == 0 {
			paths[i].loss = 1
		}
	}
	for range n {
		from, to := l.random.IntN(hosts), l.random.IntN(hosts)
		path := paths[from*hosts+to]
		if from == to || l.random.Float64() < path.loss {
			continue
		}
		sent := l.random.Float64() * l.span
		received := sent + path.delay + l.random.ExpFloat64()*path.jitter
		l.messages = append(l.messages, Message{
			From: from, Sent: l.clocks[from].read(sent) + l.wrong(err), SentErr: err,
			To: to, Received: l.clocks[to].read(received) + l.wrong(err), ReceivedErr: err,
		})
	}
}

func (l *lab) wrong(err int64) Local {
	if err == 0 {
		return 0
	}
	return Local(l.random.Int64N(2*err+1) - err)
}

func (l *lab) model() *Model { return NewModel(l.config(), l.messages) }

// config assumes of the clocks what is true of them.
func (l *lab) config() Config {
	var most float64
	for i, a := range l.clocks {
		for _, b := range l.clocks[:i] {
			most = max(most, a.wander()+b.wander())
		}
	}
	return Config{Hosts: len(l.clocks), WanderPPM: most * 1.001e6}
}

// when is a true time in the run or somewhat outside it.
func (l *lab) when() float64 { return (l.random.Float64()*1.5 - 0.25) * l.span }
