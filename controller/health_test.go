package controller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// TestReadinessAsksOnce lets many ask while the disk hangs. One probe is under way, however
// long it takes; all are told within the limit; and when the disk answers the node is ready
// again. Each change is logged once.
func TestReadinessAsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var probes atomic.Int32
		disk := make(chan error)
		life, end := context.WithCancel(t.Context())
		r := &readiness{life: life, log: slog.New(slog.NewTextHandler(&log, nil)), probe: func(ctx context.Context) error {
			probes.Add(1)
			select {
			case err := <-disk:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		for range 2 {
			began := time.Now()
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					if err := r.check(t.Context()); !errors.Is(err, errSlow) {
						t.Errorf("while the disk hangs: %v", err)
					}
				})
			}
			all.Wait()
			if took := time.Since(began); took > readyLimit {
				t.Errorf("an answer took %v", took)
			}
			time.Sleep(time.Minute)
		}
		if n := probes.Load(); n != 1 {
			t.Errorf("%d probes were begun", n)
		}
		disk <- nil
		synctest.Wait()
		if err := r.check(t.Context()); err != nil {
			t.Errorf("when the disk answered: %v", err)
		}
		if n := probes.Load(); n != 1 {
			t.Errorf("%d probes were begun, the last answer was fresh", n)
		}
		time.Sleep(readyFresh)
		go func() { disk <- store.ErrNotLeader }()
		if err := r.check(t.Context()); !errors.Is(err, store.ErrNotLeader) {
			t.Errorf("without a leader: %v", err)
		}
		if got := strings.Count(log.String(), "not ready"); got != 2 || strings.Count(log.String(), "ready again") != 1 || !strings.Contains(log.String(), "reason=slow") || !strings.Contains(log.String(), "reason=no_leader") {
			t.Errorf("the log is\n%s", &log)
		}
		end()
	})
}

// TestReasons gives each cause its own.
func TestReasons(t *testing.T) {
	for want, err := range map[string]error{
		reasonStopped: fmt.Errorf("x: %w", errStopped), reasonNoLeader: fmt.Errorf("x: %w", store.ErrNotLeader), reasonSlow: errSlow, reasonFailed: io.ErrUnexpectedEOF,
	} {
		if got := unreadyReason(err); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
}

// TestHealth asks a controller over its own services, and once more when its store is gone.
func TestHealth(t *testing.T) {
	c := lab(t, Config{})
	server := c.server()
	defer server.Stop()
	s := newHealthService(c, server)
	is := func(service string, want healthv1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		answer, err := s.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
		if err != nil || answer.Status != want {
			t.Errorf("service %q is %v, want %v: %v", service, answer, want, err)
		}
	}
	services := []string{"", synclinev1.RunService_ServiceDesc.ServiceName, synclinev1.LinkService_ServiceDesc.ServiceName, synclinev1.TimelineService_ServiceDesc.ServiceName, liveService}
	for _, service := range services {
		is(service, healthv1.HealthCheckResponse_SERVING)
	}
	if _, err := s.Check(t.Context(), &healthv1.HealthCheckRequest{Service: "syncline.v1.NoService"}); status.Code(err) != codes.NotFound {
		t.Errorf("a service that is none: %v", err)
	}
	all, err := s.List(t.Context(), nil)
	if err != nil || len(all.Statuses) < len(services) {
		t.Errorf("the list is %v: %v", all, err)
	}
	if err := c.store.Close(); err != nil {
		t.Fatal(err)
	}
	c.readiness.mu.Lock()
	c.readiness.at = time.Time{}
	c.readiness.mu.Unlock()
	is("", healthv1.HealthCheckResponse_NOT_SERVING)
	is(synclinev1.RunService_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_NOT_SERVING)
}

// TestMetrics scrapes a controller with runs here, in an archive and removed. The names are
// as Prometheus wants them, and the figures are those of the store.
func TestMetrics(t *testing.T) {
	c := lab(t, Config{Archive: fileURL(t.TempDir()), Quota: 1 << 40})
	here, archived, removed := recorded(t, c, "handshake-and-teardown"), recorded(t, c, "half-close"), recorded(t, c, "udp-refused")
	if _, err := c.archiveRun(t.Context(), archived.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.store.RemoveRun(t.Context(), removed.ID, "test"); err != nil {
		t.Fatal(err)
	}
	problems, err := testutil.GatherAndLint(c.metrics.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	text := scrape(t, c, "/metrics", http.StatusOK)
	for _, want := range []string{
		"syncline_ready 1", `syncline_unready{reason="slow"} 0`, `syncline_raft_state{state="leader"} 1`, `syncline_raft_state{state="follower"} 0`,
		`syncline_raft_members{suffrage="voter"} 1`, "syncline_raft_leader_contact_seconds 0", "syncline_chunks_lacking 0",
		`syncline_runs{place="here",state="sealed"} 1`, `syncline_runs{place="archive",state="sealed"} 1`, `syncline_runs{place="removed",state="sealed"} 1`,
		`syncline_runs{place="here",state="running"} 0`, fmt.Sprintf("syncline_stored_events %d", here.Events), fmt.Sprintf("syncline_stored_chunk_bytes %d", here.Bytes),
		"syncline_quota_exceeded 0", "syncline_runs_archived_total 1", `syncline_disk_used_bytes{what="log"} `, "syncline_disk_free_bytes ",
		"syncline_log_write_seconds_count ", "syncline_log_slow_writes_total ", `syncline_agents{state="connected"} 0`, "go_goroutines ", "process_open_fds ",
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("there is no %q", want)
		}
	}
	if strings.Contains(text, here.ID) || strings.Contains(text, archived.ID) {
		t.Error("the id of a run is in it: there would be a series for each that ever was")
	}
	scrape(t, c, "/healthz", http.StatusOK)
	scrape(t, c, "/readyz", http.StatusOK)
	if err := c.store.Close(); err != nil {
		t.Fatal(err)
	}
	c.readiness.mu.Lock()
	c.readiness.at = time.Time{}
	c.readiness.mu.Unlock()
	if why := scrape(t, c, "/readyz", http.StatusServiceUnavailable); !strings.Contains(why, "lead") {
		t.Errorf("it is not ready for %q", why)
	}
	text = scrape(t, c, "/metrics", http.StatusOK)
	reasons := 0
	for _, reason := range unreadyReasons {
		reasons += strings.Count(text, fmt.Sprintf("\nsyncline_unready{reason=%q} 1\n", reason))
	}
	if !strings.Contains(text, "\nsyncline_ready 0\n") || reasons != 1 {
		t.Errorf("it is still ready, or not for one reason: %d", reasons)
	}
}

func scrape(t *testing.T, c *Controller, path string, code int) string {
	t.Helper()
	w := httptest.NewRecorder()
	c.StatusHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	if w.Code != code {
		t.Errorf("%s answers %d, want %d: %.300s", path, w.Code, code, w.Body)
	}
	return w.Body.String()
}
