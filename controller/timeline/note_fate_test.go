package timeline

import (
	"strings"
	"testing"
)

// Of what was sent again is said what became of the transmissions that explain it, and nothing
// of the others.
func TestNotesOfFates(t *testing.T) {
	const answered = `B>A SYN+ACK 3000030..3000050
A>B ACK 3000055..3000075
`
	for _, test := range []struct{ name, events, says string }{
		{
			"all came, and none was answered", `A>B SYN 5..25
A>B SYN 1000005..1000025 again
A>B SYN 3000005..3000025 again
`, "The SYN was sent 3 times, 1 s and 2 s apart: all 3 came to B, and no acknowledgment came back in time.",
		},
		{
			"both came, and neither was answered", `A>B SYN 5..25
A>B SYN 1000005..1000025 again
`, "The SYN was sent twice, 1 s apart: both came to B, and no acknowledgment came back in time.",
		},
		{
			"all came, and the last was answered", `A>B SYN 5..25
A>B SYN 1000005..1000025 again
A>B SYN 3000005..3000025 again
` + answered, "The SYN was sent 3 times, 1 s and 2 s apart: the first 2 came to B, and no acknowledgment came back in time.",
		},
		{
			"the last did not come", `A>B SYN 5..25
A>B SYN 1000005..1000025 again
A>B SYN 3000005..- again
`, "The SYN was sent 3 times, 1 s and 2 s apart: the first 2 came to B, and no acknowledgment came back in time.",
		},
		{
			"none came", `A>B SYN 5..-
A>B SYN 1000005..- again
A>B SYN 3000005..- again
`, "The SYN was sent 3 times, 1 s and 2 s apart: none came to B.",
		},
		{
			"the last alone came", `A>B SYN 5..-
A>B SYN 1000005..- again
A>B SYN 3000005..3000025 again
` + answered, "The SYN was sent 3 times, 1 s and 2 s apart: the first 2 did not come to B.",
		},
		{
			"some came", `A>B SYN 5..25
A>B SYN 1000005..- again
A>B SYN 3000005..3000025 again
` + answered, "The SYN was sent 3 times, 1 s and 2 s apart: of the first 2, 1 came to B and 1 did not.",
		},
		{
			"all were dropped", `A>B SYN 5..25
B trace - 27 drop A>B SYN NETFILTER_DROP nf_hook_slow
A>B SYN 1000005..1000025 again
B trace - 1000027 drop A>B SYN NETFILTER_DROP nf_hook_slow
`, "The SYN was sent twice, 1 s apart: both came to B, and its kernel dropped what came (dropped: NETFILTER_DROP at nf_hook_slow).",
		},
		{
			"one of those that came was dropped", `A>B SYN 5..25
A>B SYN 1000005..1000025 again
B trace - 1000027 drop A>B SYN NETFILTER_DROP nf_hook_slow
A>B SYN 3000005..3000025 again
` + answered, "The SYN was sent 3 times, 1 s and 2 s apart: the first 2 came to B, and its kernel dropped 1 of them (dropped: NETFILTER_DROP at nf_hook_slow).",
		},
		{
			"what became of the first is not known", `A>B SYN 5..-
A>B SYN 1000005..1000025 again
B loss 3 0..30
B>A SYN+ACK 1000030..1000050
`, "The SYN was sent twice, 1 s apart.",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			checkAgain(t, test.events, test.says)
		})
	}
}

// A FIN that goes again with data before it is the same FIN.
func TestNotesOfAFINWithData(t *testing.T) {
	checkAgain(t, `open
A client send c 100..105 = 5
A>B PSH+ACK 103..- data 5
A client close c 200..210 = 0
A>B FIN+ACK 205..-
A>B FIN+PSH+ACK 210205..210225 seq 1 data 5
B>A ACK 210228..210248
`, "The FIN of A was sent twice, 210 ms apart: the first did not come to B.")
}

// checkAgain wants one of the notes on what was sent again to be a text.
func checkAgain(t *testing.T, events, want string) {
	t.Helper()
	tl, err := Build(story(t, events), 1)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, n := range tl.Notes() {
		if !strings.HasSuffix(string(n.Kind), "-repeated") {
			continue
		}
		if n.Text == want {
			return
		}
		said = append(said, n.Text)
	}
	t.Errorf("it says %q, want %q", said, want)
}
