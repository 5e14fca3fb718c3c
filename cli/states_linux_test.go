package cli

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"syncline/controller/experiment"
	synclinev1 "syncline/proto/syncline/v1"
)

// How thorough TestStatePaths is.
var (
	statesRepeat = flag.Int("states.repeat", 1, "repetitions of every scenario whose state paths are checked")
	statesMinute = flag.Bool("states.minute", false, "wait for the end of TIME_WAIT, which takes a minute, of as many connections")
)

// route is a path of states that RFC 9293 figure 5 and Linux have for an end.
type route struct {
	states string
	// when is what the packets must show for the end to go this way; nil: nothing.
	when func(*wire) bool
}

// always is the route that an end takes whatever its packets do.
func always(states string) []route { return []route{{states: states}} }

// Routes that scenarios have in common. Linux passes FIN_WAIT2 within one segment that
// has the peer's FIN and acknowledges ours; RFC 9293 goes to TIME-WAIT at once (figure 5,
// note 2), and so does the path.
const (
	toEstablished = "CLOSED SYN_SENT ESTABLISHED "
	toAccepted    = "SYN_RECV ESTABLISHED "
)

var (
	// noSocket: nobody answers for the address, or nobody could.
	noSocket = always("")
	// closedPassively reads the peer's FIN first, and has an end of its own by it.
	acceptedClosesLast  = always(toAccepted + "CLOSE_WAIT LAST_ACK CLOSED")
	connectedClosesLast = always(toEstablished + "CLOSE_WAIT LAST_ACK CLOSED")
	connectedIsReset    = always(toEstablished + "CLOSED")
	acceptedIsReset     = always(toAccepted + "CLOSED")
	neverConnects       = always("CLOSED SYN_SENT CLOSED")
	// acceptedOutlivesPeer closes when the peer, an orphan in FIN_WAIT2, is gone. Linux forgets
	// such an orphan without a word, unless the ACK that made it one came while close(2)
	// still owned the socket: that one keeps its socket, and is reset by it in the end
	// (tcp_rcv_state_process, tcp_keepalive_timer).
	acceptedOutlivesPeer = []route{
		{toAccepted + "CLOSE_WAIT LAST_ACK CLOSED", func(w *wire) bool { return w.fin(true) != nil }},
		{toAccepted + "CLOSE_WAIT CLOSED", func(w *wire) bool { return w.fin(true) == nil && w.resetAtLast() }},
	}
)

// closesFirst are the ways of an end that sends its FIN before it has read the peer's.
func closesFirst(opened string) []route {
	return []route{
		{opened + "FIN_WAIT1 FIN_WAIT2 TIME_WAIT", func(w *wire) bool { return w.closedFirst() && w.acknowledgedApart() }},
		{opened + "FIN_WAIT1 TIME_WAIT", func(w *wire) bool { return w.closedFirst() && !w.acknowledgedApart() }},
		// A reset ends TIME_WAIT, RFC 9293 3.10.7.4, unless tcp_rfc1337 is set.
		{opened + "FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSED", func(w *wire) bool { return w.closedFirst() && w.acknowledgedApart() && w.resetAtLast() }},
		{opened + "FIN_WAIT1 TIME_WAIT CLOSED", func(w *wire) bool { return w.closedFirst() && !w.acknowledgedApart() && w.resetAtLast() }},
	}
}

// closesTogether are the ways of an end when both close at once.
func closesTogether(opened string) []route {
	return append(closesFirst(opened),
		route{opened + "FIN_WAIT1 CLOSING TIME_WAIT", func(w *wire) bool { return w.crossed() }},
		// The ACK of the FIN may overtake the FIN that crossed it.
		route{opened + "FIN_WAIT1 FIN_WAIT2 TIME_WAIT", func(w *wire) bool { return w.crossed() && w.acknowledgedApart() }},
		route{opened + "CLOSE_WAIT LAST_ACK CLOSED", func(w *wire) bool { return w.closedSecond() }},
	)
}

// bothEnds are the ways of the two ends of a connection.
type bothEnds struct{ client, server []route }

// journey is a scenario of the library, and the ways that the ends of its connections go:
// by variant, and by the client's lane; "" stands for every one.
type journey struct {
	scenario string
	// traced asks for the source tcp-states where the file does not.
	traced bool
	// slow scenarios mostly wait: their repetitions are divided among labs.
	slow     bool
	variants map[string]map[string]bothEnds
	// orphanFor is tcp_fin_timeout of the client, where the scenario waits for it.
	orphanFor time.Duration
	// listeners have the path CLOSED, LISTEN, CLOSED, this many in each repetition.
	listeners int
}

