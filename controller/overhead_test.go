package controller

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"syncline/controller/experiment"
	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// The ends of the interval are those of the tables for the sign test.
func TestMedianInterval(t *testing.T) {
	for _, c := range []struct {
		n          int
		from, upto float64
		holds      float64
	}{
		{1, 1, 1, 0},
		{2, 1, 2, 0.5},
		{5, 1, 5, 0.9375},
		{6, 1, 6, 0.96875},
		{10, 2, 9, 0.978516},
		{20, 6, 15, 0.958611},
		{50, 18, 33, 0.967155},
		{1000, 469, 532, 0.953701},
	} {
		var ranks []float64
		for i := range c.n {
			ranks = append(ranks, float64(i+1))
		}
		low, high, holds := medianInterval(ranks)
		if low != c.from || high != c.upto || math.Abs(holds-c.holds) > 1e-5 {
			t.Errorf("of %d: the %gth to the %gth hold the median with %.6f; want %g to %g with %g", c.n, low, high, holds, c.from, c.upto, c.holds)
		}
	}
}

func TestMedianIntervalHoldsTheMedian(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(0, 1e9), 1, 300).Draw(t, "values")
		middle := median(values)
		low, high, holds := medianInterval(values)
		if low > middle || middle > high {
			t.Errorf("[%g, %g] does not hold the median %g", low, high, middle)
		}
		if len(values) >= 6 && holds < confidence || holds < 0 || holds > 1 {
			t.Errorf("%d values give an interval that holds with %g", len(values), holds)
		}
	})
}

func TestQuantile(t *testing.T) {
	var hundred []int64
	for i := range 100 {
		hundred = append(hundred, int64(100-i))
	}
	for q, want := range map[float64]int64{0: 1, 0.5: 50, 0.99: 99, 1: 100} {
		if got := quantile(slices.Clone(hundred), q); got != want {
			t.Errorf("the quantile %g of 1 to 100 is %d, want %d", q, got, want)
		}
	}
	if got := quantile([]int64{7}, 0.99); got != 7 {
		t.Errorf("the quantile 0.99 of 7 alone is %d", got)
	}
}

func TestOverheadSettings(t *testing.T) {
	text := func(observe ...string) (lines []string) {
		for _, s := range overheadSettings(observe) {
			lines = append(lines, fmt.Sprint(s.Name, " ", s.Sources))
		}
		return lines
	}
	for _, c := range []struct {
		observe, want []string
	}{
		{nil, nil},
		{[]string{"syscalls"}, nil},
		{[]string{"syscalls", "packets"}, []string{
			"bare [SOURCE_SYSCALLS]",
			"all [SOURCE_SYSCALLS SOURCE_PACKETS]",
		}},
		{[]string{"packets", "counters"}, []string{
			"bare [SOURCE_SYSCALLS]",
			"all [SOURCE_SYSCALLS SOURCE_PACKETS SOURCE_COUNTERS]",
			"packets [SOURCE_SYSCALLS SOURCE_PACKETS]",
			"counters [SOURCE_SYSCALLS SOURCE_COUNTERS]",
		}},
	} {
		if diff := cmp.Diff(c.want, text(c.observe...)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.observe, diff)
		}
	}
}

// callEvent is a call of a lane on a host's clock, in microseconds.
func callEvent(lane, name string, from, to int64, result int64) *synclinev1.Event {
	return &synclinev1.Event{TimeNs: from * 1000, Fact: &synclinev1.Event_Call{Call: &synclinev1.Call{
		Lane: lane, Name: name, ReturnNs: to * 1000, Result: result, EndedBy: synclinev1.EndedBy_ENDED_BY_KERNEL,
	}}}
}

