package cli

import (
	"bytes"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"syncline/controller"
	"syncline/controller/export"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// ladderRepetitions is how many repetitions the run has whose ladders are measured.
var ladderRepetitions = flag.Int("ladder.repetitions", 1000, "how many repetitions BenchmarkLadderCommand runs")

// longTalk is an experiment of 20,000 events a repetition: 100,000 in five.
const longTalk = `experiment: long-talk
hosts:
  A: { pick: { role: client } }
  B: { pick: { role: server } }
observe: [syscalls, packets]
repeat: { runs: 5, timeout: 60s }
lanes:
  server:
    host: B
    do:
      - s = socket(tcp)
      - setsockopt(s, SO_REUSEADDR, 1)
      - bind(s, 0.0.0.0:8080)
      - listen(s, 1)
      - signal(listening)
      - a = accept(s)
      - setsockopt(a, TCP_NODELAY, 1)
      - { repeat: 2490, do: ["recv(a, 4096)", "send(a, \"world\")"] }
      - close(a)
      - close(s)
  client:
    host: A
    do:
      - wait(server.listening)
      - c = socket(tcp)
      - connect(c, B:8080)
      - setsockopt(c, TCP_NODELAY, 1)
      - { repeat: 2490, do: ["send(c, \"hello\")", "recv(c, 4096)"] }
      - close(c)
expect:
  - never: any RST
`

// BenchmarkLadderCommand measures how long a person waits for a ladder: the command as a
// process, from its start to its end, with the controller running. Warm is the run that was
// made last, as after syncline run; cold is one whose events the controller has not read for
// a while. The figures are medians in milliseconds: of one repetition of 20 events of a run of
// -ladder.repetitions, of the one the controller chooses, of stats, and of a repetition of a
// run of 100,000 events.
func BenchmarkLadderCommand(b *testing.B) {
	short := bytes.Replace(library(b, demoExperiment), []byte("gap: 10ms"), []byte("gap: 0ms"), 1)
	l := newTestLab(b, mustParse(b, short))
	l.run(short, 2)
	many := l.judged(short, *ladderRepetitions)
	command := func(args ...string) float64 {
		self, err := os.Executable()
		if err != nil {
			b.Fatal(err)
		}
		c := exec.Command(self, args...)
		c.Env = append(os.Environ(), asProgram+"=1", "SYNCLINE_CONTROLLER="+l.socket())
		var out, errs bytes.Buffer
		c.Stdout, c.Stderr = &out, &errs
		begun := time.Now()
		if err := c.Run(); err != nil {
			b.Fatalf("%s: %v: %s", strings.Join(args, " "), err, errs.String())
		}
		took := time.Since(begun)
		if out.Len() == 0 {
			b.Fatalf("%s writes nothing", strings.Join(args, " "))
		}
		return float64(took) / float64(time.Millisecond)
	}
	var one, chosen, cold, stats, long, longChosen []float64
	b.ResetTimer()
	for range max(b.N, 5) {
		one = append(one, command("ladder", many.Id+"@2"))
		chosen = append(chosen, command("ladder", many.Id))
		stats = append(stats, command("stats", many.Id))
	}
	talk := l.judged([]byte(longTalk), 5)
	for range max(b.N, 5) {
		long = append(long, command("ladder", talk.Id+"@2"))
		longChosen = append(longChosen, command("ladder", talk.Id))
		// The controller keeps the two runs that were asked for last.
		for range 2 {
			l.judged(short, 1)
		}
		cold = append(cold, command("ladder", many.Id+"@2"))
		for range 2 {
			command("ladder", talk.Id)
		}
	}
	b.StopTimer()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(many.Events), "events")
	b.ReportMetric(median(one), "ladder-ms")
	b.ReportMetric(median(chosen), "chosen-ms")
	b.ReportMetric(median(cold), "cold-ms")
	b.ReportMetric(median(stats), "stats-ms")
	b.ReportMetric(float64(talk.Events), "long-events")
	b.ReportMetric(median(long), "long-ladder-ms")
	b.ReportMetric(median(longChosen), "long-chosen-ms")
}

// judged runs source and asks for its verdicts, as syncline run does.
func (l *testLab) judged(source []byte, repeat int) *synclinev1.Run {
	l.t.Helper()
	run := l.run(source, repeat)
	if run.State != synclinev1.RunState_RUN_STATE_SEALED || int(run.RepetitionsDone) != repeat {
		l.t.Fatalf("the run ended as %v after %d repetitions", run.State, run.RepetitionsDone)
	}
	l.verdicts(run)
	return run
}

// BenchmarkLadderStages takes apart what BenchmarkLadderCommand waits for, of one repetition of
// 20,000 events: what the controller needs to answer and the answer to be read, and what the
// command makes of it. The figures are medians in milliseconds.
func BenchmarkLadderStages(b *testing.B) {
	l := newTestLab(b, mustParse(b, []byte(longTalk)))
	talk := l.judged([]byte(longTalk), 2)
	// A bundle is answered about by the controller's own code, in this process.
	name := filepath.Join(b.TempDir(), "talk"+export.BundleSuffix)
	l.command(0, "export", talk.Id, "--format", "bundle", "--to", name)
	s, err := l.operator.subject(b.Context(), name)
	if err != nil {
		b.Fatal(err)
	}
	defer s.close()
	if _, err := s.timelines.GetTimeline(b.Context(), &synclinev1.GetTimelineRequest{RunId: talk.Id, Repetition: 1}); err != nil {
		b.Fatal(err)
	}
	stages := []string{"answer", "decode", "lay", "draw"}
	took := make(map[string][]float64)
	b.ResetTimer()
	for range max(b.N, 5) {
		var answer *synclinev1.GetTimelineResponse
		var t *timeline.Timeline
		var layout *timeline.Ladder
		for i, do := range []func() error{
			func() (err error) {
				answer, err = s.timelines.GetTimeline(b.Context(), &synclinev1.GetTimelineRequest{RunId: talk.Id, Repetition: 2})
				return err
			},
			func() (err error) {
				t, err = controller.TimelineFromProto(answer.Timeline)
				return err
			},
			func() (err error) {
				layout, err = layLadder(t, ladderOptions{notes: true, scale: "row", zero: "connect"})
				return err
			},
			func() error { return drawLadder(io.Discard, layout, drawOptions{Width: 100}) },
		} {
			begun := time.Now()
			if err := do(); err != nil {
				b.Fatal(err)
			}
			took[stages[i]] = append(took[stages[i]], float64(time.Since(begun))/float64(time.Millisecond))
		}
	}
	b.StopTimer()
	b.ReportMetric(0, "ns/op")
	for _, stage := range stages {
		b.ReportMetric(median(took[stage]), stage+"-ms")
	}
}
