package agent

import (
	"log/slog"
	"strings"
	"testing"

	"syncline/agent/kernel/trace"
	synclinev1 "syncline/proto/syncline/v1"
)

// tracedRun is a run of one host on loopback, armed with these sources.
func tracedRun(t *testing.T, sources ...synclinev1.Source) *run {
	t.Helper()
	rs := newRuns(Config{Name: "vm1", PendingBytes: 1 << 20, Log: slog.New(slog.DiscardHandler)}, 1)
	t.Cleanup(rs.close)
	err := rs.admit(&synclinev1.Prepare{
		RunId: "r-1", Epoch: 1, Host: "A", Sources: sources,
		Hosts: []*synclinev1.HostAddress{{Host: "A", Agent: "vm1", Address: "127.0.0.1"}},
		Flows: &synclinev1.Flows{Ranges: []*synclinev1.PortRange{{Low: 1, High: 65535}}},
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	r := rs.byID["r-1"]
	r.arm(&synclinev1.Arm{})
	settled(r)
	return r
}

// settled waits until the run has done its jobs.
func settled(r *run) {
	done := make(chan struct{})
	r.later(func() { close(done) })
	<-done
}

// What the kernel tells before this host has heard of the start of a repetition, and
// until its end, is of that repetition.
func TestTracesOfARepetition(t *testing.T) {
	if _, err := trace.Probe(); err != nil {
		t.Skip(err)
	}
	r := tracedRun(t, synclinev1.Source_SOURCE_TCP_STATES, synclinev1.Source_SOURCE_DROPS)
	for n := uint32(1); n <= 2; n++ {
		refused(t)
		r.start(&synclinev1.Start{RunId: "r-1", Epoch: 1, Repetition: n})
		r.drain(&synclinev1.Drain{RunId: "r-1", Epoch: 1, Repetition: n})
		settled(r)
	}
	r.finish("")
	<-r.done
	_, events, err := chunksOf(r.stream, 1)
	if err != nil {
		t.Fatal(err)
	}
	told := map[uint32]map[synclinev1.TraceKind]int{1: {}, 2: {}}
	for _, e := range events {
		tr := e.GetTrace()
		// Whoever else uses the loopback interface of this machine is told of too, and
		// after the last repetition.
		if tr == nil || told[e.Repetition] == nil {
			continue
		}
		if tr.Kind == synclinev1.TraceKind_TRACE_KIND_DROP && tr.Reason == "NO_SOCKET" || tr.Errno == 111 || tr.State == 2 {
			told[e.Repetition][tr.Kind]++
		}
	}
	for n, kinds := range told {
		for _, kind := range []synclinev1.TraceKind{
			synclinev1.TraceKind_TRACE_KIND_STATE, synclinev1.TraceKind_TRACE_KIND_ERROR, synclinev1.TraceKind_TRACE_KIND_DROP,
		} {
			if kinds[kind] == 0 {
				t.Errorf("repetition %d has no %v of the connect that was refused: %v", n, kind, kinds)
			}
		}
	}
	if final := r.finished; final.Error != "" {
		t.Errorf("the run ended with %q", final.Error)
	}
}

// A run that asks for neither has no tracer.
func TestNoTracerUnasked(t *testing.T) {
	r := tracedRun(t, synclinev1.Source_SOURCE_SYSCALLS)
	if r.tracing.tracer != nil {
		t.Error("a tracer was opened")
	}
}

// Each source that rests on tracepoints says once what it lacks.
func TestUntraced(t *testing.T) {
	r := tracedRun(t, synclinev1.Source_SOURCE_SYSCALLS)
	r.untraced(synclinev1.TraceKind_TRACE_KIND_STATE, "no BTF")
	r.untraced(synclinev1.TraceKind_TRACE_KIND_DROP, "no BTF")
	r.finish("")
	<-r.done
	_, events, err := chunksOf(r.stream, 1)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		if m := e.GetMark(); m != nil {
			got = append(got, m.Kind.String()+" "+m.Detail)
		}
	}
	want := "MARK_KIND_SOURCE_REDUCED tcp-states: no BTF, MARK_KIND_SOURCE_MISSING drops: no BTF"
	if strings.Join(got, ", ") != want {
		t.Errorf("marks %q, want %q", got, want)
	}
}

// Every source that rests on tracepoints is listed once, and says why if it is not to be had.
func TestTracedCapabilities(t *testing.T) {
	listed := map[synclinev1.Source]int{}
	for _, c := range capabilities() {
		listed[c.Source]++
		if !c.Available && (c.Reason == "" || c.Remedy == "") {
			t.Errorf("%v says neither why nor what to do", c)
		}
	}
	for _, s := range []synclinev1.Source{synclinev1.Source_SOURCE_DROPS, synclinev1.Source_SOURCE_TRACEPOINTS} {
		if listed[s] != 1 {
			t.Errorf("%v is listed %d times", s, listed[s])
		}
	}
}