func each(ends bothEnds) map[string]map[string]bothEnds {
	return map[string]map[string]bothEnds{"": {"": ends}}
}

var journeys = []journey{
	{scenario: "basic-open-close", variants: each(bothEnds{always(toEstablished + "FIN_WAIT1 FIN_WAIT2 TIME_WAIT"), acceptedClosesLast})},
	{scenario: "basic-open-close", traced: true, listeners: 1, variants: each(bothEnds{always(toEstablished + "FIN_WAIT1 FIN_WAIT2 TIME_WAIT"), acceptedClosesLast})},
	{scenario: "server-closes-first", listeners: 1, variants: map[string]map[string]bothEnds{
		"closes":    {"": {connectedClosesLast, always(toAccepted + "FIN_WAIT1 FIN_WAIT2 TIME_WAIT")}},
		"writes-on": {"": {always(toEstablished + "CLOSE_WAIT CLOSED"), always(toAccepted + "FIN_WAIT1 FIN_WAIT2 CLOSED")}},
	}},
	{scenario: "half-close", listeners: 1, variants: each(bothEnds{always(toEstablished + "FIN_WAIT1 FIN_WAIT2 TIME_WAIT"), acceptedClosesLast})},
	{scenario: "simultaneous-close", listeners: 1, variants: each(bothEnds{closesTogether(toEstablished), closesTogether(toAccepted)})},
	{scenario: "connect-refused", variants: each(bothEnds{neverConnects, noSocket})},
	{scenario: "connect-filtered", slow: true, listeners: 1, variants: each(bothEnds{neverConnects, noSocket})},
	{scenario: "linger-zero", listeners: 1, variants: each(bothEnds{connectedIsReset, acceptedIsReset})},
	{scenario: "close-with-unread-data", listeners: 1, variants: each(bothEnds{connectedIsReset, acceptedIsReset})},
	{scenario: "reset-before-accept", listeners: 1, variants: each(bothEnds{connectedIsReset, acceptedIsReset})},
	{scenario: "reset-after-accept", listeners: 1, variants: map[string]map[string]bothEnds{
		"recv-first":    {"": {connectedIsReset, acceptedIsReset}},
		"send-first":    {"": {connectedIsReset, acceptedIsReset}},
		"in-close-wait": {"": {always(toEstablished + "FIN_WAIT1 FIN_WAIT2 CLOSED"), always(toAccepted + "CLOSE_WAIT CLOSED")}},
	}},
	{scenario: "backlog-overflow", slow: true, listeners: 1, variants: map[string]map[string]bothEnds{
		"trickle":     {"": {closesFirst(toEstablished), acceptedClosesLast}, "last": {neverConnects, noSocket}},
		"burst":       {"": {closesFirst(toEstablished), acceptedClosesLast}},
		"burst-abort": {"": {closesFirst(toEstablished), acceptedClosesLast}, "last": {connectedIsReset, always("SYN_RECV CLOSED")}},
	}},
	{scenario: "fin-wait-2-timeout", slow: true, orphanFor: time.Second, listeners: 1, variants: map[string]map[string]bothEnds{
		"early":             {"": {always(toEstablished + "FIN_WAIT1 FIN_WAIT2 TIME_WAIT"), acceptedClosesLast}},
		"held":              {"": {always(toEstablished + "FIN_WAIT1 FIN_WAIT2 TIME_WAIT"), acceptedClosesLast}},
		"late":              {"": {always(toEstablished + "FIN_WAIT1 FIN_WAIT2 CLOSED"), acceptedOutlivesPeer}},
		"late-with-linger2": {"": {always(toEstablished + "FIN_WAIT1 FIN_WAIT2 CLOSED"), acceptedOutlivesPeer}},
	}},
	{scenario: "time-wait-place", listeners: 1, variants: map[string]map[string]bothEnds{
		"client-first": {"": {closesFirst(toEstablished), acceptedClosesLast}},
		"server-first": {"": {connectedClosesLast, closesFirst(toAccepted)}},
	}},
}

