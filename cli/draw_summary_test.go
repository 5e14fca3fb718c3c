package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncline/controller/timeline"
)

// summaryOf is a run of 200 repetitions in which most went well.
func summaryOf() *timeline.Summary {
	var s timeline.Summary
	for rep := 1; rep <= 200; rep++ {
		packets := timeline.Verdict{
			Expectation: "packets: [A>B SYN, B>A SYN+ACK, A>B ACK no data, ..., A>B FIN+ACK, B>A ACK, B>A FIN+ACK, A>B ACK]",
			Ruling:      timeline.Pass,
		}
		if rep == 17 || rep == 31 {
			packets.Ruling = timeline.Fail
			packets.Reason = "expected B>A FIN+ACK as 7th packet, got B>A RST at 1.203 ms"
		}
		order := timeline.Verdict{Expectation: "order: return(client.connect) < return(server.accept)", Ruling: timeline.Pass}
		if rep%4 == 0 {
			order.Ruling = timeline.CannotTell
			order.Reason = "which came first, return(client.connect) at 0.085 ms or return(server.accept) at 0.090 ms ±38 µs, is not known: they are 5 µs apart, ε is 38 µs; an ε below 5 µs would have decided it"
		}
		if rep == 31 {
			order.Ruling, order.Reason = timeline.Fail, "return(client.connect) at 0.200 ms is after return(server.accept) at 0.090 ms ±38 µs by 110 µs ±38 µs"
		}
		closing := timeline.Verdict{Expectation: "the closes cross", Ruling: timeline.Pass}
		if rep < 3 {
			closing.Ruling, closing.Reason = timeline.NotReproduced, "B's FIN was in before A closed"
		}
		s.Add(rep, []timeline.Verdict{
			{Expectation: timeline.EveryOutcome, Ruling: timeline.Pass},
			{Expectation: timeline.EveryEvent, Ruling: timeline.Pass},
			packets, order, closing,
			{Expectation: "never: any RST", Ruling: timeline.Pass},
		})
	}
	return &s
}

// blindSummary is a run whose hosts could not see packets, and of which one repetition
// went wrong in two ways.
func blindSummary() *timeline.Summary {
	const (
		a = "A has no packets: needs CAP_NET_RAW; run the agent as root, or give it that"
		b = "B has no packets: needs CAP_NET_RAW; run the agent as root, or give it that"
	)
	var s timeline.Summary
	for rep := 1; rep <= 20; rep++ {
		outcome := timeline.Verdict{Expectation: timeline.EveryOutcome, Ruling: timeline.Pass}
		switch {
		case rep >= 2 && rep <= 4:
			outcome.Ruling, outcome.Reason = timeline.Fail, "connect(c, B:8080): expected ok, got ECONNREFUSED"
		case rep == 6:
			outcome.Ruling, outcome.Reason = timeline.Fail, "recv(c, 4096): expected 5, got the lab's timeout"
		}
		untold := func(expectation, reason string) timeline.Verdict {
			return timeline.Verdict{Expectation: expectation, Ruling: timeline.CannotTell, Reason: reason}
		}
		s.Add(rep, []timeline.Verdict{
			outcome,
			untold("packets: [A>B SYN, B>A SYN+ACK, A>B ACK]", "no packet of a TCP connection is on record; "+a+"; "+b),
			untold("order: enter(client.connect) < sent(A, SYN)", "selects nothing: A sent no packet SYN that is on record; "+a),
			untold("order: received(B, third ACK) < return(server.accept)", "selects nothing: B received no packet third ACK that is on record; "+b),
			untold("never: any RST", "nothing on record speaks against it, but "+a+"; "+b),
		})
	}
	return &s
}

// TestSummary draws the verdicts of a run in every way its golden file has a section
// for; "blind" is the run without packets.
func TestSummary(t *testing.T) {
	const file = "testdata/summary.txt"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sentence, sections := splitSections(string(data))
	for i := range sections {
		name, summary := sections[i].name, summaryOf()
		if width, isBlind := strings.CutPrefix(name, "blind "); isBlind {
			name, summary = width, blindSummary()
		}
		draw, _ := optionsOf(t, name)
		var b bytes.Buffer
		if err := drawSummary(&b, summary, draw); err != nil {
			t.Fatal(err)
		}
		checkWidth(t, b.String(), draw)
		if *update {
			sections[i].body = b.String()
		} else if diff := cmp.Diff(sections[i].body, b.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", sections[i].name, diff)
		}
	}
	if *update {
		writeSections(t, file, sentence, sections)
	}
}
