package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestShellWord: the words of the table, which the page's tests read as well.
func TestShellWord(t *testing.T) {
	data, err := os.ReadFile("testdata/shell_words.json")
	if err != nil {
		t.Fatal(err)
	}
	var table []struct{ Word, Written string }
	if err := json.Unmarshal(data, &table); err != nil {
		t.Fatal(err)
	}
	if len(table) < 10 {
		t.Fatalf("the table has %d words", len(table))
	}
	for _, e := range table {
		if got := shellWord(e.Word); got != e.Written {
			t.Errorf("%q is written %s, want %s", e.Word, got, e.Written)
		}
	}
	if got := shellWord("a\xff\xfeb"); got != `$'a\377\376b'` {
		t.Errorf("bytes that are no UTF-8 are written %s", got)
	}
}

// TestShellsReadTheWord: what a shell makes of a command line is the words that it was made
// of, and what is printed of any word can be seen.
func TestShellsReadTheWord(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not there (Debian: apt-get install bash): what a shell reads is not tried")
	}
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.OneOf(
			rapid.StringOf(rapid.RuneFrom([]rune("ab '\"\\$`!*?[]{}()<>|&;#~=\t\n\r\x1b\u202e\u2066\u05d0é☃"))),
			rapid.Map(rapid.SliceOf(rapid.ByteRange(1, 255)), func(b []byte) string { return string(b) }),
		)
		words := rapid.SliceOfN(word, 1, 20).Draw(t, "words")
		line := shellCommand(append([]string{"printf", `%s\0`}, words...)...)
		if strings.ContainsFunc(line, hasNoShape) {
			t.Fatalf("the line has what cannot be seen: %q", line)
		}
		c := exec.Command(bash, "--norc", "-c", line)
		c.Env = []string{"LC_ALL=C.UTF-8"}
		out, err := c.Output()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if want := strings.Join(words, "\x00") + "\x00"; !bytes.Equal(out, []byte(want)) {
			t.Fatalf("of %s the shell makes %q, want %q", line, out, want)
		}
	})
}

// FuzzShellWord: no word can leave its quotes.
func FuzzShellWord(f *testing.F) {
	for _, seed := range []string{"", "a", "it's", "$'", `\`, "\x00", "a b", "'; rm -rf /; '", "\u202e", "\xff'\\"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, word string) {
		written := shellWord(word)
		inside, quoted := strings.CutPrefix(written, "$'")
		if !quoted {
			if rest, ok := strings.CutPrefix(written, "'"); ok {
				inside = strings.ReplaceAll(strings.TrimSuffix(rest, "'"), `'\''`, "")
			} else if !isPlainWord(written) {
				t.Fatalf("%q is written %s without quotes", word, written)
			}
		} else {
			inside = strings.NewReplacer(`\\`, "", `\'`, "").Replace(strings.TrimSuffix(inside, "'"))
		}
		if strings.Contains(inside, "'") {
			t.Fatalf("%q is written %s, which ends its quotes early", word, written)
		}
		if strings.ContainsFunc(written, hasNoShape) {
			t.Fatalf("%q is written %q, which has what cannot be seen", word, written)
		}
	})
}
