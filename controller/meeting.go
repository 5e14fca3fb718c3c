package controller

import (
	"context"
	"fmt"
	"slices"
	"time"

	"syncline/controller/experiment"
	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// Pings tell where the agents' clocks are while a run goes on, well enough for a
// meeting: what the lanes' release was like is measured afterwards, on the aligned
// clock of the timeline.
const (
	// pings of one agent before each repetition that has a meeting; the fastest counts.
	pings = 4
	// pingDrift is how much two clocks may move apart, a nanosecond each.
	pingDrift = 200e-6
)

// agentClocks are estimates of the agents' CLOCK_MONOTONIC against the controller's.
type agentClocks struct {
	base time.Time
	// clock maps an agent to what names its clock: those that share one share the
	// estimate, so that they are released at the very same reading of it.
	clock map[string]string
	best  map[string]offset
	next  uint64
}

// offset is agent minus controller, nanoseconds, surely within err when it was taken.
type offset struct {
	middle, err int64
	at          time.Duration
}

// bound is how far off the estimate may be by now.
func (o offset) bound(now time.Duration) int64 { return o.err + int64(pingDrift*float64(now-o.at)) }

func newAgentClocks(hosts []store.RunHost) *agentClocks {
	c := &agentClocks{base: time.Now(), clock: map[string]string{}, best: map[string]offset{}}
	for _, h := range hosts {
		c.clock[h.Agent] = h.ClockID
		if h.ClockID == "" {
			c.clock[h.Agent] = "agent " + h.Agent
		}
	}
	return c
}

func (c *agentClocks) now() time.Duration { return time.Since(c.base) }

// learn takes one exchange: sent and received by the controller's clock, reading by
// the agent's somewhere between (Cristian, 1989).
func (c *agentClocks) learn(agent string, sent, received time.Duration, reading int64) {
	o := offset{middle: reading - int64(sent+received)/2, err: int64(received-sent)/2 + 1, at: received}
	name := c.clock[agent]
	if old, ok := c.best[name]; ok && old.bound(received) <= o.err {
		return
	}
	c.best[name] = o
}

// reading is what an agent's clock shows at a moment of the controller's.
func (c *agentClocks) reading(agent string, at time.Duration) (int64, error) {
	o, ok := c.best[c.clock[agent]]
	if !ok {
		return 0, fmt.Errorf("nothing is known of the clock of agent %s", agent)
	}
	return int64(at) + o.middle, nil
}

// readClocks pings every agent, one after the other.
func (r *runner) readClocks(ctx context.Context) error {
	for _, agent := range r.agents {
		for range pings {
			if err := r.ping(ctx, agent); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *runner) ping(ctx context.Context, agent string) error {
	c := r.clocks
	c.next++
	id, sent := c.next, c.now()
	r.send(agent, &synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_ClockPing{ClockPing: &synclinev1.ClockPing{Id: id}}})
	timer := time.NewTimer(answerLimit)
	defer timer.Stop()
	for {
		m, err := r.next(ctx, timer.C)
		if err != nil {
			return fmt.Errorf("read the clock of agent %s: %w", agent, err)
		}
		if pong := m.message.GetClockPong(); m.agent == agent && pong.GetId() == id {
			c.learn(agent, sent, c.now(), pong.TimeNs)
			return nil
		}
	}
}

// meetings are those of one repetition.
type meetings struct {
	runner *runner
	number int
	// waiting are the lanes that have yet to come, by meeting.
	waiting map[string][]string
	all     map[string]experiment.Meeting
}

func (r *runner) newMeetings(exp *experiment.Experiment, n int) *meetings {
	m := &meetings{runner: r, number: n, waiting: map[string][]string{}, all: map[string]experiment.Meeting{}}
	for _, meeting := range exp.Meetings {
		m.waiting[meeting.Name] = slices.Clone(meeting.Lanes)
		m.all[meeting.Name] = meeting
	}
	return m
}

// arrived notes that a lane has come, and releases all when it was the last.
func (m *meetings) arrived(name, lane string) {
	i := slices.Index(m.waiting[name], lane)
	if i < 0 {
		m.runner.log.Warn("a lane came to a meeting that does not wait for it", "meeting", name, "lane", lane)
		return
	}
	m.waiting[name] = slices.Delete(m.waiting[name], i, i+1)
	if len(m.waiting[name]) > 0 {
		return
	}
	m.release(name, "")
}

// ended gives up the meetings that a lane has not come to and will not come to any
// more: those who wait there are told so.
func (m *meetings) ended(lane string) {
	for name, waiting := range m.waiting {
		if slices.Contains(waiting, lane) {
			m.waiting[name] = nil
			m.release(name, fmt.Sprintf("lane %s ended before it came to the meeting %s", lane, name))
		}
	}
}

// release tells every host when a meeting takes place, or why it does not.
func (m *meetings) release(name, failure string) {
	at := m.runner.clocks.now() + m.all[name].Lead
	for _, agent := range m.runner.agents {
		release := &synclinev1.Meeting{RunId: m.runner.run.ID, Epoch: m.runner.epoch, Repetition: uint32(m.number), Name: name, Error: failure}
		var err error
		if release.AtNs, err = m.runner.clocks.reading(agent, at); err != nil && failure == "" {
			release.Error = err.Error()
		}
		m.runner.send(agent, &synclinev1.ControlResponse{Message: &synclinev1.ControlResponse_Meeting{Meeting: release}})
	}
}
