package cli

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	synclinev1 "syncline/proto/syncline/v1"
)

// events are the raw events of a run's first repetition.
func (l *testLab) events(run *synclinev1.Run) []*synclinev1.Event {
	l.t.Helper()
	stream, err := l.client.runs.ListEvents(l.t.Context(), &synclinev1.ListEventsRequest{RunId: run.Id, Repetition: 1})
	if err != nil {
		l.t.Fatal(err)
	}
	var all []*synclinev1.Event
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			l.t.Fatal(err)
		}
		all = append(all, m.Events...)
	}
}

// TestCallsTellTCPInfo follows tcp_info from the kernel to what a person reads: with the
// source a call on a TCP socket has it, at that moment's state; without, none has.
func TestCallsTellTCPInfo(t *testing.T) {
	plain := library(t, "basic-open-close")
	observed := bytes.Replace(plain, []byte("observe: [syscalls, packets]"), []byte("observe: [syscalls, packets, tcp-info]"), 1)
	if bytes.Equal(plain, observed) {
		t.Fatal("basic-open-close observes something else now")
	}
	l := newTestLab(t, mustParse(t, plain))

	told := make(map[string][]string)
	for _, e := range l.events(l.run(observed, 1)) {
		if c := e.GetCall(); c != nil {
			_, what := describeEvent(e)
			state := ""
			if _, info, is := strings.Cut(what, "["); is {
				state = " " + strings.FieldsFunc(info, func(r rune) bool { return r == ' ' || r == ']' })[0]
			}
			told[c.Lane] = append(told[c.Lane], c.Name+state)
		}
	}
	client := []string{"wait", "socket CLOSED", "connect ESTABLISHED", "send ESTABLISHED", "recv ESTABLISHED", "close"}
	if !slices.Equal(told["client"], client) {
		t.Errorf("the client's calls are %q, want %q", told["client"], client)
	}
	if got := told["server"]; !slices.Contains(got, "listen LISTEN") || !slices.Contains(got, "accept ESTABLISHED") || !slices.Contains(got, "close") {
		t.Errorf("the server's calls are %q", got)
	}

	for _, e := range l.events(l.run(plain, 1)) {
		if c := e.GetCall(); len(c.GetTcpInfo()) > 0 {
			t.Errorf("nobody asked, and %s of lane %s has %d bytes of tcp_info", c.Name, c.Lane, len(c.TcpInfo))
		}
	}
}