// What a repetition comes to: the rests of lanes, the lab's tidying up, and lanes that
// do not connect have no part in the rate.
func TestPass(t *testing.T) {
	p := &pass{}
	tidy := callEvent("client", "close", 900_000, 900_001, 0)
	tidy.GetCall().ByLab = true
	limited := callEvent("client", "recv", 1400, 1450, -1)
	limited.GetCall().EndedBy = synclinev1.EndedBy_ENDED_BY_TIMEOUT
	for _, e := range []*synclinev1.Event{
		callEvent("client", "wait", 0, 1000, 0),
		callEvent("client", "socket", 1000, 1100, 3),
		callEvent("client", "connect", 1100, 1300, 0),
		callEvent("client", "connect", 1300, 1400, -1),
		limited,
		callEvent("client", "poll", 1450, 1500, 0),
		callEvent("client", "sleep", 1500, 99_000, 0),
		callEvent("client", "poll", 99_000, 99_100, 1),
		callEvent("client", "connect", 99_100, 99_600, 0),
		callEvent("client", "sleep", 99_600, 800_000, 0),
		tidy,
	} {
		p.add("vm1", e)
	}
	p.add("vm2", callEvent("server", "accept", 7000, 11_000, 4))
	p.add("vm2", &synclinev1.Event{Fact: &synclinev1.Event_Loss{Loss: &synclinev1.Loss{Count: 5}}})
	r := p.rates()
	if r.connections != 2000 {
		t.Errorf("2 connections in 1 ms are %g a second", r.connections)
	}
	if r.repetitions != 250 {
		t.Errorf("a repetition whose longest host took 4 ms fits %g times into a second", r.repetitions)
	}
	if share := 97_600.0 / 98_600; r.working != 1e6 || math.Abs(r.resting-share) > 1e-12 {
		t.Errorf("the client was at work for %g ns and rested for %g of its time; want 1 ms, %g", r.working, r.resting, share)
	}
	if diff := cmp.Diff([]int64{200_000, 500_000}, p.connects); diff != "" {
		t.Errorf("connect() took (-want +got):\n%s", diff)
	}
	if p.events != 13 || p.lost != 5 {
		t.Errorf("%d events, %d lost; want 13 and 5", p.events, p.lost)
	}
	if r := (&pass{}).rates(); r != (rates{}) {
		t.Errorf("a repetition without calls has rates: %v", r)
	}
}

// What passed a tap and is neither on record nor reported is lost too, also in the round
// that warms up; what one agent has too much of does not make up for another.
func TestLostInAPass(t *testing.T) {
	p := &pass{setting: 1}
	packet := &synclinev1.Event{Fact: &synclinev1.Event_Packet{Packet: &synclinev1.Packet{}}}
	closed := func(frames uint64) *synclinev1.Event {
		return &synclinev1.Event{Fact: &synclinev1.Event_Mark{Mark: &synclinev1.Mark{Kind: synclinev1.MarkKind_MARK_KIND_CLOSED, Frames: frames}}}
	}
	loss := func(source synclinev1.Source, count uint64) *synclinev1.Event {
		return &synclinev1.Event{Fact: &synclinev1.Event_Loss{Loss: &synclinev1.Loss{Source: source, Count: count}}}
	}
	for _, e := range []*synclinev1.Event{packet, packet, loss(synclinev1.Source_SOURCE_PACKETS, 4), loss(synclinev1.Source_SOURCE_TRACEPOINTS, 2), closed(9)} {
		p.add("vm1", e)
	}
	for _, e := range []*synclinev1.Event{packet, packet, closed(1)} {
		p.add("vm2", e)
	}
	settings := overheadSettings([]string{"packets"})
	figures(settings, []*pass{p}, nil)
	if settings[1].Lost != 4+2+3 || settings[0].Lost != 0 {
		t.Errorf("%d lost, and %d bare; want 9 and 0", settings[1].Lost, settings[0].Lost)
	}
}

