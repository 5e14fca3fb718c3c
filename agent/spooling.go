package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"syncline/agent/spool"
	synclinev1 "syncline/proto/syncline/v1"
)

// spoolEvery is how often chunks are written to the disk, at most. Writing takes the
// processor and the disk from those who are watched; and most chunks are acknowledged
// before, and are never written.
const spoolEvery = 250 * time.Millisecond

// openSpool opens the spool of this agent and takes over what earlier starts have left in
// it. It comes before the first connection.
func (rs *runs) openSpool() error {
	kept, err := spool.Open(spool.Config{Dir: filepath.Join(rs.cfg.State, "spool"), Quota: rs.cfg.SpoolBytes, FS: rs.spoolFS})
	if err != nil {
		return err
	}
	for _, h := range kept.Holes() {
		rs.cfg.Log.Warn("a part of the spool cannot be read", "file", h.File, "run", h.Stream.Run, "what", h.String())
	}
	rs.spool = kept
	for _, st := range kept.Streams() {
		p := newPast(rs.cfg.Name, st)
		rs.past = append(rs.past, p)
		rs.incarnation = max(rs.incarnation, st.Incarnation+1)
		rs.cfg.Log.Info("an earlier start of this agent has left events in the spool", "run", st.Run, "incarnation", st.Incarnation,
			"chunks", len(p.stream.parcels.waiting), "gap", p.finished.Gap)
	}
	return nil
}

// past is a stream that an earlier start of the agent has left in the spool. Who holds
// runs.mu may use it.
type past struct {
	stream   *stream
	finished *synclinev1.Finished
}

// newPast says how an earlier stream ended: as it was told then, or else that its agent died.
func newPast(agent string, st *spool.Stream) *past {
	final := &synclinev1.Finished{RunId: st.Run, Epoch: st.Epoch, Incarnation: st.Incarnation}
	if end, ok := st.End(); ok {
		final.LastEvent, final.LastChunk, final.Error, final.Gap = end.LastEvent, end.LastChunk, end.Error, end.Gap
	} else {
		final.LastChunk, final.LastEvent = st.Highest()
		final.Error = "the agent died in the run"
		final.Gap = fmt.Sprintf("agent %s was killed, or its host went down, in the run: what it had recorded and neither sent nor written to its disk by then is lost; events wait for up to %v", agent, chunkAge+spoolEvery)
	}
	p := &past{stream: pastStream(st), finished: final}
	p.noteMissing()
	return p
}

// noteMissing adds to the gap what the spool cannot give back.
func (p *past) noteMissing() {
	const what = "damaged on the disk of agent %s: chunks %v of %d"
	for _, r := range p.stream.spool.Missing() {
		p.finished.Gap = joined(p.finished.Gap, fmt.Sprintf(what, p.stream.agent, r, p.finished.LastChunk))
	}
}

// keepSpooling writes chunks to the disk until ctx is done, and then once more what is
// left: whoever calls it has seen to it that no run makes chunks any more by then.
func (rs *runs) keepSpooling(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			rs.spoolAll(true)
			return
		case <-rs.toSpool:
		}
		// Meanwhile the controller may acknowledge what there is.
		pause.Reset(spoolEvery)
		select {
		case <-ctx.Done():
		case <-pause.C:
		case <-rs.spoolNow:
		}
		rs.spoolAll(false)
	}
}

// pokeSpool tells keepSpooling that there is something to do, or that it should not wait.
func (rs *runs) pokeSpool(now bool) {
	select {
	case rs.toSpool <- struct{}{}:
	default:
	}
	if !now {
		return
	}
	select {
	case rs.spoolNow <- struct{}{}:
	default:
	}
}

// spoolAll does what is to be done on the disk. final: the process ends, so that how
// streams ended has to be there too, and at once.
func (rs *runs) spoolAll(final bool) {
	rs.mu.Lock()
	gone := rs.gone
	rs.gone = nil
	all := rs.list()
	pasts := rs.past
	rs.mu.Unlock()
	for _, st := range gone {
		if err := st.Drop(); err != nil {
			rs.cfg.Log.Error("what is over is still in the spool; it goes with the next start", "run", st.Run, "cause", err)
		}
	}
	for _, r := range all {
		rs.spoolRun(r, final)
	}
	for _, p := range pasts {
		if err := p.stream.spool.Reclaim(); err != nil {
			rs.cfg.Log.Error("no room is made in the spool", "run", p.stream.run, "cause", err)
		}
	}
}

// spoolRun writes what a run has in memory alone. A disk that takes nothing, or is nearly
// full, ends the run with that cause; what it recorded stays in memory then.
func (rs *runs) spoolRun(r *run, final bool) {
	if r.stream.spool == nil {
		return
	}
	err := r.stream.toSpool()
	if err == nil {
		err = rs.spool.Pressed()
	}
	if errors.Is(err, spool.ErrDropped) {
		return
	}
	if err != nil {
		r.finish(err.Error())
	}
	r.mu.Lock()
	ended := r.finished
	r.mu.Unlock()
	if ended == nil || r.stream.empty() && !final {
		return
	}
	end := spool.End{LastEvent: ended.LastEvent, LastChunk: ended.LastChunk, Error: ended.Error, Gap: ended.Gap}
	if left := r.stream.unspooled(); final && left > 0 {
		end.Gap = joined(end.Gap, fmt.Sprintf("agent %s ended with %d bytes of events that its disk did not take: %v", rs.cfg.Name, left, err))
	}
	if err := r.stream.spool.Finish(end); err != nil {
		r.log.Error("the end of the run is not in the spool", "cause", err)
	}
}

// unspooled is how many bytes of chunks are in memory alone.
func (s *stream) unspooled() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parcels.unspooled
}

// pastOf finds what earlier starts have left of a run. The caller holds mu.
func (rs *runs) pastOf(id string) (all []*past) {
	for _, p := range rs.past {
		if p.stream.run == id {
			all = append(all, p)
		}
	}
	return all
}

// forgetPast drops what earlier starts have left of a run. The caller holds mu.
func (rs *runs) forgetPast(id string) {
	var kept []*past
	for _, p := range rs.past {
		if p.stream.run != id {
			kept = append(kept, p)
			continue
		}
		if !p.stream.empty() {
			rs.cfg.Log.Warn("events of an earlier start dropped: their run is sealed without them, or unknown to the controller", "run", id)
		}
		rs.gone = append(rs.gone, p.stream.spool)
	}
	rs.past = kept
}

// tellPast tells the controller how much earlier starts have left of a run.
func (rs *runs) tellPast(all []*past) {
	var finished []*synclinev1.Finished
	rs.mu.Lock()
	for _, p := range all {
		finished = append(finished, p.finished)
	}
	rs.mu.Unlock()
	for _, f := range finished {
		rs.send(&synclinev1.ControlRequest{Message: &synclinev1.ControlRequest_Finished{Finished: f}})
	}
}
