package experiment

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzParse holds Parse to its promises for whatever it is given: it returns within
// bounded time, with an experiment or with errors whose places are in the file, and
// what it returned as good can be planned with, in every variant and any repetition.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"library/*.yaml", "testdata/*.yaml", "testdata/whole/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(source)
		}
	}
	f.Add([]byte(spreadFile))
	for _, item := range []string{
		"states: { client.c: [CLOSED, SYN_SENT, ...] }", "phase: { name: connect.blocked, of: client.c, within: [1 rtt, 1 rtt + 2ms] }",
		"count: { of: return(client.connect) ok, before: enter(server.accept), at_most: 2 }", "drop: { of: A>B SYN, host: B, reason: NETFILTER_DROP, at_most: 3 }", "retransmits: { of: A>B SYN, gaps: [1s, 2s, ...], tolerance: 10% }",
		"counter: { host: B, name: TcpExt.ListenOverflows, increases: true }", "queue: { of: server.s, peak: { at_most: $backlog + 1 } }",
		"result: { of: got, data: 'hex(00ff)', at_most: 2s }", "never: { packet: A>B SYN, after: return(client.connect) ok }",
		"final: { TIME_WAIT: [client.c] }", "spread: { of: go, at_most: 10us }", "graceful-teardown", "time-wait-on: A",
		"{ never: A>B UDP length 5, allow_empty: true, when: { kernel: '>= 6.12, < 7', host: B } }",
		"that: 'phase(\"connect.blocked\", \"client.c\") < rtt * 2 && vars.port > 1'",
	} {
		f.Add([]byte(crowd + "expect:\n  - " + item + "\nrepeat: { fresh: [port], until_reproduced: 1, at_most: 2 }\n"))
	}
	f.Fuzz(func(t *testing.T, source []byte) {
		stop := stopwatch()
		exp, err := Parse(source, Options{})
		if took := stop(); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
		if err == nil {
			checkSound(t, exp)
			checkPlans(t, source, exp)
			return
		}
		var faults Errors
		if !errors.As(err, &faults) || len(faults) == 0 {
			t.Fatalf("the error is no Errors: %#v", err)
		}
		checkPlaces(t, source, faults)
		faults.Render("fuzz.yaml", source, 80)
	})
}

// checkPlans fails if a variant cannot be planned, is not sound, or is another one when
// it is planned again.
func checkPlans(t *testing.T, source []byte, exp *Experiment) {
	t.Helper()
	again, err := Parse(source, Options{})
	if err != nil {
		t.Fatalf("parsed once, and not twice: %v", err)
	}
	const most = 16
	for variant := range exp.Variants[:min(most, len(exp.Variants))] {
		for _, repetition := range []int{1, 2, FreshValues, FreshValues + 1} {
			plan, err := exp.At(variant, repetition)
			if err != nil {
				var faults Errors
				if repetition == 2 && errors.As(err, &faults) {
					continue // values between the first and the last may make no sense
				}
				t.Fatalf("At(%d, %d): %v", variant, repetition, err)
			}
			checkSound(t, plan)
			other, err := again.At(variant, repetition)
			if err != nil {
				t.Fatal(err)
			}
			if sameFields(plan, other) {
				continue // cmp takes a hundred times as long to say so
			}
			if diff := cmp.Diff(plan, other, cmpopts.IgnoreUnexported(Experiment{}), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateNaNs()); diff != "" {
				t.Errorf("At(%d, %d) differs from one time to the next:\n%s", variant, repetition, diff)
			}
		}
	}
}

// sameFields reports whether all exported fields are deeply equal. NaNs never are.
func sameFields(a, b *Experiment) bool {
	x, y := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range x.NumField() {
		if x.Type().Field(i).IsExported() && !reflect.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
			return false
		}
	}
	return true
}

// checkSound fails if an experiment that was taken mentions what it does not have.
func checkSound(t *testing.T, exp *Experiment) {
	t.Helper()
	roles := make(map[string]bool)
	for _, h := range exp.Hosts {
		roles[h.Name] = true
	}
	for _, l := range exp.Lanes {
		if !roles[l.Host] || len(l.Steps) == 0 {
			t.Errorf("lane %+v has no host or no steps", l)
		}
		for _, s := range l.Steps {
			row, ok := findCall(s.Call)
			if !ok || (row.read != nil) != (s.Args != nil) || row.onSocket != (s.Socket != "") {
				t.Errorf("step %+v does not fit its call", s)
			}
		}
	}
	checkLanes(t, exp)
	for _, e := range exp.Expect {
		if e.Text == "" || e.Pos == (Pos{}) || strings.Contains(e.Text, "\n") {
			t.Errorf("the expectation %q at %v has no text or no place", e.Text, e.Pos)
		}
		moments, sockets := mentioned(e)
		for _, m := range moments {
			checkMoment(t, exp, m, roles)
		}
		for _, s := range sockets {
			if !slices.ContainsFunc(exp.Lanes, func(l Lane) bool { return l.Name == s.Lane || l.Base == s.Lane }) || s.Socket == "" {
				t.Errorf("%q: the socket %+v is of no lane", e.Text, s)
			}
		}
	}
}

// mentioned are the moments and sockets of an expectation.
func mentioned(e Expectation) (moments []MomentSelector, sockets []SocketSelector) {
	some := func(all ...*MomentSelector) {
		for _, m := range all {
			if m != nil {
				moments = append(moments, *m)
			}
		}
	}
	switch {
	case e.Packets != nil && e.Packets.Of.Text != "":
		sockets = append(sockets, e.Packets.Of)
	case e.States != nil:
		sockets = append(sockets, e.States.Of)
	case e.Order != nil:
		moments = e.Order.Moments
	case e.Phase != nil && e.Phase.Of.Text != "":
		sockets = append(sockets, e.Phase.Of)
	case e.Count != nil:
		some(e.Count.Moment, e.Count.Before, e.Count.After)
	case e.Queue != nil:
		sockets = append(sockets, e.Queue.Of)
	case e.Result != nil:
		some(&e.Result.Of)
	case e.Never != nil:
		some(e.Never.Before, e.Never.After)
	case e.Final != nil:
		sockets = e.Final.Of
	case e.Precondition != nil:
		moments = e.Precondition.Order.Moments
	}
	return moments, sockets
}

func checkMoment(t *testing.T, exp *Experiment, m MomentSelector, roles map[string]bool) {
	t.Helper()
	if m.Kind == PacketSent || m.Kind == PacketReceived {
		if !roles[m.Host] {
			t.Errorf("moment %+v is of no host", m)
		}
		return
	}
	for _, l := range exp.Lanes {
		if l.Name != m.Lane && (l.Base != m.Lane || !m.Copies) {
			continue
		}
		fits := func(s Step) bool { return s.Call == m.Call }
		if m.Step >= 0 && m.Step < len(l.Steps) && fits(l.Steps[m.Step]) || m.Step == -1 && slices.ContainsFunc(l.Steps, fits) {
			return
		}
	}
	t.Errorf("moment %+v picks no step", m)
}