// Without the sleep of a scenario its ratio is that of the same lanes in a hurry.
func TestRatesWithoutRests(t *testing.T) {
	made := func(setting, round int, each, sleep int64) *pass {
		p, at := &pass{setting: setting, round: round}, int64(0)
		for range 200 {
			p.add("vm1", callEvent("client", "connect", at, at+each, 0))
			p.add("vm1", callEvent("client", "sleep", at+each, at+each+sleep, 0))
			at += each + sleep
		}
		return p
	}
	for _, sleep := range []int64{0, 10, 10_000} {
		settings := overheadSettings([]string{"packets"})
		var passes []*pass
		for round := range 8 {
			passes = append(passes, made(0, round, 100, sleep), made(1, round, 200, sleep))
		}
		figures(settings, passes, nil)
		rest := float64(199*sleep) / float64(199*sleep+200*100)
		if got := settings[1].ConnectionsPerSecond.GetRatio(); got != 0.5 || math.Abs(settings[0].Resting-rest) > 1e-12 || settings[0].WorkingNs != 20e6 {
			t.Errorf("sleeping %d µs between two connections: the ratio is %g, at work %d ns, resting %g; want 0.5, 20 ms, %g",
				sleep, got, settings[0].WorkingNs, settings[0].Resting, rest)
		}
	}
}

func TestAtWork(t *testing.T) {
	for _, c := range []struct {
		name        string
		lanes       []*lanePass
		work, whole int64
	}{
		{"none", nil, 0, 0},
		{"a lane that only rests", []*lanePass{{rests: []span{{1, 9}}}}, 0, 0},
		{"no rest", []*lanePass{{span: span{10, 30}}}, 20, 20},
		{"rests before, within and after", []*lanePass{{span: span{10, 30}, rests: []span{{0, 10}, {25, 26}, {12, 15}, {40, 50}}}}, 16, 20},
		{"rests that overlap", []*lanePass{{span: span{10, 30}, rests: []span{{12, 20}, {14, 16}, {19, 22}}}}, 10, 20},
		{"one works while another rests", []*lanePass{{span: span{10, 30}, rests: []span{{12, 28}}}, {span: span{0, 20}}}, 22, 30},
		{"all rest", []*lanePass{{span: span{10, 30}, rests: []span{{12, 28}}}, {span: span{10, 30}, rests: []span{{20, 29}}}}, 12, 20},
	} {
		if work, whole := atWork(c.lanes); work != c.work || whole != c.whole {
			t.Errorf("%s: at work for %d of %d; want %d of %d", c.name, work, whole, c.work, c.whole)
		}
	}
}

// Lanes are at work in just those nanoseconds in which one of them is and does not rest.
func TestAtWorkCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spans := rapid.Custom(func(t *rapid.T) span {
			first := rapid.Int64Range(1, 60).Draw(t, "first")
			return span{first, first + rapid.Int64Range(0, 20).Draw(t, "length")}
		})
		lanes := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *lanePass {
			return &lanePass{span: spans.Draw(t, "lane"), rests: rapid.SliceOfN(spans, 0, 4).Draw(t, "rests")}
		}), 0, 4).Draw(t, "lanes")
		within := func(s span, at int64) bool { return s.first <= at && at < s.last }
		want := int64(0)
		for at := range int64(100) {
			if slices.ContainsFunc(lanes, func(l *lanePass) bool {
				return within(l.span, at) && !slices.ContainsFunc(l.rests, func(r span) bool { return within(r, at) })
			}) {
				want++
			}
		}
		if work, whole := atWork(lanes); work != want || work > whole {
			t.Errorf("at work for %d of %d; want %d", work, whole, want)
		}
	})
}

