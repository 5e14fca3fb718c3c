// Package environment reads what a host is like: what may explain why two hosts, or
// two runs of one experiment, differ. It reads and changes nothing.
//
// Nothing is left out in silence. A setting that cannot be read is there with the
// reason; one that does not exist on this host says so in its value. Settings are text,
// as the kernel or its tools write them. Keys and secrets, such as the key of TCP Fast
// Open, are never read, and neither is the kernel's command line, which may hold some.
//
// Network settings are those of the calling thread's network namespace.
package environment

import (
	"fmt"
	"strings"

	synclinev1 "syncline/proto/syncline/v1"
)

// Limits on what is read. What is beyond them is cut, and the environment says so.
const (
	// MaxBytes bounds an environment as it is sent.
	MaxBytes = 48 << 10
	// MaxInterfaces bounds the interfaces that are described.
	MaxInterfaces = 8
	// maxValue bounds one value or one failure, in bytes.
	maxValue = 512
)

// Config says what to read beside what every host has.
type Config struct {
	// Version of this program.
	Version string
	// TestClock is what this host's times are made from, if they are not the host's own.
	TestClock string
	// Interfaces to describe, by name, in the calling thread's network namespace.
	Interfaces []string
	// InterfacesFailure is why the interfaces are not known; empty if they are.
	InterfacesFailure string
}

// Names of sections. Those of interfaces are "interface " and the name.
const (
	sectionKernel         = "kernel"
	sectionVersions       = "versions"
	sectionProcess        = "process"
	sectionClock          = "clock"
	sectionCPU            = "cpu"
	sectionMemory         = "memory"
	sectionVirtualization = "virtualization"
	// sectionLoad has what is different at every look.
	sectionLoad      = "load"
	sectionInterface = "interface "
	sectionSysctl    = "sysctl"
)

// page is an environment that is being written, with what it has room for.
type page struct {
	env  *synclinev1.Environment
	size int
	// left counts the settings that there was no room for.
	left int
}

func newPage() *page { return &page{env: &synclinev1.Environment{}} }

// empty is how an empty value is written.
const empty = "(empty)"

// reserve is kept free for the note on what was left out.
const reserve = 256

// section begins a section; what is put next belongs to it.
func (p *page) section(name string) {
	p.size += len(name) + 8
	p.env.Sections = append(p.env.Sections, &synclinev1.Environment_Section{Name: clean(name)})
}

// set puts a setting into the section that was begun last. An empty value is written
// out, since a value that is not there is a failure.
func (p *page) set(name, value string) {
	if value = clean(value); value == "" {
		value = empty
	}
	p.add(&synclinev1.Environment_Setting{Name: clean(name), Value: value})
}

// fail puts a setting that could not be read.
func (p *page) fail(name string, err error) {
	p.add(&synclinev1.Environment_Setting{Name: clean(name), Failure: clean(err.Error())})
}

// put is set, or fail if there is an error.
func (p *page) put(name, value string, err error) {
	if err != nil {
		p.fail(name, err)
		return
	}
	p.set(name, value)
}

func (p *page) add(s *synclinev1.Environment_Setting) {
	// A field takes two bytes and its length, at most two more.
	size := len(s.Name) + len(s.Value) + len(s.Failure) + 16
	if p.size+size > MaxBytes-reserve {
		p.left++
		return
	}
	p.size += size
	last := p.env.Sections[len(p.env.Sections)-1]
	last.Settings = append(last.Settings, s)
}

// end is the environment, which says what it had no room for.
func (p *page) end() *synclinev1.Environment {
	if p.left > 0 {
		p.env.Sections = append(p.env.Sections, &synclinev1.Environment_Section{
			Name: "left out",
			Settings: []*synclinev1.Environment_Setting{{
				Name: "settings", Failure: fmt.Sprintf("%d more settings were read and left out: an environment has at most %d bytes", p.left, MaxBytes),
			}},
		})
	}
	return p.env
}

// clean makes one line of valid UTF-8 of what a kernel, a driver or a file said: no
// control characters, no runs of blanks, and not too much of it.
func clean(s string) string {
	cut := len(s) > 4*maxValue
	if cut {
		s = s[:4*maxValue]
	}
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "\uFFFD"), func(r rune) bool {
		return r < 0x20 || r == ' ' || r >= 0x7f && r < 0xa0
	}), " ")
	if len(s) > maxValue {
		s, cut = s[:maxValue], true
	}
	if cut {
		s = strings.ToValidUTF8(s, "") + "…"
	}
	return s
}
