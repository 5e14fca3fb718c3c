package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/net/html"

	"syncline/controller/timeline"
)

// hostile are texts that a stranger may put into a name, a payload or an experiment.
var hostile = []string{
	"</script><script>alert(1)</script>", "<!-- <script>", "-->", "]]>", "</noscript><img src=x onerror=alert(1)>", "</title><b>",
	`" onload="alert(1)`, "' & \" < >", "\u2028\u2029", "\u202egnp.exe", "a\x00b\x1b[31mc", "\xff\xfe", "${alert(1)}", "{{.}}", "line\r\nline",
	"<style>*{display:none}</style>", "&lt;script&gt;", strings.Repeat("é", 300),
}

// hostilePage has a hostile text in every place that takes one.
func hostilePage(t *testing.T, text string) *Page {
	t.Helper()
	p := New("syncline "+text, text, "syncline report "+text, []Run{{
		ID: text, Experiment: text, Source: text, Command: text, State: text, Reason: text, Ruling: text,
		Hosts: []Host{{Name: text, Agent: text, Kernel: text, Missing: []string{text}}}, Warnings: []string{text}, Incomplete: []string{text},
	}})
	r := NewRepetition(&timeline.Timeline{Repetition: 1, Variant: text, Warnings: []string{text}, Verdicts: []timeline.Verdict{
		{Expectation: text, Ruling: timeline.Fail, Reason: text},
	}})
	event, err := json.Marshal(map[string]string{"text": text})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Add(0, Overview{N: 1, Variant: text, Ruling: text, Why: text}, r, []json.RawMessage{event}); err != nil {
		t.Fatal(err)
	}
	p.Opening = Opening{Repetition: 1, Why: text}
	return p
}

// parsed is a page as a browser reads it.
type parsed struct {
	title, policy string
	// scripts and styles are the texts of those elements that are a browser's business;
	// blocks those with data, by id.
	scripts, styles []string
	blocks          map[string]string
	elements        map[string]int
}

func parse(t *testing.T, page []byte) *parsed {
	t.Helper()
	root, err := html.ParseWithOptions(bytes.NewReader(page), html.ParseOptionEnableScripting(false))
	if err != nil {
		t.Fatal(err)
	}
	p := &parsed{blocks: make(map[string]string), elements: make(map[string]int)}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		p.elements[n.Data]++
		attribute := make(map[string]string)
		for _, a := range n.Attr {
			attribute[a.Key] = a.Val
			if strings.HasPrefix(a.Key, "on") {
				t.Errorf("%s has a handler: %s", n.Data, a.Key)
			}
		}
		text := ""
		if n.FirstChild != nil {
			text = n.FirstChild.Data
		}
		switch {
		case n.Data == "title" && n.Namespace == "":
			p.title = text
		case n.Data == "meta" && attribute["http-equiv"] == "Content-Security-Policy":
			p.policy = attribute["content"]
		case n.Data == "script" && attribute["type"] == "application/gzip":
			p.blocks[attribute["id"]] = text
		case n.Data == "script":
			p.scripts = append(p.scripts, text)
		case n.Data == "style":
			p.styles = append(p.styles, text)
		}
	}
	return p
}