// A machine with two agents counts once; one agent that cannot tell spoils the sum.
func TestPassProcessors(t *testing.T) {
	hosts := []store.RunHost{{Agent: "vm1", ClockID: "boot1/1"}, {Agent: "vm2", ClockID: "boot1/2"}, {Agent: "vm3", ClockID: "boot2/1"}}
	usage := func(agent, machine int64) *synclinev1.Usage {
		return &synclinev1.Usage{AgentNs: agent, MachineNs: machine}
	}
	p := &pass{
		before: map[string]*synclinev1.Usage{"vm1": usage(10, 1000), "vm2": usage(20, 1000), "vm3": usage(30, 500)},
		after:  map[string]*synclinev1.Usage{"vm1": usage(11, 1100), "vm2": usage(22, 1100), "vm3": usage(33, 510)},
	}
	if agents, machines, ok := p.processors(hosts); agents != 6 || machines != 110 || !ok {
		t.Errorf("agents used %g, machines %g, %v; want 6, 110", agents, machines, ok)
	}
	// Nobody knows that two hosts without a name of their clock are on one machine.
	nameless := []store.RunHost{{Agent: "vm1"}, {Agent: "vm2", ClockID: "/1"}, {Agent: "vm3", ClockID: "boot2/1"}}
	if agents, machines, ok := p.processors(nameless); agents != 6 || machines != 210 || !ok {
		t.Errorf("agents used %g, machines of unknown names %g, %v; want 6, 210", agents, machines, ok)
	}
	delete(p.after, "vm2")
	if _, _, ok := p.processors(hosts); ok {
		t.Error("the time of an agent that could not tell is known")
	}
}

