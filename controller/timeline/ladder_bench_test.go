package timeline

import (
	"fmt"
	"strings"
	"testing"
)

// longScene is a connection that carries n segments of data and their ACKs.
func longScene(n int) string {
	var b strings.Builder
	b.WriteString("host A 10.0.0.1\nhost B 10.0.0.2 ±0.01\nA>B SYN 0..1\nB>A SYN+ACK 1.1..2\nA>B ACK 2.1..3\n")
	for i := range n {
		at := float64(i)/2 + 4
		fmt.Fprintf(&b, "A>B ACK data 100 %v..%v\nB>A ACK %v..%v\n", at, at+1, at+1.1, at+2.1)
	}
	return b.String()
}

// BenchmarkJudge judges a repetition as a small experiment makes it, and one with a
// thousand segments in flight both ways.
func BenchmarkJudge(b *testing.B) {
	for _, bench := range []struct{ name, scene string }{{"handshake", handshake}, {"data", longScene(500)}} {
		b.Run(bench.name, func(b *testing.B) {
			tl := parseScene(b, bench.scene)
			exp := expectations(b, "packets A>B SYN, B>A SYN+ACK, A>B ACK, ...", "never any RST",
				"order sent(A, SYN) < received(B, SYN) < sent(B, SYN+ACK)")
			for b.Loop() {
				if v := tl.Judge(exp); v[2].Ruling != Pass {
					b.Fatal(v[2].Reason)
				}
			}
		})
	}
}

// BenchmarkLadder lays out a repetition as a small experiment makes it, one with a thousand
// segments, and one with 100,000 moments.
func BenchmarkLadder(b *testing.B) {
	for _, bench := range []struct{ name, scene string }{{"handshake", handshake}, {"data", longScene(500)}, {"large", longScene(25_000)}} {
		b.Run(bench.name, func(b *testing.B) {
			tl := parseScene(b, bench.scene)
			for _, opts := range []LadderOptions{{}, {Scale: ScaleLinear}, {Notes: true}} {
				b.Run(fmt.Sprintf("%s,notes=%v", opts.Scale, opts.Notes), func(b *testing.B) {
					for b.Loop() {
						if l := tl.Ladder(opts); len(l.Arrows) == 0 {
							b.Fatal("no arrows")
						}
					}
				})
			}
		})
	}
}
