package cli

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"syncline/controller/export"
	synclinev1 "syncline/proto/syncline/v1"
)

// travels exports a run, and wants its bundle to give every answer that the controller
// gives, byte for byte.
func (l *testLab) travels(run *synclinev1.Run) {
	l.t.Helper()
	name := filepath.Join(l.t.TempDir(), run.Id+export.BundleSuffix)
	if err := l.operator.export(l.t.Context(), &subject{client: l.client, id: run.Id, name: run.Id}, exportOptions{to: name}); err != nil {
		l.t.Error(err)
		return
	}
	s, err := l.operator.subject(l.t.Context(), name)
	if err != nil {
		l.t.Error(err)
		return
	}
	defer s.close()
	want, got := l.answers(l.client, run), l.answers(s.client, run)
	for what := range want {
		if !bytes.Equal(want[what], got[what]) {
			l.t.Errorf("run %s: %s: %d bytes from the controller, %d other bytes from the bundle", run.Id, what, len(want[what]), len(got[what]))
		}
	}
}

// answers are all that whoever looks at a run asks for, as bytes; of its timelines one.
// TestLibraryBundles of package controller compares them all.
func (l *testLab) answers(cl *client, run *synclinev1.Run) map[string][]byte {
	l.t.Helper()
	ctx, all := l.t.Context(), map[string][]byte{}
	put := func(what string, m proto.Message, err error) {
		l.t.Helper()
		if err != nil {
			l.t.Errorf("run %s: %s: %v", run.Id, what, err)
			return
		}
		raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			l.t.Fatal(err)
		}
		all[what] = append(all[what], raw...)
	}
	of, err := cl.runs.GetRun(ctx, &synclinev1.GetRunRequest{Id: run.Id})
	put("run", of, err)
	clock, err := cl.timelines.GetClock(ctx, &synclinev1.GetClockRequest{RunId: run.Id})
	put("clock", clock, err)
	worst, err := cl.timelines.GetTimeline(ctx, &synclinev1.GetTimelineRequest{RunId: run.Id})
	put("timeline to look at first", worst, err)
	events, err := cl.runs.ListEvents(ctx, &synclinev1.ListEventsRequest{RunId: run.Id})
	receive("events", events, err, put)
	verdicts, err := cl.timelines.ListVerdicts(ctx, &synclinev1.ListVerdictsRequest{RunId: run.Id})
	receive("verdicts", verdicts, err, put)
	summaries, err := cl.timelines.ListSummaries(ctx, &synclinev1.ListSummariesRequest{RunId: run.Id})
	receive("summaries", summaries, err, put)
	bundle, err := cl.runs.ExportRun(ctx, &synclinev1.ExportRunRequest{RunId: run.Id})
	receive("bundle", bundle, err, put)
	return all
}

// receive puts all messages of a stream.
func receive[M any](what string, stream grpc.ServerStreamingClient[M], err error, put func(string, proto.Message, error)) {
	for err == nil {
		var m *M
		if m, err = stream.Recv(); err == nil {
			put(what, any(m).(proto.Message), nil)
		}
	}
	if !errors.Is(err, io.EOF) {
		put(what, nil, err)
	}
}