// The ratios are of the same round, and a round without the bare one has none.
func TestFigures(t *testing.T) {
	settings := overheadSettings([]string{"packets"})
	made := func(setting, round int, micros int64, failure string) *pass {
		p := &pass{setting: setting, round: round, failure: failure}
		p.add("vm1", callEvent("client", "connect", 1000, 1000+micros, 0))
		return p
	}
	lossy := made(1, 0, 1, "")
	lossy.lost = 3
	figures(settings, []*pass{
		made(0, 0, 999, ""), lossy, // warms up
		made(0, 1, 100, ""), made(1, 1, 200, ""),
		made(1, 2, 100, ""), made(0, 2, 50, "it was refused"), // in another order
		made(0, 3, 100, ""), made(1, 3, 400, ""),
	}, nil)
	rate := func(value, ratio, low, high, holds float64, pairs uint32) *synclinev1.Cost {
		return &synclinev1.Cost{Value: value, Ratio: ratio, RatioLow: low, RatioHigh: high, Confidence: holds, Pairs: pairs}
	}
	none := &synclinev1.Cost{} // nobody told of processors: no hosts, no time
	want := []*synclinev1.OverheadSetting{
		{
			Name: "bare", Sources: settings[0].Sources, Repetitions: 2, Failed: 1, Failure: "it was refused", Events: 2, Connections: 2,
			ConnectionsPerSecond: rate(10_000, 0, 0, 0, 0, 0), RepetitionsPerSecond: rate(10_000, 0, 0, 0, 0, 0),
			ConnectP50Ns: rate(100_000, 0, 0, 0, 0, 0), AgentCpuNs: none, MachineCpuNs: none, WorkingNs: 100_000,
		},
		{
			Name: "all", Sources: settings[1].Sources, Repetitions: 3, Events: 3, Connections: 3, Lost: 3,
			ConnectionsPerSecond: rate(5000, 0.375, 0.25, 0.5, 0.5, 2), RepetitionsPerSecond: rate(5000, 0.375, 0.25, 0.5, 0.5, 2),
			ConnectP50Ns: rate(200_000, 3, 2, 4, 0.5, 2), AgentCpuNs: none, MachineCpuNs: none, WorkingNs: 200_000,
		},
	}
	if diff := cmp.Diff(want, settings, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Ratios of the processor time of machines have an interval if every repetition has ticks
// enough, and are not given if all together have too few.
func TestMachineTime(t *testing.T) {
	hosts := []store.RunHost{{Agent: "vm1", ClockID: "boot1/1"}}
	for _, c := range []struct {
		each  int64
		ratio float64
		pairs uint32
	}{{5e6, 0, 0}, {50e6, 2, 0}, {200e6, 2, 7}} {
		settings := overheadSettings([]string{"packets"})
		var passes []*pass
		for round := range 8 {
			for setting, used := range []int64{c.each, 2 * c.each} {
				p := &pass{setting: setting, round: round}
				p.before = map[string]*synclinev1.Usage{"vm1": {}}
				p.after = map[string]*synclinev1.Usage{"vm1": {MachineNs: used}}
				passes = append(passes, p)
			}
		}
		figures(settings, passes, hosts)
		if got := settings[1].MachineCpuNs; got.GetRatio() != c.ratio || got.GetPairs() != c.pairs || got.GetValue() != float64(2*c.each) {
			t.Errorf("%d ns a repetition: %v; want the ratio %g of %d pairs", c.each, got, c.ratio, c.pairs)
		}
	}
}

// With connections enough the 99th percentile is one of each round, else one of all.
func TestTail(t *testing.T) {
	round := func(setting, round, n int, slow int64) *pass {
		p := &pass{setting: setting, round: round}
		for i := range n {
			took := int64(10)
			if i >= n-n/50-1 { // two of a hundred
				took = slow
			}
			p.add("vm1", callEvent("client", "connect", int64(i)*1000, int64(i)*1000+took, 0))
		}
		return p
	}
	for n, pairs := range map[int]uint32{200: 3, 60: 0} {
		settings := overheadSettings([]string{"packets"})
		var passes []*pass
		for r := range 3 {
			passes = append(passes, round(0, r+1, n, 100), round(1, r+1, n, 300))
		}
		figures(settings, passes, nil)
		if got := settings[1].ConnectP99Ns; got.GetValue() != 300_000 || got.GetRatio() != 3 || got.GetPairs() != pairs {
			t.Errorf("%d connections a repetition: %v", n, got)
		}
	}
	settings := overheadSettings([]string{"packets"})
	figures(settings, []*pass{round(0, 1, 60, 100), round(1, 1, 30, 100)}, nil)
	if got := settings[1].ConnectP99Ns; got != nil {
		t.Errorf("30 connections have a 99th percentile: %v", got)
	}
}

func TestOverheadRefused(t *testing.T) {
	c := newTestController(t)
	c.pair(func(client, server *fakeAgent) {})
	source, _ := experiment.Open("basic-open-close")
	calls := strings.Replace(string(source), "observe: [", "observe: [syscalls] #", 1)
	if calls == string(source) {
		t.Fatal("basic-open-close observes in another form")
	}
	waits := strings.Replace(string(source), "- wait(server.listening)", "- wait(received(B, A>B SYN))", 1)
	if waits == string(source) {
		t.Fatal("the client of basic-open-close waits for something else")
	}
	for _, q := range []struct {
		source, want string
		rounds       uint32
	}{
		{calls[:strings.Index(calls, "expect:")] + calls[strings.Index(calls, "repeat:"):], "nothing but calls", 1},
		{waits, "cannot run without the source packets", 1},
		{string(source), "at most 1000", 1001},
	} {
		_, err := c.runs.CreateRun(t.Context(), &synclinev1.CreateRunRequest{RequestId: q.want, FileName: "x.yaml", Source: []byte(q.source), OverheadRounds: q.rounds})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), q.want) {
			t.Errorf("want %q, got %v", q.want, err)
		}
	}
}

