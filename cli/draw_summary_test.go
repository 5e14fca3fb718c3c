package cli

import (
	"bytes"
	"os"
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

// TestSummary draws the verdicts of a run in every way its golden file has a section
// for.
func TestSummary(t *testing.T) {
	const file = "testdata/summary.txt"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sentence, sections := splitSections(string(data))
	for i := range sections {
		draw, _ := optionsOf(t, sections[i].name)
		var b bytes.Buffer
		if err := drawSummary(&b, summaryOf(), draw); err != nil {
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
