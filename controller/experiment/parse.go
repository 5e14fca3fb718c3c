package experiment

import (
	"fmt"
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
	// Runs replaces repeat.runs, and repeat.until_reproduced too; 0 leaves them.
	Runs int
	// Set replaces values of variables that the file has, in all variants; a variable of
	// the matrix has this one value then.
	Set map[string]string
	// Cases keep some of the variants: each is a case, a value of the matrix as
	// "backlog=1", or several of these words. Empty: all variants.
	Cases []string
}

// Parse reads and checks a file, all its variants and their fresh values, and returns
// the first variant in its first repetition. If anything is wrong with the file the
// error is of type Errors and holds every fault, in order of place.
func Parse(source []byte, opts Options) (*Experiment, error) {
	root, faults := readDocument(source)
	f := &file{opts: opts, faults: faults}
	if root != nil {
		f.read(root)
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	return f.variants[0].first, nil
}

// reading is one variant of a file on its way to an Experiment.
type reading struct {
	// inFile and of are what is read; of is nil while the variants are not known.
	inFile *file
	of     *variant
	// offset is how far the fresh variables are from what the file says.
	offset int
	// isFresh are the fresh variables; they stay as they are written if asWritten is set.
	isFresh   map[string]bool
	asWritten bool
	exp       *Experiment
	faults    Errors
	// needed are the sources that were missed already.
	needed map[need]bool
	// used are the variables that something mentioned.
	used   map[string]bool
	varPos map[string]Pos
	labels map[string]place
	// thats counts the bytes of expressions.
	thats int
	// packetsAt is where observe asks for packets.
	packetsAt Pos
	// byCall is filled by stepsOf once the lanes are read.
	byCall []map[string][]int
	laneReading
	// vague is set where a fault hides what the file means, so that faults which
	// may follow from it alone are not reported.
	vague struct{ vars, hosts, lanes, laneNames, observe, changes, meetings bool }
}

func newReading(f *file, of *variant) *reading {
	return &reading{
		inFile: f, of: of, exp: &Experiment{},
		used: make(map[string]bool), varPos: make(map[string]Pos),
		labels: make(map[string]place), needed: make(map[need]bool),
	}
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
	{"topic", false, "topic: teardown",
		"What of a socket's life it is about: handshake, teardown, reset, queue, timeout, options, ….", (*reading).topic},
	{"class", false, "class: P",
		"What it rests on: P plain sockets, T two things at nearly the same time, C configuration of a host, F faults of the network.", (*reading).class},
	{"needs", false, "needs: [root, nftables]",
		"What the hosts must have, or the run does not start. See Needs.", (*reading).needsWords},
	{"remember", false, "remember: The side that closes first waits in TIME_WAIT.",
		"The one sentence to remember.", (*reading).remember},
	{"vars", false, "vars: { port: 8080 }",
		"Variables: $port further down stands for the value, $$ for a dollar.", (*reading).vars},
	{"matrix", false, "matrix: { backlog: [0, 1, 5] }",
		"A variant for each value of a variable, and for each combination of several. See Variants.", (*reading).matrix},
	{"cases", false, "cases: { burst: { repeat: { gap: 0ms } }, trickle: {} }",
		"A variant for each case, which changes the file. See Variants.", (*reading).elsewhere},
	{"hosts", true, "hosts: { A: { pick: { role: client } }, B: { pick: { role: server } } }",
		"Roles, and the labels an agent must have to play each.", (*reading).hosts},
	{"observe", true, "observe: [syscalls, packets]",
		"The sources of events.", (*reading).observe},
	{"setup", false, "setup: { B: { sysctl: { net.ipv4.tcp_syncookies: 0 } } }",
		"What is changed on the hosts while the experiment runs, and undone. See Setup.", (*reading).setup},
	{"changes", false, "changes: { cut: { host: B, firewall: drop tcp/$port } }",
		"What lanes change by `apply` and `undo`. See Setup.", (*reading).changes},
	{"meetings", false, "meetings: { go: { lead: 100ms, max_spread: 10ms } }",
		"How lanes are released together: how long before the instant the hosts are told it (20ms), and how far apart they may leave for the repetition to count (any).", (*reading).meetings},
	{"lanes", true, "lanes: { client: { host: A, do: [c = socket(tcp), connect(c, B:$port)] } }",
		"Threads, each on one host, and the calls it makes in order.", (*reading).lanes},
	{"expect", false, "expect: [never: any RST]",
		"What should be true of every repetition.", (*reading).expect},
	{"repeat", false, "repeat: { runs: 200, gap: 100ms, timeout: 10s }",
		"How often. See Repetitions.", (*reading).repeat},
}

func (p *reading) file(root *node) {
	if root.kind != mapping {
		p.fault(root.place, "begin with `experiment: NAME`", "an experiment is a mapping of keys, this file is %s", root.kind.describe())
		return
	}
	p.exp.Repeat = Repeat{Runs: 1, Timeout: 30 * time.Second}
	p.isFresh = freshNames(root)
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
	}
	p.override(p.inFile.opts.Runs)
}

