package experiment

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// This file is the only one that knows the YAML library. It turns a file into a tree
// of nodes in which every byte of a scalar knows its place, after it has refused what
// the language does not use (anchors, tags, several documents) and what would make
// the library slow.

type kind int

const (
	scalar kind = iota + 1
	list
	mapping
	null
)

// describe names a kind in the words of the language's users.
func (k kind) describe() string {
	switch k {
	case scalar:
		return "text"
	case list:
		return "a list"
	case mapping:
		return "a mapping"
	}
	return "nothing"
}

// node is one value of the file.
type node struct {
	kind    kind
	place   Pos
	phrase  phrase  // of a scalar
	items   []*node // of a list
	entries []entry // of a mapping, each key once
}

type entry struct {
	key   phrase
	value *node
}

// phrase is a piece of text that knows where in the file each of its bytes stands.
type phrase struct {
	text string
	line int
	// columns has one more element than text has bytes.
	columns []int32
}

func (p phrase) pos() Pos          { return p.at(0) }
func (p phrase) at(i int) Pos      { return Pos{p.line, int(p.columns[i])} }
func (p phrase) end() Pos          { return p.at(len(p.text)) }
func (p phrase) from(i int) phrase { return p.slice(i, len(p.text)) }

func (p phrase) slice(i, j int) phrase {
	return phrase{p.text[i:j], p.line, p.columns[i : j+1]}
}

func (p phrase) trim() phrase {
	i := len(p.text) - len(strings.TrimLeft(p.text, " "))
	return p.slice(i, max(i, len(strings.TrimRight(p.text, " "))))
}

// cut splits at the first sep.
func (p phrase) cut(sep string) (before, after phrase, found bool) {
	i := strings.Index(p.text, sep)
	if i < 0 {
		return p, p.from(len(p.text)), false
	}
	return p.slice(0, i), p.from(i + len(sep)), true
}

// fields splits around spaces.
func (p phrase) fields() []phrase {
	var words []phrase
	for rest := p.trim(); rest.text != ""; {
		word, after, _ := rest.cut(" ")
		words = append(words, word)
		rest = after.trim()
	}
	return words
}

// flat is a phrase all of whose bytes stand at one place.
func flat(text string, at Pos) phrase {
	columns := make([]int32, len(text)+1)
	for i := range columns {
		columns[i] = int32(at.Column)
	}
	return phrase{text, at.Line, columns}
}

// sourceLines splits a file as Parse and Render both count its lines.
func sourceLines(source []byte) []string {
	text := strings.TrimPrefix(string(source), "\ufeff")
	return strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
}

// document reads one file.
type document struct {
	lines  []string
	faults Errors
	// runes are those of line runesOf, kept because the scalars of one line, which may
	// be most of a file, are located one after the other.
	runes   []rune
	runesOf int
}

// line is a line of the file, from 1, as runes.
func (d *document) line(n int) []rune {
	if d.runesOf != n {
		d.runes, d.runesOf = []rune(d.lines[n-1]), n
	}
	return d.runes
}

func (d *document) fault(at Pos, hint, format string, args ...any) {
	d.faults = append(d.faults, &Error{Pos: d.clamp(at), Message: fmt.Sprintf(format, args...), Hint: hint})
}

// clamp keeps a place that the YAML library got wrong inside the file.
func (d *document) clamp(at Pos) Pos {
	at.Line = min(max(at.Line, 1), len(d.lines))
	at.Column = min(max(at.Column, 1), len(d.line(at.Line))+1)
	return at
}

