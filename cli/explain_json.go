package cli

import (
	"encoding/json"
	"io"

	"syncline/controller/timeline"
)

// explanationSchema is the version of what explain -o json writes. Fields are added to it,
// and none changes its meaning.
const explanationSchema = "syncline.explanation/1"

// explanationData is an explanation as data. Moments are indices into the moments of
// syncline ladder -o json of the same repetition; connections and segments are counted from
// 0, as there.
type explanationData struct {
	Schema     string            `json:"schema"`
	Run        string            `json:"run"`
	Experiment string            `json:"experiment"`
	Variant    string            `json:"variant,omitempty"`
	Repetition int               `json:"repetition"`
	Gist       []noteData        `json:"gist"`
	Packets    []packetCauseData `json:"packets"`
	Blocked    []blockedCallData `json:"blocked"`
	States     []stateCauseData  `json:"states"`
	Notes      []noteData        `json:"notes"`
	// Unexplained counts what no cause is known of.
	Unexplained struct {
		Packets int `json:"packets"`
		Blocked int `json:"blocked"`
		States  int `json:"states"`
	} `json:"unexplained"`
}

type noteData struct {
	Kind       timeline.NoteKind `json:"kind"`
	Text       string            `json:"text"`
	Moments    []int             `json:"moments"`
	Connection *int              `json:"connection,omitempty"`
	Sources    []string          `json:"sources,omitempty"`
}

// causeData is a cause. By is absent where no moment on record is one; Rule, Text and Sources
// where none is known.
type causeData struct {
	Known   string   `json:"known"`
	By      *int     `json:"by,omitempty"`
	Rule    string   `json:"rule,omitempty"`
	Text    string   `json:"text,omitempty"`
	Sources []string `json:"sources,omitempty"`
	// Timer is true if time leads from By to the effect. Ordered is true if By surely was not
	// after it.
	Timer   bool   `json:"timer,omitempty"`
	Ordered bool   `json:"ordered,omitempty"`
	Why     string `json:"why,omitempty"`
}

type packetCauseData struct {
	Connection *int      `json:"connection,omitempty"`
	Segment    *int      `json:"segment,omitempty"`
	Departure  *int      `json:"departure,omitempty"`
	Arrival    *int      `json:"arrival,omitempty"`
	Words      string    `json:"words"`
	Cause      causeData `json:"cause"`
}

type blockedCallData struct {
	Enter       *int      `json:"enter,omitempty"`
	Return      int       `json:"return"`
	Nanoseconds int64     `json:"ns"`
	Lane        string    `json:"lane"`
	Call        string    `json:"call"`
	Lab         bool      `json:"lab,omitempty"`
	Connection  *int      `json:"connection,omitempty"`
	Cause       causeData `json:"cause"`
}

type stateCauseData struct {
	Connection int       `json:"connection"`
	Server     bool      `json:"server,omitempty"`
	State      string    `json:"state"`
	Cause      causeData `json:"cause"`
}

// index is nil for what is not there.
func index(i int) *int {
	if i < 0 {
		return nil
	}
	return &i
}

func causeOf(k *timeline.Cause) causeData {
	d := causeData{Known: k.Known.String(), By: index(k.By), Ordered: k.Ordered, Why: k.Why}
	if k.Rule != nil {
		d.Rule, d.Text, d.Sources, d.Timer = k.Rule.Name, k.Rule.Text, k.Rule.Sources, k.Rule.Timer
	}
	return d
}

func notesOf(notes []timeline.Note) []noteData {
	all := []noteData{}
	for _, n := range notes {
		all = append(all, noteData{n.Kind, n.Text, n.Moments, index(n.Connection), n.Sources})
	}
	return all
}

func (x *explanation) data() *explanationData {
	d := &explanationData{
		Schema: explanationSchema, Run: x.t.RunID, Experiment: x.t.Experiment, Variant: x.t.Variant, Repetition: x.t.Repetition,
		Gist: notesOf(x.notes(x.causes.Gist())), Notes: notesOf(x.notes(x.causes.Notes())),
		Packets: []packetCauseData{}, Blocked: []blockedCallData{}, States: []stateCauseData{},
	}
	for _, p := range x.packets() {
		d.Packets = append(d.Packets, packetCauseData{
			index(p.Connection), index(p.Number), index(p.Departure), index(p.Arrival), x.causes.Words(p.First()), causeOf(&p.Cause),
		})
	}
	for _, b := range x.blocked() {
		m := &x.t.Moments[b.Effect]
		d.Blocked = append(d.Blocked, blockedCallData{
			index(b.Enter), b.Effect, b.Nanoseconds, m.Event.Call.Lane, m.Event.Call.Name, b.Lab, index(m.Connection), causeOf(&b.Cause),
		})
	}
	for _, s := range x.causes.States {
		if !x.means(s.Connection) {
			continue
		}
		if s.Known == timeline.NoneKnown {
			d.Unexplained.States++
		}
		end := x.t.Connections[s.Connection].End(s.End)
		d.States = append(d.States, stateCauseData{s.Connection, s.End == timeline.ServerEnd, end.States[s.Index].Name, causeOf(&s.Cause)})
	}
	packets, calls := x.counts()
	d.Unexplained.Packets, d.Unexplained.Blocked = packets[timeline.NoneKnown], calls[timeline.NoneKnown]
	return d
}

func (x *explanation) writeJSON(w io.Writer) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	return out.Encode(x.data())
}
