package controller

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

// duckDB asks DuckDB, and skips the test where there is none. make tools installs it.
func duckDB(t *testing.T, sql map[string]string) map[string][][]string {
	t.Helper()
	modules, err := filepath.Abs(filepath.Join("..", ".tools", "duckdb", "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	_, missing := os.Stat(filepath.Join(modules, "@duckdb", "node-api"))
	node, noNode := exec.LookPath("node")
	if missing != nil || noNode != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("DuckDB is missing: %v %v", missing, noNode)
		}
		t.Skip("DuckDB is not installed: make tools, with node and npm")
	}
	asked, err := json.Marshal(sql)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), node, filepath.Join("testdata", "duckdb.cjs"))
	command.Env = append(os.Environ(), "NODE_PATH="+modules)
	command.Stdin = bytes.NewReader(asked)
	var said bytes.Buffer
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		t.Fatalf("DuckDB: %v\n%s", err, said.Bytes())
	}
	var raw map[string][][]any
	if err := json.Unmarshal(out, &raw); err != nil {
		t.Fatalf("DuckDB said %.200q: %v", out, err)
	}
	rows := map[string][][]string{}
	for name, all := range raw {
		for _, row := range all {
			var cells []string
			for _, cell := range row {
				cells = append(cells, fmt.Sprint(cell))
			}
			rows[name] = append(rows[name], cells)
		}
	}
	return rows
}

// TestDuckDBReadsTheArchive asks questions about archived runs as somebody would who has
// the bucket and no controller, and compares the answers with those of the controller.
func TestDuckDBReadsTheArchive(t *testing.T) {
	bucket := t.TempDir()
	c := lab(t, Config{Archive: fileURL(bucket)})
	var runs []store.Run
	for _, name := range []string{"handshake-and-teardown", "backlog-values", "syn-options", "connect-refused"} {
		run := recorded(t, c, name)
		if _, err := c.archiveRun(t.Context(), run.ID); err != nil {
			t.Fatal(err)
		}
		runs = append(runs, run)
	}
	from := func(table string) string {
		return fmt.Sprintf("read_parquet('%s/%s/*.parquet')", filepath.ToSlash(bucket), table)
	}
	got := duckDB(t, map[string]string{
		"events of each kind": "SELECT run, kind, count(*) FROM " + from("events") + " GROUP BY ALL",
		"connect p50 by host": "SELECT run, host, quantile_disc(call_return_ns - time_ns, 0.5), count(*) FROM " + from("events") +
			" WHERE kind = 'call' AND call_name = 'connect' AND NOT call_by_lab GROUP BY ALL",
		"SYN sent": "SELECT run, host, variant, count(*), min(packet_source) FROM " + from("events") +
			" WHERE packet_direction = 'out' AND packet_flags & 18 = 2 AND packet_protocol IN (0, 6) GROUP BY ALL",
		"states":   "SELECT run, trace_state, count(*) FROM " + from("events") + " WHERE trace_kind = 'state' GROUP BY ALL",
		"verdicts": "SELECT run, repetition, expectation, ruling, reason FROM " + from("verdicts"),
		"counters": "SELECT run, host, name, sum(delta) FROM " + from("counters") + " GROUP BY ALL",
		"runs":     "SELECT run, experiment, state, epoch_us(created) = created_ns // 1000, events, repetitions_done, seal FROM " + from("runs"),
		"complete": "SELECT r.run, r.events - count(*) FROM " + from("runs") + " r JOIN " + from("events") + " e ON e.run = r.run GROUP BY r.run, r.events",
		"hosts":    "SELECT run, host, agent, address FROM " + from("hosts"),
	})
	want := map[string][][]string{}
	for _, run := range runs {
		for name, rows := range asAnswered(t, c, run) {
			want[name] = append(want[name], rows...)
		}
	}
	for name := range got {
		for _, rows := range [][][]string{got[name], want[name]} {
			slices.SortFunc(rows, func(a, b []string) int { return slices.Compare(a, b) })
		}
		if diff := gocmp.Diff(want[name], got[name]); diff != "" || len(got[name]) < len(runs)-1 {
			t.Errorf("%s, %d rows (-controller +DuckDB):\n%s", name, len(got[name]), diff)
		}
	}
}