// A run goes on after its repetitions: in every round each setting has its turn, with
// its sources, and the figures are kept with the run. The repetitions that measured have
// events, and neither verdicts nor a timeline.
func TestMeasureOverhead(t *testing.T) {
	const rounds, before = 6, 2
	c := newTestController(t)
	var mu sync.Mutex
	var watched [][]synclinev1.Source
	var next []uint32
	var held []bool
	uploads := uint64(0)
	c.pair(func(client, server *fakeAgent) {
		upload := func(run string, repetition uint32, e *synclinev1.Event) {
			uploads++
			e.Number, e.Repetition = uploads, repetition
			if rejected, err := client.upload(client.chunkOf(run, uploads, e)); rejected != "" || err != nil {
				t.Errorf("upload: %q %v", rejected, err)
			}
		}
		client.armed = func(a *synclinev1.Arm) *synclinev1.Armed {
			mu.Lock()
			defer mu.Unlock()
			watched, next = append(watched, a.Sources), append(next, a.Repetition)
			switch len(watched) {
			case 1:
				upload(a.RunId, 0, mark(0, 0, synclinev1.MarkKind_MARK_KIND_ARMED))
			case 2:
				// A packet came after the last repetition and before other taps are opened.
				upload(a.RunId, before+1, &synclinev1.Event{TimeNs: 1, Fact: &synclinev1.Event_Loss{Loss: &synclinev1.Loss{Source: synclinev1.Source_SOURCE_PACKETS, Count: 1}}})
				upload(a.RunId, 0, &synclinev1.Event{TimeNs: 2, Fact: &synclinev1.Event_Mark{Mark: &synclinev1.Mark{Kind: synclinev1.MarkKind_MARK_KIND_CLOSED, Frames: 1}}})
			}
			busy := int64(len(watched)) * 1e6
			return &synclinev1.Armed{RunId: a.RunId, Before: &synclinev1.Usage{AgentNs: busy, MachineNs: busy}, After: &synclinev1.Usage{AgentNs: busy, MachineNs: busy}}
		}
		server.armed = func(a *synclinev1.Arm) *synclinev1.Armed {
			return &synclinev1.Armed{RunId: a.RunId, Before: &synclinev1.Usage{}, After: &synclinev1.Usage{}}
		}
		client.start = func(s *synclinev1.Start) {
			upload(s.RunId, s.Repetition, callEvent("client", "connect", int64(s.Repetition)*1000, int64(s.Repetition)*1000+100, 0))
			client.endLane(s.RunId, s.Repetition, "client")
		}
		client.drained = func() uint64 { return uploads }
		client.draining = func(d *synclinev1.Drain) { held = append(held, d.Hold) }
		client.finish = func(string) (uint64, uint64) { return uploads, uploads }
	})
	source, _ := experiment.Open("basic-open-close")
	created, err := c.runs.CreateRun(t.Context(), &synclinev1.CreateRunRequest{
		RequestId: "x", FileName: "x.yaml", Source: source, Repetitions: before, OverheadRounds: rounds,
	})
	if err != nil {
		t.Fatal(err)
	}
	run := c.follow(created.Run.Id)
	if run.State != synclinev1.RunState_RUN_STATE_SEALED || run.Repetitions != before || run.RepetitionsDone != before {
		t.Fatalf("the run ended as %v", run)
	}
	o := run.Overhead
	n := len(o.Settings)
	if want := uint32(before + 1 + (rounds+1)*n); o.Failure != "" || o.RoundsDone != rounds || o.First != before+2 || o.Last != want || n < 2 {
		t.Fatalf("measured %d settings from repetition %d to %d (want %d), %d rounds: %s", n, o.First, o.Last, want, o.RoundsDone, o.Failure)
	}
	for _, s := range o.Settings {
		if s.Repetitions != rounds || s.Failed != 0 || s.Connections != rounds || s.ConnectP50Ns.GetValue() != 100_000 || s.AgentCpuNs.GetValue() != 1e6 {
			t.Errorf("%s: %v", s.Name, s)
		}
	}
	if r := o.Settings[1].ConnectionsPerSecond; r.GetRatio() != 1 || r.Pairs != rounds || r.Confidence < 0.95 {
		t.Errorf("connections a second with all sources: %v", r)
	}
	// Armed for the run, for each turn, and once more at the end.
	if len(watched) != 1+(rounds+1)*n+1 || watched[0] != nil {
		t.Fatalf("armed %d times, first with %v", len(watched), watched[0])
	}
	// Each is told the repetition that it is for, and what is heard before it stays with
	// the one before, but for what follows the repetitions of the run itself.
	for i, n := range next {
		want := uint32(before + 1 + i)
		if i == 0 {
			want = 0
		}
		if n != want {
			t.Errorf("armed the time %d for repetition %d, want %d", i+1, n, want)
		}
	}
	for i, hold := range held {
		if hold != (i >= before) {
			t.Errorf("after the time %d that it was drained: hold %v", i+1, hold)
		}
	}
	if len(run.Incomplete) > 0 {
		t.Errorf("the run is not whole: %q", run.Incomplete)
	}
	orders := map[string]bool{}
	for round := range rounds + 1 {
		turn := watched[1+round*n : 1+(round+1)*n]
		orders[fmt.Sprint(turn)] = true
		for _, s := range o.Settings {
			if !slices.ContainsFunc(turn, func(got []synclinev1.Source) bool { return slices.Equal(got, s.Sources) }) {
				t.Errorf("%s had no turn in round %d: %v", s.Name, round, turn)
			}
		}
	}
	if len(orders) < 2 {
		t.Errorf("the order of turns was always the same: %v", orders)
	}
	if got := c.judged(run.Id); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("repetitions %v were judged", got)
	}
	_, err = c.timelines.GetTimeline(t.Context(), &synclinev1.GetTimelineRequest{RunId: run.Id, Repetition: o.First})
	if status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "only measured") {
		t.Errorf("the timeline of a repetition that measured: %v", err)
	}
	whole, err := c.timelines.GetTimeline(t.Context(), &synclinev1.GetTimelineRequest{RunId: run.Id, Repetition: 1})
	if err != nil {
		t.Fatal(err)
	}
	if lost := whole.Timeline.Incomplete; len(lost) > 0 {
		t.Errorf("a packet that came late spoils the run: %q", lost)
	}
	for _, e := range whole.Timeline.Events {
		if e.Event.Repetition > before {
			t.Errorf("the timeline of repetition 1 has an event of repetition %d", e.Event.Repetition)
		}
	}
	if got := c.eventsOf(run.Id, before+1); got != 1 {
		t.Errorf("%d events came between the last repetition and the measurement, want 1", got)
	}
	if got := c.eventsOf(run.Id, o.Last); got != 1 {
		t.Errorf("%d events of the last repetition that measured, want 1", got)
	}
	if _, err := c.events(run.Id, o.Last+1); status.Code(err) != codes.NotFound {
		t.Errorf("the events of a repetition that there was not: %v", err)
	}
}

