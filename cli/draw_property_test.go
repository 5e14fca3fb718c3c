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
			fmt.Fprintf(&b, "%s>%s %s %s..%s%s\n", host(), host(), flags, left, came, mark)
		default:
			fmt.Fprintf(&b, rapid.SampledFrom([]string{"loss %s packets 3 %v..%v\n", "step %s 1000 %v..%v\n"}).Draw(t, "gap"), host(), from, until)
		}
	}
	return b.String()
}

// TestAnySceneIsDrawn: whatever happened, a picture fits its width, is ASCII where
// that is asked for, lets no control character through, names every packet, and is
// the same when it is drawn again.
func TestAnySceneIsDrawn(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		scene := drawScene(rt)
		tl := parseScene(t, scene)
		o := drawOptions{
			Width: rapid.IntRange(40, 160).Draw(rt, "width"),
			ASCII: rapid.Bool().Draw(rt, "ascii"), Colour: rapid.Bool().Draw(rt, "colour"),
		}
		l := tl.Ladder(timeline.LadderOptions{
			HideLab: rapid.Bool().Draw(rt, "short"), LocalTimes: rapid.Bool().Draw(rt, "local"),
			Connection: rapid.IntRange(0, 2).Draw(rt, "connection"),
		})
		var first, second bytes.Buffer
		if err := drawLadder(&first, l, o); err != nil {
			rt.Fatal(err)
		}
		if err := drawLadder(&second, l, o); err != nil || first.String() != second.String() {
			rt.Fatalf("drawn twice, differs: %v", err)
		}
		checkWidth(t, first.String(), o)
		if t.Failed() {
			rt.Fatalf("scene:\n%s\npicture:\n%s", scene, first.String())
		}
	})
}
