package environment

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

// An environment never grows beyond its limit, and says what it had no room for.
func TestEnvironmentsAreBounded(t *testing.T) {
	p := newPage()
	const settings = 2000
	p.section("sysctl")
	for i := range settings {
		if i%2 == 0 {
			p.set(fmt.Sprintf("name.%d", i), strings.Repeat("v", 40))
		} else {
			p.fail(fmt.Sprintf("name.%d", i), errors.New("permission denied"))
		}
	}
	p.section("after it")
	p.set("x", "y")
	env := p.end()
	if size := proto.Size(env); size > MaxBytes || size < MaxBytes/2 {
		t.Errorf("%d bytes, the limit is %d", size, MaxBytes)
	}
	kept := 0
	for _, s := range env.Sections[:len(env.Sections)-1] {
		kept += len(s.Settings)
	}
	last := env.Sections[len(env.Sections)-1]
	want := fmt.Sprintf("%d more settings were read and left out", settings+1-kept)
	if last.Name != "left out" || !strings.HasPrefix(last.Settings[0].Failure, want) {
		t.Errorf("%d of %d are kept, and the last section is %v", kept, settings+1, last)
	}
}

func TestCleanLines(t *testing.T) {
	for text, want := range map[string]string{
		"4096\t131072\t6291456": "4096 131072 6291456",
		" two\nlines \n":        "two lines",
		"\x1b[31mred\x00":       "[31mred",
		"bad \xff byte":         "bad \uFFFD byte",
		"":                      "",
	} {
		if got := clean(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := clean(strings.Repeat("é", 5000)); len(got) > maxValue+len("…") || !strings.HasSuffix(got, "é…") {
		t.Errorf("a long line becomes %d bytes: …%q", len(got), got[len(got)-8:])
	}
}