// A run that ends while it measures says why there are no figures, and is not whole.
func TestMeasureOverheadInterrupted(t *testing.T) {
	c := newTestController(t)
	c.pair(func(client, server *fakeAgent) {
		armed := 0
		client.armed = func(a *synclinev1.Arm) *synclinev1.Armed {
			if armed++; armed == 4 {
				return &synclinev1.Armed{RunId: a.RunId, Error: "the interface is gone"}
			}
			return &synclinev1.Armed{RunId: a.RunId}
		}
	})
	source, _ := experiment.Open("basic-open-close")
	created, err := c.runs.CreateRun(t.Context(), &synclinev1.CreateRunRequest{RequestId: "x", FileName: "x.yaml", Source: source, Repetitions: 1, OverheadRounds: 6})
	if err != nil {
		t.Fatal(err)
	}
	run := c.follow(created.Run.Id)
	if run.State != synclinev1.RunState_RUN_STATE_FAILED || run.RepetitionsDone != 1 || !strings.Contains(run.Overhead.GetFailure(), "the interface is gone") || len(run.Overhead.Settings) > 0 {
		t.Errorf("the run ended as %v", run)
	}
}

// events counts the raw events of a repetition.
func (c *testController) events(id string, repetition uint32) (n int, err error) {
	stream, err := c.runs.ListEvents(c.t.Context(), &synclinev1.ListEventsRequest{RunId: id, Repetition: repetition})
	if err != nil {
		return 0, err
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n += len(m.Events)
	}
}

func (c *testController) eventsOf(id string, repetition uint32) int {
	c.t.Helper()
	n, err := c.events(id, repetition)
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}
