package chaos

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Outcome is what came of a fault.
type Outcome struct {
	Fault Fault
	// Happened: the evidence was found; Proof is what it was.
	Happened bool
	Proof    string
	// Skipped says why it was not tried: there was nothing that it could happen to.
	Skipped string
}

// Figures are what a series showed.
type Figures struct {
	Length              time.Duration
	Runs, Failed        int
	Wrote, Acked        uint64
	Checked             uint64
	Calls, UnknownCalls int
	// Accepted are the times from the SIGKILL of a leader to the first write that was accepted,
	// Back those from the end of a group of faults until every node had caught up.
	Accepted, Back []time.Duration
}

// WriteTable writes what was done to the cluster and what it showed.
func WriteTable(to io.Writer, outcomes []Outcome, violations []Violation, f Figures) error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "fault\thappened\tskipped\tshown by")
	total, kinds, skipped := 0, 0, 0
	for _, t := range Kinds() {
		done, not := 0, 0
		for _, o := range outcomes {
			switch {
			case o.Fault.Kind != t.Kind:
			case o.Happened:
				done++
			case o.Skipped != "":
				not++
			}
		}
		if done+not == 0 {
			continue
		}
		total += done
		skipped += not
		if done > 0 {
			kinds++
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", t.Kind, done, not, t.Evidence)
	}
	fmt.Fprintf(w, "%d kinds\t%d\t%d\t\n", kinds, total, skipped)
	if err := w.Flush(); err != nil {
		return err
	}
	b.WriteByte('\n')
	w = tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, i := range Invariants() {
		var n uint64
		for _, v := range violations {
			if v.Invariant == i {
				n += v.Count
			}
		}
		fmt.Fprintf(w, "%s\t%d\n", i, n)
	}
	fmt.Fprintf(w, "length\t%v\n", f.Length.Round(time.Second))
	fmt.Fprintf(w, "runs\t%d, %d of them failed or cancelled\n", f.Runs, f.Failed)
	fmt.Fprintf(w, "generated events\t%d written, %d acknowledged, %d read back\n", f.Wrote, f.Acked, f.Checked)
	fmt.Fprintf(w, "control calls\t%d, %d of unknown outcome\n", f.Calls, f.UnknownCalls)
	fmt.Fprintf(w, "kill -9 of the leader to an accepted write\t%s\n", quantiles(f.Accepted))
	fmt.Fprintf(w, "healed to all nodes level\t%s\n", quantiles(f.Back))
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(to, b.String())
	return err
}

// quantiles are the median, the 99th percentile and the greatest, by the nearest rank.
func quantiles(all []time.Duration) string {
	if len(all) == 0 {
		return "not measured"
	}
	s := slices.Clone(all)
	slices.SortFunc(s, cmp.Compare[time.Duration])
	return fmt.Sprintf("p50 %v, p99 %v, max %v, of %d", Quantile(s, 50).Round(time.Millisecond), Quantile(s, 99).Round(time.Millisecond), s[len(s)-1].Round(time.Millisecond), len(s))
}

// Quantile is the p-th percentile of durations in order, by the nearest rank.
func Quantile(sorted []time.Duration, p int) time.Duration {
	return sorted[max(1, (p*len(sorted)+99)/100)-1]
}