// misspelt reports whether a key of the file was probably meant to be name.
func misspelt(root *node, name string, known []string) bool {
	return slices.ContainsFunc(root.entries, func(e entry) bool {
		return !slices.Contains(known, e.key.text) && Closest(e.key.text, known) == name
	})
}

// notYet are keys that people know from elsewhere or from plans, and what to say.
var notYet = map[string]struct{ text, hint string }{
	"impair": {"impair is not there yet: the lab cannot hold, lose or reorder packets on their way",
		"a firewall rule under setup or changes can drop or reject them"},
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
		if message, ok := notYet[e.key.text]; ok && !slices.Contains(known, e.key.text) {
			p.fault(e.key.pos(), message.hint, "%s", message.text)
			continue
		}
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

func (p *reading) topic(n *node) {
	t, ok := p.prose(n, "topic")
	if ok && !experimentName.MatchString(t.text) {
		p.fault(t.pos(), "lower-case letters, digits and dashes, at most 63", "%q is no topic", shorten(t.text))
	}
	p.exp.Topic = t.text
}

// classes are what a scenario can rest on.
var classes = []string{"P", "T", "C", "F"}

func (p *reading) class(n *node) {
	t, ok := p.prose(n, "class")
	if ok && !slices.Contains(classes, t.text) {
		p.fault(t.pos(), knownNames("classes", classes), "unknown class %q", shorten(t.text))
	}
	p.exp.Class = t.text
}

func (p *reading) needsWords(n *node) {
	for _, t := range p.texts(n, "needs", (*reading).prose) {
		if t.text == "" || len(t.text) > maxLabel {
			p.fault(t.pos(), "", "a need is from 1 to %d bytes long", maxLabel)
		} else if near := nearNeed(t.text); near != "" {
			p.fault(t.pos(), fmt.Sprintf("did you mean %q?", near), "no agent knows the need %q", shorten(t.text))
		}
		p.exp.Needs = append(p.exp.Needs, t.text)
	}
}

func (p *reading) remember(n *node) {
	t, _ := p.prose(n, "remember")
	p.exp.Remember = t.text
}

// elsewhere is for a key that was read before there were variants.
func (p *reading) elsewhere(*node) {}

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
	{packetSource, "Every TCP and UDP packet of the experiment's ports, which are those that bind, connect and sendto name, at the taps of all hosts."},
	{stateSource, "The TCP states of the sockets: traced by the kernel itself where a host has its tracepoints, completed, or told alone, from packets and calls and from what the kernel shows of them (sock_diag(7))."},
	{"tcp-info", "TCP_INFO of a lane's own TCP sockets (tcp(7)), read after each call on one. What a lane reads by info is there without it."},
	{"counters", "How far the kernel's counters moved in a repetition (/proc/net/snmp, netstat, snmp6)."},
	{"accept-queue", "The length of the accept queues, sampled."},
	{icmpSource, "ICMP and ICMPv6 messages at the taps of all hosts."},
	{arpSource, "ARP requests and replies at the taps of all hosts."},
	{dropSource, "Packets that the kernel of a host dropped, why, and in which of its functions (the tracepoint skb:kfree_skb)."},
}

// Sources that more than one noun rests on.
const (
	packetSource = "packets"
	stateSource  = "tcp-states"
	icmpSource   = "icmp"
	arpSource    = "arp"
	dropSource   = "drops"
)

// Sources are the names that observe may have, in the order of the reference.
func Sources() []string {
	names := make([]string, len(sources))
	for i, s := range sources {
		names[i] = s.name
	}
	return names
}

func (p *reading) observe(n *node) {
	known := Sources()
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
	if slices.Contains(p.exp.Observe, packetSource) && !p.exp.namesPort() {
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

// number reads a whole number from low to high, or a sum of such: `5 + 1`.
func (p *reading) number(t phrase, what string, low, high int) int {
	n, ok := calculate(t.text)
	if !ok || n < int64(low) || n > int64(high) {
		p.fault(t.pos(), "", "%s is a number from %d to %d, found %q", what, low, high, shorten(t.text))
		return low
	}
	return int(n)
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
