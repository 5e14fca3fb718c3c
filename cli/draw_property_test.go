package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"syncline/controller/timeline"
)

// drawScene writes a scene in which anything may happen, of few hosts or of more than
// any terminal has room for.
func drawScene(t *rapid.T) string {
	var b strings.Builder
	hosts := rapid.OneOf(rapid.IntRange(1, 4), rapid.IntRange(5, 20)).Draw(t, "hosts")
	for h := range hosts {
		fmt.Fprintf(&b, "host %c 10.0.0.%d", 'A'+h, h+1)
		if h > 0 {
			b.WriteString(rapid.SampledFrom([]string{"", " ±0.01", " ±5", " ±?"}).Draw(t, "err"))
		}
		b.WriteString(rapid.SampledFrom([]string{"", "", " missing packets"}).Draw(t, "missing"))
		b.WriteString(rapid.SampledFrom([]string{"", "", " kernel x"}).Draw(t, "kernel") + "\n")
	}
	host := func() string { return string(rune('A' + rapid.IntRange(0, hosts-1).Draw(t, "host"))) }
	at := func() float64 { return float64(rapid.IntRange(-2000, 5000).Draw(t, "at")) / 100 }
	for range rapid.IntRange(0, 12).Draw(t, "facts") {
		from := at()
		until := from + float64(rapid.IntRange(0, 3000).Draw(t, "long"))/100
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0, 1:
			name := rapid.SampledFrom([]string{"connect", "accept", "recv", "sleep", "wait", "signal", "socket", "bind"}).Draw(t, "call")
			args := rapid.SampledFrom([]string{"s", `c, "漢字"`, "c, B:8080", "c, \x1b[31m"}).Draw(t, "arguments")
			result := rapid.SampledFrom([]string{"0", "7", "ECONNREFUSED", "timeout", "0 by lab", "0 fails expected 1"}).Draw(t, "result")
			fmt.Fprintf(&b, "%s lane%d %s(%s) %v..%v = %s\n", host(), rapid.IntRange(0, 2).Draw(t, "lane"), name, args, from, until, result)
		case 2, 3, 4:
			flags := rapid.SampledFrom([]string{"SYN", "SYN+ACK", "RST", "ACK data 5", "FIN+ACK"}).Draw(t, "flags")
			left, came := fmt.Sprint(from), fmt.Sprint(until)
			mark := rapid.SampledFrom([]string{"", "", " lost", " unseen", " heard", " dup", " impossible"}).Draw(t, "mark")
			switch mark {
			case " lost", " unseen":
				came = "?"
			case " heard", " dup":
				left = "?"
			}
			one, other := host(), host()
			fmt.Fprintf(&b, "%s>%s %s %s..%s%s\n", one, other, flags, left, came, mark)
			drawInside(t, &b, one, other, from, until)
		default:
			fmt.Fprintf(&b, rapid.SampledFrom([]string{"loss %s packets 3 %v..%v\n", "step %s 1000 %v..%v\n"}).Draw(t, "gap"), host(), from, until)
		}
	}
	return b.String()
}

// drawInside writes what a kernel may have said after a packet from one host to another,
// and what the states of the one may be, in any order and however wrong.
func drawInside(t *rapid.T, b *strings.Builder, one, other string, from, until float64) {
	for range rapid.IntRange(0, 3).Draw(t, "inside") {
		name := rapid.SampledFrom([]string{"SYN_SENT", "ESTABLISHED", "TIME_WAIT", "CLOSED"}).Draw(t, "state")
		switch rapid.IntRange(0, 3).Draw(t, "what") {
		case 0:
			fmt.Fprintf(b, "state %s %s traced %v\n", one, name, until)
		case 1:
			known := rapid.SampledFrom([]string{"packet", "dump", "order"}).Draw(t, "known")
			bounds := rapid.SampledFrom([]string{"", " after 1000", " by 1000", " after 1000 by 1001"}).Draw(t, "bounds")
			at := rapid.SampledFrom([]string{"-", "1000"}).Draw(t, "moment")
			fmt.Fprintf(b, "A inside sleep(1) 1000..1001 = 0\nstate %s %s %s %s%s\n", one, name, known, at, bounds)
		case 2:
			fmt.Fprintf(b, "doubt %s nobody can tell\n", one)
		default:
			way := rapid.SampledFrom([]string{"in", "out", "noway"}).Draw(t, "way")
			reason := rapid.SampledFrom([]string{"NETFILTER_DROP", "TCP_" + strings.Repeat("LONG_", 20) + "REASON"}).Draw(t, "reason")
			of := rapid.SampledFrom([]string{"-", "0"}).Draw(t, "of")
			fmt.Fprintf(b, "drop %s %v %s SYN 10.0.0.1 %s place of %s\ntold %s %v reset %s of 0\n", other, until, way, reason, of, one, from, reason)
		}
	}
}

// TestAnySceneIsDrawn: whatever happened, a picture fits its width, is ASCII where
// that is asked for, lets no control character through, names every packet, puts no text
// over anything, and is the same when it is drawn again.
func TestAnySceneIsDrawn(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		scene := drawScene(rt)
		tl := parseScene(t, scene)
		o := drawOptions{
			Width: rapid.IntRange(40, 160).Draw(rt, "width"),
			ASCII: rapid.Bool().Draw(rt, "ascii"), Colour: rapid.Bool().Draw(rt, "colour"),
		}
		l := tl.Ladder(timeline.LadderOptions{
			Scale: timeline.Scale(rapid.IntRange(0, 2).Draw(rt, "scale")), Zero: timeline.LadderZero(rapid.IntRange(0, 2).Draw(rt, "zero")),
			HideLab: rapid.Bool().Draw(rt, "short"), Notes: rapid.Bool().Draw(rt, "notes"), LocalTimes: rapid.Bool().Draw(rt, "local"),
			Connections: rapid.SliceOfN(rapid.IntRange(1, 3), 0, 2).Draw(rt, "connections"),
		})
		var first, second bytes.Buffer
		if err := drawLadder(&first, l, o); err != nil {
			rt.Fatal(err)
		}
		if err := drawLadder(&second, l, o); err != nil || first.String() != second.String() {
			rt.Fatalf("drawn twice, differs: %v", err)
		}
		checkWidth(t, first.String(), o)
		if d := newRendering(l, o); d.drawn() && !d.empty() {
			d.lines(0, d.height())
			if n := d.picture.canvas.overdrawn; n > 0 {
				rt.Fatalf("%d cells have two things\nscene:\n%s\npicture:\n%s", n, scene, first.String())
			}
		}
		if t.Failed() {
			rt.Fatalf("scene:\n%s\npicture:\n%s", scene, first.String())
		}
	})
}