// aMinute is time-wait-length with as many connections as are asked for, each in a lane of
// its own: all of them wait at once.
func aMinute(t testing.TB, connections int) (*journey, []byte) {
	t.Helper()
	const accepts = "      - a = accept(s)\n      - recv(a, 4096) -> 0 as eof\n      - close(a)\n"
	source := string(library(t, "time-wait-length"))
	head, rest, _ := strings.Cut(source, "  client:\n")
	client, rest, _ := strings.Cut(rest, "\nexpect:")
	_, repeat, found := strings.Cut(rest, "repeat: { runs: 1, gap: 10ms, timeout: 90s }")
	if !found || strings.Count(head, accepts) != 1 || strings.Count(client, "client.c") != 2 {
		t.Fatal("time-wait-length is written in another way now")
	}
	var b strings.Builder
	b.WriteString(strings.Replace(head, accepts, fmt.Sprintf(
		"      - repeat: %d\n        do:\n          - a = accept(s)\n          - recv(a, 4096) -> 0\n          - close(a)\n", connections), 1))
	for n := range connections {
		own := strings.NewReplacer("      - wait(client.c is TIME_WAIT, timeout=5s) as begun\n", "", "client.c", fmt.Sprintf("client%d.c", n+1), " as over", "").Replace(client)
		fmt.Fprintf(&b, "  client%d:\n%s\n", n+1, own)
	}
	fmt.Fprintf(&b, "\nexpect: [no-rst]\nrepeat: { runs: 1, timeout: 150s }\n%s", repeat)
	j := &journey{scenario: "time-wait-length", listeners: 1, variants: each(bothEnds{
		[]route{
			{toEstablished + "FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSED", func(w *wire) bool { return w.closedFirst() && w.acknowledgedApart() }},
			{toEstablished + "FIN_WAIT1 TIME_WAIT CLOSED", func(w *wire) bool { return w.closedFirst() && !w.acknowledgedApart() }},
		}, acceptedClosesLast})}
	return j, []byte(b.String())
}

// atATime is how many connections wait for the end of TIME_WAIT in one lab: a file has at
// most 64 things to look out for.
const atATime = 50

// labsOfSlow is how many labs share the repetitions of a slow scenario.
const labsOfSlow = 8

// TestStatePaths holds the state path of both ends of every connection, and of the
// listeners, against what RFC 9293 figure 5 and Linux make of the scenario: every state,
// none twice, none invented, each with bounds that its host's own packets allow. At the
// end the kernels' tables of sockets must hold what the paths say is left.
//
//	go test ./cli -run TestStatePaths -states.repeat 200 -states.minute
func TestStatePaths(t *testing.T) {
	book := &ledger{right: map[string]int{}, of: map[string]int{}}
	t.Cleanup(func() { t.Logf("paths that are complete and right\n%s", book) })
	quick := slices.DeleteFunc(slices.Clone(journeys), func(j journey) bool { return j.slow })
	slow := slices.DeleteFunc(slices.Clone(journeys), func(j journey) bool { return !j.slow })
	var comingUp sync.Mutex
	t.Run("slow", func(t *testing.T) {
		labs := min(labsOfSlow, *statesRepeat)
		for _, j := range slow {
			for n := range labs {
				t.Run(fmt.Sprintf("%s/%d", j.name(), n+1), func(t *testing.T) {
					t.Parallel()
					// One lab after another: all at once take longer than one may.
					l := func() *testLab {
						comingUp.Lock()
						defer comingUp.Unlock()
						return newTestLab(t, mustParse(t, j.source(t)))
					}()
					l.journey(&j, (*statesRepeat+n)/labs, book, timeWaits{})
				})
			}
		}
	})
	if *statesMinute {
		t.Run("minute", func(t *testing.T) {
			for n := 0; n < *statesRepeat; n += atATime {
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					t.Parallel()
					j, source := aMinute(t, min(atATime, *statesRepeat-n))
					l := func() *testLab {
						comingUp.Lock()
						defer comingUp.Unlock()
						return newTestLab(t, mustParse(t, source))
					}()
					l.visits(j, source, 1, book, timeWaits{})
				})
			}
		})
	}
	t.Run("quick", func(t *testing.T) {
		l := newTestLab(t, mustParse(t, quick[0].source(t)))
		waiting := timeWaits{}
		for _, j := range quick {
			t.Run(j.name(), func(t *testing.T) {
				here := *l
				here.t = t
				here.journey(&j, *statesRepeat, book, waiting)
			})
		}
	})
}

func (j *journey) name() string {
	if j.traced {
		return j.scenario + " traced"
	}
	return j.scenario
}

