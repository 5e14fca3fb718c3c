package timeline

import (
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// A trace without a socket is of the connection between its addresses that had begun, and
// of none if only a later one is on record.
func TestTraceBeforeItsConnection(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/states/traced_drop_before.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for more, want := range map[string]int{
		"": -1,
		// The connect(2) of the connection runs, and no packet of it has been seen.
		"B trace - 1 drop A>B SYN XDP bpf_prog_run_xdp\n": 0,
	} {
		run := newScript(t, section(archive, "events")+more).run
		tl, err := Build(run, 1)
		if err != nil {
			t.Fatal(err)
		}
		got, found := -2, 0
		for i := range tl.Moments {
			if m := &tl.Moments[i]; m.Event.Trace != nil {
				found++
				got = m.Connection
			}
		}
		if got != want || (more == "") != (found == 1) {
			t.Errorf("with %q the last of %d traces is of connection %d, want %d", more, found, got, want)
		}
	}
}

// A trace that names the segment that a RST answers is of that RST, and one of a RST that no
// tap saw leave, long before it, is not.
func TestResetTraceByNumbers(t *testing.T) {
	run := newScript(t, openingLines+`A>B PSH+ACK 100..120 data 5
B trace 2 200 reset-sent TCP_STATE in CLOSED
A>B PSH+ACK 856000..856020 data 5
B trace 3 856022 reset-sent TCP_FLAGS in LISTEN
B>A RST 856023..856040
`).run
	answered := -1
	for i, e := range run.Events {
		switch {
		case e.Packet != nil && e.Packet.Direction == In && e.Packet.Flags == PSH|ACK:
			answered = i
		case e.Trace != nil && e.Trace.State == stateNumber(stateListen):
			p := run.Events[answered].Packet
			e.Trace.Seq, e.Trace.Ack, e.Trace.Flags, e.Trace.PayloadLength = p.Seq, p.Ack, p.Flags, p.PayloadLength
		}
	}
	tl, err := Build(run, 1)
	if err != nil {
		t.Fatal(err)
	}
	segments := tl.Connections[0].Segments
	last := &segments[len(segments)-1]
	if len(last.Traces) != 1 || tl.Moments[last.Traces[0]].Event.Trace.Reason != "TCP_FLAGS" {
		t.Errorf("the RST has the traces %v, want that of the listener alone", last.Traces)
	}
	c := tl.Causes()
	if k, ok := c.Of(last.Departure); !ok || k.Rule != ruleListenerStray || k.Rule.Sources[0] != "RFC 9293 3.10.7.2" {
		t.Errorf("the cause of the RST is %+v, want the listener", k)
	}
}
