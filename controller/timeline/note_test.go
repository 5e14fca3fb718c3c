package timeline

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"syncline/controller/clock"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var rewriteNotes = flag.Bool("rewrite-notes", false, "rewrite testdata/notes from what Notes says now")

// A file of testdata/notes is named after a kind of note, and says in its first line when such
// a note is right. Then come events of which it is said, what it says, and events of which it
// must not be: a near miss. Events are written as in testdata/states (TestStates), and
//
//	open                     the calls and packets of a handshake: A connects from 0 to 60, B
//	                         accepts from -20 to 95
//	A>B ACK 5..25 win 0      announces a window; without it, it is 64240
//	A client send c 5..9 = 3 args 3 bytes    has arguments
//	A>B ACK 5..25 twice 30   comes once more
//	A process client 300 9   the process of the lane dies of a signal
//	A arp 3..4               A asks B for its link address; "answers" B, who asked
func TestNotes(t *testing.T) {
	for _, kind := range NoteKinds() {
		t.Run(string(kind), func(t *testing.T) {
			name := filepath.Join("testdata", "notes", string(kind)+".txtar")
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if len(strings.TrimSpace(string(archive.Comment))) == 0 || section(archive, "near miss") == "" {
				t.Fatal("the file does not say when the note is right, or has no near miss")
			}
			got := notesText(t, section(archive, "events"), kind)
			if *rewriteNotes {
				for i := range archive.Files {
					if archive.Files[i].Name == "said" {
						archive.Files[i].Data = []byte(got)
					}
				}
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if d := cmp.Diff(section(archive, "said"), got); d != "" {
				t.Error(d)
			}
			if got == "" {
				t.Error("nothing is said")
			}
			if wrong := notesText(t, section(archive, "near miss"), kind); wrong != "" {
				t.Errorf("of the near miss is said:\n%s", wrong)
			}
			if kind.About() == "" {
				t.Error("nobody knows what it is about")
			}
		})
	}
}

// Every file is of a kind that there is, and kinds have names of their own.
func TestNoteKinds(t *testing.T) {
	files, err := filepath.Glob("testdata/notes/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	kinds := NoteKinds()
	for _, name := range files {
		if kind := NoteKind(strings.TrimSuffix(filepath.Base(name), ".txtar")); !slices.Contains(kinds, kind) {
			t.Errorf("%s is of no kind", name)
		}
	}
	slices.Sort(kinds)
	if len(slices.Compact(kinds)) != len(noteKinds) {
		t.Error("two kinds have one name")
	}
}

// notesText are the notes of a kind, with the moments that they are tied to.
func notesText(t *testing.T, events string, kind NoteKind) string {
	t.Helper()
	tl, err := Build(story(t, events), 1)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	c := tl.Causes()
	for _, n := range c.Notes() {
		if n.Kind != kind {
			continue
		}
		b.WriteString(n.Text + "\n")
		for _, m := range n.Moments {
			fmt.Fprintf(&b, "    %s\n", placeText(tl, m))
		}
	}
	return b.String()
}

// story is a script with what notes are about and states are not.
func story(t testing.TB, text string) *Run {
	t.Helper()
	s := newScript(t, "")
	// The marks of the end and the samples come again, behind the events.
	s.run.Events = s.run.Events[:2]
	text = strings.Replace(text, "open\n", openingLines, 1)
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		from := len(s.run.Events)
		if fields = storyLine(s, fields); fields == nil {
			continue
		}
		s.line(fields)
		told := slices.Index(fields, "win")
		if again := slices.Index(fields, "twice"); again >= 0 {
			came := s.run.Events[len(s.run.Events)-1]
			at, _ := s.ns(fields[again+1])
			s.event(came.Host, at, Event{Packet: came.Packet})
		}
		args := slices.Index(fields, "args")
		for i := range s.run.Events[from:] {
			e := &s.run.Events[from+i]
			if e.Packet != nil && e.Packet.TCP() {
				e.Packet.Window = 64240
				if told >= 0 {
					e.Packet.Window = number[int](t, fields[told+1])
				}
			}
			if e.Trace != nil && e.Trace.Kind == TraceDrop && e.Trace.Flags&ACK != 0 {
				// A drop of an ACK is known by what that acknowledges.
				e.Trace.Ack = acknowledged(s.run.Events[:from], e.Trace)
			}
			if e.Call != nil && args >= 0 {
				e.Call.Arguments = strings.Join(fields[args+1:], " ")
			}
		}
	}
	for h := range s.run.Hosts {
		s.event(h, s.last+1_000_000, Event{Mark: &Mark{Kind: MarkEnd}})
	}
	s.run.Events = append(s.run.Events, watched(2)...)
	return s.run
}

// acknowledged is what the segment acknowledges that a drop is of.
func acknowledged(events []Event, tr *Trace) uint32 {
	for _, e := range slices.Backward(events) {
		if p := e.Packet; p != nil && p.Seq == tr.Seq && p.Flags == tr.Flags {
			return p.Ack
		}
	}
	return 0
}

const openingLines = `A client connect c 0..60 = 0
B server accept s->a -20..95 = 8
A>B SYN 5..25
B>A SYN+ACK 30..50
A>B ACK 55..75
`

// storyLine takes a line that scripts do not know; nil if it is done with.
func storyLine(s *script, fields []string) []string {
	if strings.HasPrefix(fields[0], "#") {
		return nil
	}
	switch host := hostOfLetter(fields[0]); fields[1] {
	case "process":
		at, _ := s.ns(fields[3])
		s.event(host, at, Event{Process: &Process{Lane: fields[2], PID: 7, Gone: true, Signal: number[int](s.t, fields[4])}})
	case "change":
		at, _ := s.ns(fields[2])
		s.event(host, at, Event{Change: &Change{Text: strings.Join(fields[3:], " ")}})
	case "arp":
		left, came, _ := strings.Cut(fields[2], "..")
		out, _ := s.ns(left)
		in, _ := s.ns(came)
		p := Packet{
			Interface: "eth0", ARP: 1, Source: portless(s, host), Destination: portless(s, 1-host), IPID: uint32(len(s.run.Events)),
		}
		if len(fields) > 3 && fields[3] == "answers" {
			p.ARP = 2
		}
		leaves, comes := p, p
		leaves.Direction, comes.Direction = Out, In
		s.event(host, out, Event{Packet: &leaves})
		s.event(1-host, in, Event{Packet: &comes})
	default:
		return fields
	}
	return nil
}

func portless(s *script, host int) netip.AddrPort {
	return netip.AddrPortFrom(s.run.Hosts[host].Address, 0)
}

// Notes are tied to moments, are in their order, and say nothing twice.
func TestNotesAreInOrder(t *testing.T) {
	files, err := filepath.Glob("testdata/states/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, name := range files {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		tl, err := Build(newScript(t, section(archive, "events")).run, 1)
		if err != nil {
			t.Fatal(err)
		}
		last := 0
		said := make(map[string]bool)
		for _, n := range tl.Notes() {
			key := fmt.Sprint(n.Kind, n.Connection, n.Text, n.Moments)
			switch {
			case len(n.Moments) == 0 || n.At() < last || !slices.IsSorted(n.Moments):
				t.Errorf("%s: %q is tied to %v", name, n.Text, n.Moments)
			case said[key]:
				t.Errorf("%s: %q is said twice", name, n.Text)
			}
			said[key], last = true, n.At()
		}
	}
}

// A note that a clock cannot bear out is not said: with a host whose clock nothing ties to the
// other's, no time between the two is told.
func TestNotesWithoutClocks(t *testing.T) {
	run := story(t, "A client connect c 0..60 = 0\nB server accept s->a -20..95 = 8\n")
	tl, err := Build(run, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range tl.Notes() {
		if n.Kind == "connect-returns-first" {
			t.Errorf("without a packet between the hosts it says %q", n.Text)
		}
	}
	if tl.Moments[0].Stamp.Err < clock.Unbounded && tl.Moments[len(tl.Moments)-1].Stamp.Err < clock.Unbounded {
		t.Error("the clocks are tied: this tests nothing")
	}
}
