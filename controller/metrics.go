package controller

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"syncline/controller/store"
)

// diskFresh is how long a measure of the directories is good for: they may have many files.
const diskFresh = 30 * time.Second

// metrics are what a controller says of itself to Prometheus. Names follow
// https://prometheus.io/docs/practices/naming. None has the id of a run or the name of an
// agent for a label: there would be a series for each that ever was.
type metrics struct {
	controller *Controller
	registry   *prometheus.Registry

	logWrites prometheus.Histogram
	chunks    prometheus.Counter
	events    prometheus.Counter
	bytes     prometheus.Counter
	archived  prometheus.Counter
	removed   prometheus.Counter

	mu sync.Mutex
	// disk is how many bytes the directories had at a time.
	disk   map[string]int64
	diskAt time.Time
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

// newMetrics makes the metrics of a controller, whose store may not be there yet.
func newMetrics(c *Controller) *metrics {
	m := &metrics{
		controller: c, registry: prometheus.NewRegistry(),
		logWrites: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "syncline_log_write_seconds", Help: "How long writes to the raft log took on this node, with their fsyncs.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}),
		chunks:   counter("syncline_chunks_committed_total", "Chunks of events that agents sent to this node and that were committed, each once."),
		events:   counter("syncline_events_committed_total", "Events in those chunks."),
		bytes:    counter("syncline_chunk_bytes_committed_total", "Bytes of those chunks, compressed as they are."),
		archived: counter("syncline_runs_archived_total", "Runs that this node put into the archive."),
		removed:  counter("syncline_runs_removed_total", "Runs that this node had removed, by the quota or for an operator."),
	}
	m.registry.MustRegister(m, m.logWrites, m.chunks, m.events, m.bytes, m.archived, m.removed,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("syncline_"+name, help, labels, nil)
}

// What is asked of the controller when somebody scrapes.
var (
	descBuild      = desc("build_info", "Always 1; which program this is, and the newest protocol of agents that it speaks.", "version", "protocol", "node")
	descReady      = desc("ready", "1 if this node can commit, or reach a leader that can, within 2 s.")
	descUnready    = desc("unready", "1 for the reason why this node is not ready.", "reason")
	descState      = desc("raft_state", "1 for the state that this node is in.", "state")
	descTerm       = desc("raft_term", "Term of the newest election that this node knows of.")
	descLast       = desc("raft_last_index", "Newest entry of the log on this node.")
	descCommit     = desc("raft_commit_index", "Newest entry that this node knows to be committed.")
	descApplied    = desc("raft_applied_index", "Newest entry that the state machine of this node has applied.")
	descSnapshot   = desc("raft_snapshot_index", "Newest entry that a snapshot on this node covers.")
	descSnapshotAt = desc("raft_snapshot_timestamp_seconds", "When the newest snapshot on this node was written, seconds since 1970; absent if there is none.")
	descContact    = desc("raft_leader_contact_seconds", "How long ago the leader was heard of; 0 on the leader, absent if none ever was.")
	descMembers    = desc("raft_members", "Nodes of the cluster, by whether they vote.", "suffrage")
	descSlow       = desc("log_slow_writes_total", "Writes to the raft log that took longer than 250 ms.")
	descLacking    = desc("chunks_lacking", "Chunks that the state refers to and that are not on this node's disk.")
	descAgents     = desc("agents", "Agents that are known, by whether they are connected to this node.", "state")
	descRuns       = desc("runs", "Runs, by state and by where their events are: here, in an archive, or removed.", "state", "place")
	descStored     = desc("stored_events", "Events of the runs whose chunks the nodes keep.")
	descUsed       = desc("stored_chunk_bytes", "Bytes of the chunks that the nodes keep, which is what the quota is for.")
	descQuota      = desc("quota_bytes", "The quota for stored_chunk_bytes; absent if there is none.")
	descOver       = desc("quota_exceeded", "1 if the quota cannot be kept, and no new run is taken.")
	descDisk       = desc("disk_used_bytes", "Bytes of the files of this node, measured every 30 s at most.", "what")
	descFree       = desc("disk_free_bytes", "Bytes that are free for this program on the file system of its data.")
)

// Describe implements prometheus.Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descBuild, descReady, descUnready, descState, descTerm, descLast, descCommit, descApplied, descSnapshot, descSnapshotAt, descContact,
		descMembers, descSlow, descLacking, descAgents, descRuns, descStored, descUsed, descQuota, descOver, descDisk, descFree,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	c := m.controller
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(descBuild, 1, c.cfg.Version, strconv.Itoa(Protocol), c.store.ID())
	m.collectReady(gauge)
	m.collectRaft(gauge)
	to <- prometheus.MustNewConstMetric(descSlow, prometheus.CounterValue, float64(c.store.LogWrites().Slow))
	gauge(descLacking, float64(c.store.Inventory().LackingChunks))
	m.collectAgents(gauge)
	m.collectRuns(gauge)
	m.collectDisk(gauge)
}

func flag(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

type setGauge func(d *prometheus.Desc, v float64, labels ...string)

func (m *metrics) collectReady(gauge setGauge) {
	ctx, cancel := context.WithTimeout(m.controller.life, readyLimit+time.Second)
	defer cancel()
	err := m.controller.readiness.check(ctx)
	gauge(descReady, flag(err == nil))
	for _, reason := range unreadyReasons {
		gauge(descUnready, flag(err != nil && unreadyReason(err) == reason), reason)
	}
}

func (m *metrics) collectRaft(gauge setGauge) {
	s := m.controller.store.Status()
	for _, state := range []string{"leader", "follower", "candidate", "shutdown"} {
		gauge(descState, flag(s.State == state), state)
	}
	gauge(descTerm, float64(s.Term))
	gauge(descLast, float64(s.Last))
	gauge(descCommit, float64(s.Commit))
	gauge(descApplied, float64(s.Applied))
	gauge(descSnapshot, float64(s.Snapshot))
	if !s.SnapshotAt.IsZero() {
		gauge(descSnapshotAt, float64(s.SnapshotAt.UnixMilli())/1e3)
	}
	if s.Contact >= 0 {
		gauge(descContact, s.Contact.Seconds())
	}
	gauge(descMembers, float64(s.Voters), "voter")
	gauge(descMembers, float64(s.Members-s.Voters), "nonvoter")
}

func (m *metrics) collectAgents(gauge setGauge) {
	connected, away := 0, 0
	for _, a := range m.controller.store.Agents() {
		if m.controller.sessions.get(a.Name) != nil {
			connected++
		} else {
			away++
		}
	}
	gauge(descAgents, float64(connected), "connected")
	gauge(descAgents, float64(away), "away")
}

func (m *metrics) collectRuns(gauge setGauge) {
	type kind struct{ state, place string }
	counts := map[kind]int{}
	for state := range runStates {
		counts[kind{state.String(), "here"}] = 0
	}
	var events, bytes uint64
	for _, run := range m.controller.store.Runs() {
		place := "here"
		switch {
		case run.Removed.AtNs != 0:
			place = "removed"
		case !run.Here():
			place = "archive"
		default:
			events += run.Events
			bytes += run.Bytes
		}
		counts[kind{run.State.String(), place}]++
	}
	for k, n := range counts {
		gauge(descRuns, float64(n), k.state, k.place)
	}
	gauge(descStored, float64(events))
	gauge(descUsed, float64(bytes))
	if quota := m.controller.keeping.quota; quota > 0 {
		gauge(descQuota, float64(quota))
		gauge(descOver, flag(m.controller.keeping.admit() != nil))
	}
}

func (m *metrics) collectDisk(gauge setGauge) {
	for what, bytes := range m.used() {
		gauge(descDisk, float64(bytes), what)
	}
	if free, err := diskFree(m.controller.cfg.Dir); err == nil {
		gauge(descFree, float64(free))
	}
}

// used measures the directories of the controller, unless that was done a moment ago. What
// goes meanwhile does not count; what cannot be looked at is left out, and a gauge with it.
func (m *metrics) used() map[string]int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.disk != nil && time.Since(m.diskAt) < diskFresh {
		return m.disk
	}
	m.disk, m.diskAt = map[string]int64{}, time.Now()
	for what, name := range map[string]string{"runs": "runs", "log": "log.db", "snapshots": "snapshots", "cache": "cache"} {
		if size, err := sizeOf(filepath.Join(m.controller.cfg.Dir, name)); err == nil {
			m.disk[what] = size
		}
	}
	return m.disk
}

// sizeOf is how many bytes a file has, or the files below a directory; 0 if it is not there.
func sizeOf(name string) (sum int64, err error) {
	err = filepath.WalkDir(name, func(_ string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		if info, err := d.Info(); err == nil {
			sum += info.Size()
		}
		return nil
	})
	return sum, err
}

// committed counts a chunk that an agent sent.
func (m *metrics) committed(c *store.Chunk) {
	m.chunks.Inc()
	m.events.Add(float64(c.Events))
	m.bytes.Add(float64(len(c.Data)))
}

// StatusHandler answers /metrics for Prometheus, /healthz with 200 as long as the process is
// of any use, and /readyz with 200 if this node can commit, else 503 and the reason. It asks
// nobody who they are: give it an address of its own that only those reach who may know.
func (c *Controller) StatusHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.metrics.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	answer := func(w http.ResponseWriter, err error) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		text := "ok\n"
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			text = err.Error() + "\n"
		}
		// Who does not wait for the answer does not get it.
		_, _ = w.Write([]byte(text))
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, c.store.Err()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, q *http.Request) { answer(w, c.readiness.check(q.Context())) })
	return mux
}
