package clock

import (
	"math"
	"math/rand/v2"
	"slices"
)

// lab is a simulated lab whose true times are known.
type lab struct {
	clocks   []truth
	messages []Message
	random   *rand.Rand
	changes  []Change
	// span is how long it ran, in nanoseconds of true time.
	span float64
	// defaults: the clocks are so that the default assumptions hold.
	defaults bool
}

// truth is a clock that wanders: its rate swings around a constant error. It may be steered,
// and stand still while its host is suspended.
type truth struct {
	offset, rate         float64
	swing, period, phase float64
	steers               []steer
	stops                []stop
}

// steer adds to a clock's rate, once its host was awake for so long.
type steer struct{ at, rate float64 }

// stop is a suspend, in true time.
type stop struct{ at, length float64 }

// read is what the clock shows at true time t. Together rate, steers and swing stay below
// 99.9 ppm, so two clocks never gain more than 200 ppm on each other.
func (c truth) read(t float64) Local {
	awake := c.awake(t)
	wander := c.swing * c.period / (2 * math.Pi) * (math.Sin(2*math.Pi*awake/c.period+c.phase) - math.Sin(c.phase))
	reading := c.offset + awake*(1+c.rate) + wander
	for _, s := range c.steers {
		reading += max(0, awake-s.at) * s.rate
	}
	return Local(math.Floor(reading))
}

// awake is how long the host was awake until true time t.
func (c truth) awake(t float64) float64 {
	awake := t
	for _, s := range c.stops {
		awake -= max(0, min(t-s.at, s.length))
	}
	return awake
}

// stands reports whether the host is suspended: it neither sends nor receives then.
func (c truth) stands(t float64) bool {
	return slices.ContainsFunc(c.stops, func(s stop) bool { return t >= s.at && t <= s.at+s.length })
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
		if l.clocks[from].stands(sent) || l.clocks[to].stands(received) {
			continue
		}
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
	cfg := Config{Hosts: len(l.clocks), Changes: l.changes}
	if !l.defaults {
		cfg.WanderPPM = max(most*1.001e6, 1e-6)
	}
	return cfg
}

// when is a true time in the run or somewhat outside it.
func (l *lab) when() float64 { return (l.random.Float64()*1.5 - 0.25) * l.span }

// disturb steers clocks and suspends hosts, now and then, and has them report it: some time
// about the change, as a keeper of the clock sees it.
func (l *lab) disturb() {
	for host := range l.clocks {
		c := &l.clocks[host]
		if l.random.IntN(3) == 0 {
			room := 99.9e-6 - math.Abs(c.rate) - c.swing
			for range 1 + l.random.IntN(2) {
				s := steer{l.random.Float64() * l.span, (2*l.random.Float64() - 1) * room / 4}
				c.steers = append(c.steers, s)
			}
		}
		if l.random.IntN(3) == 0 {
			s := stop{l.random.Float64() * l.span, math.Pow(10, 3+8*l.random.Float64())}
			c.stops = append(c.stops, s)
		}
		near := l.span * 0.02
		for _, s := range c.steers {
			at := s.at
			for _, stop := range c.stops {
				if at >= stop.at {
					at += stop.length
				}
			}
			l.report(host, at, at, near, false)
		}
		for _, s := range c.stops {
			l.report(host, s.at, s.at+s.length, near, true)
		}
	}
}

func (l *lab) report(host int, from, to, near float64, stopped bool) {
	c := l.clocks[host]
	l.changes = append(l.changes, Change{
		Host: host, Stopped: stopped,
		Since: c.read(from - l.random.Float64()*near), At: c.read(to + l.random.Float64()*near),
	})
}

// newQuietLab is a lab as they are: 1 ppm of wander over 20 s, probes of all pairs and
// connections now and then, and the assumptions that nobody changed.
func newQuietLab(seed uint64) *lab {
	l := &lab{random: rand.New(rand.NewPCG(seed, 11)), span: 20e9, defaults: true}
	l.span *= 0.05 + 0.4*l.random.Float64()
	for range 2 + l.random.IntN(5) {
		l.clocks = append(l.clocks, truth{
			offset: (2*l.random.Float64() - 1) * 3600e9, rate: (2*l.random.Float64() - 1) * 90e-6,
			swing: 1e-6 * l.random.Float64(), period: 20e9, phase: 2 * math.Pi * l.random.Float64(),
		})
	}
	return l
}

// converse lets all pairs exchange probes, so many a second, and segments at random times.
func (l *lab) converse(rate float64, err int64) {
	for a := range l.clocks {
		for b := range a {
			there := network{delay: math.Pow(10, 2.5+2*l.random.Float64()), jitter: math.Pow(10, 2+2*l.random.Float64()), loss: l.random.Float64() * 0.3}
			back := there
			if l.random.IntN(3) == 0 {
				back = network{delay: there.delay * 10 * l.random.Float64(), jitter: there.jitter, loss: 0.1}
			}
			for t := l.random.Float64() * 1e8; t < l.span; t += 1e9 / rate {
				came := l.send(Probes, a, b, t, there, err)
				l.send(Probes, b, a, came+20_000, back, err)
			}
			for range l.random.IntN(int(3 * l.span / 1e9)) {
				came := l.send(Segments, b, a, l.random.Float64()*l.span, back, err)
				came = l.send(Segments, a, b, came+30_000, there, err)
				l.send(Segments, b, a, came+10_000, back, err)
			}
		}
	}
}

// send sends a message and returns when it arrived, in true time.
func (l *lab) send(method Methods, from, to int, sent float64, path network, err int64) float64 {
	received := sent + path.delay + l.random.ExpFloat64()*path.jitter
	if l.random.IntN(50) == 0 {
		// Somebody stepped CLOCK_REALTIME, and the stamp says that it may be so far off.
		err += int64(math.Pow(10, 3+9*l.random.Float64()))
	}
	if l.random.Float64() >= path.loss && !l.clocks[from].stands(sent) && !l.clocks[to].stands(received) {
		l.messages = append(l.messages, Message{
			From: from, Sent: l.clocks[from].read(sent) + l.wrong(err), SentErr: err,
			To: to, Received: l.clocks[to].read(received) + l.wrong(err), ReceivedErr: err, Method: method,
		})
	}
	return received
}