// source is the scenario's file as the library has it, but for the source of states.
func (j *journey) source(t testing.TB) []byte {
	t.Helper()
	source := string(library(t, j.scenario))
	if !j.traced {
		return []byte(source)
	}
	const without, with = "observe: [syscalls, packets]", "observe: [syscalls, packets, tcp-states]"
	if strings.Count(source, without) != 1 {
		t.Fatalf("%s observes something else now", j.scenario)
	}
	return []byte(strings.Replace(source, without, with, 1))
}

// ends are the ways of a connection whose client is of a lane.
func (j *journey) ends(t testing.TB, variant, lane string) bothEnds {
	t.Helper()
	lanes, ok := j.variants[variant]
	if !ok {
		lanes, ok = j.variants[""]
	}
	if !ok {
		t.Fatalf("no paths are written for variant %q", variant)
	}
	copied, _, _ := strings.Cut(lane, "[")
	if ends, ok := lanes[copied]; ok {
		return ends
	}
	return lanes[""]
}

// journey runs the scenario and judges every path of every repetition.
func (l *testLab) journey(j *journey, repeat int, book *ledger, waiting timeWaits) {
	l.t.Helper()
	l.visits(j, j.source(l.t), repeat, book, waiting)
}

func (l *testLab) visits(j *journey, source []byte, repeat int, book *ledger, waiting timeWaits) {
	l.t.Helper()
	exp := mustParse(l.t, source)
	opts := runOptions{repeat: repeat, bindings: l.bindings}
	run, err := l.operator.execute(l.t.Context(), l.client, exp.Name, untilReproduced(source, exp, &opts), opts)
	if err != nil {
		l.t.Fatal(err)
	}
	left := l.tables()
	if run.State != synclinev1.RunState_RUN_STATE_SEALED {
		l.t.Fatalf("run is %v: %s", run.State, run.Reason)
	}
	for n := 1; n <= int(run.RepetitionsDone); n++ {
		tl := l.timeline(run, n)
		v := &visit{tl: tl, journey: j, isTraced: slices.Contains(exp.Observe, "tcp-states"), book: book, waiting: waiting}
		if !v.repetition(l.t) {
			l.t.Logf("repetition %d\n%s\n%s", n, l.picture(run, uint32(n)), l.traces(run.Id, n))
		}
	}
	waiting.check(l.t, left)
}

// traces are the raw states and losses of a repetition and of those beside it, for whoever
// has to find out where one has gone.
func (l *testLab) traces(id string, repetition int) string {
	var b strings.Builder
	l.eachEvent(id, func(agent string, e *synclinev1.Event) {
		if n := int(e.Repetition); n < repetition-1 || n > repetition+1 {
			return
		}
		if tr := e.GetTrace(); tr != nil {
			fmt.Fprintf(&b, "%s %d #%d %d %v cookie %d %s %s %d>%d\n", agent, e.Repetition, e.Number, e.TimeNs, tr.Kind, tr.Cookie, tr.LocalAddress, tr.PeerAddress, tr.OldState, tr.State)
		}
		if e.GetLoss() != nil || e.GetSocketState() != nil || e.GetMark() != nil {
			fmt.Fprintf(&b, "%s %d #%d %d %v\n", agent, e.Repetition, e.Number, e.TimeNs, e)
		}
	})
	return b.String()
}

// untilReproduced makes a scenario that repeats until it is reproduced do so as often as
// the test asks; what was not reproduced has paths of its own.
func untilReproduced(source []byte, exp *experiment.Experiment, opts *runOptions) []byte {
	if exp.Repeat.UntilReproduced == 0 {
		return source
	}
	was := fmt.Sprintf("until_reproduced: %d, at_most: %d", exp.Repeat.UntilReproduced, exp.Repeat.AtMost)
	now := fmt.Sprintf("until_reproduced: %d, at_most: %d", opts.repeat, 40+8*opts.repeat)
	opts.repeat = 0
	return []byte(strings.Replace(string(source), was, now, 1))
}

// ledger counts paths by what they are of. It is safe for concurrent use.
type ledger struct {
	mu        sync.Mutex
	right, of map[string]int
}

func (b *ledger) note(path string, right bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of[path]++
	if right {
		b.right[path]++
	}
}

func (b *ledger) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var lines strings.Builder
	for _, path := range slices.Sorted(maps.Keys(b.of)) {
		fmt.Fprintf(&lines, "%4d of %4d  %s\n", b.right[path], b.of[path], path)
	}
	return lines.String()
}