// asAnswered are the same rows from what the controller answers about a run.
func asAnswered(t *testing.T, c *Controller, run store.Run) map[string][][]string {
	t.Helper()
	rows, roles, took := map[string][][]string{}, map[string]string{}, map[string][]int64{}
	counts := map[string]map[string]int64{}
	count := func(what string, by int64, key ...string) {
		if counts[what] == nil {
			counts[what] = map[string]int64{}
		}
		counts[what][strings.Join(key, "\x00")] += by
	}
	for _, h := range run.Hosts {
		roles[h.Agent] = h.Name
		rows["hosts"] = append(rows["hosts"], []string{run.ID, h.Name, h.Agent, h.Address})
	}
	senders := map[string]string{}
	eachEvent(t, c, run.ID, func(agent string, e *synclinev1.Event) {
		role, m := roles[agent], e.ProtoReflect()
		count("events of each kind", 1, string(m.WhichOneof(m.Descriptor().Oneofs().ByName("fact")).Name()))
		if call := e.GetCall(); call.GetName() == "connect" && !call.GetByLab() {
			took[role] = append(took[role], call.ReturnNs-e.TimeNs)
		}
		if p := e.GetPacket(); p.GetDirection() == synclinev1.Direction_DIRECTION_OUT && p.Flags&18 == 2 && (p.Protocol == 0 || p.Protocol == 6) {
			variant := variantNames(run)(e.Repetition)
			if variant == "" {
				variant = "<nil>"
			}
			from := fmt.Sprintf("%d.%d.%d.%d", p.Source[0], p.Source[1], p.Source[2], p.Source[3])
			key := role + "\x00" + variant
			senders[key] = min(cmp.Or(senders[key], from), from)
			count("SYN sent", 1, role, variant)
		}
		if tr := e.GetTrace(); tr.GetKind() == synclinev1.TraceKind_TRACE_KIND_STATE {
			count("states", 1, kernelStates[tr.State])
		}
		for _, counter := range e.GetCounters().GetCounters() {
			count("counters", counter.Delta, role, counter.Name)
		}
	})
	for what, all := range counts {
		for key, n := range all {
			row := append([]string{run.ID}, strings.Split(key, "\x00")...)
			row = append(row, fmt.Sprint(n))
			if what == "SYN sent" {
				row = append(row, senders[key])
			}
			rows[what] = append(rows[what], row)
		}
	}
	for role, all := range took {
		slices.Sort(all)
		// The smallest that half of them do not exceed.
		rows["connect p50 by host"] = append(rows["connect p50 by host"], []string{run.ID, role, fmt.Sprint(all[(len(all)-1)/2]), fmt.Sprint(len(all))})
	}
	err := (&timelineReader{records: c.records}).ListVerdicts(&synclinev1.ListVerdictsRequest{RunId: run.ID}, collector[synclinev1.ListVerdictsResponse]{ctx: t.Context(), take: func(m *synclinev1.ListVerdictsResponse) {
		for _, v := range m.Verdicts {
			native := VerdictFromProto(v)
			rows["verdicts"] = append(rows["verdicts"], []string{run.ID, fmt.Sprint(m.Repetition), native.Expectation, native.Ruling.String(), cmp.Or(native.Reason, "<nil>")})
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	rows["runs"] = [][]string{{run.ID, run.Experiment, run.State.String(), "true", fmt.Sprint(run.Events), fmt.Sprint(run.RepetitionsDone), fmt.Sprintf("%x", run.Seal)}}
	rows["complete"] = [][]string{{run.ID, "0"}}
	return rows
}

// kernelStates are those of include/net/tcp_states.h that the runs come to, by number.
var kernelStates = map[uint32]string{
	1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 6: "TIME_WAIT", 7: "CLOSE", 8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING",
}

// eachEvent calls f with every event of a run.
func eachEvent(t *testing.T, c *Controller, id string, f func(agent string, e *synclinev1.Event)) {
	t.Helper()
	err := (&runReader{records: c.records}).ListEvents(&synclinev1.ListEventsRequest{RunId: id}, collector[synclinev1.ListEventsResponse]{ctx: t.Context(), take: func(m *synclinev1.ListEventsResponse) {
		for _, e := range m.Events {
			f(m.Agent, e)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
}
