package experiment

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Options are what a caller adds to a file. The zero value adds nothing.
type Options struct {
	// FileName is put before the place of every error.
	FileName string
	// Runs replaces repeat.runs; 0 leaves it.
	Runs int
	// Vars replace values of variables that the file has.
	Vars map[string]string
}

// Parse reads and checks a file. If anything is wrong with it the error is of type
// Errors and holds every fault, in order of place.
func Parse(source []byte, opts Options) (*Experiment, error) {
	root, faults := readDocument(source)
	p := &reading{opts: opts, exp: &Experiment{}, faults: faults, labels: map[string]place{}, needed: map[need]bool{}, waitAt: map[Pos]Pos{}}
	if root != nil {
		p.file(root)
	}
	if len(p.faults) == 0 {
		return p.exp, nil
	}
	p.faults.sort()
	for _, f := range p.faults {
		f.File = opts.FileName
	}
	return nil, p.faults
}

// reading is one file on its way to an Experiment.
type reading struct {
	opts   Options
	exp    *Experiment
	faults Errors
	// needed are the sources that were missed already.
	needed map[need]bool
	// used are the variables that something mentioned.
	used   map[string]bool
	varPos map[string]Pos
	labels map[string]place
	// waitAt is where the argument of a wait stands, by the place of its step.
	waitAt map[Pos]Pos
	// packetsAt is where observe asks for packets.
	packetsAt Pos
	// byCall is filled by stepsOf once the lanes are read.
	byCall []map[string][]int
	steps  int
	// data counts the bytes of all sends.
	data int
	// vague is set where a fault hides what the file means, so that faults which
	// may follow from it alone are not reported.
	vague struct{ vars, hosts, lanes, observe bool }
}

// need is a source that a line of the file asks for.
type need struct {
	source string
	line   int
}