// block is what a block holds.
func (p *parsed) block(t *testing.T, n int, to any) {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(p.blocks[fmt.Sprintf("block-%d", n)])
	if err != nil {
		t.Fatalf("block %d: %v", n, err)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("block %d: %v", n, err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatalf("block %d: %v", n, err)
	}
	if err := json.Unmarshal(text, to); err != nil {
		t.Fatalf("block %d: %v", n, err)
	}
}

// TestNothingHostileReachesThePage: whatever names and payloads are, the page has the
// elements of its template and no other, its policy allows its own script and style and no
// other, and the data say what was said.
func TestNothingHostileReachesThePage(t *testing.T) {
	var clean bytes.Buffer
	if err := Write(&clean, hostilePage(t, "plain")); err != nil {
		t.Fatal(err)
	}
	want := parse(t, clean.Bytes())
	for _, text := range hostile {
		var b bytes.Buffer
		if err := Write(&b, hostilePage(t, text)); err != nil {
			t.Fatal(err)
		}
		got := parse(t, b.Bytes())
		for name, n := range want.elements {
			if got.elements[name] != n {
				t.Errorf("%.40q: %d elements %s, want %d", text, got.elements[name], name, n)
			}
		}
		if len(got.elements) != len(want.elements) {
			t.Errorf("%.40q: elements %v, want %v", text, got.elements, want.elements)
		}
		if strings.ContainsAny(got.title, "\x00\u202e\u2028") || !strings.HasPrefix(text, "</") && strings.Contains(got.title, "\ufffd") != (text == "\xff\xfe") {
			t.Errorf("%.40q: the title is %q", text, got.title)
		}
		var page struct{ Title string }
		got.block(t, 0, &page)
		if want := strings.ToValidUTF8(text, "\ufffd"); text != "\xff\xfe" && page.Title != want {
			t.Errorf("the data say %q, want %q", page.Title, want)
		}
		checkPolicy(t, got)
	}
}

// checkPolicy: the policy names the hash of every script and style of the page, and allows
// nothing else but pictures that the page itself makes.
func checkPolicy(t *testing.T, p *parsed) {
	t.Helper()
	directives := make(map[string]string)
	for d := range strings.SplitSeq(p.policy, ";") {
		name, sources, _ := strings.Cut(strings.TrimSpace(d), " ")
		directives[name] = sources
	}
	for name, texts := range map[string][]string{"script-src": p.scripts, "style-src": p.styles} {
		for _, text := range texts {
			sum := sha256.Sum256([]byte(text))
			if want := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(directives[name], want) {
				t.Errorf("%s is %s, and a text of the page has the hash %s", name, directives[name], want)
			}
		}
		if n := len(strings.Fields(directives[name])); n > max(1, len(texts)) {
			t.Errorf("%s allows %d texts, and the page has %d", name, n, len(texts))
		}
	}
	delete(directives, "script-src")
	delete(directives, "style-src")
	want := map[string]string{"default-src": "'none'", "img-src": "data: blob:", "base-uri": "'none'", "form-action": "'none'"}
	for name, sources := range directives {
		if want[name] != sources {
			t.Errorf("the policy has %s %s", name, sources)
		}
	}
	if len(directives) != len(want) {
		t.Errorf("the policy has %v, want %v", directives, want)
	}
}

// TestPlacesOfRepetitions: every repetition and its events are where its overview says,
// however many blocks they take.
func TestPlacesOfRepetitions(t *testing.T) {
	const repetitions = 300
	p := New("", "", "", make([]Run, 2))
	for n := range repetitions {
		warning := fmt.Sprintf("%d %s", n, strings.Repeat("x", 5000))
		r := NewRepetition(&timeline.Timeline{Repetition: n + 1, Warnings: []string{warning}})
		events := []json.RawMessage{json.RawMessage(fmt.Sprintf(`{"number":%d,"text":%q}`, n+1, warning))}
		if err := p.Add(n%2, Overview{N: n + 1}, r, events); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := Write(&b, p); err != nil {
		t.Fatal(err)
	}
	got := parse(t, b.Bytes())
	if got.blocks == nil || len(got.blocks) != p.Blocks || p.Blocks < 5 {
		t.Fatalf("%d blocks, the page says %d", len(got.blocks), p.Blocks)
	}
	lists, events := make(map[int][]struct{ N int }), make(map[int][][]struct{ Number int })
	for i := range p.Runs {
		if n := len(p.Runs[i].Repetitions); n != repetitions/2 {
			t.Fatalf("run %d has %d repetitions", i, n)
		}
		for _, o := range p.Runs[i].Repetitions {
			if lists[o.Block] == nil {
				list := lists[o.Block]
				got.block(t, o.Block, &list)
				lists[o.Block] = list
			}
			if n := lists[o.Block][o.Index].N; n != o.N {
				t.Fatalf("repetition %d is number %d where it should be", o.N, n)
			}
			if events[o.EventBlock] == nil {
				list := events[o.EventBlock]
				got.block(t, o.EventBlock, &list)
				events[o.EventBlock] = list
			}
			if n := events[o.EventBlock][o.EventIndex][0].Number; n != o.N {
				t.Fatalf("events of repetition %d are those of %d", o.N, n)
			}
		}
	}
}

// TestSameDataSameBytes, and writing it twice changes nothing.
func TestSameDataSameBytes(t *testing.T) {
	var pages [3]bytes.Buffer
	p := hostilePage(t, "x")
	for i, p := range []*Page{p, p, hostilePage(t, "x")} {
		if err := Write(&pages[i], p); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(pages[0].Bytes(), pages[1].Bytes()) || !bytes.Equal(pages[0].Bytes(), pages[2].Bytes()) {
		t.Error("the same page is written in different ways")
	}
}

func TestPageErrors(t *testing.T) {
	r := NewRepetition(&timeline.Timeline{Repetition: 1})
	p := New("", "", "", make([]Run, 1))
	if err := p.Add(1, Overview{N: 7}, r, nil); err == nil || !strings.Contains(err.Error(), "repetition 7 is of run 1") {
		t.Errorf("a run that is not there: %v", err)
	}
	if err := p.Add(0, Overview{N: 7}, &Repetition{Moments: []Moment{{Event: 1}}}, make([]json.RawMessage, 1)); err == nil {
		t.Error("a moment of an event that is not there is taken")
	}
	if err := Write(io.Discard, &Page{}); err == nil {
		t.Error("a page that New did not make is written")
	}
	broken := errors.New("disk full")
	if err := Write(failing{broken}, p); !errors.Is(err, broken) {
		t.Errorf("a writer's error is %v", err)
	}
	good := policyPlace + titlePlace + dataPlace
	for _, template := range []string{
		"", policyPlace + titlePlace, dataPlace + good, titlePlace + policyPlace + dataPlace, good + "<script src=a.js></script>", good + "<script>",
		good + "\r\n", good + "<style", good + "<style>a",
	} {
		if err := write(io.Discard, New("", "", "", nil), []byte(template)); err == nil {
			t.Errorf("%q is taken for a page", template)
		}
	}
	if err := write(io.Discard, New("", "", "", nil), []byte(good)); err != nil {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestEscape: what page/src/visible.test.ts holds the page to.
func TestEscape(t *testing.T) {
	for text, want := range map[string]string{
		"":                      "",
		"connect = 0 ±38 µs":    "connect = 0 ±38 µs",
		"größe 名前 😀 e\u0301":    "größe 名前 😀 e\u0301",
		"line\nline":            "line\nline",
		"\u202egnp.exe":         `\u{202e}gnp.exe`,
		"a\x00b\x1b[31mc\u0085": `a\u{0}b\u{1b}[31mc\u{85}`,
		"\u2066a\u2069\u200f":   `\u{2066}a\u{2069}\u{200f}`,
		"\xff<b>":               "\ufffd&lt;b&gt;",
		"to אבג דהו: 3 ms":      "to \u2068אבג דהו\u2069: 3 ms",
		"אב, 12 גד":             "\u2068אב\u2069, 12 \u2068גד\u2069",
		"סֵפֶר 1":               "\u2068סֵפֶר\u2069 1",
		"א ":                    "\u2068א\u2069 ",
		"א  ב":                  "\u2068א\u2069  \u2068ב\u2069",
	} {
		if got := escape(text); got != want {
			t.Errorf("%q is escaped to %q, want %q", text, got, want)
		}
	}
}

// FuzzEscape: nothing that turns directions is left but isolates in pairs, of which none is
// within another, and but for these the text is what it was.
func FuzzEscape(f *testing.F) {
	for _, seed := range append(hostile, "אב 1 גד", "א ב", "א\u0301 \u0301") {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, inside := escape(text), false
		for _, r := range got {
			switch string(r) {
			case firstStrongIsolate, popIsolate:
				if inside == (string(r) == firstStrongIsolate) {
					t.Fatalf("%q is escaped to %q, whose isolates are not in pairs", text, got)
				}
				inside = !inside
			default:
				if !unicode.IsPrint(r) && r != '\n' {
					t.Fatalf("%q is escaped to %q, which has %U", text, got, r)
				}
				if runsLeft(r) && !inside {
					t.Fatalf("%q is escaped to %q, where %U stands outside", text, got, r)
				}
			}
		}
		if inside {
			t.Fatalf("%q is escaped to %q, whose last isolate is open", text, got)
		}
		plain := strings.NewReplacer(firstStrongIsolate, "", popIsolate, "").Replace(got)
		if strings.ToValidUTF8(text, "") == text && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' }) && html.UnescapeString(plain) != text {
			t.Fatalf("%q is escaped to %q", text, got)
		}
	})
}

// TestPolicyOfTextsInTexts: what looks like an element in a script is its text.
func TestPolicyOfTextsInTexts(t *testing.T) {
	page := "<style>a</style><script type=module>const s = '<style>b';</script>"
	found, err := embedded([]byte(page))
	if err != nil || len(found["style"]) != 1 || len(found["script"]) != 1 || string(found["style"][0]) != "a" {
		t.Errorf("%q, %v", found, err)
	}
}