// readDocument returns the root of the file, or the faults that keep it from being read.
// A node may come with faults: repeated keys do not hide the rest.
func readDocument(source []byte) (*node, Errors) {
	d := &document{lines: []string{""}}
	if len(source) > MaxBytes {
		d.fault(Pos{1, 1}, "", "the file has %d bytes; at most %d are read", len(source), MaxBytes)
		return nil, d.faults
	}
	d.lines = sourceLines(source)
	if !d.isText(source) {
		return nil, d.faults
	}
	tokens := lexer.Tokenize(strings.Join(hideParentheses(d.lines), "\n"))
	if !d.isPlain(tokens) {
		return nil, d.faults
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.syntax(err)
		return nil, d.faults
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil || file.Docs[0].Body.Type() == ast.NullType {
		d.fault(Pos{1, 1}, "start with `experiment: NAME`", "the file is empty")
		return nil, d.faults
	}
	return d.convert(file.Docs[0].Body), d.faults
}

// isText refuses what no text editor wrote; YAML 1.2 section 5.1 allows no control
// characters but tab and line break.
func (d *document) isText(source []byte) bool {
	if bytes.HasPrefix(source, []byte{0xff, 0xfe}) || bytes.HasPrefix(source, []byte{0xfe, 0xff}) {
		d.fault(Pos{1, 1}, "save it as UTF-8", "the file is UTF-16")
		return false
	}
	for i, line := range d.lines {
		column := 0
		for offset, r := range line {
			column++
			if r == utf8.RuneError && !strings.HasPrefix(line[offset:], "\ufffd") {
				d.fault(Pos{i + 1, column}, "save it as UTF-8", "byte 0x%02x is not UTF-8 text", line[offset])
				return false
			}
			if r < ' ' && r != '\t' || r == 0x7f {
				d.fault(Pos{i + 1, column}, "an experiment is a YAML file", "control character %U is not text", r)
				return false
			}
			if r >= firstHidden && r <= lastHidden {
				d.fault(Pos{i + 1, column}, "Unicode keeps it for the inside of programs", "noncharacter %U is not text", r)
				return false
			}
		}
	}
	return true
}

// refused are the parts of YAML that the language does without, by token.
var refused = map[token.Type]string{
	token.AnchorType:     "anchors (&) are not used in experiments",
	token.AliasType:      "aliases (*) are not used in experiments",
	token.TagType:        "tags (!) are not used in experiments",
	token.MergeKeyType:   "merge keys (<<) are not used in experiments",
	token.MappingKeyType: "`? key` is not used in experiments",
	token.DirectiveType:  "directives (%) are not used in experiments",
}

const quoteHint = "put the value in quotes if it begins with that character"

// maxKeys bounds the keys and opening brackets of a file, maxTokens its keys, values and
// marks together; the limits of the language leave no use for more.
const (
	maxKeys   = 8192
	maxTokens = 1 << 16
)

// isPlain refuses by token what the library need not parse. Its parser takes time and
// memory that grow with the square of the nesting and of the keys of one mapping, so
// both are bounded here and not on the tree.
func (d *document) isPlain(tokens token.Tokens) bool {
	var depth nesting
	started, keys := false, 0
	for i, t := range tokens {
		at := Pos{t.Position.Line, t.Position.Column}
		if i == maxTokens {
			d.fault(at, "", "more than %d keys, values and marks", maxTokens)
			return false
		}
		if message, ok := refused[t.Type]; ok {
			d.fault(at, quoteHint, "%s", message)
			return false
		}
		switch t.Type {
		case token.DocumentHeaderType:
			if started {
				d.fault(at, "a file holds one experiment", "a second document begins here")
				return false
			}
			started = true
		case token.DocumentEndType:
			d.fault(at, "write such a pattern in brackets: [..., A>B FIN]", "`...` alone on a line ends a YAML document")
			return false
		case token.MappingValueType, token.SequenceStartType, token.MappingStartType:
			started = true
			if keys++; keys > maxKeys {
				d.fault(at, "", "more than %d keys and brackets", maxKeys)
				return false
			}
		case token.CommentType:
		default:
			started = true
		}
		if depth.add(t) > MaxNesting {
			d.fault(at, "", "nested deeper than %d levels", MaxNesting)
			return false
		}
	}
	return true
}

// nesting follows how deep a stream of tokens is nested: open brackets, and the
// columns at which block lists and mappings stand.
type nesting struct {
	flow    int
	columns []int
}

func (n *nesting) add(t *token.Token) int {
	switch t.Type {
	case token.SequenceStartType, token.MappingStartType:
		n.flow++
	case token.SequenceEndType, token.MappingEndType:
		n.flow = max(0, n.flow-1)
	case token.SequenceEntryType:
		n.enter(t.Position.Column)
	case token.MappingValueType:
		if t.Prev != nil && n.flow == 0 {
			n.enter(t.Prev.Position.Column)
		}
	}
	return n.flow + len(n.columns)
}

func (n *nesting) enter(column int) {
	for len(n.columns) > 0 && n.columns[len(n.columns)-1] >= column {
		n.columns = n.columns[:len(n.columns)-1]
	}
	n.columns = append(n.columns, column)
}

// syntax reports what the library says of a file it cannot parse.
func (d *document) syntax(err error) {
	if d.tabs() {
		return
	}
	var placed interface {
		GetMessage() string
		GetToken() *token.Token
	}
	if !errors.As(err, &placed) || placed.GetToken() == nil {
		d.fault(Pos{1, 1}, "", "not valid YAML: %s", reveal(err.Error()))
		return
	}
	at, hint := placed.GetToken().Position, ""
	if strings.Contains(placed.GetMessage(), "mapping value") {
		hint = "text that holds `: ` goes in quotes as a whole"
	}
	d.fault(Pos{at.Line, at.Column}, hint, "not valid YAML: %s", shorten(reveal(placed.GetMessage())))
}

// tabs reports lines that are indented with tabs, the usual reason why a file that
// looks right does not parse.
func (d *document) tabs() bool {
	for i, line := range d.lines {
		indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
		if column := strings.IndexByte(indent, '\t'); column >= 0 && len(indent) < len(line) {
			d.fault(Pos{i + 1, column + 1}, "YAML indents with spaces only", "a tab in the indentation")
		}
	}
	return len(d.faults) > 0
}

func (d *document) convert(n ast.Node) *node {
	switch n := n.(type) {
	case *ast.MappingNode:
		return d.convertMapping(n)
	case *ast.SequenceNode:
		out := &node{kind: list, place: d.place(n)}
		for _, item := range n.Values {
			out.items = append(out.items, d.convert(item))
		}
		return out
	case *ast.NullNode:
		if n.Token.Value == "" || n.Token.Type == token.ImplicitNullType {
			return &node{kind: null, place: d.place(n)}
		}
	case *ast.LiteralNode:
		at := d.clamp(d.place(n))
		return &node{kind: scalar, place: at, phrase: flat(strings.TrimRight(reveal(n.Value.Value), "\n"), at)}
	case nil:
		return &node{kind: null, place: d.clamp(Pos{})}
	}
	p := d.locate(n.GetToken())
	return &node{kind: scalar, place: p.pos(), phrase: p}
}

func (d *document) convertMapping(n *ast.MappingNode) *node {
	out := &node{kind: mapping, place: d.place(n)}
	first := make(map[string]Pos)
	for _, v := range n.Values {
		key := d.locate(v.Key.GetToken())
		value := d.convert(v.Value)
		if value.kind == null {
			value.place = key.pos()
		}
		if at, ok := first[key.text]; ok {
			d.fault(key.pos(), fmt.Sprintf("it stands on line %d already", at.Line), "the key %q is repeated", shorten(key.text))
			continue
		}
		first[key.text] = key.pos()
		out.entries = append(out.entries, entry{key, value})
	}
	if len(out.entries) > 0 && !n.IsFlowStyle {
		out.place = out.entries[0].key.pos() // the library says where the first colon is
	}
	return out
}

func (d *document) place(n ast.Node) Pos {
	at := n.GetToken().Position
	return d.clamp(Pos{at.Line, at.Column})
}

// locate finds where in the file each byte of a scalar stands. Text that spans
// several lines stands where it begins.
func (d *document) locate(t *token.Token) phrase {
	at := d.clamp(Pos{t.Position.Line, t.Position.Column})
	rest := d.line(at.Line)[at.Column-1:]
	switch t.Type {
	case token.DoubleQuoteType:
		return locateIn(t.Value, at, rest, 1, doubleQuotedWidth)
	case token.SingleQuoteType:
		return locateIn(t.Value, at, rest, 1, singleQuotedWidth)
	}
	return locateIn(reveal(t.Value), at, rest, 0, func([]rune) int { return 1 })
}

// locateIn walks value and source in step; width says how many runes of source make
// the next rune of value. It gives up, and puts all at one place, where they differ.
func locateIn(value string, at Pos, source []rune, skip int, width func([]rune) int) phrase {
	columns := make([]int32, 0, len(value)+1)
	i := skip
	for rest := value; rest != ""; {
		if i >= len(source) {
			return flat(value, at)
		}
		r, size := utf8.DecodeRuneInString(rest)
		w := width(source[i:])
		if w == 1 && source[i] != r {
			return flat(value, at)
		}
		for range size {
			columns = append(columns, int32(at.Column+i))
		}
		i, rest = i+w, rest[size:]
	}
	return phrase{value, at.Line, append(columns, int32(at.Column+min(i, len(source))))}
}

// doubleQuotedWidth is the length of the character or escape that source begins
// with, YAML 1.2 section 5.7.
func doubleQuotedWidth(source []rune) int {
	if source[0] != '\\' || len(source) < 2 {
		return 1
	}
	switch source[1] {
	case 'x':
		return 4
	case 'u':
		return 6
	case 'U':
		return 10
	}
	return 2
}

func singleQuotedWidth(source []rune) int {
	if source[0] == '\'' {
		return 2
	}
	return 1
}