func (p *reading) fault(at Pos, hint, format string, args ...any) {
	p.faults = append(p.faults, &Error{Pos: at, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// section is one top key of a file.
type section struct {
	name     string
	required bool
	// form shows how it is written, doc says what it is for.
	form, doc string
	read      func(*reading, *node)
}

// sections are all top keys, in the order in which they are read whatever their order
// in the file: what is mentioned comes before what mentions it.
var sections = []section{
	{"experiment", true, "experiment: basic-open-close",
		"The name, in lower-case letters, digits and dashes.", (*reading).name},
	{"about", false, "about: The client closes first.",
		"What it shows, in a sentence or two.", (*reading).about},
	{"refs", false, `refs: ["RFC 9293 3.6", "close(2)"]`,
		"The standards and man pages it rests on.", (*reading).refs},
	{"vars", false, "vars: { port: 8080 }",
		"Variables: $port further down stands for the value, $$ for a dollar.", (*reading).vars},
	{"hosts", true, "hosts: { A: { pick: { role: client } }, B: { pick: { role: server } } }",
		"Roles, and the labels an agent must have to play each.", (*reading).hosts},
	{"observe", true, "observe: [syscalls, packets]",
		"The sources of events.", (*reading).observe},
	{"lanes", true, "lanes: { client: { host: A, do: [c = socket(tcp), connect(c, B:$port)] } }",
		"Threads, each on one host, and the calls it makes in order.", (*reading).lanes},
	{"expect", false, "expect: [never: any RST]",
		"What should be true of every repetition.", (*reading).expect},
	{"repeat", false, "repeat: { runs: 200, gap: 100ms, timeout: 10s }",
		"Repetitions (1), the pause between two (0s), and what ends one that does not end by itself (30s).", (*reading).repeat},
}

func (p *reading) file(root *node) {
	if root.kind != mapping {
		p.fault(root.place, "begin with `experiment: NAME`", "an experiment is a mapping of keys, this file is %s", root.kind.describe())
		return
	}
	p.exp.Repeat = Repeat{Runs: 1, Timeout: 30 * time.Second}
	names := make([]string, len(sections))
	for i, s := range sections {
		names[i] = s.name
	}
	values := p.keys(root, "key", names)
	for _, s := range sections {
		value := values[s.name]
		if value == nil && s.required && !misspelt(root, s.name, names) {
			p.fault(root.place, "write `"+s.form+"`", "the key %q is missing", s.name)
		}
		if value != nil {
			s.read(p, value)
		}
	}
	if len(p.faults) == 0 { // else a fault elsewhere may be the only reason
		p.checkPorts()
		p.checkSleeps()
		p.unused()
	}
	p.override()
}

// misspelt reports whether a key of the file was probably meant to be name.
func misspelt(root *node, name string, known []string) bool {
	return slices.ContainsFunc(root.entries, func(e entry) bool {
		return !slices.Contains(known, e.key.text) && Closest(e.key.text, known) == name
	})
}

// keys returns the values of a mapping that may have these keys only; the rest are
// faults.
func (p *reading) keys(n *node, what string, known []string) map[string]*node {
	values := make(map[string]*node)
	if n.kind == null {
		return values
	}
	if n.kind != mapping {
		p.fault(n.place, knownNames(what+"s", known), "expected a mapping of %ss, found %s", what, n.kind.describe())
		return values
	}
	for _, e := range n.entries {
		if !slices.Contains(known, e.key.text) {
			p.fault(e.key.pos(), suggest(e.key.text, what+"s", known), "unknown %s %q", what, shorten(e.key.text))
			continue
		}
		values[e.key.text] = e.value
	}
	return values
}

// scalar returns the text of a value with its variables replaced.
func (p *reading) scalar(n *node, what string) (phrase, bool) {
	t, ok := p.prose(n, what)
	if !ok {
		return t, false
	}
	return p.expand(t)
}

// prose returns the text of a value as it stands: a dollar is a dollar.
func (p *reading) prose(n *node, what string) (phrase, bool) {
	if n.kind != scalar {
		p.fault(n.place, "", "%s is text, found %s", what, n.kind.describe())
		return phrase{}, false
	}
	return n.phrase, true
}

// texts returns the items of a list of texts, each read by read; a single text is a
// list of one.
func (p *reading) texts(n *node, what string, read func(*reading, *node, string) (phrase, bool)) []phrase {
	items := n.items
	switch n.kind {
	case scalar:
		items = []*node{n}
	case mapping, null:
		p.fault(n.place, "", "%s is a list, found %s", what, n.kind.describe())
	}
	var out []phrase
	for _, item := range items {
		if t, ok := read(p, item, "an item of "+what); ok {
			out = append(out, t)
		}
	}
	return out
}

var (
	experimentName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	plainName      = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,62}$`)
	variableName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)
)

// isName faults a name that is none.
func (p *reading) isName(at phrase, what string) bool {
	if !plainName.MatchString(at.text) {
		p.fault(at.pos(), "a letter, then letters, digits, - and _, at most 63 in all", "%q is no name for %s", shorten(at.text), what)
		return false
	}
	return true
}

func (p *reading) name(n *node) {
	t, ok := p.prose(n, "the name of an experiment")
	if ok && !experimentName.MatchString(t.text) {
		p.fault(t.pos(), "lower-case letters, digits and dashes, at most 63", "%q is no name for an experiment", shorten(t.text))
	}
	p.exp.Name = t.text
}

func (p *reading) about(n *node) {
	t, _ := p.prose(n, "about")
	p.exp.About = t.text
}

func (p *reading) refs(n *node) {
	for _, t := range p.texts(n, "refs", (*reading).prose) {
		p.exp.Refs = append(p.exp.Refs, t.text)
	}
}

func (p *reading) hosts(n *node) {
	if n.kind != mapping || len(n.entries) == 0 {
		p.fault(n.place, "write `A: { pick: { role: client } }`", "hosts is a mapping of roles, found %s", n.kind.describe())
		p.vague.hosts = true
		return
	}
	for i, e := range n.entries {
		if i == MaxHosts {
			p.fault(e.key.pos(), "", "more than %d hosts", MaxHosts)
			return
		}
		if !p.isName(e.key, "a host") {
			p.vague.hosts = true
			continue
		}
		p.exp.Hosts = append(p.exp.Hosts, Host{Name: e.key.text, Pos: e.key.pos(), Pick: p.pick(e.value)})
	}
}

// maxLabel bounds the bytes of a label and of its value.
const maxLabel = 253

func (p *reading) pick(n *node) map[string]string {
	labels := p.keys(n, "key", []string{"pick"})["pick"]
	if labels == nil || labels.kind == null {
		return nil
	}
	if labels.kind != mapping {
		p.fault(labels.place, "write `pick: { role: client }`", "pick is a mapping of labels, found %s", labels.kind.describe())
		return nil
	}
	pick := make(map[string]string, len(labels.entries))
	for _, e := range labels.entries {
		t, ok := p.scalar(e.value, "a label's value")
		if len(e.key.text) > maxLabel || len(t.text) > maxLabel {
			p.fault(e.key.pos(), "", "a label or its value is longer than %d bytes", maxLabel)
		} else if ok {
			pick[e.key.text] = t.text
		}
	}
	return pick
}

func (p *reading) roles() []string {
	names := make([]string, len(p.exp.Hosts))
	for i, h := range p.exp.Hosts {
		names[i] = h.Name
	}
	return names
}

// isRole faults a role that the experiment does not have.
func (p *reading) isRole(at phrase) bool {
	if slices.Contains(p.roles(), at.text) {
		return true
	}
	if !p.vague.hosts && len(p.exp.Hosts) > 0 {
		p.fault(at.pos(), suggest(at.text, "roles", p.roles()), "unknown role %q", shorten(at.text))
	}
	return false
}

// source is where events can come from.
type source struct{ name, doc string }

var sources = []source{
	{"syscalls", "Entry and return of every call of a lane."},
	{packetSource, "Every TCP packet of the experiment's ports, which are those that bind and connect name, at the taps of all hosts."},
}

const packetSource = "packets"

func (p *reading) observe(n *node) {
	var known []string
	for _, s := range sources {
		known = append(known, s.name)
	}
	for _, t := range p.texts(n, "observe", (*reading).prose) {
		switch {
		case !slices.Contains(known, t.text):
			p.fault(t.pos(), suggest(t.text, "sources", known), "unknown source %q", shorten(t.text))
			p.vague.observe = true
		case slices.Contains(p.exp.Observe, t.text):
			p.fault(t.pos(), "", "the source %q is named twice", t.text)
		default:
			p.exp.Observe = append(p.exp.Observe, t.text)
		}
		if t.text == packetSource {
			p.packetsAt = t.pos()
		}
	}
	if n.kind == list && len(n.items) == 0 {
		p.fault(n.place, knownNames("sources", known), "observe names no source")
	}
}

// checkPorts faults a file whose packets nobody could tell from others.
func (p *reading) checkPorts() {
	if slices.Contains(p.exp.Observe, packetSource) && len(p.exp.Ports()) == 0 {
		p.fault(p.packetsAt, "bind or connect to a port, or do not observe packets",
			"packets are observed, but no lane names a port: there are none to look for")
	}
}

// needs faults what is expected of a source that is not observed, once a line.
func (p *reading) needs(source string, at Pos) {
	key := need{source, at.Line}
	if !slices.Contains(p.exp.Observe, source) && len(p.exp.Observe) > 0 && !p.vague.observe && !p.needed[key] {
		p.needed[key] = true
		p.fault(at, fmt.Sprintf("add %s to observe", source), "this needs the source %q, which is not observed", source)
	}
}

func (p *reading) repeat(n *node) {
	values := p.keys(n, "key", []string{"runs", "gap", "timeout"})
	if v := values["runs"]; v != nil {
		if t, ok := p.scalar(v, "runs"); ok {
			p.exp.Repeat.Runs = p.number(t, "runs", 1, MaxRuns)
		}
	}
	if v := values["gap"]; v != nil {
		if t, ok := p.scalar(v, "gap"); ok {
			p.exp.Repeat.Gap = p.duration(t, "gap", 0)
		}
	}
	if v := values["timeout"]; v != nil {
		if t, ok := p.scalar(v, "timeout"); ok {
			p.exp.Repeat.Timeout = p.duration(t, "timeout", time.Millisecond)
		}
	}
}

// override applies the options that are no part of the file.
func (p *reading) override() {
	runs := p.opts.Runs
	switch {
	case runs < 0 || runs > MaxRuns:
		p.fault(Pos{}, "", "%d runs asked for; from 1 to %d can be had", runs, MaxRuns)
	case runs > 0:
		p.exp.Repeat.Runs = runs
	}
	var known []string
	for _, v := range p.exp.Vars {
		known = append(known, v.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(p.opts.Vars)) {
		if _, ok := p.varPos[name]; !ok && !p.vague.vars {
			p.fault(Pos{}, suggest(name, "variables", known), "the file has no variable %q to set", name)
		}
	}
}

// number reads a decimal number from low to high.
func (p *reading) number(t phrase, what string, low, high int) int {
	n, err := strconv.Atoi(t.text)
	if err != nil || n < low || n > high {
		p.fault(t.pos(), "", "%s is a number from %d to %d, found %q", what, low, high, shorten(t.text))
		return low
	}
	return n
}

// duration reads a time like 50ms that is least or longer, and at most MaxDuration.
func (p *reading) duration(t phrase, what string, least time.Duration) time.Duration {
	d, err := time.ParseDuration(t.text)
	if err != nil || t.text == "" || strings.ContainsAny(t.text[:1], "+-") {
		hint := "write a number and a unit: 50ms, 1.5s, 200us"
		if _, err := strconv.Atoi(t.text); err == nil && t.text != "" {
			hint = fmt.Sprintf("a time needs a unit: %sms or %ss", shorten(t.text), shorten(t.text))
		}
		p.fault(t.pos(), hint, "%s is a time, found %q", what, shorten(t.text))
		return least
	}
	if d < least || d > MaxDuration {
		p.fault(t.pos(), "", "%s is a time from %v to %v, found %q", what, brief(least), brief(MaxDuration), shorten(t.text))
		return least
	}
	return d
}

// brief is a duration without the zero units at its end: 1h for 1h0m0s.
func brief(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
